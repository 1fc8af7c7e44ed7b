"""Settings of the demo while faults are injected: limits of calls that nobody reaches, a small encoder, and a look for
changes each second."""

import os

from shopreco.settings import *  # noqa: F403
from shopreco.settings import RECOMMENDER as _OF_THE_DEMO

TIME_ZONE = os.environ.get("FAULTS_TIME_ZONE", "Europe/London")

RECOMMENDER = {
    **_OF_THE_DEMO,
    "ENCODER": "scratch",
    "REFRESH_SECONDS": 1.0,
    "THROTTLES": dict.fromkeys(("address", "visitor", "key", "new", "bulk"), "1000000/min"),  # of one address
    "TRAINING_SCHEDULE": None,
}

if os.environ.get("FAULTS_HURRY"):
    CELERY_BEAT_SCHEDULE = {
        f"recommender.{name}": {"task": f"recommender.{name}", "schedule": 1.0, "options": {"expires": 60.0}}
        for name in ("poke_runs", "start_scheduled_run")
    }
