"""The doctor: looks at settings, items, tracked pages, orders and events, and names a repair for each problem."""

from __future__ import annotations

import datetime as dt
import math
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from django.conf import settings
from django.core import checks as django_checks
from django.db import connections, router
from django.db.migrations.executor import MigrationExecutor
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from recommender import bundles, capture, checks, tracking
from recommender.capture import EventDraft, months, order_consent, retention
from recommender.catalog import Catalog, Constant, catalogs
from recommender.catalog.guesses import unique_fields
from recommender.management.findings import Examination, Finding, exit_code, guarded, guarded_write, not_known
from recommender.models import Alarm, Bundle, Event, Item
from recommender.models.claims import ROWS_OF_THE_SHOP
from recommender.tracking.orders import OrderRows
from recommender.tracking.pages import item_id_named
from recommender.tracking.routes import named_routes
from recommender.types import EventType

N_EXAMPLES = 3
N_ROWS = 200
"""Number of the newest order rows and events that are examined."""

DOCTOR = "python manage.py recommender_doctor"
MIGRATE = "python manage.py migrate recommender"
SYNC = "python manage.py recommender_sync"
RECONCILE = "python manage.py recommender_reconcile"
TRAIN = "python manage.py recommender_train"
PURGE = "python manage.py recommender_purge"
AHEAD = "python manage.py recommender_partition --ahead"


def examine(
    *,
    minutes: float = 15.0,
    others: Mapping[str, Examination] | None = None,
    writes: bool = True,
    most_seconds: float = math.inf,
) -> list[Finding]:
    """Run every examination; one that raises becomes a finding. Writes one event and removes it, unless not `writes`.

    `others` are examinations from modules above this one, by their topic; they come last. Once `most_seconds` have
    passed, those that are left are not known.
    """
    deadline = time.monotonic() + most_seconds
    tables = guarded("tables", _tables)
    findings = [*guarded_write("settings", _settings), *guarded("urls", _urls), *tables]
    if exit_code(tables) == 2:
        return [*findings, *guarded("pages", _pages)]
    for topic, look in (*_examinations(minutes), *(others or {}).items()):
        if time.monotonic() < deadline:
            findings += guarded(topic, look)
        else:
            findings.append(not_known(topic, topic, _("the time for this examination was up."), DOCTOR))
    return findings + (guarded_write("test event", _test_event) if writes else [])


def _examinations(minutes: float) -> list[tuple[str, Examination]]:
    """The doctor's own examinations, by topic, in the order of the report."""
    order_rows = tracking.tracked_rows()
    return [
        *(("items", partial(_items, catalog)) for catalog in catalogs()),
        ("pages", _pages),
        *(("orders", partial(_orders, rows)) for rows in order_rows),
        *([] if order_rows else [("orders", _claimed_orders)]),
        ("order consent", _order_consent),
        ("item ids", _unknown_items),
        ("alarms", _alarms),
        ("bundles", _bundles),
        ("retention", _retention),
        ("months", _months),
        ("arrivals", partial(_arrivals, dt.timedelta(minutes=minutes))),
    ]


def finding_about(catalog: Catalog, obj: Any) -> Finding:
    """The item that an object becomes, or why it cannot be read."""
    name = type(catalog).__name__
    try:
        facts = catalog.facts(obj)
    except Exception as error:  # the shop's own code
        reason = {"object": f"{catalog.label} {obj.pk}", "error": f"{type(error).__name__}: {error}"}
        message = _("%(object)s cannot be read: %(error)s") % reason
        return Finding("items", "error", message, _("Correct the Catalog %(name)s.") % {"name": name})
    price = _("no price") if facts.price is None else f"{facts.price} {facts.currency}".strip()
    category = facts.category or _("no category")
    values = [facts.item_id, facts.title or _("no title"), category, price, facts.url or _("no URL")]
    lacking = [name for name in ("title", "url") if not getattr(facts, name) and not _is_without(catalog, name)]
    if lacking and facts.is_active:
        repair = _("Name %(attributes)s in the Catalog %(name)s.") % {
            "attributes": _(" and ").join(lacking),
            "name": name,
        }
        if "url" in lacking:
            repair += " " + _("If your items have no pages, for example behind an API, write: url = None.")
        return Finding("items", "warning", " · ".join(values), repair)
    return Finding("items", "ok", " · ".join(values if facts.is_active else [*values, _("hidden")]))


def _settings() -> Iterator[Finding]:
    messages = django_checks.run_checks(tags=["recommender"], databases=[router.db_for_read(Event)])
    for message in messages:
        level = "error" if message.level >= django_checks.ERROR else "warning"
        yield Finding("settings", level, f"{message.id}: {message.msg}", message.hint or "")
    if not messages:
        yield Finding("settings", "ok", _("All system checks pass."))


