"""What people did in the days that count: clicks on lists, orders, revenue and margin, and the same before they took
part."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from recommender.experiments.covariates import Values
from recommender.experiments.exposures import Exposed, all_visitors_of
from recommender.models import Event
from recommender.models.claims import ROWS_OF_THE_SHOP
from recommender.models.items import Margins, margins
from recommender.types import EventType

METRICS = ("clicks", "orders", "revenue", "margin")

DAYS_BEFORE = 28
"""Days before a person's first list that tell how much they usually do."""

CLICK, PURCHASE, REFUND = EventType.SELECT_ITEM.value, EventType.PURCHASE.value, EventType.REFUND.value


@dataclass(frozen=True, slots=True)
class Outcomes:
    """By metric, (n,) float64 for each person: in the days that count, and before. Revenue and margin are in `currency`
    alone; n_other_currency: how many lines of orders were in another and are left out of them. priced_share: of the
    value of the orders in the days that count, the share of items with a margin; None without an order."""

    after: Mapping[str, Values]
    before: Mapping[str, Values]
    currency: str = ""
    n_other_currency: int = 0
    priced_share: float | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    """What an event adds: to which person, and whether in the days that count or before. margin is None where the item
    has none in the currency of the event."""

    person: int
    is_after: bool
    kind: str
    order_id: str
    value: float
    margin: float | None
    currency: str


def outcomes(people: Sequence[Exposed], *, days: int) -> Outcomes:
    """Read what these people did. One query for their visitors' events, read in chunks, and one for margins.

    A click counts on a list of any slot: what one list takes from another is no gain. A margin is what the Catalog says
    now, in both arms and before; an item without one adds nothing.
    """
    after, before = ({name: np.zeros(len(people)) for name in METRICS} for _time in range(2))
    if not people:
        return Outcomes(after, before)
    rows = _rows(people, days)
    currency = next(iter([name for name, _n in _currencies(rows).most_common(1)]), "")
    orders: set[tuple[int, bool, str]] = set()
    for row in rows:
        side = after if row.is_after else before
        if row.kind == CLICK:
            side["clicks"][row.person] += 1
            continue
        if row.currency == currency:
            sign = 1 if row.kind == PURCHASE else -1
            side["revenue"][row.person] += sign * row.value
            side["margin"][row.person] += sign * (row.margin or 0.0)
        if row.kind == PURCHASE and (row.person, row.is_after, row.order_id) not in orders:
            orders.add((row.person, row.is_after, row.order_id))
            side["orders"][row.person] += 1
    n_other_currency = sum(row.currency != currency for row in rows if row.kind == PURCHASE)
    return Outcomes(after, before, currency, n_other_currency, _priced_share(rows, currency))


def _priced_share(rows: Sequence[_Row], currency: str) -> float | None:
    sold = [row for row in rows if row.is_after and row.kind == PURCHASE and row.currency == currency]
    value = sum(row.value for row in sold)
    return sum(row.value for row in sold if row.margin is not None) / value if value > 0 else None


def _rows(people: Sequence[Exposed], days: int) -> list[_Row]:
    """Each event that counts."""
    person_of, margin_of = all_visitors_of(people), margins()
    window, past = dt.timedelta(days=days), dt.timedelta(days=DAYS_BEFORE)
    first, last = min(person.first for person in people) - past, max(person.first for person in people) + window
    events = Event.objects.filter(
        type__in=(CLICK, PURCHASE, REFUND), is_bot=False, visitor__isnull=False, occurred_at__gte=first,
        occurred_at__lt=last,
    ).order_by()  # fmt: skip
    columns = ("visitor_id", "occurred_at", "source", "ranking_id", "type", "order_id", "item_id", "price", "quantity",
               "currency")  # fmt: skip
    rows = []
    for visitor_pk, at, source, ranking_id, kind, *sale in events.values_list(*columns).iterator(chunk_size=5_000):
        number = person_of.get(visitor_pk)
        if number is None or not _counts(kind, source, ranking_id):
            continue
        since = at - people[number].first
        if -past <= since < window:
            rows.append(_row(number, since >= dt.timedelta(0), kind, sale, margin_of))
    return rows


def _row(person: int, is_after: bool, kind: str, sale: Sequence[Any], margin_of: Margins) -> _Row:
    order_id, item_id, price, quantity, currency = sale
    margin: Decimal | None = margin_of.get((item_id, currency))
    earned = None if margin is None else float(margin) * float(quantity)
    return _Row(person, is_after, kind, order_id, float(price or 0) * float(quantity), earned, currency)


def _counts(kind: str, source: str, ranking_id: Any) -> bool:
    """Clicks out of a list, and the shop's own orders: an order that an app claims is no order."""
    return ranking_id is not None if kind == CLICK else source == ROWS_OF_THE_SHOP


def _currencies(rows: Sequence[_Row]) -> Counter[str]:
    return Counter(row.currency for row in rows if row.kind == PURCHASE)
