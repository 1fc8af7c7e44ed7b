"""What the whole shop did before one moment: popularity and neighbours of items, from events or stored rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recommender.features.neighbours import Neighbours, neighbours
from recommender.features.regression import regression_neighbours, sequel_neighbours
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, Interactions, ItemTable, TimeArray

DAY_SECONDS = 86_400.0
EVENT_WEIGHTS: FloatArray = np.zeros(len(EventType), np.float32)
"""How much one event of each type says; a purchase is 1. Ordered as `EVENT_CODES`."""
for _type, _weight in {
    EventType.SELECT_ITEM: 0.1,
    EventType.VIEW_ITEM: 0.2,
    EventType.ADD_TO_CART: 0.5,
    EventType.PURCHASE: 1.0,
}.items():
    EVENT_WEIGHTS[EVENT_CODES[_type]] = _weight


NEIGHBOURS = ("basket", "visitor", "regression", "sequel")
"""The kinds of likeness of a `State`: shared orders, shared visitors, regression over visitors, the next order."""


@dataclass(frozen=True, slots=True)
class State:
    """The shop's behaviour before `at`, one row per item of an `ItemTable`.

    counts (n_items, 4) float32: weighted events of the last 1, 7, 30 days and ever; popularity (n_items, 4) float32:
    log of each count against its mean over the catalogue; last_event_at (n_items,) float64, -inf for never;
    first_event_at (n_items,) float64, inf for never.
    """

    at: float
    counts: FloatArray
    popularity: FloatArray
    last_event_at: TimeArray
    first_event_at: TimeArray
    basket: Neighbours
    visitor: Neighbours
    regression: Neighbours
    sequel: Neighbours

    @classmethod
    def from_columns(
        cls,
        *,
        at: float,
        counts: FloatArray,
        last_event_at: TimeArray,
        first_event_at: TimeArray | None = None,
        **neighbours: Neighbours,
    ) -> State:
        """Build from stored columns; NaN in a time reads as never, what is not given as never or none."""
        counts = np.ascontiguousarray(counts, np.float32).reshape(-1, 4)
        mean = counts.mean(axis=0) if len(counts) else np.zeros(4, np.float32)
        popularity = np.log1p(counts) - np.log1p(mean)
        last = np.where(np.isnan(last_event_at), -np.inf, last_event_at)
        first = np.full(len(counts), np.inf) if first_event_at is None else first_event_at
        first = np.where(np.isnan(first), np.inf, first)
        alike = {name: neighbours.get(name) or Neighbours.none(len(counts)) for name in NEIGHBOURS}
        return cls(at, counts, popularity.astype(np.float32), last, first, **alike)


def build_state(interactions: Interactions, items: ItemTable, *, at: float) -> State:
    """Summarise the events with time < `at`; about a second for 400,000 events.

    In the counts, what one person claims of one item on one day is one event, the strongest: an app that says whatever
    it likes, and a page that is loaded again and again, weigh no more than a cart.
    """
    n = int(np.searchsorted(interactions.time, at, side="left"))
    item, time, kind = interactions.item[:n], interactions.time[:n], interactions.type[:n]
    weight = np.where(item >= 0, EVENT_WEIGHTS[kind], 0)
    used = weight > 0
    item, time, weight = item[used], time[used], weight[used]
    basket, visitor = interactions.basket[:n][used], interactions.visitor[:n][used]
    counting = weight * _is_strongest(interactions.claim[:n][used], item, weight)
    counts = [_count(item, counting * (time >= at - days * DAY_SECONDS), len(items)) for days in (1, 7, 30)]
    counts.append(_count(item, counting, len(items)))
    last = np.full(len(items), -np.inf)
    last[item] = time  # ascending time: the last write is the newest
    return State.from_columns(
        at=at,
        counts=np.stack(counts, axis=1),
        last_event_at=last,
        first_event_at=first_events(interactions, n_items=len(items), until=at),
        basket=neighbours(basket, item, weight, n_items=len(items)),
        visitor=neighbours(visitor, item, weight, n_items=len(items)),
        regression=regression_neighbours(visitor, item, weight, n_items=len(items)),
        sequel=sequel_neighbours(visitor, basket, item, time, n_items=len(items)),
    )


def first_events(interactions: Interactions, *, n_items: int, until: float = np.inf) -> TimeArray:
    """Return (n_items,) float64: the time of the first event of each item before `until`, inf for none."""
    first = np.full(n_items, np.inf)
    is_of_item = (interactions.item >= 0) & (interactions.time < until)
    np.minimum.at(first, interactions.item[is_of_item], interactions.time[is_of_item])
    return first


def existing_since(items: ItemTable, first_event_at: TimeArray) -> ItemTable:
    """Return the items with `first_seen` no later than their first event.

    A date of import, or the first sync of a shop that has sold for years, says nothing of when an item was there:
    what was sold before existed before. The same object where nothing changes.
    """
    if not (first_event_at < items.first_seen).any():
        return items
    return replace(items, first_seen=np.minimum(items.first_seen, first_event_at))


def _is_strongest(claim: IntArray, item: IntArray, weight: FloatArray) -> npt.NDArray[np.bool_]:
    """Mark all rows of the shop, and of the claims with one number and one item the newest of the strongest; (n,)."""
    chosen = np.ones(len(item), bool)
    rows = np.flatnonzero(claim >= 0)
    order = rows[np.lexsort((weight[rows], item[rows], claim[rows]))]  # stable: the newest of the strongest comes last
    chosen[order[:-1]] = (np.diff(claim[order]) != 0) | (np.diff(item[order]) != 0)
    return chosen


def _count(item: IntArray, weight: FloatArray, n_items: int) -> FloatArray:
    return np.bincount(item, weights=weight, minlength=n_items).astype(np.float32)
