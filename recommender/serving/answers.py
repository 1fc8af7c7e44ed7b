"""Answers a request as well as this process can: ranked in memory, with what the shop still offers, or from SQL."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from recommender.serving import sql_lists
from recommender.serving.experiments import Plan, plan
from recommender.serving.exploring import POOL_SIZE, explored
from recommender.serving.live_entries import LiveReads, hidden_items, lacks_items, with_live
from recommender.serving.memory import Served, current
from recommender.serving.ranking import rank
from recommender.types import Ranking, Request, Slot

logger = logging.getLogger(__name__)

N_SPARE = (4, 36, 150)
"""Items ranked beyond the limit, to replace those that the shop hides or has sold out at this moment; where they do not
suffice, the list is ranked again without what is hidden, and with more of them."""

SLOW_SECONDS, REST_SECONDS = 5.0, 60.0
"""A bundle that took so long for one list is left alone for a minute by this process: it would hold up every page."""

_rests_until: dict[str, float] = {}
"""When a bundle that was too slow is tried again, by its name and the monotonic clock."""


def answer(request: Request, page: LiveReads, *, served: Served | None = None) -> Ranking:
    """The list for a request, with live prices; it remembers on the page what it read of them.

    One query per catalogue model for the prices, and two more where many items were hidden since. served: what answers
    in place of what this process serves with.
    """
    served = served or current()
    if not served.is_loaded:
        return sql_lists.answer(request)
    if not served.shelf.index:
        return sql_lists.shop_order(request)
    if served.dials:
        request = replace(request, profit=served.dials.get(request.slot, 0.0))
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
        if request.slot == Slot.SEARCH or not lacks_items(ranking, served.shelf, page=page, limit=request.limit):
            break
    return replace(listed, arms=planned.arms) if planned.experiments else listed


def _ranked(request: Request, served: Served) -> Ranking:
    """Rank; what other lists of the page show is repeated only where nothing else is left."""
    started = time.monotonic()
    if started < _rests_until.get(served.bundle, 0.0):
        served = Served(served.shelf, rules=served.rules)
    try:
        ranking = rank(request, served=served)
        if not ranking.entries and request.shown_item_ids:
            ranking = rank(replace(request, shown_item_ids=frozenset()), served=served)
    except Exception:  # the edge of the model: whatever breaks in it, the lower rungs still serve
        logger.exception("bundle %s failed on slot %s; lower rungs serve", served.bundle or "-", request.slot)
        ranking = rank(request, served=Served(served.shelf, rules=served.rules))
    _notice_slowness(served, time.monotonic() - started)
    return ranking


def _notice_slowness(served: Served, seconds: float) -> None:
    if served.ranker is None or seconds <= SLOW_SECONDS:
        return
    _rests_until[served.bundle] = time.monotonic() + REST_SECONDS
    message = "bundle %s took %.1f s for one list; lower rungs serve for %.0f s"
    logger.error(message, served.bundle or "-", seconds, REST_SECONDS)
