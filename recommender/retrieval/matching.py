"""Describes each candidate of a search by columns: its words, its meaning, its likeness to the best hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from recommender.retrieval.lexical.index import LexicalHits, LexicalIndex
from recommender.retrieval.lexical.wording import WORDING_FEATURES, WordTable
from recommender.retrieval.vector import mean_direction
from recommender.tables import ItemTable
from recommender.text.intent import INTENT_FEATURE_NAMES, intent_features
from recommender.types import FloatArray, IntArray, Intent

N_BEST = 10
"""Best hits by words whose mean vector is the second query: pseudo-relevance feedback (Rocchio 1971, section 14.4)."""

ABOUT = tuple(name for name in INTENT_FEATURE_NAMES if name != "intent_price")
"""What the query is about and the item has; a price is a filter. On a fifth of the graded queries of a hardware shop,
untuned encoder, two seeds, trees with formula: pairs .6149 without, .6163 by brand, category, product and attribute
words, .6180 with numbers and measures; NDCG@10 .8710, .8708, .8715."""

MATCH_FEATURES: tuple[str, ...] = (*WORDING_FEATURES, "lexical", "meaning", "like_best", "best_meaning", *ABOUT)


class Searchable(Protocol):
    """The part of `Shelf` that a search reads."""

    @property
    def items(self) -> ItemTable: ...
    @property
    def titles(self) -> Sequence[str]: ...
    @property
    def brands(self) -> Sequence[str]: ...

    @property
    def lexical(self) -> LexicalIndex: ...
    @property
    def wording(self) -> WordTable: ...
    @property
    def vectors(self) -> FloatArray | None: ...


def match_features(
    query: str,
    rows: IntArray,
    shelf: Searchable,
    *,
    hits: LexicalHits,
    vector: FloatArray | None,
    intent: Intent | None = None,
) -> FloatArray:
    """Return (n, n_features) float32 in the order of `MATCH_FEATURES`; rows (n,), vector (d,) of the query.

    The words are those of the query as it was understood: with `hits.corrected_query`, where there is one. Without
    vectors meaning counts as 0, and so does what the query is about without `intent`, which only trees read.
    """
    worded = shelf.wording.features(hits.corrected_query or query, rows)
    lexical = shelf.lexical.score(query, rows)
    meaning = np.zeros((len(rows), 3), np.float32)
    if vector is not None and shelf.vectors is not None:
        best = mean_direction(shelf.vectors[hits.rows[:N_BEST]])
        own = shelf.vectors[rows]
        meaning[:, 0], meaning[:, 1], meaning[:, 2] = own @ vector, own @ best, float(best @ vector)
    about = np.zeros((len(rows), len(ABOUT)), np.float32)
    if intent is not None:
        about = intent_features(intent, rows, shelf, ABOUT)
    return np.concatenate([worded, lexical[:, None], meaning, about], axis=1).astype(np.float32, copy=False)
