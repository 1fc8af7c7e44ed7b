"""The catalogue in memory: items, word index, vectors and behaviour of one moment, read and refreshed from SQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from django.utils import timezone

from recommender.features.neighbours import Neighbours
from recommender.features.persona import cached_item_terms
from recommender.features.profiles import profile_of
from recommender.features.shop_state import NEIGHBOUR_KINDS, ShopState, existing_since
from recommender.retrieval.floors import Encode, Floors, measure
from recommender.retrieval.lexical.index import LexicalIndex
from recommender.retrieval.lexical.synonyms import Synonyms
from recommender.retrieval.lexical.wording import WordTable
from recommender.serving import past_queries, records
from recommender.serving.columns import coded, digest, longer, longer_state, put, replaced_neighbours, seconds
from recommender.serving.past_queries import PastQueries, QueryTables, Understanding
from recommender.serving.records import ItemRecord, StatisticsRecord, VectorRecord
from recommender.tables import ItemTable, Profile
from recommender.text.intent import LabelledTitles, known_words
from recommender.types import FloatArray, IntArray, Intent, Request, TimeArray

OVERLAP = dt.timedelta(minutes=2)
"""A refresh reads this far back before the last one: rows are stamped before they are committed, and clocks differ."""

REBUILT_SHARE = 0.1
"""From this share of changed texts on, the word index and the phrases of the suggestions are rebuilt."""

VECTOR_BATCH = 2_000

TEXT_COLUMNS = {
    "titles": "title",
    "brands": "brand",
    "labels": "label",
    "object_ids": "object_id",
    "urls": "url",
    "images": "image",
    "attributes": "attributes",
    "currency": "currency",
    "margins": "margin",
}
"""Column of the shelf: field of `ItemRecord`."""

ITEM_STAMP, VECTOR_STAMP, STATISTICS_STAMP = range(3)
"""Columns of `Shelf.stamps`."""

ItemVectors = Callable[[FloatArray, Sequence[str]], FloatArray]
"""Text vectors (n, d) and item ids to item vectors (n, d), both of unit length: `Ranker.item_vectors`."""


@dataclass(slots=True)
class LastRefresh:
    """When the tables were last read: the only part of a shelf that changes."""

    at: dt.datetime


@dataclass(frozen=True, slots=True)
class Shelf:
    """One version of the catalogue. Row i of every column is item `items.ids[i]`; a row never becomes another item.

    available (n,) bool: in stock; vectors (n, d) float32 of unit length, zero for an item without one; state: one row
    per item; stamps (n, 3) float64: seconds of the last change of item, vector and statistics, NaN for none; brand
    (n,) int32: index into `brand_names`, -1 for none; floors: the smallest cosines that count as similar. `version` is
    equal in every process that holds the same rows.
    """

    items: ItemTable
    index: Mapping[str, int]
    titles: tuple[str, ...]
    brands: tuple[str, ...]
    labels: tuple[str, ...]
    object_ids: tuple[str, ...]
    urls: tuple[str, ...]
    images: tuple[str, ...]
    attributes: tuple[Mapping[str, str], ...]
    currency: tuple[str, ...]
    available: npt.NDArray[np.bool_]
    lexical: LexicalIndex
    wording: WordTable
    vectors: FloatArray | None
    state: ShopState
    version: str
    encoder_hash: str = ""
    stamps: TimeArray = field(default_factory=lambda: np.empty((0, 3)), repr=False)
    item_vectors: ItemVectors | None = None
    last_refresh: LastRefresh | None = None
    brand: IntArray = field(default_factory=lambda: np.empty(0, np.int32), repr=False)
    brand_names: tuple[str, ...] = ()
    understanding: Understanding | None = field(default=None, repr=False)
    past_queries: PastQueries = field(default_factory=PastQueries, repr=False)
    query_tables: QueryTables = field(default_factory=QueryTables, repr=False)
    floors: Floors = field(default_factory=Floors)
    margins: tuple[Any, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.items)

    def row(self, item_id: str) -> int:
        """The row of an item, -1 if it is not in the catalogue."""
        return self.index.get(item_id, -1)

    def understand(self, query: str) -> Intent:
        """What a query is about."""
        return self.understanding.of(query) if self.understanding is not None else Intent(query, unpriced=query)

    def suggest(self, prefix: str, limit: int) -> list[str]:
        """Queries that begin with a prefix and match an item: half past queries of others, half phrases of titles."""
        return past_queries.suggest(prefix, limit, self.past_queries, self.lexical)

    def calibrated(self, encode: Encode) -> Shelf:
        """The shelf with floors measured for its titles and this encoder; itself if little has changed since."""
        if not self.floors.is_stale(self.vectors):
            return self
        return replace(self, floors=measure(_searchable(self.titles, self.items.active), self.vectors, encode))

    def profile(self, request: Request) -> Profile:
        """The request in rows of this shelf, without events at or after its moment and without uninformative events.

        Uninformative are an event of an unknown item, a search without words, and a purchase that was fully refunded.
        """
        return profile_of(request, self.index)


def build_shelf(
    items: ItemTable,
    *,
    state: ShopState,
    titles: Sequence[str] | None = None,
    brands: Sequence[str] | None = None,
    vectors: FloatArray | None = None,
    available: npt.NDArray[np.bool_] | None = None,
    encoder_hash: str = "",
) -> Shelf:
    """Build a shelf without SQL. By default an item's text is its title, and every item is in stock."""
    titles = tuple(items.texts if titles is None else titles)
    blank, searchable = ("",) * len(items), _searchable(titles, items.active)
    shelf = Shelf(
        items=items,
        index={item_id: row for row, item_id in enumerate(items.ids)},
        titles=titles,
        brands=blank if brands is None else tuple(brands),
        labels=blank,
        object_ids=blank,
        urls=blank,
        images=blank,
        attributes=({},) * len(items),
        currency=blank,
        available=np.ones(len(items), bool) if available is None else available,
        lexical=LexicalIndex.build(_searchable(items.texts, items.active), searchable, items.ids),
        wording=WordTable.build(searchable),
        vectors=vectors,
        state=state,
        version=digest(*items.ids, *items.texts, items.active.tobytes()),
        encoder_hash=encoder_hash,
        stamps=np.full((len(items), 3), np.nan),
    )
    return with_queries(shelf, QueryTables())


