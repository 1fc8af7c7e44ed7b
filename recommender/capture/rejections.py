"""Keeps the events that were rejected, so that they can be stored once their sender or the shop is repaired.

Kept are the fields of an event, masked as queries are; not who sent it, unless the visitor has consented: then it is
exported and erased with the visitor.
"""

from __future__ import annotations

import datetime as dt
import logging
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, InterfaceError

from recommender.capture.checking import MAX_SOURCE_LENGTH
from recommender.capture.drafts import EventDraft
from recommender.capture.sql import prepared
from recommender.capture.storage import insert
from recommender.capture.visitors import with_visitors
from recommender.models import RejectedEvent
from recommender.models.connections import committed
from recommender.text.masking import MASK, masked

logger = logging.getLogger(__name__)

MOST_PER_HOUR = 200
"""Rejections kept in an hour; further ones are only counted, so that nobody can fill the disk."""

MAX_LENGTH = 255
"""Characters kept of one value: those of a query, and more than any other value may have."""

EVENT_FIELDS = (
    "message_id", "type", "item_id", "query", "occurred_at", "quantity", "price", "currency", "order_id", "ranking_id",
    "position",
)  # fmt: skip
UNMASKED = frozenset({"message_id", "occurred_at", "ranking_id"})
"""Fields by which an event is recognised and dated, written by programs."""

COLUMNS = (
    "key", "visitor", "received_at", "source", "code", "reason", "payload", "query", "clock_behind", "device", "region",
    "is_bot", "names_user",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refused:
    """One rejected event. `sender` says who sent it, and how; code: the field at fault; event: the fields as sent."""

    sender: EventDraft
    code: str
    reason: str
    event: Mapping[str, Any]
    clock_behind: float = 0.0


def refused_draft(draft: EventDraft, code: str, reason: str) -> Refused:
    """A draft that did not pass its check."""
    return Refused(draft, code, reason, {name: getattr(draft, name) for name in EVENT_FIELDS})


def keep(refused: Sequence[Refused], *, at: dt.datetime, alias: str) -> int:
    """Store what was rejected, at most `MOST_PER_HOUR`; return how many. Two statements, one more for visitors that
    this process has not seen lately. Never raises `DatabaseError`: the other events of the batch are stored."""
    if not refused:
        return 0
    try:
        return committed(lambda: _store(refused, at, alias), using=alias)
    except (DatabaseError, InterfaceError):
        logger.exception("%d rejected events were not kept", len(refused))
        return 0


def is_masked(payload: Mapping[str, Any]) -> bool:
    """Was something hidden in it that the event cannot do without?"""
    return any(MASK in str(value) for value in payload.values())


def _store(refused: Sequence[Refused], at: dt.datetime, alias: str) -> int:
    of_last_hour = RejectedEvent.objects.using(alias).filter(received_at__gt=at - dt.timedelta(hours=1))
    chosen = refused[: max(0, MOST_PER_HOUR - of_last_hour.count())]
    senders = [_sender(each.sender, index, at) for index, each in enumerate(chosen)]
    rows = []
    for sender in with_visitors(list(senders), alias=alias):
        index = int(sender.message_id) if isinstance(sender, EventDraft) else 0
        original = senders[index]
        if sender.visitor_key in (original.visitor_key, None) or original.visitor_key is None:
            rows.append(_row(chosen[index], sender, at, names_user=original.visitor_key is None))
    return insert(RejectedEvent, COLUMNS, prepared(RejectedEvent, COLUMNS, rows, alias), alias=alias)


def _sender(draft: EventDraft, index: int, at: dt.datetime) -> EventDraft:
    """Who sent it, with values that fit their columns; what is wrong may be just these."""
    return EventDraft(
        message_id=str(index),
        type="",
        occurred_at=at,
        source=_text(draft.source, MAX_SOURCE_LENGTH),
        device=_text(draft.device, 16),
        region=_text(draft.region, 32),
        is_bot=bool(draft.is_bot),
        visitor_key=draft.visitor_key if isinstance(draft.visitor_key, uuid.UUID) else None,
        user_key=_text(draft.user_key, 64) or None,
        is_profiled=bool(draft.is_profiled),
    )


def _row(refused: Refused, sender: EventDraft | Any, at: dt.datetime, *, names_user: bool) -> tuple[Any, ...]:
    payload = {name: _plain(name, refused.event[name]) for name in EVENT_FIELDS if name in refused.event}
    query = str(payload.pop("query", "") or "")
    return (
        uuid.uuid4(), sender.visitor_key, at, sender.source, _text(refused.code, 40), _text(masked(refused.reason)),
        payload, query, refused.clock_behind, sender.device, sender.region, sender.is_bot,
        names_user and sender.visitor_key is not None,
    )  # fmt: skip


def _plain(name: str, value: Any) -> Any:
    """A value as JSON has it; of a list or an object, which no field may be, only what it was."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) < 2**63 and math.isfinite(value):
        return value
    if isinstance(value, dict | list | tuple):
        return f"<{type(value).__name__}>"
    text = value.isoformat() if isinstance(value, dt.datetime) else _text(str(value))
    return text if name in UNMASKED else masked(text)


def _text(value: Any, limit: int = MAX_LENGTH) -> str:
    """What every database stores, cut."""
    if not isinstance(value, str):
        return ""
    return value.replace("\x00", "\ufffd").encode(errors="replace").decode()[:limit]
