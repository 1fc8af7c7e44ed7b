"""What sources of behaviour hand in (drafts of events and of shown lists), and what they are told became of it."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field
from decimal import Decimal

from recommender.types import EventType, Ranking

TYPES = frozenset(event_type.value for event_type in EventType)
ITEMLESS = frozenset({EventType.SEARCH.value, EventType.VIEW_ITEM_LIST.value})


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event as its source reports it. `occurred_at` is aware; `price` is of one unit.

    With neither visitor nor user it counts for nobody. With a user only, it is recorded under a visitor of that user
    who has consented; if there is none, an order is stored without a visitor and any other event is dropped.
    """

    message_id: str
    type: str
    occurred_at: dt.datetime
    item_id: str = ""
    query: str = ""
    quantity: float = 1
    price: Decimal | None = None
    currency: str = ""
    order_id: str = ""
    ranking_id: uuid.UUID | None = None
    position: int | None = None
    source: str = "page"
    device: str = ""
    region: str = ""
    is_bot: bool = False
    visitor_key: uuid.UUID | None = None
    user_key: str | None = None
    is_profiled: bool = True
    emptied: tuple[str, ...] = ()
    """Values of an order row that made no sense and were left out, each with its reason."""


@dataclass(frozen=True, slots=True)
class ImpressionDraft:
    """A ranking that was shown."""

    ranking: Ranking
    occurred_at: dt.datetime
    current_item_id: str = ""
    source: str = "page"
    device: str = ""
    is_bot: bool = False
    visitor_key: uuid.UUID | None = None
    user_key: str | None = None
    is_profiled: bool = True


@dataclass(frozen=True, slots=True)
class Rejection:
    """An event that cannot be stored: its index in the batch, the field at fault, and how to repair it."""

    index: int
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a batch; its size is the sum of the first four.

    n_attached: duplicates of orders that had no buyer and have one now.
    """

    n_accepted: int = 0
    n_duplicate: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    n_dropped: int = 0
    n_attached: int = 0
