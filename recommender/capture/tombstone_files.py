"""A file for each tombstone, beside the bundles: after a backup of the database is restored, they say who was erased.

They hold keyed hashes and times only. A file that cannot be written now is written by the next run of the job `erase`.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass

from django.core.files.base import ContentFile
from django.utils import timezone

from recommender import conf
from recommender.models import Tombstone

FOLDER = "tombstones"
CHUNK_SIZE = 500


@dataclass(frozen=True, slots=True)
class FiledTombstone:
    """What one file says."""

    digest: str
    erased_at: dt.datetime
    lifted_at: dt.datetime | None


def file_tombstones() -> int:
    """Write the files that are missing or out of date; return how many."""
    n_filed = 0
    conf.make_directory()
    while stones := list(Tombstone.objects.filter(filed_at=None).order_by("pk")[:CHUNK_SIZE]):
        for stone in stones:
            _write(stone)
        unchanged = Tombstone.objects.filter(filed_at=None)
        for stone in stones:  # one that was lifted or renewed meanwhile is written again
            unchanged.filter(pk=stone.pk, erased_at=stone.erased_at, lifted_at=stone.lifted_at).update(
                filed_at=timezone.now()
            )
        n_filed += len(stones)
    return n_filed


def filed_tombstones() -> Iterator[FiledTombstone]:
    """Every tombstone that was filed."""
    storage = conf.bundle_storage()
    try:
        _folders, names = storage.listdir(FOLDER)
    except FileNotFoundError:
        return
    for name in sorted(names):
        with storage.open(f"{FOLDER}/{name}") as file:
            values = json.loads(file.read())
        lifted_at = values["lifted_at"] and dt.datetime.fromisoformat(values["lifted_at"])
        yield FiledTombstone(values["digest"], dt.datetime.fromisoformat(values["erased_at"]), lifted_at)


def _write(stone: Tombstone) -> None:
    storage = conf.bundle_storage()
    name = f"{FOLDER}/{stone.digest}.json"
    times = {"erased_at": stone.erased_at, "lifted_at": stone.lifted_at}
    values = {"digest": stone.digest, **{key: at and at.isoformat() for key, at in times.items()}}
    if storage.exists(name):
        storage.delete(name)
    storage.save(name, ContentFile(json.dumps(values).encode()))
