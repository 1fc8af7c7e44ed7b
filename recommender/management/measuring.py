"""Measures this installation on its own catalogue, and says what would make it faster. It leaves no row behind."""

from __future__ import annotations

import datetime as dt
import os
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.db import connections, router, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from recommender import bundles, checks, conf, pipeline
from recommender.capture.checking import check_events
from recommender.capture.drafts import EventDraft
from recommender.capture.storage import store
from recommender.models import Event
from recommender.serving import Served, memory
from recommender.serving.answers import answer
from recommender.serving.live_entries import ReadsOfOneList
from recommender.serving.ranking import rank
from recommender.types import EventType, PastEvent, Request

N_CALLS, N_RERANKED, N_PAST = 100, 100, 20
N_BATCHES, BATCH_EVENTS = 20, 20
LOAD_SECONDS = 10.0
"""A process that loads longer answers from SQL for as long: more than most servers' grace after a restart."""


@dataclass(frozen=True, slots=True)
class Measured:
    """figures: numbers by name, with the unit at its end; runtime: what encodes queries; advice: what to change."""

    figures: dict[str, float]
    runtime: str
    advice: list[str]


class Unmeasurable(Exception):
    """There is nothing to measure: no item is in memory."""


def measure(*, n_calls: int = N_CALLS) -> Measured:
    """Load, then search, list, score and store. Raises Unmeasurable without items.

    Nothing is counted as served to shoppers, and what is stored is rolled back.
    """
    before, started = resident_megabytes(), time.perf_counter()
    served = memory.reload()
    figures = {"load_seconds": time.perf_counter() - started, "n_items": float(len(served.shelf))}
    figures |= {"resident_mb": resident_megabytes(), "catalogue_mb": max(0.0, resident_megabytes() - before)}
    if not len(served.shelf):
        raise Unmeasurable(_("No item is loaded: run recommender_sync first."))
    for name, call in _calls(served).items():
        figures |= _milliseconds(name, call, n_calls)
    figures["events_per_second"] = _events_per_second(served)
    return Measured(figures, _runtime(served), list(_advice(served, figures)))


def resident_megabytes() -> float:
    """The resident memory of this process; 0 on a system that does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _calls(served: Served) -> dict[str, Callable[[int], object]]:
    queries, now = _queries(served), timezone.now()
    active = [served.shelf.items.ids[row] for row in range(len(served.shelf)) if served.shelf.items.active[row]]
    past = [PastEvent(EventType.VIEW_ITEM, now - dt.timedelta(hours=1), item_id=item_id) for item_id in active[:N_PAST]]

    def search(number: int, **values: Any) -> Request:
        return replace(pipeline.search_request(queries[number % len(queries)]), history=tuple(past), **values)

    home = replace(pipeline.slot_request("home"), history=tuple(past))
    among = frozenset(active[:N_RERANKED])
    calls: dict[str, Callable[[int], object]] = {
        "search": lambda number: answer(search(number), ReadsOfOneList(), served=served),
        "list": lambda number: answer(home, ReadsOfOneList(), served=served),
        "rerank": lambda number: rank(search(number, among=among), served=served),
    }
    if served.ranker is not None:
        ranker = served.ranker
        calls["encoding"] = lambda number: ranker.encode([f"{queries[number % len(queries)]} {number}"])
    return calls


def _queries(served: Served) -> list[str]:
    """The first two words of titles from all over the catalogue."""
    titles = served.shelf.titles[:: max(1, len(served.shelf) // N_CALLS)]
    return [" ".join(title.split()[:2]) for title in titles if title.split()] or ["a"]


def _milliseconds(name: str, call: Callable[[int], object], n_calls: int) -> dict[str, float]:
    """The median and the ninety-ninth percentile, after five calls that fill what is filled at first use."""
    seconds = []
    for number in range(n_calls + 5):
        started = time.perf_counter()
        call(number)
        seconds.append(time.perf_counter() - started)
    ordered = sorted(seconds[5:])
    last = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return {f"{name}_p50_ms": statistics.median(ordered) * 1e3, f"{name}_p99_ms": last * 1e3}


def _events_per_second(served: Served) -> float:
    """Events in batches of twenty; each batch is rolled back, so the wait for the disk at a commit is left out."""
    alias, at = router.db_for_write(Event), timezone.now()
    item_id, started = served.shelf.items.ids[0], time.perf_counter()
    for _number in range(N_BATCHES):
        drafts = [
            EventDraft(f"bench:{uuid.uuid4().hex}", EventType.VIEW_ITEM, at, item_id=item_id)
            for _ in range(BATCH_EVENTS)
        ]
        sound, _refused = check_events(drafts, at)
        with transaction.atomic(using=alias):
            store([draft for _index, draft in sound], [], at=at, alias=alias)
            transaction.set_rollback(True, using=alias)
    return N_BATCHES * BATCH_EVENTS / (time.perf_counter() - started)


def _runtime(served: Served) -> str:
    if served.ranker is None:
        return _("none: searches go by words alone")
    return f"onnxruntime {metadata.version('onnxruntime')}, {served.ranker.dimension} dimensions"


def _advice(served: Served, figures: dict[str, float]) -> Iterator[str]:
    yield from _about_model(served)
    yield from (f"{message.msg} {message.hint or ''}".strip() for message in checks.check_databases(None))
    yield from _about_host()
    page_ms = 1e3 * conf.get("PAGE_DEADLINE_SECONDS")
    slow = [name for name in ("search", "list") if 0 < page_ms < figures[f"{name}_p99_ms"]]
    if slow:
        facts = {"names": ", ".join(slow), "page_ms": page_ms}
        yield (
            _(
                "One in a hundred (%(names)s) takes longer than the %(page_ms).0f ms of PAGE_DEADLINE_SECONDS, and a "
                "lower rung then answers: use a faster processor, fewer processes on it, or a longer deadline."
            )
            % facts
        )
    if figures["load_seconds"] > LOAD_SECONDS:
        yield _(
            "A process loads for %(seconds).0f s, in which searches go by words in SQL: load in gunicorn's "
            "post_worker_init, and restart one worker after the other."
        ) % {"seconds": figures["load_seconds"]}


def _about_model(served: Served) -> Iterator[str]:
    champion = bundles.champion()
    if champion is None:
        yield _("There is no model: install the extra ml and run recommender_sync once, or train.")
    elif served.ranker is None:
        yield _('The model cannot be loaded here: pip install "shopreco[serving]", then look in the log.')
    else:
        n_missing = bundles.items_without_vector(champion.encoder_hash).count()
        if n_missing:
            yield _("%(n)d items have no vector yet: run a worker, or recommender_sync.") % {"n": n_missing}


def _about_host() -> Iterator[str]:
    if settings.DEBUG:
        yield _("DEBUG is on: Django keeps every query in memory, and these figures are too high.")
    if type(caches["default"]).__name__ in ("LocMemCache", "DummyCache"):
        yield _(
            "The cache is in this process's memory: with several processes, each counts calls of the API by itself. "
            "Use Redis."
        )
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads != "1" and (os.cpu_count() or 1) > 1:
        yield _(
            "OMP_NUM_THREADS is %(threads)s: set it to 1 for web and worker processes, or they wait for each other."
        ) % {"threads": threads or _("not set")}
    connection = connections[router.db_for_write(Event)]
    if (
        connection.vendor != "sqlite"
        and connection.settings_dict.get("CONN_MAX_AGE") == 0
        and not connection.settings_dict.get("OPTIONS", {}).get("pool")
    ):
        yield _("Each request opens a new connection to the database: set CONN_MAX_AGE, or the pool in its OPTIONS.")
