"""What this process serves from: one ranker and one shelf, loaded and kept fresh aside, swapped as one pair.

A page never waits for it. Until the first pair is there, `current()` says so and the pipeline answers from SQL.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from django.db import connections, router

from recommender import bundles, conf
from recommender.exceptions import BundleError
from recommender.features.shop_state import ShopState
from recommender.models import Bundle, Item
from recommender.models.connections import apart
from recommender.serving.shelf import Shelf, build_shelf, load_shelf, refresh_shelf
from recommender.tables import ItemTable
from recommender.types import Rung

if TYPE_CHECKING:
    from django.db.backends.sqlite3.base import DatabaseWrapper

    from recommender.serving.ranker import Ranker

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 300.0
"""After a load that failed the next try waits this long, twice as long after each further failure, up to the second."""

LONGEST_END_SECONDS = 10.0
"""How long a process that ends waits for what it loads: less than the 30 that gunicorn leaves a worker."""

counts: Counter[str] = Counter()
"""Of this process: `failed`, loads and looks that failed; `unloaded`, answers given before the first pair was there."""


@dataclass(frozen=True, slots=True)
class Served:
    """The pair that answers a request; an answer never mixes two of them.

    `is_loaded` is False for the empty pair that stands in until the first one has been loaded.
    """

    shelf: Shelf
    ranker: Ranker | None = None
    bundle: str = ""
    is_loaded: bool = True

    @property
    def rung(self) -> Rung:
        """The best rung that this pair can stand on."""
        if self.ranker is None:
            return Rung.LEXICAL
        return Rung.CHAMPION if self.ranker.head is not None else Rung.UNTRAINED


class _Memory:
    """The pair in memory of this process; `lock` is held by whoever loads or looks for news."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.served: Served | None = None
        self.looked_at = float("-inf")
        self.n_failures = 0
        self.faults: set[str] = set()
        self.failed_bundle, self.bundle_failed_at = "", float("-inf")

    @property
    def pause_seconds(self) -> float:
        """How long to wait after the failures so far; 0 without one."""
        if not self.n_failures:
            return 0.0
        return min(FIRST_PAUSE_SECONDS * 2.0 ** min(self.n_failures - 1, 10), LONGEST_PAUSE_SECONDS)

    def may_load(self, bundle: str) -> bool:
        """Whether a bundle should be tried now: one that has just failed gets its pause."""
        return bundle != self.failed_bundle or time.monotonic() - self.bundle_failed_at > self.pause_seconds

    def fail(self, message: str, error: Exception) -> None:
        """Count a failure; log it with its traceback the first time, until all goes well again."""
        counts["failed"] += 1
        self.n_failures += 1
        fault = f"{message} ({type(error).__name__}: {str(error)[:300]})"
        level = logging.DEBUG if fault in self.faults else logging.ERROR
        self.faults.add(fault)
        logger.log(level, "%s; it is tried again in %.0f s", fault, self.pause_seconds, exc_info=error)

    def succeed(self) -> None:
        """Forget the failures."""
        if self.n_failures:
            logger.info("the recommender loads again, after %d failures", self.n_failures)
        self.n_failures, self.failed_bundle = 0, ""
        self.faults.clear()


_memory = _Memory()


def current() -> Served:
    """The pair to serve with, at once: this never waits for a load and never raises.

    The first call starts loading aside; until that is done the answer is an empty pair with `is_loaded` False. Later
    calls start a look for news where one is due. With `REFRESH_SECONDS` 0, as tests have it, and on a database in
    memory, which no other thread should read, the call loads and looks itself, at the cost of its queries.
    """
    interval = conf.get("REFRESH_SECONDS")
    if interval == 0 or _is_due(interval):
        if interval == 0 or _is_database_in_memory():
            _look_here()
        else:
            _look_aside()
    if _memory.served is None:
        counts["unloaded"] += 1
        return _unloaded()
    return _memory.served


def warm_up() -> None:
    """Start loading, aside, where nothing has been loaded yet: what a process does at its first request. No query."""
    if _memory.served is not None:
        return
    interval = conf.get("REFRESH_SECONDS")
    if interval != 0 and _is_due(interval) and not _is_database_in_memory():
        _look_aside()


def loaded() -> Served:
    """The pair, waiting until it is there: for commands, scripts and a server that warms up before it listens.

    Never raises; where nothing can be loaded the answer is the empty pair.
    """
    if _memory.served is None:
        with _memory.lock:
            if _memory.served is None:
                _look()
    return _memory.served or _unloaded()


def reload() -> Served:
    """Forget what is in memory and load it again, in this thread."""
    with _memory.lock:
        _memory.served = None
        _memory.succeed()
        _look()
    return _memory.served or _unloaded()


