"""One web process of `benchmarks.serving --items`: does what its parent writes to it, and answers in JSON."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django

STARTED = time.perf_counter()
N_WARM_UP = 20


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    django.setup()
    for line in sys.stdin:
        print(json.dumps(COMMANDS[line.strip()]()), flush=True)


def load() -> dict[str, float]:
    """Load and answer one search: seconds from the start of the process, and of the load alone."""
    from benchmarks.large_shop import queries
    from recommender import pipeline, serving

    started = time.perf_counter()
    served = serving.loaded()
    loaded = time.perf_counter()
    pipeline.search(queries(1)[0])
    return {"load_s": loaded - started, "start_s": time.perf_counter() - STARTED, "n_items": float(len(served.shelf))}


def write() -> dict[str, float]:
    """Write the snapshot that web processes share, as a worker does: seconds."""
    from recommender.serving import sharing

    started = time.perf_counter()
    sharing.write_snapshot()
    return {"snapshot_s": time.perf_counter() - started}


def measure() -> dict[str, float]:
    """Search, list and a list of 100 places, and the floor: one query encoded and one pass over the vectors."""
    from benchmarks.large_shop import N_VISITORS, queries
    from recommender import pipeline

    texts = queries(200)
    timed = {
        "search": _milliseconds(
            lambda n: pipeline.search(texts[n % len(texts)], shopper=_shopper(n % N_VISITORS)), 200
        ),
        "list": _milliseconds(lambda n: pipeline.recommend("home", shopper=_shopper(n % N_VISITORS)), 200),
        "rerank100": _milliseconds(_rerank(), 200),
        "floor": _milliseconds(_floor(), 40),
    }
    figures = {f"{name}_p50_ms": every[len(every) // 2] for name, every in timed.items()}
    figures["floor_ms"] = figures.pop("floor_p50_ms")
    return figures | {f"{name}_p99_ms": timed[name][int(0.99 * len(timed[name]))] for name in timed if name != "floor"}


def refresh() -> dict[str, float]:
    """Milliseconds of a refresh after the parent has changed the title of one item, and whether its word is found."""
    from recommender.serving import memory

    before = memory._memory.served
    started = time.process_time()
    memory._refresh()
    elapsed = (time.process_time() - started) * 1000
    return {"refresh_ms": elapsed, "is_fresh": float(memory._memory.served is not before)}


def memory_of_process() -> dict[str, float]:
    """Megabytes: resident, and proportional (a page that n processes share counts 1/n in each)."""
    values = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return {name.lower(): int(values[name].split()[0]) / 1024 for name in ("Rss", "Pss")}


def _milliseconds(call: Callable[[int], object], n_calls: int) -> list[float]:
    for n in range(N_WARM_UP):
        call(n)
    every = []
    for n in range(n_calls):
        started = time.perf_counter()
        call(n)
        every.append((time.perf_counter() - started) * 1000)
    return sorted(every)


def _shopper(number: int) -> Any:
    from django.contrib.auth.models import AnonymousUser
    from django.test import RequestFactory

    from recommender import conf
    from recommender.identity import cookie_for, shopper_of

    request: Any = RequestFactory().get("/", headers={"host": "127.0.0.1"})
    request.COOKIES["recommender_consent"] = "granted"
    request.COOKIES[conf.get("COOKIE_NAME")] = cookie_for(uuid.UUID(int=number + 1))
    request.user = AnonymousUser()
    return shopper_of(request)


def _rerank() -> Callable[[int], object]:
    """Scores of 100 candidates for a shopper's profile."""
    import numpy as np
    from django.utils import timezone

    from recommender import serving
    from recommender.types import Context, Request, Slot

    served = serving.current()
    if served.ranker is None or served.shelf.vectors is None:
        raise SystemExit("There is no bundle with vectors: install the extras ml and serving.")
    ranker, shelf, vectors = served.ranker, served.shelf, served.shelf.vectors
    rows = np.random.default_rng(0).permutation(len(shelf))[:100].astype(np.int32)
    histories = [_shopper(number).history() for number in range(10)]
    profiles = [shelf.profile(Request(Slot.HOME, Context(timezone.now()), history)) for history in histories]
    return lambda n: ranker.score(profiles[n % 10], rows, shelf.state, shelf.items, vectors)


def _floor() -> Callable[[int], object]:
    from recommender import serving

    served = serving.current()
    if served.ranker is None or served.shelf.vectors is None:
        raise SystemExit("There is no bundle with vectors: install the extras ml and serving.")
    ranker, vectors = served.ranker, served.shelf.vectors
    return lambda n: vectors @ ranker.encode([f"red steel thing {n}"])[0]


COMMANDS: dict[str, Callable[[], dict[str, float]]] = {
    "write": write,
    "load": load,
    "measure": measure,
    "refresh": refresh,
    "memory": memory_of_process,
}

if __name__ == "__main__":
    main()
