"""Credits lists with what the same person did with their items within the window, and sums it up by hour."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from recommender.datasets.cleaning import CLOCK_SKEW_SECONDS
from recommender.models import Event
from recommender.models.claims import ROWS_OF_THE_SHOP, counted_as, counted_at
from recommender.models.items import Margins
from recommender.overview.searches import Person, hour_of, person_of
from recommender.types import EventType

CREDITED = (EventType.SELECT_ITEM.value, EventType.ADD_TO_CART.value, EventType.PURCHASE.value)
SKEW = dt.timedelta(seconds=CLOCK_SKEW_SECONDS)

Key = tuple[dt.datetime, str, str, str]
"""Hour, slot, rung and arm."""


@dataclass(frozen=True, slots=True)
class ListOutcome:
    """What a person did with an item that came from a list; `revenue` and `quantity` are those of a row of the shop."""

    type: EventType
    item_id: str
    at: dt.datetime
    person: Person | None
    revenue: Decimal
    currency: str
    quantity: Decimal = Decimal(0)


@dataclass(slots=True)
class Income:
    """Revenue in one currency; `squares` sums the squared revenue of each list. `margin` is that of the items whose
    margin is known, None where none is."""

    n_lists: int = 0
    revenue: Decimal = Decimal(0)
    squares: float = 0.0
    margin: Decimal | None = None


@dataclass(slots=True)
class ListSums:
    """Lists of one key, and what they led to; see `models.HourlyFigures`."""

    n_lists: int = 0
    n_clicked: int = 0
    n_carted: int = 0
    n_ordered: int = 0
    n_clicks: int = 0
    n_carts: int = 0
    n_orders: int = 0
    income: defaultdict[str, Income] = field(default_factory=lambda: defaultdict(Income))


Outcomes = Mapping[uuid.UUID, Sequence[ListOutcome]]


def outcomes_between(start: dt.datetime, end: dt.datetime) -> Outcomes:
    """The clicks, carts and orders of a span that name a list, by list. One query.

    As everywhere, an order is a row of the shop; a purchase that anybody else reports is a cart.
    """
    columns = (
        "ranking_id", "type", "item_id", "occurred_at", "received_at", "source", "visitor_id", "visitor__user_key",
        "price", "quantity", "currency",
    )  # fmt: skip
    rows = Event.objects.filter(
        type__in=CREDITED, ranking_id__isnull=False, is_bot=False, occurred_at__gte=start - SKEW, occurred_at__lt=end
    )
    outcomes: defaultdict[uuid.UUID, list[ListOutcome]] = defaultdict(list)
    for ranking_id, *values in rows.values_list(*columns).iterator():
        outcomes[ranking_id].append(_outcome(*values))
    return outcomes


def sum_up(
    lists: Iterable[Sequence[Any]],
    outcomes: Outcomes,
    *,
    window: dt.timedelta,
    margins: Margins = MappingProxyType({}),
) -> dict[Key, ListSums]:
    """Sum up lists (pk, slot, rung, arm, shown at, item ids, visitor, user) and their outcomes by key.

    An outcome counts for its list if the same person caused it, with an item of the list, within `window` of it; a
    cart and an order imply the click; the same item counts once.
    """
    sums: defaultdict[Key, ListSums] = defaultdict(ListSums)
    for ranking_id, slot, rung, arm, shown_at, item_ids, visitor_id, user_key in lists:
        row = sums[hour_of(shown_at), slot, rung, arm]
        row.n_lists += 1
        if ranking_id in outcomes:
            person, items = person_of(visitor_id, user_key), frozenset(item_ids)
            credited = [
                outcome
                for outcome in outcomes[ranking_id]
                if person is not None
                and outcome.person == person
                and outcome.item_id in items
                and shown_at - SKEW <= outcome.at < shown_at + window
            ]
            _credit(row, credited)
            _earn(row, credited, margins)
    return sums


def _credit(row: ListSums, credited: Sequence[ListOutcome]) -> None:
    """Add the outcomes of one list."""
    items = {kind: {outcome.item_id for outcome in credited if outcome.type == kind} for kind in CREDITED}
    n_clicks, n_carts, n_orders = len(set().union(*items.values())), *(len(items[kind]) for kind in CREDITED[1:])
    row.n_clicks += n_clicks
    row.n_carts += n_carts
    row.n_orders += n_orders
    row.n_clicked += bool(n_clicks)
    row.n_carted += bool(n_carts)
    row.n_ordered += bool(n_orders)
    revenue: defaultdict[str, Decimal] = defaultdict(Decimal)
    for outcome in credited:
        if outcome.revenue:
            revenue[outcome.currency] += outcome.revenue
    for currency, amount in revenue.items():
        row.income[currency].n_lists += 1
        row.income[currency].revenue += amount
        row.income[currency].squares += float(amount) ** 2


def _earn(row: ListSums, credited: Sequence[ListOutcome], margins: Margins) -> None:
    """Add what the shop earned with what was ordered from one list."""
    for outcome in credited:
        margin = margins.get((outcome.item_id, outcome.currency))
        if outcome.quantity and margin is not None:
            income = row.income[outcome.currency]
            income.margin = (income.margin or Decimal(0)) + margin * outcome.quantity


def _outcome(
    kind: str,
    item_id: str,
    occurred_at: dt.datetime,
    received_at: dt.datetime,
    source: str,
    visitor_id: int | None,
    user_key: str | None,
    *sale: Any,
) -> ListOutcome:
    price, quantity, currency = sale
    is_order = kind == EventType.PURCHASE.value and source == ROWS_OF_THE_SHOP
    revenue = price * Decimal(str(quantity)) if is_order and price is not None else Decimal(0)
    sold = Decimal(str(quantity)) if is_order else Decimal(0)
    at, person = counted_at(occurred_at, received_at, source), person_of(visitor_id, user_key)
    return ListOutcome(counted_as(kind, source), item_id, at, person, revenue, currency, sold)
