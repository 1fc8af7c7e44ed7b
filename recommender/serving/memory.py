"""The ranker and the shelf that this process serves with: loaded and refreshed in the background, swapped as one pair.

A page never waits for them. Until they are loaded, `current()` says so and the pipeline answers from SQL.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from django.db import connections, router

from recommender import bundles, conf
from recommender.exceptions import BundleError
from recommender.experiments.live import LiveExperiment, live_experiments
from recommender.metrics import OutcomeCounts
from recommender.models import Bundle, Item
from recommender.models.connections import apart
from recommender.rules.dials import live_dials
from recommender.serving import near
from recommender.serving.exploring import Exploration, declared_explorations
from recommender.serving.loading import refresh_shelf, shelf_with_vectors
from recommender.serving.nobody import Nobody
from recommender.serving.rule_book import RuleBook, compiled, renewed
from recommender.serving.sharing import adopted, shelf_of
from recommender.serving.shelf import Shelf, empty_shelf
from recommender.types import Rung, Slot

if TYPE_CHECKING:
    from django.db.backends.sqlite3.base import DatabaseWrapper

    from recommender.serving.ranker import Ranker

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 300.0
"""Pause after the first failed load; it doubles with each further failure, up to the longest."""

LONGEST_EXIT_SECONDS = 10.0
"""How long a process that exits waits for a load in progress: less than the 30 s that gunicorn gives a worker."""

counts = OutcomeCounts("serving", "Loads that failed, and answers before the first load.", "failed", "unloaded")
"""Of this process: `failed`, loads and refreshes that failed; `unloaded`, answers given before the first load ended."""


@dataclass(frozen=True, slots=True)
class Served:
    """The pair that answers a request; an answer never mixes two pairs.

    `is_loaded` is False for the empty pair that stands in until the first load has ended. experiments: those that run;
    challengers: the pairs of their variants, by the name of the bundle; dials: how much the margin weighs in a slot.
    """

    shelf: Shelf
    ranker: Ranker | None = None
    bundle: str = ""
    is_loaded: bool = True
    experiments: tuple[LiveExperiment, ...] = ()
    challengers: Mapping[str, Served] = field(default_factory=dict, repr=False)
    explorations: Mapping[Slot, Exploration] = field(default_factory=dict)
    dials: Mapping[Slot, float] = field(default_factory=dict)
    rules: RuleBook = field(default_factory=RuleBook, compare=False, repr=False)
    nobody: Nobody = field(init=False, default_factory=Nobody, compare=False, repr=False)

    @classmethod
    def paired(cls, shelf: Shelf, ranker: Ranker, bundle: str) -> Served:
        """The pair, with similarity floors measured for both, and with the words that the encoder knows."""
        lexical = shelf.lexical.with_vocabulary(ranker.is_word)
        shelf = shelf if lexical is shelf.lexical else replace(shelf, lexical=lexical)
        return cls(shelf.calibrated(ranker.encode), ranker, bundle)

    def ruled_by(self, rules: RuleBook) -> Served:
        """The same pair under other rules."""
        other = replace(self, rules=rules)
        object.__setattr__(other, "nobody", self.nobody)
        return other

    @property
    def rung(self) -> Rung:
        """The best rung that this pair can serve."""
        if self.ranker is None:
            return Rung.LEXICAL
        return Rung.CHAMPION if self.ranker.head is not None or self.ranker.arms else Rung.UNTRAINED


class _Memory:
    """What this process holds; whoever loads or refreshes it holds `lock`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.served: Served | None = None
        self.refreshed_at = float("-inf")
        self.n_failures = 0
        self.faults: set[str] = set()
        self.failed_bundle, self.bundle_failed_at = "", float("-inf")

    @property
    def pause_seconds(self) -> float:
        """How long to wait after the failures so far; 0 without one."""
        if not self.n_failures:
            return 0.0
        return min(FIRST_PAUSE_SECONDS * 2.0 ** min(self.n_failures - 1, 10), LONGEST_PAUSE_SECONDS)

    @property
    def lacks_bundle(self) -> bool:
        """Whether a bundle failed to load and none is loaded instead."""
        return bool(self.failed_bundle) and (self.served is None or self.served.ranker is None)

    def is_due(self, interval_seconds: float) -> bool:
        """Whether it is time to load or to refresh."""
        if self.served is None and not self.n_failures:
            return True
        return time.monotonic() - self.refreshed_at > max(interval_seconds, self.pause_seconds)

    def may_load(self, bundle: str) -> bool:
        """Whether to try this bundle now: one that has just failed must wait."""
        return bundle != self.failed_bundle or time.monotonic() - self.bundle_failed_at > self.pause_seconds

    def fail(self, message: str, error: Exception) -> None:
        """Count a failure; log it with its traceback the first time until everything works again."""
        counts["failed"] += 1
        self.n_failures += 1
        fault = f"{message} ({type(error).__name__}: {str(error)[:300]})"
        level = logging.DEBUG if fault in self.faults else logging.ERROR
        self.faults.add(fault)
        logger.log(level, "%s; it is tried again in %.0f s", fault, self.pause_seconds, exc_info=error)

    def fail_bundle(self, bundle: str, reason: str, error: Exception) -> None:
        """Count the failure of a bundle, which is not tried again before its pause is over."""
        self.failed_bundle = bundle
        self.fail(f"bundle {bundle} {reason}", error)
        self.bundle_failed_at = time.monotonic()

    def succeed(self) -> None:
        """Forget the failures."""
        if self.n_failures:
            logger.info("the recommender loads again, after %d failures", self.n_failures)
        self.n_failures, self.failed_bundle = 0, ""
        self.faults.clear()


