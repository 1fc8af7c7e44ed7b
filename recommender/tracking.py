"""What a shop declares in its `recommendations.py`: pages that are events, rows that are purchases; drafts come out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import math
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from django.db import models, transaction
from django.db.models.signals import post_save
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from recommender import capture, conf
from recommender.capture import EventDraft, IngestResult, Source
from recommender.catalog import Constant, catalog_for_label
from recommender.exceptions import ConfigurationError
from recommender.identity import Shopper
from recommender.models import Item
from recommender.orders import OrderRows
from recommender.types import EventType

__all__ = [
    "Constant", "OrderRows", "PageRule", "ReconcileReport", "connect", "page", "page_source", "reconcile",
    "record_page", "record_rows", "track_pages", "track_rows", "tracked_pages", "tracked_rows",
]  # fmt: skip

logger = logging.getLogger(__name__)

PLACES = ("kwargs", "GET", "POST")
SHOWN = frozenset({200, 304})
ACTED = frozenset({200, 201, 202, 204, 302, 303})
MAX_REJECTIONS_KEPT = 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PageRule:
    """One URL name, answered with success, is one event."""

    view_name: str
    event: EventType
    item_id: Any
    query: Any
    quantity: Any
    method: str
    statuses: frozenset[int]


@dataclass(slots=True)
class ReconcileReport:
    """What the rows came to: n_read = n_recorded + n_known + n_rejected. `rejections` holds the first messages."""

    n_read: int = 0
    n_recorded: int = 0
    n_known: int = 0
    n_rejected: int = 0
    rejections: list[str] = field(default_factory=list)

    def add(self, chunk: list[EventDraft], result: IngestResult) -> None:
        """Count one chunk."""
        self.n_recorded += result.n_accepted
        self.n_known += result.n_duplicate
        for refused in result.rejections:
            self.reject(chunk[refused.index].message_id, f"{refused.field}: {refused.message}")

    def reject(self, name: str, message: str) -> None:
        """Count one row and keep the message of the first ones."""
        self.n_rejected += 1
        if len(self.rejections) < MAX_REJECTIONS_KEPT:
            self.rejections.append(f"{name}: {message}")


_pages: dict[str, list[PageRule]] = {}
_rows: dict[tuple[str, str], OrderRows] = {}


def page(
    view_name: str,
    event: str,
    *,
    item_id: Any = None,
    query: Any = None,
    quantity: Any = None,
    method: str = "GET",
    statuses: tuple[int, ...] = (),
) -> PageRule:
    """A rule. Values are "kwargs.pk", "GET.q", "POST.quantity", a `Constant`, or a callable that takes the request.

    `item_id=("shop.Product", "kwargs.pk")` finds the item of a primary key. The rule applies to a response with one of
    `statuses`: by default a page that was shown, for a POST also a redirect. Raises `ConfigurationError`.
    """
    if event not in capture.TYPES:
        raise ConfigurationError(
            f"page({view_name!r}): {event!r} is no event. {conf.closest(event, capture.TYPES)}".strip()
        )
    for value in (item_id[1] if isinstance(item_id, tuple) else item_id, query, quantity):
        place, _, name = value.partition(".") if isinstance(value, str) else (PLACES[0], "", "-")
        if place not in PLACES or not name:
            raise ConfigurationError(
                f"page({view_name!r}): {value!r} must start with one of {', '.join(f'{place}.' for place in PLACES)}, "
                "or be a Constant or a callable that takes the request."
            )
    expected = statuses or (SHOWN if method.upper() == "GET" else ACTED)
    return PageRule(view_name, EventType(event), item_id, query, quantity, method.upper(), frozenset(expected))


def track_pages(*rules: PageRule) -> None:
    """Record these pages."""
    for rule in rules:
        known = _pages.setdefault(rule.view_name, [])
        if rule not in known:
            known.append(rule)


def track_rows(label: str) -> Callable[[type[OrderRows]], type[OrderRows]]:
    """Record the rows of the model `label` ("app.Model") as purchases and refunds, as this class describes them."""

    def decorate(declared: type[OrderRows]) -> type[OrderRows]:
        if not (isinstance(declared, type) and issubclass(declared, OrderRows)):
            raise ConfigurationError(f"@track_rows({label!r}) decorates a subclass of recommender.tracking.OrderRows.")
        _rows[label.lower(), declared.kind] = declared(label)
        connect()
        return declared

    return decorate


def tracked_pages() -> list[PageRule]:
    """Every page rule."""
    return [rule for rules in _pages.values() for rule in rules]


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

    As a rule of `track_pages`, but for this request only; a callable is asked after the response. No query.
    """
    request = getattr(request, "_request", request)
    if request.method in ("HEAD", "OPTIONS"):
        return
    expected = statuses or (SHOWN if request.method == "GET" else ACTED)
    item_id, query, quantity = (
        Constant(told) if isinstance(told, str) else told for told in (item_id, query, quantity)
    )
    rule = PageRule("", EventType(event), item_id, query, quantity, request.method, frozenset(expected))
    vars(request).setdefault("recommender_pages", []).append(rule)


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
    """What will tell the events of this page when the response is out; None where no rule applies. No query."""
    match = request.resolver_match
    rules = _pages.get(match.view_name, []) if match is not None else []
    rules = [*rules, *vars(request).pop("recommender_pages", ())]
    if not rules:
        return None
    applying = [rule for rule in rules if rule.method == request.method and response.status_code in rule.statuses]
    if not applying:
        return None
    at = timezone.now()
    return lambda shopper: (draft for rule in applying for draft in _page_drafts(rule, request, shopper, at))