def empty_shelf() -> Shelf:
    """A shelf without items: served until the first load has ended."""
    none = np.empty(0, np.float32)
    items = ItemTable((), (), none, np.empty(0, np.int32), (), np.empty(0), np.empty(0, bool))
    state = ShopState.from_columns(at=0.0, counts=np.empty((0, 4), np.float32), last_event_at=np.empty(0))
    return build_shelf(items, state=state)


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
            fresh = _with_vectors(fresh, table.some(changed, since=since))
    if changed := _changed(fresh, STATISTICS_STAMP, records.statistics().stamps(since=since)):
        fresh = _with_statistics(fresh, list(records.statistics().some(changed, since=since)))
    queries = shelf.query_tables
    if past_queries.stamp() != queries.stamp:
        queries = past_queries.read(fresh.index)
    if fresh is shelf and queries is shelf.query_tables:
        shelf.last_refresh.at = now
        return shelf
    return _prepared(with_queries(fresh, queries), LastRefresh(now))


def with_queries(shelf: Shelf, query_tables: QueryTables) -> Shelf:
    """Apply what shoppers type: synonyms, words not to correct, past queries, and what a query is about."""
    items, queries, phrases = shelf.items, query_tables.queries, shelf.lexical.phrases
    catalogue = LabelledTitles(
        _searchable(shelf.titles, items.active), shelf.brands, items.category, items.category_names
    )
    understanding = None if query_tables.was_erased_since(shelf.query_tables) else shelf.understanding
    if understanding is None or understanding.is_stale(catalogue, queries, phrases):
        understanding = Understanding(catalogue, queries, phrases)
    correct_words = known_words(shelf.brands, items.category_names, queries)
    brand, brand_names = coded(shelf.brands)
    return replace(
        shelf,
        brand=brand,
        brand_names=brand_names,
        lexical=shelf.lexical.with_synonyms(Synonyms.of(query_tables.synonyms), correct_words),
        understanding=understanding,
        past_queries=PastQueries.of(queries),
        query_tables=query_tables,
    )


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
    index = dict(shelf.index)
    rows = [index.setdefault(record.item_id, len(index)) for record in changed]
    n = len(index)
    items = _item_table(shelf.items, changed, rows, index)
    texts: dict[str, Any] = {
        column: put(getattr(shelf, column), rows, [getattr(record, name) for record in changed], n)
        for column, name in TEXT_COLUMNS.items()
    }
    stamps = longer(shelf.stamps, n, np.nan)
    stamps[rows, ITEM_STAMP] = [record.updated_at.timestamp() for record in changed]
    available = longer(shelf.available, n, False)
    available[rows] = [record.is_available for record in changed]
    lexical, wording = _word_indexes(shelf, items, texts["titles"], rows)
    state = longer_state(shelf.state, n)
    return replace(
        shelf,
        items=existing_since(items, state.first_event_at),
        index=index,
        available=available,
        lexical=lexical,
        wording=wording,
        vectors=None if shelf.vectors is None else longer(shelf.vectors, n, 0),
        state=state,
        stamps=stamps,
        **texts,
    )


