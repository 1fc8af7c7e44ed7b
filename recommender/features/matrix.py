"""The feature matrix of one request: one row per candidate, one column per feature, for training and serving.

It is a pure function of the profile (events before `profile.now`), the `ShopState` (events before `state.at`), the
catalogue and the vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.durations import HABIT_HALF_LIFE_DAYS, NEIGHBOUR_HALF_LIFE_DAYS
from recommender.features.cycles import repeat_cycles
from recommender.features.names import BERT, FEATURE_NAMES, PERSONA, PRODUCTS, WORDS
from recommender.features.neighbours import Neighbours, row_entries
from recommender.features.orders import ORDER_DECAY, Orders, purchases
from recommender.features.persona import ItemTerms, cached_item_terms, persona_features, word_cosine
from recommender.features.returns import returned_items
from recommender.features.shop_state import ShopState
from recommender.features.weights import EVENT_WEIGHTS, age_days, decay, positive_events
from recommender.tables import ItemTable, Profile
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray

RECENCY_DAYS = 30.0
"""Time constant of recency: its weight is exp(-age / 30 days)."""

MAX_HABIT_WEIGHT = 3.0
"""As many recent orders as a lasting habit may count; one more adds nothing new."""

RECENT_ITEMS = 10
NEWEST_ITEMS = 3
"""Newest items that were bought whose own words are compared: in the words of a whole history one of them is lost."""

NEAREST_ITEMS = 5
"""`several_match` is the mean over so many most similar items of the history: one may be chance, five are a taste."""

MAX_COMPARED_ITEMS = 200
"""Newest items of the history that each candidate is compared with; more would take over a millisecond."""

_VIEWS = (EVENT_CODES[EventType.VIEW_ITEM], EVENT_CODES[EventType.SELECT_ITEM])
_CART, _REFUND, _DISMISS = (
    EVENT_CODES[kind] for kind in (EventType.ADD_TO_CART, EventType.REFUND, EventType.DISMISS_ITEM)
)

Columns = dict[str, FloatArray]


@dataclass(frozen=True, slots=True)
class RequestVectors:
    """Vectors of unit length, None where there are none: items (n_items, d), context and query (d,)."""

    items: FloatArray | None = None
    context: FloatArray | None = None
    query: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The rows of the matrix: item (n,) int32; position (n_items + 1,): row of each item of the catalogue, else n."""

    item: IntArray
    position: IntArray

    def __len__(self) -> int:
        return len(self.item)

    def total(self, item: IntArray, weight: npt.NDArray[np.floating] | None = None) -> FloatArray:
        """Return (n,): the summed weights of each candidate; item -1 and other items are dropped."""
        return np.bincount(self.position[item], weights=weight, minlength=len(self) + 1)[:-1].astype(np.float32)

    def similarity(self, neighbours: Neighbours, item: IntArray, weight: FloatArray | None = None) -> FloatArray:
        """Return (n,): the summed similarity to items, each times its weight, or their mean without weights."""
        if weight is None:
            weight = np.full(len(item), 1 / max(len(item), 1), np.float32)
        return self.total(*neighbours.spread(item, weight))

    def reverse_similarity(self, neighbours: Neighbours, item: IntArray, weight: FloatArray) -> FloatArray:
        """Return (n,): the summed scores at which items, each times its weight, are neighbours of each candidate."""
        weight_of = np.zeros(len(self.position), np.float32)
        weight_of[item] = weight
        entry, index = row_entries(neighbours.start, self.item)
        scores = neighbours.score[entry] * weight_of[neighbours.item[entry]]
        return np.bincount(index, weights=scores, minlength=len(self)).astype(np.float32)


