"""What a shop declares in its `recommendations.py`: pages that are events, rows that are purchases; drafts come out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import models, transaction
from django.db.models.signals import post_save
from django.http import HttpRequest, HttpResponseBase
from django.urls import Resolver404, ResolverMatch, resolve
from django.utils import timezone, translation

from recommender import capture
from recommender.capture import EventDraft, IngestResult, Source, order_consent, storage
from recommender.catalog import Constant
from recommender.catalog.paths import concrete_label, foreign_keys, pk_of
from recommender.exceptions import ConfigurationError
from recommender.identity import Shopper
from recommender.models import Event, UnpaidRow
from recommender.models.connections import apart
from recommender.tracking.orders import RETURNED, OrderRows, sound
from recommender.tracking.pages import ACTED, SHOWN, TrackedPage, drafts_of, is_refused, note_json, page
from recommender.types import EventType

__all__ = [
    "ACTED", "SHOWN", "Constant", "OrderRows", "ReconcileReport", "TrackedPage", "connect", "page", "page_source",
    "reconcile", "record_page", "record_rows", "signalled_pages", "tell_by_signals", "track_pages", "track_rows",
    "tracked_pages", "tracked_rows",
]  # fmt: skip

logger = logging.getLogger(__name__)

MAX_REJECTIONS_KEPT = 20

Progress = Callable[[int, int], None]
Saved = tuple[Iterable[Any], bool]
"""Primary keys of rows that were saved, and whether the rows are new."""


@dataclass(slots=True)
class ReconcileReport:
    """What the rows came to: n_recorded + n_known + n_rejected events of n_read rows, as a rule one of each.

    n_attached: of the known ones, those that were nobody's and have found their buyer. n_emptied: rows that count
    without a value that made no sense. `rejections` and `emptied` hold the first messages.
    """

    n_read: int = 0
    n_recorded: int = 0
    n_known: int = 0
    n_attached: int = 0
    n_rejected: int = 0
    n_emptied: int = 0
    rejections: list[str] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)

    def add(self, chunk: list[EventDraft], result: IngestResult) -> None:
        """Count one chunk."""
        self.n_recorded += result.n_accepted
        self.n_known += result.n_duplicate
        self.n_attached += result.n_attached
        for refused in result.rejections:
            self.reject(chunk[refused.index].message_id, f"{refused.field}: {refused.message}")
        for draft in chunk:
            if draft.emptied:
                self.n_emptied += 1
                if len(self.emptied) < MAX_REJECTIONS_KEPT:
                    self.emptied.append(f"{draft.message_id}: {'; '.join(draft.emptied)}")

    def reject(self, name: str, message: str) -> None:
        """Count one row and keep the message of the first ones."""
        self.n_rejected += 1
        if len(self.rejections) < MAX_REJECTIONS_KEPT:
            self.rejections.append(f"{name}: {message}")


@dataclass(frozen=True, slots=True)
class NobodysOrders:
    """A sample of the order rows that are recorded as nobody's: how many were read, and how many name who bought."""

    n_rows: int
    n_named: int


_pages: dict[str, list[TrackedPage]] = {}
_rows: dict[tuple[str, str], OrderRows] = {}
_signalled: dict[str, EventType] = {}


def track_pages(*pages: TrackedPage) -> None:
    """Record these pages."""
    for tracked in pages:
        same_view = _pages.setdefault(tracked.view_name, [])
        if tracked not in same_view:
            same_view.append(tracked)


def track_rows(label: str) -> Callable[[type[OrderRows]], type[OrderRows]]:
    """Record the rows of the model `label` ("app.Model") as purchases and refunds, as this class describes them."""

    def decorate(declared: type[OrderRows]) -> type[OrderRows]:
        if not (isinstance(declared, type) and issubclass(declared, OrderRows)):
            raise ConfigurationError(f"@track_rows({label!r}) decorates a subclass of recommender.tracking.OrderRows.")
        _rows[label.lower(), declared.kind] = declared(label)
        connect()
        return declared

    return decorate


def tracked_pages() -> list[TrackedPage]:
    """Every page that is declared."""
    return [page for pages in _pages.values() for page in pages]


