"""Answers a search: which items match a query, which are near it, and what is given up where nothing matches.

What sells and what the shopper likes counts too, the more the less sure the query is: see `serving.personal`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from recommender.retrieval.base import Candidates, Mask, Wanted
from recommender.retrieval.floors import Floors
from recommender.retrieval.lexical.index import LexicalHits
from recommender.retrieval.lexical.terms import JOINED, SAME_STEM
from recommender.retrieval.matching import MATCH_FEATURES, N_BEST, match_features
from recommender.retrieval.popular import PopularRetriever, popularity
from recommender.serving import policy
from recommender.serving.exclusions import left_out
from recommender.serving.filters import condition_of, effective_filters, filtered, in_shop_currency, is_priced_in
from recommender.serving.personal import Preference
from recommender.serving.question import Listed, Question
from recommender.serving.shelf import Shelf
from recommender.serving.sorting import in_order
from recommender.text.words import tokens
from recommender.types import FloatArray, IntArray, Intent, Relaxation, Rung

N_CANDIDATES = 200
"""By words, and again by meaning; all of both are graded."""

N_LISTED = 1_100
"""As many as the last page can reach: see `pipeline.MAX_OFFSET`."""

N_NEAR = 100
"""Listed behind what matches: items that only have some of the words, or are near in meaning."""

SHORT_QUERY, FEW_MATCHES = 2, 50
"""Words of a query, and matches of the words that are left of it, up to which these matches lead: "desk lamp" shows
lamps first. On 500 graded queries of a hardware shop, which are longer, NDCG@10 is .598 so and where matches never lead
after words were given up, .584 where they always do."""

LEAST_SHARE, LEAST_SHARE_WITHOUT_MEANING = 0.5, 0.3
"""An item that lacks some words and is not related in meaning matches from this share of the query's words, by weight;
from a smaller share where there are no vectors. See `retrieval.floors` for what was measured."""

LEAST_SHARE_RELATED = 0.4
"""The same share for an item that is related in meaning. Where no item has all words, any share will do."""

ALL_WORDS = 1 - 1e-4
LEAD = 1e-3
"""What an item with all words in its text is graded above the best that lacks a word, at least."""

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
    """List the items that match by words or by meaning, by grade, by sales and by what the shopper likes.

    A request with another order has all that matches by it.

    Where nothing matches, words are dropped, then filters, and at last it lists what sells most: no page is empty. What
    is out of stock comes behind the rest, and what the query excludes is never listed. With `among`, those items are
    graded, whether they match or not.
    """
    request, shelf = question.request, question.served.shelf
    if not request.query:
        return Listed.empty()
    intent = in_shop_currency(shelf.understand(request.query), shelf)
    excluded = left_out(intent, shelf)
    allowed = question.allowed() & excluded.passes
    listed = _matching(question, intent, allowed) or _popular(question, intent, allowed)
    listed = replace(_leading(listed, question, excluded.lacking), left_out=excluded.words)
    return replace(in_order(request.sort, listed, shelf, limit=N_LISTED), allowed=allowed)


def matches_among(intent: Intent, shelf: Shelf, allowed: Mask) -> IntArray:
    """Return the rows (n,) that a search counts as found among the items that are allowed (n_items,)."""
    if not intent.text:
        return np.flatnonzero(allowed).astype(np.int32)
    return _look_up(intent, shelf, allowed).hits.whole


def _leading(listed: Listed, question: Question, lacking: IntArray) -> Listed:
    """Order by what can be bought, then by what matches, then by what says itself that it lacks what is excluded.

    lacking (m,): rows that say so. Of what is only near, the first `N_NEAR` stay. Where words were given up, what has
    the others is hardly better than what is near: only few matches of a short query lead there.
    """
    rows, is_near = listed.rows, np.isin(listed.rows, listed.near)
    is_short = listed.intent is not None and len(listed.intent.text.split()) <= SHORT_QUERY
    is_led = listed.relaxed is not Relaxation.WORDS or (is_short and listed.n_found <= FEW_MATCHES)
    leads = ~is_near if is_led else np.ones(len(rows), bool)
    order = policy.leading(question.served.shelf.available[rows], leads, np.isin(rows, lacking))
    if is_led and not question.request.among:
        order = order[~is_near[order] | (np.cumsum(is_near[order]) <= N_NEAR)]
    rows = rows[order]
    return replace(listed, rows=rows, scores=listed.scores[order], near=rows[is_near[order]])


def _matching(question: Question, intent: Intent, allowed: Mask) -> Listed | None:
    """List what matches among the items that are allowed (n_items,); None where nothing does."""
    request, shelf = question.request, question.served.shelf
    for attempt in _attempts(question, intent, allowed):
        if not attempt.intent.text and (listed := _all_within_price(question, attempt)):
            return listed
        has_meaning = question.served.ranker is not None and shelf.vectors is not None
        vector = question.query_vector(attempt.intent.text) if has_meaning else None
        rows = _among(question, allowed) if request.among else _candidates(question, attempt, vector)
        graded = _graded(question, rows, attempt, vector)
        if len(graded):
            return _listed(question, attempt, graded, vector)
    return None


def _attempts(question: Question, intent: Intent, allowed: Mask) -> Iterator[Attempt]:
    """Look up the words of the query, then, where filters are on, without the filters."""
    request, shelf = question.request, question.served.shelf
    passed = filtered(shelf, effective_filters(request.filters, intent)) & is_priced_in(intent, shelf)
    yield _look_up(intent, shelf, allowed & passed)
    if not passed.all():
        yield replace(_look_up(intent, shelf, allowed), given_up=Relaxation.FILTERS)


def _look_up(intent: Intent, shelf: Shelf, allowed: Mask) -> Attempt:
    """Look up the words of a query; those that no item has beside the others are dropped."""
    hits = shelf.lexical.search(intent.text, N_CANDIDATES, allowed=allowed)
    if hits.n_whole or not len(hits.rows):
        return Attempt(intent, hits, allowed)
    naming = shelf.understanding.naming(intent.text) if shelf.understanding is not None else {}
    fewer_words = shelf.lexical.relaxed(intent.text, hits.rows, naming)
    if not fewer_words:  # only words such as "the" or "set" matched
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
    return LexicalHits(best.rows, best.scores, matched, whole.whole, others.corrected_query)


def _looked_up(rows: IntArray, values: FloatArray, wanted: IntArray) -> FloatArray:
    """Return (n_wanted,): the value of each wanted row, 0 where `rows` (n,) lack it."""
    by_row = dict(zip(rows.tolist(), values.tolist(), strict=True))
    return np.array([by_row.get(row, 0.0) for row in wanted.tolist()], np.float32)


def _popular(question: Question, intent: Intent, allowed: Mask) -> Listed:
    """List what sells most, within the filters if anything passes them; before the first event the newest items."""
    shelf = question.served.shelf
    passed = allowed & filtered(shelf, effective_filters(question.request.filters, intent))
    allowed = passed if passed.any() else allowed
    popular = PopularRetriever(popularity(shelf.state)).retrieve(Wanted(question.profile, allowed), limit=N_CANDIDATES)
    if not len(popular):
        rows = np.flatnonzero(allowed)
        popular = Candidates.best(rows, shelf.items.first_seen[rows], N_CANDIDATES)
    rung = Rung.POPULARITY if len(popular) else Rung.EMPTY
    order = policy.available_first(shelf.available[popular.rows])
    return Listed(popular.rows[order], popular.scores[order], rung, intent=intent, relaxed=Relaxation.POPULAR)


def _all_within_price(question: Question, attempt: Attempt) -> Listed | None:
    """For a query that is only a price, list every item within it, what sells most first; None where there is none."""
    shelf, rows = question.served.shelf, np.flatnonzero(attempt.allowed).astype(np.int32)
    if not len(rows):
        return None
    sales = popularity(shelf.state)[rows]
    order = np.lexsort((rows, -shelf.items.first_seen[rows], -sales))
    order = order[policy.available_first(shelf.available[rows[order]])]
    return Listed(
        rows[order], sales[order], Rung.POPULARITY, len(rows), intent=attempt.intent, relaxed=attempt.given_up,
        matches=rows,
    )  # fmt: skip


def _listed(question: Question, attempt: Attempt, graded: Candidates, vector: FloatArray | None) -> Listed:
    preference = Preference.of(question, graded, _answers(question, attempt, graded.rows))
    rows, grades = _with_rest(question, attempt, preference.rows, preference.scores)
    if (only := _only_whole(attempt)) in rows:
        order = policy.not_below(int(np.flatnonzero(rows == only)[0]), len(rows), last=N_LEADING - 1)
        rows, grades = rows[order], grades[order]
    rung = question.served.rung if vector is not None else Rung.LEXICAL
    matches = np.intersect1d(rows, attempt.hits.whole) if question.request.among else attempt.hits.whole
    return Listed(
        rows, grades, rung, len(matches), attempt.hits.corrected_query, attempt.intent, attempt.relaxation,
        attempt.relaxed_query, near=np.setdiff1d(rows, matches), matches=matches, preference=preference,
        attempt=attempt,
    )  # fmt: skip


def _answers(question: Question, attempt: Attempt, rows: IntArray) -> IntArray:
    """Return a number for how well each of rows (n,) answers: no preference lifts an item above what answers better.

    Kinds are a title that is the query, all words as written, all words in any form, and the rest; of each what is in
    stock and what is not.
    """
    shelf, hits = question.served.shelf, attempt.hits
    n_words = sum(1 for _word in tokens(hits.corrected_query or attempt.relaxed_query or attempt.intent.text))
    is_whole = np.isin(rows, hits.whole)
    as_written = is_whole & (_looked_up(hits.rows, hits.matched, rows) >= SAME_STEM)
    is_title = as_written & ((shelf.wording.word[rows] >= 0).sum(axis=1) <= n_words)
    kinds = np.stack([is_whole, as_written, is_title]).sum(axis=0)
    return np.asarray(2 * kinds + shelf.available[rows], np.int32)


def _with_rest(question: Question, attempt: Attempt, rows: IntArray, grades: FloatArray) -> tuple[IntArray, FloatArray]:
    """Append the items with all words that were not graded: a query of one frequent word has many of them."""
    if question.request.among or np.isin(attempt.hits.whole, rows).all():
        return rows, grades
    text = f"{attempt.relaxed_query} " if attempt.relaxed_query else attempt.intent.text
    hits = question.served.shelf.lexical.search(text, N_LISTED, allowed=attempt.allowed)
    rest = hits.rows[np.isin(hits.rows, attempt.hits.whole) & ~np.isin(hits.rows, rows)]
    return np.concatenate([rows, rest]), np.concatenate([grades, np.full(len(rest), grades.min(), np.float32)])


def _only_whole(attempt: Attempt) -> int:
    """Return the only row with all words as written, or where no row has, in any form; -1 where there are several."""
    for least in (JOINED, 1e-9):
        whole = attempt.hits.rows[attempt.hits.matched >= least]
        if len(whole):
            return int(whole[0]) if len(whole) == 1 else -1
    return -1


def _among(question: Question, allowed: Mask) -> IntArray:
    rows = question.among()
    return rows[allowed[rows]]


def _candidates(question: Question, attempt: Attempt, vector: FloatArray | None) -> IntArray:
    """Return the rows (n,), ascending, that match by words or are near in meaning."""
    shelf, by_words = question.served.shelf, attempt.hits.rows
    near = by_meaning(question, attempt, vector)
    return np.union1d(by_words, near.rows[near.scores > attempt.least_cosine(shelf.floors)]).astype(np.int32)


def by_meaning(question: Question, attempt: Attempt, vector: FloatArray | None) -> Candidates:
    """Return what is nearest in meaning; nothing without vectors, and where the query is a code."""
    near, shelf = question.near, question.served.shelf
    if vector is None or near is None or attempt.hits.is_code:
        return Candidates.none()
    has_filters = attempt.given_up is not Relaxation.FILTERS
    filters = effective_filters(question.request.filters, attempt.intent) if has_filters else {}
    condition = condition_of(shelf, filters)
    return near.nearest(vector, limit=N_CANDIDATES, allowed=attempt.allowed, condition=condition)


def _graded(question: Question, rows: IntArray, attempt: Attempt, vector: FloatArray | None) -> Candidates:
    """Grade those of `rows` that match by the ranker, best first; without a ranker by the score of the words."""
    shelf, ranker = question.served.shelf, question.served.ranker
    if not len(rows):
        return Candidates.none()
    columns = described(question, rows, attempt, vector)
    matches = np.ones(len(rows), bool) if question.request.among else _matches(attempt, rows, columns, shelf.floors)
    if ranker is None or vector is None:
        scores = _looked_up(attempt.hits.rows, attempt.hits.scores, rows[matches]) / 2  # in (0, 1]
        return Candidates.best(rows[matches], scores, len(rows))
    grades = ranker.grade(columns[matches])
    if attempt.given_up is not Relaxation.WORDS:
        grades = _with_texts(grades, rows[matches], columns[matches], attempt.hits)
    return Candidates.best(rows[matches], grades, len(rows))


def described(question: Question, rows: IntArray, attempt: Attempt, vector: FloatArray | None) -> FloatArray:
    """Return (n, f) of `MATCH_FEATURES` for rows (n,): what the ranker grades."""
    shelf, ranker, query = question.served.shelf, question.served.ranker, attempt.intent.text
    is_plain = attempt.given_up in (Relaxation.NONE, Relaxation.FILTERS)
    hits = attempt.hits if is_plain else shelf.lexical.search(query, N_BEST)  # as in training
    intent = shelf.understand(query) if ranker is not None and ranker.knows_matches else None
    return match_features(query, rows, shelf, hits=hits, vector=vector, intent=intent)


def _with_texts(grades: FloatArray, rows: IntArray, columns: FloatArray, hits: LexicalHits) -> FloatArray:
    """Raise the grades (n,) of items with all words, not all of them in the title, above those that lack a word.

    Brand, category and code may stand in the text alone, of which the features know nothing; nor do they know that
    1,000 is 1.000. columns (n, f) in the order of `MATCH_FEATURES`.
    """
    is_whole = np.isin(rows, hits.rows[hits.matched >= SAME_STEM])
    beyond_title = is_whole & (columns[:, MATCH_FEATURES.index("words_matched")] < ALL_WORDS)
    if is_whole.all() or not beyond_title.any():
        return grades
    return np.where(beyond_title, np.maximum(grades, grades[~is_whole].max() + LEAD), grades).astype(np.float32)


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
