"""Archived events as what they count: the same columns as `Interactions`, in a table of the engine."""

from __future__ import annotations

from collections.abc import Callable, Collection

import ibis
import numpy as np
from ibis import _
from ibis.expr import types as ir

from recommender.datasets.columns import API, OTHER, ROW, PeopleColumns
from recommender.datasets.expressions.engine import Engine
from recommender.datasets.expressions.words import coded, number_of
from recommender.durations import DAY_SECONDS
from recommender.models.claims import MAX_CLAIM_AGE, ROWS_OF_THE_SHOP, counted_as
from recommender.tables import ItemTable
from recommender.text.words import folded
from recommender.types import EVENT_CODES

SECOND = 1_000_000
"""Moments are whole microseconds."""

DAY = int(DAY_SECONDS) * SECOND
NO_ITEM, UNKNOWN_ITEM = -1, -2
SENT = {kind.value: code for kind, code in EVENT_CODES.items()}
CLAIMED = {kind.value: EVENT_CODES[counted_as(kind, "")] for kind in EVENT_CODES}
"""What each type counts as in a row of the shop, and in a claim."""


def events_of(
    engine: Engine,
    archived: ir.Table,
    items: ItemTable,
    people: PeopleColumns,
    *,
    staff: Collection[int] = (),
    plain: Callable[[str], str] = str,
) -> tuple[ir.Table, list[str]]:
    """Store the events of the archive as what they count.

    key, visitor, item, type, at (microseconds), quantity, basket, query, subject (of the query, in all its spellings),
    claim, day and is_bot, numbered like the columns of `Interactions`. Returned too: the text of each subject, folded.
    `plain` decrypts a query.
    """
    named = _named(engine, archived, items, people, staff)
    queries, subjects = _queries(engine, archived, plain)
    orders = named.filter(_.order_id != "").group_by("order_id").agg(first=_.key.min())
    orders = _numbered(orders, "basket", "order_id")
    claims = named.filter(_.source != ROW).group_by("person", "received_on").agg(first=_.key.min())
    claims = engine.stored(_numbered(claims, "claim", "person", "received_on"))
    joined = named.left_join(queries, named.query == queries.stored).drop("stored")
    joined = joined.left_join(orders, "order_id").drop("order_id_right")
    joined = joined.left_join(claims, ["person", "received_on"])
    is_claim = joined.source != ROW
    stored = engine.stored(
        joined.select(
            "key", "visitor", "item", "type", "at", "quantity", "is_bot",
            basket=number_of(joined.basket), query=number_of(joined.query_number), subject=number_of(joined.subject),
            claim=ibis.ifelse(is_claim, number_of(joined.claim), -1),
            day=ibis.ifelse(is_claim, joined.received_on, joined.occurred_at // DAY).cast("int64"),
        )
    )  # fmt: skip
    engine.drop(claims, queries)
    return stored, subjects


def _named(
    engine: Engine, archived: ir.Table, items: ItemTable, people: PeopleColumns, staff: Collection[int]
) -> ir.Table:
    """Each event with the row of its item and of its person, and what it counts as."""
    is_row = archived.source == ROWS_OF_THE_SHOP
    source = ibis.cases((is_row, ROW), (archived.source == "api", API), else_=OTHER)
    events = archived.mutate(source=source, key=archived.pk)
    events = _with_rows(engine, events, items, people, staff)
    is_row, is_of_app = events.source == ROW, events.source == API
    visitor = ibis.coalesce(events.row, -1)
    received = events.received_at
    earliest = ibis.greatest(events.occurred_at, received - int(MAX_CLAIM_AGE.total_seconds()) * SECOND)
    item = ibis.cases((events.item_id == "", NO_ITEM), (events.item_row.isnull(), UNKNOWN_ITEM), else_=events.item_row)
    of_staff = ibis.coalesce(events.of_staff, False) & ~is_row  # an order counts, whoever ordered
    return events.select(
        "key", "quantity", "query", "source", "occurred_at",
        visitor=visitor,
        person=ibis.ifelse(visitor >= 0, visitor, -2 - ibis.coalesce(events.visitor_id, 0)),
        item=item.cast("int64"),
        type=ibis.ifelse(is_row, coded(events.type, SENT), coded(events.type, CLAIMED)).cast("int64"),
        at=ibis.ifelse(is_of_app, earliest, events.occurred_at),
        order_id=ibis.ifelse(is_row, events.order_id, ""),
        received_on=(received // DAY).cast("int64"),
        is_bot=events.is_bot | ibis.coalesce(events.of_bot, False) | of_staff,
    )  # fmt: skip


def _with_rows(
    engine: Engine, events: ir.Table, items: ItemTable, people: PeopleColumns, staff: Collection[int]
) -> ir.Table:
    """Each event with `item_row`, and `row`, `of_bot` and `of_staff` of its visitor; null without."""
    catalogue = engine.table({"name": list(items.ids), "item_row": np.arange(len(items), dtype=np.int64)})
    visitors = engine.table({
        "owner": people.key, "row": people.row, "of_bot": people.is_bot,
        "of_staff": np.isin(people.key, np.array(sorted(staff), np.int64)),
    })  # fmt: skip
    events = events.left_join(catalogue, events.item_id == catalogue.name).drop("name")
    events = events.left_join(visitors, events.visitor_id == visitors.owner).drop("owner")
    return events.mutate(quantity=events.quantity.cast("float64"))


def _queries(engine: Engine, archived: ir.Table, plain: Callable[[str], str]) -> tuple[ir.Table, list[str]]:
    """Each distinct stored query with its number and that of its subject, both by first appearance."""
    distinct = archived.filter(_.query != "").group_by(stored=_.query).agg(first=_.pk.min()).order_by("first")
    stored = engine.columns(distinct)["stored"].tolist()
    numbers: dict[str, int] = {}
    subjects: dict[str, int] = {}
    texts = [plain(query) for query in stored]
    number = [numbers.setdefault(text, len(numbers)) for text in texts]
    subject = [subjects.setdefault(folded(text), len(subjects)) for text in texts]
    table = engine.table({
        "stored": stored or [""],
        "query_number": np.array(number or [-1], np.int64),
        "subject": np.array(subject or [-1], np.int64),
    })  # fmt: skip
    return table, list(subjects)


def _numbered(groups: ir.Table, name: str, *columns: str) -> ir.Table:
    """Number groups by their first event."""
    number = ibis.row_number().over(ibis.window(order_by=groups.first)).cast("int64")
    return groups.mutate(**{name: number}).select(*columns, name)