def _urls() -> Iterator[Finding]:
    try:
        address = reverse("recommender:events").removesuffix("events")
        yield Finding("urls", "ok", _("The API is at %(address)s") % {"address": address})
    except NoReverseMatch:
        message = _("The URLs are not included: there is no API, no beacon, and lazy blocks stay empty.")
        repair = _('Add path("recommender/", include("recommender.urls")) to your urlpatterns.')
        yield Finding("urls", "warning", message, repair)


def _tables() -> Iterator[Finding]:
    executor = MigrationExecutor(connections[router.db_for_write(Event)])
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == "recommender"]
    plan = [migration for migration, _is_backwards in executor.migration_plan(targets)]
    missing = [migration.name for migration in plan if migration.app_label == "recommender"]
    if missing:
        message = _("%(n)d migrations are not applied; the first is %(name)s.") % {
            "n": len(missing),
            "name": missing[0],
        }
        yield Finding("tables", "error", message, MIGRATE)
    else:
        yield Finding("tables", "ok", _("All migrations are applied."))


def _items(catalog: Catalog) -> Iterator[Finding]:
    """Three objects as items, and the number of stored items."""
    for obj in islice(catalog.queryset().order_by("pk").iterator(chunk_size=N_EXAMPLES), N_EXAMPLES):
        yield finding_about(catalog, obj)
    stored = Item.objects.filter(label=catalog.label)
    n_objects, n_active = catalog.queryset().count(), stored.filter(is_active=True).count()
    message = _("%(label)s: %(n_objects)d objects, %(n_items)d items, %(n_active)d of them active.") % {
        "label": catalog.label,
        "n_objects": n_objects,
        "n_items": stored.count(),
        "n_active": n_active,
    }
    if not n_objects:
        yield Finding("items", "warning", message, _("Add an object, or look at the queryset() of the Catalog."))
    else:
        yield Finding("items", "ok" if n_active else "warning", message, "" if n_active else SYNC)


def _is_without(catalog: Catalog, name: str) -> bool:
    """Does the Catalog declare that its items have no pages, as in a shop that is only an API?"""
    declared = catalog.declared(name)
    return name == "url" and isinstance(declared, Constant) and not declared.value


def _pages() -> Iterator[Finding]:
    """Every tracked page with the address of its URL; the system checks warn about pages without a URL too."""
    routes = dict(named_routes())
    pages = tracking.tracked_pages()
    for page in pages:
        declared = f"{page.method} {page.view_name} is {page.event.value}"
        if page.view_name in routes:
            yield Finding("pages", "ok", f"{declared}: /{routes[page.view_name].text}")
        else:
            message = _("%(page)s: no URL has this name.") % {"page": declared}
            yield Finding("pages", "error", message, _("Name a URL as reverse() does."))
    signalled = tracking.signalled_pages()
    for name, event in signalled.items():
        address = f"/{routes[name].text}" if name in routes else _("no URL has this name")
        message = _("%(page)s, by a signal of the shop: %(address)s")
        yield Finding("pages", "ok", message % {"page": f"{name} is {event.value}", "address": address})
    if not pages and not signalled:
        message = _("No page is tracked: views, searches and carts are not recorded.")
        repair = _("Declare the pages in a recommendations.py, for example: %(example)s") % {
            "example": 'track_pages(page("shop:product", "view_item", item_id=("shop.Product", "kwargs.pk"))).'
        }
        yield Finding("pages", "warning", message, repair)


def _orders(rows: OrderRows) -> Iterator[Finding]:
    """Can the newest order rows be read, and are they recorded?"""
    newest = rows.with_users(rows.objects().order_by("-pk")[:N_ROWS])
    drafts = [draft for row in newest for draft in rows.drafts(row)]
    if not drafts:
        yield Finding("orders", "ok", _("%(label)s: no row counts yet.") % {"label": rows.label})
        return
    message_ids = {draft.message_id for draft in drafts}
    recorded = set(Event.objects.filter(message_id__in=message_ids).values_list("message_id", flat=True))
    n_missing = sum(draft.message_id not in recorded for draft in drafts)
    message = _("%(label)s: of the %(n)d events of the newest rows, %(n_missing)d are not recorded.") % {
        "label": rows.label,
        "n": len(drafts),
        "n_missing": n_missing,
    }
    yield Finding("orders", "warning" if n_missing else "ok", message, RECONCILE if n_missing else "")
    if incomplete := [draft for draft in drafts if draft.emptied]:
        first = f"{incomplete[0].message_id}: {'; '.join(incomplete[0].emptied)}"
        message = _(
            "%(label)s: %(n)d of the newest rows have an invalid value, which is ignored; the first is %(first)s"
        )
        message %= {"label": rows.label, "n": len(incomplete), "first": first}
        repair = _("Correct %(name)s, or write a method that returns the right value.") % {"name": type(rows).__name__}
        yield Finding("orders", "warning", message, repair)


