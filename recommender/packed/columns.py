"""Columns of few different texts, and columns whose values are written as texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, SupportsIndex, TypeVar, overload

import numpy as np
import numpy.typing as npt

from recommender.packed.texts import PackedTexts

Value = TypeVar("Value")


class CodedTexts(Sequence[str]):
    """An immutable sequence of n texts, many of them equal: codes (n,) int32 into the names, -1 for an empty one."""

    __slots__ = ("codes", "names")

    def __init__(self, codes: npt.NDArray[np.int32], names: tuple[str, ...]) -> None:
        self.codes, self.names = codes, names

    @classmethod
    def of(cls, texts: Sequence[str]) -> CodedTexts:
        """Number the texts in the order in which they first occur."""
        if isinstance(texts, CodedTexts):
            return texts
        codes: dict[str, int] = {}
        column = [codes.setdefault(text, len(codes)) if text else -1 for text in texts]
        return cls(np.array(column, np.int32), tuple(codes))

    @overload
    def __getitem__(self, row: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> tuple[str, ...]: ...
    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return tuple(CodedTexts(self.codes[row], self.names))
        code = int(self.codes[row])
        return self.names[code] if code >= 0 else ""

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        names = (*self.names, "")
        return (names[code] for code in self.codes.tolist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash((len(self), self.names))

    def put(self, rows: Sequence[int], values: Sequence[str], n: int) -> CodedTexts:
        """Return n texts, those of some rows replaced; the same object where nothing differs."""
        if n == len(self) and all(self[row] == value for row, value in zip(rows, values, strict=True)):
            return self
        code_of = {name: code for code, name in enumerate(self.names)}
        column = np.full(n, -1, np.int32)
        column[: len(self.codes)] = self.codes
        column[rows] = [code_of.setdefault(value, len(code_of)) if value else -1 for value in values]
        return CodedTexts(column, tuple(code_of))


class Decoded(Sequence[Value], Generic[Value]):
    """An immutable sequence of values that are kept as texts and read with `decode`."""

    __slots__ = ("decode", "encode", "texts")

    def __init__(self, texts: PackedTexts, decode: Callable[[str], Value], encode: Callable[[Value], str]) -> None:
        self.texts, self.decode, self.encode = texts, decode, encode

    @overload
    def __getitem__(self, row: int) -> Value: ...
    @overload
    def __getitem__(self, row: slice) -> tuple[Value, ...]: ...
    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return tuple(map(self.decode, self.texts[row]))
        return self.decode(self.texts[row])

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[Value]:
        read: dict[str, Value] = {}
        for text in self.texts:
            if text not in read:
                read[text] = self.decode(text)
            yield read[text]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_same, self, other))

    def __hash__(self) -> int:
        return hash(self.texts)

    def put(self, rows: Sequence[int], values: Sequence[Value], n: int) -> Decoded[Value]:
        """Return n values, those of some rows replaced; the same object where nothing differs."""
        texts = self.texts.put(rows, list(map(self.encode, values)), n)
        return self if texts is self.texts else Decoded(texts, self.decode, self.encode)


def _same(mine: object, theirs: object) -> bool:
    return mine == theirs