_memory = _Memory()


def current() -> Served:
    """The pair to serve with, at once: never waits for a load and never raises.

    The first call starts a load in the background; until it ends, the answer is an empty pair with `is_loaded` False.
    Later calls start a refresh if one is due. If `REFRESH_SECONDS` is 0, as in tests, or the database is in memory,
    where no other thread should read it, the call loads and refreshes in its own thread, at the cost of the queries.
    """
    interval = conf.get("REFRESH_SECONDS")
    if interval == 0 or _memory.is_due(interval):
        if interval == 0 or _is_database_in_memory():
            with _memory.lock, apart():
                _refresh()
        else:
            _refresh_in_background()
    if _memory.served is None:
        counts["unloaded"] += 1
    return _memory.served or _unloaded()


def warm_up() -> None:
    """Start the first load in the background, if there was none: called at the first request. No query."""
    if _memory.served is not None or _memory.lock.locked():
        return
    interval = conf.get("REFRESH_SECONDS")
    if interval != 0 and _memory.is_due(interval) and not _is_database_in_memory():
        _refresh_in_background()


def loaded() -> Served:
    """The pair, once it is loaded: for commands, scripts and a server that warms up before it listens.

    Never raises; if nothing can be loaded the answer is the empty pair.
    """
    if _memory.served is None:
        with _memory.lock:
            if _memory.served is None:
                _refresh()
    return _memory.served or _unloaded()


def model_state() -> str:
    """What this process serves with: the best rung, "loading", or "failed". Starts no load, no query."""
    if _memory.lacks_bundle or (_memory.served is None and _memory.n_failures):
        return "failed"
    return _memory.served.rung.value if _memory.served is not None else "loading"


def reload() -> Served:
    """Forget what is in memory and load it again, in this thread."""
    with _memory.lock:
        _memory.served = None
        _memory.succeed()
        _refresh()
    return _memory.served or _unloaded()


def _unloaded() -> Served:
    return Served(empty_shelf(), is_loaded=False)


def _is_database_in_memory() -> bool:
    """SQLite's in-memory database, which Django's tests use, refuses a thread the rows another has just written."""
    connection = connections[router.db_for_read(Item)]
    return connection.vendor == "sqlite" and bool(cast("DatabaseWrapper", connection).is_in_memory_db())


def _refresh_in_background() -> None:
    """Refresh in a thread, unless a refresh is running already."""
    memory = _memory
    if not memory.lock.acquire(blocking=False):
        return
    try:
        _start(lambda: _refresh_and_release(memory))
    except RuntimeError as error:  # the process has no thread left, or is exiting
        memory.refreshed_at = time.monotonic()
        memory.fail("no thread can be started to load the recommender", error)
        memory.lock.release()


