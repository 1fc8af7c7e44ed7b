"""What people did in the days that count: clicks on lists, orders and revenue, and the same before they took part."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recommender.experiments.covariates import Values
from recommender.experiments.exposures import Exposed, all_visitors_of
from recommender.models import Event
from recommender.models.claims import ROWS_OF_THE_SHOP
from recommender.types import EventType

METRICS = ("clicks", "orders", "revenue")

DAYS_BEFORE = 28
"""Days before a person's first list that tell how much they usually do."""

CLICK, PURCHASE, REFUND = EventType.SELECT_ITEM.value, EventType.PURCHASE.value, EventType.REFUND.value


@dataclass(frozen=True, slots=True)
class Outcomes:
    """By metric, (n,) float64 for each person: in the days that count, and before. Revenue is in `currency` alone;
    n_other_currency: how many lines of orders were in another and are left out of it."""

    after: Mapping[str, Values]
    before: Mapping[str, Values]
    currency: str = ""
    n_other_currency: int = 0


def outcomes(people: Sequence[Exposed], *, days: int) -> Outcomes:
    """Read what these people did. One query for their visitors' events, read in chunks.

    A click counts on a list of any slot: what one list takes from another is no gain.
    """
    after, before = ({name: np.zeros(len(people)) for name in METRICS} for _time in range(2))
    if not people:
        return Outcomes(after, before)
    rows = _rows(people, days)
    currency = next(iter([name for name, _n in _currencies(rows).most_common(1)]), "")
    orders: set[tuple[int, bool, str]] = set()
    for person, is_after, kind, order_id, value, of_currency in rows:
        side = after if is_after else before
        if kind == CLICK:
            side["clicks"][person] += 1
            continue
        if of_currency == currency:
            side["revenue"][person] += value if kind == PURCHASE else -value
        if kind == PURCHASE and (person, is_after, order_id) not in orders:
            orders.add((person, is_after, order_id))
            side["orders"][person] += 1
    return Outcomes(after, before, currency, sum(row[-1] != currency for row in rows if row[2] == PURCHASE))


def _rows(people: Sequence[Exposed], days: int) -> list[tuple[int, bool, str, str, float, str]]:
    """Person, whether in the days that count, type, order, value and currency of each event that counts."""
    person_of = all_visitors_of(people)
    window, past = dt.timedelta(days=days), dt.timedelta(days=DAYS_BEFORE)
    first, last = min(person.first for person in people) - past, max(person.first for person in people) + window
    events = Event.objects.filter(
        type__in=(CLICK, PURCHASE, REFUND), is_bot=False, visitor__isnull=False, occurred_at__gte=first,
        occurred_at__lt=last,
    ).order_by()  # fmt: skip
    columns = ("visitor_id", "occurred_at", "type", "order_id", "price", "quantity", "currency", "source", "ranking_id")
    rows = []
    for visitor_pk, at, kind, order_id, price, quantity, currency, source, ranking_id in events.values_list(
        *columns
    ).iterator(chunk_size=5_000):
        number = person_of.get(visitor_pk)
        if number is None or not _counts(kind, source, ranking_id):
            continue
        since = at - people[number].first
        if -past <= since < window:
            value = float(price or 0) * float(quantity)
            rows.append((number, since >= dt.timedelta(0), kind, order_id, value, currency))
    return rows


def _counts(kind: str, source: str, ranking_id: Any) -> bool:
    """Clicks out of a list, and the shop's own orders: an order that an app claims is no order."""
    return ranking_id is not None if kind == CLICK else source == ROWS_OF_THE_SHOP


def _currencies(rows: list[tuple[int, bool, str, str, float, str]]) -> Counter[str]:
    return Counter(row[-1] for row in rows if row[2] == PURCHASE)
