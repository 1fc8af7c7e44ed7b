"""Rules of a shop: a page that answered is an event, an order row is a purchase; drafts for `capture` come out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from itertools import islice
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import models, transaction
from django.db.models.signals import post_save
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from recommender import conf
from recommender.capture import MAX_ID_LENGTH, EventDraft, IngestResult, ingest, normalised, record, record_later
from recommender.catalog import Constant, catalog_for_label, follow
from recommender.exceptions import ConfigurationError
from recommender.identity import Shopper
from recommender.types import EventType

logger = logging.getLogger(__name__)

SUCCESSES = frozenset({200, 201, 302, 303})
PLACES = ("kwargs", "GET", "POST")
ATTRIBUTES = ("item_id", "order_id", "user", "occurred_at", "quantity", "price", "currency", "refunded")
MAX_REJECTIONS_KEPT = 20

current_request: ContextVar[HttpRequest | None] = ContextVar("recommender_request", default=None)
"""The request in progress, so that an order saved in it knows its shopper. Set by the middleware."""


@dataclass(frozen=True, slots=True)
class PageRule:
    """One URL name, answered with success, is one event."""

    view_name: str
    event: EventType
    item_id: str | tuple[str, str] = ""
    query: str = ""
    quantity: str = ""
    method: str = "GET"


@dataclass(slots=True)
class ReconcileReport:
    """What the order rows came to: n_read = n_recorded + n_known + n_rejected."""

    n_read: int = 0
    n_recorded: int = 0
    n_known: int = 0
    n_rejected: int = 0
    rejections: list[str] = field(default_factory=list)

    def add(self, n_read: int, result: IngestResult) -> None:
        """Count one chunk."""
        self.n_read += n_read
        self.n_recorded += result.n_accepted
        self.n_known += result.n_duplicate
        self.n_rejected += len(result.rejections)
        left = MAX_REJECTIONS_KEPT - len(self.rejections)
        self.rejections += [f"{fault.field}: {fault.message}" for fault in result.rejections[:left]]


class OrderRows:
    """An order's row as a purchase: each attribute is a dotted path or a `Constant`, or a method that takes the row.

    `user` is the primary key of the shop's user, or None for a guest; `refunded` makes the row a refund. Where all are
    paths of fields, the past is read without making objects.
    """

    item_id: Any = None
    order_id: Any = None
    user: Any = Constant(None)
    occurred_at: Any = None
    quantity: Any = Constant(1)
    price: Any = Constant(None)
    currency: Any = Constant("")
    refunded: Any = Constant(False)

    def __init__(self, label: str) -> None:
        self.label = label

    @cached_property
    def model(self) -> type[models.Model]:
        """The shop's model of a row. Raises `ConfigurationError` where the label names none."""
        try:
            return apps.get_model(self.label)
        except (LookupError, ValueError) as error:
            known = [model._meta.label for model in apps.get_models()]
            raise ConfigurationError(
                f"@track_rows({self.label!r}) names no model. {conf.closest(self.label, known)}".strip()
            ) from error

    def draft(self, row: models.Model) -> EventDraft:
        """The event of one row object."""
        return self._draft(row.pk, {name: self._value(name, row) for name in ATTRIBUTES})

    def drafts(self, rows: models.QuerySet[Any], *, chunk_size: int) -> Iterator[list[EventDraft]]:
        """The events of many rows, a chunk at a time."""
        lookups = self._lookups()
        if lookups is None:
            objects = rows.iterator(chunk_size=chunk_size)
            while chunk := list(islice(objects, chunk_size)):
                yield [self.draft(row) for row in chunk]
            return
        constants = {name: getattr(self, name).value for name in ATTRIBUTES if name not in lookups}
        found = rows.values_list("pk", *lookups.values()).iterator(chunk_size=chunk_size)
        while values := list(islice(found, chunk_size)):
            yield [self._draft(pk, constants | dict(zip(lookups, rest, strict=True))) for pk, *rest in values]

    def since(self, moment: dt.datetime | None) -> models.QuerySet[Any]:
        """Rows in the order of their keys, those from `moment` on where the time is a field."""
        rows = self.model._default_manager.order_by("pk")
        lookup = (self._lookups() or {}).get("occurred_at")
        return rows.filter(**{f"{lookup}__gte": moment}) if moment is not None and lookup else rows

    def faults(self) -> list[tuple[str, str]]:
        """`(attribute, message)` of what is missing."""
        return [
            (name, f"{type(self).__name__}.{name} must be a path of {self.label}, a Constant or a method.")
            for name in ("item_id", "order_id", "occurred_at")
            if getattr(self, name) is None
        ]

    def _value(self, name: str, row: models.Model) -> Any:
        declared = getattr(self, name)
        if isinstance(declared, Constant):
            return declared.value
        return follow(row, declared) if isinstance(declared, str) else declared(row)

    def _lookups(self) -> dict[str, str] | None:
        """Attribute -> ORM lookup, without the constants; None where one of them is not a field."""
        lookups = {}
        for name in ATTRIBUTES:
            declared = getattr(self, name)
            if isinstance(declared, Constant):
                continue
            if not isinstance(declared, str) or not _is_field_path(self.model, declared):
                return None
            lookups[name] = declared.replace(".", "__")
        return lookups

    def _draft(self, pk: Any, values: Mapping[str, Any]) -> EventDraft:
        user = values["user"]
        return EventDraft(
            message_id=f"order:{self.label.lower()}:{pk}",
            type=EventType.REFUND if values["refunded"] else EventType.PURCHASE,
            occurred_at=_aware(values["occurred_at"]),
            item_id=str(values["item_id"] or ""),
            order_id=str(values["order_id"] or ""),
            quantity=float(values["quantity"] or 0),
            price=_decimal(values["price"]),
            currency=str(values["currency"] or ""),
            source="order",
            user_key=None if user is None else str(user),
        )


