"""Several lists of candidates in, one out: by ranks where scores do not compare, by weighted scores where they do."""

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
    parts = [(1 / (RANK_CONSTANT + np.arange(1, len(found) + 1))).astype(np.float32) for found in lists]
    return _fuse(lists, parts, weights, limit)


def fuse_scores(lists: Sequence[Candidates], *, limit: int, weights: Sequence[Weight] | None = None) -> Candidates:
    """Fuse by score, each list divided by its own best; a list whose best is not positive says nothing."""
    parts = [_relative(found.scores) for found in lists]
    return _fuse(lists, parts, weights, limit)


def _relative(scores: FloatArray) -> FloatArray:
    best = float(scores.max(initial=0))
    return (np.maximum(scores, 0) / max(best, 1e-12)).astype(np.float32)


def _fuse(
    lists: Sequence[Candidates], parts: Sequence[FloatArray], weights: Sequence[Weight] | None, limit: int
) -> Candidates:
    if not lists:
        return Candidates.none()
    weights = [1.0] * len(lists) if weights is None else weights
    weighted = [part * weight for part, weight in zip(parts, weights, strict=True)]
    rows, place = np.unique(np.concatenate([found.rows for found in lists]), return_inverse=True)
    total = np.bincount(place, weights=np.concatenate(weighted), minlength=len(rows))
    return Candidates.best(rows, total.astype(np.float32), limit)
