"""Ranks the items for one request in memory, as pages show them and the gate judges them: no SQL, no live prices."""

from __future__ import annotations

import uuid

from recommender.serving.explain import explain, notice
from recommender.serving.filters import offered_filters
from recommender.serving.lists import LISTS
from recommender.serving.memory import Served
from recommender.serving.question import Listed, Question
from recommender.types import Entry, Ranking, Relaxation, Request, Slot


def rank(request: Request, *, served: Served) -> Ranking:
    """The list of the request's slot, with reasons and, for a search, with the filters to offer. No side effect."""
    shelf = served.shelf
    question = Question(request, shelf.profile(request), served)
    listed = LISTS[request.slot](question)
    start = request.offset if request.slot == Slot.SEARCH else 0
    page = slice(start, start + request.limit)
    rows = listed.rows[page]
    reasons = explain(rows, question.profile, shelf, query=_answered_query(listed), intent=listed.intent)
    places = zip(rows.tolist(), listed.scores[page].tolist(), reasons, strict=True)
    return Ranking(
        id=uuid.uuid4(),
        slot=request.slot,
        entries=tuple(
            Entry(shelf.items.ids[row], position, score, reason)
            for position, (row, score, reason) in enumerate(places, start + 1)
        ),
        rung=listed.rung,
        bundle=served.bundle,
        catalog_version=shelf.version,
        query=request.query,
        corrected_query=listed.corrected_query,
        n_found=listed.n_found,
        intent=listed.intent,
        offered_filters=(
            offered_filters(listed.intent, listed.rows, shelf, request, listed.relaxed) if listed.intent else ()
        ),
        relaxed=listed.relaxed,
        relaxed_query=listed.relaxed_query,
        notice=notice(listed.relaxed, request.query, listed.relaxed_query),
    )


def _answered_query(listed: Listed) -> str:
    """The words that the list answers; empty if it only shows what is popular."""
    if listed.intent is None or listed.relaxed is Relaxation.POPULAR:
        return ""
    return listed.relaxed_query or listed.corrected_query or listed.intent.text
