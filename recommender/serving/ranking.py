"""Ranks the items for one request in memory, as pages show them and the gate judges them: no SQL, no live prices."""

from __future__ import annotations

import uuid

from recommender.serving.explain import explain, notice
from recommender.serving.facets import facets
from recommender.serving.filters import offered_filters
from recommender.serving.limits import limited
from recommender.serving.lists import LISTS
from recommender.serving.memory import Served
from recommender.serving.question import Listed, Question
from recommender.types import Entry, Ranking, Request, Slot


def rank(request: Request, *, served: Served) -> Ranking:
    """The list of the request's slot, with reasons and, for a search, with the filters to offer. No side effect."""
    shelf = served.shelf
    question = Question(request, shelf.profile(request), served)
    listed = LISTS[request.slot](question)
    start = request.offset if request.slot == Slot.SEARCH else 0
    page = slice(start, start + request.limit)
    if request.at_most:
        listed = limited(listed, shelf, request.at_most, n_places=request.limit)
    rows = listed.rows[page]
    near = frozenset(listed.near.tolist())
    reasons = explain(question, listed, rows)
    places = zip(rows.tolist(), listed.scores[page].tolist(), reasons, strict=True)
    return Ranking(
        id=uuid.uuid4(),
        slot=request.slot,
        entries=tuple(
            Entry(shelf.items.ids[row], position, score, reason, is_near=row in near)
            for position, (row, score, reason) in enumerate(places, start + 1)
        ),
        rung=listed.rung,
        bundle=served.bundle,
        catalog_version=shelf.version,
        query=request.query,
        corrected_query=listed.corrected_query,
        n_found=listed.n_found,
        n_near=len(near),
        intent=listed.intent,
        offered_filters=(
            offered_filters(listed.intent, listed.rows, shelf, request, listed.relaxed) if listed.intent else ()
        ),
        relaxed=listed.relaxed,
        relaxed_query=listed.relaxed_query,
        notice=_notice(request, listed),
        sort=request.sort,
        facets=facets(question, listed),
    )


def _notice(request: Request, listed: Listed) -> str:
    price = listed.intent.foreign_price if listed.intent is not None else ""
    query, fewer = request.query, listed.relaxed_query
    return notice(listed.relaxed, query, fewer, left_out=listed.left_out, foreign_price=price)
