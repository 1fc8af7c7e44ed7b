"""Records in, committed rows out: valid, once per `message_id`, tied to visitors and to the lists they came from."""

from __future__ import annotations

import datetime as dt
import logging
import math
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from django.db import connections, router, transaction
from django.db.models import Q
from django.db.models.constants import OnConflict
from django.http import HttpRequest
from django.utils import timezone

from recommender.exceptions import InvalidEvent
from recommender.identity import Shopper, key_of_user, link, shopper_of
from recommender.models import Event, Impression, Visitor
from recommender.signals import event_recorded
from recommender.types import EventType, Ranking

logger = logging.getLogger(__name__)

MAX_FUTURE = dt.timedelta(minutes=10)
"""A client's clock may run ahead this far; the event is then stored as of now."""

ATTRIBUTION_WINDOW = dt.timedelta(days=30)
SEEN_AGAIN_AFTER = dt.timedelta(hours=1)
MAX_QUANTITY = 1e6
LENGTHS = {"message_id": 128, "item_id": 128, "query": 255, "order_id": 128, "currency": 3, "device": 16, "region": 32}
ATTRIBUTED = (EventType.ADD_TO_CART, EventType.PURCHASE)

counts: Counter[str] = Counter()
"""Events of this process: sent = accepted + duplicate + rejected + dropped; `failed` counts lost batches."""


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event before it is stored; `occurred_at` is aware. With `user_key` alone it goes to the user's own visitor."""

    message_id: str
    type: str
    occurred_at: dt.datetime
    item_id: str = ""
    query: str = ""
    quantity: float = 1
    price: Decimal | None = None
    currency: str = ""
    order_id: str = ""
    ranking_id: uuid.UUID | None = None
    position: int | None = None
    source: str = "page"
    device: str = ""
    region: str = ""
    is_bot: bool = False
    visitor_key: uuid.UUID | None = None
    user_key: str | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the draft at `index` was not stored."""

    index: int
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class IngestResult:
    """sent = n_accepted + n_duplicate + len(rejections) + n_dropped."""

    n_accepted: int = 0
    n_duplicate: int = 0
    rejections: tuple[Rejection, ...] = ()
    n_dropped: int = 0


@dataclass(slots=True)
class Buffer:
    """What one request has to record: drafts, or callables that make one when it is written."""

    drafts: list[EventDraft | Callable[[], EventDraft | None]] = field(default_factory=list)
    impressions: list[Impression] = field(default_factory=list)


def buffer_of(request: HttpRequest) -> Buffer:
    """The buffer of a request, made at the first call."""
    request = getattr(request, "_request", request)
    if not hasattr(request, "recommender_buffer"):
        request.recommender_buffer = Buffer()  # type: ignore[attr-defined]
    buffer: Buffer = request.recommender_buffer  # type: ignore[attr-defined]
    return buffer


def record(request: HttpRequest, draft: EventDraft | Callable[[], EventDraft | None]) -> None:
    """Keep an event until the response was sent; who did it is filled in then."""
    buffer_of(request).drafts.append(draft)


def record_impression(request: HttpRequest, ranking: Ranking, *, current_item_id: str = "") -> None:
    """Keep that a list was shown, until the response was sent; an empty list was not shown."""
    if not ranking.entries:
        return
    shopper = shopper_of(request)
    impression = Impression(
        ranking_id=ranking.id,
        slot=ranking.slot,
        query=ranking.query[: LENGTHS["query"]],
        current_item_id=current_item_id,
        item_ids=[entry.item_id for entry in ranking.entries],
        first_position=ranking.entries[0].position,
        rung=ranking.rung,
        bundle=ranking.bundle,
        source=shopper.source,
        device=shopper.device,
        is_bot=shopper.is_bot,
        occurred_at=timezone.now(),
    )
    buffer_of(request).impressions.append(impression)


def mark_personal(request: HttpRequest) -> None:
    """Say that the page shows one visitor's list: Django's page cache must not keep it."""
    request = getattr(request, "_request", request)
    request._cache_update_cache = False  # type: ignore[attr-defined]
    request.recommender_is_personal = True  # type: ignore[attr-defined]


def flush(request: HttpRequest) -> IngestResult:
    """Write what the request recorded. Never raises: a failure is logged and counted, the page is out already."""
    buffer = buffer_of(request)
    drafts, buffer.drafts = buffer.drafts, []
    impressions, buffer.impressions = buffer.impressions, []
    try:
        return _flush(shopper_of(request), drafts, impressions)
    except Exception:  # the edge of capture: whatever the database or a tracking rule does, the shop goes on
        counts["failed"] += 1
        counts["dropped"] += len(drafts)
        logger.exception("%d events and %d lists were not recorded", len(drafts), len(impressions))
        return IngestResult(n_dropped=len(drafts))


def _flush(shopper: Shopper, drafts: Sequence[Any], impressions: list[Impression]) -> IngestResult:
    made = [draft() if callable(draft) else draft for draft in drafts]
    has_consented = shopper.has_consented
    ready = [_signed(draft, shopper, has_consented) for draft in made if draft is not None]
    kept = [draft for draft in ready if draft is not None]
    n_dropped = len(drafts) - len(kept)
    counts["dropped"] += n_dropped
    if not kept and not (impressions and has_consented):
        return IngestResult(n_dropped=n_dropped)
    who = (shopper.visitor_key, shopper.user_key) if has_consented else (None, None)
    result = ingest(kept, impressions if has_consented else (), seen_by=who)
    return replace(result, n_dropped=result.n_dropped + n_dropped)


def _signed(draft: EventDraft, shopper: Shopper, has_consented: bool) -> EventDraft | None:
    """Fill in who did it. Without consent only the shop's own orders stay, with nobody's name on them."""
    if not has_consented:
        return replace(draft, visitor_key=None, user_key=None) if draft.source == "order" else None
    return replace(
        draft,
        visitor_key=shopper.visitor_key,
        user_key=shopper.user_key,
        device=shopper.device,
        region=shopper.region,
        is_bot=shopper.is_bot,
    )


def ingest(
    drafts: Iterable[EventDraft],
    impressions: Iterable[Impression] = (),
    *,
    seen_by: tuple[uuid.UUID | None, str | None] = (None, None),
) -> IngestResult:
    """Store the valid drafts, each `message_id` once, and the lists that the visitor `seen_by` was shown.

    One bulk insert of events in a transaction of its own (a savepoint inside the caller's), sorted by key so that
    parallel batches do not lock each other out. Raises `DatabaseError`; a faulty draft is only rejected.
    """
    valid, rejections, n_sent = _validated(drafts)
    unique = {draft.message_id: draft for draft in reversed(valid)}
    impressions = list(impressions)
    with transaction.atomic(using=router.db_for_write(Event)):
        visitors = _visitors(unique.values(), seen_by if impressions else (None, None))
        attributed = _attributed(unique, visitors)
        n_accepted = insert_events([_event(attributed[key], visitors) for key in sorted(attributed)])
        _insert_impressions(impressions, visitors.get(seen_by[0]) if seen_by[0] else None)
    result = IngestResult(n_accepted, n_sent - len(rejections) - n_accepted, tuple(rejections))
    _count(result)
    return result


def insert_events(events: list[Event]) -> int:
    """Insert in one statement per batch, skipping known message ids; return how many rows were new.

    `bulk_create(ignore_conflicts=True)` does not tell which rows it inserted (Django ticket 34277), so the inner
    `_insert` asks the database by RETURNING.
    """
    if not events:
        return 0
    fields = [column for column in Event._meta.concrete_fields if not column.primary_key]
    using = router.db_for_write(Event)
    size = max(1, connections[using].ops.bulk_batch_size(fields, events))
    n_inserted = 0
    for start in range(0, len(events), size):
        rows = Event.objects.using(
            using
        )._insert(  # type: ignore[attr-defined]
            events[start : start + size],
            fields=fields,
            returning_fields=[Event._meta.pk],
            using=using,
            on_conflict=OnConflict.IGNORE,
        )
        n_inserted += len(rows)
    return n_inserted


def _validated(drafts: Iterable[EventDraft]) -> tuple[list[EventDraft], list[Rejection], int]:
    valid, rejections, n_sent = [], [], 0
    now = timezone.now()
    for index, draft in enumerate(drafts):
        n_sent += 1
        try:
            valid.append(validate(draft, now=now))
        except InvalidEvent as error:
            rejections.append(Rejection(index, error.field, str(error)))
    return valid, rejections, n_sent


def validate(draft: EventDraft, *, now: dt.datetime) -> EventDraft:
    """Return the draft as it is stored. Raises `InvalidEvent`, which names the field and what it must be."""
    _check_texts(draft)
    if draft.type not in EventType.__members__.values():
        raise InvalidEvent(f"{draft.type[:20]!r} is none of: {', '.join(EventType)}.", field="type")
    wanted = "query" if draft.type == EventType.SEARCH else "item_id"
    if draft.type != EventType.VIEW_ITEM_LIST and not getattr(draft, wanted):
        raise InvalidEvent(f"{draft.type} needs {wanted}.", field=wanted)
    if not (math.isfinite(draft.quantity) and 0 < draft.quantity <= MAX_QUANTITY):
        raise InvalidEvent(f"quantity must be above 0 and at most {MAX_QUANTITY:g}.", field="quantity")
    if draft.price is not None and not (draft.price.is_finite() and 0 <= draft.price < Decimal(10) ** 12):
        raise InvalidEvent("price must be a number of 0 or more.", field="price")
    if draft.position is not None and not 0 <= draft.position <= 32_767:
        raise InvalidEvent("position must be between 0 and 32767.", field="position")
    return replace(draft, occurred_at=_moment(draft.occurred_at, now))


def _check_texts(draft: EventDraft) -> None:
    if not draft.message_id:
        raise InvalidEvent("message_id must not be empty: it makes the event count once.", field="message_id")
    for name, limit in LENGTHS.items():
        text = getattr(draft, name)
        if len(text) > limit:
            raise InvalidEvent(f"{name} has {len(text)} characters, at most {limit} are kept.", field=name)
        if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InvalidEvent(f"{name} has a character that no database stores.", field=name)


def _moment(moment: dt.datetime, now: dt.datetime) -> dt.datetime:
    if timezone.is_naive(moment):
        raise InvalidEvent("occurred_at needs a time zone, such as 2026-01-31T12:00:00Z.", field="occurred_at")
    if moment.year < 1990:
        raise InvalidEvent("occurred_at is before 1990.", field="occurred_at")
    if moment > now + MAX_FUTURE:
        raise InvalidEvent("occurred_at lies in the future; send it in UTC.", field="occurred_at")
    return min(moment, now)


def _visitors(drafts: Iterable[EventDraft], seen_by: tuple[uuid.UUID | None, str | None]) -> dict[uuid.UUID, Visitor]:
    """Rows of everybody named, made where a browser consented just now, tied to the user where nobody is yet."""
    named: dict[uuid.UUID, tuple[str | None, str]] = {}
    for draft in drafts:
        if draft.visitor_key is not None:
            named[draft.visitor_key] = (draft.user_key, draft.device)
        elif draft.user_key:
            named.setdefault(key_of_user(draft.user_key), (None, ""))
    if seen_by[0] is not None:
        named.setdefault(seen_by[0], (seen_by[1], ""))
    found = _read_visitors(named)
    own = {key_of_user(draft.user_key) for draft in drafts if draft.visitor_key is None and draft.user_key}
    missing = [key for key in sorted(named) if key not in found and key not in own]
    if missing:
        rows = [Visitor(key=key, user_key=named[key][0], device=named[key][1]) for key in missing]
        Visitor.objects.bulk_create(rows, ignore_conflicts=True)
        found |= _read_visitors(missing)
    _touch(found, named)
    return found


def _read_visitors(keys: Iterable[uuid.UUID]) -> dict[uuid.UUID, Visitor]:
    keys = list(keys)
    return {visitor.key: visitor for visitor in Visitor.objects.filter(key__in=keys)} if keys else {}


def _touch(found: dict[uuid.UUID, Visitor], named: dict[uuid.UUID, tuple[str | None, str]]) -> None:
    now = timezone.now()
    for key, visitor in found.items():
        user_key = named[key][0]
        if user_key and visitor.user_key is None and link(visitor, user_key):
            visitor.user_key = user_key
    stale = [visitor.pk for visitor in found.values() if visitor.last_seen_at < now - SEEN_AGAIN_AFTER]
    if stale:
        Visitor.objects.filter(pk__in=stale).update(last_seen_at=now)


def _attributed(drafts: dict[str, EventDraft], visitors: dict[uuid.UUID, Visitor]) -> dict[str, EventDraft]:
    """Carry the list that led to an item on to its cart and its order: the visitor's last click on it. One query."""
    open_drafts = [
        draft
        for draft in drafts.values()
        if draft.type in ATTRIBUTED and draft.ranking_id is None and draft.visitor_key in visitors
    ]
    if not open_drafts:
        return drafts
    since = min(draft.occurred_at for draft in open_drafts) - ATTRIBUTION_WINDOW
    clicks = Event.objects.filter(
        Q(visitor__in={visitors[draft.visitor_key].pk for draft in open_drafts if draft.visitor_key}),
        item_id__in={draft.item_id for draft in open_drafts},
        occurred_at__gte=since,
        ranking_id__isnull=False,
    ).order_by("occurred_at")
    last = {(visitor, item): rest for visitor, item, *rest in clicks.values_list(
        "visitor__key", "item_id", "ranking_id", "position"
    )}  # fmt: skip
    carried = dict(drafts)
    for draft in open_drafts:
        if (draft.visitor_key, draft.item_id) in last:
            ranking_id, position = last[draft.visitor_key, draft.item_id]
            carried[draft.message_id] = replace(draft, ranking_id=ranking_id, position=position)
    return carried


def _event(draft: EventDraft, visitors: dict[uuid.UUID, Visitor]) -> Event:
    key = draft.visitor_key or (key_of_user(draft.user_key) if draft.user_key else None)
    visitor = visitors.get(key) if key else None
    return Event(
        message_id=draft.message_id,
        visitor_id=visitor.pk if visitor is not None and visitor.has_consented else None,
        type=str(draft.type),
        item_id=draft.item_id,
        query=draft.query,
        occurred_at=draft.occurred_at,
        quantity=draft.quantity,
        price=draft.price,
        currency=draft.currency,
        order_id=draft.order_id,
        ranking_id=draft.ranking_id,
        position=draft.position,
        source=draft.source,
        device=draft.device,
        region=draft.region,
        is_bot=draft.is_bot,
    )


def _insert_impressions(impressions: list[Impression], visitor: Visitor | None) -> None:
    for impression in impressions:
        impression.visitor = visitor
    if impressions:
        Impression.objects.bulk_create(impressions, ignore_conflicts=True)


def _count(result: IngestResult) -> None:
    counts["accepted"] += result.n_accepted
    counts["duplicate"] += result.n_duplicate
    counts["rejected"] += len(result.rejections)
    if result.n_accepted:
        n_accepted = result.n_accepted
        transaction.on_commit(lambda: event_recorded.send(sender=Event, n_accepted=n_accepted), robust=True)
