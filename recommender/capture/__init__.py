"""The way in of behaviour: drafts are checked, given their visitor and their list, and stored once by message id."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import math
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db import router, transaction
from django.http import HttpRequest
from django.utils import timezone

from recommender.capture.storage import EventRow, ImpressionRow, store
from recommender.catalog.values import rounded
from recommender.exceptions import InvalidEvent
from recommender.identity import Shopper, mark_personal, shopper_of
from recommender.models import Event
from recommender.models.claims import message_id_of_client
from recommender.models.connections import apart
from recommender.signals import event_recorded
from recommender.text.query import normal_query
from recommender.types import EventType, Ranking

logger = logging.getLogger(__name__)

MAX_ID_LENGTH = 128
MAX_QUANTITY = 1e9
MAX_POSITION = 32_767
MAX_PRICE = Decimal(10) ** 12
MAX_CLOCK_AHEAD = dt.timedelta(days=1)
"""A client's clock may be this much ahead: its event is then dated now. Further ahead it is refused."""

FIRST_DAY = dt.datetime(1990, 1, 1, tzinfo=dt.UTC)
TYPES = frozenset(event_type.value for event_type in EventType)
ITEMLESS = frozenset({EventType.SEARCH.value, EventType.VIEW_ITEM_LIST.value})

counts: Counter[str] = Counter()
"""Accepted, duplicate, rejected, dropped and failed events since this process started."""

current_request: ContextVar[HttpRequest | None] = ContextVar("recommender_request", default=None)
"""The request that this thread or task answers, set by the middleware: a saved order finds its visitor by it."""


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event as its source tells it. `occurred_at` is aware; `price` is of one unit.

    With neither visitor nor user it counts for nobody. A user without a visitor is recorded under the visitor of their
    own, if they have consented; if not, an order is kept without a visitor and anything else is dropped.
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
    """Values that made no sense and were left out, each with its reason: an order counts without them."""


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
    """An event that cannot be stored: its place in the batch, the part at fault, and how to repair it."""

    index: int
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a batch; its size is the sum of the first four.

    n_attached: of the duplicates, orders that were nobody's and have found their buyer.
    """

    n_accepted: int = 0
    n_duplicate: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    n_dropped: int = 0
    n_attached: int = 0


Source = Callable[[Shopper], Iterable[EventDraft]]


@dataclass(slots=True)
class Buffer:
    """What one request has seen; `sources` are asked for their events after the response."""

    drafts: list[EventDraft] = field(default_factory=list)
    impressions: dict[uuid.UUID, ImpressionDraft] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)


def ingest(drafts: Sequence[EventDraft], impressions: Sequence[ImpressionDraft] = ()) -> IngestResult:
    """Store a batch in one transaction, or in a savepoint of the host's. Raises `DatabaseError` if nothing is stored.

    At most: one statement for the visitors that this process has not seen lately (two where users are to be looked
    up), one for the lists that carts and orders follow from, one for all events, one for all impressions.
    """
    at = timezone.now()
    rows, rejections = _checked(drafts, at)
    shown = [_impression_row(draft) for draft in impressions if draft.ranking.entries]
    unique = {row.message_id: row for row in reversed(rows)}
    alias = router.db_for_write(Event)
    with transaction.atomic(using=alias):
        stored = store(sorted(unique.values(), key=lambda row: row.message_id), shown, at=at, alias=alias)
    rejections += [Rejection(index, "", message) for index, message in stored.refused]
    n_duplicate = len(rows) - len(unique) + stored.n_duplicate
    result = IngestResult(
        stored.n_accepted, n_duplicate, sorted(rejections, key=lambda refused: refused.index), stored.n_dropped,
        stored.n_attached,
    )  # fmt: skip
    _count(result)
    if result.n_accepted:
        transaction.on_commit(lambda: _announce(result.n_accepted), using=alias)
    return result


def record(request: Any, draft: EventDraft) -> None:
    """Keep an event of the request's shopper until `flush`; visitor, device and region are filled in there."""
    buffer_of(request).drafts.append(draft)


def record_impression(request: Any, ranking: Ranking, *, current_item_id: str = "") -> None:
    """Keep a list that is being shown until `flush`, once however often it is drawn; its page is personal."""
    mark_personal(request)
    if ranking.entries and getattr(request, "method", "") != "HEAD":
        draft = ImpressionDraft(ranking, timezone.now(), current_item_id)
        buffer_of(request).impressions.setdefault(ranking.id, draft)


