"""What a profit dial adds to a list: microseconds of the processor with a dial of 1, less those with a dial of 0.

    python -m benchmarks.profit_dial [--lists 300]

It ranks the lists of customers of the loaded demo, each in turn without a dial and with one, in memory: the history is
read before. The demo's margins are invented, which costs as much as any others.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import django

from benchmarks.figures import Figure, show

LIMIT_US = 200.0
SLOTS = ("home", "trending", "similar", "bought_together", "cart")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lists", type=int, default=300, help="lists of each slot")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    django.setup()
    from recommender import serving
    from recommender.serving.profit import margins_of

    served = serving.reload()
    if served.ranker is None or served.ranker.head is None or margins_of(served.shelf) is None:
        raise SystemExit("No trained head or no margin is served. Run `make demo` first, or set SHOPRECO_VAR to one.")
    show(f"a dial of 1, {len(served.shelf):,} items, bundle {served.bundle}", _figures(served, options.lists))


def _figures(served: Any, n_lists: int) -> Iterator[Figure]:
    for slot in SLOTS:
        requests = list(_requests(served, slot, n_lists))
        times: dict[float, list[float]] = {0.0: [], 1.0: []}
        n_changed = 0
        for request in requests:
            lists = {
                weight: _ranked(replace(request, profit=weight), served, seconds) for weight, seconds in times.items()
            }
            n_changed += lists[0.0] != lists[1.0]
        low, high = (1_000 * statistics.median(seconds) for seconds in times.values())
        share = 100 * n_changed / len(requests)
        yield Figure(f"{slot}: added to {low:.2f} ms, {share:.0f} % change", 1_000 * (high - low), LIMIT_US, "us")


def _ranked(request: Any, served: Any, seconds: list[float]) -> list[str]:
    from recommender.serving.ranking import rank

    started = time.thread_time()
    ranking = rank(request, served=served)
    seconds.append(time.thread_time() - started)
    return [entry.item_id for entry in ranking.entries]


def _requests(served: Any, slot: str, n_lists: int) -> Iterator[Any]:
    """Lists of customers who have bought, beside what they bought last."""
    from benchmarks.serving import _shopper, _users
    from recommender import pipeline

    users, ids = _users(), served.shelf.items.ids
    wanted = [
        pipeline.of_shopper(
            pipeline.slot_request(slot, item_id=item_id, cart_item_ids=ids[:2]), _shopper(users, number)
        )
        for number, item_id in enumerate(ids[: len(users)])
    ]
    for number in range(n_lists):
        yield wanted[number % len(wanted)]


if __name__ == "__main__":
    main()
