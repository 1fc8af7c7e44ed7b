"""Behaviour, judgements, lists and the catalogue as columns, for training and serving. No Django, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.durations import DAY_SECONDS, LABEL_WINDOW_SECONDS
from recommender.packed import Texts
from recommender.types import FloatArray, IntArray, Slot, TimeArray


@dataclass(frozen=True, slots=True)
class Interactions:
    """Events in columns, ascending by time.

    visitor (n,) int32: row of the visitor, -1 if anonymous; item (n,) int32: row of the item, -1 for a search; type
    (n,) int8: `EVENT_CODES`; time (n,) float64: seconds since the epoch, UTC; quantity (n,) float32; basket (n,) int32:
    the same number for the events of one order, -1 outside an order; query, device and region (n,) int32: rows in
    `queries`, `devices` and `regions`, -1 for none; claim (n,) int32: the same number for what one person sent on one
    day, -1 for the shop's own rows; day (n,) int32: days since the epoch, of a claim until its receipt. device,
    region and claim default to -1 throughout, day to that of the time.
    """

    visitor: IntArray
    item: IntArray
    type: npt.NDArray[np.int8]
    time: TimeArray
    quantity: FloatArray
    basket: IntArray
    query: IntArray
    queries: tuple[str, ...] = ()
    device: IntArray = field(default_factory=lambda: np.empty(0, np.int32))
    region: IntArray = field(default_factory=lambda: np.empty(0, np.int32))
    devices: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    claim: IntArray = field(default_factory=lambda: np.empty(0, np.int32))
    day: IntArray = field(default_factory=lambda: np.empty(0, np.int32))

    def __post_init__(self) -> None:
        for name in ("device", "region", "claim"):
            if len(getattr(self, name)) != len(self.time):
                object.__setattr__(self, name, np.full(len(self.time), -1, np.int32))
        if len(self.day) != len(self.time):
            object.__setattr__(self, "day", np.nan_to_num(self.time // DAY_SECONDS).astype(np.int32))

    def __len__(self) -> int:
        return len(self.time)

    def columns(self) -> dict[str, Any]:
        """Return every array by name, without the names that they index (`queries`, `devices`, `regions`)."""
        return {
            entry.name: value for entry in fields(self) if isinstance(value := getattr(self, entry.name), np.ndarray)
        }

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Interactions:
        """Return these rows of every column, in this order."""
        return replace(self, **{name: column[rows] for name, column in self.columns().items()})


@dataclass(frozen=True, slots=True)
class Judgements:
    """How well items answer queries: query (n,) int32, row in `queries`; item (n,) int32; grade (n,) float32, 0-1."""

    queries: tuple[str, ...]
    query: IntArray
    item: IntArray
    grade: FloatArray

    def __len__(self) -> int:
        return len(self.grade)

    @classmethod
    def none(cls) -> Judgements:
        """Return a table without a judgement."""
        return cls((), np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))

    def of_queries(self, chosen: npt.NDArray[np.bool_]) -> Judgements:
        """Return the judgements of the queries marked in chosen (n_queries,) bool; `queries` itself stays whole."""
        is_chosen = chosen[self.query]
        return Judgements(self.queries, self.query[is_chosen], self.item[is_chosen], self.grade[is_chosen])


@dataclass(frozen=True, slots=True)
class Impressions:
    """Lists shown to identified visitors, ascending by time, with the outcome of each position.

    Per list: visitor (n,) int32, as in `Interactions`; slot (n,) int8: `SLOT_CODES`; time (n,) float64: seconds since
    the epoch; query (n,) int32: row in `queries`, -1 for none; current (n,) int32: row of the item whose page showed
    the list, -1 for none; start (n + 1,) int64: list i has the entries start[i] to start[i + 1].
    Per entry, top first: item (m,) int32, -2 if it has left the catalogue; position (m,) int32, from 1; propensity (m,)
    float32 in (0, 1]: the probability that the item was shown there, 1 without exploration; clicked, carted and bought
    (m,) float64: when it was first attributed to the list, inf for never.
    """

    visitor: IntArray
    slot: npt.NDArray[np.int8]
    time: TimeArray
    query: IntArray
    current: IntArray
    start: npt.NDArray[np.int64]
    item: IntArray
    position: IntArray
    propensity: FloatArray
    clicked: TimeArray
    carted: TimeArray
    bought: TimeArray
    queries: tuple[str, ...] = ()

    @classmethod
    def none(cls) -> Impressions:
        """Return a table without a list."""
        row, time = np.empty(0, np.int32), np.empty(0, np.float64)
        slot, start, propensity = np.empty(0, np.int8), np.zeros(1, np.int64), np.empty(0, np.float32)
        return cls(row, slot, time, row, row, start, row, row, propensity, time, time, time)

    def __len__(self) -> int:
        return len(self.time)

    def between(self, since: float, until: float) -> npt.NDArray[np.int64]:
        """Return the lists shown at or after `since` whose label window had closed by `until`."""
        return np.flatnonzero((self.time >= since) & (self.time + LABEL_WINDOW_SECONDS <= until))


@dataclass(frozen=True, slots=True)
class ItemTable:
    """The catalogue in columns; row i of every array is item `ids[i]`.

    price (n,) float32, NaN if unknown; category (n,) int32, -1 if unknown; first_seen (n,) float64, seconds since the
    epoch; active (n,) bool.
    """

    ids: Texts
    texts: Texts
    price: FloatArray
    category: IntArray
    category_names: tuple[str, ...]
    first_seen: TimeArray
    active: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Profile:
    """A `Request` with items as rows of one catalogue: the input of features and context model. Oldest event first.

    item (h,) int32, -1 for a query or an item that has left the catalogue; type (h,) int8; time (h,) float64; quantity
    (h,) float32; basket (h,) int32: the same number for one order, -1 for none; queries: the text of each search, ""
    for other events.
    """

    item: IntArray
    type: npt.NDArray[np.int8]
    time: TimeArray
    quantity: FloatArray
    basket: IntArray
    queries: tuple[str, ...]
    now: float
    slot: Slot = Slot.HOME
    query: str = ""
    current_item: int = -1
    cart: IntArray = field(default_factory=lambda: np.empty(0, np.int32))
    device: str = ""
    region: str = ""
