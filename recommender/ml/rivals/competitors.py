"""Simple competitors that are fitted to the events before one moment: EASE, TIFU-KNN and a tuned blend.

The neighbours of TIFU-KNN are one product of SciPy's sparse matrices: 0.15 ms per visitor, where scikit-learn's
NearestNeighbors takes 4.8 ms (4,300 visitors, 3,700 items).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recommender.features import purchases
from recommender.features.neighbours import ease_weights
from recommender.features.shop_state import ShopState
from recommender.ml import metrics
from recommender.ml.histories import Histories
from recommender.ml.rivals import baselines
from recommender.tables import Interactions, ItemTable, Profile
from recommender.types import FloatArray, IntArray

MOST_ITEMS = 6_000
"""Largest catalogue that EASE is fitted to: it inverts a matrix of this size, in about 6 s and 400 MB."""

EASE_PENALTY = 250.0
"""λ of EASE: best or within .002 of the best NDCG@10 in four windows of the demo, of 50, 100, 250, 500 and 1,000."""

TIE_BREAK = 1e-6


@dataclass(frozen=True, slots=True)
class Basis:
    """What a competitor may learn from: the events before `state.at`."""

    past: Interactions
    items: ItemTable
    state: ShopState


def ease(basis: Basis, *, penalty: float = EASE_PENALTY) -> baselines.Scorer | None:
    """The closed-form linear autoencoder (Steck 2019), then popularity; None above `MOST_ITEMS` items with a past."""
    past = basis.past
    used = baselines.is_interest(past.item, past.type) & (past.visitor >= 0)
    fitted_items = np.unique(past.item[used])
    if not len(fitted_items) or len(fitted_items) > MOST_ITEMS:
        return None
    column = np.full(len(basis.items), -1, np.int64)
    column[fitted_items] = np.arange(len(fitted_items))
    visitor, item = np.unique(np.stack([past.visitor[used], column[past.item[used]]]), axis=1)
    ones = np.ones(len(visitor), np.float32)
    matrix = sparse.csr_matrix((ones, (visitor, item)), (int(visitor.max()) + 1, len(fitted_items)))
    weights = ease_weights(matrix, penalty=penalty)

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        own = column[np.unique(profile.item[baselines.is_interest(profile.item, profile.type)])]
        total = TIE_BREAK * state.popularity[:, 2]
        total[fitted_items] += weights[own[own >= 0]].sum(axis=0)
        return np.asarray(total, np.float32)

    return score


@dataclass(frozen=True, slots=True)
class TifuSettings:
    """Settings of TIFU-KNN: the best of Hu et al. 2020, section 4.2, on Ta-Feng, their data most like a small shop."""

    n_neighbours: int = 300
    n_groups: int = 7
    basket_decay: float = 0.9
    group_decay: float = 0.7
    own_share: float = 0.7


def frequency_vector(profile: Profile, *, settings: TifuSettings) -> tuple[IntArray, FloatArray]:
    """Return the items (n,) that a visitor bought and their temporal frequencies (n,) (Hu et al. 2020, equations 1-2).

    The orders are cut into `n_groups` groups of equal length, older ones shorter. Order j of τ in a group weighs
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
    items, column = np.unique(orders.item, return_inverse=True)
    total = np.bincount(column, weights=weight[orders.order], minlength=len(items))
    return items.astype(np.int32), total.astype(np.float32)


def tifu_knn(basis: Basis, *, settings: TifuSettings | None = None) -> baselines.Scorer:
    """Temporal frequency of the visitor's own items and of the nearest visitors' (Hu et al. 2020), then popularity.

    score = α own + (1 - α) mean of the k nearest by Euclidean distance, the visitor's own row among them.
    """
    settings = settings or TifuSettings()
    histories = Histories(basis.past)
    vectors = [
        frequency_vector(histories.profile(visitor, at=basis.state.at), settings=settings)
        for visitor in range(histories.n_visitors)
    ]
    visitors = _stacked([vector for vector in vectors if len(vector[0])], len(basis.items))
    by_item = visitors.tocsc()
    length = np.asarray(visitors.multiply(visitors).sum(axis=1)).ravel()
    k = min(settings.n_neighbours, visitors.shape[0])

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        own, frequency = frequency_vector(profile, settings=settings)
        total = TIE_BREAK * state.popularity[:, 2].astype(np.float32)
        total[own] += settings.own_share * frequency
        if k:
            distance = length - 2 * (by_item[:, own] @ frequency)
            nearest = np.argpartition(distance, k - 1)[:k]
            weight = np.zeros(len(length), np.float32)
            weight[nearest] = (1 - settings.own_share) / k
            total += weight @ visitors
        return np.asarray(total, np.float32)

    return score


@dataclass(frozen=True, slots=True)
class BlendWeights:
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


def tuned_weights(state: ShopState, items: ItemTable, cases: Sequence[tuple[Profile, frozenset[int]]]) -> BlendWeights:
    """Return the weights of the best NDCG@10 on cases before the test: a profile, and what that visitor then bought.

    Of equally good ones the first of the grid: without a case, popularity alone.
    """
    parts = [_parts(profile, state, items) for profile, _ in cases]

    def quality(weights: BlendWeights) -> float:
        lists = (best_rows(np.where(items.active, _mixed(part, weights), -np.inf), 10) for part in parts)
        return sum(metrics.ndcg_at_k(ranked, truth) for ranked, (_, truth) in zip(lists, cases, strict=True))

    grid = [BlendWeights(own, share, 1 - share) for own in OWN_WEIGHTS for share in KNN_SHARES]
    return max(grid, key=quality)


def best_rows(scores: FloatArray, k: int) -> list[int]:
    """Return the rows of the k largest scores, best first; -inf is never among them."""
    best = np.argpartition(-scores, min(k, len(scores) - 1))[:k]
    best = best[np.argsort(-scores[best], kind="stable")]
    rows: list[int] = best[np.isfinite(scores[best])].tolist()
    return rows


def _parts(profile: Profile, state: ShopState, items: ItemTable) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Own frequency, item-kNN and popularity (n_items,) each, the largest value of each being 1."""
    parts = (
        np.bincount(purchases(profile).item, minlength=len(items)),
        baselines.item_knn(profile, state, items, tie_break=0),
        state.counts[:, 2] + TIE_BREAK * state.counts[:, 3],
    )
    own, knn, popular = (np.asarray(part / max(float(part.max(initial=0)), 1e-9), np.float32) for part in parts)
    return own, knn, popular


def _mixed(parts: tuple[FloatArray, FloatArray, FloatArray], weights: BlendWeights) -> FloatArray:
    own, knn, popular = parts
    return weights.own * own + weights.knn * knn + weights.popular * popular


def _stacked(vectors: Sequence[tuple[IntArray, FloatArray]], n_items: int) -> sparse.csr_matrix:
    start = np.concatenate([[0], np.cumsum([len(items) for items, _ in vectors])]).astype(np.int64)
    none = np.empty(0, np.float32)
    values = np.concatenate([none, *(value for _, value in vectors)])
    columns = np.concatenate([none.astype(np.int32), *(items for items, _ in vectors)])
    return sparse.csr_matrix((values, columns, start), (len(vectors), n_items), dtype=np.float32)
