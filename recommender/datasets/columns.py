"""Gathers events into columns, a page of rows or a file at a time, so that memory holds no Python object per event."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recommender.datasets.cleaning import Mask, Recorded
from recommender.durations import DAY_SECONDS
from recommender.models.claims import MAX_CLAIM_AGE, ROWS_OF_THE_SHOP, counted_as
from recommender.tables import Interactions, ItemTable
from recommender.types import EVENT_CODES, FloatArray, IntArray, TimeArray

TEXTS = ("item_id", "type", "order_id", "query", "device", "region", "source")
"""Columns of few distinct values: each is read as codes, and each distinct value once."""

ROW, API, OTHER = 0, 1, 2
"""Codes of the sources that count differently: the shop's own rows, events of apps, everything else."""

MICROSECOND = dt.timedelta(microseconds=1)
_SOURCES = {ROWS_OF_THE_SHOP: ROW, "api": API}
_COUNTED_AS = np.array([EVENT_CODES[counted_as(kind, "")] for kind in EVENT_CODES], np.int8)
"""What each type counts as when it is claimed."""

Keys = npt.NDArray[np.int64]


class PersonRow(NamedTuple):
    """A visitor in the columns: the row shared by the visitors of one user, -1 for anonymous."""

    row: int = -1
    is_bot: bool = False


ANONYMOUS = PersonRow()

People = Mapping[int, PersonRow]
"""By primary key of the visitor."""


@dataclass(frozen=True, slots=True)
class PeopleColumns:
    """`People` in columns, ascending by primary key: key, row (n,) int64; is_bot (n,) bool."""

    key: Keys
    row: Keys
    is_bot: Mask

    @classmethod
    def of(cls, people: People) -> PeopleColumns:
        """Return the columns of a mapping."""
        key = np.fromiter(people, np.int64, len(people))
        row = np.fromiter((person.row for person in people.values()), np.int64, len(people))
        is_bot = np.fromiter((person.is_bot for person in people.values()), bool, len(people))
        order = np.argsort(key, kind="stable")
        return cls(key[order], row[order], is_bot[order])

    def look_up(self, visitor: Keys) -> tuple[Keys, Mask]:
        """Return the row and the bot flag of each visitor; of one that is gone, those of an anonymous one."""
        if not len(self.key):
            return np.full(len(visitor), -1, np.int64), np.zeros(len(visitor), bool)
        at = np.minimum(np.searchsorted(self.key, visitor), len(self.key) - 1)
        is_there = self.key[at] == visitor
        return np.where(is_there, self.row[at], -1), is_there & self.is_bot[at]


@dataclass(frozen=True, slots=True)
class EventColumns:
    """Events as they were stored, ascending by primary key.

    key, visitor (n,) int64: primary keys, visitor 0 for none; item (n,) int32; type (n,) int8: `EVENT_CODES` as sent;
    occurred, received (n,) float64: seconds since the epoch; quantity (n,) float32; source (n,) int8: `ROW`, `API` or
    `OTHER`; is_bot (n,) bool; basket, query, device, region (n,) int32: -1 for none, numbered by first appearance.
    """

    key: Keys
    visitor: Keys
    item: IntArray
    type: npt.NDArray[np.int8]
    occurred: TimeArray
    received: TimeArray
    quantity: FloatArray
    source: npt.NDArray[np.int8]
    is_bot: Mask
    basket: IntArray
    query: IntArray
    device: IntArray
    region: IntArray
    queries: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()


_DTYPES = {
    "key": np.int64, "visitor": np.int64, "item": np.int32, "type": np.int8, "occurred": np.float64,
    "received": np.float64, "quantity": np.float32, "source": np.int8, "is_bot": np.bool_, "basket": np.int32,
    "query": np.int32, "device": np.int32, "region": np.int32,
}  # fmt: skip
_CODED = {"basket": "order_id", "query": "query", "device": "device", "region": "region"}


