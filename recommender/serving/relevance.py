"""Search: a query in, rows by relevance out; among equals the shopper's own likings decide."""

from __future__ import annotations

import numpy as np

from recommender.retrieval.base import Candidates, Mask
from recommender.retrieval.floors import Floors
from recommender.retrieval.lexical.terms import JOINED
from recommender.retrieval.matching import MATCH_FEATURES, N_BEST, match_features
from recommender.retrieval.vector import nearest
from recommender.serving import policy
from recommender.serving.lookup import Sought, everything, lookups, popular
from recommender.serving.question import Listed, Question
from recommender.types import FloatArray, IntArray, Relaxation, Rung

N_CANDIDATES = 200
"""Of the words and of the meaning each; the union of both is graded."""

N_LISTED = 1_100
"""As many as the last page can reach: see `pipeline.MAX_OFFSET`."""

LEAST_SHARE, LEAST_SHARE_WITHOUT_MEANING = 0.5, 0.3
"""Share of the query's words, by weight, from which an item matches that lacks some of them and is not related either;
less where nothing is known of meaning. See `retrieval.floors` for what was measured."""

LEAST_SHARE_RELATED = 0.4
"""The same for one that is related: more than by chance, though not near. Where no item has all words, any share."""

BAND = 0.04
"""A grade within this of the best is as good as the best: there the shopper's likings decide."""

LIKING_TIE = 1e-3

N_LEADING = 3
"""Places at the top that the only item with all words of the query may not be below."""


def search(question: Question) -> Listed:
    """Items that words or meaning find, by grade; inside the band of equal grades the shopper's likings decide.

    Where nothing matches, words are dropped, then filters, and at last it is what many buy: no page is empty. What
    cannot be bought now comes behind the rest. With `among`, exactly those items are graded, however little they match.
    """
    request, shelf = question.request, question.served.shelf
    if not request.query:
        return Listed.empty()
    for sought in lookups(question, limit=N_CANDIDATES):
        if not sought.intent.text and (listed := _all_that_pass(question, sought)):
            return listed
        has_meaning = question.served.ranker is not None and shelf.vectors is not None
        vector = question.query_vector(sought.intent.text) if has_meaning else None
        rows = _among(question) if request.among else _candidates(question, sought, vector)
        graded = _graded(question, rows, sought, vector)
        if len(graded):
            return _listed(question, sought, graded, vector)
    found = popular(question, limit=N_CANDIDATES)
    intent = shelf.understand(request.query)
    rung = Rung.POPULARITY if len(found) else Rung.EMPTY
    order = policy.available_first(shelf.available[found.rows])
    return Listed(found.rows[order], found.scores[order], rung, intent=intent, relaxed=Relaxation.POPULAR)


def _listed(question: Question, sought: Sought, graded: Candidates, vector: FloatArray | None) -> Listed:
    rows, grades = graded.pair()
    order = policy.relevance_band(_liking(question, rows, grades), grades, margin=BAND)
    rows, grades = _with_rest(question, sought, rows[order], grades[order])
    if (only := _only_whole(sought)) in rows:
        order = policy.not_below(int(np.flatnonzero(rows == only)[0]), len(rows), last=N_LEADING - 1)
        rows, grades = rows[order], grades[order]
    order = policy.available_first(question.served.shelf.available[rows])
    rung = question.served.rung if vector is not None else Rung.LEXICAL
    n_found = max(len(rows), sought.hits.n_whole)
    return Listed(
        rows[order], grades[order], rung, n_found, sought.hits.corrected_query,
        sought.intent, sought.relaxation, sought.relaxed_query,
    )  # fmt: skip


def _with_rest(question: Question, sought: Sought, rows: IntArray, grades: FloatArray) -> tuple[IntArray, FloatArray]:
    """Add behind what was graded the other items that have all words: a query of one frequent word has so many."""
    if question.request.among or sought.hits.n_whole <= np.count_nonzero(sought.hits.matched):
        return rows, grades
    text = f"{sought.relaxed_query} " if sought.relaxed_query else sought.intent.text
    hits = question.served.shelf.lexical.search(text, N_LISTED, allowed=sought.allowed)
    rest = hits.rows[(hits.matched > 0) & ~np.isin(hits.rows, rows)]
    return np.concatenate([rows, rest]), np.concatenate([grades, np.full(len(rest), grades.min(), np.float32)])