def record_later(request: Any, source: Source) -> None:
    """Ask `source` for events when the response is out."""
    buffer_of(request).sources.append(source)


def buffer_of(request: Any) -> Buffer:
    """What the request has seen so far."""
    request = getattr(request, "_request", request)
    buffer: Buffer | None = getattr(request, "recommender_buffer", None)
    if buffer is None:
        buffer = request.recommender_buffer = Buffer()
    return buffer


def flush(request: Any) -> IngestResult:
    """Store what the request has seen. Without consent only orders are kept, as nobody's. Raises `DatabaseError`."""
    request = getattr(request, "_request", request)
    buffer: Buffer | None = vars(request).pop("recommender_buffer", None)
    if buffer is None:
        return IngestResult()
    shopper = shopper_of(request)
    told = [*buffer.drafts, *(draft for source in buffer.sources for draft in _told(source, shopper))]
    orders = [draft for draft in told if draft.source == "order"]
    if not (len(told) > len(orders) or buffer.impressions) or not shopper.has_consented:
        n_dropped = len(told) - len(orders)
        counts["dropped"] += n_dropped
        result = ingest(orders) if orders else IngestResult()
        return dataclasses.replace(result, n_dropped=result.n_dropped + n_dropped)
    own = _of_shopper(shopper)
    drafts = [
        draft if draft.source == "order" else dataclasses.replace(draft, region=shopper.region, **own) for draft in told
    ]
    return ingest(drafts, [dataclasses.replace(draft, **own) for draft in buffer.impressions.values()])


def _told(source: Source, shopper: Shopper) -> list[EventDraft]:
    try:
        with apart():
            return list(source(shopper))
    except Exception:
        counts["failed"] += 1
        logger.exception("a source of events failed; the others of its request are kept")
        return []


def _of_shopper(shopper: Shopper) -> dict[str, Any]:
    return {
        "visitor_key": shopper.visitor_key,
        "user_key": shopper.recorded_user_key if shopper.visitor_key else None,
        "source": shopper.source,
        "device": shopper.device,
        "is_bot": shopper.is_bot,
        "is_profiled": shopper.is_profiled,
    }


def _announce(n_accepted: int) -> None:
    for receiver, error in event_recorded.send_robust(sender=Event, n_accepted=n_accepted):
        if isinstance(error, Exception):
            logger.error("receiver %r of event_recorded failed: %r", receiver, error)


def _count(result: IngestResult) -> None:
    counts["accepted"] += result.n_accepted
    counts["duplicate"] += result.n_duplicate
    counts["rejected"] += len(result.rejections)
    counts["dropped"] += result.n_dropped


def _checked(drafts: Sequence[EventDraft], at: dt.datetime) -> tuple[list[EventRow], list[Rejection]]:
    rows, rejections = [], []
    for index, draft in enumerate(drafts):
        try:
            rows.append(_row(draft, index, at))
        except InvalidEvent as refused:
            rejections.append(Rejection(index, refused.field, str(refused)))
    return rows, rejections


def _row(draft: EventDraft, index: int, at: dt.datetime) -> EventRow:
    """A draft whose every value fits its column. Raises `InvalidEvent`."""
    if not isinstance(draft.type, str) or draft.type not in TYPES:
        raise InvalidEvent(f"Expected one of {', '.join(sorted(TYPES))}.", field="type")
    if not _identifier(draft.message_id, "message_id"):
        raise InvalidEvent("Give every event an id of its own, 1 to 128 characters.", field="message_id")
    query, currency = _query(draft), _currency(draft.currency)
    if not _identifier(draft.item_id, "item_id") and draft.type not in ITEMLESS:
        raise InvalidEvent(f"An event of type {draft.type} needs the item it is about.", field="item_id")
    source, visitor_key = _label(draft.source, 10, "source") or "page", _key(draft.visitor_key, "visitor_key")
    return EventRow(
        index=index,
        message_id=message_id_of_client(visitor_key, draft.message_id) if source == "api" else draft.message_id,
        type=str(draft.type),
        item_id=draft.item_id,
        query=query,
        occurred_at=_moment(draft.occurred_at, at),
        quantity=_quantity(draft.quantity),
        price=_price(draft.price, currency),
        currency=currency,
        order_id=_identifier(draft.order_id, "order_id"),
        ranking_id=_key(draft.ranking_id, "ranking_id"),
        position=_position(draft.position),
        source=source,
        device=_label(draft.device, 16, "device"),
        region=_label(draft.region, 32, "region"),
        is_bot=bool(draft.is_bot),
        visitor_key=visitor_key,
        user_key=_user(draft.user_key),
        is_profiled=bool(draft.is_profiled),
    )


