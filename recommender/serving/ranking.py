"""Ranks the items for one request in memory, as pages show them and the gate judges them: no SQL, no live prices."""

from __future__ import annotations

import uuid
from dataclasses import replace

from recommender.deadlines import Stage, during
from recommender.serving.corrections import without_muted
from recommender.serving.explain import added_reasons, explain, notice
from recommender.serving.facets import facets
from recommender.serving.filters import offered_filters
from recommender.serving.memory import Served
from recommender.serving.question import Listed, Question
from recommender.serving.ruling import Ruled, ruled
from recommender.serving.shelf import Shelf
from recommender.types import Entry, Ranking, Request, Slot


def rank(request: Request, *, served: Served) -> Ranking:
    """The list of the request's slot, with reasons and, for a search, with the filters to offer. No side effect."""
    with during(Stage.RETRIEVAL):
        question, chosen = ruled_list(request, served)
    with during(Stage.POLICY):
        return _shown(question, chosen)


def _shown(question: Question, chosen: Ruled) -> Ranking:
    request, served, shelf = question.request, question.served, question.served.shelf
    applied, listed = chosen.applied, chosen.listed
    return Ranking(
        id=uuid.uuid4(),
        slot=request.slot,
        entries=_entries(question, chosen),
        rung=listed.rung,
        bundle=served.bundle,
        catalog_version=shelf.version,
        query=request.query,
        corrected_query=listed.corrected_query,
        n_found=listed.n_found,
        n_near=len(listed.near),
        intent=listed.intent,
        offered_filters=(
            offered_filters(listed.intent, listed.rows, shelf, request, listed.relaxed) if listed.intent else ()
        ),
        relaxed=listed.relaxed,
        relaxed_query=listed.relaxed_query,
        notice=_notice(request, listed),
        sort=request.sort,
        facets=facets(question, listed),
        rules=tuple(rule.id for rule in applied.rules),
        held_out=applied.held_out,
        redirect=applied.redirect,
        banners=applied.banners,
        skipped=chosen.skipped,
    )


def ruled_list(request: Request, served: Served) -> tuple[Question, Ruled]:
    """The question that a request puts, and the whole list that answers it, under the rules."""
    applied = served.rules.applied(request, served.shelf)
    profile = without_muted(served.shelf.profile(request), served.shelf, request.muted)
    question = Question(request, profile, served, applied.allowed)
    return question, ruled(question, applied)


def _entries(question: Question, chosen: Ruled) -> tuple[Entry, ...]:
    """The page of the list that the request wants."""
    request, shelf, listed = question.request, question.served.shelf, chosen.listed
    start = request.offset if request.slot == Slot.SEARCH else 0
    page = slice(start, start + request.limit)
    rows = listed.rows[page]
    near = frozenset(listed.near.tolist())
    reasons = explain(question, listed, rows)
    entries = [
        Entry(shelf.items.ids[row], position, score, reason, is_near=row in near)
        for position, (row, score, reason) in enumerate(
            zip(rows.tolist(), listed.scores[page].tolist(), reasons, strict=True), start + 1
        )
    ]
    if not chosen.applied.rules:
        return tuple(entries)
    return tuple(_as_ruled(entry, row, chosen, shelf) for entry, row in zip(entries, rows.tolist(), strict=True))


def _as_ruled(entry: Entry, row: int, chosen: Ruled, shelf: Shelf) -> Entry:
    """An entry with the rules that moved it, and with the reason of one that is there only because of a rule."""
    rules, pinned = chosen.rules_of(row), chosen.position_of(row)
    if row in chosen.added:
        entry = replace(entry, reasons=added_reasons(row, shelf, is_pinned=pinned > 0))
    return replace(entry, rules=rules, pinned=pinned) if rules else entry


def _notice(request: Request, listed: Listed) -> str:
    price = listed.intent.foreign_price if listed.intent is not None else ""
    query, fewer = request.query, listed.relaxed_query
    return notice(listed.relaxed, query, fewer, left_out=listed.left_out, foreign_price=price)
