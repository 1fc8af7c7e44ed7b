"""Fuses several lists of candidates into one by their ranks, because their scores do not compare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
