"""Examine an installation: settings, items, pages and capture in; findings with their repairs out."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any

from django.conf import settings
from django.core import checks as django_checks
from django.db import connections, router
from django.db.migrations.executor import MigrationExecutor
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from recommender import capture, checks, tracking
from recommender.capture import EventDraft, order_consent
from recommender.catalog import Catalog, Constant, catalogs
from recommender.catalog.guesses import unique_fields
from recommender.models import Event, Item
from recommender.models.claims import ROWS_OF_THE_SHOP
from recommender.tracking.orders import OrderRows
from recommender.tracking.pages import item_id_named
from recommender.types import EventType

logger = logging.getLogger(__name__)

LEVELS = ("ok", "warning", "error")
"""The place of a level is its exit code."""

N_SHOWN = 3
N_ROWS = 200
"""So many of the newest order rows are looked for among the events."""

MIGRATE = "python manage.py migrate recommender"
SYNC = "python manage.py recommender_sync"
RECONCILE = "python manage.py recommender_reconcile"

DECIDE = (
    "Decide whose orders may teach: set RECOMMENDER['ORDER_CONSENT'] to 'required', 'pseudonymous' or your own record "
    f"of consent, then run {RECONCILE}."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `repair` is a command or what to write; empty where nothing is wrong."""

    topic: str
    level: str
    message: str
    repair: str = ""


Look = Callable[[], Iterator[Finding]]


def examine(*, minutes: float = 15.0, others: Mapping[str, Look] | None = None) -> list[Finding]:
    """Look at everything; an examination that fails is a finding. Writes one event and removes it.

    `others` are examinations of what lies above this module, by their topic; they come last.
    """
    tables = list(_guarded("tables", _tables))
    found = [*_guarded("settings", _settings), *_guarded("urls", _urls), *tables]
    if exit_code(tables) == 2:
        return [*found, *_guarded("pages", _pages)]
    for catalog in catalogs():
        found += _guarded("items", partial(_items, catalog))
    found += _guarded("pages", _pages)
    for rows in tracking.tracked_rows():
        found += _guarded("orders", partial(_orders, rows))
    if not tracking.tracked_rows():
        found += _guarded("orders", _claimed_orders)
    for topic, look in (("order consent", _order_consent), ("item ids", _strays), ("test event", _test_event)):
        found += _guarded(topic, look)
    found += _guarded("arrivals", partial(_arrivals, dt.timedelta(minutes=minutes)))
    return found + [finding for topic, look in (others or {}).items() for finding in _guarded(topic, look)]


def exit_code(findings: list[Finding]) -> int:
    """0: all is well, 1: a warning, 2: an error."""
    return max((LEVELS.index(finding.level) for finding in findings), default=0)


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """The report for machines."""
    return {"exit_code": exit_code(findings), "findings": [asdict(finding) for finding in findings]}


def _guarded(topic: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except Exception as error:  # the shop's own code and database: what breaks one look must not end the others
        logger.debug("examination of %s failed", topic, exc_info=True)
        yield Finding(topic, "error", f"{type(error).__name__}: {error}", "Repair this, then run recommender_doctor.")


def _settings() -> Iterator[Finding]:
    messages = django_checks.run_checks(tags=["recommender"])
    for message in messages:
        level = "error" if message.level >= django_checks.ERROR else "warning"
        yield Finding("settings", level, f"{message.id}: {message.msg}", message.hint or "")
    if not messages:
        yield Finding("settings", "ok", "All system checks pass.")


def _urls() -> Iterator[Finding]:
    try:
        yield Finding("urls", "ok", f"The API is at {reverse('recommender:events').removesuffix('events')}")
    except NoReverseMatch:
        yield Finding(
            "urls",
            "warning",
            "The URLs are not included: there is no API, no beacon, and lazy blocks stay empty.",
            'Add path("recommender/", include("recommender.urls")) to your urlpatterns.',
        )


def _tables() -> Iterator[Finding]:
    executor = MigrationExecutor(connections[router.db_for_write(Event)])
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == "recommender"]
    missing = [
        migration.name for migration, _ in executor.migration_plan(targets) if migration.app_label == "recommender"
    ]
    if missing:
        yield Finding(
            "tables", "error", f"{len(missing)} migrations are not applied, the first is {missing[0]}.", MIGRATE
        )
    else:
        yield Finding("tables", "ok", "All migrations are applied.")


