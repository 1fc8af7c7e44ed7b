"""Keeps a slow or broken part from holding up a page: deadlines, breakers and a bounded pool of threads."""

from __future__ import annotations

from recommender.deadlines.breaker import Breaker
from recommender.deadlines.pool import Pool, PoolFull, run_within
from recommender.deadlines.stopwatch import Resting, Stage, Stopwatch, TooLate, current_stopwatch, during, timed_by

__all__ = [
    "Breaker",
    "Pool",
    "PoolFull",
    "Resting",
    "Stage",
    "Stopwatch",
    "TooLate",
    "current_stopwatch",
    "during",
    "run_within",
    "timed_by",
]
