"""Brings the archive up to date with SQL: appends new events, and writes anew what is stale or damaged.

Whoever calls this is the only one who writes: see `recommender.jobs.archiving`.
"""

from __future__ import annotations

import datetime as dt
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from django.core.files.storage import FileSystemStorage
from django.db.models import Max

from recommender import conf
from recommender.datasets.archive.manifest import (
    FOLDER,
    ArchivedPart,
    ArchiveManifest,
    day_of_part,
    delete_manifests,
    read_manifest,
    write_manifest,
)
from recommender.datasets.archive.parts import (
    COLUMNS,
    DRAFT_PREFIX,
    PK,
    RECEIVED,
    PartWriter,
    Rows,
    arrow,
    contents_in_sql,
    drafts,
    events_of,
    is_whole,
    keys_in_use,
)
from recommender.datasets.pages import pages
from recommender.durations import DAY_SECONDS
from recommender.models import Event

logger = logging.getLogger(__name__)

PART_EVENTS = 500_000
"""Events that are written before their files count: about 12 MB of a file, 50 MB of memory."""

MARGIN = 10_000
"""A part claims so many primary keys beyond its own, for events of its day that commit late."""

SETTLE = dt.timedelta(minutes=5)
"""Events younger than this wait: a transaction that began earlier may still commit lower primary keys. What commits
later still is noticed because the part's contents differ."""


@dataclass(slots=True)
class ArchiveReport:
    """n_new: events appended; rewritten, damaged: names of files that took the place of stale and of damaged ones, by
    the name of the file that is gone; n_events: events in the archive."""

    n_new: int = 0
    n_events: int = 0
    rewritten: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def update(*, at: dt.datetime, thoroughly: bool = False) -> ArchiveReport:
    """Append the events that were received before `at`, and write anew every part that SQL no longer says the same of.

    One query for each part and one for 20,000 new events. thoroughly: read every file and compare its sha256.
    """
    arrow()
    report = ArchiveReport()
    _refresh(report, thoroughly=thoroughly)
    with drafts() as folder:
        _append(report, until=at - SETTLE, folder=folder)
    manifest = read_manifest()
    report.n_events = manifest.n_events
    _sweep(manifest)
    return report


def discard() -> list[str]:
    """Delete the archive, the manifests first; return the names of its files."""
    names = [part.name for part in read_manifest().parts]
    delete_manifests()
    _sweep(ArchiveManifest())
    return names


def _refresh(report: ArchiveReport, *, thoroughly: bool) -> None:
    """Each part counts as soon as it is written, so that an interruption costs one part."""
    manifest = read_manifest()
    newest = Event.objects.aggregate(newest=Max("pk"))["newest"] or 0
    if newest < manifest.last_pk:
        manifest = _set_back(manifest, newest)
    for part in manifest.parts:
        is_damaged = not is_whole(part, thoroughly=thoroughly)
        if not is_damaged and part.keys == keys_in_use() and contents_in_sql(part) == part.contents:
            continue
        (report.damaged if is_damaged else report.rewritten).append(part.name)
        if is_damaged:
            logger.warning("%s is damaged or gone, and is written anew from the database", part.name)
        with drafts() as folder:
            fresh = _written_anew(part, folder)
        others = [other for other in manifest.parts if other is not part]
        manifest = manifest.with_parts([*others, *fresh], last_pk=manifest.last_pk)
        write_manifest(manifest)
        if part.name not in {other.name for other in manifest.parts}:
            conf.bundle_storage().delete(part.name)


def _set_back(manifest: ArchiveManifest, newest: int) -> ArchiveManifest:
    """SQL ends before the archive, as after a restore from a backup: the primary keys beyond are given out again, so
    that no part may claim them."""
    parts = [
        part if part.last_pk <= newest else replace(part, last_pk=max(newest, part.first_pk - 1))
        for part in manifest.parts
    ]
    manifest = manifest.with_parts(parts, last_pk=newest)
    write_manifest(manifest)
    return manifest


def _written_anew(part: ArchivedPart, folder: Path) -> list[ArchivedPart]:
    """The part from the rows that are in SQL now; none if there are none."""
    writer: PartWriter | None = None
    for page in pages(events_of(part.first_pk, part.last_pk, part.day), COLUMNS):
        writer = writer or PartWriter(part.day, folder)
        writer.add(page)
    return [writer.finished(part.first_pk, part.last_pk)] if writer else []


def _append(report: ArchiveReport, *, until: dt.datetime, folder: Path) -> None:
    manifest = read_manifest()
    writers: dict[str, PartWriter] = {}
    n_waiting = 0
    for page in _settled_pages(manifest.last_pk, until):
        for day, rows in _by_day(page).items():
            if day not in writers:
                writers[day] = PartWriter(day, folder)
            writers[day].add(rows)
        n_waiting += len(page)
        if n_waiting >= PART_EVENTS:
            manifest = _appended(manifest, writers, page[-1][PK])
            report.n_new, n_waiting, writers = report.n_new + n_waiting, 0, {}
        last_pk = page[-1][PK]
    if writers:
        _appended(manifest, writers, last_pk)
        report.n_new += n_waiting


def _appended(manifest: ArchiveManifest, writers: dict[str, PartWriter], last_pk: int) -> ArchiveManifest:
    """Publish the files, then the manifest that names them. No primary key between the last manifest and this one is
    outside every range, so that an event of a day which commits late belongs to a part of its day."""
    bounds = manifest.last_pk + 1, last_pk
    fresh = [
        writer.finished(max(writer.first_pk - MARGIN, bounds[0]), min(writer.last_pk + MARGIN, bounds[1]))
        for writer in writers.values()
    ]
    manifest = manifest.with_parts([*manifest.parts, *fresh], last_pk=last_pk)
    write_manifest(manifest)
    return manifest


def _settled_pages(after: int, until: dt.datetime) -> Iterator[Rows]:
    """The pages of events beyond a primary key, up to the first that was received at or after `until`."""
    for page in pages(Event.objects.all(), COLUMNS, after=after):
        young = next((number for number, row in enumerate(page) if row[RECEIVED] >= until), None)
        if young is None:
            yield page
            continue
        if young:
            yield page[:young]
        return


def _by_day(page: Rows) -> dict[str, Rows]:
    days: dict[str, Rows] = {}
    for row in page:
        days.setdefault(day_of_part(row[RECEIVED]), []).append(row)
    return days


def _sweep(manifest: ArchiveManifest) -> None:
    """Delete the files that no manifest names, and old drafts of this host: an interrupted writer left them."""
    for draft in conf.directory().glob(f"{DRAFT_PREFIX}*"):
        if time.time() - draft.stat().st_mtime > DAY_SECONDS:
            shutil.rmtree(draft)
    storage = conf.bundle_storage()
    named = {part.name for part in manifest.parts}
    try:
        folders, _files = storage.listdir(FOLDER)
    except FileNotFoundError:
        return
    for folder in folders:
        for name in storage.listdir(f"{FOLDER}/{folder}")[1]:
            if f"{FOLDER}/{folder}/{name}" not in named:
                storage.delete(f"{FOLDER}/{folder}/{name}")
        if isinstance(storage, FileSystemStorage) and not any(storage.listdir(f"{FOLDER}/{folder}")):
            storage.delete(f"{FOLDER}/{folder}")
