"""Extends the columns of a shelf or replaces some of their rows, always in a copy."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from recommender.features.neighbours import Neighbours
from recommender.features.shop_state import NEIGHBOUR_KINDS, ShopState
from recommender.packed import Decoded, PackedTexts
from recommender.types import IntArray, TimeArray

Hashes = npt.NDArray[np.uint64]
Number = TypeVar("Number", bound=np.generic)


def longer(old: npt.NDArray[Number], n: int, fill: float) -> npt.NDArray[Number]:
    """Return a copy with rows of `fill` added up to n."""
    new = np.full((n, *old.shape[1:]), fill, old.dtype)
    new[: len(old)] = old
    return new


def as_attributes(values: Sequence[Mapping[str, str]]) -> Decoded[Mapping[str, str]]:
    """Pack the attributes of items."""
    return Decoded(PackedTexts.of(list(map(_attributes_text, values))), _attributes, _attributes_text)


def as_margins(values: Sequence[Decimal | None]) -> Decoded[Decimal | None]:
    """Pack what the shop earns with items."""
    return Decoded(PackedTexts.of(list(map(_margin_text, values))), _margin, _margin_text)


def attributes_from(texts: PackedTexts) -> Decoded[Mapping[str, str]]:
    """Read packed attributes."""
    return Decoded(texts, _attributes, _attributes_text)


def margins_from(texts: PackedTexts) -> Decoded[Decimal | None]:
    """Read packed margins."""
    return Decoded(texts, _margin, _margin_text)


def _attributes(text: str) -> Mapping[str, str]:
    return json.loads(text) if text else {}


def _attributes_text(value: Mapping[str, str]) -> str:
    return json.dumps(value, ensure_ascii=False) if value else ""


def _margin(text: str) -> Decimal | None:
    return Decimal(text) if text else None


def _margin_text(value: Decimal | None) -> str:
    return "" if value is None else str(value)


class ActiveTexts(Sequence[str]):
    """The texts of items, empty for inactive ones, which no search may find; active (n,) bool."""

    __slots__ = ("active", "texts")

    def __init__(self, texts: Sequence[str], active: npt.NDArray[np.bool_]) -> None:
        self.texts, self.active = texts, active

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return tuple(self[one] for one in range(*row.indices(len(self))))
        return self.texts[row] if self.active[row] else ""

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[str]:
        return (text if is_active else "" for text, is_active in zip(self.texts, self.active.tolist(), strict=True))


def id_hashes(ids: Sequence[str]) -> Hashes:
    """Return (n,) uint64: a hash of each item id, the same in every process."""
    digests = b"".join(hashlib.blake2b(item_id.encode(), digest_size=8).digest() for item_id in ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def version_of(ids: Hashes, stamps: TimeArray, encoder_hash: str) -> str:
    """Return a hash of the rows, whatever their order: ids (n,) of `id_hashes`, stamps (n, 3) of `Shelf`.

    The rows' own hashes (the multipliers are those of splitmix64: Steele, Lea and Flood 2014, figure 16) are added up.
    """
    mixed = ids.copy()
    for column in np.ascontiguousarray(stamps.T).view(np.uint64):
        mixed ^= column
        mixed ^= mixed >> np.uint64(30)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(27)
        mixed *= np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return digest(encoder_hash, str(len(ids)), int(mixed.sum(dtype=np.uint64)).to_bytes(8, "little"))


def coded(values: Sequence[str]) -> tuple[IntArray, tuple[str, ...]]:
    """Return (n,) the code of each string, -1 for an empty one, and the strings by code."""
    codes: dict[str, int] = {}
    column = [codes.setdefault(value, len(codes)) if value else -1 for value in values]
    return np.array(column, np.int32), tuple(codes)


def longer_state(state: ShopState, n: int) -> ShopState:
    """Return the state with rows for new items, which have no behaviour, up to n."""
    if n == len(state.counts):
        return state

    def extended(old: Neighbours) -> Neighbours:
        return replace(old, start=longer(old.start, n + 1, len(old.item)))

    return ShopState.from_columns(
        at=state.at,
        counts=longer(state.counts, n, 0),
        last_event_at=longer(state.last_event_at, n, -np.inf),
        first_event_at=longer(state.first_event_at, n, np.inf),
        **{kind: extended(getattr(state, kind)) for kind in NEIGHBOUR_KINDS},
    )


def replaced_neighbours(old: Neighbours, lists: Mapping[int, Sequence[tuple[int, float, bool]]]) -> Neighbours:
    """Return the neighbours with the lists of some rows replaced by (row of the neighbour, score, whether the pair is
    public), best first."""
    length = np.diff(old.start)
    is_unchanged = np.ones(len(length), bool)
    rows = np.fromiter(lists, np.int64, len(lists))
    is_unchanged[rows] = False
    owner = np.repeat(np.arange(len(length)), length)
    length[rows] = [len(pairs) for pairs in lists.values()]
    start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    item, score = np.empty(start[-1], np.int32), np.empty(start[-1], np.float32)
    is_public = np.ones(start[-1], np.bool_)
    source = np.flatnonzero(is_unchanged[owner])
    target = source - old.start[owner[source]] + start[owner[source]]
    item[target], score[target] = old.item[source], old.score[source]
    is_public[target] = True if old.is_public is None else old.is_public[source]
    for row, pairs in lists.items():
        span = slice(start[row], start[row + 1])
        if pairs:
            item[span], score[span], is_public[span] = zip(*pairs, strict=True)
    return Neighbours(start, item, score, is_public)


def seconds(moment: dt.datetime | None, never: float) -> float:
    """The seconds since 1970 of a moment; `never` where there is none."""
    return never if moment is None else moment.timestamp()


def digest(*parts: str | bytes) -> str:
    """A hash of all parts in their order, 16 characters."""
    whole = hashlib.blake2b(digest_size=8)
    for part in parts:
        whole.update(part if isinstance(part, bytes) else part.encode())
        whole.update(b"\0")
    return whole.hexdigest()
