"""The way in for pages and the API: a query or a slot and a shopper give a `Ranking` with reasons and live prices."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from django.utils import timezone

from recommender import conf, serving
from recommender.exceptions import ConfigurationError
from recommender.models.connections import apart_once
from recommender.serving import Served, sql_lists
from recommender.serving.live_entries import LiveReads, with_live
from recommender.serving.ranking import rank
from recommender.text.query import normal_query
from recommender.text.words import fold
from recommender.types import Context, PastEvent, Ranking, Request, Slot

__all__ = [
    "MAX_LIMIT",
    "MAX_OFFSET",
    "Asker",
    "Suggestion",
    "rank",
    "recommend",
    "search",
    "slot_named",
    "suggest",
]

logger = logging.getLogger(__name__)

MAX_LIMIT = 100
MAX_OFFSET = 1_000
N_SPARE = 4
"""Items ranked beyond the limit, to replace those that the shop hides at this moment."""


class Asker(LiveReads, Protocol):
    """What the pipeline needs of a shopper; `identity.Shopper` is one."""

    @property
    def visitor_key(self) -> uuid.UUID | None: ...

    def history(self) -> tuple[PastEvent, ...]: ...

    def context(self, at: dt.datetime | None = None) -> Context: ...


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One completion of what is being typed; `kind` is "query", "item" or "category"."""

    text: str
    kind: str
    item_id: str = ""
    url: str = ""


def search(
    query: str,
    *,
    shopper: Asker | None = None,
    limit: int = 24,
    offset: int = 0,
    filters: Mapping[str, str] | None = None,
    cart_item_ids: Sequence[str] = (),
    at: dt.datetime | None = None,
) -> Ranking:
    """Items for a query, personal to the shopper. Filters: `category`, `brand`, `min_price`, `max_price`, `available`.

    At most one query for the history and one per catalogue model for live prices. An empty query lists nothing.
    """
    with apart_once():
        request = Request(
            Slot.SEARCH,
            _context(shopper, at),
            query=normal_query(query),
            limit=_clamped(limit, MAX_LIMIT),
            offset=max(0, min(offset, MAX_OFFSET)),
            filters=dict(filters or {}),
            cart_item_ids=tuple(cart_item_ids),
        )
        return _answer(request, shopper)


def recommend(
    slot: Slot | str,
    *,
    shopper: Asker | None = None,
    item_id: str = "",
    cart_item_ids: Sequence[str] = (),
    limit: int = 8,
    at: dt.datetime | None = None,
) -> Ranking:
    """The list of one slot. Queries as in `search`. Raises `ConfigurationError` for a slot that does not exist."""
    with apart_once():
        request = Request(
            slot_named(slot),
            _context(shopper, at),
            item_id=item_id,
            limit=_clamped(limit, MAX_LIMIT),
            cart_item_ids=tuple(cart_item_ids),
        )
        return _answer(request, shopper)


def suggest(prefix: str, *, limit: int = 8) -> list[Suggestion]:
    """Completions of a prefix, then the items and categories that it names. No query."""
    shelf = serving.current().shelf
    prefix = normal_query(prefix)
    limit = _clamped(limit, 20)
    if not prefix:
        return []
    texts = [Suggestion(text, "query") for text in shelf.suggest(prefix, limit)]
    categories = [
        Suggestion(name, "category")
        for name in shelf.items.category_names
        if any(word.startswith(fold(prefix)) for word in fold(name).split())
    ][:2]
    hits = shelf.lexical.search(prefix, 10).rows
    items = [
        Suggestion(shelf.titles[row], "item", shelf.items.ids[row], shelf.urls[row])
        for row in hits.tolist()
        if shelf.items.active[row]
    ][:3]
    n_texts = max(1, limit - len(categories) - len(items))
    return [*texts[:n_texts], *categories, *items][:limit]


def slot_named(slot: Slot | str) -> Slot:
    """The slot with this name. Raises `ConfigurationError` with the closest known name."""
    try:
        return Slot(slot)
    except ValueError:
        names = [slot.value for slot in Slot]
        raise ConfigurationError(
            f"There is no slot {str(slot)[:40]!r}. {conf.closest(str(slot), names)} Known: {', '.join(names)}."
        ) from None


def _context(shopper: Asker | None, at: dt.datetime | None) -> Context:
    return shopper.context(at) if shopper is not None else Context(at or timezone.now())


def _answer(request: Request, shopper: Asker | None) -> Ranking:
    """Rank for this shopper, as well as this process can at the moment."""
    if shopper is not None:
        request = replace(request, history=shopper.history(), visitor_key=shopper.visitor_key)
    served = serving.current()
    if not served.is_loaded:
        return sql_lists.answer(request)
    if not served.shelf.index:
        return sql_lists.shop_order(request)
    wider = replace(request, limit=request.limit + N_SPARE)
    try:
        ranking = rank(wider, served=served)
    except Exception:  # the edge of the model: whatever breaks in it, the lower rungs still serve
        logger.exception("bundle %s failed on slot %s; lower rungs serve", served.bundle or "-", request.slot)
        ranking = rank(wider, served=Served(served.shelf))
    return with_live(ranking, served.shelf, page=shopper, limit=request.limit)


def _clamped(limit: int, most: int) -> int:
    return max(1, min(limit, most))