_pages: dict[str, list[PageRule]] = {}
_rows: dict[str, OrderRows] = {}


def page(
    view_name: str,
    event: str,
    *,
    item_id: str | tuple[str, str] = "",
    query: str = "",
    quantity: str = "",
    method: str = "GET",
) -> PageRule:
    """A rule: `item_id` and the rest name where a value is found, such as "kwargs.pk", "GET.q" or "POST.quantity".

    `item_id=("shop.Product", "kwargs.pk")` is for a Catalog without an `id`. Raises `ConfigurationError`.
    """
    try:
        event_type = EventType(event)
    except ValueError as error:
        raise ConfigurationError(f"{event!r} is no event. {conf.closest(event, list(EventType))}".strip()) from error
    for path in (item_id[1] if isinstance(item_id, tuple) else item_id, query, quantity):
        if path and path.partition(".")[0] not in PLACES:
            raise ConfigurationError(f"{path!r} must start with one of: {', '.join(f'{place}.' for place in PLACES)}")
    return PageRule(view_name, event_type, item_id, query, quantity, method.upper())


def track_pages(*rules: PageRule) -> None:
    """Record these pages."""
    for rule in rules:
        known = _pages.setdefault(rule.view_name, [])
        if rule not in known:
            known.append(rule)


def track_rows(label: str) -> Callable[[type[OrderRows]], type[OrderRows]]:
    """Record the rows of the model `label` ("app.Model") as purchases and refunds."""

    def decorate(declared: type[OrderRows]) -> type[OrderRows]:
        _rows[label.lower()] = declared(label)
        return declared

    return decorate


def tracked_pages() -> list[PageRule]:
    """Every page rule."""
    return [rule for rules in _pages.values() for rule in rules]


def tracked_rows() -> list[OrderRows]:
    """Every order-row rule."""
    return list(_rows.values())


def record_page(request: HttpRequest, response: HttpResponseBase) -> None:
    """Keep the events of a page that was answered. No query."""
    match = request.resolver_match
    if match is None or response.status_code not in SUCCESSES:
        return
    for rule in _pages.get(match.view_name, ()):
        if rule.method == request.method:
            for draft in _page_drafts(rule, request):
                record(request, draft)


def reconcile(
    *,
    since: dt.datetime | None = None,
    chunk_size: int = 2000,
    progress: Callable[[int, int], None] | None = None,
) -> ReconcileReport:
    """Record the order rows that no request recorded; rows known already are skipped by their key.

    A purchase enters its user's history where that user's own visitor consented; else it is nobody's.
    """
    report = ReconcileReport()
    sources = [(rule, rule.since(since)) for rule in _rows.values()]
    total = sum(rows.count() for _, rows in sources)
    for rule, rows in sources:
        for drafts in rule.drafts(rows, chunk_size=chunk_size):
            report.add(len(drafts), ingest(drafts))
            if progress is not None:
                progress(report.n_read, total)
    return report


