"""The demo project around `recommender`."""

from shopreco.celery import app as celery_app

__all__ = ["celery_app"]
