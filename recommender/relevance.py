"""Search: a query in, rows by relevance out; among equals the shopper's own likings decide."""

from __future__ import annotations

import numpy as np

from recommender import policy
from recommender.question import Listed, Question
from recommender.retrieval.base import Candidates, Mask
from recommender.retrieval.lexical import LexicalHits
from recommender.retrieval.matching import match_features
from recommender.retrieval.vector import nearest
from recommender.types import FloatArray, IntArray, Rung

N_CANDIDATES = 200
"""Of the words and of the meaning each; the union of both is graded."""

MIN_COSINE = 0.45
"""An item found by meaning alone must be this near; below it, random words find random items."""

BAND = 0.04
"""A grade within this of the best is as good as the best: there the shopper's likings decide."""

LIKING_TIE = 1e-3


def search(question: Question) -> Listed:
    """Items that words or meaning find, by grade; inside the band of equal grades the shopper's likings decide.

    With `among`, exactly those items are graded, however little they match.
    """
    request, shelf = question.request, question.served.shelf
    if not request.query:
        return Listed.empty()
    hits = shelf.lexical.search(request.query, N_CANDIDATES)
    allowed = question.allowed() & _filtered(question)
    vector = question.query_vector(request.query) if question.served.ranker and shelf.vectors is not None else None
    rows = question.among() if request.among else _found(question, hits, vector, allowed)
    rows = rows[allowed[rows]]
    if not len(rows):
        return Listed.empty()
    rows, grades = _graded(question, rows, hits, vector).pair()
    order = policy.relevance_band(_liking(question, rows, grades), grades, margin=BAND)
    rung = question.served.rung if vector is not None else Rung.LEXICAL
    corrected = hits.corrected_query if len(hits.rows) else ""
    return Listed(rows[order], grades[order], rung, len(rows), corrected)


def _found(question: Question, hits: LexicalHits, vector: FloatArray | None, allowed: Mask) -> IntArray:
    """Rows (n,), ascending, that words find or that are near enough in meaning."""
    shelf = question.served.shelf
    if vector is None or shelf.vectors is None:
        return np.sort(hits.rows)
    near = nearest(shelf.vectors, vector, limit=N_CANDIDATES, allowed=allowed)
    return np.union1d(hits.rows, near.rows[near.scores >= MIN_COSINE]).astype(np.int32)


def _graded(question: Question, rows: IntArray, hits: LexicalHits, vector: FloatArray | None) -> Candidates:
    """Rows by the grade of the ranker, best first; by the score of the words where nothing else is known."""
    shelf, ranker = question.served.shelf, question.served.ranker
    if ranker is None or vector is None:
        return Candidates.best(rows, shelf.lexical.score(question.request.query, rows) / 2, len(rows))
    found = match_features(question.request.query, rows, shelf, hits=hits, vector=vector)
    return Candidates.best(rows, ranker.grade(found), len(rows))


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
