"""Read the catalogue, visitors, events and judgements into columns, without a long transaction."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from recommender.datasets import archive
from recommender.datasets.cleaning import Recorded
from recommender.datasets.columns import Gathering, People, PersonRow, recorded_of
from recommender.datasets.pages import pages, rows_of
from recommender.exceptions import RecommenderError
from recommender.models import Event, Item, Judgement, Visitor
from recommender.models.encryption import plain
from recommender.models.staff import visitors_of_staff
from recommender.tables import ItemTable, Judgements

logger = logging.getLogger(__name__)

EVENT_COLUMNS = (
    "pk", "visitor_id", "item_id", "type", "occurred_at", "quantity", "order_id", "query", "is_bot",
    "device", "region", "source", "received_at",
)  # fmt: skip


def codes_of(names: Iterable[str]) -> dict[str, int]:
    """Return a number per distinct name in the order of appearance, -1 for the empty one."""
    distinct = dict.fromkeys(name for name in names if name)
    return {name: code for code, name in enumerate(distinct)} | {"": -1}


def read_items(*, until: dt.datetime | None = None) -> ItemTable:
    """Read all items first seen before `until`, also inactive ones, whose behaviour is still worth learning from."""
    items = Item.objects.all() if until is None else Item.objects.filter(first_seen_at__lt=until)
    rows = list(rows_of(items, ("pk", "item_id", "text", "category", "price", "first_seen_at", "is_active")))
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
        item_id: (title, brand)
        for _, item_id, title, brand in rows_of(Item.objects, ("pk", "item_id", "title", "brand"))
    }
    pairs = [names.get(item_id, ("", "")) for item_id in items.ids]
    return tuple(title for title, _ in pairs), tuple(brand for _, brand in pairs)


def read_people(pks: Collection[int] | None = None) -> People:
    """Read the row and bot flag of each visitor, or of those in `pks`; the visitors of one user share a row.

    A visitor is anonymous without consent (unless their orders may teach the model without it) or with profiling off.
    """
    rows: dict[Any, int] = {}
    people = {}
    for pk, user_key, has_consented, is_pseudonymous, is_profiled, is_bot in rows_of(
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
    """Read all events before `until` as recorded, ascending by time; one query per 20,000 events that are not in the
    archive.

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
    gathering, after = Gathering(items), 0
    if visitor_pks is None:
        gathering, after = _archived(items, until=until, received_until=received_until)
    for page in pages(events, EVENT_COLUMNS, after=after):
        gathering.add_rows(page, EVENT_COLUMNS)
    people = read_people() if people is None else people
    return recorded_of(gathering.columns(), people, list(visitors_of_staff()))


def _archived(
    items: ItemTable, *, until: dt.datetime | None, received_until: dt.datetime | None
) -> tuple[Gathering, int]:
    """What the archive holds, and the primary key up to which it does; nothing and 0 where it is off or damaged."""
    gathering = Gathering(items)
    if not archive.is_in_use():
        return gathering, 0
    manifest = archive.read_manifest()
    try:
        for table in archive.archived_tables(manifest, until=until, received_until=received_until):
            gathering.add_table(table, plain=plain)
    except RecommenderError as error:
        logger.warning("events are read from the database instead of the archive: %s", error)
        return Gathering(items), 0
    return gathering, manifest.last_pk


def read_judgements(items: ItemTable, *, until: dt.datetime | None = None) -> Judgements:
    """Read all judgements of the items before `until`; a pair judged by several sources has their mean grade."""
    judged = Judgement.objects.all() if until is None else Judgement.objects.filter(judged_at__lt=until)
    item_row = {item_id: row for row, item_id in enumerate(items.ids)}
    grades: dict[tuple[str, int], list[float]] = {}
    for _, query, item_id, grade in rows_of(judged, ("pk", "query", "item_id", "grade")):
        if item_id in item_row and query.strip():
            grades.setdefault((query, item_row[item_id]), []).append(grade)
    query_code = {query: code for code, query in enumerate(dict.fromkeys(query for query, _ in grades))}
    return Judgements(
        tuple(query_code),
        np.array([query_code[query] for query, _ in grades], np.int32),
        np.array([row for _, row in grades], np.int32),
        np.array([sum(given) / len(given) for given in grades.values()], np.float32),
    )
