"""Deletes what is kept long enough, each kind after its own number of days, and counts what should be gone already."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

from django.db.models import QuerySet

from recommender import conf
from recommender.capture import months
from recommender.capture.erasure import ROWS_PER_DELETE
from recommender.models import (
    Alarm,
    AnswerTimes,
    AppToken,
    Delivery,
    Erasure,
    Event,
    EventCount,
    ExposureDay,
    GroupExposure,
    GroupFigures,
    HourlyFigures,
    HourlyRevenue,
    HourlyTraffic,
    Impression,
    PriceChange,
    QueryFigures,
    RejectedEvent,
    UnpaidRow,
    Visitor,
    VisitorLink,
)
from recommender.types import EventType

LATE = dt.timedelta(days=2)
"""What is older than its days by this much should have been deleted by the job, which runs daily."""

Rows = QuerySet[Any]

KINDS: dict[str, Callable[[dt.datetime], list[Rows]]] = {
    "queries": lambda before: [
        model._default_manager.filter(occurred_at__lt=before).exclude(query="") for model in (Event, Impression)
    ],
    "events": lambda before: [Event.objects.filter(occurred_at__lt=before)],
    "impressions": lambda before: [Impression.objects.filter(occurred_at__lt=before)],
    "unpaid_rows": lambda before: [UnpaidRow.objects.filter(occurred_at__lt=before)],
    "past_prices": lambda before: [PriceChange.objects.filter(ended_at__lt=before)],
    "alarms": lambda before: [Alarm.objects.filter(raised_at__lt=before)],
    "tokens": lambda before: [AppToken.objects.filter(expires_at__lt=before)],
    "links": lambda before: [VisitorLink.objects.filter(unlinked_at__lt=before)],
    "rejected_events": lambda before: [RejectedEvent.objects.filter(received_at__lt=before)],
    "event_counts": lambda before: [EventCount.objects.filter(day__lt=before.date())],
    "figures": lambda before: (
        [
            model._default_manager.filter(hour__lt=before)
            for model in (HourlyFigures, HourlyRevenue, HourlyTraffic, AnswerTimes)
        ]
        + [model._default_manager.filter(day__lt=before.date()) for model in (GroupExposure, GroupFigures, ExposureDay)]
    ),
    "query_figures": lambda before: [QueryFigures.objects.filter(computed_at__lt=before)],
    "deliveries": lambda before: [Delivery.objects.filter(ended_at__lt=before)],
    "erasures": lambda before: [Erasure.objects.filter(state=Erasure.State.FINISHED, finished_at__lt=before)],
    "visitors": lambda before: [Visitor.objects.filter(last_seen_at__lt=before, events__isnull=True)],
}
"""The rows of each kind from before a moment, in the order in which they are deleted."""


def purge(*, at: dt.datetime) -> dict[str, int]:
    """Delete what is older than its kind's days; return how many rows of each kind, those that lost a query among
    them. Chunks of `ROWS_PER_DELETE`. An events table divided by month gets its coming months, and loses whole ones."""
    forget = {"queries": _forget_queries}
    n_dropped = _turn_months(at) if months.is_partitioned() else 0
    removed = {
        kind: sum(forget.get(kind, _delete)(chunk) for rows in overdue_rows(kind, at) for chunk in _chunks(rows))
        for kind in KINDS
    }
    return removed | {"events": removed["events"] + n_dropped}


def n_overdue(*, at: dt.datetime, most: int | None = None) -> dict[str, int]:
    """How many rows of each kind are older than its days, counted up to `most`. Twenty-one queries."""
    return {kind: sum(rows[:most].count() for rows in overdue_rows(kind, at)) for kind in KINDS}


def n_late(*, at: dt.datetime, most: int | None = None) -> dict[str, int]:
    """The kinds of which the daily job should have deleted rows long ago, and how many. Twenty-one queries."""
    return {kind: n for kind, n in n_overdue(at=at - LATE, most=most).items() if n}


def overdue_rows(kind: str, at: dt.datetime) -> list[Rows]:
    """The rows of a kind that are older than its days."""
    return KINDS[kind](at - dt.timedelta(days=conf.retention()[kind]))


def _turn_months(at: dt.datetime) -> int:
    months.create_months(at=at)
    return months.drop_months(before=at - dt.timedelta(days=conf.retention()["events"]))


def _chunks(rows: Rows) -> Iterator[Rows]:
    """By primary key, so that no row is looked at twice."""
    following = rows.order_by("pk")
    while pks := list(following.values_list("pk", flat=True)[:ROWS_PER_DELETE]):
        yield rows.filter(pk__in=pks)
        following = rows.filter(pk__gt=pks[-1]).order_by("pk")


def _delete(rows: Rows) -> int:
    return rows.delete()[1].get(rows.model._meta.label, 0)


def _forget_queries(rows: Rows) -> int:
    """A search is nothing without its query; what followed from it stays."""
    n_searches = _delete(rows.filter(type=EventType.SEARCH)) if rows.model is Event else 0
    return n_searches + rows.update(query="")
