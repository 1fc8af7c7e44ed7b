"""Search: a query in, rows by relevance out; among equals the shopper's own likings decide."""

from __future__ import annotations

import numpy as np

from recommender import policy
from recommender.lookup import lookups, popular
from recommender.question import Listed, Question
from recommender.retrieval.base import Candidates, Mask
from recommender.retrieval.vector import nearest
from recommender.types import FloatArray, IntArray, Relaxation, Rung

N_CANDIDATES = 200
MIN_COSINE = 0.45
"""An item found by meaning alone must be this near; below it, random words find random items."""

TEXT_WEIGHT = 0.85
"""Share of the words in the relevance, the rest is meaning: of .5 to .9 the best on 500 known-item queries of the
demo's titles (MRR .904 against .897 at .5); what no word finds, meaning finds alone."""

BAND = 0.08
"""Relevance within this of the best is as good as the best: there the shopper's likings decide."""

LIKING_TIE = 1e-3


def search(question: Question) -> Listed:
    """Words and meaning weighted together; inside the band of equal relevance the shopper's likings decide.

    Where nothing matches, words are dropped, then filters, and at last it is what many buy: no page is empty.
    """
    shelf = question.served.shelf
    if not question.request.query:
        return Listed.empty()
    for sought in lookups(question, limit=N_CANDIDATES):
        has_meaning = question.served.ranker is not None and shelf.vectors is not None
        vector = question.query_vector(sought.intent.text) if has_meaning else None
        hits = sought.hits
        rows, relevance = _relevance(question, hits.rows, hits.scores, vector, sought.allowed)
        if len(rows):
            order = policy.relevance_band(_liking(question, rows, relevance), relevance, margin=BAND)
            rung = question.served.rung if vector is not None else Rung.LEXICAL
            return Listed(
                rows[order], relevance[order], rung, len(rows), hits.corrected_query,
                sought.intent, sought.relaxation, sought.relaxed_query,
            )  # fmt: skip
    found = popular(question, limit=N_CANDIDATES)
    intent = shelf.understand(question.request.query)
    rung = Rung.POPULARITY if len(found) else Rung.EMPTY
    return Listed(found.rows, found.scores, rung, intent=intent, relaxed=Relaxation.POPULAR)


def _relevance(
    question: Question, worded: IntArray, word_scores: FloatArray, vector: FloatArray | None, allowed: Mask
) -> tuple[IntArray, FloatArray]:
    """Rows (n,) and relevance (n,) in [0, 1], best first."""
    shelf = question.served.shelf
    best = float(word_scores.max(initial=0))
    words = np.zeros(len(shelf.items), np.float32)
    words[worded] = word_scores / best if best > 0 else 0
    if vector is None or shelf.vectors is None:
        rows = worded[allowed[worded]]
        found = Candidates.best(rows, words[rows], N_CANDIDATES)
        return found.rows, found.scores
    near = nearest(shelf.vectors, vector, limit=N_CANDIDATES, allowed=allowed)
    near_rows = near.rows[near.scores >= MIN_COSINE]
    rows = np.union1d(worded[allowed[worded]], near_rows).astype(np.int32)
    cosine = np.maximum(shelf.vectors[rows] @ vector, 0)
    found = Candidates.best(rows, TEXT_WEIGHT * words[rows] + (1 - TEXT_WEIGHT) * cosine, N_CANDIDATES)
    return found.rows, found.scores


def _liking(question: Question, rows: IntArray, relevance: FloatArray) -> FloatArray:
    """What the shopper is likely to buy of equally relevant rows; without a history, relevance itself.

    Only the rows inside the band are scored: no other's liking is ever read.
    """
    inside = np.flatnonzero(policy.in_band(relevance, margin=BAND))
    if len(inside) < 2 or not len(question.profile.item):
        return relevance
    scores = question.scores(rows[inside], question.context_vector())
    if scores is None:
        return relevance
    liking = relevance.copy()
    liking[inside] = scores + LIKING_TIE * relevance[inside]
    return liking
