"""Answers from SQL while the catalogue is not yet in memory: by words for a search, else in the shop's own order."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import reduce
from operator import or_
from typing import Any, TypeVar

from django.db import models
from django.db.models import F, OrderBy, Q
from django.db.models.fields.json import KeyTransform

from recommender.catalog import catalogs, live_items
from recommender.models import Item, Rule
from recommender.serving.filters import FILTERS, chosen, is_only_available
from recommender.serving.sql_rules import Pin, SqlRules, rules_for
from recommender.text.codes import GTIN_LENGTHS, queried_codes
from recommender.text.intent.exclusions import NEGATIONS, wanted_in
from recommender.text.stems import stem
from recommender.text.words import LINKING_WORDS, Word, words, written_pairs
from recommender.types import Entry, Filters, Live, Ranking, Request, Rung, Slot, Sort

T = TypeVar("T")

SPAN = 10_000
"""Items that one statement scans, by primary key: about 10 ms of the database."""

LONGEST_SECONDS = 0.1
"""No further statement starts after this long; the newest items have been scanned by then."""

N_CHUNKS = 5
"""Chunks of the shop's own order that are looked through for what no rule hides."""

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
    is_wanted: bool
    pin: Pin | None = None


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


def shop_order(request: Request, *, sources: Sequence[Rule] | None = None) -> Ranking:
    """The shop's own order, under its rules, while the recommender knows no item; nothing for a search or beside an
    item.

    One query for each catalogue and one for the rules, unless `sources` are the live ones. Where rules filter or pin
    one for their items and one per model for the prices of these, where they exclude one for each chunk of a catalogue.
    """
    if request.slot not in (Slot.HOME, Slot.TRENDING):
        return _ranking(request, SqlRules(), [], Rung.SHOP_ORDER, n_found=0)
    rules = rules_for(request, sources)
    left_out = request.exclude_item_ids | request.shown_item_ids
    pinned, leading = _named_by(rules, left_out)
    lives = live_items({hit.item_id: (hit.label, hit.object_id) for hit in (*pinned, *leading[: request.limit])})
    pins = [hit for hit in pinned if hit.item_id in lives]
    listed = dict.fromkeys(hit.item_id for hit in leading if hit.item_id in lives)
    for item_id, live in _of_shop(rules, left_out, n=request.limit):
        if len(listed) >= request.limit + len(pins):
            break
        listed.setdefault(item_id)
        lives.setdefault(item_id, live)
    for hit in pins:
        listed.pop(hit.item_id, None)
    names = _seated(list(listed), [(hit.pin, hit.item_id) for hit in pins if hit.pin is not None]) if listed else []
    entries = [_entry(item_id, rank, lives[item_id], pins) for rank, item_id in enumerate(names[: request.limit], 1)]
    return _ranking(request, rules, entries, Rung.SHOP_ORDER, n_found=len(entries))


def _named_by(rules: SqlRules, left_out: frozenset[str]) -> tuple[list[_Hit], list[_Hit]]:
    """The items that rules pin, and those that filters want, what sells most first. One query where there are any."""
    pins = {pin.item_id: pin for pin in reversed(rules.pins)}
    if not pins and rules.wanted is None:
        return [], []
    items = rules.applied_to(Item.objects.filter(is_active=True)).exclude(item_id__in=left_out)
    named = items.filter(Q(item_id__in=pins) | (rules.wanted or Q(pk=None)))
    order = F("statistics__n_30").desc(nulls_last=True)
    hits = _read(named.order_by("-is_available", order, "-pk")[:MOST_FOUND])
    return _pinned(hits, rules), [hit for hit in hits if rules.wanted is not None and hit.is_wanted]


def _of_shop(rules: SqlRules, left_out: frozenset[str], *, n: int) -> Iterator[tuple[str, Live]]:
    """The shop's objects in its own order, without those that are hidden; read in chunks as long as more are wanted."""
    size = n + len(left_out)
    for catalog in catalogs():
        for start in range(0, N_CHUNKS * size, size):
            objects = {catalog.item_id(obj): obj for obj in catalog.queryset()[start : start + size]}
            hidden = left_out | rules.excluded_among(list(objects))
            for item_id, obj in objects.items():
                live = None if item_id in hidden else catalog.live(obj)
                if live is not None:
                    yield item_id, live
            if len(objects) < size:
                break


def nothing(request: Request) -> Ranking:
    """An empty list, for which there was no time. No query."""
    return _ranking(request, SqlRules(), [], Rung.EMPTY, n_found=0)


