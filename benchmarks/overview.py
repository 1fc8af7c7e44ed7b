"""What the overview costs at a million events and 100,000 lists: its queries and milliseconds, beside their limits.

    python -m benchmarks.overview [--events 1000000] [--lists 100000]

It runs on the database of the settings, in a copy that is deleted afterwards: PostgreSQL with DATABASE_URL, else
SQLite. The behaviour is generated: 28 days, 20,000 visitors, 2,000 items, two bundles, three slots; a tenth of the
lists is clicked, a fiftieth led to an order. Also printed is what summing up costs the worker: all hours once, and
then the newest, as it does every five minutes.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import django

from benchmarks.event_storage import own_database
from benchmarks.figures import Figure, show

MOST_QUERIES, LONGEST_MS = 20, 300.0
N_DAYS, N_VISITORS, N_ITEMS = 28, 20_000, 2_000
N_TIMED = 15
CHUNK = 10_000
SLOTS, BUNDLES = ("home", "similar", "search"), ("b1", "b2")
QUERIES = tuple(f"{colour} {thing}" for colour in ("red", "blue", "old") for thing in ("mug", "lamp", "bag", "clock"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--lists", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SHOPRECO_VAR"] = folder
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
        django.setup()
        with own_database():
            _behave(options.events, options.lists)
            _measure(options.events, options.lists)


def _measure(n_events: int, n_lists: int) -> None:
    from django.db import connection
    from django.utils import timezone

    from recommender import overview

    at = timezone.now()
    everything = _seconds(lambda: overview.roll_up(at=at, everything=True))
    newest = _seconds(lambda: overview.roll_up(at=at + dt.timedelta(minutes=5)))
    queries = _seconds(lambda: overview.roll_up_queries(at=at))
    page = _page()
    figures = [figure for n_days in overview.SPANS for figure in _figures_of_page(page, n_days)]
    show(f"the overview, {connection.vendor}, {n_events:,} events, {n_lists:,} lists", figures)
    print(f"summed up: all hours {everything:.1f} s, the newest {newest:.2f} s, queries {queries:.1f} s")


def _page() -> Callable[[int], Any]:
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client()
    client.force_login(get_user_model().objects.create_superuser("clerk", "", "x"))

    def get(n_days: int) -> Any:
        response = client.get("/admin/recommender/overview/", {"days": n_days}, headers={"host": "localhost"})
        if response.status_code != 200:
            raise SystemExit(f"the overview answered {response.status_code}")
        return response

    return get


def _figures_of_page(page: Callable[[int], Any], n_days: int) -> Iterator[Figure]:
    from django.db import connection, reset_queries
    from django.test.utils import CaptureQueriesContext

    page(n_days)
    reset_queries()  # the log holds 9,000 and is full: DEBUG may be on
    with CaptureQueriesContext(connection) as captured:
        page(n_days)
    milliseconds = [1_000 * _seconds(lambda: page(n_days)) for _ in range(N_TIMED)]
    yield Figure(f"{n_days} days", len(captured), MOST_QUERIES, "queries")
    yield Figure(f"{n_days} days, p50", statistics.median(milliseconds), LONGEST_MS, "ms")


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _behave(n_events: int, n_lists: int) -> None:
    """Store lists, what they led to, and events that no list led to, all spread over the days."""
    from django.utils import timezone

    from recommender.models import Event, Impression, Visitor

    chance, now = random.Random(0), timezone.now()
    Visitor.objects.bulk_create([Visitor() for _ in range(N_VISITORS)], batch_size=CHUNK)
    visitors = list(Visitor.objects.values_list("pk", flat=True))

    def moment() -> dt.datetime:
        return now - dt.timedelta(days=chance.random() * N_DAYS)

    def event(visitor: int, kind: str, at: dt.datetime, **values: Any) -> Event:
        return Event(
            visitor_id=visitor, message_id=uuid.uuid4().hex, type=kind, occurred_at=at, received_at=at, **values
        )

    def of_lists() -> Iterator[tuple[Impression, list[Event]]]:
        for _ in range(n_lists):
            slot, at, visitor = chance.choice(SLOTS), moment(), chance.choice(visitors)
            items = [f"i{number}" for number in chance.sample(range(N_ITEMS), 8)]
            shown = Impression(
                visitor_id=visitor, slot=slot, rung="champion", bundle=chance.choice(BUNDLES), item_ids=items,
                occurred_at=at, query=chance.choice(QUERIES) if slot == "search" else "",
            )  # fmt: skip
            led_to, item = chance.random(), {"item_id": items[0], "ranking_id": shown.ranking_id}
            events = [event(visitor, "select_item", at, **item)] if led_to < 0.1 else []
            if led_to < 0.02:
                paid = {"price": Decimal("9.50"), "currency": "EUR", "quantity": 1, "source": "order"}
                events.append(event(visitor, "purchase", at, **item, **paid))
            yield shown, events

    lists: list[Impression] = []
    events: list[Event] = []
    n_stored = 0
    for shown, led_to in of_lists():
        lists.append(shown)
        events += led_to
        if len(lists) == CHUNK:
            n_stored += len(events)
            Impression.objects.bulk_create(lists)
            Event.objects.bulk_create(events)
            lists, events = [], []
    Impression.objects.bulk_create(lists)
    Event.objects.bulk_create(events)
    n_stored += len(events)
    while n_stored < n_events:
        n = min(CHUNK, n_events - n_stored)
        Event.objects.bulk_create(
            event(chance.choice(visitors), "search", moment(), query=chance.choice(QUERIES))
            if chance.random() < 0.2
            else event(chance.choice(visitors), "view_item", moment(), item_id=f"i{chance.randrange(N_ITEMS)}")
            for _ in range(n)
        )
        n_stored += n


if __name__ == "__main__":
    main()
