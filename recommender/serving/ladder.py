"""Ranks by the best that is ready in time: the model, the model without the part that failed, or words and sales.

A part of the model that was late, raised, or gave no numbers several times in a row is left alone until an attempt at
it succeeds. See docs/serving.md.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial

from django.utils import translation

from recommender.deadlines import (
    Breaker,
    PoolFull,
    Resting,
    Stage,
    Stopwatch,
    TooLate,
    current_stopwatch,
    run_within,
    timed_by,
)
from recommender.exceptions import NoNumbers
from recommender.metrics import StageFault, count_fault
from recommender.serving.memory import Served
from recommender.serving.ranking import rank
from recommender.types import Ranking, Request, Rung, Slot

logger = logging.getLogger(__name__)

MODEL_SHARE = 0.7
"""Of the time for a list, until when the model may answer: words and sales take a fifth of a page's 50 ms."""

PARTS = frozenset({Stage.ENCODING, Stage.CONTEXT, Stage.GRADING, Stage.HEAD})
"""Stages that the model can go without."""

MOST_BREAKERS = 64
"""Stages of bundles of which a process remembers faults: a few bundles serve at a time."""


class Unranked(Exception):
    """Nothing in memory could answer in time."""


@dataclass(frozen=True, slots=True)
class Rest:
    """A stage of a bundle that this process leaves alone, and the seconds until it is tried again."""

    bundle: str
    stage: Stage
    seconds: float


class _Faults:
    """What failed in this process: a breaker for each stage of a bundle that did, and what was logged."""

    def __init__(self) -> None:
        self._breakers: dict[tuple[str, Stage], Breaker] = {}
        self._logged: set[tuple[str, Stage, str]] = set()
        self._lock = threading.Lock()

    def permits(self, bundle: str, stage: Stage) -> bool:
        breaker = self._breakers.get((bundle, stage))
        return breaker is None or breaker.permits()

    def succeed(self, bundle: str, stages: Collection[Stage]) -> None:
        """Let what has ended serve again. Nothing to do in a process in which nothing failed."""
        for stage in stages if self._breakers else ():
            breaker = self._breakers.get((bundle, stage))
            if breaker is not None and breaker.succeed():
                logger.info("the stage %s of bundle %s answers again", stage, bundle or "-")
                with self._lock:
                    self._logged = {entry for entry in self._logged if entry[:2] != (bundle, stage)}

    def fail(self, bundle: str, stage: Stage, fault: StageFault, error: Exception | None = None) -> None:
        """Count a fault, and log it the first time until the stage answers again."""
        count_fault(stage.value, fault)
        with self._lock:
            if len(self._breakers) >= MOST_BREAKERS:
                self._breakers.clear()
            breaker = self._breakers.setdefault((bundle, stage), Breaker())
            entry = (bundle, stage, f"{fault} {type(error).__name__}")
            level = logging.DEBUG if entry in self._logged else logging.ERROR
            self._logged.add(entry)
        message = "bundle %s failed: the stage %s %s; lower rungs serve"
        logger.log(level, message, bundle or "-", stage, fault.in_words, exc_info=error)
        if breaker.fail():
            logger.warning("the stage %s of bundle %s is left alone until it answers", stage, bundle or "-")

    def rests(self) -> list[Rest]:
        return [
            Rest(bundle, stage, breaker.rest_seconds)
            for (bundle, stage), breaker in list(self._breakers.items())
            if breaker.is_open
        ]


_faults = _Faults()


def rests() -> list[Rest]:
    """What this process leaves alone at this moment."""
    return _faults.rests()


def permits(stage: Stage) -> bool:
    """Whether to begin what the database does for a list."""
    return _faults.permits("", stage)


def judge(stage: Stage, seconds: float, *, most_seconds: float) -> None:
    """Say how long the database took for a stage of a list; what cannot be stopped is left alone if it is too slow."""
    if seconds > most_seconds:
        _faults.fail("", stage, StageFault.LATE)
    else:
        _faults.succeed("", (stage,))


def ranked(request: Request, served: Served) -> Ranking:
    """The list of a request as well as this process can make it in time. Raises Unranked where nothing is ready."""
    stopwatch = current_stopwatch() or Stopwatch()
    ranking = _by_model(request, served, stopwatch) if served.ranker is not None else None
    return ranking if ranking is not None else _by_words(request, served, stopwatch)


def _by_model(request: Request, served: Served, whole: Stopwatch) -> Ranking | None:
    """Rank by the model, again without a part that fails at once; None where it cannot answer in time."""
    without: frozenset[Stage] = frozenset()
    while True:
        permits = partial(_faults.permits, served.bundle)
        attempt = Stopwatch(whole.moment(MODEL_SHARE), permits=permits, without=without)
        try:
            ranking = _within(partial(rank, request, served=served), attempt)
        except (Resting, PoolFull) as error:
            count_fault(attempt.stage.value, StageFault.RESTED if isinstance(error, Resting) else StageFault.FULL)
            return None
        except TooLate:
            _late(served.bundle, attempt)
            return None
        except Exception as error:  # the edge of the model: whatever breaks in it, the rest still serves
            fault = StageFault.NO_NUMBERS if isinstance(error, NoNumbers) else StageFault.RAISED
            _faults.fail(served.bundle, attempt.stage, fault, error)
            if attempt.stage not in PARTS - without:
                return None
            without |= {attempt.stage}
            continue
        _faults.succeed(served.bundle, attempt.seconds)
        return _as_reduced(ranking, attempt.rested) if attempt.rested else ranking


def _within(work: Callable[[], Ranking], attempt: Stopwatch) -> Ranking:
    """Work in a thread of the pool until it is due; in this one where it may take as long as it wants."""
    if attempt.due == math.inf:
        with timed_by(attempt):
            return work()
    language = translation.get_language()

    def timed() -> Ranking:
        with timed_by(attempt), translation.override(language):  # asgiref hides the caller's from another thread
            return work()

    try:
        return run_within(timed, attempt.left_seconds)
    except TooLate:
        attempt.is_given_up = True
        raise


def _late(bundle: str, attempt: Stopwatch) -> None:
    if attempt.stage is Stage.WAITING:  # for a thread: the process has more to do than it can, no part is to blame
        count_fault(attempt.stage.value, StageFault.LATE)
    else:
        _faults.fail(bundle, attempt.stage, StageFault.LATE)


def _as_reduced(ranking: Ranking, rested: Collection[Stage]) -> Ranking:
    for stage in rested:
        count_fault(stage.value, StageFault.RESTED)
    return replace(ranking, rung=Rung.REDUCED) if ranking.rung in (Rung.CHAMPION, Rung.UNTRAINED) else ranking


def _by_words(request: Request, served: Served, whole: Stopwatch) -> Ranking:
    """Rank by words and by what sells, in this thread. Raises Unranked.

    A search is answered however late it is: no lower rung finds anything, and nothing here waits for anybody.
    """
    attempt = Stopwatch(math.inf if request.slot is Slot.SEARCH else whole.due)
    try:
        with timed_by(attempt):
            return rank(request, served=Served(served.shelf, rules=served.rules))
    except TooLate:
        count_fault(attempt.stage.value, StageFault.LATE)
    except Exception as error:  # the shop's own order still serves
        _faults.fail("", attempt.stage, StageFault.RAISED, error)
    raise Unranked


def _forget_after_fork() -> None:
    """A child process loads sessions of its own."""
    global _faults
    _faults = _Faults()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
