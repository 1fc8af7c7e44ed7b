"""Attributes a cart or an order to a list: the last list in which the same person opened the item."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from dataclasses import replace
from typing import Any

from django.db.models import Q

from recommender.capture.drafts import EventDraft
from recommender.durations import CLICK_ATTRIBUTION_DAYS
from recommender.models import Event, Visitor
from recommender.types import EventType

LONGEST_AGE = dt.timedelta(days=CLICK_ATTRIBUTION_DAYS)
ATTRIBUTED = frozenset({EventType.ADD_TO_CART.value, EventType.PURCHASE.value})

Person = str | uuid.UUID | None
"""A user's key, or the key of a visitor who is not signed in."""

Click = tuple[dt.datetime, uuid.UUID, int | None]
"""When an item was opened, out of which ranking, and at which position of it."""


def attributed(drafts: list[EventDraft], *, alias: str) -> list[EventDraft]:
    """The drafts in their order, carts and orders with the list that led to them. One query if there are any."""
    candidates = [draft for draft in drafts if _needs_list(draft)]
    if not candidates:
        return drafts
    clicks = _clicks(candidates, drafts, alias)
    return [_with_list(draft, clicks) if _needs_list(draft) else draft for draft in drafts]


def _needs_list(draft: EventDraft) -> bool:
    return draft.type in ATTRIBUTED and draft.ranking_id is None and draft.visitor_key is not None


def _with_list(draft: EventDraft, clicks: dict[tuple[Person, str], list[Click]]) -> EventDraft:
    person = draft.user_key or draft.visitor_key
    for clicked_at, ranking_id, position in reversed(clicks.get((person, draft.item_id), [])):
        if draft.occurred_at - LONGEST_AGE <= clicked_at <= draft.occurred_at:
            return replace(draft, ranking_id=ranking_id, position=position)
    return draft


def _clicks(
    candidates: list[EventDraft], drafts: list[EventDraft], alias: str
) -> dict[tuple[Person, str], list[Click]]:
    """By person and item what was opened from lists, in the database and in this batch, oldest first."""
    keys = {draft.visitor_key for draft in candidates}
    users = {draft.user_key for draft in candidates if draft.user_key}
    visitors = Visitor.objects.using(alias).filter(Q(key__in=keys) | Q(user_key__in=users))
    stored = Event.objects.using(alias).filter(
        visitor_id__in=visitors.values("pk"),
        ranking_id__isnull=False,
        occurred_at__gte=min(draft.occurred_at for draft in candidates) - LONGEST_AGE,
        occurred_at__lte=max(draft.occurred_at for draft in candidates),
    )
    rows: list[tuple[Any, ...]] = [
        *stored.values_list("visitor__key", "visitor__user_key", "item_id", "occurred_at", "ranking_id", "position"),
        *(
            (draft.visitor_key, draft.user_key, draft.item_id, draft.occurred_at, draft.ranking_id, draft.position)
            for draft in drafts
            if draft.ranking_id is not None
        ),
    ]
    clicks: defaultdict[tuple[Person, str], list[Click]] = defaultdict(list)
    for visitor_key, user_key, item_id, clicked_at, ranking_id, position in sorted(rows, key=lambda row: row[3]):
        for person in {visitor_key, user_key} - {None}:
            clicks[person, item_id].append((clicked_at, ranking_id, position))
    return clicks
