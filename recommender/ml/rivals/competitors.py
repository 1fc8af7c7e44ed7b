"""Simple competitors that are fitted first: each reads the shop before one moment once, then scores any profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recommender.features import purchases
from recommender.features.neighbours import ease_weights
from recommender.features.shop_state import ShopState
from recommender.features.weights import EVENT_WEIGHTS
from recommender.ml import metrics
from recommender.ml.head.examples import Histories
from recommender.ml.rivals import baselines
from recommender.tables import Interactions, ItemTable, Profile
from recommender.types import FloatArray, IntArray

MOST_ITEMS = 6_000
"""Largest catalogue that EASE is fitted for: its matrix is inverted whole, about 6 s and 400 MB at this size."""

EASE_PENALTY = 250.0
"""λ of EASE: best or within .002 of the best NDCG@10 in four windows of the demo, of 50, 100, 250, 500 and 1,000."""

TIE_BREAK = 1e-6


@dataclass(frozen=True, slots=True)
class Basis:
    """What a competitor may learn from: events before `state.at`, and nothing of what came later."""

    past: Interactions
    items: ItemTable
    state: ShopState


def ease(basis: Basis, *, penalty: float = EASE_PENALTY) -> baselines.Scorer | None:
    """The closed-form linear autoencoder (Steck 2019), then popularity; None above `MOST_ITEMS` items with a past."""
    told = _told(basis.past.item, basis.past.type) & (basis.past.visitor >= 0)
    known = np.unique(basis.past.item[told])
    if not len(known) or len(known) > MOST_ITEMS:
        return None
    place = np.full(len(basis.items), -1, np.int64)
    place[known] = np.arange(len(known))
    visitor, item = np.unique(np.stack([basis.past.visitor[told], place[basis.past.item[told]]]), axis=1)
    ones = np.ones(len(visitor), np.float32)
    matrix = sparse.csr_matrix((ones, (visitor, item)), (int(visitor.max()) + 1, len(known)))
    weights = ease_weights(matrix, penalty=penalty)

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        own = place[np.unique(profile.item[_told(profile.item, profile.type)])]
        total = TIE_BREAK * state.popularity[:, 2]
        total[known] += weights[own[own >= 0]].sum(axis=0)
        return np.asarray(total, np.float32)

    return score


@dataclass(frozen=True, slots=True)
class TifuSettings:
    """Of TIFU-KNN: what Hu et al. 2020, section 4.2, found best for Ta-Feng, the shop most like a small one."""

    n_neighbours: int = 300
    n_groups: int = 7
    basket_decay: float = 0.9
    group_decay: float = 0.7
    own_share: float = 0.7


def frequency_vector(profile: Profile, *, settings: TifuSettings) -> tuple[IntArray, FloatArray]:
    """Return the items (n,) that a visitor bought and their temporal frequencies (n,) (Hu et al. 2020, equations 1-2).

    The orders fall into `n_groups` groups of equal length, the older ones shorter. Order j of the τ of a group weighs
    r_b^(τ-j) / τ, group g of m weighs r_g^(m-g) / m; with fewer orders than groups each order is a group.
    """
    orders = purchases(profile)
    if not orders.n_orders:
        return np.empty(0, np.int32), np.empty(0, np.float32)
    m = min(settings.n_groups, orders.n_orders)
    group = m - 1 - np.arange(orders.n_orders)[::-1] * m // orders.n_orders
    size = np.bincount(group, minlength=m)
    later = np.cumsum(size)[group] - 1 - np.arange(orders.n_orders)
    weight = settings.basket_decay**later / size[group] * settings.group_decay ** (m - 1 - group) / m
    items, where = np.unique(orders.item, return_inverse=True)
    total = np.bincount(where, weights=weight[orders.order], minlength=len(items))
    return items.astype(np.int32), total.astype(np.float32)


def tifu_knn(basis: Basis, *, settings: TifuSettings | None = None) -> baselines.Scorer:
    """Temporal frequency of the visitor's own items and of the nearest visitors' (Hu et al. 2020), then popularity.

    score = α own + (1 - α) mean of the k nearest by Euclidean distance, the visitor's own row among them.
    """
    chosen = settings or TifuSettings()
    histories = Histories(basis.past)
    vectors = [
        frequency_vector(histories.profile(visitor, at=basis.state.at), settings=chosen)
        for visitor in range(histories.n_visitors)
    ]
    everybody = _stacked([vector for vector in vectors if len(vector[0])], len(basis.items))
    by_item = everybody.tocsc()
    length = np.asarray(everybody.multiply(everybody).sum(axis=1)).ravel()
    k = min(chosen.n_neighbours, everybody.shape[0])

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        own, frequency = frequency_vector(profile, settings=chosen)
        total = TIE_BREAK * state.popularity[:, 2].astype(np.float32)
        total[own] += chosen.own_share * frequency
        if k:
            distance = length - 2 * (by_item[:, own] @ frequency)
            nearest = np.argpartition(distance, k - 1)[:k]
            chosen_rows = np.zeros(len(length), np.float32)
            chosen_rows[nearest] = (1 - chosen.own_share) / k
            total += chosen_rows @ everybody
        return np.asarray(total, np.float32)

    return score


@dataclass(frozen=True, slots=True)
class BlendWeights:
    """How much each part of the blend weighs."""

    own: float
    knn: float
    popular: float


def blend(weights: BlendWeights) -> baselines.Scorer:
    """Own frequency, item-kNN and popularity, each divided by its largest value, in a weighted sum."""

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        return _mixed(_parts(profile, state, items), weights)

    return score


OWN_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 16.0)
KNN_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""The grid of the blend: habit against the rest, and within the rest item-kNN against popularity."""


