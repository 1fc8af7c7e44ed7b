"""Drafts and lists that the tests of capture send, and how they count what the database was sent."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from recommender.capture import EventDraft, IngestResult, ingest, storage
from recommender.types import Entry, Ranking, Rung, Slot

MOMENT = dt.timedelta(microseconds=1)


def draft(**values: Any) -> EventDraft:
    defaults = {"message_id": uuid.uuid4().hex, "type": "view_item", "occurred_at": timezone.now(), "item_id": "mug"}
    return EventDraft(**{**defaults, **values})


def ranking_of(*item_ids: str, **values: Any) -> Ranking:
    entries = tuple(Entry(item_id, position, 1.0) for position, item_id in enumerate(item_ids, 1))
    return Ranking(uuid.uuid4(), Slot.HOME, entries, Rung.POPULARITY, **values)


def accounted(result: IngestResult) -> int:
    return result.n_accepted + result.n_duplicate + len(result.rejections) + result.n_dropped


NEW_VISITORS = int(connection.vendor == "postgresql")
"""Statements more on PostgreSQL for each hundred visitors of whom one is new: whether they were erased meanwhile."""


def statements(context: CaptureQueriesContext) -> list[str]:
    """The statements that read or write, without the frame of the transaction."""
    frames = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
    return [
        query["sql"]
        for query in context.captured_queries
        if not query["sql"].lstrip("0123456789 times:").startswith(frames)
    ]


def refuse_rows(monkeypatch: Any, item_id: str) -> None:
    """Let the database refuse events of an item: their type is missing."""
    real, type_at = storage._event_values, storage.EVENT_COLUMNS.index("type")

    def broken(drafts: Any, at: Any, alias: str) -> Any:
        return [
            (*row[:type_at], None, *row[type_at + 1 :]) if draft.item_id == item_id else row
            for draft, row in zip(drafts, real(drafts, at, alias), strict=True)
        ]

    monkeypatch.setattr(storage, "_event_values", broken)


def n_statements_of(*drafts: EventDraft) -> int:
    with CaptureQueriesContext(connection) as context:
        ingest(drafts)
    return len(statements(context))
