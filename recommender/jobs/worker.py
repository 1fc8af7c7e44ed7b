"""A worker without Celery: it does recurring jobs when they are due, and trainings when they are requested.

It has three threads. The caller's thread does one job after another; the second waits for runs and supervises each
training, which is a process of its own; the third writes the worker's heartbeat. An exception is logged, and the next
turn gets a new database connection if the old one was lost.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import random
import socket
import threading
from collections.abc import Callable
from functools import partial

from django.db import DatabaseError, close_old_connections, connection, models
from django.utils import timezone
from django.utils.translation import gettext as _

from recommender.jobs import ledger, timing, work
from recommender.models import Job, Run, Worker
from recommender.models.connections import persistently, was_lost
from recommender.runs import supervision

logger = logging.getLogger(__name__)

SHORT, TRAINING = "short", "training"
KINDS = (SHORT, TRAINING)
"""The kinds of work, one of which a worker may be restricted to: recurring jobs, and trainings."""

LOOK_SECONDS = 1.0
BEAT_SECONDS = 10.0
ALIVE_SECONDS = 60.0
"""A worker without a heartbeat for this long counts as gone."""

PAUSE_SECONDS = 5.0
"""How long to wait after a turn that failed, for example without a database."""

SPREAD = (0.8, 1.2)
"""Pauses vary by so much, so that the workers of several hosts do not all ask the database at the same moment."""

HERE_SECONDS = 60.0
"""How long a run that was started with `--here` is left to its own command."""

PARTING_SECONDS = 45.0
"""Longest wait for a training to stop. It is killed after ten seconds, and its run returns to the queue."""

Say = Callable[[str], None]


class Loop:
    """A worker from its start until `stop` is set. `say` receives a line about everything it does."""

    def __init__(self, *, does: tuple[str, ...] = KINDS, say: Say = logger.info) -> None:
        self.does = does
        self.say = say
        self.stop = threading.Event()
        self.name = f"{socket.gethostname()}, process {os.getpid()}"[:100]

    def run(self) -> None:
        """Work until `stop` is set or the caller is interrupted; an active training then returns to the queue."""
        turns = [self._beat, *([self._train] if TRAINING in self.does else [])]
        threads = [threading.Thread(target=partial(self._repeat_apart, turn), name=turn.__name__) for turn in turns]
        for thread in threads:
            thread.start()
        try:
            self._repeat(self._work if SHORT in self.does else lambda: None)
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(PARTING_SECONDS)
            self._leave()

    def run_once(self) -> None:
        """Do the jobs that are due and the runs that are queued, then return."""
        if SHORT in self.does:
            self._work()
        if TRAINING in self.does:
            self._train()

    def _leave(self) -> None:
        """Delete the worker's row; without a database it expires with the last heartbeat."""
        with contextlib.suppress(DatabaseError):
            persistently(Worker.objects.filter(name=self.name).delete, patience_seconds=ledger.PATIENCE_SECONDS)

    def _repeat_apart(self, turn: Callable[[], None]) -> None:
        try:
            self._repeat(turn)
        finally:
            connection.close()

    def _repeat(self, turn: Callable[[], None]) -> None:
        seconds = BEAT_SECONDS if turn == self._beat else LOOK_SECONDS
        while not self.stop.is_set():
            close_old_connections()
            try:
                turn()
                pause = seconds
            except Exception:  # the worker must survive a lost database and any error of one turn
                logger.exception("%s failed once and tries again", self.name)
                was_lost()
                pause = PAUSE_SECONDS
            self.stop.wait(pause * random.uniform(*SPREAD))

    def _work(self) -> None:
        """Do every job that is due, one after the other."""
        rows = {job.name: job for job in Job.objects.all()}
        for name, every in work.times().items():
            now = timezone.now()
            since = timing.due_since(every, now)
            job = rows.get(name) or ledger.state_of(name, started_at=_never(every, now))
            if not self.stop.is_set() and ledger.is_due(job, since, now):
                self._perform(name, since)

    def _perform(self, name: str, since: dt.datetime) -> None:
        started = timezone.now()
        try:
            if ledger.perform(name, work.WORK[name], unless_since=since):
                self.say(_("%(job)s: %(seconds).1f s") % {"job": name, "seconds": _seconds_since(started)})
        except Exception as error:  # one failing job must not block the others
            logger.exception("%s failed; it is tried again when it is due", name)
            reason = f"{type(error).__name__}: {error}"
            self.say(_("%(job)s failed: %(error)s") % {"job": name, "error": reason})
            was_lost()

    def _train(self) -> None:
        """Train every queued run, one after the other."""
        for run_id in _queued_ids():
            if self.stop.is_set():
                return
            log = supervision.log_path(run_id)
            self.say(_("run %(run)d: training, log %(path)s") % {"run": run_id, "path": log})
            if supervision.supervise(run_id, stop=self.stop):
                run = Run.objects.get(pk=run_id)
                outcome = {"run": run_id, "state": run.get_state_display(), "reason": run.reason}
                self.say(_("run %(run)d: %(state)s. %(reason)s") % outcome)

    def _beat(self) -> None:
        beat = {"does": ",".join(self.does), "beat_at": timezone.now()}
        Worker.objects.update_or_create(name=self.name, defaults=beat)


def alive() -> models.QuerySet[Worker]:
    """The `recommender_worker` processes that are alive."""
    return Worker.objects.filter(beat_at__gte=timezone.now() - dt.timedelta(seconds=ALIVE_SECONDS))


def is_alive(kind: str) -> bool:
    """Is there a `recommender_worker` process for this kind of work? One query."""
    return alive().filter(does__contains=kind).exists()


def _never(every: dt.timedelta | timing.Crontab, now: dt.datetime) -> dt.datetime | None:
    """The start time of a new job: None, so that it is due now; a crontab job waits for its next time instead."""
    return now if isinstance(every, timing.Crontab) else None


def _seconds_since(moment: dt.datetime) -> float:
    return (timezone.now() - moment).total_seconds()


def _queued_ids() -> list[int]:
    own_command = models.Q(trigger=supervision.HERE, created_at__gt=timezone.now() - dt.timedelta(seconds=HERE_SECONDS))
    queued = Run.objects.filter(state=Run.State.QUEUED).exclude(own_command)
    return list(queued.order_by("pk").values_list("pk", flat=True))
