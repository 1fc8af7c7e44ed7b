"""The Celery application of the demo: `celery -A shopreco worker`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")

app = Celery("shopreco")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
