"""System checks: a host's settings and declarations in, messages that name the repair out."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.files.storage import InvalidStorageError, storages
from django.urls import URLPattern, URLResolver, get_resolver

from recommender import conf, tracking
from recommender.capture import order_consent
from recommender.catalog import Catalog, catalog_for_label, catalogs
from recommender.catalog.paths import path_fault
from recommender.exceptions import ConfigurationError
from recommender.tracking.pages import last_word, may_name, meant_by
from recommender.types import EventType

MIDDLEWARE = "recommender.middleware.RecommenderMiddleware"
MAX_STATES_SHOWN = 6
CATALOG_EXAMPLE = """Write a recommendations.py in your shop's app:
@register("shop.Product")
class Products(Catalog):
    price = "price"
with `from recommender.catalog import Catalog, register` above it."""

ROWS_EXAMPLE = """Write, with the names of your own models:
@track_rows("shop.OrderLine")
class Purchases(OrderRows):
    item_id = "product"
    order_id = "order.number"
    occurred_at = "order.placed_at"
    user = "order.customer"
with `from recommender.tracking import OrderRows, track_rows` above it."""


@dataclass(frozen=True, slots=True)
class Route:
    """A URL as it is written, and its parts: the converter of each name, None where it has none; and its view."""

    text: str
    kwargs: Mapping[str, Any]
    callback: Any = None


def register() -> None:
    """Tell Django about the checks of this app."""
    for check in (check_settings, check_middleware, check_catalogs, check_tracking, check_databases):
        checks.register(check, "recommender")


def check_settings(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """E001 to E004, E008 and W008: the dict `RECOMMENDER`, and times with their zone."""
    declared = getattr(settings, "RECOMMENDER", {})
    if not isinstance(declared, dict):
        return [
            checks.Error(
                f"RECOMMENDER must be a dict, not {type(declared).__name__}.",
                hint='Write RECOMMENDER = {"TRAINING_MINUTES": 3.0}, or leave the setting out.',
                id="recommender.E002",
            )
        ]
    return [
        *_unknown_names(), *_unusable_consent(), *_unusable_order_consent(), *_unusable_values(), *_naive_times(),
    ]  # fmt: skip


def check_middleware(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """W001 and W002: capture and identity need the middleware, and it is safe only as the first one."""
    middleware = list(getattr(settings, "MIDDLEWARE", None) or [])
    if MIDDLEWARE not in middleware:
        return [
            checks.Warning(
                "The recommender's middleware is not installed: no page view is recorded, and no visitor is known.",
                hint=f"Put {MIDDLEWARE!r} first in MIDDLEWARE.",
                id="recommender.W001",
            )
        ]
    if middleware[0] == MIDDLEWARE:
        return []
    return [
        checks.Warning(
            f"{MIDDLEWARE!r} is not the first middleware: one above it may cache a page made for one visitor.",
            hint=f"Move it above {middleware[0]!r} in MIDDLEWARE.",
            id="recommender.W002",
        )
    ]


def check_catalogs(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """E005, E006 and W003: the Catalogs of every `recommendations.py`."""
    if not catalogs():
        return [
            checks.Warning(
                "No Catalog is registered: there is nothing to search or to recommend.",
                hint=CATALOG_EXAMPLE,
                id="recommender.W003",
            )
        ]
    return [message for catalog in catalogs() for message in _faults_of(catalog)]


def check_tracking(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """E007, W007, W009 to W011 and W014: order rows and pages named in a `recommendations.py`."""
    return [*_faulty_rows(), *_states(), *_page_warnings()]


def check_databases(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """W004 to W006: SQLite loses writes of parallel processes unless it is told to wait for them in turn."""
    return [message for alias, database in settings.DATABASES.items() for message in _sqlite_warnings(alias, database)]


def _unknown_names() -> Iterator[checks.CheckMessage]:
    for name in conf.unknown_names():
        yield checks.Error(
            f"RECOMMENDER[{name!r}] is not a setting.",
            hint=conf.closest(str(name)) or f"Remove it. The settings are {', '.join(conf.DEFAULTS)}.",
            id="recommender.E001",
        )


def _unusable_consent() -> Iterator[checks.CheckMessage]:
    try:
        consent = conf.get_callable("CONSENT")
    except ConfigurationError as error:
        yield checks.Error(str(error), hint=_consent_hint(), id="recommender.E003")
        return
    if not callable(consent):
        message = f"RECOMMENDER['CONSENT'] names {consent!r}, which is not callable."
        yield checks.Error(message, hint=_consent_hint(), id="recommender.E003")


def _unusable_order_consent() -> Iterator[checks.CheckMessage]:
    try:
        order_consent.decision()
    except ConfigurationError as error:
        hint = "Orders of people who have not consented stay nobody's until this is repaired."
        yield checks.Error(str(error), hint=hint, id="recommender.E003")


def _consent_hint() -> str:
    return f"Name a callable that takes the request and returns a bool, such as {conf.DEFAULTS['CONSENT']!r}."


def _unusable_values() -> Iterator[checks.CheckMessage]:
    """Numbers that are none, words that are not known, a storage alias and a tool that do not exist."""
    for name, default in conf.DEFAULTS.items():
        value = conf.get(name)
        if _is_number(default) and not (_is_number(value) and value >= 0):
            yield checks.Error(
                f"RECOMMENDER[{name!r}] must be a number that is not negative, not {value!r}.",
                hint=f"The default is {default!r}.",
                id="recommender.E004",
            )
    for name in conf.CHOICES:
        if message := conf.wrong_choice(name, conf.get(name)):
            hint = f"The default is {conf.DEFAULTS[name]!r}."
            yield checks.Error(f"RECOMMENDER: {message}", hint=hint, id="recommender.E004")
    yield from _unusable_experiment_tracker(conf.get("EXPERIMENT_TRACKER"))
    alias = conf.get("BUNDLE_STORAGE")
    if alias:
        try:
            storages[alias]
        except InvalidStorageError as error:
            yield checks.Error(
                f"RECOMMENDER['BUNDLE_STORAGE'] = {alias!r}: {error}",
                hint=conf.closest(str(alias), settings.STORAGES) or "Add the alias to STORAGES.",
                id="recommender.E004",
            )


def _naive_times() -> Iterator[checks.CheckMessage]:
    if not settings.USE_TZ:
        yield checks.Error(
            "USE_TZ is False: events cannot be stored, because their times need a zone.",
            hint="Set USE_TZ = True, Django's default; see 'Time zones' in Django's documentation on how to move.",
            id="recommender.E008",
        )


def _unusable_experiment_tracker(tool: Any) -> Iterator[checks.CheckMessage]:
    if tool and tool not in conf.TRACKERS:
        yield checks.Error(
            f"RECOMMENDER['EXPERIMENT_TRACKER'] must be '', {', '.join(map(repr, conf.TRACKERS))}, not {tool!r}.",
            hint=conf.closest(str(tool), conf.TRACKERS) or "Leave it out: then no curves are drawn.",
            id="recommender.E004",
        )
    elif tool and importlib.util.find_spec(conf.TRACKERS[tool]) is None:
        extra = "wandb" if conf.TRACKERS[tool] == "wandb" else "tensorboard"
        yield checks.Warning(
            f"RECOMMENDER['EXPERIMENT_TRACKER'] = {tool!r}, but {conf.TRACKERS[tool]} is not installed here.",
            hint=f'On the host that trains: pip install "shopreco[{extra}]". Runs go on without it.',
            id="recommender.W008",
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _faults_of(catalog: Catalog) -> Iterator[checks.CheckMessage]:
    try:
        faults = catalog.faults()
    except ConfigurationError as error:
        hint = 'The label is "app_label.Model" of an installed app.'
        yield checks.Error(str(error), hint=hint, obj=type(catalog), id="recommender.E006")
        return
    for _, message in faults:
        yield checks.Error(
            message,
            hint="An attribute is a dotted path of the model, a Constant or a method that takes the object.",
            obj=type(catalog),
            id="recommender.E005",
        )


def _faulty_rows() -> Iterator[checks.CheckMessage]:
    for rows in tracking.tracked_rows():
        try:
            rows.model  # noqa: B018  looking it up is the check
            messages = [message for _, message in rows.faults()]
        except ConfigurationError as error:
            messages = [str(error)]
        for message in messages:
            hint = ROWS_EXAMPLE
            yield checks.Error(message, hint=hint, obj=type(rows), id="recommender.E007")


def _states() -> Iterator[checks.CheckMessage]:
    """W014: a state in words is true whatever it says."""
    for rows in tracking.tracked_rows():
        try:
            states = rows.states()
        except ConfigurationError:  # E007 tells
            continue
        for name, path, values in states:
            said = f", {', '.join(repr(value) for value in values[:MAX_STATES_SHOWN])} too" if values else ""
            example = values[-1] if values else "paid"
            row = f"def {name}(self, row): return row.{path.replace('__', '.')} in ({example!r},)"
            yield checks.Warning(
                f"{type(rows).__name__}.{name} = {path!r} is a state: every value counts as true{said}.",
                hint=f"Name those that count: paid_values = ({example!r},)" if name == "paid" else f"Write {row}",
                obj=type(rows),
                id="recommender.W014",
            )


def named_routes() -> Iterator[tuple[str, Route]]:
    """Every URL that has a name, with its namespace, as `reverse()` takes it."""
    if getattr(settings, "ROOT_URLCONF", None):
        yield from _named(get_resolver().url_patterns, "", Route("", {}))


def _named(patterns: Sequence[URLPattern | URLResolver], namespace: str, above: Route) -> Iterator[tuple[str, Route]]:
    for pattern in patterns:
        fixed = pattern.default_args if isinstance(pattern, URLPattern) else pattern.default_kwargs
        parts = {**above.kwargs, **dict.fromkeys(fixed), **_parts(pattern.pattern)}
        route = Route(f"{above.text}{pattern.pattern}", parts, getattr(pattern, "callback", None))
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from _named(pattern.url_patterns, inner, route)
        elif pattern.name:
            yield namespace + pattern.name, route


def _parts(pattern: Any) -> dict[str, Any]:
    """The named parts of a path with their converters, or of a regular expression."""
    return {**dict.fromkeys(pattern.regex.groupindex), **getattr(pattern, "converters", {})}


def _page_warnings() -> Iterator[checks.CheckMessage]:
    """W007, W009 to W011: pages whose URL is gone or lacks a part that is read, pages that count twice, and pages whose
    value leads to no item."""
    pages = tracking.tracked_pages()
    if not pages or not getattr(settings, "ROOT_URLCONF", None):
        return
    known: dict[str, dict[str, Any]] = {}
    for name, route in named_routes():
        known.setdefault(name, {}).update(route.kwargs)
    for name in sorted({page.view_name for page in pages} - set(known)):
        yield checks.Warning(
            f"track_pages() names the page {name!r}, which no URL has: its events are never recorded.",
            hint=conf.closest(name, known) or "Name a URL as reverse() does, with its namespace.",
            id="recommender.W007",
        )
    for page in pages:
        for part in sorted(page.url_parts - set(known.get(page.view_name, page.url_parts))):
            yield checks.Warning(
                f"track_pages() reads 'kwargs.{part}' of the page {page.view_name!r}, whose URL has no such part.",
                hint=conf.closest(part, known[page.view_name])
                or f"Its URL has {', '.join(sorted(known[page.view_name])) or 'no part at all'}.",
                id="recommender.W009",
            )
        yield from _items_out_of_reach(page, known.get(page.view_name, {}))
    yield from _counted_twice(pages)


def _items_out_of_reach(page: tracking.TrackedPage, parts: Mapping[str, Any]) -> Iterator[checks.CheckMessage]:
    """W011: what a page reads can be no item's id and no key of an object, or is a key of several models."""
    declared = page.item_id[1] if isinstance(page.item_id, tuple) else page.item_id
    if not isinstance(declared, str):
        return
    converter = parts.get(last_word(declared)) if declared.startswith("kwargs.") else None
    try:
        if isinstance(page.item_id, tuple):
            fault, hint = _fault_of_model(*page.item_id, converter=converter)
        else:
            fault, hint = _fault_of_key(catalogs(), declared, converter)
    except ConfigurationError:  # the Catalog's own fault: E006
        return
    if fault:
        message = f"track_pages() reads {declared!r} of the page {page.view_name!r} as the item, {fault}"
        yield checks.Warning(message, hint=hint, id="recommender.W011")


