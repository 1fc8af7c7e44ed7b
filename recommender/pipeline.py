"""The only way in: a query or a slot and a shopper in, a `Ranking` with reasons and live prices out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import numpy as np
from django.utils import timezone

from recommender import conf, serving
from recommender.catalog import live_items
from recommender.exceptions import ConfigurationError
from recommender.models.connections import apart_once
from recommender.serving import Served, stored
from recommender.serving.explain import explain, notice
from recommender.serving.filters import offered_filters
from recommender.serving.lists import LISTS
from recommender.serving.question import Listed, Question
from recommender.serving.shelf import Shelf
from recommender.text.words import fold
from recommender.types import Context, Entry, Live, OfferedFilter, PastEvent, Ranking, Relaxation, Request, Slot

logger = logging.getLogger(__name__)

MAX_QUERY_LENGTH = 200
MAX_LIMIT = 100
MAX_OFFSET = 1_000
N_SPARE = 4
"""Places ranked beyond the limit, to fill in for items that the shop hides at this moment."""

MAX_LIVE_READS = 3
"""Live reads of one page: with the history that makes at most four queries for all its blocks."""


class Asker(Protocol):
    """What the pipeline needs of a shopper; `identity.Shopper` is one."""

    @property
    def visitor_key(self) -> uuid.UUID | None: ...

    live: dict[str, Live | None]
    n_live_reads: int

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
        request = _request(
            Slot.SEARCH,
            shopper,
            at,
            query=understood(query),
            limit=_bounded(limit, MAX_LIMIT),
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
        request = _request(
            slot_named(slot),
            shopper,
            at,
            item_id=item_id,
            limit=_bounded(limit, MAX_LIMIT),
            cart_item_ids=tuple(cart_item_ids),
        )
        return _answer(request, shopper)


def suggest(prefix: str, *, limit: int = 8) -> list[Suggestion]:
    """Completions of a prefix, then the items and categories that it names. No query."""
    shelf = serving.current().shelf
    prefix = understood(prefix)
    limit = _bounded(limit, 20)
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


def rank(request: Request, *, served: Served) -> Ranking:
    """Rank in memory: no SQL, no live prices, no side effect. What the gate evaluates and what a page shows."""
    shelf = served.shelf
    question = Question(request, shelf.profile(request), served)
    listed = LISTS[request.slot](question)
    start = request.offset if request.slot == Slot.SEARCH else 0
    rows = listed.rows[start : start + request.limit]
    reasons = explain(rows, question.profile, shelf, query=_sought(listed), intent=listed.intent)
    entries = tuple(
        Entry(shelf.items.ids[row], start + place + 1, float(score), reason)
        for place, (row, score, reason) in enumerate(
            zip(rows.tolist(), listed.scores[start : start + request.limit].tolist(), reasons, strict=True)
        )
    )
    return Ranking(
        id=uuid.uuid4(),
        slot=request.slot,
        entries=entries,
        rung=listed.rung,
        bundle=served.bundle,
        catalog_version=shelf.version,
        query=request.query,
        corrected_query=listed.corrected_query,
        n_found=listed.n_found,
        intent=listed.intent,
        offered_filters=_offers(listed, request, shelf),
        relaxed=listed.relaxed,
        relaxed_query=listed.relaxed_query,
        notice=notice(listed.relaxed, request.query, listed.relaxed_query),
    )


def with_live(ranking: Ranking, *, served: Served, shopper: Asker | None = None, limit: int) -> Ranking:
    """Add what the shop says now of each entry and drop what it hides; what is sold out since goes behind the rest.

    One query per catalogue model, none where the page has asked for the items before. From the page's fourth block on
    the price in memory is shown, at most `REFRESH_SECONDS` old after the shop's save.
    """
    memo: dict[str, Live | None] = shopper.live if shopper is not None else {}
    unread = [entry.item_id for entry in ranking.entries if entry.item_id not in memo]
    shelf = served.shelf
    if unread and (shopper is None or shopper.n_live_reads < MAX_LIVE_READS):
        refs = {item_id: _reference(shelf, item_id) for item_id in unread}
        found = live_items(refs)
        memo.update({item_id: found.get(item_id) for item_id in unread})
        if shopper is not None:
            shopper.n_live_reads += 1
    shown: list[tuple[Entry, Live]] = []
    for entry in ranking.entries:
        live = memo[entry.item_id] if entry.item_id in memo else _remembered(shelf, entry.item_id)
        if live is not None:
            shown.append((entry, live))
    if ranking.slot == Slot.SEARCH:  # what is beyond belongs to the next page
        shown = shown[:limit]
    shown.sort(key=lambda pair: not pair[1].available)
    first = ranking.entries[0].position if ranking.entries else 1
    entries = [
        dataclasses.replace(entry, position=first + place, live=live)
        for place, (entry, live) in enumerate(shown[:limit])
    ]
    return dataclasses.replace(ranking, entries=tuple(entries))


def understood(query: str) -> str:
    """A query as it is asked: spaces put right, cut at `MAX_QUERY_LENGTH`."""
    return " ".join(query[: MAX_QUERY_LENGTH * 5].split())[:MAX_QUERY_LENGTH]


def slot_named(slot: Slot | str) -> Slot:
    """The slot of a name. Raises `ConfigurationError` with the closest known one."""
    try:
        return Slot(slot)
    except ValueError:
        names = [known.value for known in Slot]
        raise ConfigurationError(
            f"There is no slot {str(slot)[:40]!r}. {conf.closest(str(slot), names)} Known: {', '.join(names)}."
        ) from None


def _sought(listed: Listed) -> str:
    """The words that the list answers; none where it is only what many buy."""
    if listed.intent is None or listed.relaxed is Relaxation.POPULAR:
        return ""
    return listed.relaxed_query or listed.corrected_query or listed.intent.text


def _offers(listed: Listed, request: Request, shelf: Shelf) -> tuple[OfferedFilter, ...]:
    if listed.intent is None:
        return ()
    return offered_filters(listed.intent, listed.rows, shelf, request, listed.relaxed)


def _request(slot: Slot, shopper: Asker | None, at: dt.datetime | None, **asked: object) -> Request:
    context = shopper.context(at) if shopper is not None else Context(at or timezone.now())
    history = shopper.history() if shopper is not None else ()
    key = shopper.visitor_key if shopper is not None else None
    return Request(slot, context, history=history, visitor_key=key, **asked)  # type: ignore[arg-type]


def _answer(request: Request, shopper: Asker | None) -> Ranking:
    served = serving.current()
    if not served.is_loaded:
        return stored.answer(request)
    if not len(served.shelf.items):
        return stored.shop_order(request)
    wider = dataclasses.replace(request, limit=request.limit + N_SPARE)
    try:
        ranking = rank(wider, served=served)
    except Exception:  # the edge of the model: whatever breaks in it, the lower rungs still serve
        logger.exception("bundle %s failed on slot %s; lower rungs serve", served.bundle or "-", request.slot)
        ranking = rank(wider, served=Served(served.shelf))
    return with_live(ranking, served=served, shopper=shopper, limit=request.limit)


def _reference(shelf: Shelf, item_id: str) -> tuple[str, str]:
    row = shelf.index[item_id]
    return shelf.labels[row], shelf.object_ids[row]


def _remembered(shelf: Shelf, item_id: str) -> Live:
    row = shelf.index[item_id]
    price = shelf.items.price[row]
    return Live(
        title=shelf.titles[row],
        url=shelf.urls[row],
        image=shelf.images[row],
        price=None if np.isnan(price) else Decimal(str(round(float(price), 2))).quantize(Decimal("0.01")),
        currency=shelf.currency[row],
        available=bool(shelf.available[row]),
    )


def _bounded(limit: int, most: int) -> int:
    return max(1, min(limit, most))
