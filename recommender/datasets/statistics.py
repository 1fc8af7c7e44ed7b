"""All events in, one `ItemStatistics` row per item out: what the web processes know of popularity and co-purchase."""

from __future__ import annotations

import datetime as dt

import numpy as np
from django.utils import timezone

from recommender import datasets
from recommender.features.neighbours import Neighbours
from recommender.features.shop_state import NEIGHBOUR_KINDS, ShopState, build_state
from recommender.models import Item, ItemStatistics
from recommender.tables import ItemTable

CHUNK_SIZE = 500
FIELDS = (
    "n_1", "n_7", "n_30", "n_total", "last_event_at", "first_event_at", "computed_at",
    *(f"{kind}_neighbours" for kind in NEIGHBOUR_KINDS),
)  # fmt: skip


def refresh_statistics(*, at: dt.datetime | None = None) -> int:
    """Recompute the statistics of every active item from the events before `at` (default now); return how many."""
    at = at or timezone.now()
    items = datasets.read_items()
    interactions, _ = datasets.clean(datasets.read_interactions(items, until=at))
    return write_statistics(items, build_state(interactions, items, at=at.timestamp()))


def write_statistics(items: ItemTable, state: ShopState) -> int:
    """Store a `ShopState`, a chunk of rows per statement."""
    keys = dict(Item.objects.values_list("item_id", "pk").iterator(chunk_size=5000))
    computed_at = timezone.now()
    rows = [row for row, item_id in enumerate(items.ids) if item_id in keys]
    for start in range(0, len(rows), CHUNK_SIZE):
        ItemStatistics.objects.bulk_create(
            [
                _statistics(keys[items.ids[row]], row, items, state, computed_at)
                for row in rows[start : start + CHUNK_SIZE]
            ],
            update_conflicts=True,
            unique_fields=["item"],
            update_fields=FIELDS,
        )
    return len(rows)


def _statistics(key: int, row: int, items: ItemTable, state: ShopState, computed_at: dt.datetime) -> ItemStatistics:
    n_1, n_7, n_30, n_total = (float(count) for count in state.counts[row])
    return ItemStatistics(
        item_id=key,
        n_1=n_1,
        n_7=n_7,
        n_30=n_30,
        n_total=n_total,
        last_event_at=_moment(state.last_event_at[row]),
        first_event_at=_moment(state.first_event_at[row]),
        computed_at=computed_at,
        **{f"{kind}_neighbours": _named(getattr(state, kind), row, items) for kind in NEIGHBOUR_KINDS},
    )


def _moment(seconds: float) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(float(seconds), dt.UTC) if np.isfinite(seconds) else None


def _named(neighbours: Neighbours, row: int, items: ItemTable) -> list[tuple[str, float]]:
    return [(items.ids[other], round(score, 5)) for other, score in neighbours.of(row)]