def connect() -> None:
    """Follow the saves of every model that has a rule."""
    post_save.connect(_row_saved, dispatch_uid="recommender_row_saved")


def _row_saved(sender: type[models.Model], instance: models.Model, created: bool, raw: bool = False, **_: Any) -> None:
    rule = _rows.get(sender._meta.label_lower)
    if rule is None or raw or not created:
        return
    request = current_request.get()
    if request is not None:
        transaction.on_commit(lambda: record_later(request, lambda shopper: [_signed(rule.draft(instance), shopper)]))
    else:
        transaction.on_commit(lambda: _record_alone(rule, instance))


def _signed(draft: EventDraft, shopper: Shopper) -> EventDraft:
    """The order of a shopper who consented is theirs; another one is nobody's."""
    if not shopper.has_consented:
        return dataclasses.replace(draft, user_key=None)
    return dataclasses.replace(draft, visitor_key=shopper.visitor_key, device=shopper.device, region=shopper.region)


def _record_alone(rule: OrderRows, row: models.Model) -> None:
    try:
        ingest([rule.draft(row)])
    except Exception:  # the shop's order is placed and must stay so; reconcile finds it later
        logger.exception("order row %s %s was not recorded; run recommender_reconcile", rule.label, row.pk)


def _page_drafts(rule: PageRule, request: HttpRequest) -> Iterator[EventDraft]:
    item_id, query = _item_id(rule, request), _read(rule.query, request)
    query = normalised(query)
    if not item_id and not query:
        return
    ranking_id, position = _source_list(request)
    draft = EventDraft(
        message_id=uuid.uuid4().hex,
        type=rule.event,
        occurred_at=timezone.now(),
        item_id=item_id,
        query=query,
        quantity=_quantity(_read(rule.quantity, request)),
        ranking_id=ranking_id,
        position=position,
    )
    if ranking_id is not None and rule.event == EventType.VIEW_ITEM:
        yield EventDraft(
            message_id=uuid.uuid4().hex,
            type=EventType.SELECT_ITEM,
            occurred_at=draft.occurred_at,
            item_id=item_id,
            ranking_id=ranking_id,
            position=position,
        )
    yield draft


def _item_id(rule: PageRule, request: HttpRequest) -> str:
    if isinstance(rule.item_id, str):
        return _read(rule.item_id, request)[:MAX_ID_LENGTH]
    label, path = rule.item_id
    key, catalog = _read(path, request), catalog_for_label(label)
    return f"{catalog.model._meta.model_name}:{key}" if key and catalog is not None else ""


def _read(path: str, request: HttpRequest) -> str:
    place, _, name = path.partition(".")
    if not place:
        return ""
    source: Any = request.resolver_match.kwargs if place == "kwargs" else getattr(request, place)  # type: ignore[union-attr]
    return str(source.get(name, ""))


def _source_list(request: HttpRequest) -> tuple[uuid.UUID | None, int | None]:
    """The list and the place that a link came from, `?rid=...&pos=...`; foreign values say nothing."""
    try:
        ranking_id = uuid.UUID(request.GET["rid"])
    except (KeyError, ValueError):
        return None, None
    position = request.GET.get("pos", "")
    return ranking_id, int(position) if position.isascii() and position.isdigit() and len(position) < 5 else None


def _quantity(text: str) -> float:
    try:
        quantity = float(text)
    except ValueError:
        return 1.0
    return quantity if 0 < quantity <= 1e6 else 1.0


def _is_field_path(model: type[models.Model], path: str) -> bool:
    current: type[models.Model] | None = model
    for part in path.replace("__", ".").split("."):
        if current is None:
            return False
        try:
            column = current._meta.get_field(part)
        except FieldDoesNotExist:
            is_key = any(getattr(other, "attname", "") == part for other in current._meta.get_fields())
            return is_key and path.endswith(part)
        current = column.related_model if isinstance(column, models.ForeignKey) else None
    return True


def _aware(value: Any) -> dt.datetime:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time.min)
    if not isinstance(value, dt.datetime):
        return timezone.now()
    return timezone.make_aware(value) if timezone.is_naive(value) else value


def _decimal(value: Any) -> Decimal | None:
    try:
        return None if value is None else Decimal(str(value))
    except InvalidOperation:
        return None
