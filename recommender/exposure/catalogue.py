"""Reads from SQL what items are divided by."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Any

import numpy as np

from recommender import conf
from recommender.exposure.groups import Columns
from recommender.models import ExposureFloor, Item

MAX_VALUE_LENGTH = 255


def attributes() -> tuple[str, ...]:
    """The attributes whose values are texts, those of `EXPOSURE_ATTRIBUTES` last."""
    return tuple(dict.fromkeys(["brand", "category", *conf.get("EXPOSURE_ATTRIBUTES")]))


def groups_with_floor() -> Collection[tuple[str, str]]:
    """Attribute and value of each floor, which are counted apart however small they are. One query."""
    return set(ExposureFloor.objects.values_list("attribute", "value"))


def read_columns(*, at: dt.datetime) -> Columns:
    """Every item, those listed marked: active, in stock and there at a moment. One query, read in chunks.

    As in training, an item exists no later than its first event.
    """
    names, columns = attributes(), ("item_id", "brand", "category", "attributes", "price", "currency", "is_active",
                                    "is_available", "first_seen_at", "statistics__first_event_at")  # fmt: skip
    rows = list(Item.objects.order_by("pk").values_list(*columns).iterator(chunk_size=5_000))
    item_ids, brands, categories, further, prices, currencies, active, available, seen, first_events = (
        zip(*rows, strict=True) if rows else [()] * len(columns)
    )
    values = {"brand": brands, "category": categories}
    first_seen = [_earliest(*moments) for moments in zip(seen, first_events, strict=True)]
    existing = np.array(first_seen, np.float64)
    return Columns(
        ids=item_ids,
        values={name: values.get(name) or [_text(own, name) for own in further] for name in names},
        price=np.array([np.nan if price is None else float(price) for price in prices], np.float32),
        currency=currencies,
        first_seen=existing,
        listed=np.array(active, bool) & np.array(available, bool) & (existing <= at.timestamp()),
    )


def _earliest(seen_at: dt.datetime, first_event_at: dt.datetime | None) -> float:
    return min(seen_at, first_event_at or seen_at).timestamp()


def _text(attributes_of_item: Any, name: str) -> str:
    """The value of an attribute; Catalogs may give several or none."""
    value = attributes_of_item.get(name) if isinstance(attributes_of_item, dict) else None
    return str(value or "")[:MAX_VALUE_LENGTH]
