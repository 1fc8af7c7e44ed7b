"""The catalogue in memory: items, words, vectors and behaviour of one moment, read from SQL and kept up with it."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import numpy.typing as npt
from django.utils import timezone

from recommender.features.neighbours import Neighbours
from recommender.features.persona import cached_item_terms
from recommender.features.profiles import profile_of
from recommender.features.shop_state import NEIGHBOUR_KINDS, ShopState, existing_since
from recommender.retrieval.floors import Encode, Floors, measure
from recommender.retrieval.lexical.index import LexicalIndex
from recommender.retrieval.lexical.terms import Usage
from recommender.retrieval.lexical.wording import WordTable
from recommender.serving import past_queries as asked
from recommender.serving import records
from recommender.serving.columns import coded, longer, longer_state, put, replaced_neighbours
from recommender.serving.past_queries import PastQueries, Told, Understanding
from recommender.serving.records import ItemRecord, StatisticsRecord, VectorRecord
from recommender.tables import ItemTable, Profile
from recommender.text.intent import LabelledTitles, known_words
from recommender.types import FloatArray, IntArray, Intent, Request, TimeArray

OVERLAP = dt.timedelta(minutes=2)
"""A look reads this far behind the last one: rows are stamped before their transaction commits, and clocks differ."""

REBUILT_SHARE = 0.1
"""Share of texts replaced from which the words are indexed anew, and with them the phrases of the suggestions."""

VECTOR_BATCH = 2_000

ItemVectors = Callable[[FloatArray, Sequence[str]], FloatArray]
"""Text vectors (n, d) and item ids to item vectors (n, d), both of unit length: `Ranker.item_vectors`."""


@dataclass(slots=True)
class LastLook:
    """When the tables were last read; the one thing of a shelf that changes."""

    at: dt.datetime


@dataclass(frozen=True, slots=True)
class Shelf:
    """One catalogue version; row i of everything is item `items.ids[i]`, and a row never becomes another item.

    available (n,) bool: in stock; vectors (n, d) float32 of unit length, zero for an item without one; state: one row
    per item; stamps (n, 3) float64: seconds of the last change of item, vector and statistics, NaN for none; brand
    (n,) int32: place in `brand_names`, -1 for none; floors: the cosines from which a likeness tells something.
    `version` is equal in every process that holds the same rows.
    """

    items: ItemTable
    index: Mapping[str, int]
    titles: tuple[str, ...]
    brands: tuple[str, ...]
    labels: tuple[str, ...]
    object_ids: tuple[str, ...]
    urls: tuple[str, ...]
    images: tuple[str, ...]
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
    last_look: LastLook | None = None
    brand: IntArray = field(default_factory=lambda: np.empty(0, np.int32), repr=False)
    brand_names: tuple[str, ...] = ()
    understanding: Understanding | None = field(default=None, repr=False)
    past_queries: PastQueries = field(default_factory=PastQueries, repr=False)
    told: Told = field(default_factory=Told, repr=False)
    floors: Floors = field(default_factory=Floors)

    def __len__(self) -> int:
        return len(self.items)

    def row(self, item_id: str) -> int:
        """The row of an item, -1 for one that is not known."""
        return self.index.get(item_id, -1)

    def understand(self, query: str) -> Intent:
        """What a query is about."""
        return self.understanding.of(query) if self.understanding is not None else Intent(query)

    def suggest(self, prefix: str, limit: int) -> list[str]:
        """Queries that go on from a prefix, each finding an item: half what others asked, half phrases of titles."""
        return asked.suggest(prefix, limit, self.past_queries, self.lexical)

    def calibrated(self, encode: Encode) -> Shelf:
        """The shelf with floors as they are for its titles and this encoder; itself where little is new since."""
        if not self.floors.is_stale(self.vectors):
            return self
        return replace(self, floors=measure(_findable(self.titles, self.items.active), self.vectors, encode))

    def profile(self, request: Request) -> Profile:
        """Put a request into rows. Events at or after its moment are left out, as is what tells nothing here.

        That is an event of an unknown item, a search without words, and a purchase that came back whole.
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
    version: str = "",
) -> Shelf:
    """Make a shelf of what is in memory, without SQL. Unless given, a text is its own title and all is in stock."""
    titles = tuple(items.texts if titles is None else titles)
    blank = ("",) * len(items)
    shelf = Shelf(
        items=items,
        index={item_id: row for row, item_id in enumerate(items.ids)},
        titles=titles,
        brands=blank if brands is None else tuple(brands),
        labels=blank,
        object_ids=blank,
        urls=blank,
        images=blank,
        currency=blank,
        available=np.ones(len(items), bool) if available is None else available,
        lexical=LexicalIndex.build(_findable(items.texts, items.active), _findable(titles, items.active)),
        wording=WordTable.build(_findable(titles, items.active)),
        vectors=vectors,
        state=state,
        version=version or _digest(*items.ids, *items.texts, items.active.tobytes()),
        encoder_hash=encoder_hash,
        stamps=np.full((len(items), 3), np.nan),
    )
    return with_queries(shelf, Told())


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
    look = LastLook(at or timezone.now())
    shelf = _with_items(empty, list(records.items().all()))
    if encoder_hash:
        shelf = _with_vectors(shelf, records.vectors(encoder_hash).all())
    shelf = _with_statistics(shelf, list(records.statistics().all()))
    return _prepared(with_queries(shelf, asked.read(shelf.index)), look)


