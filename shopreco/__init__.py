"""The demo project around `recommender`."""

import os

# One thread for small matrix products: on a busy machine, threads that wait for each other make them ten times slower.
# It must stand before the first import of numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from shopreco.celery import app as celery_app

__all__ = ["celery_app"]
