"""What a shop declares in its `recommendations.py`: which pages are events, and which rows are purchases."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from django.db import models
from django.db.models.signals import post_save
from django.http import HttpRequest, HttpResponseBase
from django.urls import Resolver404, ResolverMatch, resolve
from django.utils import timezone, translation

from recommender.capture import Source
from recommender.catalog import Constant
from recommender.catalog.paths import concrete_label, foreign_keys
from recommender.exceptions import ConfigurationError
from recommender.tracking import reconciliation, saves
from recommender.tracking.orders import OrderRows
from recommender.tracking.pages import ACTED, SHOWN, TrackedPage, drafts_of, is_refused, note_json, page
from recommender.tracking.reconciliation import NobodysOrders, Progress, ReconcileReport
from recommender.types import EventType

__all__ = [
    "ACTED", "SHOWN", "Constant", "OrderRows", "ReconcileReport", "TrackedPage", "connect", "page", "page_source",
    "reconcile", "record_page", "record_rows", "signalled_pages", "tell_by_signals", "track_pages", "track_rows",
    "tracked_pages", "tracked_rows",
]  # fmt: skip

_pages: dict[str, list[TrackedPage]] = {}
_rows: dict[tuple[str, str], OrderRows] = {}
_signalled: dict[str, EventType] = {}


def track_pages(*pages: TrackedPage) -> None:
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
    """Record the page that is being answered, once it was shown: for a shop whose own signals know more than its URLs.

    As `track_pages` would, but for this request only; a callable is called after the response. No query.
    """
    request = getattr(request, "_request", request)
    if request.method in ("HEAD", "OPTIONS"):
        return
    page = TrackedPage(
        "",
        event,
        item_id=_value(item_id),
        query=_value(query),
        quantity=_value(quantity),
        method=request.method,
        statuses=statuses or (SHOWN if request.method == "GET" else ACTED),
    )
    vars(request).setdefault("recommender_pages", []).append(page)


def _value(declared: Any) -> Any:
    """A text is the value itself here, not the place where it stands in the request."""
    return Constant(declared) if isinstance(declared, str) else declared


def record_rows(label: str, pks: Iterable[Any], *, using: str | None = None) -> None:
    """Record rows of a tracked model when the transaction commits: for rows that were written without `post_save`.

    A row that is recorded already is not recorded again. A lazy queryset of keys is read after the response.
    """
    for (declared_label, _), rows in _rows.items():
        if declared_label == label.lower():
            saves.follow(rows, pks, using)


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
    return lambda shopper: [draft for page in pages for draft in drafts_of(page, request, shopper, at)]


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
    """Record the order rows that are not recorded yet, all or since a moment. See `reconciliation.reconcile`."""
    return reconciliation.reconcile(tracked_rows(), since=since, chunk_size=chunk_size, progress=progress)


def nobodys_orders(*, limit: int = 200) -> NobodysOrders:
    """Look whether the newest orders without a buyer name one all the same. Two queries per tracked model."""
    return reconciliation.nobodys_orders(tracked_rows(), limit=limit)


def _on_save(
    *, sender: type[models.Model], instance: Any, created: bool, using: str, raw: bool = False, **_: Any
) -> None:
    """Follow a row that is new or may have been paid now, and an order whose rows are new or may have been."""
    if raw or not _are_followed(sender, tuple(_rows.values())):
        return
    for rows in _rows.values():
        if _is_of(rows, sender):
            if created or rows.may_change:
                saves.follow(rows, [instance.pk], using, are_new=created)
        elif lookup := rows.lookup_of(sender):
            pks = rows.queryset().filter(**{lookup: instance.pk}).values_list("pk", flat=True)
            saves.follow(rows, pks, using, are_new=created and foreign_keys(rows.model, lookup) == lookup)


@lru_cache(maxsize=1024)
def _are_followed(model: type[models.Model], declared: tuple[OrderRows, ...]) -> bool:
    """Can saving an object of the model concern a row? Cached, because many pages save a session, which cannot."""
    return any(_is_of(rows, model) or rows.lookup_of(model) for rows in declared)


def _is_of(rows: OrderRows, sender: type[models.Model]) -> bool:
    """Is a saved object one of these rows, also as a proxy?"""
    return rows.label.lower() in (sender._meta.label_lower, concrete_label(sender))
