"""Connects a training with the row of its run: reports progress, and learns whether the run may go on."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, connection, connections
from django.utils import timezone
from django.utils.translation import gettext

from recommender import runs
from recommender.exceptions import LeaseLost, RunError
from recommender.ml.progress import UNWATCHED, Progress
from recommender.models import Bundle, Run
from recommender.models.connections import was_lost
from recommender.runs.figures import Figures

logger = logging.getLogger(__name__)

BEAT_SECONDS = 3.0
LEAST_COMPUTED_SECONDS = 0.5
"""Time of the processor, without that of the heartbeat, that counts as an advance."""

SHARES = {
    "dataset": 0.04, "adaptation": 0.08, "encoder": 0.24, "teacher": 0.0, "context": 0.11, "head": 0.12,
    "impressions": 0.02, "refresh": 0.08, "search": 0.03, "bundle": 0.06, "evaluation": 0.17, "publication": 0.05,
}  # fmt: skip
"""Share of a run that each stage takes, measured on the demo; only the progress bar depends on it."""


class RunCancelled(RunError):
    """Somebody cancelled the run."""


class RunInterrupted(RunError):
    """This process has to stop; the run goes back to the queue and is resumed."""


@dataclasses.dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run that came to its end; a tuning has neither verdict nor bundle.

    champion: what is to serve from now on; None where nothing changes.
    """

    verdict: Run.Verdict | None
    reason: str
    bundle: Bundle | None = None
    champion: Bundle | None = None


class Watch(Progress):
    """Writes the progress of a leased run to its row, every few seconds from a thread; use it as a context.

    `shares`: share of the run by stage, for the progress bar. `listener` gets the same reports; it never raises.
    `remark`: a sentence that follows the reason of the run.
    """

    def __init__(self, run_id: int, token: int) -> None:
        self.run_id, self.token = run_id, token
        self.record = runs.Record(figures=Figures(), losses=[], seconds={})
        self.shares: Mapping[str, float] = SHARES
        self.listener: Progress = UNWATCHED
        self.remark = ""
        self._stage, self._share, self._started = "", 0.0, time.monotonic()
        self._cancelled, self._lost, self._interrupted = threading.Event(), threading.Event(), threading.Event()
        self._ended, self._furthest = threading.Event(), 0.0
        self._lock, self._writing = threading.Lock(), threading.RLock()
        self._has_advanced, self._advanced_at, self._computed = True, timezone.now(), 0.0
        self._thread = threading.Thread(target=self._beat_until_end, name="heartbeat", daemon=True)

    @property
    def provenance(self) -> dict[str, Any]:
        """How the run was made, as far as it was noted."""
        return self.record.provenance or {}

    def note(self, **entries: Any) -> None:
        """Add to the provenance; it is replaced, never changed in place, since the heartbeat reads it in a thread."""
        self.record.provenance = {**self.provenance, **entries}

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._close_stage()
        self._ended.set()
        self._thread.join()

    def stage(self, name: str) -> None:
        """A stage begins; the one before ends, with its seconds."""
        with self._lock:
            self._has_advanced = True
            self._close_stage()
            self._stage, self._share, self._started = name, 0.0, time.monotonic()
        self.listener.stage(name)
        logger.info("run %s: %s", self.run_id, name.replace("_", " "))

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        """A step of the stage was taken; its loss becomes a point of the curve."""
        with self._lock:
            self._has_advanced = True
            self._share = done / max(total, 1)
            if loss is not None:
                losses: Any = self.record.losses
                losses.append({"stage": self._stage, "step": done, "loss": round(float(loss), 5)})
        self.listener.step(done, total, loss)

    def figure(self, name: str, value: float) -> None:
        """A figure was computed; all of them are put together at the end."""
        logger.info("run %s: %s %.4f", self.run_id, name, value)
        self.listener.figure(name, float(value))

    def should_stop(self) -> bool:
        """Whether to end early: cancelled, interrupted, or the lease lost."""
        return self._cancelled.is_set() or self._interrupted.is_set() or self._lost.is_set()

    def check(self) -> None:
        """Raises LeaseLost, RunCancelled or RunInterrupted where the run must end; call it between stages."""
        self._beat()
        if self._lost.is_set():
            raise LeaseLost(f"Run {self.run_id} belongs to another process now: this one stops.")
        if self._cancelled.is_set():
            raise RunCancelled
        if self._interrupted.is_set():
            raise RunInterrupted(gettext("Its process was told to stop; the next worker resumes it."))

    @contextmanager
    def apart(self) -> Iterator[None]:
        """No beat is being written and no connection is open: a child that inherits one would close it when it ends."""
        with self._writing:
            if not any(opened.in_atomic_block for opened in connections.all(initialized_only=True)):
                connections.close_all()
            yield

    def interrupt(self) -> None:
        """Ask the training to stop at its next step; safe to call from a signal handler."""
        self._interrupted.set()

    @property
    def progress(self) -> float:
        """Share done of the whole run, 0 to 1; it never falls, even in a stage that `shares` does not name."""
        names, shares = list(self.shares), self.shares
        if self._stage in names:
            before = sum(shares[name] for name in names[: names.index(self._stage)])
            self._furthest = max(self._furthest, before + shares[self._stage] * min(self._share, 1.0))
        return min(self._furthest, 1.0)

    @property
    def current_stage(self) -> str:
        return self._stage

    def _close_stage(self) -> None:
        if self._stage and self.record.seconds is not None:
            spent = self.record.seconds.get(self._stage, 0.0) + time.monotonic() - self._started
            self.record.seconds[self._stage] = round(spent, 1)
            self._started = time.monotonic()

    def _beat_until_end(self) -> None:
        try:
            while not self._ended.wait(BEAT_SECONDS):
                self._notice_computing()
                with self._writing:
                    self._beat()
                    connection.close()
        finally:
            connection.close()

    def _notice_computing(self) -> None:
        """Steps are reported, but not every long computation has steps: the time of the processor tells of those."""
        computed = time.process_time() - time.thread_time()
        if computed - self._computed >= LEAST_COMPUTED_SECONDS:
            self._has_advanced, self._computed = True, computed

    def _beat(self) -> None:
        with self._lock:
            if self._has_advanced:
                self._has_advanced, self._advanced_at = False, timezone.now()
            record = dataclasses.replace(
                self.record, losses=runs.thinned(self.record.losses or []), seconds=dict(self.record.seconds or {})
            )
            columns: dict[str, Any] = {
                "progress": self.progress,
                "stage": self._stage,
                "advanced_at": self._advanced_at,
            }
        try:
            if not runs.heartbeat(self.run_id, self.token, **columns, record=record):
                self._cancelled.set()
        except LeaseLost:
            self._lost.set()
        except DatabaseError as error:  # the next beat is three seconds away; the lease outlives forty of them
            logger.warning("run %s cannot write its heartbeat: %s", self.run_id, error)
            was_lost()  # the next beat opens a connection of its own
