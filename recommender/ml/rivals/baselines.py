"""The simple competitors: each scores the whole catalogue for one profile, so that a gain can be called a gain."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse

from recommender.features import ORDER_DECAY, RequestVectors, features, purchases
from recommender.features.head import Head
from recommender.features.sequence import decayed_mean, sequence
from recommender.features.shop_state import ShopState
from recommender.features.weights import EVENT_WEIGHTS
from recommender.tables import ItemTable, Profile
from recommender.types import FloatArray

Scorer = Callable[[Profile, ShopState, ItemTable], FloatArray]
"""(profile, state, items) -> (n_items,) float32, higher is better."""

TIE_BREAK = 1e-4


def random_order(seed: int = 0) -> Scorer:
    """Any order, the same for the same seed and moment: the floor."""

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        generator = np.random.default_rng((seed, len(profile.item), int(profile.now)))
        return generator.random(len(items), np.float32)

    return score


def popularity(window: int = 2) -> Scorer:
    """Most events lately; window 0, 1, 2, 3: one day, 7 days, 30 days, ever."""

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        return state.counts[:, window] + TIE_BREAK * state.popularity[:, 3]

    return score


def own_frequency(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
    """Orders of the visitor with the item, then popularity."""
    own = np.bincount(purchases(profile).item, minlength=len(items))
    return (own + TIE_BREAK * state.popularity[:, 2]).astype(np.float32)


def decayed_frequency(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
    """Orders with the item, newer ones weigh more, then popularity: the personal part of TIFU-KNN (Hu et al. 2020)."""
    orders = purchases(profile)
    weight = ORDER_DECAY ** (orders.n_orders - 1 - orders.order)
    own = np.bincount(orders.item, weights=weight, minlength=len(items))
    return (own + TIE_BREAK * state.popularity[:, 2]).astype(np.float32)


def item_knn(profile: Profile, state: ShopState, items: ItemTable, *, tie_break: float = TIE_BREAK) -> FloatArray:
    """Sum of the similarities of the history's items (Sarwar et al. 2001), then popularity."""
    told = (profile.item >= 0) & (EVENT_WEIGHTS[profile.type] > 0)
    own = np.unique(profile.item[told])
    found, similarity = state.visitor.spread(own, np.ones(len(own), np.float32))
    total = np.bincount(found, weights=similarity, minlength=len(items))
    return (total + tie_break * state.popularity[:, 2]).astype(np.float32)


def mean_vector(item_vectors: FloatArray) -> Scorer:
    """Cosine with the decayed mean of the history: what an untrained encoder can say."""

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        told = sequence(profile)
        used = told.item >= 0
        return item_vectors @ decayed_mean(item_vectors[told.item[used]], told.weight[used])

    return score


def context_match(item_vectors: FloatArray, context: Callable[[Profile], FloatArray]) -> Scorer:
    """Cosine with the vector of the context model."""

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        return item_vectors @ context(profile)

    return score


def lexical(texts: Sequence[str]) -> Scorer:
    """Cosine of the TF-IDF words of an item with those of the history's last items."""
    matrix = tf_idf(texts)

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        told = sequence(profile)
        used = told.item >= 0
        if not used.any():
            return np.zeros(len(items), np.float32)
        query = matrix[told.item[used]].T @ told.weight[used]
        return np.asarray(matrix @ query, np.float32)

    return score


def headed(
    head: Head, item_vectors: FloatArray | None = None, context: Callable[[Profile], FloatArray] | None = None
) -> Scorer:
    """The head over the whole catalogue; without vectors and with a head that never saw them: the linear baseline."""

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        everything = np.arange(len(items), dtype=np.int32)
        vector = context(profile) if context else None
        rows = features(profile, everything, state, items, vectors=RequestVectors(item_vectors, vector))
        return head.logits(rows)

    return score


def tf_idf(texts: Sequence[str]) -> sparse.csr_matrix:
    """Return (n_texts, n_words) with rows of unit length; weight = 1 + log(n / document frequency)."""
    words = [sorted(set(re.findall(r"\w+", text.lower()))) for text in texts]
    vocabulary = {word: place for place, word in enumerate(sorted({word for row in words for word in row}))}
    row = np.repeat(np.arange(len(texts)), [len(found) for found in words])
    column = np.asarray([vocabulary[word] for found in words for word in found], np.int64)
    frequency = np.bincount(column, minlength=len(vocabulary))
    weight = (1 + np.log(len(texts) / np.maximum(frequency, 1)))[column].astype(np.float32)
    length = np.sqrt(np.bincount(row, weights=weight**2, minlength=len(texts)))[row]
    return sparse.csr_matrix((weight / np.maximum(length, 1e-9), (row, column)), (len(texts), len(vocabulary)))
