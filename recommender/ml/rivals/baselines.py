"""Simple competitors that need no fitting: each scores the whole catalogue for a profile."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from recommender.features import RequestVectors, features, purchases
from recommender.features.head import Head
from recommender.features.sequence import decayed_mean, sequence
from recommender.features.shop_state import ShopState
from recommender.features.weights import EVENT_WEIGHTS
from recommender.tables import ItemTable, Profile
from recommender.types import FloatArray, IntArray

Scorer = Callable[[Profile, ShopState, ItemTable], FloatArray]
"""(profile, state, items) -> (n_items,) float32, higher is better."""

TIE_BREAK = 1e-4


def random_order(seed: int = 0) -> Scorer:
    """A random order, the same for the same seed and profile: the lower end of the scale."""

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        generator = np.random.default_rng((seed, len(profile.item), int(profile.now)))
        return generator.random(len(items), np.float32)

    return score


def popularity(window: int = 2) -> Scorer:
    """Items with most events; window 0, 1, 2, 3: one day, 7 days, 30 days, ever."""

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        return state.counts[:, window] + TIE_BREAK * state.popularity[:, 3]

    return score


def own_frequency(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
    """The visitor's orders with the item, then popularity."""
    own = np.bincount(purchases(profile).item, minlength=len(items))
    return (own + TIE_BREAK * state.popularity[:, 2]).astype(np.float32)


def item_knn(profile: Profile, state: ShopState, items: ItemTable, *, tie_break: float = TIE_BREAK) -> FloatArray:
    """Sum of the similarities of the history's items (Sarwar et al. 2001), then popularity."""
    own = np.unique(profile.item[is_interest(profile.item, profile.type)])
    neighbour, similarity = state.visitor.spread(own, np.ones(len(own), np.float32))
    total = np.bincount(neighbour, weights=similarity, minlength=len(items))
    return (total + tie_break * state.popularity[:, 2]).astype(np.float32)


def is_interest(item: IntArray, kind: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """Return (n,) which events show interest in an item, such as views, carts and purchases."""
    interest: npt.NDArray[np.bool_] = (item >= 0) & (EVENT_WEIGHTS[kind] > 0)
    return interest


def mean_vector(item_vectors: FloatArray) -> Scorer:
    """Cosine with the decayed mean of the history, as an untrained encoder ranks."""

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        history = sequence(profile)
        used = history.item >= 0
        return item_vectors @ decayed_mean(item_vectors[history.item[used]], history.weight[used])

    return score


def context_match(item_vectors: FloatArray, context: Callable[[Profile], FloatArray]) -> Scorer:
    """Cosine with the vector of the context model."""

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        return item_vectors @ context(profile)

    return score


def lexical(texts: Sequence[str]) -> Scorer:
    """Cosine of an item's TF-IDF words with those of the items in the history."""
    matrix = tf_idf(texts)

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        history = sequence(profile)
        used = history.item >= 0
        if not used.any():
            return np.zeros(len(items), np.float32)
        query = matrix[history.item[used]].T @ history.weight[used]
        return np.asarray(matrix @ query, np.float32)

    return score


def headed(
    head: Head, item_vectors: FloatArray | None = None, context: Callable[[Profile], FloatArray] | None = None
) -> Scorer:
    """The head over the whole catalogue; without vectors, and a head that never saw them, the linear baseline."""

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        everything = np.arange(len(items), dtype=np.int32)
        vector = context(profile) if context else None
        rows = features(profile, everything, state, items, vectors=RequestVectors(item_vectors, vector))
        return head.logits(rows)

    return score


def tf_idf(texts: Sequence[str]) -> sparse.csr_matrix:
    """Return (n_texts, n_words) with rows of unit length; weight = 1 + log(n / document frequency)."""
    vectorizer = TfidfVectorizer(analyzer=_words, binary=True, smooth_idf=False, dtype=np.float32)
    return vectorizer.fit_transform(texts)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
