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
from recommender.features.neighbours import RECENT_ORDERS, Neighbours, row_entries
from recommender.features.orders import order_keys
from recommender.features.persona import ItemTerms, cached_item_terms
from recommender.features.shop_state import ShopState
from recommender.tables import Interactions, ItemTable, Profile
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray

Columns = dict[str, FloatArray]
ColumnsOf = Callable[[Profile, IntArray], Columns]

GAPS = (1, 2, 3)
GAP_DECAY = 0.5
"""A step over one order counts half as much as one to the next order, over two a quarter."""

POSITION_DECAY = 0.6
N_NEWEST = 3
RATE_PRIOR = 10.0
"""Orders at the mean rate that are added to those of an item before its own rate is believed."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a column may use: the shop's state and catalogue, and all events, of which those before `state.at` count."""

    state: ShopState
    items: ItemTable
    interactions: Interactions


def words(moment: Moment) -> ColumnsOf:
    """Cosine of a candidate's words with those of the last order, and the best with one of the newest three items."""
    terms = cached_item_terms(moment.items)

    def columns(profile: Profile, rows: IntArray) -> Columns:
        orders = purchases(profile)
        nearest = np.zeros(len(rows), np.float32)
        for item in list(dict.fromkeys(orders.item[::-1].tolist()))[:N_NEWEST]:
            alone = _word_cosine(terms, np.array([item], np.int32), rows)
            nearest = np.maximum(nearest, np.where(rows == item, 0, alone))
        return {"last_words": _word_cosine(terms, np.unique(orders.last()), rows), "nearest_words": nearest}

    return columns


def transitions(moment: Moment) -> ColumnsOf:
    """What followed the items of the past within three orders, and what preceded them, newer orders weighing more."""
    steps, count = _steps(moment)
    forward, backward = _neighbours(steps, count), _neighbours(steps.T.tocsr(), count)

    def columns(profile: Profile, rows: IntArray) -> Columns:
        orders = purchases(profile)
        last = np.unique(orders.last())
        own, group = np.unique(orders.item, return_inverse=True)
        weight = np.bincount(group, POSITION_DECAY ** (orders.n_orders - 1 - orders.order), minlength=len(own))
        weight = (weight / max(float(weight.sum()), 1e-9)).astype(np.float32)
        return {
            f"{name}_{of}": _total(table, item, mass, rows)
            for name, table in (("next", forward), ("previous", backward))
            for of, item, mass in (("last", last, np.ones(len(last), np.float32)), ("all", own, weight))
        }

    return columns


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


TRIALS: Mapping[str, Callable[[Moment], ColumnsOf]] = {"words": words, "transitions": transitions, "repeats": repeats}


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


def _neighbours(steps: sparse.csr_matrix, count: FloatArray) -> Neighbours:
    scale = sparse.diags(1 / np.sqrt(count + 1))
    scaled = (scale @ steps @ scale).tocsr()
    spans = (slice(*scaled.indptr[row : row + 2]) for row in range(scaled.shape[0]))
    return Neighbours.from_scores((scaled.indices[span], scaled.data[span]) for span in spans)


def _total(table: Neighbours, item: IntArray, weight: FloatArray, rows: IntArray) -> FloatArray:
    other, score = table.spread(item, weight)
    return np.bincount(other, weights=score, minlength=len(table.start) - 1)[rows].astype(np.float32)


def _word_cosine(terms: ItemTerms, item: IntArray, rows: IntArray) -> FloatArray:
    entry, _ = row_entries(terms.start, item)
    liked = np.bincount(terms.term[entry], weights=terms.weight[entry], minlength=terms.n_terms)
    entry, index = row_entries(terms.start, rows)
    cosine = np.bincount(index, weights=terms.weight[entry] * liked[terms.term[entry]], minlength=len(rows))
    return (cosine / max(float(np.linalg.norm(liked)), 1e-9)).astype(np.float32)
