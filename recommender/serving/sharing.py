"""Gives a process its shelf: from the snapshot that all share, or from SQL, and then the first process writes it."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from django.utils import timezone

from recommender import bundles, conf
from recommender.exceptions import SnapshotError
from recommender.models import Bundle, Item, ItemStatistics, ItemVector
from recommender.serving import past_queries, snapshot, vectors
from recommender.serving.loading import STATISTICS_STAMP, VECTOR_STAMP, load_shelf, refresh_shelf
from recommender.serving.shelf import ItemVectors, Shelf
from recommender.types import FloatArray

if TYPE_CHECKING:
    from recommender.serving.ranker import Ranker

logger = logging.getLogger(__name__)

LEAST_CHANGED = 0.01
"""From this share of changed items on a snapshot is written anew: each process applies the others for itself."""

LONGEST_AGE = dt.timedelta(minutes=15)
"""After this time also fewer changes are written, so that a process that starts has little to catch up with."""


def shelf_of(bundle: str, ranker: Ranker | None) -> Shelf:
    """The shelf of a bundle as it is in SQL now. A shop of fewer than `SNAPSHOT_ITEMS` items is read from there.

    Of several processes that start without a snapshot, one reads SQL and writes it, and the others wait for it.
    """
    encoder_hash, item_vectors = (ranker.encoder_hash, ranker.item_vectors) if ranker else ("", None)
    if not is_shared():
        return load_shelf(encoder_hash or None, item_vectors)
    if (shelf := snapshot.read(bundle, encoder_hash, item_vectors)) is not None:
        return refresh_shelf(shelf)
    with snapshot.lock(bundle) as is_locked:
        shelf = snapshot.read(bundle, encoder_hash, item_vectors) if is_locked else None
        if shelf is not None:
            return refresh_shelf(shelf)
        shelf = load_shelf(encoder_hash or None, item_vectors)
        return _written(shelf.calibrated(ranker.encode) if ranker else shelf, bundle)


def adopted(shelf: Shelf, bundle: str) -> Shelf:
    """The shelf from a snapshot that was written since it was read, so that its pages are shared again; else itself."""
    newest = snapshot.newest(bundle) if shelf.origin else None
    if newest is None or newest.name <= shelf.origin:
        return shelf
    try:
        return snapshot.read_from(newest, shelf.encoder_hash, shelf.item_vectors)
    except SnapshotError as error:
        logger.debug("the newest snapshot of the shelf is not taken over: %s", error)
        return shelf


def write_snapshot() -> None:
    """Write the champion's shelf where there is no snapshot that can be read, or where it is out of date, and remove
    snapshots that nobody may need."""
    if not is_shared():
        return
    champion = bundles.champion()
    bundle, encoder_hash = (champion.name, champion.encoder_hash) if champion else ("", "")
    _write(bundle, encoder_hash)
    previous = Bundle.objects.filter(state=Bundle.State.PREVIOUS).values_list("name", flat=True)
    snapshot.remove_obsolete({bundle, *previous}, past_queries.stamp()[-1][1])


def _write(bundle: str, encoder_hash: str) -> None:
    before = snapshot.read(bundle, encoder_hash, _loading_late(bundle) if bundle else None)
    fresh = refresh_shelf(before) if before is not None else None
    if before is None or fresh is None or _has_fewer_rows(fresh):
        shelf_of_sql(bundle, encoder_hash)
    elif _is_damaged(bundle, before) or _is_outdated(before, fresh):
        with snapshot.lock(bundle) as is_locked:
            if is_locked:
                _written(fresh, bundle)


def is_shared() -> bool:
    """Whether the shop is large enough for a snapshot. At most one query."""
    fewest = conf.get("SNAPSHOT_ITEMS")
    return fewest is not None and (not fewest or Item.objects.all()[fewest - 1 : fewest].exists())


def shelf_of_sql(bundle: str, encoder_hash: str) -> Shelf:
    """Read SQL and write the snapshot, whatever is there."""
    ranker = vectors.load_ranker(bundle) if bundle else None
    with snapshot.lock(bundle) as is_locked:
        shelf = load_shelf(encoder_hash or None, ranker.item_vectors if ranker else None)
        shelf = shelf.calibrated(ranker.encode) if ranker else shelf
        return _written(shelf, bundle) if is_locked else shelf


def _written(shelf: Shelf, bundle: str) -> Shelf:
    """The shelf from the snapshot that is written of it; the shelf itself where that cannot be."""
    try:
        return snapshot.read_from(snapshot.write(shelf, bundle), shelf.encoder_hash, shelf.item_vectors).sharing(shelf)
    except (OSError, SnapshotError) as error:
        logger.warning("no snapshot of the shelf can be written, so this process reads the database: %s", error)
        return shelf


def _loading_late(bundle: str) -> ItemVectors:
    """The vectors of items as a bundle moves them; it is loaded when the first vector has changed."""
    loaded: list[Ranker] = []

    def moved(text_vectors: FloatArray, ids: Sequence[str]) -> FloatArray:
        if not loaded:
            loaded.append(vectors.load_ranker(bundle))
        return loaded[0].item_vectors(text_vectors, ids)

    return moved


def _is_damaged(bundle: str, before: Shelf) -> bool:
    """Whether a newer snapshot than the one that was read is there, and could not be."""
    newest = snapshot.newest(bundle)
    return newest is not None and newest.name != before.origin


def _has_fewer_rows(shelf: Shelf) -> bool:
    """Whether rows were deleted from the tables, which a refresh does not see. Three queries."""
    n_vectors, n_statistics = (
        int(np.isfinite(shelf.stamps[:, column]).sum()) for column in (VECTOR_STAMP, STATISTICS_STAMP)
    )
    return (
        Item.objects.count() < len(shelf)
        or ItemVector.objects.filter(encoder_hash=shelf.encoder_hash).count() < n_vectors
        or ItemStatistics.objects.count() < n_statistics
    )


def _is_outdated(before: Shelf, fresh: Shelf) -> bool:
    """Whether enough has changed since a snapshot, or it is old; at once where a person was erased since."""
    if fresh.understanding is not before.understanding:
        return True
    n_added = len(fresh) - len(before)
    stamps = fresh.stamps[: len(before)]
    is_same = (stamps == before.stamps) | (np.isnan(stamps) & np.isnan(before.stamps))
    n_changed = n_added + int((~is_same.all(axis=1)).sum())
    is_old = before.last_refresh is not None and timezone.now() - before.last_refresh.at > LONGEST_AGE
    return n_changed > LEAST_CHANGED * len(fresh) or (n_changed > 0 and is_old)
