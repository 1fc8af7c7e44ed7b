"""Remembers the price that an item had before a sync changed it, for a while: see `RETENTION`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from recommender.models import Item, PriceChange

Prices = Mapping[str, tuple[Decimal | None, str]]
"""Price and currency by item id."""


def prices_of(items: Iterable[Item]) -> Prices:
    """What these items cost now."""
    return {item.item_id: (item.price, item.currency) for item in items}


def remember(before: Prices, items: Iterable[Item], at: datetime) -> None:
    """Store the prices of `before` that these items no longer have. One query where there are any, else none."""
    ended = [
        PriceChange(item=item, price=price, currency=currency, ended_at=at)
        for item in items
        for price, currency in [before[item.item_id]]
        if price is not None and (price, currency) != (item.price, item.currency)
    ]
    if ended:
        PriceChange.objects.bulk_create(ended)
