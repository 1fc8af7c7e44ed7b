"""Visitors of whom nothing is known: is the head's order of a list surely better than what sells?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recommender.features import FEATURE_NAMES
from recommender.ml.head.examples import Lists
from recommender.ml.metrics import ndcg_at_k
from recommender.types import FloatArray

SURE = 1.64
"""Standard errors, as for the circumstances of the context model."""

LEAST_LISTS = 30
COLD, WEEK, MONTH = (FEATURE_NAMES.index(name) for name in ("is_cold", "popular_7", "popular_30"))


def newcomer_gain(lists: Lists, score: Callable[[FloatArray], FloatArray]) -> float:
    """Return the lower bound of the head's gain in NDCG@10 over bestsellers on lists without a history.

    score: rows (n, n_features) -> (n,), as it would be served. lists are later than what the head learned from. Too few
    lists prove nothing: -1, and what sells is shown, as to everybody before there was a head.
    """
    gains = [
        _ndcg(score(rows), labels) - _ndcg(rows[:, WEEK] + rows[:, MONTH], labels) for rows, labels in _cold(lists)
    ]
    if len(gains) < LEAST_LISTS:
        return -1.0
    return float(np.mean(gains) - SURE * np.std(gains) / np.sqrt(len(gains)))


def _cold(lists: Lists) -> list[tuple[FloatArray, FloatArray]]:
    """Rows and labels of the lists of newcomers in which something was bought."""
    found = []
    for rows, labels, mask in zip(lists.rows, lists.labels, lists.mask, strict=True):
        if mask.any() and rows[mask][0, COLD] > 0 and labels[mask].any():
            found.append((rows[mask], labels[mask]))
    return found


def _ndcg(scores: FloatArray, labels: FloatArray) -> float:
    order = np.argsort(-scores, kind="stable").tolist()
    return ndcg_at_k(order, set(np.flatnonzero(labels).tolist()))
