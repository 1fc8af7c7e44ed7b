"""Tries a draft on the shop's own rows and lists the items, orders and pages that it would record. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from django.db import models
from django.test import RequestFactory
from django.urls import Resolver404, resolve
from django.utils.translation import gettext as _

from recommender import tracking
from recommender.capture import EventDraft
from recommender.catalog import Catalog, catalogs
from recommender.catalog import registry as catalog_registry
from recommender.management import doctor
from recommender.tracking import pages
from recommender.tracking.orders import OrderRows
from recommender.types import EventType

N_ITEMS = 3
N_ORDERS = 2
N_ROWS = 50


@dataclass(slots=True)
class Trial:
    """What a draft would record, in lines of text; `faults` are what it cannot read."""

    items: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    n_orders: int = 0


def try_out(text: str) -> Trial:
    """Run the text of a `recommendations.py` with nothing else registered, and read some rows by it."""
    trial = Trial()
    with alone():
        exec(compile(text, "recommendations.py", "exec"), {"__name__": "recommender_draft"})  # noqa: S102  our own draft
        for catalog in catalogs():
            trial.faults += [message for _attribute, message in catalog.faults()]
            _guarded(trial, catalog.label, lambda catalog=catalog: _map_items(catalog, trial))
        for rows in tracking.tracked_rows():
            trial.faults += [message for _attribute, message in rows.faults()]
            _guarded(trial, rows.label, lambda rows=rows: _map_orders(rows, trial))
    return trial


@contextmanager
def alone() -> Iterator[None]:
    """Empty the registries during the block and restore them afterwards."""
    registries: tuple[dict[Any, Any], ...] = (catalog_registry._catalogs, tracking._pages, tracking._rows)
    before = [dict(registry) for registry in registries]
    for registry in registries:
        registry.clear()
    try:
        yield
    finally:
        for registry, declared in zip(registries, before, strict=True):
            registry.clear()
            registry.update(declared)


def _guarded(trial: Trial, label: str, look: Any) -> None:
    try:
        look()
    except Exception as error:  # the shop's own tables and code; the other examinations go on
        trial.faults.append(f"{label}: {type(error).__name__}: {error}")


def _map_items(catalog: Catalog, trial: Trial) -> None:
    n_left = N_ITEMS - len(trial.items)
    objects = catalog.queryset().order_by("pk").iterator(chunk_size=100)
    for obj in islice((obj for obj in objects if catalog.is_item(obj)), n_left or 1):
        finding = doctor.finding_about(catalog, obj)
        trial.items.append(finding.message)
        if finding.level == "error" or (finding.level == "warning" and hasattr(catalog.model, "get_absolute_url")):
            trial.faults.append(f"{finding.message}: {finding.repair}")
        trial.pages += _page_of(catalog, obj)


def _page_of(catalog: Catalog, obj: Any) -> Iterator[str]:
    """The object's own address and the item that its page would record; if these differ, the draft is wrong."""
    url = getattr(obj, "get_absolute_url", lambda: "")()
    path = str(url or "").partition("?")[0]
    try:
        match = resolve(path)
    except Resolver404:
        return
    request = RequestFactory().get(path)
    request.resolver_match = match
    for page in tracking.tracked_pages():
        if page.view_name == match.view_name and page.method == "GET":
            recorded_id, item_id = pages._item_id(page, request), catalog.item_id(obj)
            line = _("%(path)s is a %(event)s of %(item)s")
            line %= {"path": path, "event": page.event.value, "item": recorded_id or _("nothing")}
            if recorded_id != item_id:
                line += _(", which is not its item %(item)s: correct the page") % {"item": item_id}
            yield line


def _map_orders(rows: OrderRows, trial: Trial) -> None:
    path = rows.order_id.removesuffix("_id") if isinstance(rows.order_id, str) else ""
    column = rows.order_id if path and path != "pk" else "pk"
    trial.n_orders += rows.model._default_manager.aggregate(n=models.Count(column, distinct=True))["n"]
    newest = list(rows.objects().order_by("-pk")[:N_ROWS])
    orders: dict[str, list[EventDraft]] = {}
    for row in newest:
        for draft in rows.drafts(row):
            orders.setdefault(draft.order_id, []).append(draft)
    for order_id, drafts in list(orders.items())[:N_ORDERS]:
        heading = _("order %(id)s, %(buyer)s:") % {"id": order_id, "buyer": _buyer(drafts[0])}
        trial.orders += [heading, *(f"  {_line_of(draft)}" for draft in reversed(drafts))]
    if newest and not orders:
        fault = _("%(label)s: none of the newest %(n)d rows counts as bought: look at `paid`")
        trial.faults.append(fault % {"label": rows.label, "n": len(newest)})


def _buyer(draft: EventDraft) -> str:
    if draft.user_key:
        return _("user %(key)s") % {"key": draft.user_key}
    return _("a guest's browser") if draft.visitor_key else _("no known buyer")


def _line_of(draft: EventDraft) -> str:
    price = "" if draft.price is None else f" at {draft.price} {draft.currency}".rstrip()
    pieces = f"{draft.quantity:g} × {draft.item_id or _('nothing')}"
    return f"{EventType(draft.type).value} of {pieces}{price}, {draft.occurred_at:%Y-%m-%d}"
