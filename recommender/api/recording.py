"""The endpoint for events: a client may send them repeatedly, each `message_id` is stored once, 202 means committed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import router, transaction
from django.utils import timezone
from django.utils.decorators import method_decorator
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from recommender import capture, conf
from recommender.api import clocks
from recommender.api.base import ApiView
from recommender.api.problems import Problem, describe
from recommender.api.receipts import own_rankings, warnings_of
from recommender.api.serializers import EventSerializer, ReceiptSerializer
from recommender.capture import EventDraft, IngestResult, Rejection, counting, ingest, rejections
from recommender.identity import Shopper, shopper_of
from recommender.models import RejectedEvent, Scope

SENT_SHAPE = 'Send a list of events, or {"events": [...]} with "sent_at" and nothing else beside it.'


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class EventsView(ApiView):
    """What shoppers did, in batches."""

    scope = Scope.EVENTS.value

    def post(self, request: Request) -> Response:
        """Store the sound events of a batch and say of every other one why not. One bulk insert, and one look-up
        each of items and of lists that are named."""
        received_at = timezone.now()
        sent, offset = _events(request.data, received_at)
        shopper = shopper_of(request._request)
        if not shopper.has_consented:
            capture.count_dropped(["api"] * len(sent))
            return _receipt(dropped=len(sent), message="Dropped: the visitor has not consented to being recorded.")
        clock = Clock(received_at, offset)
        indices, drafts, refused = _drafts(sent, shopper, clock)
        drafts, foreign = own_rankings(indices, drafts)
        _keep(refused, sent, _sender(shopper, clock), clock)
        result = ingest(drafts)
        refused = sorted([*refused, *_replaced(result, indices)], key=lambda rejection: rejection.index)
        refused_indices = {rejection.index for rejection in refused}
        stored = [(index, draft) for index, draft in zip(indices, drafts, strict=True) if index not in refused_indices]
        return _receipt(
            accepted=result.n_accepted,
            duplicate=result.n_duplicate,
            rejected=refused,
            warnings=warnings_of(((index, draft, sent[index]) for index, draft in stored), foreign=foreign),
            dropped=result.n_dropped,
        )


@dataclass(frozen=True, slots=True)
class Clock:
    """When a batch came, and how far the client's clock was behind then."""

    received_at: dt.datetime
    offset: dt.timedelta


def _events(body: Any, received_at: dt.datetime) -> tuple[list[Any], dt.timedelta]:
    """The events of a body, and how far the client's clock is behind. Raises `Problem` or `ValidationError`."""
    events = body.get("events") if isinstance(body, dict) else body
    if not isinstance(events, list) or (isinstance(body, dict) and set(body) - {"events", "sent_at"}):
        raise Problem("invalid-request", SENT_SHAPE, {"events": SENT_SHAPE})
    most = conf.get("MAX_EVENTS_PER_CALL")
    if len(events) > most:
        raise Problem("too-large", f"{len(events)} events were sent; one call takes at most {most}. Send several.")
    return events, clocks.offset_of(body.get("sent_at") if isinstance(body, dict) else None, received_at)


def _drafts(sent: list[Any], shopper: Shopper, clock: Clock) -> tuple[list[int], list[EventDraft], list[Rejection]]:
    """Return the place of each sound event, its draft, and the rejections of the others."""
    shape = EventSerializer()
    indices, drafts, rejections = [], [], []
    for index, event in enumerate(sent):
        try:
            drafts.append(replace(_sender(shopper, clock), **timed(shape.run_validation(event), clock)))
            indices.append(index)
        except ValidationError as error:
            field, message = next(describe(error.detail))
            rejections.append(Rejection(index, field, message))
    return indices, drafts, rejections


def timed(event: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """The values of a checked event, its time by this server's clock. Raises `ValidationError` for a time from before
    anything is kept."""
    if "occurred_at" in event:
        event["occurred_at"] = clocks.corrected(event["occurred_at"], clock.offset)
        if clock.received_at - event["occurred_at"] > clocks.oldest():
            message = f"It is older than the {clocks.oldest().days} days that events are kept. Set the client's clock, "
            raise ValidationError({"occurred_at": f"{message}or say what it shows with sent_at."})
    event.setdefault("occurred_at", clock.received_at)
    event["currency"] = event["currency"].upper()
    return event


def _sender(shopper: Shopper, clock: Clock) -> EventDraft:
    """What all events of a shopper have in common."""
    return EventDraft(
        message_id="",
        type="",
        occurred_at=clock.received_at,
        source="api",
        device=shopper.device,
        region=shopper.region,
        is_bot=shopper.is_bot,
        visitor_key=shopper.visitor_key,
        user_key=shopper.recorded_user_key,
        is_profiled=shopper.is_profiled,
    )


def _keep(refused: Sequence[Rejection], sent: list[Any], sender: EventDraft, clock: Clock) -> None:
    """Count and keep the events that are none by their shape."""
    if not refused:
        return
    capture.counts["rejected"] += len(refused)
    counting.count({("api", "rejected"): len(refused)})
    kept_events = [
        rejections.Refused(
            sender, each.field or "event", each.message, sent[each.index] if isinstance(sent[each.index], dict) else {},
            clock.offset.total_seconds(),
        )
        for each in refused
    ]  # fmt: skip
    rejections.keep(kept_events, at=clock.received_at, alias=router.db_for_write(RejectedEvent))


def _replaced(result: IngestResult, indices: list[int]) -> list[Rejection]:
    """The rejections of the storage, with the places that the events had in the body."""
    return [Rejection(indices[refused.index], refused.field, refused.message) for refused in result.rejections]


def _receipt(
    *,
    accepted: int = 0,
    duplicate: int = 0,
    rejected: Sequence[Rejection] = (),
    warnings: Sequence[Rejection] = (),
    dropped: int = 0,
    message: str = "",
) -> Response:
    counted = f"{accepted} stored, {duplicate} known, {len(rejected)} rejected, {dropped} dropped"
    receipt = {
        "accepted": accepted,
        "duplicate": duplicate,
        "rejected": rejected,
        "warnings": warnings,
        "dropped": dropped,
        "message": message or f"{counted}{'; see warnings' if warnings else ''}.",
    }
    return Response(ReceiptSerializer(receipt).data, status=202)