def _by_words(request: Request) -> Ranking:
    """List the items whose id the query is, or whose text has all of its words, or else its longest word.

    They are in the order of the request, under the shop's rules. At most one statement for these and one for what they
    pin, one for the ids, one per `SPAN` items, none started after `LONGEST_SECONDS`, and one per model for live prices.
    """
    deadline = time.monotonic() + LONGEST_SECONDS
    wanted = wanted_in(request.query)
    rules = rules_for(request)
    sought = sought_words(wanted.rest)
    items = _filtered(_without(wanted.excluded), request.filters)
    offered = rules.applied_to(_filtered(Item.objects.filter(is_active=True), request.filters))
    items = rules.applied_to(items)
    order = ORDERS[request.sort]
    hits = _coded(request.query, items)
    if sought and not hits:
        hits = _hits(sought, items, order, deadline)
    if len(sought) > 1 and not hits and time.monotonic() < deadline:
        hits = _hits(sorted(sought, key=len)[-1:], items, order, deadline)
    hits.sort(key=lambda hit: (not hit.is_wanted, not hit.is_available, order.key(hit)))
    if rules.pins and hits and request.sort is Sort.RELEVANCE:
        pins = _pinned(_read(offered.filter(item_id__in=[pin.item_id for pin in rules.pins])), rules)
        hits = [hit for hit in hits if not any(pin.item_id == hit.item_id for pin in pins)]
        hits = _seated(hits, [(hit.pin, hit) for hit in pins if hit.pin is not None])
    start = request.offset
    page = hits[start : start + request.limit]
    live = live_items({hit.item_id: (hit.label, hit.object_id) for hit in page})
    visible = [hit for hit in page if live.get(hit.item_id) is not None]
    entries = [_entry(hit.item_id, start + rank, live[hit.item_id], visible) for rank, hit in enumerate(visible, 1)]
    return _ranking(request, rules, entries, Rung.WORDS, n_found=len(hits))


def _pinned(hits: Sequence[_Hit], rules: SqlRules) -> list[_Hit]:
    """Those of the hits that a rule pins and that can be bought, in the order of the pins."""
    hit_of = {hit.item_id: hit for hit in hits if hit.is_available}
    pins = {pin.item_id: pin for pin in reversed(rules.pins) if pin.item_id in hit_of}
    return [replace(hit_of[pin.item_id], pin=pin) for pin in rules.pins if pins.get(pin.item_id) is pin]


def _seated(others: Sequence[T], pins: Sequence[tuple[Pin, T]]) -> list[T]:
    """The list with each pinned one at its position, or at the next that is free."""
    taken: dict[int, T] = {}
    for pin, pinned in pins:
        position = pin.position
        while position in taken:
            position += 1
        taken[position] = pinned
    seated = list(others)
    for position in sorted(taken):
        seated.insert(position - 1, taken[position])
    return seated


def _entry(item_id: str, position: int, live: Live, hits: Sequence[_Hit]) -> Entry:
    pin = next((hit.pin for hit in hits if hit.item_id == item_id), None)
    if pin is None:
        return Entry(item_id, position, 0.0, live=live)
    return Entry(item_id, position, 0.0, live=live, rules=(pin.rule,), pinned=position)


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
        "item_id",
        "label",
        "object_id",
        "statistics__n_30",
        "is_available",
        "price",
        "first_seen_at",
        "title",
        F("is_wanted"),
    )
    return [
        _Hit(item_id, label, key, sold or 0.0, stock, price, seen, title, bool(is_wanted))
        for item_id, label, key, sold, stock, price, seen, title, is_wanted in columns
    ]


def _hits(sought: list[str], items: models.QuerySet[Item], order: _Order, deadline: float) -> list[_Hit]:
    """Scan the items from the newest on, until there are enough hits or the time is over."""
    matching = items
    for part in sought:
        matching = matching.filter(text__icontains=part)
    matching = matching.annotate(sold=F("statistics__n_30")).order_by(F("is_wanted").desc(), order.column, "-pk")
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


def _ranking(request: Request, rules: SqlRules, entries: list[Entry], rung: Rung, *, n_found: int) -> Ranking:
    served = rung if entries else Rung.EMPTY
    return Ranking(
        uuid.uuid4(), request.slot, tuple(entries), served, query=request.query, n_found=n_found, sort=request.sort,
        rules=rules.rules, held_out=rules.held_out, redirect=rules.redirect, banners=rules.banners,
    )  # fmt: skip
