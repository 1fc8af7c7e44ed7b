"""The row of each job: marked when there is work, held by the process that does it, and dated when it ends.

A hold lasts `HOLD_SECONDS` and is renewed during the work. So two workers never do the same job at the same time, and
the job of a killed worker is free again after two minutes.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import DatabaseError, connection, models
from django.utils import timezone

from recommender.capture import counting
from recommender.models import Job
from recommender.models.connections import persistently, was_lost

logger = logging.getLogger(__name__)

COALESCE_SECONDS = 2.0
"""Marks of one job within this time count once, and the work starts afterwards."""

HOLD_SECONDS = 120.0
RENEW_SECONDS = 30.0
PATIENCE_SECONDS = 10.0
"""How long to wait for a lost database in order to write that a job has ended."""

MAX_ERROR_LENGTH = 500

_marked: dict[str, float] = {}
"""When this process last marked each job, by the monotonic clock, so that a thousand saves cost one query."""


def want(name: str) -> bool:
    """Mark that a job has work; return False if it was marked a moment ago. At most two queries."""
    last = _marked.get(name)
    if last is not None and time.monotonic() - last < COALESCE_SECONDS:
        return False
    _marked[name] = time.monotonic()
    now = timezone.now()
    recently = now - dt.timedelta(seconds=COALESCE_SECONDS)
    if _rows(name).exclude(wanted_at__gt=recently).update(wanted_at=now):
        return True
    return Job.objects.get_or_create(name=name, defaults={"wanted_at": now})[1]


def state_of(name: str, *, started_at: dt.datetime | None = None) -> Job:
    """The row of a job; a new row counts as last started at `started_at`."""
    return Job.objects.get_or_create(name=name, defaults={"started_at": started_at})[0]


def is_due(job: Job, since: dt.datetime, now: dt.datetime) -> bool:
    """Is the job free, and is it time or has it been marked for `COALESCE_SECONDS`?"""
    if job.held_until is not None and job.held_until > now:
        return False
    if job.started_at is None or job.started_at < since:
        return True
    settled = now - dt.timedelta(seconds=COALESCE_SECONDS)
    return job.wanted_at is not None and job.started_at < job.wanted_at <= settled


def perform(name: str, work: Callable[[], object], *, unless_since: dt.datetime | None = None) -> bool:
    """Do the work unless another process is doing it; return whether it was done here.

    With `unless_since`, the work is also left out if it was started after that moment and not marked since. An
    exception is stored in the row and raised again; an interrupted job stays marked.
    """
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"[-100:]
    state_of(name)
    if not _take(name, holder, unless_since):
        return False
    ended: dict[str, object] = {"error": ""}
    try:
        with _renewed(name, holder):
            work()
        counting.write()  # the processes of Celery's pool skip what others do at their end
    except Exception as error:
        ended["error"] = f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH]
        raise
    except BaseException:  # the worker is being stopped
        ended["wanted_at"] = timezone.now()
        raise
    finally:
        _release(name, holder, ended)
    return True


def _rows(name: str) -> models.QuerySet[Job]:
    return Job.objects.filter(name=name)


def _take(name: str, holder: str, unless_since: dt.datetime | None) -> bool:
    now = timezone.now()
    free = models.Q(held_until=None) | models.Q(held_until__lte=now)
    rows = _rows(name).filter(free)
    if unless_since is not None:
        settled = now - dt.timedelta(seconds=COALESCE_SECONDS)
        is_marked = models.Q(wanted_at__gt=models.F("started_at"), wanted_at__lte=settled)
        rows = rows.filter(models.Q(started_at=None) | models.Q(started_at__lt=unless_since) | is_marked)
    until = now + dt.timedelta(seconds=HOLD_SECONDS)
    return bool(rows.update(held_by=holder, held_until=until, started_at=now))


def _release(name: str, holder: str, ended: dict[str, object]) -> None:
    columns = {"held_by": "", "held_until": None, "finished_at": timezone.now(), **ended}
    try:
        persistently(lambda: _rows(name).filter(held_by=holder).update(**columns), patience_seconds=PATIENCE_SECONDS)
    except DatabaseError:  # the connection was lost: the hold expires by itself
        logger.exception("job %s cannot be released; it is free again in %.0f s", name, HOLD_SECONDS)


@contextmanager
def _renewed(name: str, holder: str) -> Iterator[None]:
    """Renew the hold while the block runs. A job shorter than `RENEW_SECONDS` opens no further connection."""
    is_done = threading.Event()

    def renew() -> None:
        try:
            while not is_done.wait(RENEW_SECONDS):
                was_lost()
                try:
                    until = timezone.now() + dt.timedelta(seconds=HOLD_SECONDS)
                    _rows(name).filter(held_by=holder).update(held_until=until)
                except DatabaseError:
                    logger.warning("the hold of job %s was not renewed", name, exc_info=True)
        finally:
            connection.close()

    thread = threading.Thread(target=renew, name=f"recommender-hold-{name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()