def _only_whole(sought: Sought) -> int:
    """The row that alone has all words as written, or where none has, in any way; -1 where there are several."""
    for least in (JOINED, 1e-9):
        whole = sought.hits.rows[sought.hits.matched >= least]
        if len(whole):
            return int(whole[0]) if len(whole) == 1 else -1
    return -1


def _all_that_pass(question: Question, sought: Sought) -> Listed | None:
    """Of a query that names a price and nothing else, every item within it, what sells first; None where none is."""
    found = everything(question, sought.allowed)
    if not len(found):
        return None
    order = policy.available_first(question.served.shelf.available[found.rows])
    return Listed(
        found.rows[order], found.scores[order], Rung.POPULARITY, len(found), intent=sought.intent,
        relaxed=sought.relaxed,
    )  # fmt: skip


def _among(question: Question) -> IntArray:
    rows = question.among()
    return rows[question.allowed()[rows]]


def _candidates(question: Question, sought: Sought, vector: FloatArray | None) -> IntArray:
    """Rows (n,), ascending, that words find or that are near in meaning."""
    shelf, worded = question.served.shelf, sought.hits.rows
    if vector is None or shelf.vectors is None:
        return np.sort(worded)
    near = nearest(shelf.vectors, vector, limit=N_CANDIDATES, allowed=sought.allowed)
    return np.union1d(worded, near.rows[near.scores > _least_cosine(sought, shelf.floors)]).astype(np.int32)


def _least_cosine(sought: Sought, floors: Floors) -> float:
    return floors.beside_words if len(sought.hits.rows) else floors.near


def _graded(question: Question, rows: IntArray, sought: Sought, vector: FloatArray | None) -> Candidates:
    """Those of `rows` that match, by the grade of the ranker, best first; without it by the score of the words."""
    shelf, ranker, query = question.served.shelf, question.served.ranker, sought.intent.text
    if not len(rows):
        return Candidates.none()
    is_plain = sought.relaxed in (Relaxation.NONE, Relaxation.FILTERS)
    hits = sought.hits if is_plain else shelf.lexical.search(query, N_BEST)  # as the trees saw them
    intent = shelf.understand(query) if ranker is not None and ranker.knows_matches else None
    found = match_features(query, rows, shelf, hits=hits, vector=vector, intent=intent)
    matches = np.ones(len(rows), bool) if question.request.among else _matches(sought, rows, found, shelf.floors)
    if ranker is None or vector is None:
        return Candidates.best(rows[matches], _worded(rows[matches], sought), len(rows))
    return Candidates.best(rows[matches], ranker.grade(found[matches]), len(rows))


def _matches(sought: Sought, rows: IntArray, found: FloatArray, floors: Floors) -> Mask:
    """Which of `rows` (n,) answer the query: those with all words, near in meaning, or with some words and related.

    found (n, f) in the order of `MATCH_FEATURES`.
    """
    share, meaning = (found[:, MATCH_FEATURES.index(name)] for name in ("words_matched", "meaning"))
    least = LEAST_SHARE if meaning.any() else LEAST_SHARE_WITHOUT_MEANING
    is_whole = np.isin(rows, sought.hits.rows[sought.hits.matched > 0])
    is_worded = np.isin(rows, sought.hits.rows)
    is_near = meaning > _least_cosine(sought, floors)
    related_share = 0.0 if sought.relaxed is Relaxation.WORDS else LEAST_SHARE_RELATED  # nothing has them all then
    is_related = is_worded & (share >= related_share) & (meaning > floors.related)
    return is_whole | is_near | is_related | (is_worded & (share >= least))


def _worded(rows: IntArray, sought: Sought) -> FloatArray:
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
