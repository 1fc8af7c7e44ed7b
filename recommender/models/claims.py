"""What an event counts as, depending on its source: the shop's own rows are orders, all other sources only claim."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import uuid
from collections.abc import Sequence
from typing import Any

from recommender.types import EventType, PastEvent

ROWS_OF_THE_SHOP = "order"
"""The source of events from the shop's own rows; an event of any other source is a claim of its sender."""

MAX_CLAIM_AGE = dt.timedelta(days=3)
"""An app's event counts as at most this old when it arrives. Source: Measurement Protocol of GA4, 72 hours."""

PAST_EVENT_COLUMNS = ("type", "occurred_at", "item_id", "query", "quantity", "order_id", "source")
_TYPES = {kind.value: kind for kind in EventType}  # a look-up costs a fifth of the call of the class
_CLAIMED_TYPES = _TYPES | {"purchase": EventType.ADD_TO_CART, "refund": EventType.REMOVE_FROM_CART}
_PREFIX = re.compile(r"api:(?:[0-9a-f]{16}|nobody):")


def message_id_of_client(visitor_key: uuid.UUID | None, message_id: str) -> str:
    """Return the id under which an event of the API is stored, so that clients' ids never collide across visitors.

    It contains a 64-bit hash of the visitor's key, which identifies nobody once the visitor is erased.
    """
    owner = hashlib.blake2b(visitor_key.bytes, digest_size=8).hexdigest() if visitor_key else "nobody"
    return f"api:{owner}:{message_id}"


def message_id_as_sent(message_id: str) -> str:
    """Return the client's own id of a stored event; other ids are returned unchanged."""
    return _PREFIX.sub("", message_id, count=1)


def counted_as(kind: str, source: str) -> EventType:
    """Return the type that a stored event counts as: claimed purchases and refunds only fill or empty a cart."""
    return (_TYPES if source == ROWS_OF_THE_SHOP else _CLAIMED_TYPES)[kind]


def order_of(order_id: str, source: str) -> str:
    """Return the order that an event belongs to; a claim belongs to none."""
    return order_id if source == ROWS_OF_THE_SHOP else ""


def counted_at(occurred_at: dt.datetime, received_at: dt.datetime, source: str) -> dt.datetime:
    """Return when an event counts as having happened; clients of the API may date it back by `MAX_CLAIM_AGE`."""
    return max(occurred_at, received_at - MAX_CLAIM_AGE) if source == "api" else occurred_at


def past_events(rows: Sequence[tuple[Any, ...]]) -> tuple[PastEvent, ...]:
    """Return a history, oldest first, from rows (newest first) that begin with `PAST_EVENT_COLUMNS`.

    One call for all of them, because every page of an identified visitor reads a history.
    """
    return tuple(
        PastEvent(counted_as(kind, source), at, item_id, query, quantity, order_of(order_id, source))
        for kind, at, item_id, query, quantity, order_id, source, *_rest in reversed(rows)
    )
