"""Answers a search: which items match a query, in order of relevance, and what is given up where nothing matches.

Among items of equal relevance those lead that the shopper is likely to want.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from recommender.retrieval.base import Candidates, Mask, Wanted
from recommender.retrieval.floors import Floors
from recommender.retrieval.lexical.index import LexicalHits
from recommender.retrieval.lexical.terms import JOINED
from recommender.retrieval.matching import MATCH_FEATURES, N_BEST, match_features
from recommender.retrieval.popular import PopularRetriever, popularity
from recommender.retrieval.vector import nearest
from recommender.serving import policy
from recommender.serving.filters import effective_filters, filtered
from recommender.serving.question import Listed, Question
from recommender.serving.shelf import Shelf
from recommender.types import FloatArray, IntArray, Intent, Relaxation, Rung

N_CANDIDATES = 200
"""By words, and again by meaning; all of both are graded."""

N_LISTED = 1_100
"""As many as the last page can reach: see `pipeline.MAX_OFFSET`."""

LEAST_SHARE, LEAST_SHARE_WITHOUT_MEANING = 0.5, 0.3
"""An item that lacks some words and is not related in meaning matches from this share of the query's words, by weight;
from a smaller share where there are no vectors. See `retrieval.floors` for what was measured."""

LEAST_SHARE_RELATED = 0.4
"""The same share for an item that is related in meaning. Where no item has all words, any share will do."""

BAND = 0.04
"""Grades within this of the best count as equal: there the shopper's preferences decide."""

PREFERENCE_TIE = 1e-3

N_LEADING = 3
"""The only item with all words of the query is among the first three."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the words of a query match among the items that may be shown; allowed (n_items,) bool."""

    intent: Intent
    hits: LexicalHits
    allowed: Mask
    given_up: Relaxation = Relaxation.NONE
    relaxed_query: str = ""

    @property
    def relaxation(self) -> Relaxation:
        """What is given up once something is listed: where no word matches, that is near in meaning only."""
        is_by_meaning = self.given_up is Relaxation.NONE and not len(self.hits.rows)
        return Relaxation.MEANING if is_by_meaning else self.given_up

    def least_cosine(self, floors: Floors) -> float:
        """Return the cosine from which an item matches by meaning alone."""
        return floors.beside_words if len(self.hits.rows) else floors.near


def search(question: Question) -> Listed:
    """List the items that match by words or by meaning, by grade; within the band the shopper's preferences decide.

    Where nothing matches, words are dropped, then filters, and at last it lists what sells most: no page is empty. What
    is out of stock comes behind the rest. With `among`, exactly those items are graded, whether they match or not.
    """
    request, shelf = question.request, question.served.shelf
    if not request.query:
        return Listed.empty()
    for attempt in _attempts(question):
        if not attempt.intent.text and (listed := _all_within_price(question, attempt)):
            return listed
        has_meaning = question.served.ranker is not None and shelf.vectors is not None
        vector = question.query_vector(attempt.intent.text) if has_meaning else None
        rows = _among(question) if request.among else _candidates(question, attempt, vector)
        graded = _graded(question, rows, attempt, vector)
        if len(graded):
            return _listed(question, attempt, graded, vector)
    popular = _popular(question)
    rung = Rung.POPULARITY if len(popular) else Rung.EMPTY
    order = policy.available_first(shelf.available[popular.rows])
    intent = shelf.understand(request.query)
    return Listed(popular.rows[order], popular.scores[order], rung, intent=intent, relaxed=Relaxation.POPULAR)


def _attempts(question: Question) -> Iterator[Attempt]:
    """Look up the words of the query, then, where filters are on, without the filters."""
    request, shelf = question.request, question.served.shelf
    intent = shelf.understand(request.query)
    allowed = question.allowed()
    passed = filtered(shelf, effective_filters(request.filters, intent))
    yield _look_up(intent, shelf, allowed & passed)
    if not passed.all():
        yield replace(_look_up(intent, shelf, allowed), given_up=Relaxation.FILTERS)


