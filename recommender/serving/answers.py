"""Answers a request as well as this process can: ranked in memory, with what the shop still offers, or from SQL."""

from __future__ import annotations

from dataclasses import replace

from recommender.deadlines import current_stopwatch
from recommender.serving import ladder, sql_lists
from recommender.serving.experiments import Plan, plan
from recommender.serving.exploring import POOL_SIZE, explored
from recommender.serving.live_entries import LiveReads, hidden_items, lacks_items, with_live
from recommender.serving.memory import Served, current
from recommender.types import Ranking, Request, Slot

N_SPARE = (4, 36, 150)
"""Items ranked beyond the limit, to replace those that the shop hides or has sold out at this moment; where they do not
suffice, the list is ranked again without what is hidden, and with more of them."""


def answer(request: Request, page: LiveReads, *, served: Served | None = None) -> Ranking:
    """The list for a request, with live prices; it remembers on the page what it read of them.

    One query per catalogue model for the prices, and two more where many items were hidden since. served: what answers
    in place of what this process serves with.
    """
    served = served or current()
    if not served.is_loaded:
        return sql_lists.answer(request)
    if not served.shelf.index:
        return sql_lists.shop_order(request, sources=served.rules.sources)
    if served.dials:
        request = replace(request, profit=served.dials.get(request.slot, 0.0))
    try:
        return _explored(request, served, page)
    except ladder.Unranked:
        return sql_lists.nothing(request) if _is_over() else sql_lists.shop_order(request, sources=served.rules.sources)


def _explored(request: Request, served: Served, page: LiveReads) -> Ranking:
    exploration = served.explorations.get(request.slot)
    if exploration is None:
        return _listed(request, plan(request, served), page)
    wider = replace(request, limit=request.limit + POOL_SIZE - 1)
    return explored(_listed(wider, plan(request, served), page), served.shelf, exploration, limit=request.limit)


def _listed(request: Request, planned: Plan, page: LiveReads) -> Ranking:
    """Rank more than the limit and fill the list with what the shop still offers. A search has only its own page."""
    served = planned.served
    for n_spare in N_SPARE:
        hidden = frozenset() if request.slot == Slot.SEARCH else hidden_items(page)
        wider = replace(request, limit=request.limit + n_spare, exclude_item_ids=request.exclude_item_ids | hidden)
        ranking = planned.rank(wider, _ranked)
        listed = with_live(ranking, served.shelf, page=page, limit=request.limit)
        is_short = lacks_items(ranking, served.shelf, page=page, limit=request.limit)
        if request.slot == Slot.SEARCH or not is_short or _is_over():
            break
    return replace(listed, arms=planned.arms) if planned.experiments else listed


def _ranked(request: Request, served: Served) -> Ranking:
    """Rank; what other lists of the page show is repeated only where nothing else is left."""
    ranking = ladder.ranked(request, served)
    if not ranking.entries and request.shown_item_ids:
        return ladder.ranked(replace(request, shown_item_ids=frozenset()), served)
    return ranking


def _is_over() -> bool:
    """Whether the time for the list is over: what there is has to do."""
    stopwatch = current_stopwatch()
    return stopwatch is not None and stopwatch.left_seconds < 0
