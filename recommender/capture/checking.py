"""Checks drafts before they are stored: every value must fit its column on every database."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from recommender.capture.drafts import ITEMLESS, TYPES, EventDraft, ImpressionDraft, Rejection
from recommender.catalog.values import rounded
from recommender.exceptions import InvalidEvent
from recommender.models.claims import message_id_of_client
from recommender.text.masking import masked
from recommender.text.query import normal_query
from recommender.types import EventType

MAX_ID_LENGTH = 128
MAX_BUNDLE_LENGTH = 64
MAX_SOURCE_LENGTH = 10
MAX_QUANTITY = 1e9
MAX_POSITION = 32_767
MAX_PRICE = Decimal(10) ** 12
MAX_CLOCK_AHEAD = dt.timedelta(days=1)
"""An event from a client whose clock is ahead by at most this much is dated now; further ahead it is refused."""

FIRST_DAY = dt.datetime(1990, 1, 1, tzinfo=dt.UTC)


def check_events(drafts: Sequence[EventDraft], at: dt.datetime) -> tuple[list[tuple[int, EventDraft]], list[Rejection]]:
    """Return the drafts that can be stored, each with its index in the batch, and the rejections of the others."""
    sound, rejections = [], []
    for index, draft in enumerate(drafts):
        try:
            sound.append((index, check_event(draft, at)))
        except InvalidEvent as error:
            rejections.append(Rejection(index, error.field, str(error)))
    return sound, rejections


def check_event(draft: EventDraft, at: dt.datetime) -> EventDraft:
    """The draft with values that fit their columns; the message id of an API client becomes its own. Raises
    `InvalidEvent`."""
    if not isinstance(draft.type, str) or draft.type not in TYPES:
        raise InvalidEvent(f"Expected one of {', '.join(sorted(TYPES))}.", field="type")
    if not _identifier(draft.message_id, "message_id"):
        raise InvalidEvent("Give every event an id of its own, 1 to 128 characters.", field="message_id")
    query, currency = _query(draft), _currency(draft.currency)
    if not _identifier(draft.item_id, "item_id") and draft.type not in ITEMLESS:
        raise InvalidEvent(f"An event of type {draft.type} needs the item it is about.", field="item_id")
    source = _label(draft.source, MAX_SOURCE_LENGTH, "source") or "page"
    visitor_key = _key(draft.visitor_key, "visitor_key")
    return EventDraft(  # half the time of `replace`, and every field is checked here
        message_id=message_id_of_client(visitor_key, draft.message_id) if source == "api" else draft.message_id,
        type=str(draft.type),
        occurred_at=_moment(draft.occurred_at, at),
        item_id=draft.item_id,
        query=query,
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
        emptied=draft.emptied,
    )


def check_impression(draft: ImpressionDraft) -> ImpressionDraft:
    """The shown list with values that fit their columns: too long ones are cut, an impossible item id is left out."""
    ranking = draft.ranking
    ranking = replace(ranking, bundle=ranking.bundle[:MAX_BUNDLE_LENGTH], query=ranking.query and masked(ranking.query))
    current_item_id = draft.current_item_id if _is_plain(draft.current_item_id, MAX_ID_LENGTH) else ""
    return replace(draft, ranking=ranking, current_item_id=current_item_id)


def _is_plain(text: Any, limit: int) -> bool:
    """Is it text that every database stores, without NUL and unpaired surrogates?"""
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
    query = draft.query and masked(normal_query(draft.query))
    if not query and draft.type == EventType.SEARCH:
        raise InvalidEvent("A search needs the query that was searched.", field="query")
    return query


def _moment(moment: Any, at: dt.datetime) -> dt.datetime:
    if not isinstance(moment, dt.datetime) or moment.utcoffset() is None:
        raise InvalidEvent("Expected a date and time with its offset from UTC.", field="occurred_at")
    if moment < FIRST_DAY:
        raise InvalidEvent(f"Nothing is recorded from before {FIRST_DAY.year}.", field="occurred_at")
    if moment - at > MAX_CLOCK_AHEAD:
        raise InvalidEvent("The event is more than a day in the future; set the client's clock.", field="occurred_at")
    return min(moment, at)


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
    is_code = isinstance(currency, str) and len(currency) == 3 and currency.isascii() and currency.isalpha()
    if not is_code and currency != "":
        raise InvalidEvent("Expected the three letters of ISO 4217, or nothing.", field="currency")
    return str(currency).upper()


def _position(position: Any) -> int | None:
    if position is None:
        return None
    if isinstance(position, int) and not isinstance(position, bool) and 0 < position <= MAX_POSITION:
        return int(position)
    raise InvalidEvent(f"Expected a position from 1 to {MAX_POSITION}.", field="position")


def _key(key: Any, name: str) -> uuid.UUID | None:
    if key is None or isinstance(key, uuid.UUID):
        return key
    raise InvalidEvent("Expected a UUID.", field=name)


def _user(user_key: Any) -> str | None:
    if user_key is None or (user_key and _is_plain(user_key, 64)):
        return user_key
    raise InvalidEvent("Expected a user's key of 1 to 64 characters.", field="user_key")