def _look_up(intent: Intent, shelf: Shelf, allowed: Mask) -> Attempt:
    """Look up the words of a query; those that no item has beside the others are dropped."""
    hits = shelf.lexical.search(intent.text, N_CANDIDATES, allowed=allowed)
    if hits.n_whole or not len(hits.rows):
        return Attempt(intent, hits, allowed)
    fewer_words = shelf.lexical.relaxed(intent.text, hits.rows)
    if not fewer_words:  # only linking words such as "the" matched
        return Attempt(intent, LexicalHits.none(), allowed)
    whole = shelf.lexical.search(f"{fewer_words} ", N_CANDIDATES, allowed=allowed)
    return Attempt(intent, _united(whole, hits), allowed, Relaxation.WORDS, fewer_words)


def _united(whole: LexicalHits, others: LexicalHits) -> LexicalHits:
    """Return the items of both, each with its better score; those with all remaining words lead."""
    rows, index = np.unique(np.concatenate([whole.rows, others.rows]), return_inverse=True)
    scores = np.zeros(len(rows), np.float32)
    np.maximum.at(scores, index, np.concatenate([whole.scores, others.scores]))
    best = Candidates.best(rows, scores, N_CANDIDATES)
    matched = _looked_up(whole.rows, whole.matched, best.rows)
    return LexicalHits(best.rows, best.scores, matched, others.corrected_query, whole.n_whole)


def _looked_up(rows: IntArray, values: FloatArray, wanted: IntArray) -> FloatArray:
    """Return (n_wanted,): the value of each wanted row, 0 where `rows` (n,) lack it."""
    by_row = dict(zip(rows.tolist(), values.tolist(), strict=True))
    return np.array([by_row.get(row, 0.0) for row in wanted.tolist()], np.float32)


def _popular(question: Question) -> Candidates:
    """Return what sells most, within the filters if anything passes them; before the first event the newest items."""
    request, shelf, allowed = question.request, question.served.shelf, question.allowed()
    passed = allowed & filtered(shelf, effective_filters(request.filters, shelf.understand(request.query)))
    allowed = passed if passed.any() else allowed
    wanted = Wanted(question.profile, allowed)
    popular = PopularRetriever(popularity(shelf.state)).retrieve(wanted, limit=N_CANDIDATES)
    if len(popular):
        return popular
    rows = np.flatnonzero(allowed)
    return Candidates.best(rows, shelf.items.first_seen[rows], N_CANDIDATES)


def _all_within_price(question: Question, attempt: Attempt) -> Listed | None:
    """For a query that is only a price, list every item within it, what sells most first; None where there is none."""
    shelf, rows = question.served.shelf, np.flatnonzero(attempt.allowed).astype(np.int32)
    if not len(rows):
        return None
    sales = popularity(shelf.state)[rows]
    order = np.lexsort((rows, -shelf.items.first_seen[rows], -sales))
    order = order[policy.available_first(shelf.available[rows[order]])]
    return Listed(
        rows[order], sales[order], Rung.POPULARITY, len(rows), intent=attempt.intent, relaxed=attempt.given_up
    )


def _listed(question: Question, attempt: Attempt, graded: Candidates, vector: FloatArray | None) -> Listed:
    rows, grades = graded.pair()
    order = policy.relevance_band(_preference(question, rows, grades), grades, margin=BAND)
    rows, grades = _with_rest(question, attempt, rows[order], grades[order])
    if (only := _only_whole(attempt)) in rows:
        order = policy.not_below(int(np.flatnonzero(rows == only)[0]), len(rows), last=N_LEADING - 1)
        rows, grades = rows[order], grades[order]
    order = policy.available_first(question.served.shelf.available[rows])
    rung = question.served.rung if vector is not None else Rung.LEXICAL
    n_found = max(len(rows), attempt.hits.n_whole)
    return Listed(
        rows[order], grades[order], rung, n_found, attempt.hits.corrected_query,
        attempt.intent, attempt.relaxation, attempt.relaxed_query,
    )  # fmt: skip


