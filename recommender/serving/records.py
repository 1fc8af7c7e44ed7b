"""Reads the three tables that a shelf is made of as plain records: all rows, or those changed since a moment."""

from __future__ import annotations

import datetime as dt
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from django.db import models

from recommender.models import Item, ItemStatistics, ItemVector
from recommender.text.codes import gtins_in
from recommender.types import FloatArray

logger = logging.getLogger(__name__)

CHUNK_SIZE = 2_000
MAX_LISTED = 900
"""Ids named in one query; SQLite before 3.32 takes 999 parameters. For more, everything since the moment is read."""


class ItemRecord(NamedTuple):
    """One item; the fields are columns of `Item`."""

    item_id: str
    updated_at: dt.datetime
    label: str
    object_id: str
    title: str
    text: str
    category: str
    brand: str
    price: Decimal | None
    currency: str
    url: str
    image: str
    attributes: dict[str, str]
    is_available: bool
    is_active: bool
    first_seen_at: dt.datetime
    margin: Decimal | None

    @property
    def searchable(self) -> str:
        """The text, and behind it the GTINs that stand only in an attribute."""
        values = (value for value in self.attributes.values() if any(gtins_in(value)) and value not in self.text)
        return " ".join((self.text, *values))


class VectorRecord(NamedTuple):
    """One item's vector: little-endian float32."""

    item_id: str
    updated_at: dt.datetime
    vector: bytes


class StatisticsRecord(NamedTuple):
    """One item's statistics; neighbours are lists of [item id, similarity], best first, with a 0 behind
    each that is not public."""

    item_id: str
    computed_at: dt.datetime
    n_1: float
    n_7: float
    n_30: float
    n_total: float
    last_event_at: dt.datetime | None
    first_event_at: dt.datetime | None
    basket_neighbours: list[Sequence[Any]]
    visitor_neighbours: list[Sequence[Any]]
    regression_neighbours: list[Sequence[Any]]
    sequel_neighbours: list[Sequence[Any]]


Record = TypeVar("Record", ItemRecord, VectorRecord, StatisticsRecord)


@dataclass(frozen=True, slots=True)
class Table(Generic[Record]):
    """How to read one table: all, or what changed. Every method is one query."""

    rows: models.QuerySet[Any]
    record: type[Record]
    id_path: str = "item_id"

    def all(self) -> Iterator[Record]:
        """Read every row in the order of the primary key, in chunks."""
        return self._read(self.rows)

    def stamps(self, *, since: dt.datetime) -> list[tuple[str, dt.datetime]]:
        """Return id and time of change of each row changed at `since` or later."""
        return list(self._changed(since).values_list(self.id_path, self._stamp))

    def some(self, item_ids: Collection[str], *, since: dt.datetime) -> Iterator[Record]:
        """Read the rows of these items, or a superset of them: everything changed at `since` or later."""
        if len(item_ids) > MAX_LISTED:
            return self._read(self._changed(since))
        return self._read(self.rows.filter(**{f"{self.id_path}__in": list(item_ids)}))

    @property
    def _stamp(self) -> str:
        return self.record._fields[1]

    def _changed(self, since: dt.datetime) -> models.QuerySet[Any]:
        return self.rows.filter(**{f"{self._stamp}__gte": since})

    def _read(self, rows: models.QuerySet[Any]) -> Iterator[Record]:
        columns = rows.order_by("pk").values_list(self.id_path, *self.record._fields[1:])
        return map(self.record._make, columns.iterator(chunk_size=CHUNK_SIZE))


def items() -> Table[ItemRecord]:
    """Every item, active or not: a history may name an item that is no longer sold."""
    return Table(Item.objects.all(), ItemRecord)


def vectors(encoder_hash: str) -> Table[VectorRecord]:
    """The vectors of one encoder."""
    return Table(ItemVector.objects.filter(encoder_hash=encoder_hash), VectorRecord, "item__item_id")


def statistics() -> Table[StatisticsRecord]:
    """What shoppers did with each item."""
    return Table(ItemStatistics.objects.all(), StatisticsRecord, "item__item_id")


def dimension_of(vectors: Sequence[VectorRecord]) -> int:
    """Return the dimension that most vectors have; 0 without vectors."""
    return Counter(len(record.vector) // 4 for record in vectors).most_common(1)[0][0] if vectors else 0


def vector_of(record: VectorRecord, dimension: int) -> FloatArray | None:
    """Return (dimension,) of unit length, None where the bytes hold no such vector."""
    raw = bytes(record.vector)
    if len(raw) == 4 * dimension:
        vector = np.frombuffer(raw, "<f4").astype(np.float32)
        length = float(np.linalg.norm(vector))
        if np.isfinite(length) and length > 0:
            return vector / length
    logger.warning("the vector of item %s is broken (%d bytes) and left out; encode it again", record.item_id, len(raw))
    return None
