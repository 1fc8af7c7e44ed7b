"""The protocol of vector engines: databases outside the process that find the nearest items of a large catalogue."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from recommender.exceptions import EngineError
from recommender.types import FloatArray

MOST_HITS = 16_384
"""Hits of one search, at most: Milvus answers with no more (its documentation, "Milvus limits", topK)."""

Hits = list[tuple[str, float]]
"""Item ids and their cosines, all above 0, the nearest first; equal ones by id."""


@dataclass(frozen=True, slots=True)
class Space:
    """Which vectors may be compared: those of one encoder, moved by the behaviour that one training saw.

    delta_hash: of what moves the vectors of the encoder, "" where nothing does.
    """

    encoder_hash: str
    dimension: int
    delta_hash: str = ""

    @property
    def name(self) -> str:
        """The name of its collection: letters, digits and underscores, 49 at most."""
        digest = hashlib.sha256(f"{self.encoder_hash} {self.delta_hash}".encode()).hexdigest()[:8]
        return f"{re.sub(r'[^0-9A-Za-z]', '_', self.encoder_hash)[:40]}_{digest}"


@dataclass(frozen=True, slots=True)
class Records:
    """Items as an engine holds them.

    encoder_hash: of the encoder that made the vectors (n, d) float32, of unit length; prices (n,) float64, NaN for
    none; available (n,) bool.
    """

    encoder_hash: str
    item_ids: Sequence[str]
    vectors: FloatArray
    categories: Sequence[str]
    brands: Sequence[str]
    prices: FloatArray
    available: Sequence[bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """What an engine compares by itself: an item passes where all that is set holds.

    item_ids: only these, where it is not None; without_ids: never these. A bound of the price leaves out items without
    a price.
    """

    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    min_price: float | None = None
    max_price: float | None = None
    only_available: bool = False
    item_ids: tuple[str, ...] | None = None
    without_ids: tuple[str, ...] = ()


ANYTHING = Condition()


class VectorEngine(ABC):
    """A database of vectors with one collection for each `Space`.

    Every method may raise what the client of the database raises; `EngineError` is for what the caller must repair.
    Safe to share between threads. A change is seen by the next search of the same process.
    """

    requirement: ClassVar[str]
    """What to install: an extra of this package."""

    def __init__(self, *, prefix: str = "recommender") -> None:
        """prefix: of every collection. Raises MissingDependency without the client of the database."""
        self.prefix = prefix

    def collection(self, space: Space) -> str:
        """The name of the collection of a space."""
        return f"{self.prefix}_{space.name}"

    def upsert(self, space: Space, records: Records, *, stamp: int) -> None:
        """Insert items or replace them; stamp: number of the sync. Raises EngineError for vectors of another space."""
        if records.encoder_hash != space.encoder_hash:
            raise EngineError(
                f"Vectors of encoder {records.encoder_hash} were to be written into the collection of encoder "
                f"{space.encoder_hash}: their cosines mean nothing. Run recommender_engine_sync, which makes one "
                "collection for each encoder."
            )
        self._require_dimension(space, records.vectors)
        if len(records.item_ids):
            self._upsert(space, records, stamp)

    def search(self, space: Space, vectors: FloatArray, *, limit: int, condition: Condition = ANYTHING) -> list[Hits]:
        """Return for each of vectors (q, d) the `limit` nearest items that pass. Raises EngineError for a wrong d."""
        self._require_dimension(space, vectors)
        if limit <= 0 or not len(vectors) or condition.item_ids == ():
            return [[] for _ in vectors]
        answers = self._search(space, vectors, min(limit, MOST_HITS), condition)
        return [sorted((hit for hit in hits if hit[1] > 0), key=lambda hit: (-hit[1], hit[0])) for hits in answers]

    @abstractmethod
    def create(self, space: Space) -> None:
        """Make the collection of a space where there is none. Raises EngineError where it has another dimension."""

    @abstractmethod
    def dimension(self, space: Space) -> int:
        """The dimension of the collection of a space; 0 where there is none."""

    @abstractmethod
    def count(self, space: Space) -> int:
        """The number of items of a space; 0 where there is no collection."""

    @abstractmethod
    def delete(self, space: Space, item_ids: Sequence[str]) -> None:
        """Delete these items; those that are not there do not matter."""

    @abstractmethod
    def delete_older(self, space: Space, stamp: int) -> None:
        """Delete what was written by a sync before this one."""

    @abstractmethod
    def finish(self, space: Space) -> None:
        """Make what was loaded fast to search, after many items were written."""

    @abstractmethod
    def drop(self, space: Space) -> None:
        """Delete the collection of a space; one that is not there does not matter."""

    @abstractmethod
    def close(self) -> None:
        """End the connections."""

    @abstractmethod
    def _upsert(self, space: Space, records: Records, stamp: int) -> None: ...

    @abstractmethod
    def _search(
        self, space: Space, vectors: FloatArray, limit: int, condition: Condition
    ) -> Iterable[Iterable[tuple[str, float]]]: ...

    def _require_dimension(self, space: Space, vectors: FloatArray) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != space.dimension:
            raise EngineError(
                f"Vectors of shape {vectors.shape} do not fit into the collection of encoder {space.encoder_hash}, "
                f"which has {space.dimension} dimensions. Encode the items again: recommender_sync."
            )

    def _require_same(self, space: Space, dimension: int) -> None:
        if dimension != space.dimension:
            raise EngineError(
                f"The collection {self.collection(space)} has {dimension} dimensions, the encoder "
                f"{space.encoder_hash} makes {space.dimension}. Make it anew: recommender_engine_sync --rebuild."
            )


def price_of(price: Any) -> float | None:
    """A price as databases take it: None for none."""
    return None if np.isnan(price) else float(price)
