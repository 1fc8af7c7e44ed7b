"""The values that cross a layer: what is asked, what is known, what is answered. No Django, no I/O."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
TimeArray = npt.NDArray[np.float64]


class EventType(enum.StrEnum):
    """The verbs of GA4 e-commerce; source: Google Analytics 4 recommended events for online sales."""

    VIEW_ITEM_LIST = "view_item_list"
    SELECT_ITEM = "select_item"
    VIEW_ITEM = "view_item"
    SEARCH = "search"
    ADD_TO_CART = "add_to_cart"
    REMOVE_FROM_CART = "remove_from_cart"
    PURCHASE = "purchase"
    REFUND = "refund"
    DISMISS_ITEM = "dismiss_item"


EVENT_CODES: dict[EventType, int] = {event_type: code for code, event_type in enumerate(EventType)}
"""Code of each type in arrays and in the context model; append only, a bundle depends on the order."""


class Slot(enum.StrEnum):
    """A place on a page that asks for a list."""

    HOME = "home"
    SIMILAR = "similar"
    BOUGHT_TOGETHER = "bought_together"
    CART = "cart"
    RECENTLY_VIEWED = "recently_viewed"
    BUY_AGAIN = "buy_again"
    TRENDING = "trending"
    SEARCH = "search"


SLOT_CODES: dict[Slot, int] = {slot: code for code, slot in enumerate(Slot)}
"""Code of each slot in arrays; append only, a bundle depends on the order."""


class Rung(enum.StrEnum):
    """Which step of the ladder served a ranking, best first."""

    CHAMPION = "champion"
    UNTRAINED = "untrained"
    LEXICAL = "lexical"
    POPULARITY = "popularity"
    WORDS = "words"
    SHOP_ORDER = "shop_order"
    EMPTY = "empty"


class Role(enum.StrEnum):
    """What a word of a query is about."""

    BRAND = "brand"
    CATEGORY = "category"
    ATTRIBUTE = "attribute"
    PRODUCT = "product"
    PRICE = "price"
    OTHER = "other"


class Relaxation(enum.StrEnum):
    """What was given up so that a search does not end in an empty page, the least first; empty where nothing was."""

    NONE = ""
    WORDS = "words"
    FILTERS = "filters"
    MEANING = "meaning"
    POPULAR = "popular"


@dataclass(frozen=True, slots=True)
class IntentWord:
    """A word, or the words of one name, and what it is about; `value` is the shop's own name of a brand or category.

    `probability` in (0, 1] that the role is the right one.
    """

    text: str
    role: Role
    probability: float = 1.0
    value: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """A query as it was understood: its words, likely categories (name, probability) best first, bounds of the price.

    `text` is what is searched: the query without the words of a price.
    """

    text: str
    words: tuple[IntentWord, ...] = ()
    categories: tuple[tuple[str, float], ...] = ()
    min_price: float | None = None
    max_price: float | None = None
    is_cheap: bool = False


@dataclass(frozen=True, slots=True)
class OfferedFilter:
    """A filter that the query suggests; `is_applied` where the list is narrowed by it.

    `query` is what to search with the filter on, or, where it is applied, without it.
    """

    name: str
    value: str
    text: str
    query: str
    is_applied: bool = False


@dataclass(frozen=True, slots=True)
class PastEvent:
    """One thing a visitor did, as the ranker sees it."""

    type: EventType
    at: dt.datetime
    item_id: str = ""
    query: str = ""
    quantity: float = 1.0
    order_id: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """The circumstances of a request; `at` is aware UTC."""

    at: dt.datetime
    device: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the pipeline. `history` is newest last; `among`, where given, holds all that may be answered."""

    slot: Slot
    context: Context
    history: tuple[PastEvent, ...] = ()
    query: str = ""
    item_id: str = ""
    cart_item_ids: tuple[str, ...] = ()
    limit: int = 8
    offset: int = 0
    visitor_key: uuid.UUID | None = None
    exclude_item_ids: frozenset[str] = frozenset()
    exclude_history: bool = False
    among: tuple[str, ...] = ()
    filters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an item is there: a stable `code` for machines, `text` in words for the shopper."""

    code: str
    text: str
    item_id: str = ""


@dataclass(frozen=True, slots=True)
class Live:
    """What the shop says of an item at this moment; `object` is the shop's own model instance."""

    title: str
    url: str = ""
    image: str = ""
    price: Decimal | None = None
    currency: str = ""
    available: bool = True
    object: Any = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One place of a ranking; `position` starts at 1."""

    item_id: str
    position: int
    score: float
    reasons: tuple[Reason, ...] = ()
    live: Live | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """A list that was made for one request. `n_found` counts what matched before the limit.

    Of a search: `relaxed` names what was given up where nothing matched, and `notice` says it to the shopper.
    """

    id: uuid.UUID
    slot: Slot
    entries: tuple[Entry, ...]
    rung: Rung
    bundle: str = ""
    catalog_version: str = ""
    query: str = ""
    corrected_query: str = ""
    n_found: int = 0
    intent: Intent | None = None
    offered_filters: tuple[OfferedFilter, ...] = ()
    relaxed: Relaxation = Relaxation.NONE
    relaxed_query: str = ""
    notice: str = ""

    def __iter__(self) -> Any:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


@dataclass(frozen=True, slots=True)
class Interactions:
    """Cleaned behaviour in columns, ascending by time.

    visitor (n,) int32: row of the visitor, -1 where nobody is known; item (n,) int32: row of the item, -1 for a
    search; type (n,) int8: `EVENT_CODES`; time (n,) float64: seconds since the epoch, UTC; quantity (n,) float32;
    basket (n,) int32: events of one order share a number, -1 outside an order; query, device and region (n,) int32:
    rows in `queries`, `devices` and `regions`, -1 for none; claim (n,) int32: what one person claimed and sent on one
    day shares a number, -1 for rows of the shop. Left out, device, region and claim are -1 throughout.
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

    def __post_init__(self) -> None:
        for name in ("device", "region", "claim"):
            if len(getattr(self, name)) != len(self.time):
                object.__setattr__(self, name, np.full(len(self.time), -1, np.int32))

    def __len__(self) -> int:
        return len(self.time)

    def columns(self) -> dict[str, Any]:
        """Return every array by name; what they point into (`queries`, `devices`, `regions`) is left out."""
        return {
            entry.name: value for entry in fields(self) if isinstance(value := getattr(self, entry.name), np.ndarray)
        }