def tell_by_signals(**events: EventType | str) -> None:
    """Say that signals of the shop report these pages, as `tell_by_signals(**{"catalogue:detail": "view_item"})`: they
    need no `track_pages`."""
    _signalled.update({name: EventType(event) for name, event in events.items()})


def signalled_pages() -> dict[str, EventType]:
    """The pages of which signals tell, and their events."""
    return dict(_signalled)


def tracked_rows() -> list[OrderRows]:
    """Every class of order rows."""
    return list(_rows.values())


def record_page(
    request: Any,
    event: EventType | str,
    *,
    item_id: Any = None,
    query: Any = None,
    quantity: Any = None,
    statuses: tuple[int, ...] = (),
) -> None:
    """Record the page that is being made, once it was shown: for a shop whose own signals know more than its URLs.

    As `track_pages` would, but for this request only; a callable is called after the response. No query.
    """
    request = getattr(request, "_request", request)
    if request.method in ("HEAD", "OPTIONS"):
        return
    expected = statuses or (SHOWN if request.method == "GET" else ACTED)
    item_id, query, quantity = (
        Constant(told) if isinstance(told, str) else told for told in (item_id, query, quantity)
    )
    page = TrackedPage("", EventType(event), item_id, query, quantity, request.method, frozenset(expected))
    vars(request).setdefault("recommender_pages", []).append(page)


def record_rows(label: str, pks: Iterable[Any], *, using: str | None = None) -> None:
    """Record rows of a tracked model when the transaction commits: for what was written without `post_save`.

    What is recorded already stays once. A lazy queryset of keys is read after the response; no query before it.
    """
    for rows in _rows_of(label):
        _follow(rows, pks, using)


def connect() -> None:
    """Follow the saves of order rows; safe to call again."""
    post_save.connect(_on_save, dispatch_uid="recommender.tracking")


def page_source(request: HttpRequest, response: HttpResponseBase) -> Source | None:
    """What yields the events of this page after the response; None where none is declared. No query."""
    match = request.resolver_match or _match_of_cached(request, response)
    pages = _pages.get(match.view_name, []) if match is not None else []
    pages = [*pages, *vars(request).pop("recommender_pages", ())]
    if not pages:
        return None
    applying = [
        page
        for page in pages
        if page.method == request.method and response.status_code in page.statuses and not page.beacon
        if not is_refused(page, request, response)
    ]
    if not applying:
        return None
    note_json(applying, request, response)
    return page_events(applying, request)


def page_events(pages: list[TrackedPage], request: HttpRequest) -> Source:
    """What yields the events of these declarations, dated now."""
    at = timezone.now()
    return lambda shopper: (draft for page in pages for draft in drafts_of(page, request, shopper, at))


def beacon_source(request: HttpRequest) -> Source | None:
    """What yields the events of the page whose address a script has sent; None where none is declared."""
    request.resolver_match = _match_of(request)
    if request.resolver_match is None:
        return None
    pages = [page for page in _pages.get(request.resolver_match.view_name, ()) if page.beacon]
    return page_events(pages, request) if pages else None


def _match_of_cached(request: HttpRequest, response: HttpResponseBase) -> ResolverMatch | None:
    """The URL of a page that Django's cache has answered before any URL was looked up; None for other early answers."""
    is_cached = request.method == "GET" and response.status_code in SHOWN and hasattr(request, "_cache_update_cache")
    if is_cached and _pages:
        request.resolver_match = _match_of(request)
    return request.resolver_match


def _match_of(request: HttpRequest) -> ResolverMatch | None:
    """The URL of a request, under the prefix of its language; None where there is none."""
    try:
        with translation.override(getattr(request, "LANGUAGE_CODE", None) or translation.get_language()):
            return resolve(request.path_info, getattr(request, "urlconf", None))
    except Resolver404:
        return None


def reconcile(
    *, since: dt.datetime | None = None, chunk_size: int = 2000, progress: Progress | None = None
) -> ReconcileReport:
    """Record the order rows that are not recorded yet, all or since a moment. A read and a transaction per chunk.

    A purchase is the history of its user where that user has consented, and teaches under the user's number where
    `ORDER_CONSENT` says so; else it is nobody's. One that was nobody's finds its buyer once that has changed.
    """
    report = ReconcileReport()
    order_consent.welcome()
    UnpaidRow.forget_recorded()
    total = sum(rows.since(rows.queryset(), since).count() for rows in _rows.values())
    for rows in _rows.values():
        for chunk in _chunks(rows, since, chunk_size, report):
            report.add(chunk, capture.ingest(chunk))
            if progress is not None:
                progress(report.n_read, total)
    return report


