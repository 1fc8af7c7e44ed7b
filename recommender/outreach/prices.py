"""Items that somebody looked at lately and whose price has fallen since."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import F, Max, Prefetch
from django.utils import timezone

from recommender.models import Event, Item, PriceChange
from recommender.models.claims import ROWS_OF_THE_SHOP
from recommender.outreach import people
from recommender.types import EventType

LOOKED_AT_DAYS = 30
LEAST_FALL = 0.05


@dataclass(frozen=True, slots=True)
class PriceDrop:
    """An item that costs less than when this person last looked at it; `fall` is the share by which."""

    user_key: str
    item_id: str
    title: str
    viewed_at: dt.datetime
    price_then: Decimal
    price_now: Decimal
    currency: str
    fall: float


Views = Mapping[tuple[str, str], dt.datetime]
"""When each person last looked at each item, by user key and item id."""


def price_drops(
    *,
    at: dt.datetime | None = None,
    days: float = LOOKED_AT_DAYS,
    least_fall: float = LEAST_FALL,
    most_people: int | None = None,
) -> Iterator[PriceDrop]:
    """Each item that somebody looked at within `days` and has not bought since, and whose price has fallen by at least
    the share `least_fall` since they last looked, by user key, the largest fall first.

    By the prices that the syncs saw; a price that comes and goes between two of them is not known. Only items that are
    active and in stock. Reads 500 people at a time, in six queries; `most_people`: of so many people only.
    """
    at = at or timezone.now()
    since = at - dt.timedelta(days=days)
    for page in people.pages_of(people.reachable(), most_people=most_people):
        views = _views(page, since, at)
        items = _items({item_id for _key, item_id in views}, since)
        drops = (
            drop
            for (key, item_id), viewed_at in views.items()
            if item_id in items and (drop := _drop(key, items[item_id], viewed_at)) is not None
        )
        big = [drop for drop in drops if drop.price_then - drop.price_now >= drop.price_then * Decimal(str(least_fall))]
        yield from sorted(big, key=lambda drop: (drop.user_key, -drop.fall, drop.item_id))


def _views(page: people.People, since: dt.datetime, at: dt.datetime) -> Views:
    """The last look of each person at each item whose price has fallen, without what they bought since."""
    events = Event.objects.filter(visitor_id__in=page, is_bot=False, occurred_at__gte=since, occurred_at__lt=at)
    fallen = Item.objects.filter(
        is_active=True, is_available=True, past_prices__ended_at__gte=since, past_prices__price__gt=F("price")
    )
    looks = events.filter(type=EventType.VIEW_ITEM, item_id__in=fallen.values("item_id"))
    views: dict[tuple[str, str], dt.datetime] = {}
    for pk, item_id, viewed_at in looks.order_by().values_list("visitor_id", "item_id").annotate(Max("occurred_at")):
        pair = page[pk], item_id
        views[pair] = max(viewed_at, views.get(pair, viewed_at))
    item_ids = {item_id for _key, item_id in views}
    bought = events.filter(type=EventType.PURCHASE, source=ROWS_OF_THE_SHOP, item_id__in=item_ids)
    for pk, item_id, bought_at in bought.order_by().values_list("visitor_id", "item_id").annotate(Max("occurred_at")):
        if (page[pk], item_id) in views and views[page[pk], item_id] <= bought_at:
            del views[page[pk], item_id]
    return views


def _items(item_ids: set[str], since: dt.datetime) -> dict[str, Item]:
    """These items with the prices that ended since, the oldest first. Two queries."""
    ended = PriceChange.objects.filter(ended_at__gte=since).order_by("ended_at", "pk")
    items = Item.objects.filter(item_id__in=item_ids).prefetch_related(Prefetch("past_prices", ended, "ended_prices"))
    return {item.item_id: item for item in items}


def _drop(key: str, item: Item, viewed_at: dt.datetime) -> PriceDrop | None:
    """By how much the item is cheaper now; None where it is not, or where its currency changed."""
    then = next((past for past in item.ended_prices if past.ended_at > viewed_at), None)  # type: ignore[attr-defined]
    if then is None or item.price is None or then.currency != item.currency or item.price >= then.price:
        return None
    fall = float(1 - item.price / then.price)
    return PriceDrop(key, item.item_id, item.title, viewed_at, then.price, item.price, item.currency, fall)
