"""Read the catalogue, visitors, events and judgements from SQL into columns, without a long transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from django.db import models

from recommender.datasets.cleaning import Recorded
from recommender.durations import DAY_SECONDS
from recommender.models import Event, Item, Judgement, Visitor
from recommender.models.claims import ROWS_OF_THE_SHOP, counted_as, counted_at, order_of
from recommender.models.staff import visitors_of_staff
from recommender.tables import Interactions, ItemTable, Judgements
from recommender.types import EVENT_CODES, IntArray

CHUNK_SIZE = 20_000
"""Rows per query."""

EVENT_COLUMNS = (
    "pk", "visitor_id", "item_id", "type", "occurred_at", "quantity", "order_id", "query", "is_bot",
    "device", "region", "source", "received_at",
)  # fmt: skip


class PersonRow(NamedTuple):
    """A visitor in the columns: the row shared by the visitors of one user, -1 for anonymous."""

    row: int = -1
    is_bot: bool = False


ANONYMOUS = PersonRow()

People = Mapping[int, PersonRow]
"""By primary key of the visitor."""


def pages(
    rows: models.Manager[Any] | models.QuerySet[Any], columns: tuple[str, ...], *, after: Any = 0
) -> Iterator[tuple[Any, ...]]:
    """Read by primary key, `CHUNK_SIZE` rows per query, from beyond `after`; the first column must be "pk"."""
    last = after
    while page := list(rows.filter(pk__gt=last).order_by("pk").values_list(*columns)[:CHUNK_SIZE]):
        yield from page
        last = page[-1][0]


def codes_of(names: Iterable[str]) -> dict[str, int]:
    """Return a number per distinct name in the order of appearance, -1 for the empty one."""
    distinct = dict.fromkeys(name for name in names if name)
    return {name: code for code, name in enumerate(distinct)} | {"": -1}


def read_items(*, until: dt.datetime | None = None) -> ItemTable:
    """Read all items first seen before `until`, also inactive ones, whose behaviour is still worth learning from."""
    items = Item.objects.all() if until is None else Item.objects.filter(first_seen_at__lt=until)
    rows = list(pages(items, ("pk", "item_id", "text", "category", "price", "first_seen_at", "is_active")))
    _, item_ids, texts, categories, prices, first_seen, active = zip(*rows, strict=True) if rows else [()] * 7
    names = tuple(sorted(set(filter(None, categories))))
    code = {name: number for number, name in enumerate(names)} | {"": -1}
    return ItemTable(
        ids=tuple(item_ids),
        texts=tuple(texts),
        category=np.array([code[category] for category in categories], np.int32),
        category_names=names,
        price=np.array([np.nan if price is None else float(price) for price in prices], np.float32),
        first_seen=np.array([at.timestamp() for at in first_seen], np.float64),
        active=np.array(active, bool),
    )


def read_names(items: ItemTable) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read titles and brands in the order of `items`; "" for an item that is gone or has none."""
    names = {
        item_id: (title, brand) for _, item_id, title, brand in pages(Item.objects, ("pk", "item_id", "title", "brand"))
    }
    pairs = [names.get(item_id, ("", "")) for item_id in items.ids]
    return tuple(title for title, _ in pairs), tuple(brand for _, brand in pairs)


def read_people(pks: Collection[int] | None = None) -> People:
    """Read the row and bot flag of each visitor, or of those in `pks`; the visitors of one user share a row.

    A visitor is anonymous without consent (unless their orders may teach the model without it) or with profiling off.
    """
    rows: dict[Any, int] = {}
    people = {}
    for pk, user_key, has_consented, is_pseudonymous, is_profiled, is_bot in pages(
        Visitor.objects if pks is None else Visitor.objects.filter(pk__in=pks),
        ("pk", "user_key", "has_consented", "is_pseudonymous", "is_profiled", "is_bot"),
    ):
        is_identified = (has_consented or is_pseudonymous) and is_profiled
        people[pk] = PersonRow(rows.setdefault(user_key or pk, len(rows)) if is_identified else -1, is_bot)
    return people


def read_interactions(
    items: ItemTable,
    *,
    until: dt.datetime | None = None,
    received_until: dt.datetime | None = None,
    people: People | None = None,
    visitor_pks: Collection[int] | None = None,
) -> Recorded:
    """Read all events before `until` as recorded, ascending by time; one query per 20,000 events.

    `received_until` leaves out events that came in later, `visitor_pks` those of other visitors. Events of anonymous
    visitors (-1) count only for popularity and co-purchase. `people` are read unless given.
    """
    events = Event.objects.all()
    if until is not None:
        events = events.filter(occurred_at__lt=until)
    if received_until is not None:
        events = events.filter(received_at__lt=received_until)
    if visitor_pks is not None:
        events = events.filter(visitor_id__in=visitor_pks)
    return _recorded(items, events, read_people() if people is None else people)


