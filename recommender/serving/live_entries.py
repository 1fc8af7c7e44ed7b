"""Adds what the shop says at this moment to a ranking: price, stock, title and link are read live, not from memory."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Protocol

import numpy as np

from recommender.catalog import live_items
from recommender.deadlines import Stage, current_stopwatch
from recommender.serving import ladder
from recommender.serving.shelf import Shelf
from recommender.types import Entry, Live, Ranking, SkippedPin, Slot, WhySkipped

MAX_LIVE_READS = 3
"""Live reads of one page: with the history that makes at most four queries for all its blocks."""


class LiveReads(Protocol):
    """What one page has read live so far: by item id, None for an item that the shop hides."""

    live: dict[str, Live | None]
    n_live_reads: int


@dataclass(slots=True)
class ReadsOfOneList:
    """The reads of a list that stands on no page, or on one whose shopper is not known."""

    live: dict[str, Live | None] = field(default_factory=dict)
    n_live_reads: int = 0


def hidden_items(page: LiveReads) -> frozenset[str]:
    """The items that the shop hides, as far as the page has read."""
    return frozenset(item_id for item_id, live in page.live.items() if live is None)


def lacks_items(ranking: Ranking, shelf: Shelf, *, page: LiveReads, limit: int) -> bool:
    """Whether fewer than `limit` items of a ranking can be bought, because some were hidden or sold out since.

    What is known to be out of stock already stands behind all that can be bought: ranking more would find nothing else.
    """
    lives = [(entry.item_id, page.live[entry.item_id]) for entry in ranking.entries if entry.item_id in page.live]
    n_lost = sum(
        live is None or (not live.available and bool(shelf.available[shelf.index[item_id]])) for item_id, live in lives
    )
    return n_lost > 0 and len(ranking.entries) - n_lost < limit


def with_live(ranking: Ranking, shelf: Shelf, *, page: LiveReads, limit: int) -> Ranking:
    """Add the live state of each entry, drop items that the shop hides, and move what has just sold out to the end.

    One query per catalogue model; none for items that the page has read before. From the page's fourth block on, the
    price in memory is visible, which is at most `REFRESH_SECONDS` older than the shop's save.
    """
    live_by_id = _live_by_id(ranking.entries, shelf, page)
    visible = [(entry, live) for entry in ranking.entries if (live := live_by_id[entry.item_id]) is not None]
    if ranking.slot == Slot.SEARCH:  # the entries beyond the limit belong to the next page
        visible = visible[:limit]
    visible.sort(key=lambda pair: not pair[1].available)
    first = ranking.entries[0].position if ranking.entries else 1
    if ranking.rules:
        ranking, visible = _as_pinned(ranking, visible, live_by_id, first)
    entries = (
        replace(entry, position=position, live=live) for position, (entry, live) in enumerate(visible[:limit], first)
    )
    return replace(ranking, entries=tuple(entries))


Visible = list[tuple[Entry, Live]]


def _as_pinned(
    ranking: Ranking, visible: Visible, live_by_id: Mapping[str, Live | None], first: int
) -> tuple[Ranking, Visible]:
    """Give what is pinned its position again, as items above it may have left; say which pins are not shown."""
    pinned = [pair for pair in visible if pair[0].pinned and pair[1].available]
    seated = [pair for pair in visible if not (pair[0].pinned and pair[1].available)]
    for pair in sorted(pinned, key=lambda pair: pair[0].pinned):
        seated.insert(max(0, pair[0].pinned - first), pair)
    lost = [(entry, live_by_id[entry.item_id]) for entry in ranking.entries if entry.pinned]
    skipped = (
        SkippedPin(entry.rules[0], entry.item_id, WhySkipped.HIDDEN if live is None else WhySkipped.SOLD_OUT)
        for entry, live in lost
        if live is None or not live.available
    )
    return replace(ranking, skipped=(*ranking.skipped, *skipped)), seated


def _live_by_id(entries: Sequence[Entry], shelf: Shelf, page: LiveReads) -> dict[str, Live | None]:
    unread = [entry.item_id for entry in entries if entry.item_id not in page.live]
    if unread and (page.n_live_reads >= MAX_LIVE_READS or not ladder.permits(Stage.LIVE)):
        return {item_id: _remembered(shelf, shelf.index[item_id]) for item_id in unread} | page.live
    if unread:
        rows = [shelf.index[item_id] for item_id in unread]
        answers = _read({shelf.items.ids[row]: (shelf.labels[row], shelf.object_ids[row]) for row in rows})
        page.live.update({item_id: answers.get(item_id) for item_id in unread})
        page.n_live_reads += 1
    return page.live


def _read(keys: Mapping[str, tuple[str, str]]) -> Mapping[str, Live | None]:
    """Read live. Where this alone takes longer than a list may, several times in a row, it rests for a while."""
    stopwatch, started = current_stopwatch(), time.monotonic()
    answers = live_items(keys)
    if stopwatch is not None:
        ladder.judge(Stage.LIVE, time.monotonic() - started, most_seconds=stopwatch.due - stopwatch.began)
    return answers


def _remembered(shelf: Shelf, row: int) -> Live:
    """What the shelf holds of an item, as it was at the last refresh."""
    price = shelf.items.price[row]
    return Live(
        title=shelf.titles[row],
        url=shelf.urls[row],
        image=shelf.images[row],
        price=None if np.isnan(price) else Decimal(str(round(float(price), 2))).quantize(Decimal("0.01")),
        currency=shelf.currency[row],
        available=bool(shelf.available[row]),
    )
