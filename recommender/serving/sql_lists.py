"""Answers from SQL while the catalogue is not yet in memory: by words for a search, else in the shop's own order."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db import models
from django.db.models import F

from recommender.catalog import catalogs, live_items
from recommender.models import Item
from recommender.text.words import LINKING_WORDS, Word, pairs, stem, words
from recommender.types import Entry, Ranking, Request, Rung, Slot

SPAN = 10_000
"""Items that one statement scans, by primary key: about 10 ms of the database."""

LONGEST_SECONDS = 0.1
"""No further statement starts after this long; the newest items have been scanned by then."""

MOST_WORDS = 6
MOST_FOUND = 500


@dataclass(frozen=True, slots=True)
class _Hit:
    item_id: str
    label: str
    object_id: str
    n_sold: float
    is_available: bool


def answer(request: Request) -> Ranking:
    """Answer by words for a search, in the shop's own order for `home` and `trending`."""
    return _by_words(request) if request.slot == Slot.SEARCH else shop_order(request)


def shop_order(request: Request) -> Ranking:
    """The shop's own order, while the recommender knows no item; nothing for a search or beside an item."""
    entries: list[Entry] = []
    sources = catalogs() if request.slot in (Slot.HOME, Slot.TRENDING) else []
    for catalog in sources:
        for obj in catalog.queryset()[: request.limit - len(entries)]:
            live = catalog.live(obj)
            if live is not None:
                entries.append(Entry(catalog.item_id(obj), len(entries) + 1, 0.0, live=live))
    return _ranking(request, entries, Rung.SHOP_ORDER, n_found=len(entries))


def _by_words(request: Request) -> Ranking:
    """List items whose text has all words of the query, or else its longest word; what sells most comes first.

    At most one statement per `SPAN` items, none started after `LONGEST_SECONDS`, and one per model for live prices.
    """
    deadline = time.monotonic() + LONGEST_SECONDS
    sought = sought_words(request.query)
    hits = _hits(sought, request.filters, deadline) if sought else []
    if len(sought) > 1 and not hits and time.monotonic() < deadline:
        hits = _hits(sorted(sought, key=len)[-1:], request.filters, deadline)
    hits.sort(key=lambda hit: (not hit.is_available, -hit.n_sold))
    start = request.offset
    page = hits[start : start + request.limit]
    live = live_items({hit.item_id: (hit.label, hit.object_id) for hit in page})
    visible = [hit.item_id for hit in page if live.get(hit.item_id) is not None]
    entries = [Entry(item_id, start + rank, 0.0, live=live[item_id]) for rank, item_id in enumerate(visible, 1)]
    return _ranking(request, entries, Rung.WORDS, n_found=len(hits))


def sought_words(query: str) -> list[str]:
    """Return the parts of texts to look for: stems without linking words; unspaced scripts as pairs of characters."""
    parts: dict[str, None] = {}
    for word in words(query):
        parts.update(dict.fromkeys(pairs(word) if word.is_unspaced else _parts(word)))
    return ([part for part in parts if part not in LINKING_WORDS] or list(parts))[:MOST_WORDS]


def _parts(word: Word) -> list[str]:
    """Return a number as it is written, a word by what its singular and plural share."""
    if any(character.isdigit() for character in word.written):
        return [word.written]
    return [_shared(word.written)] if not word.parts else [_shared(part) for part in word.parts]


def _shared(word: str) -> str:
    stemmed = stem(word)
    return stemmed if word.startswith(stemmed) else word


def _hits(sought: list[str], filters: Mapping[str, str], deadline: float) -> list[_Hit]:
    """Scan the items from the newest on, until there are enough hits or the time is over."""
    matching = _filtered(Item.objects.filter(is_active=True), filters)
    for part in sought:
        matching = matching.filter(text__icontains=part)
    matching = matching.annotate(sold=F("statistics__n_30")).order_by(F("sold").desc(nulls_last=True), "-pk")
    columns = matching.values_list("item_id", "label", "object_id", "sold", "is_available")
    hits: list[_Hit] = []
    upper = Item.objects.aggregate(newest=models.Max("pk"))["newest"] or 0
    while upper > 0 and len(hits) < MOST_FOUND:
        rows = columns.filter(pk__gt=upper - SPAN, pk__lte=upper)[: MOST_FOUND - len(hits)]
        hits.extend(_Hit(item_id, label, key, sold or 0.0, stock) for item_id, label, key, sold, stock in rows)
        upper -= SPAN
        if time.monotonic() > deadline:
            break
    return hits


def _filtered(items: models.QuerySet[Item], filters: Mapping[str, str]) -> models.QuerySet[Item]:
    """Apply the filters of a request; one that cannot be read passes all, as in memory."""
    conditions: dict[str, Any] = {name: filters[name] for name in ("category", "brand") if filters.get(name)}
    for name, lookup in (("min_price", "price__gte"), ("max_price", "price__lte")):
        if (bound := _number(filters.get(name, ""))) is not None:
            conditions[lookup] = bound
    if filters.get("available") in ("1", "true"):
        conditions["is_available"] = True
    return items.filter(**conditions)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) < 10**12 else None


def _ranking(request: Request, entries: list[Entry], rung: Rung, *, n_found: int) -> Ranking:
    served = rung if entries else Rung.EMPTY
    return Ranking(uuid.uuid4(), request.slot, tuple(entries), served, query=request.query, n_found=n_found)