def _with_rest(question: Question, attempt: Attempt, rows: IntArray, grades: FloatArray) -> tuple[IntArray, FloatArray]:
    """Append the items with all words that were not graded: a query of one frequent word has many of them."""
    if question.request.among or attempt.hits.n_whole <= np.count_nonzero(attempt.hits.matched):
        return rows, grades
    text = f"{attempt.relaxed_query} " if attempt.relaxed_query else attempt.intent.text
    hits = question.served.shelf.lexical.search(text, N_LISTED, allowed=attempt.allowed)
    rest = hits.rows[(hits.matched > 0) & ~np.isin(hits.rows, rows)]
    return np.concatenate([rows, rest]), np.concatenate([grades, np.full(len(rest), grades.min(), np.float32)])


def _only_whole(attempt: Attempt) -> int:
    """Return the only row with all words as written, or where no row has, in any form; -1 where there are several."""
    for least in (JOINED, 1e-9):
        whole = attempt.hits.rows[attempt.hits.matched >= least]
        if len(whole):
            return int(whole[0]) if len(whole) == 1 else -1
    return -1


def _among(question: Question) -> IntArray:
    rows = question.among()
    return rows[question.allowed()[rows]]


def _candidates(question: Question, attempt: Attempt, vector: FloatArray | None) -> IntArray:
    """Return the rows (n,), ascending, that match by words or are near in meaning."""
    shelf, by_words = question.served.shelf, attempt.hits.rows
    if vector is None or shelf.vectors is None:
        return np.sort(by_words)
    near = nearest(shelf.vectors, vector, limit=N_CANDIDATES, allowed=attempt.allowed)
    return np.union1d(by_words, near.rows[near.scores > attempt.least_cosine(shelf.floors)]).astype(np.int32)


def _graded(question: Question, rows: IntArray, attempt: Attempt, vector: FloatArray | None) -> Candidates:
    """Grade those of `rows` that match by the ranker, best first; without a ranker by the score of the words."""
    shelf, ranker, query = question.served.shelf, question.served.ranker, attempt.intent.text
    if not len(rows):
        return Candidates.none()
    is_plain = attempt.given_up in (Relaxation.NONE, Relaxation.FILTERS)
    hits = attempt.hits if is_plain else shelf.lexical.search(query, N_BEST)  # as in training
    intent = shelf.understand(query) if ranker is not None and ranker.knows_matches else None
    columns = match_features(query, rows, shelf, hits=hits, vector=vector, intent=intent)
    matches = np.ones(len(rows), bool) if question.request.among else _matches(attempt, rows, columns, shelf.floors)
    if ranker is None or vector is None:
        scores = _looked_up(attempt.hits.rows, attempt.hits.scores, rows[matches]) / 2  # in (0, 1]
        return Candidates.best(rows[matches], scores, len(rows))
    return Candidates.best(rows[matches], ranker.grade(columns[matches]), len(rows))


def _matches(attempt: Attempt, rows: IntArray, columns: FloatArray, floors: Floors) -> Mask:
    """Tell which of `rows` (n,) match: those with all words, near in meaning, or with some words and related.

    columns (n, f) in the order of `MATCH_FEATURES`.
    """
    share, meaning = (columns[:, MATCH_FEATURES.index(name)] for name in ("words_matched", "meaning"))
    least = LEAST_SHARE if meaning.any() else LEAST_SHARE_WITHOUT_MEANING
    has_all_words = np.isin(rows, attempt.hits.rows[attempt.hits.matched > 0])
    has_some_words = np.isin(rows, attempt.hits.rows)
    is_near = meaning > attempt.least_cosine(floors)
    least_related = 0.0 if attempt.given_up is Relaxation.WORDS else LEAST_SHARE_RELATED
    is_related = (share >= least_related) & (meaning > floors.related)
    return has_all_words | is_near | (has_some_words & (is_related | (share >= least)))


def _preference(question: Question, rows: IntArray, relevance: FloatArray) -> FloatArray:
    """Return (n,) how likely the shopper is to buy each of the rows in the band; without a history, the relevance."""
    inside = np.flatnonzero(policy.in_band(relevance, margin=BAND))
    if len(inside) < 2 or not len(question.profile.item):
        return relevance
    scores = question.scores(rows[inside], question.context_vector())
    if scores is None:
        return relevance
    preference = relevance.copy()
    preference[inside] = scores + PREFERENCE_TIE * relevance[inside]
    return preference
