"""The files of the archive: written from SQL as Parquet, published whole, compared with SQL, and verified."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.core.files import File
from django.core.files.storage import FileSystemStorage
from django.db.models import Count, Max, Min, Q, QuerySet, Sum
from django.utils.translation import gettext

from recommender import conf
from recommender.datasets.archive.manifest import FOLDER, ArchivedContents, ArchivedPart
from recommender.exceptions import MissingDependency
from recommender.models import Event
from recommender.models.encryption import encrypted

COLUMNS = (
    "pk", "visitor_id", "item_id", "type", "occurred_at", "received_at", "quantity", "order_id", "query", "is_bot",
    "device", "region", "source",
)  # fmt: skip
"""What learning reads of an event, and nothing else. `query` is encrypted as in SQL; moments are whole microseconds
since the epoch, which every engine compares alike."""

PK, VISITOR, OCCURRED, RECEIVED, QUANTITY, QUERY = (
    COLUMNS.index(name) for name in ("pk", "visitor_id", "occurred_at", "received_at", "quantity", "query")
)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
DRAFT_PREFIX = "archive-draft-"
Rows = list[tuple[Any, ...]]


class PartWriter:
    """Writes the events of one day, a page at a time, into a file of its own in `folder`."""

    def __init__(self, day: str, folder: Path) -> None:
        import pyarrow.parquet as pq

        self.day, self.path = day, folder / f"{day}.parquet"
        self.first_pk, self.last_pk = 0, 0
        self._schema = schema()
        self._writer = pq.ParquetWriter(self.path, self._schema, compression="zstd")
        self._stored: dict[str, str] = {}
        self._totals = _Totals()

    def add(self, rows: Rows) -> None:
        """Append events, ascending by primary key."""
        import pyarrow as pa

        self._totals.add(rows)
        self.first_pk, self.last_pk = self.first_pk or rows[0][PK], rows[-1][PK]
        columns: list[Any] = [list(column) for column in zip(*rows, strict=True)]
        for moment in (OCCURRED, RECEIVED):
            columns[moment] = [microseconds(at) for at in columns[moment]]
        columns[QUERY] = [self._stored.get(query) or self._encrypt(query) for query in columns[QUERY]]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.table(arrays, schema=self._schema))

    def finished(self, first_pk: int, last_pk: int) -> ArchivedPart:
        """Publish the file; what it is called includes its hash, so that no other file is ever overwritten."""
        self.close()
        digest = digest_of(self.path)
        name = f"{FOLDER}/day={self.day}/{first_pk}-{last_pk}-{digest[:16]}.parquet"
        publish(self.path, name)
        size = self.path.stat().st_size
        contents = self._totals.contents()
        return ArchivedPart(name, self.day, first_pk, last_pk, size, digest, keys_in_use(), contents)

    def close(self) -> None:
        """End the file, which may be without an event."""
        self._writer.close()

    def _encrypt(self, query: str) -> str:
        return self._stored.setdefault(query, encrypted(query))


class _Totals:
    """Adds up `ArchivedContents` page by page."""

    def __init__(self) -> None:
        self._sums = ArchivedContents()
        self._occurred: list[dt.datetime] = []
        self._received: list[dt.datetime] = []

    def add(self, rows: Rows) -> None:
        visitors = [row[VISITOR] for row in rows if row[VISITOR] is not None]
        before = self._sums
        self._sums = ArchivedContents(
            before.n_events + len(rows),
            before.sum_of_keys + sum(row[PK] for row in rows),
            before.n_of_visitors + len(visitors),
            before.sum_of_visitors + sum(visitors),
            before.n_queries + sum(bool(row[QUERY]) for row in rows),
            before.quantity + sum(row[QUANTITY] for row in rows),
        )
        for moments, column in ((self._occurred, OCCURRED), (self._received, RECEIVED)):
            values = [*moments, *(row[column] for row in rows)]
            moments[:] = [min(values), max(values)]

    def contents(self) -> ArchivedContents:
        sums = self._sums
        moments = [moment.isoformat() for moment in (*self._occurred, *self._received)]
        return ArchivedContents(
            sums.n_events, sums.sum_of_keys, sums.n_of_visitors, sums.sum_of_visitors, sums.n_queries,
            round(sums.quantity, 2), *moments,
        )  # fmt: skip


def schema() -> Any:
    """The columns of every file, in the order of `COLUMNS`. Raises MissingDependency."""
    pa = arrow()
    types = {
        "pk": pa.int64(), "visitor_id": pa.int64(), "occurred_at": pa.int64(), "received_at": pa.int64(),
        "quantity": pa.float32(), "is_bot": pa.bool_(),
    }  # fmt: skip
    return pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS])


def microseconds(moment: dt.datetime) -> int:
    """Return a moment as whole microseconds since the epoch."""
    return (moment - EPOCH) // dt.timedelta(microseconds=1)


def arrow() -> Any:
    """The package that reads and writes Parquet. Raises MissingDependency."""
    try:
        import pyarrow as pa
    except ImportError as error:
        message = gettext('The archive of events needs the package pyarrow: pip install "shopreco[archive]".')
        raise MissingDependency(message) from error
    return pa


@contextmanager
def drafts() -> Iterator[Path]:
    """A folder of this process for files that are not whole yet; it is gone at the end."""
    with TemporaryDirectory(prefix=DRAFT_PREFIX, dir=conf.make_directory()) as folder:
        yield Path(folder)


def publish(path: Path, name: str) -> None:
    """Copy a whole file to the storage. On a file system it is written beside, flushed and renamed."""
    storage = conf.bundle_storage()
    if not isinstance(storage, FileSystemStorage):
        storage.delete(name)
        with path.open("rb") as content:
            storage.save(name, File(content))
        return
    target = Path(storage.path(name))
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".new")
    with path.open("rb") as content, draft.open("wb") as copy:
        shutil.copyfileobj(content, copy)
        copy.flush()
        os.fsync(copy.fileno())
    draft.replace(target)


def events_of(first_pk: int, last_pk: int, day: str = "") -> QuerySet[Event]:
    """The events of a range of primary keys, of one day of receipt where it is given."""
    events = Event.objects.filter(pk__gte=first_pk, pk__lte=last_pk)
    if not day:
        return events
    midnight = dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC)
    return events.filter(received_at__gte=midnight, received_at__lt=midnight + dt.timedelta(days=1))


def contents_in_sql(part: ArchivedPart) -> ArchivedContents:
    """What the part would contain if it were written now. One query, over the rows of the part."""
    sums = events_of(part.first_pk, part.last_pk, part.day).aggregate(
        n=Count("pk"), keys=Sum("pk"), n_visitors=Count("visitor_id"), visitors=Sum("visitor_id"),
        n_queries=Count("pk", filter=~Q(query="")), quantity=Sum("quantity"), first=Min("occurred_at"),
        last=Max("occurred_at"), came=Min("received_at"), came_last=Max("received_at"),
    )  # fmt: skip
    moments = [sums[name].isoformat() if sums["n"] else "" for name in ("first", "last", "came", "came_last")]
    return ArchivedContents(
        sums["n"], int(sums["keys"] or 0), sums["n_visitors"], int(sums["visitors"] or 0), sums["n_queries"],
        round(sums["quantity"] or 0.0, 2), *moments,
    )  # fmt: skip


def is_whole(part: ArchivedPart, *, thoroughly: bool) -> bool:
    """Is the file there with its size; thoroughly: and with its sha256?"""
    storage = conf.bundle_storage()
    if not storage.exists(part.name) or storage.size(part.name) != part.size:
        return False
    if not thoroughly:
        return True
    digest = hashlib.sha256()
    with storage.open(part.name) as file:
        for chunk in file.chunks():
            digest.update(chunk)
    return digest.hexdigest() == part.sha256


def digest_of(path: Path) -> str:
    """The sha256 of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keys_in_use() -> str:
    """A hash of `ENCRYPTION_KEYS`; empty without keys."""
    keys = [key.encode() if isinstance(key, str) else key for key in conf.get("ENCRYPTION_KEYS")]
    return hashlib.sha256(b"\n".join(keys)).hexdigest()[:16] if keys else ""