def _start(work: Callable[[], None]) -> None:
    """Do the work in a thread; its database connections end with it."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    threading.Thread(target=run, name="recommender-refresh", daemon=True).start()


def _refresh_and_release(memory: _Memory) -> None:
    try:
        _refresh()
    finally:
        memory.lock.release()


def _refresh() -> None:
    """Load, or apply what has changed since the last refresh; on a failure keep what is in memory."""
    memory = _memory
    n_failures_before = memory.n_failures
    try:
        near.refresh()
        memory.served = _with_rules(_with_dials(_with_experiments(_renewed(memory.served), memory.served)))
        if memory.n_failures == n_failures_before and not memory.lacks_bundle:
            memory.succeed()
    except Exception as error:  # the edge of every page: lower rungs serve, a later refresh tries again
        memory.fail("the recommender cannot load; it keeps serving what it has", error)
    memory.refreshed_at = time.monotonic()


def _renewed(served: Served | None) -> Served:
    champion = bundles.champion()
    name = champion.name if champion else ""
    if served is None or (served.bundle != name and _memory.may_load(name)):
        ranker = _load_ranker(champion)
        if served is None or ranker is not None or champion is None:
            return _paired(shelf_of(ranker.name if ranker else "", ranker), ranker, ranker.name if ranker else "")
    shelf = refresh_shelf(adopted(served.shelf, served.bundle))
    return (
        served if shelf is served.shelf else replace(_paired(shelf, served.ranker, served.bundle), rules=served.rules)
    )


def _with_rules(served: Served) -> Served:
    """The pair, and those that experiments try, with the rules of this moment, in rows of their shelves: a rule serves
    as soon as a process refreshes. One query, two where rules have changed."""
    rules = renewed(served.rules, served.shelf)
    challengers = {name: _ruled(challenger, rules) for name, challenger in served.challengers.items()}
    are_current = all(challenger is served.challengers[name] for name, challenger in challengers.items())
    if rules is served.rules and are_current:
        return served
    return replace(served.ruled_by(rules), challengers=challengers)


def _ruled(challenger: Served, rules: RuleBook) -> Served:
    own = challenger.rules
    is_current = own.stamp == rules.stamp and own.shelf is challenger.shelf
    return challenger if is_current else challenger.ruled_by(compiled(rules.sources, challenger.shelf, rules.stamp))


def _with_experiments(served: Served, before: Served | None) -> Served:
    """The pair with the experiments that run, and a pair for each bundle that they try. One query."""
    experiments, challengers = live_experiments(), dict[str, Served]()
    for name in {experiment.bundle for experiment in experiments} - {"", served.bundle}:
        challenger = before.challengers.get(name) if before is not None else None
        challenger = _renewed_challenger(challenger) if challenger is not None else _challenger(name, served.shelf)
        if challenger is not None:
            challengers[name] = challenger
    loaded = {"", served.bundle, *challengers}
    experiments = tuple(experiment for experiment in experiments if experiment.bundle in loaded)
    explorations = declared_explorations()
    if (
        (experiments, explorations) == (served.experiments, served.explorations)
        and challengers.keys() == served.challengers.keys()
        and all(challenger is served.challengers[name] for name, challenger in challengers.items())
    ):
        return served
    return replace(served, experiments=experiments, challengers=challengers, explorations=explorations)


def _with_dials(served: Served) -> Served:
    """The pair with the profit dials that are live. One query."""
    dials = live_dials()
    return served if dials == served.dials else replace(served, dials=dials)


def _renewed_challenger(challenger: Served) -> Served:
    shelf = refresh_shelf(challenger.shelf)
    return challenger if shelf is challenger.shelf else _paired(shelf, challenger.ranker, challenger.bundle)


def _challenger(name: str, shelf: Shelf) -> Served | None:
    """The pair of a bundle that does not serve everybody; it shares with the shelf all that no encoder changes.

    None for one that cannot be loaded: nobody in this process is in its experiment then, in either arm.
    """
    from recommender.serving.ranker import Ranker

    if not _memory.may_load(name):
        return None
    try:
        ranker = Ranker.load(bundles.fetch(name), name=name)
        return Served.paired(shelf_with_vectors(shelf, ranker.encoder_hash, ranker.item_vectors), ranker, name)
    except BundleError as error:
        _memory.fail_bundle(name, "of an experiment cannot be loaded; nobody is in it", error)
        return None


def _paired(shelf: Shelf, ranker: Ranker | None, bundle: str) -> Served:
    return Served(shelf) if ranker is None else Served.paired(shelf, ranker, bundle)


def _load_ranker(champion: Bundle | None) -> Ranker | None:
    """The champion's ranker; None if there is no champion or this process cannot load it.

    A bundle that does not verify is quarantined and the next best is loaded. The ranker is imported here: without the
    extra `serving` a host searches by words, and pays for no import.
    """
    if champion is None:
        return None
    try:
        from recommender.serving.ranker import Ranker

        return Ranker.load(bundles.fetch(champion.name), name=champion.name)
    except BundleError as error:
        bundles.quarantine(champion.name, str(error))
        logger.exception("bundle %s is quarantined", champion.name)
        return _load_ranker(bundles.champion())
    except ImportError as error:
        _memory.fail_bundle(champion.name, 'needs onnxruntime: pip install "shopreco[serving]"', error)
    except Exception as error:  # a fault of this process or host, so the bundle stays champion; words serve meanwhile
        _memory.fail_bundle(champion.name, "cannot be loaded here; words serve", error)
    return None


def _wait_at_exit() -> None:
    """Wait for a load in progress, and let no other begin.

    Python ends daemon threads with the process; one that is inside ONNX Runtime then aborts the process.
    """
    _memory.lock.acquire(timeout=LONGEST_EXIT_SECONDS)


def _forget_after_fork() -> None:
    """A child process has neither the loading thread nor sessions that survive a fork: it loads for itself."""
    global _memory
    _memory = _Memory()


atexit.register(_wait_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
