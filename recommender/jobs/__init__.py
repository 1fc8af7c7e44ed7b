"""The recurring background jobs, independent of Celery.

`ledger` keeps each job's row in SQL, `timing` says when a job is due, `work` contains the jobs. Celery's tasks and the
command `recommender_worker` both run the jobs through this package.
"""

from recommender.jobs.ledger import perform, state_of, want
from recommender.jobs.signals import connect, wanted
from recommender.jobs.timing import Crontab, check_schedule
from recommender.jobs.work import ENCODE, SCHEDULED_RUN, TIMES, WORK, times

__all__ = [
    "ENCODE",
    "SCHEDULED_RUN",
    "TIMES",
    "WORK",
    "Crontab",
    "check_schedule",
    "connect",
    "perform",
    "state_of",
    "times",
    "want",
    "wanted",
]