def features(
    profile: Profile,
    candidates: IntArray,
    state: ShopState,
    items: ItemTable,
    *,
    vectors: RequestVectors = RequestVectors(),  # frozen
    lexical: FloatArray | None = None,
) -> FloatArray:
    """Return (n_candidates, n_features) float32 in the order of `FEATURE_NAMES`.

    candidates (n,) int32, each once; lexical (n,): raw lexical scores. Whatever is missing counts as 0.
    """
    position = np.full(len(items) + 1, len(candidates), np.int32)
    position[candidates] = np.arange(len(candidates))
    rows, orders = _Candidates(candidates, position), purchases(profile)
    columns = _own(orders, rows)
    columns |= _interest(profile, rows)
    columns |= _neighbours(profile, orders, state, rows)
    columns |= _popularity(profile, rows, state, items)
    columns["own_popular"] = columns["own_lasting"] * np.log1p(state.counts[candidates, 2])
    columns["own_trend"] = columns["own_lasting"] * columns["trend"]
    columns |= _taste(profile, rows, items)
    item_terms = cached_item_terms(items)
    persona = persona_features(profile, candidates, items, item_terms)
    columns |= dict(zip(PERSONA, persona.T, strict=True)) | _words(orders, candidates, item_terms)
    columns |= _visitor(profile, orders, len(rows))
    columns["lexical"] = _relative(lexical, len(rows))
    columns |= _matches(profile, orders, rows, vectors)
    is_new = 1 - columns["is_own"]
    columns |= {name: is_new * columns[factor] for name, factor in PRODUCTS}
    return np.stack([columns[name] for name in FEATURE_NAMES], axis=1).astype(np.float32, copy=False)


def _own(orders: Orders, rows: _Candidates) -> Columns:
    """The visitor's own orders of each candidate."""
    count = rows.total(orders.item)
    gap, due, last = _cycle(orders, rows, count)
    order_decay = ORDER_DECAY ** (orders.n_orders - 1 - orders.order)
    most = max(float((ORDER_DECAY ** np.arange(orders.n_orders)).sum()), 1.0)
    return {
        "own_orders": np.log1p(count),
        "own_share": count / max(orders.n_orders, 1),
        "own_decayed": rows.total(orders.item, order_decay) / most,
        "own_fading": np.log1p(rows.total(orders.item, np.exp(-orders.age_days / RECENCY_DAYS))),
        "own_recency": np.where(count > 0, np.exp(-last / RECENCY_DAYS), 0),
        "own_in_last": np.minimum(rows.total(orders.last()), 1),
        "own_due": due,
        "own_repeated": (count > 1).astype(np.float32) * np.exp(-gap / 90.0),
        "own_quantity": np.log1p(rows.total(orders.item, orders.quantity)),
        "is_own": (count > 0).astype(np.float32),
        "own_lasting": np.minimum(rows.total(orders.item, _habit_weight(orders)), MAX_HABIT_WEIGHT),
    }


def _cycle(orders: Orders, rows: _Candidates, count: FloatArray) -> tuple[FloatArray, ...]:
    """Return (n,) each: mean days between orders, how close the next one is to due in (0, 1], days since the last.

    due = exp(-|log((days_since + 1) / (gap + 1))|), 0 below two orders.
    """
    cycles = repeat_cycles(orders)
    position = rows.position[cycles.item]
    gap, days_since = np.zeros(len(rows) + 1), np.zeros(len(rows) + 1)
    gap[position], days_since[position] = cycles.gap_days, cycles.days_since
    gap, days_since = gap[:-1], days_since[:-1]
    due = np.where(count > 1, np.exp(-np.abs(np.log((days_since + 1) / (gap + 1)))), 0)
    return gap.astype(np.float32), due.astype(np.float32), days_since.astype(np.float32)


def _habit_weight(orders: Orders) -> npt.NDArray[np.float64]:
    return decay(orders.age_days, HABIT_HALF_LIFE_DAYS)


def _interest(profile: Profile, rows: _Candidates) -> Columns:
    """Views, carts, full returns and dismissals of each candidate, faded by exp(-age / days)."""
    age = age_days(profile.time, profile.now)
    is_returned = np.isin(profile.item, list(returned_items(profile)))

    def faded(codes: tuple[int, ...], days: float) -> FloatArray:
        used = np.isin(profile.type, codes) & (is_returned | (profile.type != _REFUND))
        return np.log1p(rows.total(profile.item[used], np.exp(-age[used] / days)))

    return {
        "viewed": faded(_VIEWS, 7.0),
        "carted": faded((_CART,), 7.0),
        "refunded": faded((_REFUND,), 180.0),
        "dismissed": faded((_DISMISS,), 90.0),
    }