def empty_shelf() -> Shelf:
    """A shelf without items: what is served while nothing can be read."""
    none = np.empty(0, np.float32)
    items = ItemTable((), (), none, np.empty(0, np.int32), (), np.empty(0), np.empty(0, bool))
    state = ShopState.from_columns(at=0.0, counts=np.empty((0, 4), np.float32), last_event_at=np.empty(0))
    return build_shelf(items, state=state)


def _unloaded() -> Served:
    return Served(empty_shelf(), is_loaded=False)


def _is_due(interval: float) -> bool:
    if _memory.served is None and not _memory.n_failures:
        return True
    return time.monotonic() - _memory.looked_at > max(interval, _memory.pause_seconds)


def _is_database_in_memory() -> bool:
    """SQLite's database in memory, as Django's tests use it, refuses a thread what another one has just written."""
    connection = connections[router.db_for_read(Item)]
    return connection.vendor == "sqlite" and bool(cast("DatabaseWrapper", connection).is_in_memory_db())


def _look_here() -> None:
    with _memory.lock, apart():
        _look()


def _look_aside() -> None:
    """Look in a thread of its own, unless one does already."""
    memory = _memory
    if not memory.lock.acquire(blocking=False):
        return
    try:
        _start(lambda: _look_and_release(memory))
    except RuntimeError as error:  # the process has no thread left, or is ending
        memory.looked_at = time.monotonic()
        memory.fail("no thread can be started to load the recommender", error)
        memory.lock.release()


def _start(work: Callable[[], None]) -> None:
    """Do the work in a thread, whose connections end with it."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    threading.Thread(target=run, name="recommender-refresh", daemon=True).start()


def _look_and_release(memory: _Memory) -> None:
    try:
        _look()
    finally:
        memory.lock.release()


def _look() -> None:
    """Load, or apply what changed since the last look; on a failure keep what is in memory and say so once."""
    memory = _memory
    n_failures_before = memory.n_failures
    try:
        memory.served = _renewed(memory.served)
        if memory.n_failures == n_failures_before and not _is_bundle_missing(memory):
            memory.succeed()
    except Exception as error:  # the edge of every page: lower rungs serve, a later look tries again
        memory.fail("the recommender cannot load; it keeps serving what it has", error)
    memory.looked_at = time.monotonic()


def _is_bundle_missing(memory: _Memory) -> bool:
    return bool(memory.failed_bundle) and (memory.served is None or memory.served.ranker is None)


def _renewed(served: Served | None) -> Served:
    champion = bundles.champion()
    name = champion.name if champion else ""
    if served is None or (served.bundle != name and _memory.may_load(name)):
        ranker = _ranker(champion)
        if served is None or ranker is not None or champion is None:
            return _loaded(ranker)
    shelf = refresh_shelf(served.shelf)
    return served if shelf is served.shelf else _paired(shelf, served.ranker, served.bundle)


def _loaded(ranker: Ranker | None) -> Served:
    if ranker is None:
        return Served(load_shelf(None))
    return _paired(load_shelf(ranker.encoder_hash, item_vectors=ranker.item_vectors), ranker, ranker.name)


def _paired(shelf: Shelf, ranker: Ranker | None, bundle: str) -> Served:
    """The pair, with what counts as near measured for both together."""
    return Served(shelf if ranker is None else shelf.calibrated(ranker.encode), ranker, bundle)


def _ranker(champion: Bundle | None) -> Ranker | None:
    """The champion's ranker; a bundle that does not verify is quarantined, and the next best serves.

    None where there is none or it cannot be loaded by this process. Imported here: a host without the extra serves
    lexically, and pays no import.
    """
    if champion is None:
        return None
    try:
        from recommender.serving.ranker import Ranker

        return Ranker.load(bundles.fetch(champion.name), name=champion.name)
    except BundleError as error:
        bundles.quarantine(champion.name, str(error))
        logger.exception("bundle %s is quarantined", champion.name)
        return _ranker(bundles.champion())
    except ImportError as error:
        _refuse(champion.name, 'needs onnxruntime: pip install "shopreco[serving]"', error)
    except Exception as error:  # of this process or its host, so nothing against the bundle: words serve meanwhile
        _refuse(champion.name, "cannot be loaded here; words serve", error)
    return None


def _refuse(bundle: str, why: str, error: Exception) -> None:
    _memory.failed_bundle = bundle
    _memory.fail(f"bundle {bundle} {why}", error)
    _memory.bundle_failed_at = time.monotonic()


def _wait_at_exit() -> None:
    """Let the thread that loads come to its end, and let none begin.

    Python takes daemon threads down with it; one that is in ONNX Runtime then aborts the process, whatever it had done.
    """
    _memory.lock.acquire(timeout=LONGEST_END_SECONDS)


def _forget_after_fork() -> None:
    """A child has neither the thread that loads nor sessions that survive a fork: it loads for itself."""
    global _memory
    _memory = _Memory()


atexit.register(_wait_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
