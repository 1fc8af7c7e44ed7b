"""The catalogue in memory: items, word index, vectors and behaviour of one moment, read and refreshed from SQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from recommender.features.profiles import profile_of
from recommender.features.shop_state import ShopState
from recommender.packed import CodedTexts, PackedTexts, TextIndex
from recommender.retrieval.floors import Encode, Floors, measure
from recommender.retrieval.lexical.index import LexicalIndex
from recommender.retrieval.lexical.synonyms import Synonyms
from recommender.retrieval.lexical.wording import WordTable
from recommender.serving import past_queries
from recommender.serving.columns import (
    ActiveTexts,
    Hashes,
    as_attributes,
    as_margins,
    digest,
    id_hashes,
)
from recommender.serving.past_queries import PastQueries, QueryTables, Understanding
from recommender.tables import ItemTable, Profile
from recommender.text.intent import LabelledTitles, known_words
from recommender.types import FloatArray, IntArray, Intent, Request, TimeArray

TEXT_COLUMNS = {"titles": "title", "object_ids": "object_id", "urls": "url", "images": "image"}
CODED_COLUMNS = {"brands": "brand", "labels": "label", "currency": "currency"}
DECODED_COLUMNS = {"attributes": "attributes", "margins": "margin"}
"""Column of the shelf: field of `ItemRecord`; texts that mostly differ, few different ones, and values."""

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
    (n,) int32: index into `brand_names`, -1 for none; floors: the smallest cosines that count as similar; ids (n,): see
    `columns.id_hashes`; counted: how many of these vectors are not zero; origin:
    name of the snapshot that it came from. `version` is equal in every process that holds
    the same rows.

    No column holds a Python object per row, so that it may lie in a file that all processes map: see `snapshot`.
    """

    items: ItemTable
    index: TextIndex
    titles: PackedTexts
    brands: CodedTexts
    labels: CodedTexts
    object_ids: PackedTexts
    urls: PackedTexts
    images: PackedTexts
    attributes: Sequence[Mapping[str, str]]
    currency: Sequence[str]
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
    margins: Sequence[Decimal | None] = field(default=(), repr=False)
    ids: Hashes = field(default_factory=lambda: np.empty(0, np.uint64), repr=False)
    origin: str = ""
    counted: tuple[FloatArray | None, int] = field(default=(None, 0), repr=False)

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

    @property
    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of brands and of categories."""
        return self.brands.names, self.items.category_names

    def sharing(self, other: Shelf) -> Shelf:
        """The shelf with what shoppers type from one of the same rows."""
        return with_queries(self, other.query_tables)

    @property
    def n_vectors(self) -> int:
        """Items with a vector."""
        vectors, n = self.counted
        if vectors is self.vectors:
            return n
        return 0 if self.vectors is None else int(np.count_nonzero(self.vectors.any(axis=1)))

    def calibrated(self, encode: Encode) -> Shelf:
        """The shelf with floors measured for its titles and this encoder; itself if little has changed since."""
        if not self.floors.is_stale(self.n_vectors):
            return self
        return replace(self, floors=measure(ActiveTexts(self.titles, self.items.active), self.vectors, encode))

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
    titles = PackedTexts.of(items.texts if titles is None else titles)
    blank, empty = PackedTexts.of([""] * len(items)), CodedTexts.of([""] * len(items))
    searchable = list(ActiveTexts(titles, items.active))
    shelf = Shelf(
        items=items,
        index=TextIndex.of(PackedTexts.of(items.ids)),
        titles=titles,
        brands=empty if brands is None else CodedTexts.of(brands),
        labels=empty,
        object_ids=blank,
        urls=blank,
        images=blank,
        attributes=as_attributes([{}] * len(items)),
        currency=empty,
        available=np.ones(len(items), bool) if available is None else available,
        lexical=LexicalIndex.build(list(ActiveTexts(items.texts, items.active)), searchable, items.ids),
        wording=WordTable.build(searchable),
        vectors=vectors,
        state=state,
        version=digest(*items.ids, *items.texts, items.active.tobytes()),
        encoder_hash=encoder_hash,
        stamps=np.full((len(items), 3), np.nan),
        margins=as_margins([None] * len(items)),
        ids=id_hashes(items.ids),
    )
    return with_queries(shelf, QueryTables())


def empty_shelf() -> Shelf:
    """A shelf without items: served until the first load has ended."""
    none = np.empty(0, np.float32)
    items = ItemTable((), (), none, np.empty(0, np.int32), (), np.empty(0), np.empty(0, bool))
    state = ShopState.from_columns(at=0.0, counts=np.empty((0, 4), np.float32), last_event_at=np.empty(0))
    return build_shelf(items, state=state)


def with_queries(shelf: Shelf, query_tables: QueryTables, *, before: Shelf | None = None) -> Shelf:
    """Apply what shoppers type: synonyms, words not to correct, past queries, and what a query is about.

    before: the shelf that was refreshed, from which is taken what has not changed.
    """
    items, queries, phrases = shelf.items, query_tables.queries, shelf.lexical.phrases
    titles = ActiveTexts(shelf.titles, items.active)
    catalogue = LabelledTitles(titles, shelf.brands, items.category, items.category_names)
    understanding = None if query_tables.was_erased_since(shelf.query_tables) else shelf.understanding
    if understanding is None or understanding.is_stale(catalogue, queries, phrases):
        understanding = Understanding(catalogue, queries, phrases)
    names = shelf.names
    if before is not None and before.query_tables is query_tables and names == before.names:
        synonyms, correct_words = before.lexical.parser.synonyms, before.lexical.parser.correct_words
        past = before.past_queries
    else:
        synonyms, correct_words = Synonyms.of(query_tables.synonyms), known_words(*names, queries)
        past = PastQueries.of(queries)
    return replace(
        shelf,
        brand=shelf.brands.codes,
        brand_names=shelf.brands.names,
        lexical=shelf.lexical.with_synonyms(synonyms, correct_words),
        understanding=understanding,
        past_queries=past,
        query_tables=query_tables,
    )
