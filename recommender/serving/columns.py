"""Extends the columns of a shelf or replaces some of their rows, always in a copy."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
    column = [codes.setdefault(value, len(codes)) if value else -1 for value in values]
    return np.array(column, np.int32), tuple(codes)


def longer_state(state: ShopState, n: int) -> ShopState:
    """Return the state with rows for new items, which have no behaviour, up to n."""
    if n == len(state.counts):
        return state

    def extended(old: Neighbours) -> Neighbours:
        return replace(old, start=longer(old.start, n + 1, len(old.item)))

    return ShopState.from_columns(
        at=state.at,
        counts=longer(state.counts, n, 0),
        last_event_at=longer(state.last_event_at, n, -np.inf),
        first_event_at=longer(state.first_event_at, n, np.inf),
        **{kind: extended(getattr(state, kind)) for kind in NEIGHBOUR_KINDS},
    )


def replaced_neighbours(old: Neighbours, lists: Mapping[int, Sequence[tuple[int, float, bool]]]) -> Neighbours:
    """Return the neighbours with the lists of some rows replaced by (row of the neighbour, score, whether the pair is
    public), best first."""
    length = np.diff(old.start)
    is_unchanged = np.ones(len(length), bool)
    rows = np.fromiter(lists, np.int64, len(lists))
    is_unchanged[rows] = False
    owner = np.repeat(np.arange(len(length)), length)
    length[rows] = [len(pairs) for pairs in lists.values()]
    start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    item, score = np.empty(start[-1], np.int32), np.empty(start[-1], np.float32)
    is_public = np.ones(start[-1], np.bool_)
    source = np.flatnonzero(is_unchanged[owner])
    target = source - old.start[owner[source]] + start[owner[source]]
    item[target], score[target] = old.item[source], old.score[source]
    is_public[target] = True if old.is_public is None else old.is_public[source]
    for row, pairs in lists.items():
        span = slice(start[row], start[row + 1])
        if pairs:
            item[span], score[span], is_public[span] = zip(*pairs, strict=True)
    return Neighbours(start, item, score, is_public)


def seconds(moment: dt.datetime | None, never: float) -> float:
    """The seconds since 1970 of a moment; `never` where there is none."""
    return never if moment is None else moment.timestamp()


def digest(*parts: str | bytes) -> str:
    """A hash of all parts in their order, 16 characters."""
    whole = hashlib.blake2b(digest_size=8)
    for part in parts:
        whole.update(part if isinstance(part, bytes) else part.encode())
        whole.update(b"\0")
    return whole.hexdigest()
