"""Fuses several lists of candidates into one by their ranks, or in turns, because their scores do not compare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recommender.retrieval.base import Candidates
from recommender.types import FloatArray

RANK_CONSTANT = 60
"""Cormack, Clarke and Büttcher 2009, "Reciprocal rank fusion outperforms Condorcet", SIGIR: k = 60."""

Weight = float | FloatArray
"""Of a whole list, or (n,) of each of its candidates."""


def fuse_ranks(lists: Sequence[Candidates], *, limit: int, weights: Sequence[Weight] | None = None) -> Candidates:
    """Fuse by reciprocal rank: score = sum over lists of weight / (60 + rank), rank from 1; equal scores by row."""
    if not lists:
        return Candidates.none()
    scores = [
        weight / (RANK_CONSTANT + np.arange(1, len(candidates) + 1, dtype=np.float32))
        for candidates, weight in zip(lists, weights or [1.0] * len(lists), strict=True)
    ]
    rows, index = np.unique(np.concatenate([candidates.rows for candidates in lists]), return_inverse=True)
    total = np.bincount(index, weights=np.concatenate(scores), minlength=len(rows))
    return Candidates.best(rows, total.astype(np.float32), limit)


def turns(n_first: int, n_second: int, *, share: float) -> npt.NDArray[np.int64]:
    """Return (n_first + n_second,): the order in which two lists take turns, as indices into both under each other.

    However far one looks down, at least `share`, in (0, 1], is of the first list while it lasts, and no more of it than
    that needs while the second lasts.
    """
    first, second = np.arange(n_first), np.arange(n_second)
    free = np.full(n_second, np.inf) if share >= 1 else np.ceil((second + 1) / (1 - share) - 1e-9)
    position = np.concatenate([np.floor(first / share + 1e-9) + 1, free])
    return np.lexsort((np.concatenate([np.zeros(n_first), np.ones(n_second)]), position))
