"""Copies the vectors of the bundles that serve from SQL into the vector engine: what changed, or all of a new one."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from django.db.models import Q, QuerySet
from django.utils import timezone

from recommender import bundles
from recommender.models import Bundle, Item, ItemVector, VectorCollection
from recommender.retrieval.engine import Records, VectorEngine
from recommender.serving import records
from recommender.serving.engines import GuardedEngine
from recommender.serving.vectors import Progress, load_ranker
from recommender.types import FloatArray

if TYPE_CHECKING:
    from recommender.serving.ranker import Ranker

logger = logging.getLogger(__name__)

CHUNK_SIZE = 1_000
"""Items in one call: 1.5 MB of 384 dimensions; Milvus takes 64 MB."""

OVERLAP = dt.timedelta(minutes=2)
"""A sync reads this far back before the last one: rows are stamped before they are committed, and clocks differ."""


@dataclass(frozen=True, slots=True)
class SyncedBundle:
    """What one sync did with the collection of a bundle. is_full: whether it wrote every item."""

    bundle: str
    n_written: int
    n_deleted: int
    n_items: int
    is_full: bool


class _VectorRow(NamedTuple):
    """One vector with what the engine compares of its item."""

    item_id: str
    updated_at: dt.datetime
    vector: bytes
    category: str
    brand: str
    price: object
    is_available: bool


def sync(*, name: str = "", rebuild: bool = False, progress: Progress | None = None) -> list[SyncedBundle]:
    """Bring every collection that may serve up to date, and drop those of deleted bundles; nothing without an engine.

    name: of one bundle alone, which may get its first collection; rebuild: drop them first. Raises what the engine
    raises, ConfigurationError for an unusable setting, and BundleError for a bundle that cannot be read.
    """
    guarded = GuardedEngine.configured()
    if guarded is None:
        return []
    engine, retained = guarded.engine, [one for one in bundles.retained() if one.state != one.State.QUARANTINED]
    chosen = [one for one in retained if one.name == name] if name else wanted_bundles(retained)
    synced = []
    for bundle in _one_of_each_space(chosen):
        collection = _Collection.of(bundle, engine)
        if collection is not None:
            if rebuild:
                collection.drop()
            synced.append(collection.sync(progress))
    _drop_obsolete(engine, retained)
    return synced


def wanted_bundles(retained: Sequence[Bundle]) -> list[Bundle]:
    """Of the bundles whose vectors are in SQL, best first, those that need a collection: what serves or served, what an
    experiment tries, the newest candidate, and what has a collection already."""
    has_one = set(VectorCollection.objects.values_list("encoder_hash", "delta_hash"))
    candidates = [bundle for bundle in retained if bundle.state == bundle.State.CANDIDATE and bundle.is_trained]
    newest = max(candidates, key=lambda bundle: bundle.created_at, default=None)
    tried = set(Bundle.objects.filter(experiments__state="live").values_list("pk", flat=True))
    return [
        bundle
        for bundle in retained
        if bundle.state in (bundle.State.CHAMPION, bundle.State.PREVIOUS)
        or bundle == newest
        or bundle.pk in tried
        or (bundle.encoder_hash, bundles.delta_hash_of(bundle)) in has_one
    ]


def _one_of_each_space(chosen: Sequence[Bundle]) -> list[Bundle]:
    """Bundles with the same vectors share a collection."""
    return list({(bundle.encoder_hash, bundles.delta_hash_of(bundle)): bundle for bundle in chosen}.values())


def _drop_obsolete(engine: VectorEngine, retained: Sequence[Bundle]) -> None:
    """Drop the collections of deleted bundles, only those that this shop made: others may share the engine."""
    stay = {(bundle.encoder_hash, bundles.delta_hash_of(bundle)) for bundle in retained}
    for collection in VectorCollection.objects.all():
        if (collection.encoder_hash, collection.delta_hash) not in stay:
            engine.drop(bundles.space_of(collection))
            collection.delete()
            logger.info("the collection of encoder %s is dropped from the vector engine", collection.encoder_hash)


@dataclass(frozen=True)
class _Collection:
    """The collection of one bundle, in the engine and in SQL."""

    bundle: Bundle
    engine: VectorEngine
    row: VectorCollection

    @classmethod
    def of(cls, bundle: Bundle, engine: VectorEngine) -> _Collection | None:
        """None while the bundle has no vector yet."""
        vector = ItemVector.objects.filter(encoder_hash=bundle.encoder_hash).values_list("vector", flat=True).first()
        if not vector:
            return None
        row, _is_new = VectorCollection.objects.get_or_create(
            encoder_hash=bundle.encoder_hash,
            delta_hash=bundles.delta_hash_of(bundle),
            defaults={"dimension": len(bytes(vector)) // 4},
        )
        return cls(bundle, engine, row)

    def drop(self) -> None:
        self._save(is_complete=False, synced_until=None, n_items=0)
        self.engine.drop(bundles.space_of(self.row))

    def sync(self, progress: Progress | None) -> SyncedBundle:
        """Write what changed; everything if that was never done, or if the engine has lost or kept something."""
        space, row = bundles.space_of(self.row), self.row
        if (
            row.synced_until is None
            or not row.is_complete
            or self.engine.count(space) != row.n_items
            or not row.n_items
        ):
            return self._write_all(progress)
        started_at, since = timezone.now(), row.synced_until - OVERLAP
        changed = self._rows().filter(Q(updated_at__gte=since) | Q(item__updated_at__gte=since))
        n_written, _n_left_out = self._write(changed, row.stamp, progress)
        hidden = Item.objects.filter(is_active=False, updated_at__gte=since)
        n_deleted = self._delete(list(hidden.values_list("item_id", flat=True)))
        n_items = self.engine.count(space)
        if not n_written and not n_deleted and n_items != self._rows().count() - row.n_left_out:
            return self._write_all(progress)
        self._save(synced_until=started_at, n_items=n_items)
        return SyncedBundle(self.bundle.name, n_written, n_deleted, n_items, is_full=False)

    def _write_all(self, progress: Progress | None) -> SyncedBundle:
        """Write every item under a new stamp, then delete what has an older one."""
        space, started_at, stamp = bundles.space_of(self.row), timezone.now(), self.row.stamp + 1
        self._save(is_complete=False, stamp=stamp)
        self.engine.create(space)
        n_written, n_left_out = self._write(self._rows(), stamp, progress)
        n_before = self.engine.count(space)
        self.engine.delete_older(space, stamp)
        self.engine.finish(space)
        n_items = self.engine.count(space)
        self._save(is_complete=True, synced_until=started_at, n_items=n_items, n_left_out=n_left_out)
        return SyncedBundle(self.bundle.name, n_written, n_before - n_items, n_items, is_full=True)

    def _rows(self) -> QuerySet[ItemVector]:
        """The vectors of active items."""
        return ItemVector.objects.filter(encoder_hash=self.row.encoder_hash, item__is_active=True)

    def _write(self, rows: QuerySet[ItemVector], stamp: int, progress: Progress | None) -> tuple[int, int]:
        """Write these vectors in chunks; return how many, and how many are broken and left out."""
        space, total, done, n_left_out = bundles.space_of(self.row), rows.count(), 0, 0
        for chunk in _chunks(rows):
            written = self._records(chunk)
            self.engine.upsert(space, written, stamp=stamp)
            done, n_left_out = done + len(chunk), n_left_out + len(chunk) - len(written.item_ids)
            if progress is not None:
                progress(done, max(total, done))
        return done - n_left_out, n_left_out

    def _records(self, chunk: Sequence[_VectorRow]) -> Records:
        stored = [records.VectorRecord(row.item_id, row.updated_at, row.vector) for row in chunk]
        decoded = [records.vector_of(record, self.row.dimension) for record in stored]
        usable = [(row, vector) for row, vector in zip(chunk, decoded, strict=True) if vector is not None]
        rows = [row for row, _vector in usable]
        ids = [row.item_id for row in rows]
        vectors = np.array([vector for _row, vector in usable], np.float32).reshape(len(rows), self.row.dimension)
        return Records(
            self.row.encoder_hash,
            ids,
            self._moved(vectors, ids),
            [row.category for row in rows],
            [row.brand for row in rows],
            np.array([np.nan if row.price is None else float(row.price) for row in rows]),  # type: ignore[arg-type]
            [row.is_available for row in rows],
        )

    def _moved(self, vectors: FloatArray, ids: Sequence[str]) -> FloatArray:
        """Text vectors (n, d) as the bundle moves them."""
        return self._ranker.item_vectors(vectors, ids) if self.row.delta_hash and len(ids) else vectors

    @cached_property
    def _ranker(self) -> Ranker:
        return load_ranker(self.bundle.name)

    def _delete(self, item_ids: Sequence[str]) -> int:
        space = bundles.space_of(self.row)
        for start in range(0, len(item_ids), CHUNK_SIZE):
            self.engine.delete(space, item_ids[start : start + CHUNK_SIZE])
        return len(item_ids)

    def _save(self, **fields: object) -> None:
        for name, value in fields.items():
            setattr(self.row, name, value)
        self.row.save(update_fields=list(fields))


def _chunks(rows: QuerySet[ItemVector]) -> Iterator[list[_VectorRow]]:
    """Read in the order of the primary key, each chunk by a query of its own: no cursor stays open over the engine."""
    last = 0
    of_item = ("item__category", "item__brand", "item__price", "item__is_available")
    columns = ("pk", "item__item_id", "updated_at", "vector", *of_item)
    ordered = rows.order_by("pk").values_list(*columns)
    while chunk := list(ordered.filter(pk__gt=last)[:CHUNK_SIZE]):
        last = chunk[-1][0]
        yield [_VectorRow._make(row[1:]) for row in chunk]
