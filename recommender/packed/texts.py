"""Texts one behind the other in UTF-8; each is decoded when it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from operator import index
from types import MappingProxyType
from typing import Any, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

Blob = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

ERRORS = "surrogatepass"
"""Half of a surrogate pair, which JSON may hold, survives."""

BLOCK = 8_192
"""Texts that are decoded at once where all are read."""

FEWEST_CHANGED, MOST_CHANGED = 256, 8
"""Texts are packed anew when an eighth of them has changed, and so many."""

NOTHING: Mapping[int, str] = MappingProxyType({})


class PackedTexts(Sequence[str]):
    """An immutable sequence of texts, equal to a tuple of them.

    blob (n_bytes,) uint8 and start (n_packed + 1,) int64: text i is `blob[start[i]:start[i + 1]]`; changed: rows that
    were replaced or added since it was packed.
    """

    __slots__ = ("_bytes", "_n", "_offsets", "blob", "changed", "start")

    def __init__(self, blob: Blob, start: Offsets, changed: Mapping[int, str] = NOTHING, n: int = -1) -> None:
        self.blob, self.start, self.changed = blob, start, changed
        self._bytes, self._offsets = blob.data, start.data
        self._n = len(start) - 1 if n < 0 else n

    @classmethod
    def of(cls, texts: Sequence[str]) -> PackedTexts:
        """Pack texts; those that are packed already are only packed anew where rows have changed."""
        if isinstance(texts, PackedTexts) and not texts.changed and len(texts) == len(texts.start) - 1:
            return texts
        encoded = [text.encode("utf-8", ERRORS) for text in texts]
        start = np.fromiter(accumulate(map(len, encoded), initial=0), np.int64, len(encoded) + 1)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), start)

    @overload
    def __getitem__(self, row: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> tuple[str, ...]: ...
    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            first, last, step = row.indices(self._n)
            return tuple(self._between(first, last)) if step == 1 else tuple(self[i] for i in range(first, last, step))
        row = index(row)
        row = row + self._n if row < 0 else row
        if not 0 <= row < self._n:
            raise IndexError(f"There are {self._n} texts, none at {row}.")
        if self.changed and (text := self.changed.get(row)) is not None:
            return text
        if row >= len(self._offsets) - 1:
            return ""
        return str(self._bytes[self._offsets[row] : self._offsets[row + 1]], "utf-8", ERRORS)

    def is_at(self, row: int, encoded: bytes) -> bool:
        """Whether the text that was packed in a row has this form in UTF-8."""
        return self._bytes[self._offsets[row] : self._offsets[row + 1]] == encoded

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[str]:
        for first in range(0, self._n, BLOCK):
            yield from self._between(first, min(first + BLOCK, self._n))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash((self._n, self[0], self[-1])) if self._n else 0

    def __repr__(self) -> str:
        return f"PackedTexts({self._n} texts)"

    def put(self, rows: Sequence[int], values: Sequence[str], n: int) -> PackedTexts:
        """Return n texts, those of some rows replaced: the cost is by the rows changed since they were packed.

        The same object where nothing differs; packed anew where much does.
        """
        changed = {row: value for row, value in zip(rows, values, strict=True) if row >= self._n or self[row] != value}
        if not changed and n == self._n:
            return self
        changed = {**self.changed, **changed}
        if len(changed) <= max(FEWEST_CHANGED, n // MOST_CHANGED):
            return PackedTexts(self.blob, self.start, changed, n)
        texts = [*self, *[""] * (n - self._n)]
        for row, text in changed.items():
            texts[row] = text
        return PackedTexts.of(texts)

    def differing(self, other: Sequence[str]) -> set[int] | None:
        """Return the rows that another sequence of the same origin has otherwise; None where the origin differs."""
        if not isinstance(other, PackedTexts) or other.blob is not self.blob:
            return None
        rows = self.changed.keys() | other.changed.keys() | set(range(*sorted((len(self), len(other)))))
        shorter = min(len(self), len(other))
        return {row for row in rows if row >= shorter or self[row] != other[row]}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what `from_arrays` takes."""
        packed = PackedTexts.of(self)
        return {"blob": packed.blob, "start": packed.start}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> PackedTexts:
        """Read what `arrays` gave. Raises ValueError where it cannot be that."""
        blob, start = arrays["blob"], arrays["start"]
        if not len(start) or start[0] != 0 or start[-1] != len(blob):
            raise ValueError("the offsets of packed texts do not fit them")
        return cls(blob, start)

    def _between(self, first: int, last: int) -> list[str]:
        last_packed = min(last, len(self._offsets) - 1)
        if last_packed <= first:
            return [self[row] for row in range(first, last)]
        offsets = self.start[first : last_packed + 1].tolist()
        text = str(self._bytes[offsets[0] : offsets[-1]], "utf-8", ERRORS)
        if len(text) == offsets[-1] - offsets[0]:  # one byte per letter
            base = offsets[0]
            texts = [text[start - base : end - base] for start, end in pairwise(offsets)]
        else:
            texts = [str(self._bytes[start:end], "utf-8", ERRORS) for start, end in pairwise(offsets)]
        texts += [""] * (last - last_packed)
        if self.changed:
            for row in self.changed.keys() & range(first, last) if last - first < BLOCK else self.changed:
                if first <= row < last:
                    texts[row - first] = self.changed[row]
        return texts


Texts = tuple[str, ...] | PackedTexts
"""Texts of which nothing but their order is needed, in memory or packed."""
