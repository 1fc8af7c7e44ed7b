"""The way in for behaviour: drafts are checked, given their visitor and their list, and stored once per message id."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from django.db import router, transaction
from django.http import HttpRequest
from django.utils import timezone

from recommender.capture import counting, rejections
from recommender.capture.checking import MAX_POSITION, MAX_QUANTITY, MAX_SOURCE_LENGTH, check_events, check_impression
from recommender.capture.drafts import ITEMLESS, TYPES, EventDraft, ImpressionDraft, IngestResult, Rejection
from recommender.capture.storage import store
from recommender.identity import Shopper, mark_personal, shopper_of, tombstones
from recommender.metrics import OutcomeCounts
from recommender.models import Event
from recommender.models.connections import apart, committed
from recommender.signals import event_recorded
from recommender.types import Ranking

__all__ = [
    "ITEMLESS", "MAX_POSITION", "MAX_QUANTITY", "TYPES", "Buffer", "EventDraft", "ImpressionDraft", "IngestResult",
    "Rejection", "Source", "buffer_of", "count_dropped", "counts", "current_request", "flush", "ingest", "record",
    "record_impression", "record_later",
]  # fmt: skip

logger = logging.getLogger(__name__)

counts = OutcomeCounts(
    "events", "Events by outcome.", "accepted", "duplicate", "rejected", "dropped", "failed", "unthrottled"
)
"""Accepted, duplicate, rejected and dropped events since this process started; `failed` captures and blocks;
`unthrottled`, how often the counting of calls paused because the cache did not answer."""

current_request: ContextVar[HttpRequest | None] = ContextVar("recommender_request", default=None)
"""The request that this thread or task answers, set by the middleware: it gives a saved order its visitor."""


Source = Callable[[Shopper], Iterable[EventDraft]]
"""Yields the events of a request once its response has been sent."""


@dataclass(slots=True)
class Buffer:
    """What one request has seen; `sources` are called for their events after the response."""

    drafts: list[EventDraft] = field(default_factory=list)
    impressions: dict[uuid.UUID, ImpressionDraft] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)


def ingest(
    drafts: Sequence[EventDraft], impressions: Sequence[ImpressionDraft] = (), *, day: dt.date | None = None
) -> IngestResult:
    """Store a batch in one transaction, or in a savepoint of the host's; where other writers are in the way, try again.
    Raises `DatabaseError` if nothing is stored.

    At most: one statement for the visitors that this process has not seen lately (two where users are to be looked
    up), one for the clicks that carts and orders follow from, one for the events of each source, one for all
    impressions; more where an event is rejected. `day`: the one under which it is counted; today where it is left out.
    """
    at = timezone.now()
    sound, refused = check_events(drafts, at)
    shown = [check_impression(draft) for draft in impressions if draft.ranking.entries or draft.ranking.redirect]
    unique = {draft.message_id: (index, draft) for index, draft in reversed(sound)}
    alias = router.db_for_write(Event)
    ordered = [unique[message_id][1] for message_id in sorted(unique)]
    stored = committed(lambda: store(ordered, shown, at=at, alias=alias), using=alias)
    refused += [Rejection(unique[message_id][0], "", reason) for message_id, reason in stored.refused.items()]
    result = IngestResult(
        n_accepted=stored.n_accepted,
        n_duplicate=len(sound) - len(unique) + stored.n_duplicate,
        rejections=sorted(refused, key=lambda rejection: rejection.index),
        n_dropped=stored.n_dropped,
        n_attached=stored.n_attached,
    )
    _count(result)
    stored.outcomes.update((_source(drafts[rejection.index]), "rejected") for rejection in refused)
    repeated = Counter(draft.source for _, draft in sound) - Counter(draft.source for _, draft in unique.values())
    stored.outcomes.update({(source, "duplicate"): n for source, n in repeated.items()})
    counting.count(stored.outcomes, day=day)
    rejections.keep([_refused(drafts[each.index], each) for each in refused], at=at, alias=alias)
    if result.n_accepted:
        transaction.on_commit(lambda: _announce(result.n_accepted), using=alias)
    return result


def record(request: Any, draft: EventDraft) -> None:
    """Keep an event of the request's shopper until `flush`; visitor, device and region are filled in there."""
    buffer_of(request).drafts.append(draft)


