"""All background work in one process, without Celery: recurring jobs as they come due, trainings as they are asked for.

Three threads. The caller's does one job after another; one waits for runs and supervises each training, which is a
process of its own; one says that this worker is alive. Whatever a turn raises is logged, and the next turn has a new
connection to the database where the old one broke.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import socket
import threading
from collections.abc import Callable
from functools import partial

from django.db import DatabaseError, close_old_connections, connection, models
from django.utils import timezone

from recommender.jobs import ledger, timing, work
from recommender.models import Job, Run, Worker
from recommender.models.connections import persistently, was_lost
from recommender.runs import supervision

logger = logging.getLogger(__name__)

SHORT, TRAINING = "short", "training"
KINDS = (SHORT, TRAINING)
"""What a worker may be told to do alone: the recurring jobs, or the trainings."""

LOOK_SECONDS = 1.0
BEAT_SECONDS = 10.0
ALIVE_SECONDS = 60.0
"""A worker that has not beaten for this long is gone."""

PAUSE_SECONDS = 5.0
"""After a turn that failed, as without a database."""

HERE_SECONDS = 60.0
"""A run that its own command supervises is left to it for this long."""

PARTING_SECONDS = 45.0
"""Longest wait for a training that is told to stop: it is ended after ten seconds, and its run given back."""

Say = Callable[[str], None]


class Loop:
    """A worker from its start until `stop` is set. `say` is told of everything that it did."""

    def __init__(self, *, does: tuple[str, ...] = KINDS, say: Say = logger.info) -> None:
        self.does = does
        self.say = say
        self.stop = threading.Event()
        self.name = f"{socket.gethostname()}, process {os.getpid()}"[:100]

    def run(self) -> None:
        """Work until `stop` is set or the caller is interrupted; a training that runs then goes back to the queue."""
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
        """Do what is due now, train what is queued, and return."""
        if SHORT in self.does:
            self._work()
        if TRAINING in self.does:
            self._train()

    def _leave(self) -> None:
        """A worker that cannot say that it leaves is gone once it does not beat."""
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
            except Exception:  # the edge of the loop: a worker outlives its database, and every fault of one turn
                logger.exception("a turn of %s failed; it is tried again", self.name)
                was_lost()
                pause = PAUSE_SECONDS
            self.stop.wait(pause)

    def _work(self) -> None:
        """Every job that is due, one after the other."""
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
                self.say(f"{name}: {(timezone.now() - started).total_seconds():.1f} s")
        except Exception as error:  # one kind of work that fails must not keep the others from theirs
            logger.exception("%s failed; it is tried again when it is due", name)
            self.say(f"{name} failed: {type(error).__name__}: {error}")
            was_lost()

    def _train(self) -> None:
        """Every run that waits, one after the other."""
        for run_id in _waiting():
            if self.stop.is_set():
                return
            self.say(f"run {run_id}: training, log {supervision.log_path(run_id)}")
            if supervision.supervise(run_id, stop=self.stop):
                run = Run.objects.get(pk=run_id)
                self.say(f"run {run_id}: {run.get_state_display()}. {run.reason}")

    def _beat(self) -> None:
        beat = {"does": ",".join(self.does), "beat_at": timezone.now()}
        Worker.objects.update_or_create(name=self.name, defaults=beat)


def alive() -> models.QuerySet[Worker]:
    """The workers of `recommender_worker` that beat."""
    return Worker.objects.filter(beat_at__gte=timezone.now() - dt.timedelta(seconds=ALIVE_SECONDS))


def is_alive(kind: str) -> bool:
    """Is there a worker of ours that does this kind of work? One query."""
    return alive().filter(does__contains=kind).exists()


def _never(every: dt.timedelta | timing.Crontab, now: dt.datetime) -> dt.datetime | None:
    """When a job last started that never did: at no time, so that it is due; a crontab waits for its next minute."""
    return now if isinstance(every, timing.Crontab) else None


def _waiting() -> list[int]:
    theirs = models.Q(trigger=supervision.HERE, created_at__gt=timezone.now() - dt.timedelta(seconds=HERE_SECONDS))
    waiting = Run.objects.filter(state=Run.State.QUEUED).exclude(theirs)
    return list(waiting.order_by("pk").values_list("pk", flat=True))
