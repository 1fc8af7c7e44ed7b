"""Deletes what is stored about a person, and what is older than the shop keeps."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from recommender.capture import order_consent
from recommender.capture.privacy import unpaid_of, visitors_of
from recommender.capture.visitors import forget_visitors
from recommender.models import Alarm, AppToken, Event, Impression, UnpaidRow, Visitor

ROWS_PER_DELETE = 5_000


def erase(*, visitor_key: uuid.UUID | None = None, user_key: str | None = None) -> dict[str, int]:
    """Delete a person's visitors, events, shown lists and unpaid rows; return how many of the first three.

    Purchases that the shop's own order rows prove come back by reconcile without a visitor. Where `ORDER_CONSENT`
    would give them their buyer again, the person's own visitor stays, without events, to remember the objection.
    """
    with transaction.atomic():
        persons = list(visitors_of(visitor_key=visitor_key, user_key=user_key).values("pk", "key", "user_key"))
        pks = [person["pk"] for person in persons]
        n_impressions, _ = Impression.objects.filter(visitor__in=pks).delete()
        n_events, _ = Event.objects.filter(visitor__in=pks).delete()
        n_visitors, _ = Visitor.objects.filter(pk__in=pks).delete()
        unpaid_of([person["key"] for person in persons], visitor_key).delete()
        if order_consent.is_open():
            users = {person["user_key"] for person in persons} | {user_key}
            for erased_user in sorted(key for key in users if key):
                order_consent.remember_objection(erased_user)
    forget_visitors()
    return {"visitors": n_visitors, "events": n_events, "impressions": n_impressions}


def purge(*, before: dt.datetime) -> int:
    """Delete events, lists, unpaid rows, alarms, idle visitors and ended tokens from before a moment; return the number
    of rows."""
    old = [model.objects.filter(occurred_at__lt=before) for model in (Event, Impression, UnpaidRow)]
    alarms = Alarm.objects.filter(raised_at__lt=before)
    idle = Visitor.objects.filter(last_seen_at__lt=before, events__isnull=True)
    ended = AppToken.objects.filter(expires_at__lt=before)
    return sum(_delete_in_chunks(rows) for rows in (*old, alarms, idle, ended))


def _delete_in_chunks(rows: QuerySet[Any]) -> int:
    n_deleted = 0
    while pks := list(rows.values_list("pk", flat=True)[:ROWS_PER_DELETE]):
        rows.model._default_manager.filter(pk__in=pks).delete()
        n_deleted += len(pks)
    return n_deleted
