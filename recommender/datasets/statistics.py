"""Write what the whole shop did into one `ItemStatistics` row per item, from which the web processes load it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
from django.utils import timezone

from recommender import conf, datasets
from recommender.datasets import large
from recommender.datasets.alarms import raise_alarms
from recommender.features.neighbours import Neighbours
from recommender.features.publishing import published
from recommender.features.shop_state import NEIGHBOUR_KINDS, ShopState, build_state
from recommender.models import Item, ItemStatistics
from recommender.tables import Interactions, ItemTable

CHUNK_SIZE = 500


def refresh_statistics(*, at: dt.datetime | None = None) -> int:
    """Recompute the statistics of all items from the events before `at` (default now); return how many there are.

    What looks like a manipulation raises an alarm.
    """
    at = at or timezone.now()
    items = datasets.read_items()
    computed = large.state_of(items, at=at) if large.is_large() else None
    if computed is not None:
        state, bursts = computed
        raise_alarms(bursts, items, at=at)
        return write_statistics(items, state)
    interactions, report = datasets.clean(datasets.read_interactions(items, until=at))
    raise_alarms(report.bursts, items, at=at)
    return write_published(items, interactions, at=at.timestamp())


def write_published(items: ItemTable, interactions: Interactions, *, at: float) -> int:
    """Store what the whole shop did before `at`, and behind which neighbours enough people stand; return the number of
    items."""
    state = build_state(interactions, items, at=at)
    fewest = {"fewest_buyers": conf.get("FEWEST_BUYERS"), "fewest": conf.get("FEWEST_PEOPLE")}
    return write_statistics(items, published(state, interactions, **fewest))


def write_statistics(items: ItemTable, state: ShopState) -> int:
    """Store those rows of a `ShopState` that differ from what is stored, in chunks; return the number of all rows.

    The first row is always written: its `computed_at` says when all of them were computed. Two queries per chunk at
    most.
    """
    keys = dict(Item.objects.values_list("item_id", "pk").iterator(chunk_size=5000))
    computed_at = timezone.now()
    rows = [row for row, item_id in enumerate(items.ids) if item_id in keys]
    for start in range(0, len(rows), CHUNK_SIZE):
        columns = {keys[items.ids[row]]: _columns(row, items, state) for row in rows[start : start + CHUNK_SIZE]}
        stored = _stored_columns(columns)
        changed = [pk for pk, values in columns.items() if values != stored.get(pk)]
        if start == 0 and not changed:
            changed = [keys[items.ids[rows[0]]]]
        ItemStatistics.objects.bulk_create(
            [ItemStatistics(item_id=pk, computed_at=computed_at, **columns[pk]) for pk in changed],
            update_conflicts=True,
            unique_fields=["item"],
            update_fields=["computed_at", *next(iter(columns.values()))],
        )
    return len(rows)


def _stored_columns(columns: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """What is stored of these items, as `_columns` returns it. One query."""
    names = tuple(next(iter(columns.values())))
    stored = ItemStatistics.objects.filter(item_id__in=list(columns)).values_list("item_id", *names)
    return {pk: dict(zip(names, values, strict=True)) for pk, *values in stored}


def _columns(row: int, items: ItemTable, state: ShopState) -> dict[str, Any]:
    counts = zip(("n_1", "n_7", "n_30", "n_total"), state.counts[row].tolist(), strict=True)
    times = {"last_event_at": state.last_event_at[row], "first_event_at": state.first_event_at[row]}
    return {
        **dict(counts),
        **{name: dt.datetime.fromtimestamp(at, dt.UTC) if np.isfinite(at) else None for name, at in times.items()},
        **{f"{kind}_neighbours": _stored(getattr(state, kind), row, items) for kind in NEIGHBOUR_KINDS},
    }


def _stored(neighbours: Neighbours, row: int, items: ItemTable) -> list[list[str | float]]:
    """[item id, similarity] for each neighbour of an item, and a 0 behind those that are not public."""
    span = slice(neighbours.start[row], neighbours.start[row + 1])
    is_public = [True] * len(neighbours.item[span]) if neighbours.is_public is None else neighbours.is_public[span]
    return [
        [items.ids[other], round(score, 5), *([] if public else [0])]
        for (other, score), public in zip(neighbours.of(row), is_public, strict=True)
    ]