def _recorded(items: ItemTable, events: models.QuerySet[Event], people: People) -> Recorded:
    rows = list(pages(events, EVENT_COLUMNS))
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(EVENT_COLUMNS)
    (_, visitor_ids, item_ids, types, times, quantities, order_ids, queries, bots, devices, regions, sources,
     received) = columns  # fmt: skip
    orders = list(map(order_of, order_ids, sources))
    item_row = {item_id: row for row, item_id in enumerate(items.ids)} | {"": Recorded.NO_ITEM}
    query_code, order_code, device_code, region_code = map(codes_of, (queries, orders, devices, regions))
    persons, staff = [people.get(pk, ANONYMOUS) for pk in visitor_ids], visitors_of_staff()
    is_bot = [
        bot or person.is_bot or (pk in staff and source != ROWS_OF_THE_SHOP)  # an order counts, whoever ordered
        for bot, person, pk, source in zip(bots, persons, visitor_ids, sources, strict=True)
    ]
    recorded = Recorded(
        Interactions(
            visitor=np.array([person.row for person in persons], np.int32),
            item=np.array([item_row.get(item_id, Recorded.UNKNOWN_ITEM) for item_id in item_ids], np.int32),
            type=np.array([EVENT_CODES[kind] for kind in map(counted_as, types, sources)], np.int8),
            time=np.array([at.timestamp() for at in map(counted_at, times, received, sources)], np.float64),
            quantity=np.array(quantities, np.float32),
            basket=np.array([order_code[order] for order in orders], np.int32),
            query=np.array([query_code[query] for query in queries], np.int32),
            queries=tuple(filter(None, query_code)),
            device=np.array([device_code[device] for device in devices], np.int32),
            region=np.array([region_code[region] for region in regions], np.int32),
            devices=tuple(filter(None, device_code)),
            regions=tuple(filter(None, region_code)),
            claim=claims_of(visitor_ids, received, sources, people),
            day=days_of(times, received, sources),
        ),
        is_bot=np.array(is_bot, bool),
    )
    return recorded.take(np.argsort(recorded.interactions.time, kind="stable"))


def claims_of(visitor_ids: Any, received: Any, sources: Any, people: People) -> IntArray:
    """Return `Interactions.claim`: a number per person, anonymous or not, and day of receipt."""
    numbers: dict[tuple[int, int], int] = {}

    def number(visitor_id: int | None, at: dt.datetime, source: str) -> int:
        if source == ROWS_OF_THE_SHOP:
            return -1
        row = people.get(visitor_id or 0, ANONYMOUS).row
        person = row if row >= 0 else -2 - (visitor_id or 0)
        return numbers.setdefault((person, int(at.timestamp() // DAY_SECONDS)), len(numbers))

    return np.fromiter(map(number, visitor_ids, received, sources), np.int32, len(sources))


def days_of(times: Any, received: Any, sources: Any) -> IntArray:
    """Return `Interactions.day`: of the shop's rows when it was ordered, of a claim when it came."""
    moments = (
        at if source == ROWS_OF_THE_SHOP else came for at, came, source in zip(times, received, sources, strict=True)
    )
    return np.fromiter((at.timestamp() // DAY_SECONDS for at in moments), np.int32, len(sources))


def read_judgements(items: ItemTable, *, until: dt.datetime | None = None) -> Judgements:
    """Read all judgements of the items before `until`; a pair judged by several sources has their mean grade."""
    judged = Judgement.objects.all() if until is None else Judgement.objects.filter(judged_at__lt=until)
    item_row = {item_id: row for row, item_id in enumerate(items.ids)}
    grades: dict[tuple[str, int], list[float]] = {}
    for _, query, item_id, grade in pages(judged, ("pk", "query", "item_id", "grade")):
        if item_id in item_row and query.strip():
            grades.setdefault((query, item_row[item_id]), []).append(grade)
    query_code = {query: code for code, query in enumerate(dict.fromkeys(query for query, _ in grades))}
    return Judgements(
        tuple(query_code),
        np.array([query_code[query] for query, _ in grades], np.int32),
        np.array([row for _, row in grades], np.int32),
        np.array([sum(given) / len(given) for given in grades.values()], np.float32),
    )
