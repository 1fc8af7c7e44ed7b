"""Follows one answer through its stages: which one it is in, how long each took, and whether the time is over."""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType


class Stage(enum.StrEnum):
    """A stretch of work on an answer."""

    WAITING = "waiting"
    HISTORY = "history"
    ENCODING = "encoding"
    CONTEXT = "context"
    RETRIEVAL = "retrieval"
    VECTORS = "vectors"
    GRADING = "grading"
    HEAD = "head"
    POLICY = "policy"
    LIVE = "live"


class TooLate(Exception):
    """The time for an answer is over: whoever waited for it has gone on without it."""


class Resting(Exception):
    """A stage is left alone, because it failed before."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(f"the stage {stage} is left alone")
        self.stage = stage


class Stopwatch:
    """One attempt at an answer. due: until when, by `time.monotonic`; stops: whether no stage begins after that.

    permits: asked before a stage begins for the first time. without: stages that must not begin. A stage that raised is
    still `stage` afterwards; `seconds` has those that have ended, `rested` those that did not begin.
    """

    __slots__ = (
        "_permits",
        "_permitted",
        "_since",
        "began",
        "due",
        "is_given_up",
        "rested",
        "seconds",
        "stage",
        "stops",
    )

    def __init__(
        self,
        due: float = math.inf,
        *,
        stops: bool = True,
        permits: Callable[[Stage], bool] | None = None,
        without: frozenset[Stage] = frozenset(),
    ) -> None:
        self.due, self.stops, self.stage = due, stops, Stage.WAITING
        self.is_given_up = False
        self.rested: set[Stage] = set()
        self.seconds: dict[Stage, float] = {}
        self._permits, self._permitted = permits, dict.fromkeys(without, False)
        self.began = self._since = time.monotonic()

    @property
    def left_seconds(self) -> float:
        """Until it is due; negative afterwards."""
        return self.due - time.monotonic()

    def moment(self, share: float) -> float:
        """When a share of the time between its beginning and its end is over; infinite without an end."""
        return self.began + share * (self.due - self.began)

    def begin(self, stage: Stage) -> None:
        """Go on with a stage. Raises TooLate once nobody waits, and Resting for a stage that is left alone."""
        now = time.monotonic()
        if self.is_given_up or (self.stops and now > self.due):
            raise TooLate
        if stage not in self._permitted:
            self._permitted[stage] = self._permits is None or self._permits(stage)
        if not self._permitted[stage]:
            self.rested.add(stage)
            raise Resting(stage)
        self._enter(stage, now)

    def end(self, before: Stage) -> None:
        """Return to the stage that it was in before."""
        self._enter(before, time.monotonic())

    def _enter(self, stage: Stage, now: float) -> None:
        self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + now - self._since
        self.stage, self._since = stage, now


_stopwatch: ContextVar[Stopwatch | None] = ContextVar("recommender_stopwatch", default=None)


def current_stopwatch() -> Stopwatch | None:
    """The stopwatch of the answer that is being made, if there is one."""
    return _stopwatch.get()


@contextmanager
def timed_by(stopwatch: Stopwatch) -> Iterator[Stopwatch]:
    """Let what is called in the block find this stopwatch."""
    token = _stopwatch.set(stopwatch)
    try:
        yield stopwatch
    finally:
        _stopwatch.reset(token)


class during:  # noqa: N801  a context manager that reads like a verb
    """A stage of the answer that is being made. Raises as `Stopwatch.begin`; without a stopwatch it is only a block."""

    __slots__ = ("_before", "_stage", "_stopwatch")

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __enter__(self) -> None:
        self._stopwatch = _stopwatch.get()
        if self._stopwatch is not None:
            self._before = self._stopwatch.stage
            self._stopwatch.begin(self._stage)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stopwatch is not None and (error is None or isinstance(error, Resting)):
            self._stopwatch.end(self._before)
