"""Reads the archive: verified local files for those who compute out of core, and the tables of a whole reading."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage
from django.utils.translation import gettext

from recommender import conf
from recommender.datasets.archive.manifest import ArchivedPart, ArchiveManifest, read_manifest
from recommender.datasets.archive.parts import COLUMNS, PartWriter, arrow, digest_of, drafts, microseconds
from recommender.datasets.pages import pages
from recommender.exceptions import ArchiveError
from recommender.models import Event

TEXTS = ("item_id", "type", "order_id", "query", "device", "region", "source")
"""Columns of few distinct values, read as codes."""


def is_in_use() -> bool:
    """Is the archive switched on, and is there one?"""
    return bool(conf.get("ARCHIVE")) and bool(read_manifest().parts)


@contextmanager
def archived_files(manifest: ArchiveManifest) -> Iterator[list[Path]]:
    """The files of all parts on this host, each with the right sha256; copies of another storage are gone at the end.

    Raises ArchiveError for a file that is gone or damaged.
    """
    with drafts() as folder:
        yield [_verified(part, folder) for part in manifest.parts]


@contextmanager
def all_files() -> Iterator[list[Path]]:
    """The files of the archive, and one more with the events that SQL has received since. Raises ArchiveError."""
    manifest = read_manifest()
    with archived_files(manifest) as paths, drafts() as folder:
        writer = PartWriter("since", folder)
        for page in pages(Event.objects.all(), COLUMNS, after=manifest.last_pk):
            writer.add(page)
        writer.close()
        yield [*paths, writer.path]


def archived_tables(
    manifest: ArchiveManifest, *, until: dt.datetime | None = None, received_until: dt.datetime | None = None
) -> Iterator[Any]:
    """One `pyarrow.Table` per part, of the events before `until` that were received before `received_until`.

    Its texts are dictionary-encoded, so that no event becomes a Python object. Raises ArchiveError.
    """
    arrow()
    import pyarrow.parquet as pq

    with archived_files(manifest) as paths:
        for path in paths:
            table = pq.read_table(path, read_dictionary=list(TEXTS), partitioning=None)
            yield _before(_before(table, "occurred_at", until), "received_at", received_until)


def _before(table: Any, column: str, moment: dt.datetime | None) -> Any:
    if moment is None:
        return table
    import pyarrow.compute as pc

    return table.filter(pc.less(table[column], microseconds(moment)))


def _verified(part: ArchivedPart, folder: Path) -> Path:
    storage = conf.bundle_storage()
    try:
        if isinstance(storage, FileSystemStorage):
            path = Path(storage.path(part.name))
        else:
            path = folder / Path(part.name).name
            with storage.open(part.name) as source, path.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        if digest_of(path) == part.sha256:
            return path
    except OSError as error:
        raise ArchiveError(_repair(part)) from error
    raise ArchiveError(_repair(part))


def _repair(part: ArchivedPart) -> str:
    return gettext(
        "%(file)s of the archive of events is gone or damaged. Run manage.py recommender_archive --verify, which "
        "writes it anew from the database."
    ) % {"file": part.name}