def with_queries(shelf: Shelf, told: Told) -> Shelf:
    """Apply what shoppers type: synonyms, words that are right, past queries, and what a query is about."""
    items = shelf.items
    shown = _findable(shelf.titles, items.active)
    catalogue = LabelledTitles(shown, shelf.brands, items.category, items.category_names)
    understanding = shelf.understanding
    if understanding is None or understanding.is_stale(catalogue, told.queries, shelf.lexical.phrases):
        understanding = Understanding(catalogue, told.queries, shelf.lexical.phrases)
    right = known_words(shelf.brands, items.category_names, told.queries)
    brand, brand_names = coded(shelf.brands)
    return replace(
        shelf,
        brand=brand,
        brand_names=brand_names,
        lexical=shelf.lexical.with_usage(Usage.of(told.synonyms, right)),
        understanding=understanding,
        past_queries=PastQueries.of(told.queries),
        told=told,
    )


def refresh_shelf(shelf: Shelf, *, at: dt.datetime | None = None) -> Shelf:
    """Apply what changed since the last look: the same object where nothing did, else a new one that shares the rest.

    Five queries (four without an encoder), and one more per table that changed. A shelf that was built in memory stays.
    A row deleted from the tables stays until the next load; the live reading of an answer leaves it out.
    """
    if shelf.last_look is None:
        return shelf
    look = LastLook(at or timezone.now())
    since = shelf.last_look.at - OVERLAP
    fresh = shelf
    if changed := _changed(fresh, 0, records.items().stamps(since=since)):
        fresh = _with_items(fresh, list(records.items().some(changed, since=since)))
    if shelf.encoder_hash:
        table = records.vectors(shelf.encoder_hash)
        if changed := _changed(fresh, 1, table.stamps(since=since)):
            fresh = _with_vectors(fresh, table.some(changed, since=since))
    if changed := _changed(fresh, 2, records.statistics().stamps(since=since)):
        fresh = _with_statistics(fresh, list(records.statistics().some(changed, since=since)))
    told = shelf.told if asked.stamp() == shelf.told.stamp else asked.read(fresh.index)
    if fresh is shelf and told is shelf.told:
        shelf.last_look.at = look.at  # all that the next window may hold is known
        return shelf
    return _prepared(with_queries(fresh, told), look)


def _prepared(shelf: Shelf, look: LastLook) -> Shelf:
    """Do what no shopper should wait for, and name the version."""
    if shelf.understanding is not None:
        shelf.understanding.prepare()
    cached_item_terms(shelf.items)
    return replace(shelf, version=_version(shelf), last_look=look)


def _changed(shelf: Shelf, table: int, stamps: Sequence[tuple[str, dt.datetime]]) -> list[str]:
    """Return the ids whose stamp is not the one in memory; a vector or statistics of an unknown item has to wait."""
    return [
        item_id
        for item_id, stamp in stamps
        if ((row := shelf.row(item_id)) >= 0 or table == 0)
        and (row < 0 or shelf.stamps[row, table] != stamp.timestamp())
    ]


def _with_items(shelf: Shelf, found: Sequence[ItemRecord]) -> Shelf:
    if not found:
        return shelf
    index = dict(shelf.index)
    rows = [index.setdefault(record.item_id, len(index)) for record in found]
    n = len(index)
    items = _item_table(shelf.items, found, rows, index)
    titles = put(shelf.titles, rows, [record.title for record in found], n)
    stamps = longer(shelf.stamps, n, np.nan)
    stamps[rows, 0] = [record.updated_at.timestamp() for record in found]
    available = longer(shelf.available, n, False)
    available[rows] = [record.is_available for record in found]
    lexical, wording = _worded(shelf, items, titles, rows)
    state = longer_state(shelf.state, n)
    return replace(
        shelf,
        items=existing_since(items, state.first_event_at),
        index=index,
        titles=titles,
        brands=put(shelf.brands, rows, [record.brand for record in found], n),
        labels=put(shelf.labels, rows, [record.label for record in found], n),
        object_ids=put(shelf.object_ids, rows, [record.object_id for record in found], n),
        urls=put(shelf.urls, rows, [record.url for record in found], n),
        images=put(shelf.images, rows, [record.image for record in found], n),
        currency=put(shelf.currency, rows, [record.currency for record in found], n),
        available=available,
        lexical=lexical,
        wording=wording,
        vectors=None if shelf.vectors is None else longer(shelf.vectors, n, 0),
        state=state,
        stamps=stamps,
    )