def _claimed_orders() -> Iterator[Finding]:
    """Does a shop without order rows send purchases through pages or the API?"""
    purchases = Event.objects.filter(type=EventType.PURCHASE).exclude(source=ROWS_OF_THE_SHOP)
    if purchases.exists():
        message = _("Purchases come only from pages or the API, and no order rows are declared: each counts as a cart.")
        repair = _("Declare the rows of the shop's orders in a recommendations.py. %(example)s")
        yield Finding("orders", "warning", message, repair % {"example": checks.ROWS_EXAMPLE})


def _alarms() -> Iterator[Finding]:
    """Alarms of manipulation that nobody has seen."""
    if n_new := Alarm.objects.filter(seen_at=None).exclude(kind=Alarm.Kind.EXPOSURE).count():
        message = _("%(n)d alarms: far more visitors than usual. Only a usual number of them counts.") % {"n": n_new}
        yield Finding("alarms", "warning", message, _("Look at the alarms in the admin and mark them as seen."))


def _retention() -> Iterator[Finding]:
    """Rows that the daily job should have deleted."""
    if late := retention.n_late(at=timezone.now()):
        rows = ", ".join(f"{kind} {n}" for kind, n in late.items())
        message = _("Rows are kept longer than RETENTION_DAYS and RETENTION allow: %(rows)s.") % {"rows": rows}
        yield Finding("retention", "warning", message, _("%(command)s, and let a worker run.") % {"command": PURGE})
    else:
        yield Finding("retention", "ok", _("Nothing is kept longer than RETENTION_DAYS and RETENTION allow."))


def _months() -> Iterator[Finding]:
    """Partitions of the events table that the daily job should have created."""
    if months.is_partitioned() and (missing := months.missing_months(at=timezone.now())):
        message = _("The events table has no partition for: %(months)s.")
        names = ", ".join(f"{month:%Y-%m}" for month in missing)
        yield Finding(
            "months",
            "warning",
            message % {"months": names},
            _("%(command)s, and let a worker run.") % {"command": AHEAD},
        )


def _bundles() -> Iterator[Finding]:
    """Bundles with damaged files, until a newer one serves."""
    champion = bundles.champion()
    quarantined = Bundle.objects.filter(state=Bundle.State.QUARANTINED)
    for bundle in quarantined.filter(created_at__gt=champion.created_at) if champion is not None else quarantined:
        reason = {"bundle": bundle, "reason": bundle.manifest.get("quarantined", "")}
        message = _("Bundle %(bundle)s is quarantined: %(reason)s") % reason
        yield Finding("bundles", "error" if champion is None else "warning", message, TRAIN)


def _unknown_items() -> Iterator[Finding]:
    """Events of items that do not exist, by type: training cannot use them."""
    has_events = has_unknown = False
    for kind in sorted(capture.TYPES - capture.ITEMLESS):
        newest = Event.objects.filter(type=kind).exclude(item_id="").order_by("-received_at")
        item_ids = list(newest.values_list("item_id", flat=True)[:N_ROWS])
        stored = set(Item.objects.filter(item_id__in=set(item_ids)).values_list("item_id", flat=True))
        unknown = [item_id for item_id in item_ids if item_id not in stored]
        has_events |= bool(item_ids)
        if unknown:
            has_unknown = True
            example, repair = _likely_item(list(dict.fromkeys(unknown)))
            message = _("%(n_unknown)d of the last %(n)d %(type)s events name items that do not exist, %(example)s") % {
                "n_unknown": len(unknown),
                "n": len(item_ids),
                "type": kind,
                "example": example,
            }
            yield Finding("item ids", "error" if len(unknown) == len(item_ids) else "warning", message, repair)
    if has_events and not has_unknown:
        yield Finding("item ids", "ok", _("The newest events name items that exist."))