def record_impression(request: Any, ranking: Ranking, *, current_item_id: str = "") -> None:
    """Keep a list that is being shown until `flush`, once however often it is drawn; its page is personal.

    Without items nothing is kept, unless a rule leads the query elsewhere.
    """
    mark_personal(request)
    if (ranking.entries or ranking.redirect) and getattr(request, "method", "") != "HEAD":
        draft = ImpressionDraft(ranking, timezone.now(), current_item_id)
        buffer_of(request).impressions.setdefault(ranking.id, draft)


def record_later(request: Any, source: Source) -> None:
    """Let `source` yield its events after the response."""
    buffer_of(request).sources.append(source)


def buffer_of(request: Any) -> Buffer:
    """What the request has seen so far."""
    request = getattr(request, "_request", request)
    buffer: Buffer | None = getattr(request, "recommender_buffer", None)
    if buffer is None:
        buffer = request.recommender_buffer = Buffer()
    return buffer


def flush(request: Any) -> IngestResult:
    """Store what the request has seen. Without consent only orders are kept, as nobody's. Raises `DatabaseError`."""
    request = getattr(request, "_request", request)
    buffer: Buffer | None = vars(request).pop("recommender_buffer", None)
    if buffer is None:
        return IngestResult()
    shopper = shopper_of(request)
    drafts = [*buffer.drafts, *(draft for source in buffer.sources for draft in _drafts_from(source, shopper))]
    orders = [draft for draft in drafts if draft.source == "order"]
    n_others = len(drafts) - len(orders)
    if not (n_others or buffer.impressions) or not shopper.has_consented:
        count_dropped(draft.source for draft in drafts if draft.source != "order")
        result = ingest(orders) if orders else IngestResult()
        return dataclasses.replace(result, n_dropped=result.n_dropped + n_others)
    person = shopper.recorded()
    if person["user_key"] and shopper.has_consented_anew:
        tombstones.lift(tombstones.names_of((), [person["user_key"]]))
    drafts = [
        draft if draft.source == "order" else dataclasses.replace(draft, region=shopper.region, **person)
        for draft in drafts
    ]
    return ingest(drafts, [dataclasses.replace(draft, **person) for draft in buffer.impressions.values()])


def count_dropped(sources: Iterable[str]) -> None:
    """Count events that nobody consented to, by their sources."""
    n_dropped = Counter(sources)
    counts["dropped"] += n_dropped.total()
    counting.count({(source, "dropped"): n for source, n in n_dropped.items()})


def _source(draft: EventDraft) -> str:
    """The source of a rejected draft, which may be what is wrong with it."""
    return draft.source if isinstance(draft.source, str) and len(draft.source) <= MAX_SOURCE_LENGTH else ""


def _refused(draft: EventDraft, rejection: Rejection) -> rejections.Refused:
    return rejections.refused_draft(draft, rejection.field or "database", rejection.message)


def _drafts_from(source: Source, shopper: Shopper) -> list[EventDraft]:
    try:
        with apart():
            return list(source(shopper))
    except Exception:
        counts["failed"] += 1
        logger.exception("a source of events failed; the others of its request are kept")
        return []


def _announce(n_accepted: int) -> None:
    for receiver, error in event_recorded.send_robust(sender=Event, n_accepted=n_accepted):
        if isinstance(error, Exception):
            logger.error("receiver %r of event_recorded failed: %r", receiver, error)


def _count(result: IngestResult) -> None:
    outcomes = {
        "accepted": result.n_accepted,
        "duplicate": result.n_duplicate,
        "rejected": len(result.rejections),
        "dropped": result.n_dropped,
    }
    for outcome, n in outcomes.items():
        if n:
            counts[outcome] += n