def _items(catalog: Catalog) -> Iterator[Finding]:
    """Three objects as items, and how many are stored."""
    for obj in islice(catalog.queryset().order_by("pk").iterator(chunk_size=N_SHOWN), N_SHOWN):
        yield mapped(catalog, obj)
    n_objects = catalog.queryset().count()
    stored = Item.objects.filter(label=catalog.label)
    n_stored, n_active = stored.count(), stored.filter(is_active=True).count()
    message = f"{catalog.label}: {n_objects} objects, {n_stored} items, {n_active} of them active."
    if not n_objects:
        yield Finding("items", "warning", message, "Add an object, or look at the queryset() of the Catalog.")
    elif not n_active:
        yield Finding("items", "warning", message, SYNC)
    else:
        yield Finding("items", "ok", message)


def mapped(catalog: Catalog, obj: Any) -> Finding:
    try:
        facts = catalog.facts(obj)
    except Exception as error:  # the shop's own code
        message = f"{catalog.label} {obj.pk} cannot be read: {type(error).__name__}: {error}"
        return Finding("items", "error", message, f"Correct the Catalog {type(catalog).__name__}.")
    price = "no price" if facts.price is None else f"{facts.price} {facts.currency}".strip()
    told = [facts.item_id, facts.title or "no title", facts.category or "no category", price, facts.url or "no URL"]
    lacks = [name for name in ("title", "url") if not getattr(facts, name) and not _is_without(catalog, name)]
    if lacks and facts.is_active:
        repair = f"Name {' and '.join(lacks)} in the Catalog {type(catalog).__name__}."
        if "url" in lacks:
            repair += " A shop whose items have no pages, as behind an API, writes: url = None."
        return Finding("items", "warning", " · ".join(told), repair)
    return Finding("items", "ok", " · ".join(told) + ("" if facts.is_active else " · hidden"))


def _is_without(catalog: Catalog, name: str) -> bool:
    """Does the Catalog say that its items have no pages, as those of a shop that is an API?"""
    declared = catalog.declared(name)
    return name == "url" and isinstance(declared, Constant) and not declared.value


def _pages() -> Iterator[Finding]:
    """Every tracked page with the address of its URL; the system checks too warn of those that have none."""
    routes = dict(checks.named_routes())
    pages = tracking.tracked_pages()
    for page in pages:
        declared = f"{page.method} {page.view_name} is {page.event.value}"
        if page.view_name in routes:
            yield Finding("pages", "ok", f"{declared}: /{routes[page.view_name].text}")
        else:
            yield Finding("pages", "error", f"{declared}: no URL has this name.", "Name a URL as reverse() does.")
    signalled = tracking.signalled_pages()
    for name, event in signalled.items():
        address = f": /{routes[name].text}" if name in routes else ", but no URL has this name"
        yield Finding("pages", "ok", f"{name} is {event.value}, told by a signal of the shop{address}")
    if not pages and not signalled:
        yield Finding(
            "pages",
            "warning",
            "No page is tracked: views, searches and carts are not recorded.",
            "Declare the pages in a recommendations.py, as "
            'track_pages(page("shop:product", "view_item", item_id=("shop.Product", "kwargs.pk"))).',
        )


def _orders(rows: OrderRows) -> Iterator[Finding]:
    """The newest rows: can they be read, and are they recorded?"""
    newest = rows.with_users(rows.objects().order_by("-pk")[:N_ROWS])
    drafts = [draft for row in newest for draft in rows.drafts(row)]
    if not drafts:
        yield Finding("orders", "ok", f"{rows.label}: no row counts yet.")
        return
    known = set(
        Event.objects.filter(message_id__in=[d.message_id for d in drafts]).values_list("message_id", flat=True)
    )
    n_missing = sum(draft.message_id not in known for draft in drafts)
    message = f"{rows.label}: of {len(drafts)} events of the newest rows {n_missing} are not recorded."
    yield Finding("orders", "warning" if n_missing else "ok", message, RECONCILE if n_missing else "")
    odd = [draft for draft in drafts if draft.emptied]
    if odd:
        message = (
            f"{rows.label}: {len(odd)} of the newest rows count without a value that makes no sense, the first is "
        )
        repair = f"Correct {type(rows).__name__}, or let a method return what the value means."
        yield Finding("orders", "warning", f"{message}{odd[0].message_id}: {'; '.join(odd[0].emptied)}", repair)


def _claimed_orders() -> Iterator[Finding]:
    """Does a shop without order rows believe that it has purchases?"""
    purchases = Event.objects.filter(type=EventType.PURCHASE).exclude(source=ROWS_OF_THE_SHOP)
    if purchases.exists():
        message = "Purchases are claimed by pages or the API, and no order rows are declared: each counts as a cart."
        repair = f"Declare the rows of the shop's orders in a recommendations.py. {checks.ROWS_EXAMPLE}"
        yield Finding("orders", "warning", message, repair)


