"""Search: a query in, rows by relevance out; among equals the shopper's own likings decide."""

from __future__ import annotations

import numpy as np

from recommender import policy
from recommender.question import Listed, Question
from recommender.retrieval.base import Candidates, Mask
from recommender.retrieval.vector import nearest
from recommender.types import FloatArray, IntArray, Rung

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
    """Words and meaning weighted together; inside the band of equal relevance the shopper's likings decide."""
    request, shelf = question.request, question.served.shelf
    if not request.query:
        return Listed.empty()
    hits = shelf.lexical.search(request.query, N_CANDIDATES)
    allowed = question.allowed() & _filtered(question)
    vector = question.query_vector(request.query) if question.served.ranker and shelf.vectors is not None else None
    rows, relevance = _relevance(question, hits.rows, hits.scores, vector, allowed)
    if not len(rows):
        return Listed.empty()
    order = policy.relevance_band(_liking(question, rows, relevance), relevance, margin=BAND)
    rung = question.served.rung if vector is not None else Rung.LEXICAL
    corrected = hits.corrected_query if len(hits.rows) else ""
    return Listed(rows[order], relevance[order], rung, len(rows), corrected)


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


def _filtered(question: Question) -> Mask:
    """Which items pass the request's filters; a filter that cannot be read passes all."""
    shelf, filters = question.served.shelf, question.request.filters
    passed = np.ones(len(shelf.items), bool)
    if name := filters.get("category"):
        known = {category: code for code, category in enumerate(shelf.items.category_names)}
        passed &= shelf.items.category == known.get(name, -2)
    for bound, compare in (("min_price", np.greater_equal), ("max_price", np.less_equal)):
        if (limit := _number(filters.get(bound, ""))) is not None:
            passed &= compare(np.nan_to_num(shelf.items.price, nan=-1.0), limit)
    if filters.get("available") in ("1", "true"):
        passed &= shelf.available
    return passed


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
