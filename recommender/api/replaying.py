"""Sends rejected events again, as if they came now: for a shop that has repaired what refused them."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import replace
from typing import Any

from django.db import router, transaction
from rest_framework.exceptions import ValidationError

from recommender import capture
from recommender.api.receipts import own_rankings
from recommender.api.recording import Clock, timed
from recommender.api.serializers import EventSerializer
from recommender.capture import EventDraft, IngestResult, counting, rejections
from recommender.capture.checking import check_event
from recommender.exceptions import InvalidEvent
from recommender.models import RejectedEvent

REPLAYABLE, STILL_REJECTED = "replayable", "rejected"


def replay(*, code: str = "", is_rehearsal: bool = False) -> Counter[str]:
    """Store those rejected events that are valid by now, of all or of one reason; return the number of each outcome.

    Each in a transaction of its own, with its own message id: what came again since is a duplicate. In a rehearsal
    nothing is stored, and the outcome is `REPLAYABLE`.
    """
    rows = RejectedEvent.objects.order_by("pk")
    outcomes: Counter[str] = Counter()
    for pk in (rows.filter(code=code) if code else rows).values_list("pk", flat=True):
        row = RejectedEvent.objects.select_related("visitor").filter(pk=pk).first()
        if row is None:
            continue
        draft = _draft(row)
        if draft is None:
            outcomes[STILL_REJECTED] += 1
        else:
            outcomes[REPLAYABLE if is_rehearsal else _sent_again(row, draft)] += 1
    return outcomes


def _draft(row: RejectedEvent) -> EventDraft | None:
    """The event as a draft; None where it is rejected still."""
    if rejections.is_masked(row.payload):
        return None
    sender = EventDraft(
        message_id="",
        type="",
        occurred_at=row.received_at,
        source=row.source or "page",
        device=row.device,
        region=row.region,
        is_bot=row.is_bot,
        visitor_key=row.visitor.key if row.visitor and not row.names_user else None,
        user_key=row.visitor.user_key if row.visitor else None,
        is_profiled=row.visitor.is_profiled if row.visitor else True,
    )
    try:
        draft = _with_event(sender, row)
        check_event(draft, row.received_at)
    except (ValidationError, InvalidEvent):
        return None
    return draft


def _with_event(sender: EventDraft, row: RejectedEvent) -> EventDraft:
    """Raises `ValidationError`."""
    event: dict[str, Any] = EventSerializer().run_validation(row.event)
    if row.source != "api":
        return replace(sender, **event)
    draft = replace(sender, **timed(event, Clock(row.received_at, dt.timedelta(seconds=row.clock_behind))))
    return own_rankings([0], [draft])[0][0]


def _sent_again(row: RejectedEvent, draft: EventDraft) -> str:
    """Store the event and forget its rejection, both or none; move it in the day's account."""
    day = row.received_at.date()
    with transaction.atomic(using=router.db_for_write(RejectedEvent)):
        result = capture.ingest([draft], day=day)
        counting.count({(row.source, "rejected"): -1}, day=day)
        if not RejectedEvent.objects.filter(pk=row.pk).delete()[0]:  # another replay was faster
            transaction.set_rollback(True)
    return _outcome(result)


def _outcome(result: IngestResult) -> str:
    outcomes = {"accepted": result.n_accepted, "duplicate": result.n_duplicate, "dropped": result.n_dropped}
    return next((outcome for outcome, n in outcomes.items() if n), STILL_REJECTED)