def _neighbours(profile: Profile, orders: Orders, state: ShopState, rows: _Candidates) -> Columns:
    """Similarity of each candidate to the history, the last order, the current item and the cart."""
    used = positive_events(profile)
    age = age_days(profile.time[used], profile.now)
    faded = EVENT_WEIGHTS[profile.type[used]] * decay(age, NEIGHBOUR_HALF_LIFE_DAYS)
    item, weight = _strongest(profile.item[used], faded)
    last = np.unique(orders.last())
    recent = np.unique(profile.item[used][-RECENT_ITEMS:])
    current = np.asarray([profile.current_item] if profile.current_item >= 0 else [], np.int32)
    bought, habit = _summed(orders.item, _habit_weight(orders))
    knn = rows.similarity(state.visitor, item, weight)
    lasting = (habit / max(float(habit.sum()), 1e-6)).astype(np.float32)
    return {
        "knn": np.log1p(knn),
        "knn_mean": knn / max(float(weight.sum()), 1e-6),
        "knn_recent": rows.similarity(state.visitor, recent),
        "knn_basket": np.log1p(rows.similarity(state.basket, item, weight)),
        "last_order": rows.similarity(state.basket, last),
        "bought_with_current": rows.similarity(state.basket, current),
        "like_current": rows.similarity(state.visitor, current),
        "bought_with_cart": rows.similarity(state.basket, profile.cart[profile.cart >= 0]),
        "regression": rows.similarity(state.regression, bought, np.ones(len(bought), np.float32)),
        "regression_fading": rows.similarity(state.regression, bought, habit),
        "sequel": rows.similarity(state.sequel, last),
        "sequel_fading": rows.similarity(state.sequel, bought, lasting),
        "precursor": rows.reverse_similarity(state.sequel, last, np.ones(len(last), np.float32)),
        "precursor_fading": rows.reverse_similarity(state.sequel, bought, lasting),
    }


def _summed(item: IntArray, weight: npt.NDArray[np.floating]) -> tuple[IntArray, FloatArray]:
    """Return each item once with its weights added, at most `MAX_HABIT_WEIGHT`."""
    own, group = np.unique(item, return_inverse=True)
    total = np.bincount(group, weights=weight, minlength=len(own))
    return own.astype(np.int32), np.minimum(total, MAX_HABIT_WEIGHT).astype(np.float32)


def _strongest(item: IntArray, weight: npt.NDArray[np.floating]) -> tuple[IntArray, FloatArray]:
    """Return each item once with its largest weight."""
    order = np.lexsort((-weight, item))
    own, first = np.unique(item[order], return_index=True)
    return own, weight[order][first].astype(np.float32)


def _popularity(profile: Profile, rows: _Candidates, state: ShopState, items: ItemTable) -> Columns:
    popular, counts = state.popularity[rows.item].T, state.counts[rows.item].T
    since_sold = age_days(state.last_event_at[rows.item], profile.now)
    age = age_days(items.first_seen[rows.item], profile.now)
    return {
        "popular_1": popular[0],
        "popular_7": popular[1],
        "popular_30": popular[2],
        "popular_ever": popular[3],
        "trend": np.log((counts[1] + 1) / (counts[2] * (7 / 30) + 1)),
        "sold_lately": np.exp(-since_sold / 14.0),
        "fresh": np.nan_to_num(np.exp(-age / RECENCY_DAYS)),
        "age": np.nan_to_num(np.log1p(age), posinf=0.0),
        "sold_before": np.log1p(counts[3]) - np.log1p(counts[2]),
    }


