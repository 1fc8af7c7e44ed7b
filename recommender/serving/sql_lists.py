"""Answers from SQL while the catalogue is not yet in memory: by words for a search, else in the shop's own order."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import reduce
from operator import or_
from typing import Any

from django.db import models
from django.db.models import F, OrderBy, Q
from django.db.models.fields.json import KeyTransform

from recommender.catalog import catalogs, live_items
from recommender.models import Item
from recommender.serving.filters import FILTERS, chosen, is_only_available
from recommender.text.codes import GTIN_LENGTHS, queried_codes
from recommender.text.intent.exclusions import NEGATIONS, wanted_in
from recommender.text.stems import stem
from recommender.text.words import LINKING_WORDS, Word, words, written_pairs
from recommender.types import Entry, Filters, Ranking, Request, Rung, Slot, Sort

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
    price: Decimal | None
    first_seen_at: dt.datetime
    title: str


@dataclass(frozen=True, slots=True)
class _Order:
    """One order in SQL, within a span, and in Python, over all spans."""

    column: OrderBy
    key: Callable[[_Hit], Any]


BY_SALES = _Order(F("sold").desc(nulls_last=True), lambda hit: -hit.n_sold)
ORDERS = {
    Sort.RELEVANCE: BY_SALES,
    Sort.POPULAR: BY_SALES,
    Sort.CHEAPEST: _Order(F("price").asc(nulls_last=True), lambda hit: (hit.price is None, hit.price or 0)),
    Sort.DEAREST: _Order(F("price").desc(nulls_last=True), lambda hit: (hit.price is None, -(hit.price or 0))),
    Sort.NEWEST: _Order(F("first_seen_at").desc(), lambda hit: -hit.first_seen_at.timestamp()),
    Sort.NAME: _Order(F("title").asc(), lambda hit: hit.title.casefold()),
}
"""Here relevance is what sells most: words alone say no more of items that have them all."""


def answer(request: Request) -> Ranking:
    """Answer by words for a search, in the shop's own order for `home` and `trending`."""
    return _by_words(request) if request.slot == Slot.SEARCH else shop_order(request)


def shop_order(request: Request) -> Ranking:
    """The shop's own order, while the recommender knows no item; nothing for a search or beside an item."""
    entries: list[Entry] = []
    left_out = request.exclude_item_ids | request.shown_item_ids
    sources = catalogs() if request.slot in (Slot.HOME, Slot.TRENDING) else []
    for catalog in sources:
        for obj in catalog.queryset()[: request.limit - len(entries) + len(left_out)]:
            item_id = catalog.item_id(obj)
            live = catalog.live(obj) if item_id not in left_out and len(entries) < request.limit else None
            if live is not None:
                entries.append(Entry(item_id, len(entries) + 1, 0.0, live=live))
    return _ranking(request, entries, Rung.SHOP_ORDER, n_found=len(entries))


def nothing(request: Request) -> Ranking:
    """An empty list, for which there was no time. No query."""
    return _ranking(request, [], Rung.EMPTY, n_found=0)


def _by_words(request: Request) -> Ranking:
    """List the items whose id the query is, or whose text has all of its words, or else its longest word.

    They are in the order of the request. At most one statement for the ids, one per `SPAN` items, none started after
    `LONGEST_SECONDS`, and one per model for live prices.
    """
    deadline = time.monotonic() + LONGEST_SECONDS
    wanted = wanted_in(request.query)
    sought, items = sought_words(wanted.rest), _without(wanted.excluded)
    items = _filtered(items, request.filters)
    order = ORDERS[request.sort]
    hits = _coded(request.query, items)
    if sought and not hits:
        hits = _hits(sought, items, order, deadline)
    if len(sought) > 1 and not hits and time.monotonic() < deadline:
        hits = _hits(sorted(sought, key=len)[-1:], items, order, deadline)
    hits.sort(key=lambda hit: (not hit.is_available, order.key(hit)))
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
        parts.update(dict.fromkeys(written_pairs(word) if word.is_unspaced else _parts(word)))
    return ([part for part in parts if part not in LINKING_WORDS] or list(parts))[:MOST_WORDS]


