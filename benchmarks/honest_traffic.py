"""Visitors of a shop who look and search and seldom buy, drawn by what its customers buy: the background of attacks."""

from __future__ import annotations

import datetime as dt
import uuid
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from recommender.models import Event

N_VISITORS, DAYS = 4_000, 60
VIEWS_EACH = 4.0
CART_SHARE, SEARCH_SHARE, RETURN_SHARE = 0.1, 0.2, 0.15
LATELY_DAYS = 7
"""A visitor looks at what sold in the days before: nobody knows what will sell."""

CHUNK_SIZE = 5_000


def add_visitors(*, seed: int = 0, n_visitors: int = N_VISITORS) -> int:
    """Store the visits of new visitors, and the looks of those who bought before each order line; return how many."""
    from recommender.models import Event, Item, Visitor

    generator = np.random.default_rng(seed)
    newest = Event.objects.latest("occurred_at").occurred_at
    lines = list(
        Event.objects.filter(type="purchase", occurred_at__gt=newest - dt.timedelta(days=DAYS + LATELY_DAYS))
        .exclude(visitor=None)
        .order_by("occurred_at", "pk")
        .values_list("visitor_id", "item_id", "occurred_at")
    )
    titles = dict(Item.objects.values_list("item_id", "title"))
    visitors = Visitor.objects.bulk_create([Visitor() for _ in range(n_visitors)], batch_size=CHUNK_SIZE)
    events = [_event("view_item", visitor, item_id, at - dt.timedelta(minutes=9)) for visitor, item_id, at in lines]
    for visitor in visitors:
        events += _visits(visitor.pk, lines, titles, newest, generator)
    Event.objects.bulk_create(events, batch_size=CHUNK_SIZE)
    return len(events)


def _visits(
    visitor: int,
    lines: Sequence[tuple[int, str, dt.datetime]],
    titles: Mapping[str, str],
    newest: dt.datetime,
    generator: np.random.Generator,
) -> Iterator[Event]:
    n_days = 1 + int(generator.random() < RETURN_SHARE)
    for _day in range(n_days):
        at = newest - dt.timedelta(days=float(generator.uniform(0, DAYS)))
        first, last = (bisect_left(lines, one, key=itemgetter(2)) for one in (at - dt.timedelta(days=LATELY_DAYS), at))
        first = min(first, len(lines) - 1)
        for number in range(1 + int(generator.poisson(VIEWS_EACH - 1))):
            item_id = lines[int(generator.integers(first, max(last, first + 1)))][1]
            moment = at + dt.timedelta(minutes=2 * number)
            if generator.random() < SEARCH_SHARE and (words := titles[item_id].lower().split()):
                yield _event("search", visitor, "", moment, query=" ".join(words[-2:]))
            yield _event("view_item", visitor, item_id, moment + dt.timedelta(seconds=20))
            if generator.random() < CART_SHARE:
                yield _event("add_to_cart", visitor, item_id, moment + dt.timedelta(seconds=40))


def _event(kind: str, visitor: int, item_id: str, at: dt.datetime, *, query: str = "") -> Event:
    from recommender.models import Event

    return Event(
        message_id=f"page:{uuid.uuid4().hex}", type=kind, visitor_id=visitor, item_id=item_id, query=query,
        occurred_at=at, received_at=at, source="page",
    )  # fmt: skip
