"""Who says an event: the rows of the shop, which are its orders, or a page, an app or a script, which only claim it."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import uuid
from collections.abc import Sequence
from typing import Any

from recommender.types import EventType, PastEvent

ROWS_OF_THE_SHOP = "order"
"""The source of what the shop's own rows say; all else is a claim of whoever sent it."""

MAX_CLAIM_AGE = dt.timedelta(days=3)
"""An app's event counts as at most this old when it comes in. Source: Measurement Protocol of GA4, 72 hours."""

PAST_EVENT_COLUMNS = ("type", "occurred_at", "item_id", "query", "quantity", "order_id", "source")
_TYPES = {kind.value: kind for kind in EventType}  # a look-up costs a fifth of the call of the class
_CLAIMED_TYPES = _TYPES | {"purchase": EventType.ADD_TO_CART, "refund": EventType.REMOVE_FROM_CART}
_PREFIX = re.compile(r"api:(?:[0-9a-f]{16}|nobody):")


def message_id_of_client(visitor_key: uuid.UUID | None, message_id: str) -> str:
    """The id under which an event of the API is stored: a client's ids are its visitor's, and meet nobody else's.

    The visitor's key stands there as a hash of 64 bits, which says nothing once the visitor is erased.
    """
    owner = hashlib.blake2b(visitor_key.bytes, digest_size=8).hexdigest() if visitor_key else "nobody"
    return f"api:{owner}:{message_id}"


def message_id_as_sent(message_id: str) -> str:
    """The client's own id of a stored event; any other id as it is."""
    return _PREFIX.sub("", message_id, count=1)


def counted_as(kind: str, source: str) -> EventType:
    """What a stored event counts as. Only rows of the shop are purchases and refunds: merely claimed, they count as a
    cart that was filled or emptied."""
    return (_TYPES if source == ROWS_OF_THE_SHOP else _CLAIMED_TYPES)[kind]


def order_of(order_id: str, source: str) -> str:
    """The order that an event belongs to: what is merely claimed belongs to none, least of all to somebody else's."""
    return order_id if source == ROWS_OF_THE_SHOP else ""


def counted_at(occurred_at: dt.datetime, received_at: dt.datetime, source: str) -> dt.datetime:
    """When an event counts as having happened; only a client of the API says so itself."""
    return max(occurred_at, received_at - MAX_CLAIM_AGE) if source == "api" else occurred_at


def past_events(rows: Sequence[tuple[Any, ...]]) -> tuple[PastEvent, ...]:
    """A history, oldest first, from rows that begin with `PAST_EVENT_COLUMNS`, newest first: each as what it counts as.

    One call for all of them, because every page of a known visitor reads a history.
    """
    return tuple(
        PastEvent(counted_as(kind, source), at, item_id, query, quantity, order_of(order_id, source))
        for kind, at, item_id, query, quantity, order_id, source, *_rest in reversed(rows)
    )
