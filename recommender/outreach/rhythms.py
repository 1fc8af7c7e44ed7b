"""Whose rhythm of buying has stopped, and which items somebody buys again and again and is due to buy now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from django.db.models import QuerySet
from django.utils import timezone

from recommender.durations import DAY_SECONDS
from recommender.features.cycles import own_cycles
from recommender.features.orders import purchases
from recommender.models import Item
from recommender.outreach import people
from recommender.retrieval.behaviour import refused_items
from recommender.tables import Profile
from recommender.types import EventType

SILENCE = 1.5
"""How many times the usual pause between two orders somebody must have been silent to have lapsed."""

FEWEST_ORDER_DAYS = 2
"""Orders of one day are one occasion to buy: from two days on there is a pause between them."""

BOUGHT = (EventType.PURCHASE, EventType.REFUND)
BOUGHT_OR_REFUSED = (*BOUGHT, EventType.DISMISS_ITEM)


@dataclass(frozen=True, slots=True)
class LapsedBuyer:
    """Somebody who bought on at least two days and has been silent for longer than their rhythm.

    rhythm_days: the median of the days between their orders; silent_days: since the last order.
    """

    user_key: str
    n_orders: int
    last_order_on: dt.date
    rhythm_days: float
    silent_days: int


@dataclass(frozen=True, slots=True)
class DueItem:
    """An item that somebody bought several times and whose own cycle has passed, as in the list "buy again".

    cycle_days: mean of the days between their orders of it; overdue_days: since it would have been due.
    """

    user_key: str
    item_id: str
    title: str
    n_orders: int
    last_order_on: dt.date
    cycle_days: float
    overdue_days: float


def win_back(
    *, at: dt.datetime | None = None, factor: float = SILENCE, most_people: int | None = None
) -> Iterator[LapsedBuyer]:
    """Everybody who bought twice and has been silent for longer than `factor` times their rhythm, by user key.

    An order that was sent back as a whole does not count. Reads 500 people at a time, in three queries; `most_people`:
    of so many people only.
    """
    at = at or timezone.now()
    for page in people.pages_of(people.reachable(), most_people=most_people):
        histories = people.histories_of(page, until=at, types=BOUGHT)
        numbers = people.item_numbers(histories)
        for key, events in histories.items():
            lapsed = _lapsed(key, people.profile_from(events, numbers, at), at, factor)
            if lapsed is not None:
                yield lapsed


def due_items(*, at: dt.datetime | None = None, most_people: int | None = None) -> Iterator[DueItem]:
    """Each item that somebody is due to buy again, by user key, the most overdue first; as the list "buy again" has it.

    Only items that are active and in stock, none that was sent back or dismissed. Reads 500 people at a time, in four
    queries; `most_people`: of so many people only.
    """
    at = at or timezone.now()
    for page in people.pages_of(people.reachable(), most_people=most_people):
        histories = people.histories_of(page, until=at, types=BOUGHT_OR_REFUSED)
        numbers = people.item_numbers(histories)
        item_ids = list(numbers)
        due = {
            key: _due(key, people.profile_from(events, numbers, at), item_ids, at) for key, events in histories.items()
        }
        wanted = {item.item_id for items in due.values() for item in items}
        titles = dict(offered(wanted).values_list("item_id", "title"))
        for items in due.values():
            for item in items:
                if item.item_id in titles:
                    yield replace(item, title=titles[item.item_id])


def offered(item_ids: set[str]) -> QuerySet[Item]:
    """Those of these items that can be bought."""
    return Item.objects.filter(item_id__in=item_ids, is_active=True, is_available=True)


def _lapsed(key: str, profile: Profile, at: dt.datetime, factor: float) -> LapsedBuyer | None:
    orders = purchases(profile)
    days = np.unique(np.floor((at.timestamp() - orders.age_days * DAY_SECONDS) / DAY_SECONDS))
    if len(days) < FEWEST_ORDER_DAYS:
        return None
    rhythm = float(np.median(np.diff(days)))
    silent = int(at.timestamp() // DAY_SECONDS - days[-1])
    if silent <= factor * rhythm:
        return None
    return LapsedBuyer(key, orders.n_orders, _date(days[-1]), rhythm, silent)


def _due(key: str, profile: Profile, item_ids: list[str], at: dt.datetime) -> list[DueItem]:
    """What this person is due to buy again, still without titles, the most overdue first."""
    cycles = own_cycles(profile)
    usable = np.flatnonzero(cycles.is_due & ~np.isin(cycles.item, refused_items(profile)))
    ranked = usable[np.argsort(-cycles.elapsed[usable], kind="stable")]
    now = at.timestamp() / DAY_SECONDS
    return [
        DueItem(
            key,
            item_ids[int(cycles.item[row])],
            "",
            int(cycles.n_orders[row]),
            _date(now - cycles.days_since[row]),
            float(cycles.gap_days[row]),
            float(cycles.days_since[row] - cycles.gap_days[row]),
        )
        for row in ranked.tolist()
    ]


def _date(day: float) -> dt.date:
    return dt.datetime.fromtimestamp(day * DAY_SECONDS, dt.UTC).date()