def nobodys_orders(*, limit: int = 200) -> NobodysOrders:
    """Look whether the newest orders that are nobody's name a customer all the same. Two queries per tracked model."""
    n_rows = n_named = 0
    nobodys = Event.objects.filter(source="order", visitor__isnull=True).order_by("-pk")
    for rows in _rows.values():
        prefix = rows.message_id("")
        message_ids = nobodys.filter(message_id__startswith=prefix).values_list("message_id", flat=True)[:limit]
        pks = [pk_of(rows.model, message_id.removeprefix(prefix)) for message_id in message_ids]
        source, draft, _ = rows.reader()
        for row in rows.with_users(source.filter(pk__in=pks)):
            n_rows += 1
            n_named += any(one.user_key for one in draft(row))
    return NobodysOrders(n_rows, n_named)


def _chunks(
    rows: OrderRows, since: dt.datetime | None, chunk_size: int, report: ReconcileReport
) -> Iterator[list[EventDraft]]:
    """Drafts in chunks by primary key, each chunk one query, so that no read stays open while we write."""
    source, draft, pk_of = rows.reader()
    source = rows.since(source, since).order_by("pk")
    found = list(source[:chunk_size])
    while found:
        report.n_read += len(found)
        drafts = []
        for row in rows.with_users(found):
            try:
                drafts += draft(row)
            except Exception as error:  # the shop's own code and rows: an odd one must not stop the others
                report.reject(rows.message_id(pk_of(row)), f"{type(error).__name__}: {error}")
                logger.warning("row %s of %s is skipped: %r", pk_of(row), rows.label, error)
        yield _completed(rows, drafts)
        found = list(source.filter(pk__gt=pk_of(found[-1]))[:chunk_size])


def _on_save(
    *, sender: type[models.Model], instance: Any, created: bool, using: str, raw: bool = False, **_: Any
) -> None:
    """Follow a row that is new or may have been paid now, and an order whose rows are new or may have been."""
    if raw:
        return
    for rows in _rows.values():
        if _is_of(rows, sender):
            if created or rows.may_change:
                _follow(rows, [instance.pk], using, are_new=created)
        elif lookup := rows.lookup_of(sender):
            pks = rows.queryset().filter(**{lookup: instance.pk}).values_list("pk", flat=True)
            _follow(rows, pks, using, are_new=created and foreign_keys(rows.model, lookup) == lookup)


def _is_of(rows: OrderRows, sender: type[models.Model]) -> bool:
    """Is a saved object one of these rows, also as a proxy?"""
    return rows.label.lower() in (sender._meta.label_lower, concrete_label(sender))


def _rows_of(label: str) -> list[OrderRows]:
    return [rows for (known, _), rows in _rows.items() if known == label.lower()]


def _follow(rows: OrderRows, pks: Iterable[Any], using: str | None, *, are_new: bool = False) -> None:
    request = capture.current_request.get()
    transaction.on_commit(lambda: _on_commit(rows, pks, request, are_new=are_new), using=using, robust=True)


def _on_commit(rows: OrderRows, pks: Iterable[Any], request: HttpRequest | None, *, are_new: bool) -> None:
    """Keep saved rows for the end of their request; store them now where no response will follow."""
    if request is not None and capture.current_request.get() is request:
        pending: dict[OrderRows, list[Saved]] = vars(request).setdefault("recommender_rows", {})
        if rows not in pending:
            pending[rows] = []
            capture.record_later(request, lambda shopper: _saved(rows, pending.pop(rows), shopper))
        pending[rows].append((pks, are_new))
        return
    try:
        with apart():
            capture.ingest(_saved(rows, [(pks, are_new)], None))
    except Exception:  # the shop's order is placed and must stay so
        capture.counts["failed"] += 1
        logger.exception("rows of %s were not recorded; recommender_reconcile will find them", rows.label)


