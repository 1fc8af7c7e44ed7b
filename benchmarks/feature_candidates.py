"""Columns that `benchmarks.feature_trials` tries: what no feature of the ranker says yet about a candidate.

A trial takes the shop of one moment and returns a function of a profile and its candidates (n,), which returns named
columns (n,). Like every feature it may only use what happened before that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recommender.features import ORDER_DECAY, purchases
from recommender.features.neighbours import GAP_DECAY, GAPS, RECENT_ORDERS
from recommender.features.orders import order_keys
from recommender.features.shop_state import ShopState
from recommender.tables import Interactions, ItemTable, Profile
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray

Columns = dict[str, FloatArray]
ColumnsOf = Callable[[Profile, IntArray], Columns]

RATE_PRIOR = 10.0
"""Orders at the mean rate that are added to those of an item before its own rate is believed."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a column may use: the shop's state and catalogue, and all events, of which those before `state.at` count."""

    state: ShopState
    items: ItemTable
    interactions: Interactions


def repeats(moment: Moment) -> ColumnsOf:
    """How often an item is bought again within three orders, and how much the visitor repeats at all."""
    steps, count = _steps(moment)
    again = steps.diagonal()
    rate = (again + RATE_PRIOR * again.sum() / max(count.sum(), 1)) / (count + RATE_PRIOR)

    def columns(profile: Profile, rows: IntArray) -> Columns:
        orders = purchases(profile)
        newest = np.full(len(moment.items), -np.inf)
        np.maximum.at(newest, orders.item, orders.order)
        is_own = np.isfinite(newest[rows])
        share = 1 - len(np.unique(orders.item)) / max(len(orders.item), 1)
        since = np.where(is_own, ORDER_DECAY ** (orders.n_orders - 1 - newest[rows]), 0)
        values = {
            "rate": rate[rows],
            "own_rate": is_own * rate[rows],
            "own_since": since,
            "own_repeating": is_own * share,
        }
        return {name: value.astype(np.float32) for name, value in values.items()}

    return columns


TRIALS: Mapping[str, Callable[[Moment], ColumnsOf]] = {"repeats": repeats}


def _steps(moment: Moment) -> tuple[sparse.csr_matrix, FloatArray]:
    """Return how often j followed i within `GAPS` orders of one visitor, (n_items, n_items), and orders per item."""
    source, n_items = moment.interactions, len(moment.items)
    is_used = (source.time < moment.state.at) & (source.visitor >= 0)
    used = np.flatnonzero(is_used & (source.type == EVENT_CODES[EventType.PURCHASE]) & (source.item >= 0))
    used = used[np.argsort(source.visitor[used], kind="stable")]
    visitor, item, key = source.visitor[used], source.item[used], order_keys(source.basket[used], source.time[used])
    is_first = np.r_[True, (visitor[1:] != visitor[:-1]) | (key[1:] != key[:-1])][: len(used)]
    buyer = visitor[is_first]
    cells = (np.ones(len(item), np.float32), (np.cumsum(is_first) - 1, item))
    orders = sparse.csr_matrix(cells, shape=(len(buyer), n_items))
    orders.data[:] = 1
    n_newer = np.searchsorted(buyer, buyer, side="right") - 1 - np.arange(len(buyer))
    steps = sparse.csr_matrix((n_items, n_items), dtype=np.float32)
    for gap in GAPS:
        earlier = np.flatnonzero((n_newer >= gap) & (n_newer <= RECENT_ORDERS))
        steps = steps + GAP_DECAY ** (gap - 1) * (orders[earlier].T @ orders[earlier + gap])
    return steps.tocsr(), np.asarray(orders.sum(axis=0)).ravel()
