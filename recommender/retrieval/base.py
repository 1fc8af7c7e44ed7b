"""The protocol of retrievers: what each takes (`Wanted`) and gives (`Candidates`, best first)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from recommender.tables import Profile
from recommender.types import FloatArray, IntArray

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Items that may be shown, best first: rows (n,) int32 without repeats, scores (n,) float32, never ascending."""

    rows: IntArray
    scores: FloatArray

    def __len__(self) -> int:
        return len(self.rows)

    def pair(self) -> tuple[IntArray, FloatArray]:
        """Rows and scores."""
        return self.rows, self.scores

    @classmethod
    def none(cls) -> Candidates:
        """No candidate at all."""
        return cls(np.empty(0, np.int32), np.empty(0, np.float32))

    @classmethod
    def best(cls, rows: npt.NDArray[np.integer], scores: npt.NDArray[np.floating], limit: int) -> Candidates:
        """Keep the `limit` best of rows without repeats; equal scores keep the lower row first, always."""
        if limit <= 0 or not len(rows):
            return cls.none()
        if len(rows) > limit:  # everything at least as good as the last that fits: a tie is then cut by row
            threshold = np.partition(scores, len(scores) - limit)[len(scores) - limit]
            is_close = scores >= threshold
            rows, scores = rows[is_close], scores[is_close]
        order = np.lexsort((rows, -scores))[:limit]
        return cls(rows[order].astype(np.int32), scores[order].astype(np.float32))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for. allowed (n_items,) bool, all where None; vector (d,) of unit length, where one is known."""

    profile: Profile
    allowed: Mask | None = None
    vector: FloatArray | None = None


class Retriever(Protocol):
    """One source of candidates.

    It gives at most `limit` allowed rows, best first, the same for the same input, and no candidate where it knows
    nothing; a search engine outside the process can stand behind it.
    """

    def retrieve(self, wanted: Wanted, *, limit: int) -> Candidates: ...


def permitted(rows: IntArray, allowed: Mask | None) -> Mask:
    """Return (n,) bool: which of `rows` may be shown."""
    return np.ones(len(rows), bool) if allowed is None else allowed[rows]
