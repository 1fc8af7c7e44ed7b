"""Accounts for every event: how many of each day and source were accepted, duplicate, rejected or dropped.

A process counts in its memory and adds it to `EventCount` once a minute and at its end, so that counting costs a page
nothing. A process that is killed takes the numbers of its last minute with it. How long lists took is written with it,
into `AnswerTimes`.
"""

from __future__ import annotations

import atexit
import datetime as dt
import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial

from django.db import DatabaseError, InterfaceError, connections, models, router, transaction
from django.utils import timezone

from recommender import metrics
from recommender.models import AnswerTimes, EventCount
from recommender.models.connections import committed

logger = logging.getLogger(__name__)

WRITE_SECONDS = 60.0

Outcomes = Mapping[tuple[str, str], int]
"""Numbers of events by source and outcome, which is the name of a column of `EventCount`."""

_pending: Counter[tuple[dt.date, str, str]] = Counter()
_written_at = time.monotonic()
_database = ""
"""The name of the database in which the events are: what a host's tests counted is not for the database after them."""

_lock = threading.Lock()


def count(outcomes: Outcomes, *, day: dt.date | None = None) -> None:
    """Count what became of events once the transaction around it is committed; `day` is today where it is left out."""
    day = day or timezone.now().date()
    numbers = {(day, source, outcome): n for (source, outcome), n in outcomes.items() if n}
    if numbers or metrics.answers:
        transaction.on_commit(partial(_note, numbers), using=router.db_for_write(EventCount), robust=True)


def write() -> None:
    """Add to the tables what this process has counted. One statement for each day and source, and for each hour, slot,
    rung and bound of the lists; keeps what it cannot write for the next time."""
    global _pending, _written_at
    with _lock:
        numbers, _pending, _written_at = _pending, Counter(), time.monotonic()
    if _database != _name_of_database():
        return
    answers = metrics.take_answers()
    if not numbers and not answers:
        return
    try:
        committed(partial(_add_all, numbers, answers), using=router.db_for_write(EventCount))
    except (DatabaseError, InterfaceError) as error:
        logger.warning("counts of events were not written, and are tried again: %s", type(error).__name__)
        with _lock:
            _pending.update(numbers)
        metrics.answers.update(answers)


def _note(numbers: Mapping[tuple[dt.date, str, str], int]) -> None:
    global _database
    with _lock:
        _pending.update(numbers)
        _database = _name_of_database()
    if time.monotonic() - _written_at > WRITE_SECONDS:
        write()


def _name_of_database() -> str:
    return str(connections[router.db_for_write(EventCount)].settings_dict["NAME"])


def _add_all(numbers: Mapping[tuple[dt.date, str, str], int], answers: metrics.Answers) -> None:
    _add(numbers)
    for (hour, slot, rung, within_ms), n in sorted(answers.items()):
        key = {"hour": dt.datetime.fromtimestamp(hour * 3600, dt.UTC), "slot": slot, "rung": rung}
        row = AnswerTimes.objects.filter(**key, within_ms=within_ms)
        if not row.update(n=models.F("n") + n):
            AnswerTimes.objects.bulk_create([AnswerTimes(**key, within_ms=within_ms)], ignore_conflicts=True)
            row.update(n=models.F("n") + n)


def _add(numbers: Mapping[tuple[dt.date, str, str], int]) -> None:
    for day, source in sorted({(day, source) for day, source, _ in numbers}):
        row = EventCount.objects.filter(day=day, source=source)
        more = {
            outcome: models.F(outcome) + n
            for (its_day, its_source, outcome), n in numbers.items()
            if (its_day, its_source) == (day, source)
        }
        if not row.update(**more):
            EventCount.objects.bulk_create([EventCount(day=day, source=source)], ignore_conflicts=True)
            row.update(**more)


atexit.register(write)
