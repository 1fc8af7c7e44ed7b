"""The final order of scored candidates: relevance band, diversity and stock. Arrays only, no I/O."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recommender.types import FloatArray

Order = npt.NDArray[np.int64]
"""(n,) int64: indices of the arguments' candidates, in their new order."""


def relevance_band(scores: FloatArray, relevance: FloatArray, *, margin: float) -> Order:
    """Order the candidates whose relevance is within `margin` of the best by score; the others follow by relevance.

    scores, relevance (n,). With a margin of 0 the score decides only between equals, with an infinite one always. Ties
    keep their order.
    """
    if not len(scores):
        return np.empty(0, np.int64)
    inside = in_band(relevance, margin=margin)
    key = np.where(inside, scores, relevance)
    return np.lexsort((-key, ~inside))


def in_band(relevance: FloatArray, *, margin: float) -> npt.NDArray[np.bool_]:
    """Which of relevance (n,), at least one, are within `margin` of the best: (n,) bool."""
    return relevance >= relevance.max() - margin


def diversify(scores: FloatArray, vectors: FloatArray | None, *, limit: int, weight: float) -> Order:
    """Choose `limit` candidates by maximal marginal relevance (Carbonell and Goldstein 1998, equation 2).

    Each step takes the largest weight * score - (1 - weight) * cosine with the nearest candidate chosen so far.
    scores (n,) are scaled to [0, 1]; vectors (n, d) of unit length; weight in [0, 1]. A weight of 1 and vectors of None
    order by score alone.
    """
    order = np.argsort(-scores, kind="stable")
    n_chosen = max(0, min(limit, len(scores)))
    if vectors is None or weight >= 1 or n_chosen < 2:
        return order[:n_chosen]
    merit = weight * _unit_range(scores[order])
    vectors = vectors[order]
    nearest = np.zeros(len(order), np.float32)
    is_open = np.ones(len(order), bool)
    chosen = np.empty(n_chosen, np.int64)
    for step in range(n_chosen):
        value = np.where(is_open, merit - (1 - weight) * nearest, -np.inf)
        chosen[step] = value.argmax()
        is_open[chosen[step]] = False
        np.maximum(nearest, vectors @ vectors[chosen[step]], out=nearest)
    return order[chosen]


def not_below(position: int, n: int, *, last: int) -> Order:
    """Move the candidate at `position` of n up to `last`, if it is further down; the others keep their order."""
    order = np.arange(n)
    return order if position <= last else np.insert(np.delete(order, position), last, position)


def available_first(available: npt.NDArray[np.bool_]) -> Order:
    """Move what is out of stock to the end; both parts keep their order. available (n,)."""
    return np.argsort(~available, kind="stable")


def _unit_range(scores: FloatArray) -> FloatArray:
    low, high = float(scores.min()), float(scores.max())
    return (scores - low) / (high - low) if high > low else np.ones(len(scores), np.float32)