def _item_table(
    old: ItemTable, found: Sequence[ItemRecord], rows: Sequence[int], index: Mapping[str, int]
) -> ItemTable:
    n = len(index)
    codes = {name: code for code, name in enumerate(old.category_names)}
    for name in sorted({record.category for record in found if record.category}):
        codes.setdefault(name, len(codes))
    price, category = longer(old.price, n, np.nan), longer(old.category, n, -1)
    first_seen, active = longer(old.first_seen, n, 0), longer(old.active, n, False)
    price[rows] = [np.nan if record.price is None else float(record.price) for record in found]
    category[rows] = [codes.get(record.category, -1) for record in found]
    first_seen[rows] = [record.first_seen_at.timestamp() for record in found]
    active[rows] = [record.is_active for record in found]
    texts = put(old.texts, rows, [record.text for record in found], n)
    return ItemTable(tuple(index), texts, price, category, tuple(codes), first_seen, active)


def _worded(
    shelf: Shelf, items: ItemTable, titles: Sequence[str], rows: Sequence[int]
) -> tuple[LexicalIndex, WordTable]:
    """Index the texts that are not as they were; what is not active has no words."""
    changed = [row for row in rows if _words_differ(shelf, items, titles, row)]
    if shelf.lexical.n_updated + len(changed) > REBUILT_SHARE * len(items):
        found = _findable(titles, items.active)
        return LexicalIndex.build(_findable(items.texts, items.active), found), WordTable.build(found)
    active, places = items.active[changed], np.array(changed, np.int32)
    found = _findable([titles[row] for row in changed], active)
    lexical = shelf.lexical.updated(places, _findable([items.texts[row] for row in changed], active), found)
    return lexical, shelf.wording.updated(places, found)


def _words_differ(shelf: Shelf, items: ItemTable, titles: Sequence[str], row: int) -> bool:
    if row >= len(shelf):
        return True
    before = (shelf.items.texts[row], shelf.titles[row], bool(shelf.items.active[row]))
    return before != (items.texts[row], titles[row], bool(items.active[row]))


def _findable(texts: Sequence[str], active: npt.NDArray[np.bool_]) -> list[str]:
    return [text if is_active else "" for text, is_active in zip(texts, active.tolist(), strict=True)]


def _with_vectors(shelf: Shelf, found: Iterable[VectorRecord]) -> Shelf:
    """Read vectors a batch at a time; one that is broken changes nothing and is reported with its item."""
    vectors = None if shelf.vectors is None else shelf.vectors.copy()
    stamps = shelf.stamps.copy()
    source = iter(found)
    while batch := list(islice(source, VECTOR_BATCH)):
        known = [record for record in batch if record.item_id in shelf.index]
        stamps[[shelf.index[record.item_id] for record in known], 1] = [r.updated_at.timestamp() for r in known]
        dimension = records.dimension_of(known) if vectors is None else vectors.shape[1]
        read = [(record.item_id, records.vector_of(record, dimension)) for record in known]
        usable = {item_id: vector for item_id, vector in read if vector is not None}
        if usable:
            vectors = np.zeros((len(shelf), dimension), np.float32) if vectors is None else vectors
            text_vectors = np.stack(list(usable.values()))
            moved = text_vectors if shelf.item_vectors is None else shelf.item_vectors(text_vectors, list(usable))
            vectors[[shelf.index[item_id] for item_id in usable]] = moved
    return replace(shelf, vectors=vectors, stamps=stamps)


def _with_statistics(shelf: Shelf, found: Sequence[StatisticsRecord]) -> Shelf:
    known = [(shelf.index[record.item_id], record) for record in found if record.item_id in shelf.index]
    if not known:
        return shelf
    rows = [row for row, _ in known]
    stamps, counts, last = shelf.stamps.copy(), shelf.state.counts.copy(), shelf.state.last_event_at.copy()
    first = shelf.state.first_event_at.copy()
    stamps[rows, 2] = [record.computed_at.timestamp() for _, record in known]
    counts[rows] = [(record.n_1, record.n_7, record.n_30, record.n_total) for _, record in known]
    last[rows] = [_seconds(record.last_event_at, -np.inf) for _, record in known]
    first[rows] = [_seconds(record.first_event_at, np.inf) for _, record in known]
    state = ShopState.from_columns(
        at=float(np.nanmax(stamps[:, 2])),
        counts=counts,
        last_event_at=last,
        first_event_at=first,
        **{kind: _neighbours(shelf, known, kind) for kind in NEIGHBOUR_KINDS},
    )
    return replace(shelf, items=existing_since(shelf.items, first), state=state, stamps=stamps)


def _seconds(moment: dt.datetime | None, never: float) -> float:
    return never if moment is None else moment.timestamp()


def _neighbours(shelf: Shelf, known: Sequence[tuple[int, StatisticsRecord]], kind: str) -> Neighbours:
    found = {
        row: [
            (shelf.index[item_id], score)
            for item_id, score in getattr(record, f"{kind}_neighbours")
            if item_id in shelf.index
        ]
        for row, record in known
    }
    return replaced_neighbours(getattr(shelf.state, kind), found)


def _version(shelf: Shelf) -> str:
    ids = shelf.items.ids
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return _digest(shelf.encoder_hash, *(ids[row] for row in order), shelf.stamps[order].tobytes())


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.encode())
        digest.update(b"\0")
    return digest.hexdigest()
