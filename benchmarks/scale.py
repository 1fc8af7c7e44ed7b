"""What a night of statistics costs in a shop whose events outgrow memory, and how that grows.

    python -m benchmarks.scale [--events 50000000] [--visitors 5000000] [--items 100000] [--full] [--json FILE]

It makes an archive at a hundredth and at a tenth of the size (`--full`: also at the whole), each in a process of its
own, and runs what the job `refresh_statistics` runs on it: events as what they count, cleaning, popularity and
neighbours. Seconds and peak memory stand beside the projection to the whole, in proportion to the events, and its ratio
to the limit of one night. Copying events out of SQL and training are not part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

NIGHT_SECONDS, MEMORY_GB = 8 * 3600, 10.0
DAYS, NOW = 60, 1_790_000_000
KINDS = ("view_item", "select_item", "search", "add_to_cart", "purchase")
SHARES = (0.62, 0.2, 0.1, 0.05, 0.03)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=50_000_000)
    parser.add_argument("--visitors", type=int, default=5_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--full", action="store_true", help="measure the whole size too")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measured(options.events, options.visitors, options.items)))
        return
    scales = [0.01, 0.1, *([1.0] if options.full else [])]
    rows = [_in_own_process(options, scale) for scale in scales]
    _print(rows, options.events)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    last = rows[-1]
    sys.exit(int(last["ratio_of_night"] > 1 or last["memory_gb"] > MEMORY_GB))


def _in_own_process(options: argparse.Namespace, scale: float) -> dict[str, Any]:
    sizes = {name: max(int(getattr(options, name) * scale), 20) for name in ("events", "visitors", "items")}
    arguments = [f"--{name}={size}" for name, size in sizes.items()]
    command = [sys.executable, "-m", "benchmarks.scale", "--one", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    row: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    projected = row["seconds"] * options.events / sizes["events"]
    return {"scale": scale, **sizes, **row, "projected_s": projected, "ratio_of_night": projected / NIGHT_SECONDS}


def _print(rows: list[dict[str, Any]], n_events: int) -> None:
    print(f"projected to {n_events:,} events, in proportion; limit {NIGHT_SECONDS / 3600:g} h, {MEMORY_GB:g} GB")
    steps = [name for name in rows[0] if name.endswith("_s") and name != "projected_s"]
    print("".join(f"{name:>16}" for name in ("events", *steps, "memory_gb", "projected_s", "ratio_of_night")))
    for row in rows:
        numbers = [row[name] for name in (*steps, "memory_gb", "projected_s", "ratio_of_night")]
        print(f"{row['events']:>16,}" + "".join(f"{number:>16.2f}" for number in numbers))


def _measured(n_events: int, n_visitors: int, n_items: int) -> dict[str, float]:
    """Seconds of each step and GB at the peak, of an archive that was made before the clock starts."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SHOPRECO_VAR"] = folder
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
        import django

        django.setup()
        from recommender.datasets import expressions
        from recommender.datasets.columns import PeopleColumns

        paths = _archive(Path(folder), n_events, n_visitors, n_items)
        visitor = np.arange(1, n_visitors + 1, dtype=np.int64)
        people = PeopleColumns(visitor, visitor - 1, np.zeros(n_visitors, bool))
        clock = _Clock()
        with expressions.duckdb_engine() as engine:
            events, subjects = expressions.events_of(engine, engine.files(paths), _items(n_items), people)
            clock.stop("events_s")
            clean, _report = expressions.cleaned(engine, events, subjects, now=float(NOW))
            clock.stop("cleaning_s")
            expressions.shop_state(engine, clean, n_items=n_items, at=float(NOW), fewest_buyers=3, fewest=5)
            clock.stop("statistics_s")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return {**clock.seconds, "seconds": sum(clock.seconds.values()), "memory_gb": memory}


class _Clock:
    """Seconds of one step after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = time.perf_counter()

    def stop(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._started = now - self._started, now


def _items(n_items: int) -> Any:
    from recommender.tables import ItemTable

    return ItemTable(
        tuple(f"item-{number}" for number in range(n_items)), ("",) * n_items, np.full(n_items, np.nan, np.float32),
        np.full(n_items, -1, np.int32), (), np.zeros(n_items), np.ones(n_items, bool),
    )  # fmt: skip


def _archive(folder: Path, n_events: int, n_visitors: int, n_items: int) -> list[Path]:
    """One file per day. Few visitors come often, few items are popular, and each visitor likes a part of them."""
    import pyarrow.parquet as pq

    random = np.random.default_rng(0)
    paths, first = [], 0
    for day, n in enumerate(np.diff(np.linspace(0, n_events, DAYS + 1).astype(int)).tolist()):
        path = folder / f"{day}.parquet"
        pq.write_table(_day(random, day, n, first, n_visitors, n_items), path, compression="zstd")
        paths.append(path)
        first += n
    return paths


def _day(random: np.random.Generator, day: int, n: int, first: int, n_visitors: int, n_items: int) -> Any:
    import pyarrow as pa

    from recommender.datasets.archive.parts import schema

    visitor = (random.random(n) ** 2 * n_visitors).astype(np.int64) + 1
    taste = (visitor * 7919) % n_items
    item = (taste + (random.random(n) ** 3 * n_items * 0.1).astype(np.int64)) % n_items
    item = np.where(random.random(n) < 0.3, (random.random(n) ** 4 * n_items).astype(np.int64), item)
    kind = random.choice(len(KINDS), n, p=SHARES)
    at = np.sort(NOW - (DAYS - day) * 86_400 + random.integers(0, 86_400, n)) * 1_000_000
    is_search, is_order = kind == KINDS.index("search"), kind == KINDS.index("purchase")
    names = pa.array([f"item-{number}" for number in range(n_items)] + [""])
    queries = pa.array([f"query {number}" for number in range(5_000)] + [""])
    orders = [
        f"o{visitor_}-{day}" if bought else "" for visitor_, bought in zip(visitor.tolist(), is_order, strict=True)
    ]
    empty = pa.array([""]).take(pa.array(np.zeros(n, np.int64)))
    columns = {
        "pk": pa.array(np.arange(first + 1, first + n + 1)),
        "visitor_id": pa.array(visitor),
        "item_id": names.take(pa.array(np.where(is_search, n_items, item))),
        "type": pa.array(KINDS).take(pa.array(kind)),
        "occurred_at": pa.array(at),
        "received_at": pa.array(at),
        "quantity": pa.array(np.ones(n, np.float32)),
        "order_id": pa.array(orders, pa.string()),
        "query": queries.take(pa.array(np.where(is_search, random.integers(0, 5_000, n), 5_000))),
        "is_bot": pa.array(np.zeros(n, bool)),
        "device": empty,
        "region": empty,
        "source": pa.array(["page", "order"]).take(pa.array(is_order.astype(np.int64))),
    }
    return pa.table([columns[name] for name in schema().names], schema=schema())


if __name__ == "__main__":
    main()
