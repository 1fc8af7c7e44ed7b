"""Erases again whoever a restored backup of the database has brought back."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator

from recommender.capture.erasure import erase_rows
from recommender.capture.tombstone_files import FiledTombstone, filed_tombstones
from recommender.identity import tombstones
from recommender.models import Erasure, Event, Impression, Tombstone, UnpaidRow, Visitor

CHUNK_SIZE = 2_000


def replay() -> Erasure:
    """Erase every stored person with a tombstone, of the database or of the files; return what was erased.

    Of a person who has consented again since, only what was received before the erasure is erased. May run again.
    """
    stones = _restored_tombstones()
    keys: set[str] = set()
    tables: Counter[str] = Counter()
    for visitor in Visitor.objects.order_by("pk").iterator(chunk_size=CHUNK_SIZE):
        stone = _stone_of([visitor.key], [visitor.user_key] if visitor.user_key else [], stones)
        if stone is None:
            continue
        if stone.lifted_at is None:
            keys.add(visitor.key.hex)
        else:
            tables.update(_erased_before(visitor, stone))
    for key in UnpaidRow.objects.values_list("visitor_key", flat=True).distinct():
        stone = _stone_of([key], [], stones)
        if stone is not None and stone.lifted_at is None:
            keys.add(key.hex)
    erasure = Erasure.objects.create(
        trigger=Erasure.Trigger.REPLAY,
        names={"visitors": sorted(keys), "users": []},
        receipt={"tables": dict(tables)},
    )
    erase_rows(erasure)
    return erasure


def _restored_tombstones() -> dict[str, FiledTombstone]:
    """Every tombstone by its hash, the latest state of each; the table gets back those that it has lost."""
    stones = {stone.digest: stone for stone in filed_tombstones()}
    for stone in _stored():
        filed = stones.get(stone.digest)
        if filed is None or _latest(stone) >= _latest(filed):
            stones[stone.digest] = stone
    rows = [
        Tombstone(digest=stone.digest, erased_at=stone.erased_at, lifted_at=stone.lifted_at)
        for stone in stones.values()
    ]
    Tombstone.objects.bulk_create(
        rows,
        batch_size=tombstones.CHUNK_SIZE,
        update_conflicts=True,
        unique_fields=["digest"],
        update_fields=["erased_at", "lifted_at"],
    )
    return stones


def _stored() -> Iterator[FiledTombstone]:
    for values in Tombstone.objects.values_list("digest", "erased_at", "lifted_at").iterator(chunk_size=CHUNK_SIZE):
        yield FiledTombstone(*values)


def _latest(stone: FiledTombstone) -> dt.datetime:
    return max(stone.erased_at, stone.lifted_at or stone.erased_at)


def _stone_of(
    keys: Iterable[uuid.UUID], users: Iterable[str], stones: dict[str, FiledTombstone]
) -> FiledTombstone | None:
    """The tombstone of a visitor or its user; one that stands before one that was lifted."""
    names = [*map(tombstones.name_of_visitor, keys), *map(tombstones.name_of_user, users)]
    matching = [stones[digest] for name in names for digest in tombstones.digests_of(name) if digest in stones]
    return min(matching, key=lambda stone: stone.lifted_at is not None, default=None)


def _erased_before(visitor: Visitor, stone: FiledTombstone) -> dict[str, int]:
    """Delete what was received before the erasure of a person who has consented again since."""
    events = Event.objects.filter(visitor=visitor, received_at__lte=stone.erased_at)
    shown = Impression.objects.filter(visitor=visitor, occurred_at__lte=stone.erased_at)
    return {"Event": events.delete()[0], "Impression": shown.delete()[0]}
