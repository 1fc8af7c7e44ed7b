"""Adds what the shop says at this moment to a ranking: price, stock, title and link are read live, not from memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

import numpy as np

from recommender.catalog import live_items
from recommender.serving.shelf import Shelf
from recommender.types import Entry, Live, Ranking, Slot

MAX_LIVE_READS = 3
"""Live reads of one page: with the history that makes at most four queries for all its blocks."""


class LiveReads(Protocol):
    """What one page has read live so far: by item id, None for an item that the shop hides."""

    live: dict[str, Live | None]
    n_live_reads: int


def with_live(ranking: Ranking, shelf: Shelf, *, page: LiveReads | None = None, limit: int) -> Ranking:
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
    entries = (
        replace(entry, position=position, live=live) for position, (entry, live) in enumerate(visible[:limit], first)
    )
    return replace(ranking, entries=tuple(entries))


def _live_by_id(entries: Sequence[Entry], shelf: Shelf, page: LiveReads | None) -> dict[str, Live | None]:
    memo = page.live if page is not None else {}
    unread = [entry.item_id for entry in entries if entry.item_id not in memo]
    if unread and page is not None and page.n_live_reads >= MAX_LIVE_READS:
        return {item_id: _remembered(shelf, shelf.index[item_id]) for item_id in unread} | memo
    if unread:
        rows = [shelf.index[item_id] for item_id in unread]
        answers = live_items({shelf.items.ids[row]: (shelf.labels[row], shelf.object_ids[row]) for row in rows})
        memo.update({item_id: answers.get(item_id) for item_id in unread})
        if page is not None:
            page.n_live_reads += 1
    return memo


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