class Gathering:
    """Collects pages of rows and tables of the archive; `columns()` puts them together."""

    def __init__(self, items: ItemTable) -> None:
        self._items = {item_id: row for row, item_id in enumerate(items.ids)} | {"": Recorded.NO_ITEM}
        self._codes: dict[str, dict[str, int]] = {name: {} for name in _CODED}
        self._chunks: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _DTYPES}

    def add_rows(self, page: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> None:
        """Append rows of SQL, named as `columns`."""
        named = dict(zip(columns, zip(*page, strict=True), strict=True))
        numbers = {
            "key": named["pk"],
            "visitor": [pk or 0 for pk in named["visitor_id"]],
            "occurred": [at.timestamp() for at in named["occurred_at"]],
            "received": [at.timestamp() for at in named["received_at"]],
            "quantity": named["quantity"],
            "is_bot": named["is_bot"],
        }
        self._add(
            {name: np.array(values, _DTYPES[name]) for name, values in numbers.items()},
            {name: _coded(named[name]) for name in TEXTS},
        )

    def add_table(self, table: Any, *, plain: Any) -> None:
        """Append a table of the archive whose texts are dictionary-encoded; `plain` decrypts a query."""
        numbers = {
            "key": table["pk"].to_numpy(),
            "visitor": table["visitor_id"].fill_null(0).to_numpy(),
            "quantity": table["quantity"].to_numpy(),
            "is_bot": table["is_bot"].to_numpy(),
            **{
                name: table[f"{name}_at"].to_numpy() / 1e6
                for name in ("occurred", "received")
            },
        }  # fmt: skip
        texts = {name: _coded_in_arrow(table[name]) for name in TEXTS}
        stored, codes = texts["query"]
        self._add(numbers, texts | {"query": ([plain(query) for query in stored], codes)})

    def columns(self) -> EventColumns:
        """Return all that was appended, ascending by primary key."""
        gathered = {
            name: np.concatenate([np.empty(0, _DTYPES[name]), *chunks]) for name, chunks in self._chunks.items()
        }
        self._chunks = {name: [] for name in _DTYPES}
        if (np.diff(gathered["key"]) <= 0).any():
            order = np.argsort(gathered["key"], kind="stable")
            gathered = {name: column[order] for name, column in gathered.items()}
        names = {}
        for name, codes in self._codes.items():
            gathered[name], names[name] = _by_appearance(gathered[name], tuple(codes))
        return EventColumns(
            **gathered, queries=names["query"], devices=names["device"], regions=names["region"]
        )  # fmt: skip

    def _add(
        self, numbers: Mapping[str, npt.NDArray[Any]], texts: Mapping[str, tuple[Sequence[str], npt.NDArray[Any]]]
    ) -> None:
        def coded(name: str, code_of: Any) -> npt.NDArray[Any]:
            values, codes = texts[name]
            return np.array([code_of(value) for value in values], np.int32)[codes] if len(codes) else codes

        columns = {
            **numbers,
            "item": coded("item_id", lambda item_id: self._items.get(item_id, Recorded.UNKNOWN_ITEM)),
            "type": coded("type", lambda kind: EVENT_CODES[kind]),
            "source": coded("source", lambda source: _SOURCES.get(source, OTHER)),
            **{name: coded(text, partial(_code_of, self._codes[name])) for name, text in _CODED.items()},
        }
        columns["basket"] = _baskets(columns["basket"], columns["source"])
        for name, column in columns.items():
            self._chunks[name].append(np.asarray(column, _DTYPES[name]))


def recorded_of(events: EventColumns, people: People, staff: Sequence[int]) -> Recorded:
    """Return the events as what they count, ascending by time."""
    row, of_bot = PeopleColumns.of(people).look_up(events.visitor)
    is_row = events.source == ROW
    of_staff = np.isin(events.visitor, np.array(sorted(staff), np.int64)) & ~is_row  # an order counts, whoever ordered
    time = np.where(
        events.source == API,
        np.maximum(events.occurred, (np.round(events.received * 1e6) - MAX_CLAIM_AGE / MICROSECOND) / 1e6),
        events.occurred,
    )
    recorded = Recorded(
        Interactions(
            visitor=row.astype(np.int32),
            item=events.item,
            type=np.where(is_row, events.type, _COUNTED_AS[events.type]),
            time=time,
            quantity=events.quantity,
            basket=events.basket,
            query=events.query,
            queries=events.queries,
            device=events.device,
            region=events.region,
            devices=events.devices,
            regions=events.regions,
            claim=claims_of(events.visitor, row, events.received, is_row),
            day=days_of(events.occurred, events.received, is_row),
        ),
        is_bot=events.is_bot | of_bot | of_staff,
    )
    return recorded.take(np.argsort(time, kind="stable"))


def claims_of(visitor: Keys, row: Keys, received: TimeArray, is_row: Mask) -> IntArray:
    """Return `Interactions.claim`: a number per person, anonymous or not, and day of receipt, by first appearance."""
    claims = np.full(len(visitor), -1, np.int32)
    sent = np.flatnonzero(~is_row)
    person = np.where(row[sent] >= 0, row[sent], -2 - visitor[sent])
    key = person * 2**20 + (received[sent] // DAY_SECONDS).astype(np.int64)  # a day of the next 900 years fits
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int32)
    number[np.argsort(first, kind="stable")] = np.arange(len(first), dtype=np.int32)
    claims[sent] = number[group]
    return claims


def days_of(occurred: TimeArray, received: TimeArray, is_row: Mask) -> IntArray:
    """Return `Interactions.day`: of the shop's rows when it was ordered, of a claim when it came."""
    return (np.where(is_row, occurred, received) // DAY_SECONDS).astype(np.int32)


def seconds_of(moments: Sequence[dt.datetime]) -> TimeArray:
    """Return moments as seconds since the epoch."""
    return np.array([at.timestamp() for at in moments], np.float64)


def _code_of(codes: dict[str, int], value: str) -> int:
    return codes.setdefault(value, len(codes)) if value else -1


def _baskets(basket: IntArray, source: npt.NDArray[np.integer]) -> IntArray:
    """A claim belongs to no order."""
    return np.where(source == ROW, basket, np.int32(-1))


def _coded(values: Sequence[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
    codes: dict[str, int] = {}
    column = np.array([codes.setdefault(value, len(codes)) for value in values], np.int64)
    return list(codes), column


def _coded_in_arrow(column: Any) -> tuple[list[str], npt.NDArray[Any]]:
    encoded = column.combine_chunks()
    if not len(column):
        return [], np.empty(0, np.int64)
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def _by_appearance(codes: IntArray, names: tuple[str, ...]) -> tuple[IntArray, tuple[str, ...]]:
    """Number codes anew in the order in which they come first; names that no event has are left out."""
    rows = np.flatnonzero(codes >= 0)[::-1]
    first = np.full(len(names), len(codes), np.int64)
    first[codes[rows]] = rows  # the last write is the earliest row
    order = np.argsort(first, kind="stable")
    order = order[first[order] < len(codes)]
    number = np.full(len(names) + 1, -1, np.int32)
    number[order] = np.arange(len(order), dtype=np.int32)
    return number[codes], tuple(names[code] for code in order.tolist())
