"""What a person may ask about the stored data, erasure aside: a copy of it, consent, and personalisation on or off."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from django.db.models import F, Q, QuerySet

from recommender.capture.visitors import forget_visitors
from recommender.exceptions import ConfigurationError
from recommender.identity import forgotten, tombstones
from recommender.models import Event, Impression, RejectedEvent, UnpaidRow, Visitor, WebhookMember
from recommender.models.claims import message_id_as_sent
from recommender.models.corrections import exported

EVENT_FIELDS = (
    "message_id", "type", "item_id", "query", "occurred_at", "received_at", "quantity", "price", "currency", "order_id",
    "ranking_id", "position", "source", "device", "region", "is_bot",
)  # fmt: skip
IMPRESSION_FIELDS = (
    "ranking_id", "slot", "query", "current_item_id", "item_ids", "first_position", "n_found", "rung", "bundle",
    "source", "device", "is_bot", "occurred_at", "pool", "teams", "arms", "rules",
)  # fmt: skip
VISITOR_FIELDS = (
    "key", "user_key", "has_consented", "is_profiled", "is_pseudonymous", "has_objected", "is_bot", "device",
    "first_seen_at", "last_seen_at", "segment", "corrections", "entered",
)  # fmt: skip
UNPAID_FIELDS = ("message_id", "visitor_key", "device", "region", "is_bot", "is_profiled", "occurred_at")
REJECTED_FIELDS = ("received_at", "source", "code", "reason", "payload", "query", "device", "region", "is_bot")
SEGMENT_FIELDS = tuple(
    f"{path}__{name}" for path in ("segment__merged_into", "segment") for name in ("own_name", "name", "number")
)


def visitors_of(*, visitor_key: uuid.UUID | None = None, user_key: str | None = None) -> QuerySet[Visitor]:
    """Every visitor that is this person: by key, by user, and by the user that the key is tied to."""
    if visitor_key is None and not user_key:
        raise ConfigurationError("Name a visitor_key or a user_key.")
    who = Q(user_key=user_key) if user_key else Q()
    if visitor_key is not None:
        linked = Visitor.objects.filter(key=visitor_key, user_key__isnull=False).values("user_key")
        who |= Q(key=visitor_key) | Q(user_key__in=linked)
    return Visitor.objects.filter(who)


def export(*, visitor_key: uuid.UUID | None = None, user_key: str | None = None) -> dict[str, Any]:
    """Everything stored on a person, as plain values; message ids as the client sent them. Six queries."""
    visitors = visitors_of(visitor_key=visitor_key, user_key=user_key)
    rows = [_with_segment_named(row) for row in visitors.values("pk", *SEGMENT_FIELDS, *VISITOR_FIELDS)]
    keys = [visitor.pop("pk") for visitor in rows]
    user_keys = {row["user_key"] for row in rows if row["user_key"]} | ({user_key} if user_key else set())
    events = Event.objects.filter(visitor__in=keys).order_by("occurred_at")
    shown = Impression.objects.filter(visitor__in=keys).order_by("occurred_at")
    rejected = RejectedEvent.objects.filter(visitor__in=keys).order_by("received_at")
    return {
        "visitors": rows,
        "events": [
            {**row, "message_id": message_id_as_sent(row["message_id"])} for row in events.values(*EVENT_FIELDS)
        ],
        "impressions": list(shown.values(*IMPRESSION_FIELDS)),
        "unpaid_rows": list(unpaid_of([row["key"] for row in rows], visitor_key).values(*UNPAID_FIELDS)),
        "told_to": list(told_to(user_keys)),
        "rejected_events": list(rejected.values(*REJECTED_FIELDS)),
    }


def told_to(user_keys: Iterable[str]) -> QuerySet[WebhookMember, Any]:
    """Which receivers outside were told of these users, and when last."""
    rows = WebhookMember.objects.filter(user_key__in=set(user_keys)).order_by("told_at")
    return rows.values("told_at", receiver=F("webhook__name"))


def unpaid_of(keys: Iterable[uuid.UUID], visitor_key: uuid.UUID | None) -> QuerySet[UnpaidRow]:
    """The remembered order rows that a person's browsers placed and that are not paid yet."""
    browsers = {*keys, *([visitor_key] if visitor_key else [])}
    return UnpaidRow.objects.filter(visitor_key__in=browsers).order_by("occurred_at")


def _with_segment_named(visitor: dict[str, Any]) -> dict[str, Any]:
    """The columns of a visitor with the name of its segment, None outside every one; without who of the staff corrected
    an interest."""
    *names_of_whole, own_name, name, number = (visitor.pop(column) for column in SEGMENT_FIELDS)
    if names_of_whole[-1] is not None:
        own_name, name, number = names_of_whole
    fallback = None if number is None else f"segment {number}"
    corrections = exported(visitor["corrections"])
    entered = visitor["entered"] or []
    return {**visitor, "segment": own_name or name or fallback, "corrections": corrections, "entered": entered}


def set_profiling(is_profiled: bool, *, visitor_key: uuid.UUID | None = None, user_key: str | None = None) -> int:
    """Switch personalisation on or off for a person; return the number of their visitors."""
    return visitors_of(visitor_key=visitor_key, user_key=user_key).update(
        is_profiled=is_profiled, **({} if is_profiled else {"segment": None})
    )


def set_consent(has_consented: bool, *, visitor_key: uuid.UUID | None = None, user_key: str | None = None) -> int:
    """Give or take back consent for a person; return the number of their visitors.

    Taking it back also objects to training on orders without consent; giving it ends the effect of an erasure.
    """
    visitors = visitors_of(visitor_key=visitor_key, user_key=user_key)
    if not has_consented:
        unpaid_of(visitors.values_list("key", flat=True), visitor_key).delete()
        RejectedEvent.objects.filter(visitor__in=visitors).delete()
    n_visitors = visitors.update(
        has_consented=has_consented,
        has_objected=not has_consented,
        is_pseudonymous=False,
        **({} if has_consented else {"segment": None}),
    )
    if has_consented:
        lift_tombstones(visitor_key=visitor_key, user_key=user_key)
    forget_visitors()
    return n_visitors


def lift_tombstones(*, visitor_key: uuid.UUID | None = None, user_key: str | None = None) -> None:
    """Record a person again who was erased and now consents anew. Two queries."""
    persons = list(visitors_of(visitor_key=visitor_key, user_key=user_key).values_list("key", "user_key"))
    keys = {key for key, _ in persons} | ({visitor_key} if visitor_key else set())
    users = {user for _, user in persons if user} | ({user_key} if user_key else set())
    tombstones.lift(tombstones.names_of(keys, users))
    forgotten.forget(keys)