def _taste(profile: Profile, rows: _Candidates, items: ItemTable) -> Columns:
    """Price and category of each candidate against those of the history and the current item."""
    past = profile.item[positive_events(profile)]
    price = np.log(np.maximum(items.price[rows.item], 0.01))
    past_price = np.log(np.maximum(items.price[past], 0.01))
    past_price = past_price[~np.isnan(past_price)]
    level, width = (float(past_price.mean()), float(past_price.std())) if len(past_price) else (np.nan, 0.0)
    category, past_category = items.category[rows.item], items.category[past]
    count = np.bincount(past_category[past_category >= 0], minlength=len(items.category_names) + 1)
    current = items.category[profile.current_item] if profile.current_item >= 0 else -2
    return {
        "price_gap": np.nan_to_num(np.minimum(np.abs(price - level) / (width + 0.5), 4)),
        "price_level": np.nan_to_num(price),
        "category_share": np.where(category >= 0, count[category] / max(len(past), 1), 0),
        "category_current": ((category == current) & (category >= 0)).astype(np.float32),
    }


def _words(orders: Orders, candidates: IntArray, item_terms: ItemTerms) -> Columns:
    """Cosine of the words of each candidate with those of the last order, and the best with one of the newest items."""

    def cosine(item: IntArray) -> FloatArray:
        return word_cosine(item, np.ones(len(item), np.float32), candidates, item_terms)

    nearest = np.zeros(len(candidates), np.float32)
    for item in list(dict.fromkeys(orders.item[::-1].tolist()))[:NEWEST_ITEMS]:
        alone = cosine(np.array([item], np.int32))
        nearest = np.maximum(nearest, np.where(candidates == item, 0, alone))
    return dict(zip(WORDS, (cosine(np.unique(orders.last())), nearest), strict=True))


def _visitor(profile: Profile, orders: Orders, n: int) -> Columns:
    """What is the same for all candidates."""
    days_since = float(age_days(profile.time[-1:], profile.now)[0]) if len(profile.time) else np.inf
    values = {
        "is_cold": float(len(profile.item) == 0),
        "visitor_orders": float(np.log1p(orders.n_orders)),
        "visitor_recency": float(np.exp(-days_since / RECENCY_DAYS)),
        "has_query": float(bool(profile.query)),
        "visitor_items": float(np.log1p(len(np.unique(orders.item)))),
        "order_size": float(np.log1p(len(orders.item) / max(orders.n_orders, 1))),
    }
    return {name: np.full(n, value, np.float32) for name, value in values.items()}


def _matches(profile: Profile, orders: Orders, rows: _Candidates, vectors: RequestVectors) -> Columns:
    """Cosines of each candidate with the context vector, the query, the current item and items of the history."""
    columns = {name: np.zeros(len(rows), np.float32) for name in BERT}
    if vectors.items is None:
        return columns
    own = vectors.items[rows.item]

    def cosines(item: IntArray) -> FloatArray:
        """Return (n, n_items), 0 for an item with itself: being like itself says nothing."""
        cosine = own @ vectors.items[item].T  # type: ignore[index]
        cosine[rows.item[:, None] == item[None, :]] = 0
        return cosine

    if vectors.context is not None:
        columns["interest_match"] = own @ vectors.context
    if vectors.query is not None:
        columns["query_match"] = own @ vectors.query
    if profile.current_item >= 0:
        columns["current_match"] = own @ vectors.items[profile.current_item]
    recent = np.unique(profile.item[positive_events(profile)][-RECENT_ITEMS:])
    if len(recent):
        columns["history_match"] = cosines(recent).max(axis=1)
    last = orders.last()
    if len(last):
        columns["last_order_match"] = own @ vectors.items[last].mean(axis=0)
        columns["nearest_of_last"] = cosines(last).max(axis=1)
    bought = np.asarray(list(dict.fromkeys(orders.item[::-1].tolist()))[:MAX_COMPARED_ITEMS], np.int32)
    if len(bought):
        columns["several_match"] = np.sort(cosines(bought), axis=1)[:, -NEAREST_ITEMS:].mean(axis=1)
    return columns


def _relative(lexical: FloatArray | None, n: int) -> FloatArray:
    """Return (n,): lexical scores divided by the largest."""
    if lexical is None or not len(lexical) or lexical.max() <= 0:
        return np.zeros(n, np.float32)
    return (lexical / lexical.max()).astype(np.float32)
