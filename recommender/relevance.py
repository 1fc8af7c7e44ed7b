"""Search: a query in, rows by relevance out; among equals the shopper's own likings decide."""

from __future__ import annotations

import numpy as np

from recommender import policy
from recommender.lookup import Sought, lookups, popular
from recommender.question import Listed, Question
from recommender.retrieval.base import Candidates
from recommender.retrieval.matching import N_BEST, match_features
from recommender.retrieval.vector import nearest
from recommender.types import FloatArray, IntArray, Relaxation, Rung

N_CANDIDATES = 200
"""Of the words and of the meaning each; the union of both is graded."""

MIN_COSINE, MIN_COSINE_BESIDE_WORDS = 0.45, 0.3
"""An item found by meaning alone must be this near; below it, random words find random items. Where words find others
it comes behind them, and may be further: recall@100 on graded queries .859 instead of .852."""

BAND = 0.04
"""A grade within this of the best is as good as the best: there the shopper's likings decide."""

LIKING_TIE = 1e-3


def search(question: Question) -> Listed:
    """Items that words or meaning find, by grade; inside the band of equal grades the shopper's likings decide.

    Where nothing matches, words are dropped, then filters, and at last it is what many buy: no page is empty. With
    `among`, exactly those items are graded, however little they match.
    """
    request, shelf = question.request, question.served.shelf
    if not request.query:
        return Listed.empty()
    for sought in lookups(question, limit=N_CANDIDATES):
        has_meaning = question.served.ranker is not None and shelf.vectors is not None
        vector = question.query_vector(sought.intent.text) if has_meaning else None
        rows = _among(question) if request.among else _found(question, sought, vector)
        if len(rows):
            return _listed(question, sought, _graded(question, rows, sought, vector), vector)
    found = popular(question, limit=N_CANDIDATES)
    intent = shelf.understand(request.query)
    rung = Rung.POPULARITY if len(found) else Rung.EMPTY
    return Listed(found.rows, found.scores, rung, intent=intent, relaxed=Relaxation.POPULAR)


def _listed(question: Question, sought: Sought, graded: Candidates, vector: FloatArray | None) -> Listed:
    rows, grades = graded.pair()
    order = policy.relevance_band(_liking(question, rows, grades), grades, margin=BAND)
    rung = question.served.rung if vector is not None else Rung.LEXICAL
    return Listed(
        rows[order], grades[order], rung, len(rows), sought.hits.corrected_query,
        sought.intent, sought.relaxation, sought.relaxed_query,
    )  # fmt: skip


def _among(question: Question) -> IntArray:
    rows = question.among()
    return rows[question.allowed()[rows]]


def _found(question: Question, sought: Sought, vector: FloatArray | None) -> IntArray:
    """Rows (n,), ascending, that words find or that are near enough in meaning."""
    shelf, worded = question.served.shelf, sought.hits.rows
    if vector is None or shelf.vectors is None:
        return np.sort(worded)
    near = nearest(shelf.vectors, vector, limit=N_CANDIDATES, allowed=sought.allowed)
    least = MIN_COSINE_BESIDE_WORDS if len(worded) else MIN_COSINE
    return np.union1d(worded, near.rows[near.scores >= least]).astype(np.int32)


def _graded(question: Question, rows: IntArray, sought: Sought, vector: FloatArray | None) -> Candidates:
    """Rows by the grade of the ranker, best first; by the score of the words where nothing else is known."""
    shelf, ranker, query = question.served.shelf, question.served.ranker, sought.intent.text
    if ranker is None or vector is None:
        return Candidates.best(rows, _worded(question, rows, sought), len(rows))
    is_plain = sought.relaxed in (Relaxation.NONE, Relaxation.FILTERS)
    hits = sought.hits if is_plain else shelf.lexical.search(query, N_BEST)  # as the trees saw them
    intent = shelf.understand(query) if ranker.knows_matches else None
    found = match_features(query, rows, shelf, hits=hits, vector=vector, intent=intent)
    return Candidates.best(rows, ranker.grade(found), len(rows))


def _worded(question: Question, rows: IntArray, sought: Sought) -> FloatArray:
    """The score of the words in (0, 1]: as they were found, which counts words that were given up."""
    known = dict(zip(sought.hits.rows.tolist(), sought.hits.scores.tolist(), strict=True))
    return np.array([known.get(row, 0.0) / 2 for row in rows.tolist()], np.float32)


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
