"""What is done again and again in the background, when it is due, and who does it. No Celery: any worker may ask here.

SQL holds what is to be done and who does it (`ledger`), `work` does it, `timing` says when. Celery's tasks and the
command `recommender_worker` are two ways to the same jobs.
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
