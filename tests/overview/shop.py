"""Lists that were shown and what followed from them, written as capture writes them."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

from recommender.models import Event, Impression, Visitor

NOON = dt.datetime(2026, 3, 10, 12, 20, tzinfo=dt.UTC)
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


def visitor(**fields: Any) -> Visitor:
    return Visitor.objects.create(**fields)


def shown(person: Visitor | None, *item_ids: str, at: dt.datetime = NOON, **fields: Any) -> Impression:
    defaults = {"slot": "home", "rung": "champion", "bundle": "b1"}
    return Impression.objects.create(visitor=person, item_ids=list(item_ids), occurred_at=at, **{**defaults, **fields})


def happened(person: Visitor | None, kind: str, item_id: str = "", *, after: dt.timedelta, **fields: Any) -> Event:
    at = fields.pop("since", NOON) + after
    defaults = {"source": "order" if kind == "purchase" else "page", "received_at": at}
    return Event.objects.create(
        message_id=uuid.uuid4().hex,
        visitor=person,
        type=kind,
        item_id=item_id,
        occurred_at=at,
        **{**defaults, **fields},
    )


def from_list(shown_list: Impression, kind: str, item_id: str, *, after: dt.timedelta = HOUR, **fields: Any) -> Event:
    person = fields.pop("person", shown_list.visitor)
    fields.setdefault("since", shown_list.occurred_at)
    return happened(person, kind, item_id, after=after, ranking_id=shown_list.pk, **fields)


def bought(shown_list: Impression, item_id: str, price: str, currency: str = "EUR", **fields: Any) -> Event:
    values = {"price": Decimal(price), "currency": currency, "order_id": uuid.uuid4().hex, **fields}
    return from_list(shown_list, "purchase", item_id, **values)


def searched(person: Visitor | None, query: str, *, at: dt.datetime = NOON, n_found: int | None = 3) -> None:
    """A search as the search page records it: the event, and the list if it was ours."""
    happened(person, "search", query=query, after=at - NOON)
    if n_found is not None:
        shown(person, "mug", at=at, slot="search", query=query, n_found=n_found)
