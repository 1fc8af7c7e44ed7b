"""The last word on order: scored candidates in, an order of their places out. Arrays only, no I/O."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recommender.types import FloatArray, IntArray

Places = npt.NDArray[np.int64]
"""(n,) int64: positions in the arrays that came in, in their new order."""

DUPLICATE_COSINE = 0.97
"""Two titles this near differ in a colour or a size; read off the demo's titles with the untuned encoder."""


def relevance_band(scores: FloatArray, relevance: FloatArray, *, margin: float) -> Places:
    """Order by score, but only among candidates whose relevance is within `margin` of the best.

    The others follow in the order of their relevance. scores, relevance (n,); a margin of 0 lets the score decide only
    between equals, an infinite one always. Ties keep the order that came in.
    """
    if not len(scores):
        return np.empty(0, np.int64)
    inside = in_band(relevance, margin=margin)
    key = np.where(inside, scores, relevance)
    return np.lexsort((-key, ~inside))


def in_band(relevance: FloatArray, *, margin: float) -> npt.NDArray[np.bool_]:
    """Which of relevance (n,), at least one, are within `margin` of the best: (n,) bool."""
    return relevance >= relevance.max() - margin


def diversify(scores: FloatArray, vectors: FloatArray | None, *, limit: int, weight: float) -> Places:
    """Choose `limit` places by maximal marginal relevance (Carbonell and Goldstein 1998, equation 2).

    Each step takes the largest weight * score - (1 - weight) * cosine with the nearest one taken. scores (n,) are
    brought to [0, 1]; vectors (n, d) of unit length; weight in [0, 1]: 1 orders by score alone, as do no vectors.
    """
    order = np.argsort(-scores, kind="stable")
    n_chosen = max(0, min(limit, len(scores)))
    if vectors is None or weight >= 1 or n_chosen < 2:
        return order[:n_chosen]
    merit = weight * _unit_range(scores[order])
    vectors = vectors[order]
    nearest = np.zeros(len(order), np.float32)
    open_places = np.ones(len(order), bool)
    chosen = np.empty(n_chosen, np.int64)
    for step in range(n_chosen):
        value = np.where(open_places, merit - (1 - weight) * nearest, -np.inf)
        chosen[step] = value.argmax()
        open_places[chosen[step]] = False
        np.maximum(nearest, vectors @ vectors[chosen[step]], out=nearest)
    return order[chosen]


def damp_duplicates(vectors: FloatArray | None, *, threshold: float = DUPLICATE_COSINE) -> Places:
    """Move near-duplicates of an earlier candidate behind all others; both parts keep their order. vectors (n, d)."""
    if vectors is None:
        return np.empty(0, np.int64)
    likeness = np.tril(vectors @ vectors.T, k=-1)
    first = np.ones(len(vectors), bool)
    for place in range(1, len(vectors)):
        first[place] = not (likeness[place, :place][first[:place]] >= threshold).any()
    return np.argsort(~first, kind="stable")


def not_below(place: int, n: int, *, last: int) -> Places:
    """Move the one at `place` of n up to `last`, where it is further down; the others keep their order."""
    order = np.arange(n)
    return order if place <= last else np.insert(np.delete(order, place), last, place)


def available_first(available: npt.NDArray[np.bool_]) -> Places:
    """Move what is out of stock behind the rest; both parts keep their order. available (n,)."""
    return np.argsort(~available, kind="stable")


def only_available(rows: IntArray, available: npt.NDArray[np.bool_]) -> Places:
    """Return the places of `rows` (n,) that are in stock; available (n_items,)."""
    return np.flatnonzero(available[rows])


def _unit_range(scores: FloatArray) -> FloatArray:
    low, high = float(scores.min()), float(scores.max())
    return (scores - low) / (high - low) if high > low else np.ones(len(scores), np.float32)
