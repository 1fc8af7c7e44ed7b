"""Columns of a shelf made longer or replaced in part: old columns and new rows in, new columns out, never in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from recommender.features.neighbours import Neighbours
from recommender.features.shop_state import NEIGHBOUR_KINDS, ShopState
from recommender.types import IntArray

Number = TypeVar("Number", bound=np.generic)


def longer(old: npt.NDArray[Number], n: int, fill: float) -> npt.NDArray[Number]:
    """Return a copy with rows of `fill` added up to n."""
    new = np.full((n, *old.shape[1:]), fill, old.dtype)
    new[: len(old)] = old
    return new


def put(old: Sequence[str], rows: Sequence[int], values: Sequence[str], n: int) -> tuple[str, ...]:
    """Return a copy of n strings with those of some rows replaced."""
    column = [*old, *[""] * (n - len(old))]
    for row, value in zip(rows, values, strict=True):
        column[row] = value
    return tuple(column)


def coded(values: Sequence[str]) -> tuple[IntArray, tuple[str, ...]]:
    """Return (n,) the code of each string, -1 for an empty one, and the strings by code."""
    codes: dict[str, int] = {}
    found = [codes.setdefault(value, len(codes)) if value else -1 for value in values]
    return np.array(found, np.int32), tuple(codes)


def longer_state(state: ShopState, n: int) -> ShopState:
    """Return the state with rows without any behaviour added at its end."""
    if n == len(state.counts):
        return state

    def extended(old: Neighbours) -> Neighbours:
        return Neighbours(longer(old.start, n + 1, len(old.item)), old.item, old.score)

    return ShopState.from_columns(
        at=state.at,
        counts=longer(state.counts, n, 0),
        last_event_at=longer(state.last_event_at, n, -np.inf),
        first_event_at=longer(state.first_event_at, n, np.inf),
        **{kind: extended(getattr(state, kind)) for kind in NEIGHBOUR_KINDS},
    )


def replaced_neighbours(old: Neighbours, found: Mapping[int, Sequence[tuple[int, float]]]) -> Neighbours:
    """Return the neighbours with the lists of some rows replaced by (row of the neighbour, score), best first."""
    length = np.diff(old.start)
    rows = np.fromiter(found, np.int64, len(found))
    is_kept = np.ones(len(length), bool)
    is_kept[rows] = False
    length[rows] = [len(pairs) for pairs in found.values()]
    start = np.zeros(len(length) + 1, np.int64)
    np.cumsum(length, out=start[1:])
    item, score = np.empty(start[-1], np.int32), np.empty(start[-1], np.float32)
    owner = np.repeat(np.arange(len(length)), np.diff(old.start))
    source = np.flatnonzero(is_kept[owner])
    place = source - old.start[owner[source]] + start[owner[source]]
    item[place], score[place] = old.item[source], old.score[source]
    for row, pairs in found.items():
        span = slice(start[row], start[row + 1])
        item[span], score[span] = [other for other, _ in pairs], [value for _, value in pairs]
    return Neighbours(start, item, score)
