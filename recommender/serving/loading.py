"""Reads a shelf from SQL, and applies to one what has changed since it was read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from django.utils import timezone

from recommender.features.neighbours import Neighbours
from recommender.features.persona import cached_item_terms
from recommender.features.shop_state import NEIGHBOUR_KINDS, ShopState, existing_since
from recommender.packed import Numbering, PackedTexts, Texts, put_rows
from recommender.retrieval.lexical.index import LexicalIndex
from recommender.retrieval.lexical.wording import WordTable
from recommender.serving import past_queries, records
from recommender.serving.columns import (
    ActiveTexts,
    id_hashes,
    longer,
    longer_state,
    replaced_neighbours,
    seconds,
    version_of,
)
from recommender.serving.records import ItemRecord, StatisticsRecord, VectorRecord
from recommender.serving.shelf import (
    CODED_COLUMNS,
    DECODED_COLUMNS,
    TEXT_COLUMNS,
    ItemVectors,
    LastRefresh,
    Shelf,
    empty_shelf,
    with_queries,
)
from recommender.tables import ItemTable

OVERLAP = dt.timedelta(minutes=2)
"""A refresh reads this far back before the last one: rows are stamped before they are committed, and clocks differ."""

REBUILT_SHARE = 0.1
"""From this share of changed texts on, the word index and the phrases of the suggestions are rebuilt."""

VECTOR_BATCH = 2_000

ITEM_STAMP, VECTOR_STAMP, STATISTICS_STAMP = range(3)
"""Columns of `Shelf.stamps`."""


def load_shelf(
    encoder_hash: str | None, item_vectors: ItemVectors | None = None, *, at: dt.datetime | None = None
) -> Shelf:
    """Read everything from SQL: five queries, four without an encoder, each read in chunks."""
    empty = replace(empty_shelf(), encoder_hash=encoder_hash or "", item_vectors=item_vectors)
    last_refresh = LastRefresh(at or timezone.now())
    shelf = _with_items(empty, list(records.items().all()))
    if encoder_hash:
        shelf = _with_vectors(shelf, records.vectors(encoder_hash).all())
    shelf = _with_statistics(shelf, list(records.statistics().all()))
    return _prepared(with_queries(shelf, past_queries.read(shelf.index)), last_refresh)


def shelf_with_vectors(shelf: Shelf, encoder_hash: str, item_vectors: ItemVectors | None) -> Shelf:
    """The same items with the vectors of another encoder, to be refreshed on its own. One query, read in chunks."""
    stamps = shelf.stamps.copy()
    stamps[:, VECTOR_STAMP] = np.nan
    other = replace(shelf, encoder_hash=encoder_hash, item_vectors=item_vectors, vectors=None, stamps=stamps)
    other = _with_vectors(other, records.vectors(encoder_hash).all())
    at = shelf.last_refresh.at if shelf.last_refresh is not None else timezone.now()
    return replace(other, version=_version(other), last_refresh=LastRefresh(at))


def refresh_shelf(shelf: Shelf, *, at: dt.datetime | None = None) -> Shelf:
    """Apply what has changed since the last refresh: the same object if nothing has, else one that shares the rest.

    Five queries (four without an encoder), and one more per table that has changed. A shelf that was built in memory is
    never refreshed. A row deleted from the tables stays until the next load; reading its item live leaves it out.
    """
    if shelf.last_refresh is None:
        return shelf
    now = at or timezone.now()
    since = shelf.last_refresh.at - OVERLAP
    fresh = shelf
    if changed := _changed(fresh, ITEM_STAMP, records.items().stamps(since=since)):
        fresh = _with_items(fresh, list(records.items().some(changed, since=since)))
    if shelf.encoder_hash:
        table = records.vectors(shelf.encoder_hash)
        if changed := _changed(fresh, VECTOR_STAMP, table.stamps(since=since)):
            fresh = _with_vectors(fresh, table.some(changed, since=since), n_changed=len(changed))
    if changed := _changed(fresh, STATISTICS_STAMP, records.statistics().stamps(since=since)):
        fresh = _with_statistics(fresh, list(records.statistics().some(changed, since=since)))
    queries = shelf.query_tables
    if past_queries.stamp() != queries.stamp:
        queries = past_queries.read(fresh.index)
    if fresh is shelf and queries is shelf.query_tables:
        shelf.last_refresh.at = now
        return shelf
    return _prepared(with_queries(fresh, queries, before=shelf), LastRefresh(now))


def _prepared(shelf: Shelf, last_refresh: LastRefresh) -> Shelf:
    """Do the slow work that no shopper should wait for, and name the version."""
    if shelf.understanding is not None:
        shelf.understanding.prepare()
    cached_item_terms(shelf.items)
    return replace(shelf, version=_version(shelf), last_refresh=last_refresh)


def _changed(shelf: Shelf, column: int, stamps: Sequence[tuple[str, dt.datetime]]) -> list[str]:
    """Return the ids whose stamp differs from the one in memory; of the items not in memory only new items count."""
    changed = []
    for item_id, stamp in stamps:
        row = shelf.row(item_id)
        if shelf.stamps[row, column] != stamp.timestamp() if row >= 0 else column == ITEM_STAMP:
            changed.append(item_id)
    return changed


def _with_items(shelf: Shelf, changed: Sequence[ItemRecord]) -> Shelf:
    if not changed:
        return shelf
    numbers = Numbering(shelf.index, len(shelf))
    rows = [numbers.add(record.item_id) for record in changed]
    n = len(shelf) + len(numbers.new)
    items = _item_table(shelf.items, changed, rows, n)
    columns: dict[str, Any] = {
        column: getattr(shelf, column).put(rows, [getattr(record, name) for record in changed], n)
        for column, name in {**TEXT_COLUMNS, **CODED_COLUMNS, **DECODED_COLUMNS}.items()
    }
    stamps = longer(shelf.stamps, n, np.nan)
    stamps[rows, ITEM_STAMP] = [record.updated_at.timestamp() for record in changed]
    available = longer(shelf.available, n, False)
    available[rows] = [record.is_available for record in changed]
    lexical, wording = _word_indexes(shelf, items, columns["titles"], rows)
    state = longer_state(shelf.state, n)
    vectors = shelf.vectors
    if vectors is not None and numbers.new:
        vectors = put_rows(vectors, [], np.empty((0, vectors.shape[1])), n)
    return replace(
        shelf,
        items=existing_since(items, state.first_event_at),
        index=shelf.index.adding(numbers.new),
        available=available,
        lexical=lexical,
        wording=wording,
        vectors=vectors,
        counted=(vectors, shelf.n_vectors),
        state=state,
        stamps=stamps,
        ids=np.concatenate([shelf.ids, id_hashes(list(numbers.new))]),
        **columns,
    )


def _item_table(old: ItemTable, changed: Sequence[ItemRecord], rows: Sequence[int], n: int) -> ItemTable:
    codes = {name: code for code, name in enumerate(old.category_names)}
    for name in sorted({record.category for record in changed if record.category}):
        codes.setdefault(name, len(codes))
    price, category = longer(old.price, n, np.nan), longer(old.category, n, -1)
    first_seen, active = longer(old.first_seen, n, 0), longer(old.active, n, False)
    price[rows] = [np.nan if record.price is None else float(record.price) for record in changed]
    category[rows] = [codes.get(record.category, -1) for record in changed]
    first_seen[rows] = [record.first_seen_at.timestamp() for record in changed]
    active[rows] = [record.is_active for record in changed]
    ids = _packed(old.ids).put(rows, [record.item_id for record in changed], n)
    texts = _packed(old.texts).put(rows, [record.searchable for record in changed], n)
    return ItemTable(ids, texts, price, category, tuple(codes), first_seen, active)


def _packed(texts: Texts) -> PackedTexts:
    """Packed texts as they are, with the rows that were changed beside them."""
    return texts if isinstance(texts, PackedTexts) else PackedTexts.of(texts)


def _word_indexes(
    shelf: Shelf, items: ItemTable, titles: Sequence[str], rows: Sequence[int]
) -> tuple[LexicalIndex, WordTable]:
    """Index the texts that have changed; an inactive item has no words."""
    changed = [row for row in rows if _words_differ(shelf, items, titles, row)]
    if shelf.lexical.n_updated + len(changed) > REBUILT_SHARE * len(items):
        searchable, texts = (list(ActiveTexts(column, items.active)) for column in (titles, items.texts))
        return LexicalIndex.build(texts, searchable, items.ids), WordTable.build(searchable)
    active, changed_rows = items.active[changed], np.array(changed, np.int32)
    searchable, texts = (
        list(ActiveTexts([column[row] for row in changed], active)) for column in (titles, items.texts)
    )
    lexical = shelf.lexical.updated(changed_rows, texts, searchable, [items.ids[row] for row in changed])
    return lexical, shelf.wording.updated(changed_rows, searchable)


def _words_differ(shelf: Shelf, items: ItemTable, titles: Sequence[str], row: int) -> bool:
    if row >= len(shelf):
        return True
    before = (shelf.items.texts[row], shelf.titles[row], bool(shelf.items.active[row]))
    return before != (items.texts[row], titles[row], bool(items.active[row]))


def _with_vectors(shelf: Shelf, changed: Iterable[VectorRecord], *, n_changed: int | None = None) -> Shelf:
    """Read vectors a batch at a time; a broken one changes nothing and is logged with its item.

    n_changed: how many at most, None for all; of a few only the pages that they stand on are copied.
    """
    vectors, n_vectors, stamps = shelf.vectors, shelf.n_vectors, shelf.stamps.copy()
    if vectors is not None and (n_changed is None or n_changed > REBUILT_SHARE * len(shelf)):
        vectors = vectors.copy()
    source = iter(changed)
    while batch := list(islice(source, VECTOR_BATCH)):
        batch = [record for record in batch if record.item_id in shelf.index]
        stamps[[shelf.index[record.item_id] for record in batch], VECTOR_STAMP] = [
            record.updated_at.timestamp() for record in batch
        ]
        dimension = records.dimension_of(batch) if vectors is None else vectors.shape[1]
        decoded = {record.item_id: records.vector_of(record, dimension) for record in batch}
        usable = {item_id: vector for item_id, vector in decoded.items() if vector is not None}
        if usable:
            vectors = np.zeros((len(shelf), dimension), np.float32) if vectors is None else vectors
            text_vectors = np.stack(list(usable.values()))
            moved = text_vectors if shelf.item_vectors is None else shelf.item_vectors(text_vectors, list(usable))
            rows = [shelf.index[item_id] for item_id in usable]
            n_vectors += len(rows) - int(np.count_nonzero(vectors[rows].any(axis=1)))
            if vectors.flags.writeable and vectors is not shelf.vectors:
                vectors[rows] = moved
            else:
                vectors = put_rows(vectors, rows, moved, len(shelf))
    return replace(shelf, vectors=vectors, stamps=stamps, counted=(vectors, n_vectors))


def _with_statistics(shelf: Shelf, changed: Sequence[StatisticsRecord]) -> Shelf:
    changed = [record for record in changed if record.item_id in shelf.index]
    if not changed:
        return shelf
    rows = [shelf.index[record.item_id] for record in changed]
    stamps, counts, last = shelf.stamps.copy(), shelf.state.counts.copy(), shelf.state.last_event_at.copy()
    first = shelf.state.first_event_at.copy()
    stamps[rows, STATISTICS_STAMP] = [record.computed_at.timestamp() for record in changed]
    counts[rows] = [(record.n_1, record.n_7, record.n_30, record.n_total) for record in changed]
    last[rows] = [seconds(record.last_event_at, -np.inf) for record in changed]
    first[rows] = [seconds(record.first_event_at, np.inf) for record in changed]
    state = ShopState.from_columns(
        at=float(np.nanmax(stamps[:, STATISTICS_STAMP])),
        counts=counts,
        last_event_at=last,
        first_event_at=first,
        **{kind: _neighbours(shelf, changed, kind) for kind in NEIGHBOUR_KINDS},
    )
    return replace(shelf, items=existing_since(shelf.items, first), state=state, stamps=stamps)


def _neighbours(shelf: Shelf, changed: Sequence[StatisticsRecord], kind: str) -> Neighbours:
    """The neighbours of one kind with the lists of the changed items replaced; unknown neighbours are left out."""
    lists = {
        shelf.index[record.item_id]: [
            (shelf.index[item_id], score, not private)
            for item_id, score, *private in getattr(record, f"{kind}_neighbours")
            if item_id in shelf.index
        ]
        for record in changed
    }
    return replaced_neighbours(getattr(shelf.state, kind), lists)


def _version(shelf: Shelf) -> str:
    return version_of(shelf.ids, shelf.stamps, shelf.encoder_hash)