def _likely_item(unknown_ids: list[str]) -> tuple[str, str]:
    """An example of an unknown id with the item that it probably means, and the repair."""
    for unknown_id in unknown_ids:
        for catalog in catalogs():
            for field in ("pk", *unique_fields(catalog.model)):
                item_id = item_id_named(catalog, field, unknown_id)
                if item_id and item_id != unknown_id and Item.objects.filter(item_id=item_id).exists():
                    example = _("such as %(unknown)r: the item with this %(field)s has the id %(item_id)r.")
                    example %= {"unknown": unknown_id, "field": field, "item_id": item_id}
                    return example, _name_the_object(catalog, field)
    example = _("such as %(unknown)r.") % {"unknown": unknown_ids[0]}
    active_id = Item.objects.filter(is_active=True).values_list("item_id", flat=True).first()
    if active_id:
        example += " " + _("Item ids look like %(item_id)r.") % {"item_id": active_id}
    repair = _("%(command)s, if they are new; otherwise correct the item_id of the page.") % {"command": SYNC}
    return example, repair


def _name_the_object(catalog: Catalog, field: str) -> str:
    return _(
        'In track_pages(), write item_id=("%(label)s", "kwargs.<part>", "%(field)s"); in order rows, item_id = '
        "the path to the %(model)s itself; in calls of the API, send the item's id."
    ) % {"label": catalog.label, "field": field, "model": catalog.model._meta.object_name}


def _order_consent() -> Iterator[Finding]:
    """How many past orders are linked to no visitor, and why: the shop's decision, or orders by guests."""
    n_waiting = order_consent.n_waiting()
    if not n_waiting:
        return
    sample = tracking.nobodys_orders(limit=N_ROWS)
    if not sample.n_named:
        message = _("%(n)d orders name no customer (guests): they count for popularity and co-purchase only.")
        yield Finding("order consent", "ok", message % {"n": n_waiting})
        return
    numbers = {"n": n_waiting, "n_named": sample.n_named, "n_rows": sample.n_rows}
    if order_consent.is_open():
        message = _(
            "%(n)d orders are linked to no visitor. Of %(n_rows)d examined, %(n_named)d name a customer: they were "
            "recorded before ORDER_CONSENT allowed training on them."
        )
        yield Finding("order consent", "warning", message % numbers, RECONCILE)
        return
    message = _(
        "%(n)d orders are linked to no visitor. Of %(n_rows)d examined, %(n_named)d name a customer who has not "
        "consented here: these orders do not train personal lists."
    )
    decide = _(
        "Decide whose orders may be used for training: set RECOMMENDER['ORDER_CONSENT'] to 'required', 'pseudonymous' "
        "or your own record of consent, then run %(command)s."
    ) % {"command": RECONCILE}
    is_decided = "ORDER_CONSENT" in getattr(settings, "RECOMMENDER", {})
    yield Finding("order consent", "ok" if is_decided else "warning", message % numbers, "" if is_decided else decide)


def _test_event() -> Iterator[Finding]:
    """Record an event in the usual way and remove it again; without visitor and item it counts for nobody."""
    message_id = f"doctor:{uuid.uuid4().hex}"
    draft = EventDraft(message_id, EventType.VIEW_ITEM, timezone.now(), item_id="recommender-doctor")
    try:
        result = capture.ingest([draft])
        is_stored = Event.objects.filter(message_id=message_id).exists()
    finally:
        Event.objects.filter(message_id=message_id).delete()
    if is_stored:
        yield Finding("test event", "ok", _("An event was written, read and removed."))
    else:
        reason = "; ".join(refused.message for refused in result.rejections) or _("it was dropped")
        message = _("An event was not stored: %(reason)s") % {"reason": reason}
        yield Finding("test event", "error", message, _("Look at DATABASES and the routers."))


def _arrivals(window: dt.timedelta) -> Iterator[Finding]:
    """How many events arrived lately, by type; if there were none ever, what to do."""
    kinds = Event.objects.filter(received_at__gte=timezone.now() - window).values_list("type", flat=True)
    minutes = f"{window.total_seconds() / 60:g}"
    if counts := Counter(kinds):
        events = ", ".join(f"{n} `{kind}`" for kind, n in sorted(counts.items()))
        message = _("In the last %(minutes)s minutes: %(events)s.") % {"minutes": minutes, "events": events}
        yield Finding("arrivals", "ok", message)
    elif newest := Event.objects.order_by("-received_at").values_list("received_at", flat=True).first():
        message = _("Nothing in the last %(minutes)s minutes; the newest event arrived at %(moment)s.")
        yield Finding("arrivals", "ok", message % {"minutes": minutes, "moment": f"{newest:%Y-%m-%d %H:%M}"})
    else:
        repair = _("Open a tracked page in a browser for which RECOMMENDER['CONSENT'] returns True.")
        yield Finding("arrivals", "warning", _("No event has ever arrived."), repair)