def tuned_weights(state: ShopState, items: ItemTable, some: Sequence[tuple[Profile, frozenset[int]]]) -> BlendWeights:
    """Weights of the best NDCG@10 on all items for visitors of a window before the test: profile, what they bought.

    The first of the grid where nothing tells: without a case it is popularity alone.
    """
    parts = [_parts(profile, state, items) for profile, _ in some]

    def quality(weights: BlendWeights) -> float:
        lists = (best_rows(np.where(items.active, _mixed(part, weights), -np.inf), 10) for part in parts)
        return sum(metrics.ndcg_at_k(ranked, truth) for ranked, (_, truth) in zip(lists, some, strict=True))

    tried = [BlendWeights(own, share, 1 - share) for own in OWN_WEIGHTS for share in KNN_SHARES]
    return max(tried, key=quality)


def best_rows(scores: FloatArray, k: int) -> list[int]:
    """Return the places of the k largest scores, best first; -inf is never among them."""
    best = np.argpartition(-scores, min(k, len(scores) - 1))[:k]
    best = best[np.argsort(-scores[best], kind="stable")]
    found: list[int] = best[np.isfinite(scores[best])].tolist()
    return found


def _parts(profile: Profile, state: ShopState, items: ItemTable) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Own frequency, item-kNN and popularity (n_items,) each, the largest value of each being 1."""
    found = (
        np.bincount(purchases(profile).item, minlength=len(items)),
        baselines.item_knn(profile, state, items, tie_break=0),
        state.counts[:, 2] + TIE_BREAK * state.counts[:, 3],
    )
    own, knn, popular = (np.asarray(part / max(float(part.max(initial=0)), 1e-9), np.float32) for part in found)
    return own, knn, popular


def _mixed(parts: tuple[FloatArray, FloatArray, FloatArray], weights: BlendWeights) -> FloatArray:
    own, knn, popular = parts
    return weights.own * own + weights.knn * knn + weights.popular * popular


def _told(item: IntArray, kind: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    told: npt.NDArray[np.bool_] = (item >= 0) & (EVENT_WEIGHTS[kind] > 0)
    return told


def _stacked(vectors: Sequence[tuple[IntArray, FloatArray]], n_items: int) -> sparse.csr_matrix:
    start = np.concatenate([[0], np.cumsum([len(items) for items, _ in vectors])]).astype(np.int64)
    none = np.empty(0, np.float32)
    values = np.concatenate([none, *(value for _, value in vectors)])
    columns = np.concatenate([none.astype(np.int32), *(items for items, _ in vectors)])
    return sparse.csr_matrix((values, columns, start), (len(vectors), n_items), dtype=np.float32)
