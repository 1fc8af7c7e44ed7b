"""Finds the row of a text in a hash table of three arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from recommender.packed.texts import ERRORS, FEWEST_CHANGED, MOST_CHANGED, PackedTexts

NO_ROW: Mapping[str, int] = MappingProxyType({})


class TextIndex(Mapping[str, int]):
    """Texts to their rows, as an immutable mapping.

    first (n_buckets + 1,) int32 and rows (n_packed,) int32: the rows whose text has the hash h modulo n_buckets are
    `rows[first[h]:first[h + 1]]`; added: texts that came since.
    """

    __slots__ = ("_first", "_mask", "_rows", "added", "first", "rows", "texts")

    def __init__(
        self,
        texts: PackedTexts,
        first: npt.NDArray[np.int32],
        rows: npt.NDArray[np.int32],
        added: Mapping[str, int] = NO_ROW,
    ) -> None:
        self.texts, self.first, self.rows, self.added = texts, first, rows, added
        self._first, self._rows, self._mask = first.data, rows.data, len(first) - 2

    @classmethod
    def of(cls, texts: PackedTexts) -> TextIndex:
        """Index texts that differ from one another."""
        n_buckets = 1 << max(len(texts) - 1, 0).bit_length()
        hashes = np.fromiter((_hash(text) for text in texts), np.uint32, len(texts)) & np.uint32(n_buckets - 1)
        first = np.concatenate([[0], np.cumsum(np.bincount(hashes, minlength=n_buckets))]).astype(np.int32)
        return cls(texts, first, np.argsort(hashes, kind="stable").astype(np.int32))

    def __getitem__(self, text: str) -> int:
        row = self.get(text, -1)
        if row < 0:
            raise KeyError(text)
        return row

    def get(self, text: Any, default: Any = None) -> Any:
        """Return the row of a text."""
        if not isinstance(text, str):
            return default
        if self.added and (row := self.added.get(text, -1)) >= 0:
            return row
        encoded = text.encode("utf-8", ERRORS)
        bucket = crc32(encoded) & self._mask
        for row in self._rows[self._first[bucket] : self._first[bucket + 1]]:
            if self.texts.is_at(row, encoded):
                return row
        return default

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and self.get(text, -1) >= 0

    def __iter__(self) -> Iterator[str]:
        yield from self.texts[: len(self.rows)]
        yield from self.added

    def __len__(self) -> int:
        return len(self.rows) + len(self.added)

    def items(self) -> Any:
        """Return pairs of text and row, without a lookup for each."""
        return {**dict(zip(self.texts[: len(self.rows)], range(len(self.rows)), strict=True)), **self.added}.items()

    def adding(self, added: Mapping[str, int]) -> TextIndex:
        """Return an index that has further texts, whose rows count on."""
        if not added:
            return self
        added = {**self.added, **added}
        if len(added) <= max(FEWEST_CHANGED, len(self.rows) // MOST_CHANGED):
            return TextIndex(self.texts, self.first, self.rows, added)
        return TextIndex.of(PackedTexts.of([*self.texts[: len(self.rows)], *added]))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what `from_arrays` takes, the texts that were added among the others."""
        if self.added:
            return TextIndex.of(PackedTexts.of([*self.texts[: len(self.rows)], *self.added])).arrays()
        return {"first": self.first, "rows": self.rows, "blob": self.texts.blob, "start": self.texts.start}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> TextIndex:
        """Read what `arrays` gave. Raises ValueError where it cannot be that."""
        texts, first, rows = PackedTexts.from_arrays(arrays), arrays["first"], arrays["rows"]
        n_buckets = len(first) - 1
        if len(rows) != len(texts) or n_buckets < 1 or n_buckets & (n_buckets - 1) or first[-1] != len(rows):
            raise ValueError("the index does not fit its texts")
        return cls(texts, first, rows)


class Counted(Mapping[str, int]):
    """Texts to numbers; a text that is not counted has 0."""

    __slots__ = ("index", "values_of")

    def __init__(self, index: TextIndex, values: npt.NDArray[np.int32]) -> None:
        self.index, self.values_of = index, values

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Counted:
        """Pack a mapping."""
        values = np.fromiter(counts.values(), np.int32, len(counts))
        return cls(TextIndex.of(PackedTexts.of(list(counts))), values)

    def __getitem__(self, text: str) -> int:
        row = self.index.get(text, -1)
        return int(self.values_of[row]) if row >= 0 else 0

    def __iter__(self) -> Iterator[str]:
        return iter(self.index)

    def __len__(self) -> int:
        return len(self.index)


@dataclass(slots=True)
class Numbering:
    """Numbers texts: those of `before` keep their numbers, new ones (text to number) count on from `n_before`."""

    before: Mapping[str, int] = field(default_factory=dict)
    n_before: int = 0
    new: dict[str, int] = field(default_factory=dict)

    def add(self, text: str) -> int:
        """Return the number of a text, a new one where it has none."""
        number = self.new.get(text, -1)
        if number < 0:
            number = self.before.get(text, -1)
        if number < 0:
            number = self.new[text] = self.n_before + len(self.new)
        return number

    def of(self, text: str) -> int:
        """Return the number of a text that was added."""
        return self.new[text] if text in self.new else self.before[text]


def _hash(text: str) -> int:
    return crc32(text.encode("utf-8", ERRORS))
