"""The row of each job: marked when there is work, held by the one process that does it, dated when it ends.

A hold lasts `HOLD_SECONDS` and is renewed while the work goes on, so that two workers never do the same work at once,
and that of a killed one is free again after two minutes.
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

from recommender.models import Job
from recommender.models.connections import persistently, was_lost

logger = logging.getLogger(__name__)

COALESCE_SECONDS = 2.0
"""Of the marks of one job within this time only the first counts, and its work starts after it."""

HOLD_SECONDS = 120.0
RENEW_SECONDS = 30.0
PATIENCE_SECONDS = 10.0
"""So long a database that went away is waited for, to say that work has ended."""

MAX_ERROR_LENGTH = 500

_marked: dict[str, float] = {}
"""When this process last marked a job, by the monotonic clock: a thousand saves cost one query."""


def want(name: str) -> bool:
    """Say that there is work of this kind; return False where somebody said so a moment ago. At most two queries."""
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
    """The row of a job, made where there is none yet, as if it had last started at `started_at`."""
    return Job.objects.get_or_create(name=name, defaults={"started_at": started_at})[0]


def is_due(job: Job, since: dt.datetime, now: dt.datetime) -> bool:
    """Does nobody do the work, and is it time, or is something marked that no later mark can hide behind?"""
    if job.held_until is not None and job.held_until > now:
        return False
    if job.started_at is None or job.started_at < since:
        return True
    settled = now - dt.timedelta(seconds=COALESCE_SECONDS)
    return job.wanted_at is not None and job.started_at < job.wanted_at <= settled


def perform(name: str, work: Callable[[], object], *, unless_since: dt.datetime | None = None) -> bool:
    """Do the work unless another process is at it; return whether it was done here.

    With `unless_since` it is not done either where somebody started it since then and nothing was marked later. What
    the work raises is written down and raised again; work that is interrupted stays marked.
    """
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"[-100:]
    state_of(name)
    if not _take(name, holder, unless_since):
        return False
    ended: dict[str, object] = {"error": ""}
    try:
        with _renewed(name, holder):
            work()
    except Exception as error:
        ended["error"] = f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH]
        raise
    except BaseException:  # the worker is told to stop
        ended["wanted_at"] = timezone.now()
        raise
    finally:
        _give_back(name, holder, ended)
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


def _give_back(name: str, holder: str, ended: dict[str, object]) -> None:
    columns = {"held_by": "", "held_until": None, "finished_at": timezone.now(), **ended}
    try:
        persistently(lambda: _rows(name).filter(held_by=holder).update(**columns), patience_seconds=PATIENCE_SECONDS)
    except DatabaseError:  # the connection broke: the hold runs out by itself
        logger.exception("job %s cannot be given back; it is free again in %.0f s", name, HOLD_SECONDS)


@contextmanager
def _renewed(name: str, holder: str) -> Iterator[None]:
    """Renew the hold while the block runs. Work that ends sooner opens no further connection."""
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