def _fault_of_model(label: str, declared: str, field: str = "", *, converter: Any) -> tuple[str, str]:
    """What is wrong with a page that names the model, and its repair; two empty texts where nothing is."""
    catalog = catalog_for_label(label)
    if catalog is None:
        known = [catalog.label for catalog in catalogs()]
        return f"of {label}, which has no Catalog.", conf.closest(label, known) or CATALOG_EXAMPLE
    if not field:
        return _fault_of_key([catalog], declared, converter)
    fault = path_fault(catalog.model, field)
    return (f"by {field!r}: {fault}", "Name a field of the model that holds what stands there.") if fault else ("", "")


def _fault_of_key(described: list[Catalog], declared: str, converter: Any) -> tuple[str, str]:
    """The same where the model is to be found by the name and the kind of the value."""
    name = last_word(declared)
    reached = [catalog for catalog in meant_by(name, described) if may_name(catalog, name, converter)]
    if described and not reached:
        repair = f'item_id=("{described[0].label}", "{declared}", "<field>")'
        return "but no item has such an id, and no object such a key.", (
            f"Say which field it is, {repair}, or give a callable that takes the request and returns the object."
        )
    if len(reached) > 1:
        labels = " and ".join(catalog.label for catalog in reached)
        return f"but objects of {labels} may have the same.", (
            f'Name the model: item_id=("{reached[0].label}", "{declared}").'
        )
    return "", ""


