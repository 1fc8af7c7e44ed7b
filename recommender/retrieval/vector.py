"""Finds the nearest items by vector with an exact scan, which is fast enough up to about 300,000 items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommender.features.sequence import newest_items
from recommender.retrieval.base import Candidates, Mask, Wanted
from recommender.types import FloatArray, IntArray

BLOCK = 1_024
"""Items whose vectors are read once from memory and then used for several products: 1.5 MB."""


@dataclass(frozen=True, slots=True)
class VectorRetriever:
    """Cosine with `wanted.vector`; vectors (n_items, d) float32 of unit length, zero for an item without one."""

    vectors: FloatArray | None

    def retrieve(self, wanted: Wanted, *, limit: int) -> Candidates:
        """Return the nearest items, none where there is no vector."""
        if self.vectors is None or wanted.vector is None:
            return Candidates.none()
        return nearest(self.vectors, wanted.vector, limit=limit, allowed=wanted.allowed)


@dataclass(frozen=True, slots=True)
class LatestRetriever:
    """What is nearest to the newest items of a history, each by itself: their mean may lie near to none of them."""

    vectors: FloatArray | None

    def retrieve(self, wanted: Wanted, *, limit: int) -> Candidates:
        """Return items by their best cosine with one of the `N_LATEST` newest, these left out."""
        latest = newest_items(wanted.profile)
        if self.vectors is None or not len(latest):
            return Candidates.none()
        cosine = cosines(self.vectors, latest).max(axis=0)
        cosine[latest] = 0
        usable = cosine > 0 if wanted.allowed is None else (cosine > 0) & wanted.allowed
        rows = np.flatnonzero(usable)
        return Candidates.best(rows, cosine[rows], limit)


def cosines(vectors: FloatArray, rows: IntArray) -> FloatArray:
    """Return (n_rows, n): the cosine of each of some rows with every item; vectors (n, d) of unit length.

    A few products of a matrix and a vector, block by block, take half the time of one product of matrices: of 3,766
    items with three .27 ms instead of .65, of 60,000 items 12 ms instead of 17 (384 dimensions, one thread).
    """
    cosine = np.empty((len(rows), len(vectors)), np.float32)
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        for index, row in enumerate(rows.tolist()):
            np.dot(block, vectors[row], out=cosine[index, start : start + BLOCK])
    return cosine


def nearest(vectors: FloatArray, vector: FloatArray, *, limit: int, allowed: Mask | None = None) -> Candidates:
    """Return the `limit` rows of largest cosine; vectors (n, d), vector (d,), all of unit length.

    A zero row is no item and a cosine of 0 or less is no likeness: neither is returned.
    """
    cosine = vectors @ vector
    usable = cosine > 0
    if allowed is not None:
        usable &= allowed
    rows = np.flatnonzero(usable)
    return Candidates.best(rows, cosine[rows], limit)


def mean_direction(vectors: FloatArray) -> FloatArray:
    """Return (d,) of unit length: the direction of the mean of vectors (n, d); zeros without vectors."""
    total = vectors.sum(axis=0)
    return total / max(float(np.linalg.norm(total)), 1e-9)
