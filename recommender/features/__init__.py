"""One pure function for trainer and server: what is known of each candidate for one request, in columns.

Everything comes from the profile (events before `profile.now`), the `State` (events before `state.at`) and the vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.features.neighbours import Neighbours
from recommender.features.persona import known_terms, persona_features
from recommender.features.returns import sent_back
from recommender.features.state import DAY_SECONDS, EVENT_WEIGHTS, State, build_state
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, ItemTable, Profile

__all__ = ["BERT_FEATURES", "FEATURE_NAMES", "HISTORY_LIMIT", "QUERY_FEATURES", "State", "build_state", "features"]

HISTORY_LIMIT = 500
"""Newest events of a visitor that trainer and server read: habits need many orders, and a request has four milliseconds
for them; the context model reads the last 50 itself."""

HALF_LIFE_DAYS = 60.0
"""How fast a past event fades in the item-kNN score."""

HABIT_DAYS = 30.0
LASTING_DAYS, LASTING_MOST = 60.0, 3.0
"""Half-life of a lasting habit, and how many orders of today it may count at most: one more says nothing new."""

SEVERAL = 5
"""Items of the history nearest to a candidate, whose mean is `several_match`: one may be chance, five are a taste."""

MOST_COMPARED = 200
"""Items of the history that a candidate is compared with one by one: the products cost a millisecond beyond it."""
ORDER_DECAY = 0.9
"""Weight lost per later order, as the within-group decay of TIFU-KNN (Hu et al. 2020, section 3.2, r_b = .9)."""

RECENT_ITEMS = 10

OWN = (
    "own_orders", "own_share", "own_decayed", "own_fading", "own_recency", "own_in_last", "own_due", "own_repeated",
    "own_quantity", "is_own", "own_lasting", "own_popular", "own_trend",
)  # fmt: skip
INTEREST = ("viewed", "carted", "refunded", "dismissed")
NEIGHBOUR = (
    "knn", "knn_mean", "knn_recent", "knn_basket", "last_order", "bought_with_current", "like_current",
    "bought_with_cart", "regression", "regression_fading", "sequel", "sequel_fading",
)  # fmt: skip
POPULARITY = (
    "popular_1",
    "popular_7",
    "popular_30",
    "popular_ever",
    "trend",
    "sold_lately",
    "fresh",
    "age",
    "sold_before",
)
TASTE = ("price_gap", "price_level", "category_share", "category_current")
VISITOR = ("is_cold", "visitor_orders", "visitor_recency", "has_query", "visitor_items", "order_size")
PERSONA = ("persona_category", "persona_words", "persona_price")
TEXT = ("lexical",)
BERT = (
    "interest_match", "query_match", "history_match", "last_order_match", "current_match", "nearest_of_last",
    "several_match",
)  # fmt: skip
PRODUCTS = (
    ("new_knn", "knn_mean"), ("new_popular_7", "popular_7"), ("new_popular_30", "popular_30"), ("new_trend", "trend"),
    ("new_fresh", "fresh"), ("new_price_gap", "price_gap"), ("new_interest_match", "interest_match"),
    ("new_history_match", "history_match"), ("new_regression", "regression_fading"), ("new_sequel", "sequel_fading"),
    ("new_several", "several_match"), ("new_persona_words", "persona_words"),
)  # fmt: skip
"""Product of "new to the visitor" with another feature: one model that learns habit and novelty apart."""

FEATURE_NAMES: tuple[str, ...] = (
    *OWN, *INTEREST, *NEIGHBOUR, *POPULARITY, *TASTE, *PERSONA, *VISITOR, *TEXT, *BERT, *(name for name, _ in PRODUCTS)
)  # fmt: skip
BERT_FEATURES: frozenset[str] = frozenset({*BERT, "new_interest_match", "new_history_match", "new_several"})
"""The head without these is the linear baseline."""

QUERY_FEATURES: frozenset[str] = frozenset({"query_match", "lexical"})

_PURCHASE, _REFUND = EVENT_CODES[EventType.PURCHASE], EVENT_CODES[EventType.REFUND]
_VIEWS = (EVENT_CODES[EventType.VIEW_ITEM], EVENT_CODES[EventType.SELECT_ITEM])
_CART, _DISMISS = EVENT_CODES[EventType.ADD_TO_CART], EVENT_CODES[EventType.DISMISS_ITEM]

Columns = dict[str, FloatArray]


@dataclass(frozen=True, slots=True)
class Orders:
    """The purchases of a profile, one row per (item, order), ascending by order; age_days is at least 0."""

    item: IntArray
    order: npt.NDArray[np.int64]
    age_days: npt.NDArray[np.float64]
    quantity: FloatArray
    n_orders: int

    def last(self) -> IntArray:
        """Return the items of the newest order."""
        return self.item[self.order == self.n_orders - 1] if self.n_orders else self.item[:0]


def features(
    profile: Profile,
    candidates: IntArray,
    state: State,
    items: ItemTable,
    *,
    item_vectors: FloatArray | None = None,
    context_vector: FloatArray | None = None,
    query_vector: FloatArray | None = None,
    lexical: FloatArray | None = None,
) -> FloatArray:
    """Return (n_candidates, n_features) float32 in the order of `FEATURE_NAMES`.

    candidates (n,) int32 without repeats; item_vectors (n_items, d), context_vector and query_vector (d,), all of
    unit length; lexical (n,) raw lexical scores. What is absent counts as 0.
    """
    place = np.full(len(items) + 1, len(candidates), np.int32)  # the last place takes what is no candidate
    place[candidates] = np.arange(len(candidates))
    orders = purchases(profile)
    columns: Columns = {}
    columns.update(_own(orders, place, len(candidates)))
    columns.update(_interest(profile, place, len(candidates)))
    columns.update(_neighbours(profile, orders, state, place, len(candidates)))
    columns.update(_sequels(orders, state, place, len(candidates)))
    columns.update(_popularity(profile, candidates, state, items))
    columns["own_popular"] = columns["own_lasting"] * np.log1p(state.counts[candidates, 2])
    columns["own_trend"] = columns["own_lasting"] * columns["trend"]
    columns.update(_taste(profile, candidates, items))
    persona = persona_features(profile, candidates, items, known_terms(items))
    columns.update({name: persona[:, place] for place, name in enumerate(PERSONA)})
    columns.update(_visitor(profile, orders, len(candidates)))
    columns["lexical"] = _relative(lexical, len(candidates))
    columns.update(_matches(profile, orders, candidates, item_vectors, context_vector, query_vector))
    is_new = 1 - columns["is_own"]
    for name, source in PRODUCTS:
        columns[name] = is_new * columns[source]
    return np.stack([columns[name] for name in FEATURE_NAMES], axis=1).astype(np.float32, copy=False)


def purchases(profile: Profile) -> Orders:
    """Group the purchases of a profile into orders; purchases outside an order share a minute to share one."""
    bought = (profile.type == _PURCHASE) & (profile.item >= 0)
    item, time, quantity = profile.item[bought], profile.time[bought], profile.quantity[bought]
    basket = profile.basket[bought].astype(np.int64)
    key = np.where(basket >= 0, basket, -1 - (time // 60).astype(np.int64))
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    order = rank[inverse]
    base = int(item.max()) + 1 if len(item) else 1
    _, once, same = np.unique(order * base + item, return_index=True, return_inverse=True)
    total = np.bincount(same, weights=quantity, minlength=len(once)).astype(np.float32)
    age = np.maximum(profile.now - time[once], 0) / DAY_SECONDS
    return Orders(item[once], order[once], age, total, len(first))


def _own(orders: Orders, place: IntArray, n: int) -> Columns:
    where = place[orders.item]
    count = _sum(where, None, n)
    gap, due, last = _cycle(orders.age_days, where, count, n)
    share = count / max(orders.n_orders, 1)
    decay = ORDER_DECAY ** (orders.n_orders - 1 - orders.order)
    latest = _sum(where, (orders.order == orders.n_orders - 1).astype(np.float32), n)
    return {
        "own_orders": np.log1p(count),
        "own_share": share,
        "own_decayed": _sum(where, decay, n) / max(float((ORDER_DECAY ** np.arange(orders.n_orders)).sum()), 1.0),
        "own_fading": np.log1p(_sum(where, np.exp(-orders.age_days / HABIT_DAYS), n)),
        "own_recency": np.where(count > 0, np.exp(-last / HABIT_DAYS), 0),
        "own_in_last": np.minimum(latest, 1),
        "own_due": due,
        "own_repeated": (count > 1).astype(np.float32) * np.exp(-gap / 90.0),
        "own_quantity": np.log1p(_sum(where, orders.quantity, n)),
        "is_own": (count > 0).astype(np.float32),
        "own_lasting": np.minimum(_sum(where, lasting(orders), n), LASTING_MOST),
    }


def _cycle(age: npt.NDArray[np.float64], where: IntArray, count: FloatArray, n: int) -> tuple[FloatArray, ...]:
    """Return the mean gap between orders of the item in days, how near the next is due in (0, 1], days since the last.

    due = exp(-|log((since_last + 1) / (gap + 1))|), 0 below two orders.
    """
    first, last = np.zeros(n + 1), np.full(n + 1, np.inf)
    np.maximum.at(first, where, age)
    np.minimum.at(last, where, age)
    since = np.where(count > 0, last[:n], 0)
    gap = np.where(count > 1, (first[:n] - since) / np.maximum(count - 1, 1), 0)
    due = np.where(count > 1, np.exp(-np.abs(np.log((since + 1) / (gap + 1)))), 0)
    return gap.astype(np.float32), due.astype(np.float32), since.astype(np.float32)


def lasting(orders: Orders) -> npt.NDArray[np.float64]:
    """Return the weight of each (item, order): half after `LASTING_DAYS`."""
    return 0.5 ** (orders.age_days / LASTING_DAYS)


def _interest(profile: Profile, place: IntArray, n: int) -> Columns:
    age = np.maximum(profile.now - profile.time, 0) / DAY_SECONDS
    where = place[profile.item]  # -1 reads the last place, which is dropped

    whole = np.isin(profile.item, list(sent_back(profile)))

    def fading(codes: tuple[int, ...], days: float) -> FloatArray:
        seen = np.isin(profile.type, codes) & (whole | (profile.type != _REFUND))
        return np.log1p(_sum(where[seen], np.exp(-age[seen] / days), n))

    return {
        "viewed": fading(_VIEWS, 7.0),
        "carted": fading((_CART,), 7.0),
        "refunded": fading((_REFUND,), 180.0),
        "dismissed": fading((_DISMISS,), 90.0),
    }


def _neighbours(profile: Profile, orders: Orders, state: State, place: IntArray, n: int) -> Columns:
    used = (profile.item >= 0) & (EVENT_WEIGHTS[profile.type] > 0)
    item = profile.item[used]
    age = np.maximum(profile.now - profile.time[used], 0) / DAY_SECONDS
    faded = EVENT_WEIGHTS[profile.type[used]] * 0.5 ** (age / HALF_LIFE_DAYS)
    item, weight = _strongest(item, faded)
    last = np.unique(orders.last())
    recent = np.unique(profile.item[used][-RECENT_ITEMS:])
    current = np.asarray([profile.current_item] if profile.current_item >= 0 else [], np.int32)
    similar = _spread(state.visitor, item, weight, place, n)
    return {
        "knn": np.log1p(similar),
        "knn_mean": similar / max(float(weight.sum()), 1e-6),
        "knn_recent": _mean_spread(state.visitor, recent, place, n),
        "knn_basket": np.log1p(_spread(state.basket, item, weight, place, n)),
        "last_order": _mean_spread(state.basket, last, place, n),
        "bought_with_current": _mean_spread(state.basket, current, place, n),
        "like_current": _mean_spread(state.visitor, current, place, n),
        "bought_with_cart": _mean_spread(state.basket, profile.cart[profile.cart >= 0], place, n),
    }


def _sequels(orders: Orders, state: State, place: IntArray, n: int) -> Columns:
    """What the regression and the next orders of others say, of all that was bought and of what lasts."""
    own, weight = _summed(orders.item, lasting(orders))
    last = np.unique(orders.last())
    return {
        "regression": _spread(state.regression, own, np.ones(len(own), np.float32), place, n),
        "regression_fading": _spread(state.regression, own, weight, place, n),
        "sequel": _mean_spread(state.sequel, last, place, n),
        "sequel_fading": _spread(state.sequel, own, weight / max(float(weight.sum()), 1e-6), place, n),
    }


def _summed(item: IntArray, weight: npt.NDArray[np.floating]) -> tuple[IntArray, FloatArray]:
    """Return each item once with its weights added, at most `LASTING_MOST`."""
    own, where = np.unique(item, return_inverse=True)
    total = np.bincount(where, weights=weight, minlength=len(own))
    return own.astype(np.int32), np.minimum(total, LASTING_MOST).astype(np.float32)


def _strongest(item: IntArray, weight: npt.NDArray[np.floating]) -> tuple[IntArray, FloatArray]:
    """Return each item once with its largest weight."""
    order = np.lexsort((-weight, item))
    item, weight = item[order], weight[order]
    first = np.ones(len(item), bool)
    first[1:] = item[1:] != item[:-1]
    return item[first], weight[first].astype(np.float32)


def _spread(neighbours: Neighbours, rows: IntArray, weight: FloatArray, place: IntArray, n: int) -> FloatArray:
    found, score = neighbours.spread(rows, weight)
    return _sum(place[found], score, n)


def _mean_spread(neighbours: Neighbours, rows: IntArray, place: IntArray, n: int) -> FloatArray:
    weight = np.full(len(rows), 1 / max(len(rows), 1), np.float32)
    return _spread(neighbours, rows, weight, place, n)


def _popularity(profile: Profile, candidates: IntArray, state: State, items: ItemTable) -> Columns:
    popular = state.popularity[candidates]
    counts = state.counts[candidates]
    since_sold = np.maximum(profile.now - state.last_event_at[candidates], 0) / DAY_SECONDS
    age = np.maximum(profile.now - items.first_seen[candidates], 0) / DAY_SECONDS
    return {
        "popular_1": popular[:, 0],
        "popular_7": popular[:, 1],
        "popular_30": popular[:, 2],
        "popular_ever": popular[:, 3],
        "trend": np.log((counts[:, 1] + 1) / (counts[:, 2] * (7 / 30) + 1)),
        "sold_lately": np.exp(-since_sold / 14.0),
        "fresh": np.nan_to_num(np.exp(-age / HABIT_DAYS)),
        "age": np.nan_to_num(np.log1p(age), posinf=0.0),
        "sold_before": np.log1p(counts[:, 3]) - np.log1p(counts[:, 2]),
    }


def _taste(profile: Profile, candidates: IntArray, items: ItemTable) -> Columns:
    item = profile.item[(profile.item >= 0) & (EVENT_WEIGHTS[profile.type] > 0)]
    price = np.log(np.maximum(items.price[candidates], 0.01))
    past = np.log(np.maximum(items.price[item], 0.01))
    past = past[~np.isnan(past)]
    level, width = (float(past.mean()), float(past.std())) if len(past) else (np.nan, 0.0)
    category = items.category[candidates]
    liked = items.category[item]
    share = np.bincount(liked[liked >= 0], minlength=len(items.category_names) + 1) / max(len(item), 1)
    current = items.category[profile.current_item] if profile.current_item >= 0 else -2
    return {
        "price_gap": np.nan_to_num(np.minimum(np.abs(price - level) / (width + 0.5), 4)),
        "price_level": np.nan_to_num(price),
        "category_share": np.where(category >= 0, share[category], 0),
        "category_current": ((category == current) & (category >= 0)).astype(np.float32),
    }


def _visitor(profile: Profile, orders: Orders, n: int) -> Columns:
    since = max(profile.now - float(profile.time[-1]), 0) / DAY_SECONDS if len(profile.time) else np.inf
    values = {
        "is_cold": float(len(profile.item) == 0),
        "visitor_orders": float(np.log1p(orders.n_orders)),
        "visitor_recency": float(np.exp(-since / HABIT_DAYS)),
        "has_query": float(bool(profile.query)),
        "visitor_items": float(np.log1p(len(np.unique(orders.item)))),
        "order_size": float(np.log1p(len(orders.item) / max(orders.n_orders, 1))),
    }
    return {name: np.full(n, value, np.float32) for name, value in values.items()}


def _matches(
    profile: Profile,
    orders: Orders,
    candidates: IntArray,
    vectors: FloatArray | None,
    context: FloatArray | None,
    query: FloatArray | None,
) -> Columns:
    """Cosines of each candidate with the context vector, the query, the nearest of the last items, the last order."""
    columns = {name: np.zeros(len(candidates), np.float32) for name in BERT}
    if vectors is None:
        return columns
    own = vectors[candidates]
    if context is not None:
        columns["interest_match"] = own @ context
    if query is not None:
        columns["query_match"] = own @ query
    if profile.current_item >= 0:
        columns["current_match"] = own @ vectors[profile.current_item]
    recent = np.unique(profile.item[(profile.item >= 0) & (EVENT_WEIGHTS[profile.type] > 0)][-RECENT_ITEMS:])
    if len(recent):
        columns["history_match"] = _others(own @ vectors[recent].T, candidates, recent).max(axis=1)
    last = orders.last()
    if len(last):
        columns["last_order_match"] = own @ vectors[last].mean(axis=0)
        columns["nearest_of_last"] = _others(own @ vectors[last].T, candidates, last).max(axis=1)
    bought = np.asarray(list(dict.fromkeys(orders.item[::-1].tolist()))[:MOST_COMPARED], np.int32)
    if len(bought):
        near = np.sort(_others(own @ vectors[bought].T, candidates, bought), axis=1)[:, -SEVERAL:]
        columns["several_match"] = near.mean(axis=1)
    return columns


def _others(similarity: FloatArray, candidates: IntArray, rows: IntArray) -> FloatArray:
    """Set the likeness of an item to itself to 0: it is no news of itself."""
    similarity[candidates[:, None] == rows[None, :]] = 0
    return similarity


def _relative(lexical: FloatArray | None, n: int) -> FloatArray:
    if lexical is None or not len(lexical) or lexical.max() <= 0:
        return np.zeros(n, np.float32)
    return (lexical / lexical.max()).astype(np.float32)


def _sum(where: IntArray, weight: npt.NDArray[np.floating] | None, n: int) -> FloatArray:
    return np.bincount(where, weights=weight, minlength=n + 1)[:n].astype(np.float32)