def _item_table(
    old: ItemTable, changed: Sequence[ItemRecord], rows: Sequence[int], index: Mapping[str, int]
) -> ItemTable:
    n = len(index)
    codes = {name: code for code, name in enumerate(old.category_names)}
    for name in sorted({record.category for record in changed if record.category}):
        codes.setdefault(name, len(codes))
    price, category = longer(old.price, n, np.nan), longer(old.category, n, -1)
    first_seen, active = longer(old.first_seen, n, 0), longer(old.active, n, False)
    price[rows] = [np.nan if record.price is None else float(record.price) for record in changed]
    category[rows] = [codes.get(record.category, -1) for record in changed]
    first_seen[rows] = [record.first_seen_at.timestamp() for record in changed]
    active[rows] = [record.is_active for record in changed]
    texts = put(old.texts, rows, [record.searchable for record in changed], n)
    return ItemTable(tuple(index), texts, price, category, tuple(codes), first_seen, active)


def _word_indexes(
    shelf: Shelf, items: ItemTable, titles: Sequence[str], rows: Sequence[int]
) -> tuple[LexicalIndex, WordTable]:
    """Index the texts that have changed; an inactive item has no words."""
    changed = [row for row in rows if _words_differ(shelf, items, titles, row)]
    if shelf.lexical.n_updated + len(changed) > REBUILT_SHARE * len(items):
        searchable, texts = _searchable(titles, items.active), _searchable(items.texts, items.active)
        return LexicalIndex.build(texts, searchable, items.ids), WordTable.build(searchable)
    active, changed_rows = items.active[changed], np.array(changed, np.int32)
    searchable, texts = (_searchable([column[row] for row in changed], active) for column in (titles, items.texts))
    lexical = shelf.lexical.updated(changed_rows, texts, searchable, [items.ids[row] for row in changed])
    return lexical, shelf.wording.updated(changed_rows, searchable)


def _words_differ(shelf: Shelf, items: ItemTable, titles: Sequence[str], row: int) -> bool:
    if row >= len(shelf):
        return True
    before = (shelf.items.texts[row], shelf.titles[row], bool(shelf.items.active[row]))
    return before != (items.texts[row], titles[row], bool(items.active[row]))


def _searchable(texts: Sequence[str], active: npt.NDArray[np.bool_]) -> list[str]:
    """The texts, empty for inactive items, which no search may find."""
    return [text if is_active else "" for text, is_active in zip(texts, active.tolist(), strict=True)]


def _with_vectors(shelf: Shelf, changed: Iterable[VectorRecord]) -> Shelf:
    """Read vectors a batch at a time; a broken one changes nothing and is logged with its item."""
    vectors = None if shelf.vectors is None else shelf.vectors.copy()
    stamps = shelf.stamps.copy()
    source = iter(changed)
    while batch := list(islice(source, VECTOR_BATCH)):
        batch = [record for record in batch if record.item_id in shelf.index]
        rows = [shelf.index[record.item_id] for record in batch]
        stamps[rows, VECTOR_STAMP] = [record.updated_at.timestamp() for record in batch]
        dimension = records.dimension_of(batch) if vectors is None else vectors.shape[1]
        decoded = {record.item_id: records.vector_of(record, dimension) for record in batch}
        usable = {item_id: vector for item_id, vector in decoded.items() if vector is not None}
        if usable:
            vectors = np.zeros((len(shelf), dimension), np.float32) if vectors is None else vectors
            text_vectors = np.stack(list(usable.values()))
            moved = text_vectors if shelf.item_vectors is None else shelf.item_vectors(text_vectors, list(usable))
            vectors[[shelf.index[item_id] for item_id in usable]] = moved
    return replace(shelf, vectors=vectors, stamps=stamps)


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
    ids = shelf.items.ids
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return digest(shelf.encoder_hash, *(ids[row] for row in order), shelf.stamps[order].tobytes())
