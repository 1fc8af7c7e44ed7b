"""Asks the vector engine within a deadline, and leaves it alone for a while where it fails: no page waits for it."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from django.utils.module_loading import import_string

from recommender import conf
from recommender.deadlines import Breaker, Pool, PoolFull, TooLate
from recommender.exceptions import ConfigurationError, RecommenderError
from recommender.metrics import OutcomeCounts
from recommender.retrieval.engine import Condition, Hits, Space, VectorEngine
from recommender.types import FloatArray

logger = logging.getLogger(__name__)

DEADLINE_SECONDS = 0.25
"""Of one search, unless `VECTOR_ENGINE` says otherwise; a list should take 40 ms at most, and has one search or two."""

ENGINES = ("recommender.contrib.milvus.MilvusEngine", "recommender.contrib.pgvector.PgVectorEngine")
"""Those that come with this app; any other `VectorEngine` will do."""

counts = OutcomeCounts("engine", "Searches in the vector engine, by outcome.", "answered", "failed", "late", "skipped")
"""Of this process: `skipped` are those that were answered in the process while the engine was left alone."""


class GuardedEngine:
    """An engine that answers in time or not at all; safe to share between threads."""

    def __init__(self, engine: VectorEngine, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self.engine, self.deadline_seconds = engine, deadline_seconds
        self.breaker = Breaker(n_faults=1)
        self._pool = Pool()  # its own: a search waits for it in a thread of the pool that makes lists

    @classmethod
    def configured(cls) -> GuardedEngine | None:
        """The engine of `VECTOR_ENGINE`, one for each process; None where the setting is empty.

        Raises ConfigurationError.
        """
        declared = conf.get("VECTOR_ENGINE")
        if not declared:
            return None
        current = _current
        with current.lock:
            if current.declared != declared:
                fresh = cls._of(declared)
                if current.guarded is not None:
                    current.guarded.close()
                current.guarded, current.declared = fresh, declared
        return current.guarded

    @classmethod
    def _of(cls, declared: Any) -> GuardedEngine:
        engine, deadline_seconds = engine_of(declared)
        return cls(engine, deadline_seconds=deadline_seconds)

    def search(self, space: Space, vectors: FloatArray, *, limit: int, condition: Condition) -> list[Hits] | None:
        """The hits of each of vectors (q, d); None where the engine does not answer within the deadline."""
        if not self.breaker.permits():
            counts["skipped"] += 1
            return None
        try:
            answers = self._pool.run_within(
                lambda: self.engine.search(space, vectors, limit=limit, condition=condition), self.deadline_seconds
            )
        except (TooLate, PoolFull):
            self._fail("late", f"gave no answer within {self.deadline_seconds:g} s")
            return None
        except Exception as error:  # whatever a database or its client raises: the exact scan serves
            self._fail("failed", f"failed ({type(error).__name__}: {str(error)[:300]})")
            return None
        counts["answered"] += 1
        if self.breaker.succeed():
            logger.info("the vector engine answers again")
        return answers

    def close(self) -> None:
        """End the connections of the engine."""
        self.engine.close()

    def _fail(self, outcome: str, fault: str) -> None:
        """Count it, and log it the first time until the engine answers again."""
        counts[outcome] += 1
        if self.breaker.fail():
            logger.error("the vector engine %s; lists are made without it until it answers again", fault)


class _Current:
    """The engine of this process and what it was made of."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.declared: Any = None
        self.guarded: GuardedEngine | None = None


_current = _Current()


def declared_engine(declared: Any) -> VectorEngine | None:
    """What a `VECTOR_ENGINE` names; None for an empty one. Raises ConfigurationError."""
    return engine_of(declared)[0] if declared else None


def engine_of(declared: Any) -> tuple[VectorEngine, float]:
    """Make the engine of a `VECTOR_ENGINE` without connecting to it, and read its deadline in seconds.

    Raises ConfigurationError that names the repair.
    """
    options = {"engine": declared} if isinstance(declared, str) else declared
    if not isinstance(options, dict) or not isinstance(options.get("engine"), str):
        raise ConfigurationError(f'It must be a dotted path, or a dict such as {{"engine": "{ENGINES[0]}"}}.')
    options = dict(options)
    path, deadline_seconds = options.pop("engine"), options.pop("deadline_seconds", DEADLINE_SECONDS)
    if isinstance(deadline_seconds, bool) or not isinstance(deadline_seconds, int | float) or deadline_seconds <= 0:
        raise ConfigurationError(f"deadline_seconds must be a number above 0, not {deadline_seconds!r}.")
    kind = _imported(path)
    try:
        return kind(**options), float(deadline_seconds)
    except TypeError as error:
        raise ConfigurationError(f"{path} does not take these options ({error}).") from error
    except RecommenderError as error:
        raise ConfigurationError(str(error)) from error


def _imported(path: str) -> type[VectorEngine]:
    try:
        kind = import_string(path)
    except ImportError as error:
        hint = conf.closest(path, ENGINES) or f"Known: {', '.join(ENGINES)}."
        raise ConfigurationError(f"{path!r} cannot be imported ({error}). {hint}") from error
    if not (isinstance(kind, type) and issubclass(kind, VectorEngine)):
        raise ConfigurationError(
            f"{path} is no recommender.retrieval.engine.VectorEngine. Known: {', '.join(ENGINES)}."
        )
    return kind


def _forget_after_fork() -> None:
    """A child process has neither the threads nor connections that it may use."""
    global _current
    _current = _Current()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