def _saved(rows: OrderRows, saved: list[Saved], shopper: Shopper | None) -> list[EventDraft]:
    """The events of rows just saved; who refuses in this browser keeps them from becoming theirs later. One query, and
    two more for rows that may be paid or returned later."""
    groups = [(list(pks), are_new) for pks, are_new in saved]
    found = rows.with_users(rows.objects().filter(pk__in=list({pk for pks, _ in groups for pk in pks})))
    drafts = _completed(rows, [draft for row in found for draft in rows.drafts(row)])
    for reason in (reason for draft in drafts for reason in draft.emptied):
        logger.warning("a row of %s is recorded without a value: %s", rows.label, reason)
    if shopper is None:
        return drafts
    new = [rows.message_id(pk) for pks, are_new in groups if are_new for pk in pks]
    if rows.may_change and shopper.user_key is None and shopper.has_consented:  # users are found by the order itself
        UnpaidRow.remember(set(new) - {row_id for draft in drafts for row_id in _row_ids(draft)}, shopper)
    if shopper.refuses and shopper.user_key in {draft.user_key for draft in drafts if draft.user_key}:
        order_consent.remember_objection(shopper.user_key or "")
    return [_of_visitor(draft, shopper) for draft in drafts]


def _of_visitor(draft: EventDraft, shopper: Shopper) -> EventDraft:
    """Under the browser's visitor, if the order is theirs: staff may enter one for somebody else.

    Without consent it is nobody's, or what `ORDER_CONSENT` makes of it; against a refusal it is nobody's.
    """
    if draft.user_key != shopper.user_key:
        return draft
    if not shopper.has_consented:
        return draft if order_consent.is_open() and not shopper.refuses else dataclasses.replace(draft, user_key=None)
    if draft.visitor_key not in (None, shopper.visitor_key):  # a gateway tells of a payment: the buyer is remembered
        return draft
    return dataclasses.replace(
        draft,
        visitor_key=shopper.visitor_key,
        device=shopper.device,
        region=shopper.region,
        is_bot=shopper.is_bot,
        is_profiled=shopper.is_profiled,
    )


def _completed(rows: OrderRows, drafts: list[EventDraft]) -> list[EventDraft]:
    """Drafts of guests under the browser that ordered, refunds under that of their purchase; refunds that have grown
    since they were recorded are corrected. At most three queries, none for rows that never change."""
    if rows.makes_own_drafts:
        drafts = [sound(draft) for draft in drafts]
    if not rows.may_change and all(draft.type != EventType.REFUND for draft in drafts):
        return drafts
    returned = {draft.message_id: draft.quantity for draft in drafts if draft.message_id.startswith(RETURNED)}
    storage.correct_quantities(returned)
    guests = [draft for draft in drafts if draft.visitor_key is None and draft.user_key is None]
    wanted = {row_id for draft in guests for row_id in _row_ids(draft)}
    unpaid = {row.message_id: row for row in UnpaidRow.objects.filter(message_id__in=wanted)} if wanted else {}
    refunds = [(draft.order_id, draft.item_id) for draft in guests if draft.type == EventType.REFUND]
    buyers = order_consent.who_bought(refunds)
    return [_under_buyer(draft, unpaid, buyers) for draft in drafts]


def _row_ids(draft: EventDraft) -> tuple[str, str]:
    """The id of the row that a draft is of; the second where a class of the shop's makes several of one row."""
    row_id = draft.message_id.removeprefix(RETURNED)
    return row_id, row_id.rpartition(":")[0]


def _under_buyer(
    draft: EventDraft, unpaid: dict[str, UnpaidRow], buyers: dict[tuple[str, str], uuid.UUID]
) -> EventDraft:
    if draft.visitor_key is not None or draft.user_key is not None:
        return draft
    row = next((unpaid[row_id] for row_id in _row_ids(draft) if row_id in unpaid), None)
    if row is not None:
        names = ("visitor_key", "device", "region", "is_bot", "is_profiled")
        return dataclasses.replace(draft, **{name: getattr(row, name) for name in names})
    buyer = buyers.get((draft.order_id, draft.item_id)) if draft.type == EventType.REFUND else None
    return draft if buyer is None else dataclasses.replace(draft, visitor_key=buyer)
