"""Values that the layers exchange: event types, requests, rankings, choices of a training run. No Django, no I/O."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
TimeArray = npt.NDArray[np.float64]

Filters = Mapping[str, str | Sequence[str]]
"""What an item must have, by filter: one value, or several of which it must have one."""


class EventType(enum.StrEnum):
    """The e-commerce events of Google Analytics 4; source: its recommended events for online sales."""

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
"""Code of each type in arrays and in the context model. Append only: stored bundles depend on the order."""


class Slot(enum.StrEnum):
    """A place on a page where a list is shown."""

    HOME = "home"
    SIMILAR = "similar"
    BOUGHT_TOGETHER = "bought_together"
    CART = "cart"
    RECENTLY_VIEWED = "recently_viewed"
    BUY_AGAIN = "buy_again"
    TRENDING = "trending"
    SEARCH = "search"


PROFITABLE_SLOTS = (Slot.HOME, Slot.CART, Slot.SIMILAR, Slot.BOUGHT_TOGETHER, Slot.TRENDING)
SLOT_CODES: dict[Slot, int] = {slot: code for code, slot in enumerate(Slot)}
"""Code of each slot in arrays. Append only: stored bundles depend on the order."""


class Rung(enum.StrEnum):
    """Which fallback level served a ranking, best first."""

    CHAMPION = "champion"
    UNTRAINED = "untrained"
    REDUCED = "reduced"
    LEXICAL = "lexical"
    POPULARITY = "popularity"
    WORDS = "words"
    SHOP_ORDER = "shop_order"
    EMPTY = "empty"


class Role(enum.StrEnum):
    """What a word of a query refers to."""

    BRAND = "brand"
    CATEGORY = "category"
    ATTRIBUTE = "attribute"
    PRODUCT = "product"
    PRICE = "price"
    OTHER = "other"


class Sort(enum.StrEnum):
    """How the matches of a search are ordered; the values are those of the parameter `sort`."""

    RELEVANCE = "relevance"
    CHEAPEST = "price"
    DEAREST = "-price"
    NEWEST = "newest"
    POPULAR = "popular"
    NAME = "name"


class Relaxation(enum.StrEnum):
    """What a search gave up so that its page is not empty, mildest first; `NONE` where it matched as it was typed."""

    NONE = ""
    WORDS = "words"
    FILTERS = "filters"
    MEANING = "meaning"
    POPULAR = "popular"


@dataclass(frozen=True, slots=True)
class IntentWord:
    """A word of a query, or the words of one name, and its role, which is right with a probability in (0, 1].

    value: the shop's own spelling of a brand or category."""

    text: str
    role: Role
    probability: float = 1.0
    value: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """A query as the search understands it.

    text: the query without its price words and without what is excluded, which is what is searched; categories: (name,
    probability), best first; excluded: what the items must not have, as in "mug without handle"; unpriced: the query
    without its price words alone; currencies: codes (ISO 4217) that the price may be in, none where it names none;
    foreign_price: price words that set no bound, as the shop has other currencies.
    """

    text: str
    words: tuple[IntentWord, ...] = ()
    categories: tuple[tuple[str, float], ...] = ()
    min_price: float | None = None
    max_price: float | None = None
    is_cheap: bool = False
    excluded: tuple[str, ...] = ()
    unpriced: str = ""
    currencies: frozenset[str] = frozenset()
    foreign_price: str = ""


@dataclass(frozen=True, slots=True)
class OfferedFilter:
    """A filter that the query suggests; `is_applied` once the list is narrowed by it.

    query: what to search for to switch the filter on, or off where it is applied.
    """

    name: str
    value: str
    text: str
    query: str
    is_applied: bool = False


@dataclass(frozen=True, slots=True)
class FacetValue:
    """One choice of a facet. n_items: how many items would be found with it; parameters: the filters that choose it."""

    text: str
    n_items: int
    parameters: Mapping[str, str]
    is_applied: bool = False


@dataclass(frozen=True, slots=True)
class Facet:
    """What the matches of a search can be narrowed by, its values by how many have them; n_more: values left out."""

    name: str
    text: str
    values: tuple[FacetValue, ...]
    n_more: int = 0


HISTORY_LIMIT = 500
"""Newest events of a visitor that training and serving read: habits need many orders, and a request has four
milliseconds for them. The context model reads only the last 50."""