def _parts(word: Word) -> list[str]:
    """Return a number as it is written, a word by what its singular and plural share."""
    if any(character.isdigit() for character in word.written):
        return [word.written]
    return [_shared(word.written)] if not word.parts else [_shared(part) for part in word.parts]


def _shared(word: str) -> str:
    stemmed = stem(word)
    return stemmed if word.startswith(stemmed) else word


def _without(excluded: Sequence[str]) -> models.QuerySet[Item]:
    """The items that may be shown and whose title has none of these words, unless to say that they lack it."""
    items = Item.objects.filter(is_active=True)
    for part in (_shared(word) for text in excluded for word in text.split()):
        denied = reduce(or_, (Q(title__icontains=f"{negation} {part}") for negation in NEGATIONS))
        items = items.exclude(Q(title__icontains=part) & ~denied)
    return items


def _coded(query: str, items: models.QuerySet[Item]) -> list[_Hit]:
    """The items whose id is the whole query, in any of the usual spellings."""
    ids = set(_spellings(query))
    return _read(items.filter(item_id__in=ids)) if ids else []


def _spellings(query: str) -> Iterator[str]:
    """Give the ids that a query may stand for: as typed, without signs, in capitals, and with leading zeros."""
    for code in queried_codes(query):
        yield from (query.strip(), code, code.upper(), *(code.zfill(n) for n in GTIN_LENGTHS if code.isdigit()))


def _read(rows: models.QuerySet[Item]) -> list[_Hit]:
    columns = rows.values_list(
        "item_id", "label", "object_id", "statistics__n_30", "is_available", "price", "first_seen_at", "title"
    )
    return [
        _Hit(item_id, label, key, sold or 0.0, stock, price, seen, title)
        for item_id, label, key, sold, stock, price, seen, title in columns
    ]


def _hits(sought: list[str], items: models.QuerySet[Item], order: _Order, deadline: float) -> list[_Hit]:
    """Scan the items from the newest on, until there are enough hits or the time is over."""
    matching = items
    for part in sought:
        matching = matching.filter(text__icontains=part)
    matching = matching.annotate(sold=F("statistics__n_30")).order_by(order.column, "-pk")
    hits: list[_Hit] = []
    upper = Item.objects.aggregate(newest=models.Max("pk"))["newest"] or 0
    while upper > 0 and len(hits) < MOST_FOUND:
        hits.extend(_read(matching.filter(pk__gt=upper - SPAN, pk__lte=upper)[: MOST_FOUND - len(hits)]))
        upper -= SPAN
        if time.monotonic() > deadline:
            break
    return hits


def _filtered(items: models.QuerySet[Item], filters: Filters) -> models.QuerySet[Item]:
    """Apply the filters of a request; a bound of the price that cannot be read passes all, as in memory."""
    for name, lookup in (("min_price", "price__gte"), ("max_price", "price__lte")):
        if (bound := _number("".join(chosen(filters, name)[-1:]))) is not None:
            items = items.filter(**{lookup: bound})
    if is_only_available(filters):
        items = items.filter(is_available=True)
    for index, name in enumerate(filters):
        if name in ("category", "brand") and (values := chosen(filters, name)):
            items = items.filter(**{f"{name}__in": values})
        elif name not in FILTERS and (values := chosen(filters, name)):
            column = f"value_{index}"
            items = items.alias(**{column: KeyTransform(name, "attributes")}).filter(**{f"{column}__in": values})
    return items


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) < 10**12 else None


def _ranking(request: Request, entries: list[Entry], rung: Rung, *, n_found: int) -> Ranking:
    served = rung if entries else Rung.EMPTY
    return Ranking(
        uuid.uuid4(), request.slot, tuple(entries), served, query=request.query, n_found=n_found, sort=request.sort
    )
