"""The final order of scored candidates: diversity, limits, rules and stock. Arrays only, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from recommender.types import FloatArray, IntArray

Column = TypeVar("Column", FloatArray, IntArray)

Order = npt.NDArray[np.int64]
"""(n,) int64: indices of the arguments' candidates, in their new order."""


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


BAND = 0.7
"""Items of like relevance have at least this share of the best score among them; profit moves nothing beyond them."""


def by_profit(scores: FloatArray, chances: FloatArray, margins: FloatArray, *, weight: float) -> Order:
    """Order by chance * margin ** weight within each band of the list, ties as they stand.

    scores (n,) in the order of the list; a band is the longest run of it in which no score is below `BAND` of another.
    chances (n,) of being bought; margins (n,), not below 0. A weight of 0 leaves the order as it is.
    """
    order = np.arange(len(scores))
    if weight == 0:
        return order
    profit = chances * margins**weight
    for band in bands(scores):
        order[band] = band.start + np.argsort(-profit[band], kind="stable")
    return order


def bands(scores: FloatArray) -> list[slice]:
    """The bands of a list, first to last; scores (n,) in its order."""
    edges, lowest, highest = [0], np.inf, 0.0
    for index, score in enumerate(scores.tolist()):
        lowest, highest = min(lowest, score), max(highest, score)
        if lowest < BAND * highest and index > edges[-1]:
            edges.append(index)
            lowest = highest = score
    return [slice(start, end) for start, end in zip(edges, [*edges[1:], len(scores)], strict=True)]


def at_most(columns: Sequence[tuple[IntArray, int]], available: npt.NDArray[np.bool_], *, n_places: int) -> Order:
    """Keep at most so many candidates of one value among the first `n_places`; both parts keep their order.

    columns: by attribute the value of each candidate (n,), -1 for none, and how many may share one. Where too few are
    left, the first of those beyond a limit fill the list. available (n,): what is out of stock stays behind all others.
    """
    counts: list[Counter[int]] = [Counter() for _column in columns]
    values = [codes.tolist() for codes, _most in columns]
    chosen: list[int] = []
    beyond: list[int] = []
    for candidate in np.flatnonzero(available).tolist():
        own = [column[candidate] for column in values]
        is_within = all(
            value < 0 or count[value] < most for value, count, (_, most) in zip(own, counts, columns, strict=True)
        )
        if len(chosen) < n_places and is_within:
            chosen.append(candidate)
            for value, count in zip(own, counts, strict=True):
                count[value] += 1
        else:
            beyond.append(candidate)
    return np.array([*chosen, *beyond, *np.flatnonzero(~available).tolist()], np.int64)


def leading(*claims: npt.NDArray[np.bool_]) -> Order:
    """Order by claims (n,) bool: those lead for which the first holds, among equals the next; ties stay as they are."""
    return np.lexsort([~claim for claim in reversed(claims)])


def available_first(available: npt.NDArray[np.bool_]) -> Order:
    """Move what is out of stock to the end; both parts keep their order. available (n,)."""
    return np.argsort(~available, kind="stable")


def moved(places: IntArray) -> Order:
    """Order by rules: the candidate at i goes up by places[i] (n,), down where that is negative.

    At the same position what goes up comes first, then what stays, then what goes down.
    """
    others, moving = np.flatnonzero(places == 0), np.flatnonzero(places)
    key = 3 * (moving - places[moving]) - np.sign(places[moving])  # what stays has 3 * its position
    order = np.argsort(key, kind="stable")
    indices = np.searchsorted(3 * others, key[order]) + np.arange(len(order))
    result, is_other = np.empty(len(places), np.int64), np.ones(len(places), bool)
    is_other[indices] = False
    result[is_other], result[indices] = others, moving[order]
    return result


def seated(values: Column, pins: Sequence[tuple[int, float]]) -> Column:
    """Insert the value of each pin at its index of the result, ascending; behind the end it comes last. values (n,)."""
    if not pins:
        return values
    n_others, n = len(values), len(values) + len(pins)
    indices = [min(index, n_others + number) for number, (index, _value) in enumerate(pins)]
    result = np.empty(n, values.dtype)
    is_other = np.ones(n, bool)
    is_other[indices] = False
    result[is_other], result[indices] = values, [value for _index, value in pins]
    return result


def _unit_range(scores: FloatArray) -> FloatArray:
    low, high = float(scores.min()), float(scores.max())
    return (scores - low) / (high - low) if high > low else np.ones(len(scores), np.float32)