@dataclass(frozen=True, slots=True)
class PastEvent:
    """One past action of a visitor, as the ranker reads it."""

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
    """One request to the pipeline. `history` is oldest first; `among`, unless empty, limits the items.

    `exclude_item_ids` are never listed; with `exclude_history`, nor is any item of the history. `shown_item_ids` stand
    in other lists of the page: listed only where nothing else is. `is_composed`: "for you" leads with what is new and
    takes in what is due again; otherwise the ranker orders it. `at_most`: of a value. `personal_weight`: of likings in
    a search. person_key: by which experiments assign the shopper. `diversity`, `new_share`: as an experiment says.
    `profit`: weight of the margin. `variants`: experiments whose variant answers; `entered`: those of a past segment.
    """

    slot: Slot
    context: Context
    history: tuple[PastEvent, ...] = ()
    query: str = ""
    item_id: str = ""
    cart_item_ids: tuple[str, ...] = ()
    limit: int = 8
    offset: int = 0
    person_key: str = ""
    exclude_item_ids: frozenset[str] = frozenset()
    exclude_history: bool = False
    shown_item_ids: frozenset[str] = frozenset()
    is_composed: bool = False
    at_most: Mapping[str, int] = field(default_factory=dict)
    among: tuple[str, ...] = ()
    filters: Filters = field(default_factory=dict)
    sort: Sort = Sort.RELEVANCE
    facets: tuple[str, ...] = ()
    personal_weight: float = 1.0
    diversity: float | None = None
    new_share: float | None = None
    profit: float = 0.0
    segment_id: int | None = None
    entered: frozenset[int] = frozenset()
    variants: frozenset[int] = frozenset()
    pinned: tuple[str, ...] = ()
    muted: tuple[str, ...] = ()  # pinned and muted: interests that staff corrected


class Arrangement(TypedDict, total=False):
    """How the results of a search are narrowed, ordered and counted.

    filters: `category`, `brand`, `min_price`, `max_price`, `available` and attributes of Catalogs; of several values of
    one filter an item must have one. sort: a value of `Sort`. facets: what to count the matches by: `category`,
    `brand`, `price`, `available` and attributes, also as text joined by commas, or "all".
    personal: whether the shopper's likings count, as much as the setting `PERSONAL_SEARCH` says; without them not even
    the history is read.
    """

    filters: Filters | None
    sort: Sort | str
    facets: Collection[str] | str
    personal: bool


class Narrowing(TypedDict, total=False):
    """What a page may rule out of a list.

    new_only: nothing that the shopper has looked at or bought. exclude: ids that are never listed. shown: ids in other
    lists of the page, listed only where nothing else is left. at_most: how many items may share a brand, a category or
    another attribute, as `{"brand": 2}` or "brand:2"; the setting `AT_MOST` where it is None.
    """

    new_only: bool
    exclude: Collection[str]
    shown: Collection[str]
    at_most: Mapping[str, int] | str | None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an item is in the list: a stable `code` for machines and `text` for the shopper."""

    code: str
    text: str
    item_id: str = ""


@dataclass(frozen=True, slots=True)
class Live:
    """The shop's current data of an item; `object` is the shop's own model instance."""

    title: str
    url: str = ""
    image: str = ""
    price: Decimal | None = None
    currency: str = ""
    available: bool = True
    object: Any = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of a ranking; `position` starts at 1. `is_near`: it does not match the query, but comes near it.

    propensity: with what chance the item came to its position. team: the arm of an experiment that chose it.
    rules: ids of the rules that moved it; pinned: the position that a rule gives it, 0 for none.
    """

    item_id: str
    position: int
    score: float
    reasons: tuple[Reason, ...] = ()
    live: Live | None = None
    is_near: bool = False
    propensity: float = 1.0
    team: str = ""
    rules: tuple[int, ...] = ()
    pinned: int = 0


class WhySkipped(enum.StrEnum):
    """Why a rule could not pin an item."""

    GONE = "gone"
    HIDDEN = "hidden"
    SOLD_OUT = "sold_out"
    EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True)
class SkippedPin:
    """An item that a rule pins and that is not shown: no longer in the catalogue, hidden, sold out, or left out."""

    rule: int
    item_id: str
    why: WhySkipped


@dataclass(frozen=True, slots=True)
class Ranking:
    """The list for one request. `n_found` counts the matches before the limit, `n_near` what follows them.

    For a search without a match, `relaxed` says what was given up and `notice` tells the shopper. arms: experiments
    that it belongs to, each with its arm, such as "7b 9ab". pool: what the last position was drawn from. rules: ids of
    the rules that were applied, held_out: of those that this visitor is not shown, so that their effect can be
    measured; redirect: where a rule leads the query; banners: texts above the list; skipped: pins without effect.
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
    n_near: int = 0
    intent: Intent | None = None
    offered_filters: tuple[OfferedFilter, ...] = ()
    relaxed: Relaxation = Relaxation.NONE
    relaxed_query: str = ""
    notice: str = ""
    sort: Sort = Sort.RELEVANCE
    facets: tuple[Facet, ...] = ()
    arms: str = ""
    pool: tuple[str, ...] = ()
    rules: tuple[int, ...] = ()
    held_out: tuple[int, ...] = ()
    redirect: str = ""
    banners: tuple[str, ...] = ()
    skipped: tuple[SkippedPin, ...] = ()

    @property
    def n_listed(self) -> int:
        """How many items all pages of a search have."""
        return self.n_found + self.n_near

    def __iter__(self) -> Any:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class FineTuning(enum.StrEnum):
    """How the encoder is fine-tuned on pairs: all its weights, none, or a small adapter."""

    FULL = "full"
    FROZEN = "frozen"
    LORA = "lora"
    ADALORA = "adalora"
    PREFIX = "prefix"
    IA3 = "ia3"


class Adaptation(enum.StrEnum):
    """Whether the encoder is first adapted to the shop's texts; "auto": only if it is not a sentence encoder."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Teaching(enum.StrEnum):
    """Whether a cross-encoder is trained to teach the encoder; "auto": if data and time allow."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"
