"""What deadlines cost a list that is in time, and what a model that sleeps costs beside one that is well.

    python -m benchmarks.deadlines [--items N]

A made shop in memory, served with an untrained encoder, on one core. Each call is made directly (`rank`) and in time
(`ladder.ranked` within 300 ms, which waits for a thread of the pool), in turns.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import django
import numpy as np

from benchmarks.figures import Figure, show

N_CALLS = 600
COST_LIMIT_US = 100
DEADLINE_SECONDS, SLEEP_SECONDS = 0.05, 3.0
N_ASKED_ASLEEP = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=2_000)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    django.setup()
    from recommender.ml.export import export_untrained
    from recommender.serving.ranker import Ranker

    with tempfile.TemporaryDirectory() as folder:
        export_untrained("scratch", Path(folder), texts=tuple(_titles(options.items)))
        ranker = Ranker.load(Path(folder))
        served = _served(ranker, _titles(options.items))
        gc.collect()
        gc.freeze()  # a web process has no PyTorch, whose objects a collection would visit
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # or other work of the machine is measured
        figures = [*_costs(served), *_asleep(served, ranker)]
    show(f"Deadlines, {options.items} items", figures)
    sys.exit(0 if all(figure.ratio <= 1 for figure in figures) else 1)


def _titles(n_items: int) -> list[str]:
    from benchmarks.large_shop import _drafts

    return [draft.title for draft in _drafts(n_items)]


def _served(ranker: Any, titles: list[str]) -> Any:
    from recommender.features.shop_state import ShopState
    from recommender.serving import Served
    from recommender.serving.shelf import build_shelf
    from recommender.tables import ItemTable

    n = len(titles)
    items = ItemTable(
        ids=tuple(map(str, range(n))),
        texts=tuple(titles),
        price=np.full(n, 5, np.float32),
        category=np.zeros(n, np.int32),
        category_names=("",),
        first_seen=np.zeros(n),
        active=np.ones(n, bool),
    )
    counts = np.random.default_rng(0).poisson(2, (n, 4)).astype(np.float32)
    state = ShopState.from_columns(at=time.time(), counts=counts, last_event_at=np.full(n, -np.inf))
    shelf = build_shelf(items, state=state, titles=titles, vectors=ranker.encode(titles))
    return Served.paired(shelf, ranker, "benchmark")


def _requests(titles: list[str]) -> dict[str, Any]:
    from recommender.types import Context, EventType, PastEvent, Request, Slot

    now = dt.datetime.now(dt.UTC)
    past = tuple(PastEvent(EventType.VIEW_ITEM, now - dt.timedelta(hours=n), item_id=str(n)) for n in range(1, 9))
    return {
        "search": Request(Slot.SEARCH, Context(now), query=" ".join(titles[0].split()[:2]), limit=24, history=past),
        "home": Request(Slot.HOME, Context(now), limit=8, history=past, is_composed=True),
        "trending": Request(Slot.TRENDING, Context(now), limit=8),
    }


def _costs(served: Any) -> list[Figure]:
    """The difference of the fastest tenths: what the hand-over costs by itself, without other work of the machine."""
    figures = []
    for name, request in _requests(list(served.shelf.titles)).items():
        direct, timed = _in_turns(served, request)
        before, after = (statistics.quantiles(seconds, n=10)[0] for seconds in (direct, timed))
        added, ratio = (after - before) * 1e6, statistics.median(timed) / statistics.median(direct)
        label = f"{name}, {before * 1e3:.2f} ms, medians x {ratio:.3f}: added"
        figures.append(Figure(label, added, COST_LIMIT_US, "µs"))
    return figures


def _in_turns(served: Any, request: Any) -> tuple[list[float], list[float]]:
    from recommender.serving.ranking import rank

    direct: list[float] = []
    timed: list[float] = []
    for number in range(N_CALLS):
        pair: list[tuple[list[float], Callable[[], object]]] = [
            (direct, lambda: rank(request, served=served)),
            (timed, lambda: _in_time(served, request, 0.3)),
        ]
        for seconds, call in pair if number % 2 else pair[::-1]:
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
    return direct[100:], timed[100:]


def _in_time(served: Any, request: Any, seconds: float) -> Any:
    from recommender.deadlines import Stopwatch, timed_by
    from recommender.serving import ladder

    with timed_by(Stopwatch(time.monotonic() + seconds, stops=False)):
        return ladder.ranked(request, served)


def _asleep(served: Any, ranker: Any) -> list[Figure]:
    """The longest answer while each encoding sleeps 3 s: every search asks something else."""

    class Asleep:
        def run(self, *inputs: Any) -> Any:
            time.sleep(SLEEP_SECONDS)
            return ranker._parts.encoder.run(*inputs)

    sleeping = type(ranker)(replace(ranker._parts, encoder=Asleep()))
    served, request = replace(served, ranker=sleeping, bundle="asleep"), _requests(list(served.shelf.titles))["search"]
    waits = []
    for title in served.shelf.titles[:N_ASKED_ASLEEP]:
        started = time.perf_counter()
        _in_time(served, replace(request, query=title, history=()), DEADLINE_SECONDS)
        waits.append((time.perf_counter() - started) * 1e3)
    label = f"encoder sleeps 3 s, median {statistics.median(waits):.1f} ms: longest"
    return [Figure(label, max(waits), DEADLINE_SECONDS * 1e3, "ms")]


if __name__ == "__main__":
    main()
