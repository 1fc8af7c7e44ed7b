"""What the hourly count of exposure costs a worker after an hour with 100,000 lists: seconds of the processor.

    python -m benchmarks.exposure [--lists 100000]

It runs on the database of the settings, in a copy that is deleted afterwards: PostgreSQL with DATABASE_URL, else
SQLite. The shop is generated: 20,000 items of 50 categories and 500 brands, lists of eight, two bundles.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import random
import tempfile
import time
from collections.abc import Iterator

import django

from benchmarks.event_storage import own_database
from benchmarks.figures import Figure, show

LIMIT_SECONDS = 60.0
"""A sixtieth of the hour."""

N_ITEMS, N_VISITORS, CHUNK = 20_000, 5_000, 10_000
HOUR = dt.timedelta(hours=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lists", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SHOPRECO_VAR"] = folder
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
        django.setup()
        with own_database():
            show(f"exposure of {options.lists:,} lists", _figures(options.lists))


def _figures(n_lists: int) -> Iterator[Figure]:
    from django.utils import timezone

    from recommender import exposure

    noon = timezone.make_aware(dt.datetime.combine(timezone.localdate(), dt.time(12)))
    _stock(noon)
    exposure.count_days(at=noon - HOUR)
    _show_lists(n_lists, noon)
    started, processor = time.perf_counter(), time.process_time()
    n_counted = exposure.count_days(at=noon)
    wall, processor = time.perf_counter() - started, time.process_time() - processor
    if n_counted != n_lists:
        raise SystemExit(f"{n_counted} of {n_lists} lists were counted.")
    yield Figure("the hour's count, processor", processor, LIMIT_SECONDS, "s")
    yield Figure("the hour's count, with the database", wall, LIMIT_SECONDS, "s")
    processor = time.process_time()
    exposure.watch_floors(at=noon)
    yield Figure("floors without a group", time.process_time() - processor, LIMIT_SECONDS, "s")


def _stock(at: dt.datetime) -> None:
    from recommender.models import Item, Visitor

    chance = random.Random(0)
    Item.objects.bulk_create(
        [
            Item(item_id=f"i{number}", label="shop.Item", object_id=str(number), title=f"item {number}",
                 text=f"item {number}", text_hash="h", category=f"category {chance.randrange(50)}",
                 brand=f"brand {chance.randrange(500)}", price=chance.randrange(1, 90), currency="GBP",
                 first_seen_at=at - dt.timedelta(days=chance.randrange(200)))
            for number in range(N_ITEMS)
        ],
        batch_size=CHUNK,
    )  # fmt: skip
    Visitor.objects.bulk_create([Visitor() for _ in range(N_VISITORS)], batch_size=CHUNK)


def _show_lists(n_lists: int, at: dt.datetime) -> None:
    from recommender.models import Impression, Visitor

    chance, visitors = random.Random(1), list(Visitor.objects.values_list("pk", flat=True))
    for start in range(0, n_lists, CHUNK):
        Impression.objects.bulk_create(
            Impression(
                visitor_id=chance.choice(visitors), slot="home", rung="champion", bundle=chance.choice(("b1", "b2")),
                item_ids=[f"i{number}" for number in chance.sample(range(N_ITEMS), 8)],
                occurred_at=at - HOUR * chance.uniform(0.001, 0.999),
            )
            for _ in range(min(CHUNK, n_lists - start))
        )  # fmt: skip


if __name__ == "__main__":
    main()