@dataclass(frozen=True, slots=True)
class Judgements:
    """How well items answer queries: query (n,) int32, row in `queries`; item (n,) int32; grade (n,) float32 0 to 1."""

    queries: tuple[str, ...]
    query: IntArray
    item: IntArray
    grade: FloatArray

    def __len__(self) -> int:
        return len(self.grade)

    @classmethod
    def none(cls) -> Judgements:
        """Nothing was judged."""
        return cls((), np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))

    def of_queries(self, chosen: npt.NDArray[np.bool_]) -> Judgements:
        """Keep those of some queries, chosen (n_queries,) bool; the rows of `queries` stay as they are."""
        kept = chosen[self.query]
        return Judgements(self.queries, self.query[kept], self.item[kept], self.grade[kept])


OUTCOME_SECONDS = 86_400.0
"""What follows from a list later than a day is hardly its doing; and a label of a day is soon known."""


@dataclass(frozen=True, slots=True)
class Impressions:
    """Lists that known people were shown, ascending by time, and what followed from each of their places.

    Of each list: visitor (n,) int32, as in `Interactions`; slot (n,) int8: `SLOT_CODES`; time (n,) float64: seconds
    since the epoch; query (n,) int32: row in `queries`, -1 for none; current (n,) int32: row of the item beside which
    it stood, -1 for none; start (n + 1,) int64: list i holds the places start[i] to start[i + 1].
    Of each place, from the top: item (m,) int32, -2 for one that is gone; position (m,) int32, from 1; propensity (m,)
    float32 in (0, 1]: the chance that the item was put there, 1 where nothing was explored; clicked, carted and bought
    (m,) float64: when it first followed through the ranking's token, inf for never.
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
        """No list was shown."""
        whole, moment = np.empty(0, np.int32), np.empty(0, np.float64)
        slot, start, chance = np.empty(0, np.int8), np.zeros(1, np.int64), np.empty(0, np.float32)
        return cls(whole, slot, moment, whole, whole, start, whole, whole, chance, moment, moment, moment)

    def __len__(self) -> int:
        return len(self.time)

    def between(self, since: float, until: float) -> npt.NDArray[np.int64]:
        """Return the lists shown at or after `since` of which everything that counts had followed by `until`."""
        return np.flatnonzero((self.time >= since) & (self.time + OUTCOME_SECONDS <= until))


@dataclass(frozen=True, slots=True)
class ItemTable:
    """The catalogue in columns; row i of every array is item `ids[i]`.

    price (n,) float32, NaN where unknown; category (n,) int32, -1 where unknown; first_seen (n,) float64 seconds
    since the epoch; active (n,) bool.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    price: FloatArray
    category: IntArray
    category_names: tuple[str, ...]
    first_seen: TimeArray
    active: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Profile:
    """A `Request` in the rows of one catalogue: what features and the context model read.

    item (h,) int32, -1 for a query or an item no longer in the catalogue; type (h,) int8; time (h,) float64;
    quantity (h,) float32; basket (h,) int32 (equal number: same order, -1: none); queries: text for the rows of
    type search, else "". Oldest first.
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
