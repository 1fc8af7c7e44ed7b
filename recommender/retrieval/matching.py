"""What is known of each candidate of one search: its words, its meaning, its likeness to the best hits, in columns."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from recommender.retrieval.lexical import LexicalHits, LexicalIndex
from recommender.retrieval.wording import WORDING_FEATURES, WordTable
from recommender.types import FloatArray, IntArray

N_BEST = 10
"""Best hits by words whose mean vector is the second query: pseudo-relevance feedback (Rocchio 1971, section 14.4)."""

MATCH_FEATURES: tuple[str, ...] = (*WORDING_FEATURES, "lexical", "meaning", "like_best", "best_meaning")


class Searchable(Protocol):
    """The part of `Shelf` that a search reads."""

    @property
    def lexical(self) -> LexicalIndex: ...
    @property
    def wording(self) -> WordTable: ...
    @property
    def vectors(self) -> FloatArray | None: ...


def match_features(
    query: str, rows: IntArray, shelf: Searchable, *, hits: LexicalHits, vector: FloatArray | None
) -> FloatArray:
    """Return (n, n_features) float32 in the order of `MATCH_FEATURES`; rows (n,), vector (d,) of the query.

    The words are those of the query as it was understood: with `hits.corrected_query`, where there is one. Without
    vectors meaning counts as 0.
    """
    worded = shelf.wording.features(hits.corrected_query or query, rows)
    lexical = shelf.lexical.score(query, rows)
    meaning = np.zeros((len(rows), 3), np.float32)
    if vector is not None and shelf.vectors is not None:
        best = _direction(shelf.vectors[hits.rows[:N_BEST]])
        own = shelf.vectors[rows]
        meaning[:, 0], meaning[:, 1], meaning[:, 2] = own @ vector, own @ best, float(best @ vector)
    return np.concatenate([worded, lexical[:, None], meaning], axis=1).astype(np.float32, copy=False)


def _direction(vectors: FloatArray) -> FloatArray:
    total = vectors.sum(axis=0)
    return total / max(float(np.linalg.norm(total)), 1e-9)