def reconcile(
    *, since: dt.datetime | None = None, chunk_size: int = 2000, progress: Progress | None = None
) -> ReconcileReport:
    """Record the order rows that are not recorded yet, all or since a moment. A read and a transaction per chunk.

    A purchase is the history of its user where that user has consented; else it is nobody's.
    """
    report = ReconcileReport()
    total = sum(rows.since(rows.queryset(), since).count() for rows in _rows.values())
    for rows in _rows.values():
        for chunk in _chunks(rows, since, chunk_size, report):
            report.add(chunk, capture.ingest(chunk))
            if progress is not None:
                progress(report.n_read, total)
    return report


def _page_drafts(rule: PageRule, request: HttpRequest, shopper: Shopper, at: dt.datetime) -> Iterator[EventDraft]:
    item_id = _item_id(rule, request)
    query = capture.normalised(str(_read(rule.query, request) or ""))
    if not item_id and not query:
        return
    ranking_id, position = _origin(request)
    draft = EventDraft(
        message_id=f"page:{uuid.uuid4().hex}",
        type=rule.event,
        occurred_at=at,
        item_id=item_id,
        query=query,
        quantity=_quantity(_read(rule.quantity, request)),
        ranking_id=ranking_id,
        position=position,
    )
    if rule.event == EventType.VIEW_ITEM and ranking_id is not None:
        yield _selection(draft, ranking_id, shopper)
    yield draft


def _selection(view: EventDraft, ranking_id: uuid.UUID, shopper: Shopper) -> EventDraft:
    """The click that led to a view: one for a list, an item and a visitor, however often the page is loaded again."""
    click = uuid.uuid5(ranking_id, f"{view.item_id}|{shopper.visitor_key or uuid.uuid4()}")
    return dataclasses.replace(view, message_id=f"select:{click.hex}", type=EventType.SELECT_ITEM)


def _item_id(rule: PageRule, request: HttpRequest) -> str:
    """The item of a page. One query where a Catalog gives its objects ids of their own."""
    if not isinstance(rule.item_id, tuple):
        return str(_read(rule.item_id, request) or "")
    label, declared = rule.item_id
    object_id, catalog = _read(declared, request), catalog_for_label(label)
    if object_id in (None, "") or catalog is None:
        return ""
    if catalog.id is None:
        return f"{catalog.model._meta.model_name}:{object_id}"
    known = Item.objects.filter(label=catalog.label, object_id=str(object_id))
    return known.values_list("item_id", flat=True).first() or ""