def _strays() -> Iterator[Finding]:
    """Events of items that do not exist, by type: such an event teaches nothing."""
    has_events = has_strays = False
    for kind in sorted(capture.TYPES - capture.ITEMLESS):
        newest = Event.objects.filter(type=kind).exclude(item_id="").order_by("-received_at")
        item_ids = list(newest.values_list("item_id", flat=True)[:N_ROWS])
        stored = set(Item.objects.filter(item_id__in=set(item_ids)).values_list("item_id", flat=True))
        strays = [item_id for item_id in item_ids if item_id not in stored]
        has_events |= bool(item_ids)
        if strays:
            has_strays = True
            example, repair = _likely(list(dict.fromkeys(strays)))
            message = f"{len(strays)} of the last {len(item_ids)} {kind} events name items that do not exist, {example}"
            yield Finding("item ids", "error" if len(strays) == len(item_ids) else "warning", message, repair)
    if has_events and not has_strays:
        yield Finding("item ids", "ok", "The newest events name items that exist.")


def _likely(strays: list[str]) -> tuple[str, str]:
    """An example of ids that are no item's, with the item that was likely meant, and how to record its id instead."""
    for stray in strays:
        for catalog in catalogs():
            for field in ("pk", *unique_fields(catalog.model)):
                item_id = item_id_named(catalog, field, stray)
                if item_id and item_id != stray and Item.objects.filter(item_id=item_id).exists():
                    example = f"such as {stray!r}: the item whose {field} that is has the id {item_id!r}."
                    return example, _as_object(catalog, field)
    known = Item.objects.filter(is_active=True).values_list("item_id", flat=True).first()
    shape = f" Item ids look like {known!r}." if known else ""
    return f"such as {strays[0]!r}.{shape}", f"{SYNC}, if they are new; else correct the item_id of the page."


def _as_object(catalog: Catalog, field: str) -> str:
    return (
        f'In track_pages(), write item_id=("{catalog.label}", "kwargs.<part>", "{field}"); in order rows, item_id = '
        f"the path to the {catalog.model._meta.object_name} itself; in calls of the API, send the item's id."
    )


def _order_consent() -> Iterator[Finding]:
    """How many past orders are nobody's, and whether that is the shop's decision or its guests'."""
    n_waiting = order_consent.n_waiting()
    if not n_waiting:
        return
    sample = tracking.nobodys_orders(limit=N_ROWS)
    if not sample.n_named:
        message = f"{n_waiting} orders name no customer (guests): they teach what sells, but nobody's taste."
        yield Finding("order consent", "ok", message)
        return
    named = f"{n_waiting} orders are nobody's, and {sample.n_named} of {sample.n_rows} looked at name a customer"
    if order_consent.is_open():
        yield Finding("order consent", "warning", f"{named}: recorded before you let them teach.", RECONCILE)
        return
    is_decided = "ORDER_CONSENT" in getattr(settings, "RECOMMENDER", {})
    message = f"{named} who has not consented here: no taste is learned from these orders."
    yield Finding("order consent", "ok" if is_decided else "warning", message, "" if is_decided else DECIDE)


def _test_event() -> Iterator[Finding]:
    """In by the way of all events, and out again whatever happens; of no visitor and no item: it counts for nobody."""
    message_id = f"doctor:{uuid.uuid4().hex}"
    draft = EventDraft(message_id, EventType.VIEW_ITEM, timezone.now(), item_id="recommender-doctor")
    try:
        result = capture.ingest([draft])
        is_stored = Event.objects.filter(message_id=message_id).exists()
    finally:
        Event.objects.filter(message_id=message_id).delete()
    if is_stored:
        yield Finding("test event", "ok", "An event was written, read and removed.")
    else:
        reason = "; ".join(refused.message for refused in result.rejections) or "it was dropped"
        yield Finding("test event", "error", f"An event was not stored: {reason}", "Look at DATABASES and the routers.")


def _arrivals(window: dt.timedelta) -> Iterator[Finding]:
    """What came in lately, by type; what never came, and why that may be."""
    since = timezone.now() - window
    counted = Counter(Event.objects.filter(received_at__gte=since).values_list("type", flat=True))
    minutes = f"{window.total_seconds() / 60:g} minutes"
    if counted:
        told = ", ".join(f"{n} {kind}" for kind, n in sorted(counted.items()))
        yield Finding("arrivals", "ok", f"In the last {minutes}: {told}.")
    elif newest := Event.objects.order_by("-received_at").values_list("received_at", flat=True).first():
        yield Finding(
            "arrivals", "ok", f"Nothing in the last {minutes}; the newest event came {newest:%Y-%m-%d %H:%M}."
        )
    else:
        repair = "Open a tracked page in a browser for which RECOMMENDER['CONSENT'] says True."
        yield Finding("arrivals", "warning", "No event has ever arrived.", repair)