def _impression_row(draft: ImpressionDraft) -> ImpressionRow:
    ranking = draft.ranking
    return ImpressionRow(
        ranking_id=ranking.id,
        slot=ranking.slot.value,
        query=ranking.query,
        current_item_id=draft.current_item_id if _is_plain(draft.current_item_id, MAX_ID_LENGTH) else "",
        item_ids=[entry.item_id for entry in ranking.entries],
        first_position=ranking.entries[0].position,
        rung=ranking.rung.value,
        bundle=ranking.bundle[:64],
        source=draft.source,
        device=draft.device,
        is_bot=draft.is_bot,
        occurred_at=draft.occurred_at,
        visitor_key=draft.visitor_key,
        user_key=draft.user_key,
        is_profiled=draft.is_profiled,
    )


def _is_plain(text: Any, limit: int) -> bool:
    """Is it text that every database stores: no NUL, no half of a surrogate pair?"""
    if not isinstance(text, str) or len(text) > limit or "\x00" in text:
        return False
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _identifier(text: Any, name: str) -> str:
    if not _is_plain(text, MAX_ID_LENGTH):
        message = f"Expected text of at most {MAX_ID_LENGTH} characters, without NUL and unpaired surrogates."
        raise InvalidEvent(message, field=name)
    return str(text)


def _label(text: Any, limit: int, name: str) -> str:
    if not _is_plain(text, limit):
        raise InvalidEvent(f"Expected text of at most {limit} characters.", field=name)
    return str(text)


def _query(draft: EventDraft) -> str:
    if not isinstance(draft.query, str):
        raise InvalidEvent("Expected text.", field="query")
    query = normal_query(draft.query)
    if not query and draft.type == EventType.SEARCH:
        raise InvalidEvent("A search needs the query that was searched.", field="query")
    return query


def _moment(moment: Any, at: dt.datetime) -> dt.datetime:
    if not isinstance(moment, dt.datetime) or moment.utcoffset() is None:
        raise InvalidEvent("Expected a date and time with its offset from UTC.", field="occurred_at")
    if moment <= at:
        if moment < FIRST_DAY:
            raise InvalidEvent(f"Nothing is recorded from before {FIRST_DAY.year}.", field="occurred_at")
        return moment
    if moment - at > MAX_CLOCK_AHEAD:
        raise InvalidEvent("The event is more than a day in the future; set the client's clock.", field="occurred_at")
    return at


def _quantity(quantity: Any) -> float:
    is_number = isinstance(quantity, int | float | Decimal) and not isinstance(quantity, bool)
    try:
        number = float(quantity) if is_number else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not 0 < number <= MAX_QUANTITY:
        raise InvalidEvent(f"Expected a number above 0 and at most {MAX_QUANTITY:.0f}.", field="quantity")
    return number


def _price(price: Any, currency: str) -> Decimal | None:
    if price is None:
        return None
    try:
        exact = price if isinstance(price, Decimal) else Decimal(str(price))
        if not (exact.is_finite() and 0 <= exact < MAX_PRICE):
            raise InvalidOperation
        return rounded(exact, currency)
    except InvalidOperation:
        raise InvalidEvent("Expected the price of one unit, 0 to 12 digits, or none.", field="price") from None


def _currency(currency: Any) -> str:
    if currency == "" or (
        isinstance(currency, str) and len(currency) == 3 and currency.isascii() and currency.isalpha()
    ):
        return str(currency).upper()
    raise InvalidEvent("Expected the three letters of ISO 4217, or nothing.", field="currency")


def _position(position: Any) -> int | None:
    if position is None:
        return None
    if isinstance(position, int) and not isinstance(position, bool) and 0 < position <= MAX_POSITION:
        return int(position)
    raise InvalidEvent(f"Expected a place from 1 to {MAX_POSITION}.", field="position")


def _key(key: Any, name: str) -> uuid.UUID | None:
    if key is None or isinstance(key, uuid.UUID):
        return key
    raise InvalidEvent("Expected a UUID.", field=name)


def _user(user_key: Any) -> str | None:
    if user_key is None or (user_key and _is_plain(user_key, 64)):
        return user_key
    raise InvalidEvent("Expected a user's key of 1 to 64 characters.", field="user_key")
