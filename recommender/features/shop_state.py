"""What the whole shop did before one moment: popularity and neighbours of items, from events or from stored rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recommender.durations import DAY_SECONDS
from recommender.features.credibility import is_credible, person_weights
from recommender.features.neighbours import Neighbours, cosine_neighbours, regression_neighbours, sequel_neighbours
from recommender.features.weights import EVENT_WEIGHTS
from recommender.tables import Interactions, ItemTable
from recommender.types import FloatArray, IntArray, TimeArray

NEIGHBOUR_KINDS = ("basket", "visitor", "regression", "sequel")
"""The neighbours of a `ShopState`: by shared orders, by shared visitors, by regression over visitors, by next order."""

COUNT_DAYS = (1, 7, 30)
"""Popularity is counted over so many days, and ever."""


@dataclass(frozen=True, slots=True)
class ShopState:
    """The shop's behaviour before `at`, one row per item of an `ItemTable`.

    counts (n_items, 4) float32: weighted events of the last `COUNT_DAYS` and ever; popularity (n_items, 4) float32: log
    of each count against its mean over the catalogue; last_event_at (n_items,) float64, -inf for never; first_event_at
    (n_items,) float64, inf for never.
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
    ) -> ShopState:
        """Build from stored columns. A NaN or missing time means never, missing neighbours mean none."""
        counts = np.ascontiguousarray(counts, np.float32).reshape(-1, len(COUNT_DAYS) + 1)
        n_items = len(counts)
        mean = counts.mean(axis=0) if n_items else np.zeros(counts.shape[1], np.float32)
        popularity = (np.log1p(counts) - np.log1p(mean)).astype(np.float32)
        last = np.where(np.isnan(last_event_at), -np.inf, last_event_at)
        first = np.full(n_items, np.inf) if first_event_at is None else first_event_at
        first = np.where(np.isnan(first), np.inf, first)
        kinds = {kind: neighbours.get(kind) or Neighbours.none(n_items) for kind in NEIGHBOUR_KINDS}
        return cls(at, counts, popularity, last, first, **kinds)


def build_state(interactions: Interactions, items: ItemTable, *, at: float) -> ShopState:
    """Summarise the events with time < `at`; about a second for 400,000 events.

    In the counts, what one person claims of one item on one day is one event, the strongest: neither an app that sends
    whatever it likes nor a page that is reloaded again and again counts more than one cart. How far a person counts is
    decided in `credibility`, for the counts as for the neighbours.
    """
    n_events, n_items = int(np.searchsorted(interactions.time, at, side="left")), len(items)
    weight = np.where(interactions.item[:n_events] >= 0, EVENT_WEIGHTS[interactions.type[:n_events]], 0)
    used = np.flatnonzero(weight > 0)
    before = interactions.take(np.arange(n_events))
    person, weight = person_weights(before)[used], weight[used]
    weight = weight * person
    item, time = before.item[used], before.time[used]
    basket, visitor = before.basket[used], before.visitor[used]
    counted = weight * _is_strongest(before.claim[used], item, weight)
    windows = [counted * (time >= at - days * DAY_SECONDS) for days in COUNT_DAYS]
    counts = [np.bincount(item, weights=window, minlength=n_items) for window in (*windows, counted)]
    last, trusted = np.full(n_items, -np.inf), _trusted(before)[used]
    last[item[trusted]] = time[trusted]  # ascending time: the last write is the newest
    return ShopState.from_columns(
        at=at,
        counts=np.stack(counts, axis=1).astype(np.float32),
        last_event_at=last,
        first_event_at=first_events(interactions, n_items=n_items, until=at),
        basket=cosine_neighbours(basket, item, weight, n_items=n_items),
        visitor=cosine_neighbours(visitor, item, weight, n_items=n_items),
        regression=regression_neighbours(visitor, item, weight, n_items=n_items),
        sequel=sequel_neighbours(visitor, basket, item, time, n_items=n_items, person=person),
    )


def first_events(interactions: Interactions, *, n_items: int, until: float = np.inf) -> TimeArray:
    """Return (n_items,) float64: the time of the first event of each item before `until`, inf for none."""
    first = np.full(n_items, np.inf)
    is_of_item = (interactions.item >= 0) & (interactions.time < until)
    np.minimum.at(first, interactions.item[is_of_item], interactions.time[is_of_item])
    return first


def existing_since(items: ItemTable, first_event_at: TimeArray) -> ItemTable:
    """Return the items with `first_seen` no later than their first event; the same object if nothing changes.

    The date of an import, or of the first sync of a shop that has sold for years, says nothing about when an item was
    there: what was sold before existed before.
    """
    if not (first_event_at < items.first_seen).any():
        return items
    return replace(items, first_seen=np.minimum(items.first_seen, first_event_at))


def _trusted(interactions: Interactions) -> npt.NDArray[np.bool_]:
    """Mark, (n,), what says when an item was last wanted: rows of the shop and those who bought; else every event."""
    credible = is_credible(interactions)
    return credible if credible.any() else np.ones(len(interactions), bool)


def _is_strongest(claim: IntArray, item: IntArray, weight: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Mark, (n,), all rows of the shop, and for each claim number and item the newest of the strongest events."""
    chosen = np.ones(len(item), bool)
    rows = np.flatnonzero(claim >= 0)
    order = rows[np.lexsort((weight[rows], item[rows], claim[rows]))]  # stable: the newest of the strongest comes last
    chosen[order[:-1]] = (np.diff(claim[order]) != 0) | (np.diff(item[order]) != 0)
    return chosen
