"""A question in, what its words find out: the query as understood, the filters, and what had to be given up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from recommender.retrieval.base import Candidates, Mask, Wanted
from recommender.retrieval.lexical.index import LexicalHits
from recommender.retrieval.popular import PopularRetriever, popularity
from recommender.serving.filters import effective_filters, filtered
from recommender.serving.question import Question
from recommender.serving.shelf import Shelf
from recommender.types import Intent, Relaxation


@dataclass(frozen=True, slots=True)
class Sought:
    """One try: what the words found among the items that may be shown. allowed (n_items,) bool."""

    intent: Intent
    hits: LexicalHits
    allowed: Mask
    relaxed: Relaxation = Relaxation.NONE
    relaxed_query: str = ""

    @property
    def relaxation(self) -> Relaxation:
        """What was given up, if anything near in meaning is found: without a word that is all there is."""
        is_bare = self.relaxed is Relaxation.NONE and not len(self.hits.rows)
        return Relaxation.MEANING if is_bare else self.relaxed


def lookups(question: Question, *, limit: int) -> Iterator[Sought]:
    """Look for the query as it is, then, where filters are on, without them. Words that no item has are dropped."""
    request, shelf = question.request, question.served.shelf
    intent = shelf.understand(request.query)
    filters = effective_filters(request.filters, intent)
    allowed = question.allowed()
    passed = filtered(shelf, filters)
    yield _look(intent, shelf, allowed & passed, limit)
    if not passed.all():
        yield replace(_look(intent, shelf, allowed, limit), relaxed=Relaxation.FILTERS)


def popular(question: Question, *, limit: int) -> Candidates:
    """What many buy, within the filters if anything passes them; before the first event the newest items."""
    request, shelf, allowed = question.request, question.served.shelf, question.allowed()
    passed = allowed & filtered(shelf, effective_filters(request.filters, shelf.understand(request.query)))
    allowed = passed if passed.any() else allowed
    found = PopularRetriever(popularity(shelf.state)).retrieve(Wanted(question.profile, allowed), limit=limit)
    return found if len(found) else newest(question, allowed, limit)


def newest(question: Question, allowed: Mask, limit: int) -> Candidates:
    """The newest of the allowed (n_items,)."""
    rows = np.flatnonzero(allowed)
    return Candidates.best(rows, question.served.shelf.items.first_seen[rows], limit)


def everything(question: Question, allowed: Mask) -> Candidates:
    """All of the allowed (n_items,): what many buy first, then the newest."""
    shelf, rows = question.served.shelf, np.flatnonzero(allowed)
    liked = popularity(shelf.state)[rows]
    order = np.lexsort((rows, -shelf.items.first_seen[rows], -liked))
    return Candidates(rows[order].astype(np.int32), liked[order])


def _look(intent: Intent, shelf: Shelf, allowed: Mask, limit: int) -> Sought:
    hits = shelf.lexical.search(intent.text, limit, allowed=allowed)
    if hits.n_whole or not len(hits.rows):
        return Sought(intent, hits, allowed)
    fewer = shelf.lexical.relaxed(intent.text, hits.rows)
    if not fewer:  # only words such as "the" were found
        return Sought(intent, LexicalHits.none(), allowed)
    found = shelf.lexical.search(f"{fewer} ", limit, allowed=allowed)
    return Sought(intent, _together(found, hits, limit), allowed, Relaxation.WORDS, fewer)


def _together(leading: LexicalHits, others: LexicalHits, limit: int) -> LexicalHits:
    """Return the items of both, each with its better score; those with all words that are left lead."""
    rows, place = np.unique(np.concatenate([leading.rows, others.rows]), return_inverse=True)
    scores = np.zeros(len(rows), np.float32)
    np.maximum.at(scores, place, np.concatenate([leading.scores, others.scores]))
    best = Candidates.best(rows, scores, limit)
    matched = dict(zip(leading.rows.tolist(), leading.matched.tolist(), strict=True))
    return LexicalHits(
        best.rows,
        best.scores,
        np.array([matched.get(row, 0.0) for row in best.rows.tolist()], np.float32),
        others.corrected_query,
        leading.n_whole,
    )