def _counted_twice(pages: Sequence[tracking.TrackedPage]) -> Iterator[checks.CheckMessage]:
    for index, page in enumerate(pages):
        if any(page.overlaps(other) for other in pages[:index]):
            yield checks.Warning(
                f"track_pages() declares the page {page.view_name!r} as {page.event.value} twice: it counts twice.",
                hint="Keep one of them, or tell them apart by method or statuses.",
                id="recommender.W010",
            )
        elif page.event in (EventType.PURCHASE, EventType.REFUND):
            yield checks.Warning(
                f"The page {page.view_name!r} is a {page.event.value}: what a page says of an order is no purchase.",
                hint="Remove the page, and declare order rows with @track_rows: they are the truth.",
                id="recommender.W010",
            )


def _sqlite_warnings(alias: str, database: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    if not str(database.get("ENGINE", "")).endswith("sqlite3"):
        return
    options = database.get("OPTIONS", {})
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        yield checks.Warning(
            f"DATABASES[{alias!r}] is SQLite without immediate transactions: parallel writers fail with 'locked'.",
            hint='Add "transaction_mode": "IMMEDIATE" to its OPTIONS.',
            id="recommender.W004",
        )
    if "journal_mode=wal" not in str(options.get("init_command", "")).replace(" ", "").lower():
        yield checks.Warning(
            f"DATABASES[{alias!r}] is SQLite without a write-ahead log: a reader waits for every writer.",
            hint='Add "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" to its OPTIONS.',
            id="recommender.W005",
        )
    if database.get("ATOMIC_REQUESTS"):
        yield checks.Warning(
            f"DATABASES[{alias!r}] is SQLite with ATOMIC_REQUESTS: each request holds the only write lock to its end.",
            hint="Set ATOMIC_REQUESTS to False, with transaction.atomic() in the views that write; or use PostgreSQL.",
            id="recommender.W006",
        )