def _read(declared: Any, request: HttpRequest) -> Any:
    if isinstance(declared, Constant):
        return declared.value
    if callable(declared):
        return declared(request)
    if not isinstance(declared, str):
        return declared
    place, _, name = declared.partition(".")
    if place == "kwargs":
        return request.resolver_match.kwargs.get(name) if request.resolver_match else None
    return getattr(request, place).get(name)


def _origin(request: HttpRequest) -> tuple[uuid.UUID | None, int | None]:
    """The list and the place that a link or a form names, `rid=<ranking id>` and `pos=<n>`; nonsense says nothing."""
    sent = request.POST if request.method == "POST" and "rid" not in request.GET else request.GET
    try:
        ranking_id = uuid.UUID(sent.get("rid", ""))
    except ValueError:
        return None, None
    position = sent.get("pos", "")
    is_place = position.isascii() and position.isdigit() and 0 < int(position[:6]) <= capture.MAX_POSITION
    return ranking_id, int(position) if is_place else None


def _quantity(value: Any) -> float:
    """A quantity; 1 where the page tells none that makes sense."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 1.0
    return number if math.isfinite(number) and 0 < number <= capture.MAX_QUANTITY else 1.0


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
        for row in found:
            try:
                drafts.append(draft(row))
            except Exception as error:  # the shop's own code and rows: an odd one must not stop the others
                report.reject(rows.message_id(pk_of(row)), f"{type(error).__name__}: {error}")
                logger.warning("row %s of %s is skipped: %r", pk_of(row), rows.label, error)
        yield drafts
        found = list(source.filter(pk__gt=pk_of(found[-1]))[:chunk_size])


def _on_save(
    *, sender: type[models.Model], instance: Any, created: bool, using: str, raw: bool = False, **_: Any
) -> None:
    if raw or not created:
        return
    for rows in _rows_of(sender._meta.label):
        _follow(rows, [instance.pk], using)


def _rows_of(label: str) -> list[OrderRows]:
    return [rows for (known, _), rows in _rows.items() if known == label.lower()]


def _follow(rows: OrderRows, pks: Iterable[Any], using: str | None) -> None:
    request = capture.current_request.get()
    transaction.on_commit(lambda: _on_commit(rows, pks, request), using=using, robust=True)


def _on_commit(rows: OrderRows, pks: Iterable[Any], request: HttpRequest | None) -> None:
    """Keep saved rows for the end of their request; store them now where no response will follow."""
    if request is not None and capture.current_request.get() is request:
        pending: dict[OrderRows, list[Iterable[Any]]] = vars(request).setdefault("recommender_rows", {})
        if rows not in pending:
            pending[rows] = []
            capture.record_later(request, lambda shopper: _saved(rows, chain(*pending.pop(rows)), shopper))
        pending[rows].append(pks)
        return
    try:
        capture.ingest(_saved(rows, pks, None))
    except Exception:  # the shop's order is placed and must stay so
        capture.counts["failed"] += 1
        logger.exception("rows of %s were not recorded; recommender_reconcile will find them", rows.label)


def _saved(rows: OrderRows, pks: Iterable[Any], shopper: Shopper | None) -> list[EventDraft]:
    """The events of rows just saved. One query."""
    drafts = [rows.draft(row) for row in rows.objects().filter(pk__in=set(pks))]
    return [_of_visitor(draft, shopper) for draft in drafts] if shopper is not None else drafts


def _of_visitor(draft: EventDraft, shopper: Shopper) -> EventDraft:
    """Under the browser's visitor, if the order is theirs: staff may enter one for somebody else."""
    if draft.user_key != shopper.user_key:
        return draft
    if not shopper.has_consented:
        return dataclasses.replace(draft, user_key=None)
    return dataclasses.replace(
        draft,
        visitor_key=shopper.visitor_key,
        device=shopper.device,
        region=shopper.region,
        is_bot=shopper.is_bot,
        is_profiled=shopper.is_profiled,
    )
