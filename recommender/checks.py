"""System checks: find mistakes in a shop's settings and declarations, and name the repair."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.core.files.storage import InvalidStorageError, storages
from django.db import DatabaseError, router
from django.utils.translation import gettext as _

from recommender import conf, tracking
from recommender.capture import encrypting, order_consent
from recommender.catalog import Catalog, catalog_for_label, catalogs
from recommender.catalog.limits import limits_of
from recommender.catalog.paths import path_fault
from recommender.exceptions import ConfigurationError, RecommenderError
from recommender.experiments.rollout import rollout_of
from recommender.models import Event, encryption
from recommender.serving.engine_checks import check_collections
from recommender.serving.engines import declared_engine
from recommender.serving.exploring import explorations_of
from recommender.tracking.pages import last_word, may_name, meant_by
from recommender.tracking.routes import named_routes
from recommender.types import EventType

MIDDLEWARE = "recommender.middleware.RecommenderMiddleware"
MAX_STATES_SHOWN = 6
RATE = re.compile(r"[1-9]\d*/(?:s|m|h|d)[a-z]*")
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


def register() -> None:
    """Register the checks of this app with Django."""
    for check in (check_settings, check_middleware, check_catalogs, check_tracking, check_databases):
        checks.register(check, "recommender")
    for check in (check_stored_queries, check_collections):
        checks.register(check, "recommender", checks.Tags.database)


def check_settings(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """E001 to E004, E008, E009 and W008: the dict `RECOMMENDER`, and times with a time zone."""
    declared = getattr(settings, "RECOMMENDER", {})
    if not isinstance(declared, dict):
        message = _("RECOMMENDER must be a dict, not %(type)s.") % {"type": type(declared).__name__}
        hint = _('Write RECOMMENDER = {"TRAINING_MINUTES": 3.0}, or leave the setting out.')
        return [checks.Error(message, hint, id="recommender.E002")]
    return [
        *_unknown_names(), *_invalid_consent(), *_invalid_order_consent(), *_invalid_values(),
        *_invalid_experiment_tracker(conf.get("EXPERIMENT_TRACKER")), *_invalid_storage(conf.get("BUNDLE_STORAGE")),
        *_unreadable("AT_MOST", limits_of), *_invalid_throttles(conf.get("THROTTLES")),
        *_invalid_secrets(conf.get("SUBJECT_KEYS")), *_invalid_retention(conf.get("RETENTION")), *_naive_times(),
        *_invalid_encryption(conf.get("ENCRYPTION_KEYS")), *_unreadable("EXPLORE", explorations_of),
        *_unreadable("ROLLOUT", rollout_of), *_unreadable("VECTOR_ENGINE", declared_engine),
    ]  # fmt: skip


def check_middleware(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """W001 and W002: recording visits needs the middleware, and it is safe only in the first position."""
    middleware = list(getattr(settings, "MIDDLEWARE", None) or [])
    names = {"name": MIDDLEWARE, "first": middleware[0] if middleware else ""}
    if MIDDLEWARE not in middleware:
        message = _("The recommender's middleware is not installed: no page view is recorded, and no visitor is known.")
        return [checks.Warning(message, _("Put %(name)r first in MIDDLEWARE.") % names, id="recommender.W001")]
    if middleware[0] == MIDDLEWARE:
        return []
    message = _("%(name)r is not the first middleware: one above it may cache a page made for one visitor.")
    return [checks.Warning(message % names, _("Move it above %(first)r in MIDDLEWARE.") % names, id="recommender.W002")]


def check_catalogs(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """E005, E006 and W003: the Catalogs of every `recommendations.py`."""
    if not catalogs():
        message = _("No Catalog is registered: there is nothing to search or to recommend.")
        return [checks.Warning(message, CATALOG_EXAMPLE, id="recommender.W003")]
    return [message for catalog in catalogs() for message in _faults_of(catalog)]


def check_tracking(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """E007, W007, W009 to W011 and W014: the order rows and pages of every `recommendations.py`."""
    return [*_faulty_rows(), *_states(), *_page_warnings()]


def check_databases(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """W004 to W006: with its defaults, SQLite loses writes of parallel processes."""
    return [message for alias, database in settings.DATABASES.items() for message in _sqlite_warnings(alias, database)]


def check_stored_queries(
    app_configs: Sequence[AppConfig] | None, *, databases: Collection[str] | None = None, **options: Any
) -> list[CheckMessage]:
    """E010, with `check --database`: encrypted queries that none of the keys opens."""
    if router.db_for_read(Event) not in (databases or ()):
        return []
    try:
        n = encrypting.n_unreadable()
    except (DatabaseError, RecommenderError):  # tables that are not there yet, or keys that E009 reports
        return []
    message = _("%(n)d of the newest stored queries cannot be decrypted by any of RECOMMENDER['ENCRYPTION_KEYS'].")
    hint = _("Put the key by which they were encrypted behind the others, then run recommender_encrypt.")
    return [checks.Error(message % {"n": n}, hint, id="recommender.E010")] if n else []


def _unknown_names() -> Iterator[CheckMessage]:
    for name in conf.unknown_names():
        message = _("RECOMMENDER[%(name)r] is not a setting.") % {"name": name}
        hint = _("Remove it. The settings are %(names)s.") % {"names": ", ".join(conf.DEFAULTS)}
        yield checks.Error(message, conf.closest(str(name)) or hint, id="recommender.E001")


def _invalid_consent() -> Iterator[CheckMessage]:
    hint = _("Name a callable that takes the request and returns a bool, such as %(default)r.")
    hint %= {"default": conf.DEFAULTS["CONSENT"]}
    try:
        consent = conf.get_callable("CONSENT")
    except ConfigurationError as error:
        yield checks.Error(str(error), hint, id="recommender.E003")
        return
    if not callable(consent):
        message = _("RECOMMENDER['CONSENT'] names %(value)r, which is not callable.") % {"value": consent}
        yield checks.Error(message, hint, id="recommender.E003")


def _invalid_order_consent() -> Iterator[CheckMessage]:
    try:
        order_consent.decision()
    except ConfigurationError as error:
        hint = _("Until this is repaired, orders of people who have not consented are linked to no visitor.")
        yield checks.Error(str(error), hint, id="recommender.E003")


def _invalid_values() -> Iterator[CheckMessage]:
    """E004: numbers that are negative or not numbers, and words that are not among the choices."""
    for name, default in conf.DEFAULTS.items():
        value, hint = conf.get(name), _("The default is %(default)r.") % {"default": default}
        if _is_number(default) and not (_is_number(value) and value >= 0):
            message = _("RECOMMENDER[%(name)r] must be a number that is not negative, not %(value)r.")
            yield checks.Error(message % {"name": name, "value": value}, hint, id="recommender.E004")
        if name in conf.CHOICES and (message := conf.wrong_choice(name, value)):
            yield checks.Error(f"RECOMMENDER: {message}", hint, id="recommender.E004")


def _invalid_storage(alias: Any) -> Iterator[CheckMessage]:
    if not alias:
        return
    try:
        storages[alias]
    except InvalidStorageError as error:
        message = f"RECOMMENDER['BUNDLE_STORAGE'] = {alias!r}: {error}"
        hint = conf.closest(str(alias), settings.STORAGES) or _("Add the alias to STORAGES.")
        yield checks.Error(message, hint, id="recommender.E004")


def _invalid_experiment_tracker(tool: Any) -> Iterator[CheckMessage]:
    if tool and tool not in conf.TRACKERS:
        message = _("RECOMMENDER['EXPERIMENT_TRACKER'] must be '', %(tools)s, not %(value)r.")
        message %= {"tools": ", ".join(map(repr, conf.TRACKERS)), "value": tool}
        hint = conf.closest(str(tool), conf.TRACKERS) or _("Leave it out: then no curves are drawn.")
        yield checks.Error(message, hint, id="recommender.E004")
    elif tool and importlib.util.find_spec(conf.TRACKERS[tool]) is None:
        names = {"tool": tool, "package": conf.TRACKERS[tool]}
        names["extra"] = "wandb" if names["package"] == "wandb" else "tensorboard"
        message = _("RECOMMENDER['EXPERIMENT_TRACKER'] = %(tool)r, but %(package)s is not installed here.")
        hint = _('On the host that trains: pip install "shopreco[%(extra)s]". Runs work without it.')
        yield checks.Warning(message % names, hint % names, id="recommender.W008")


def _unreadable(name: str, read: Callable[[Any], object]) -> Iterator[CheckMessage]:
    """E004: a setting that cannot be meant, such as a limit by an attribute that no item has."""
    try:
        read(conf.get(name))
    except ConfigurationError as error:
        hint = _("The default is %(default)r.") % {"default": conf.DEFAULTS[name]}
        yield checks.Error(f"RECOMMENDER[{name!r}]: {error}", hint, id="recommender.E004")


def _invalid_throttles(throttles: Any) -> Iterator[CheckMessage]:
    """E004: a limit that there is not, or one that is no rate."""
    hint = _("The defaults are %(defaults)s.") % {"defaults": conf.DEFAULT_THROTTLES}
    if not isinstance(throttles, dict):
        yield checks.Error(_("RECOMMENDER['THROTTLES'] must be a dict."), hint, id="recommender.E004")
        return
    for name, rate in throttles.items():
        if name not in conf.DEFAULT_THROTTLES:
            message = _("RECOMMENDER['THROTTLES'] has no limit %(name)r.") % {"name": name}
            yield checks.Error(message, conf.closest(str(name), conf.DEFAULT_THROTTLES) or hint, id="recommender.E004")
        elif rate is not None and not (isinstance(rate, str) and RATE.fullmatch(rate)):
            message = _("RECOMMENDER['THROTTLES'][%(name)r] must be a rate such as '600/min' or None, not %(rate)r.")
            yield checks.Error(message % {"name": name, "rate": rate}, hint, id="recommender.E004")


def _invalid_secrets(keys: Any) -> Iterator[CheckMessage]:
    """E004: one secret instead of a list of them, or something that is no secret."""
    if isinstance(keys, list | tuple) and all(isinstance(key, str | bytes) and key for key in keys):
        return
    message = _("RECOMMENDER['SUBJECT_KEYS'] must be a list of secrets, the newest first, not %(type)s.")
    hint = _("Leave it out to take SECRET_KEY and SECRET_KEY_FALLBACKS.")
    yield checks.Error(message % {"type": type(keys).__name__}, hint, id="recommender.E004")


def _invalid_encryption(keys: Any) -> Iterator[CheckMessage]:
    """E009: no list of Fernet keys, or the package that needs them is not installed."""
    try:
        if not isinstance(keys, list | tuple):
            raise ConfigurationError("ENCRYPTION_KEYS must be a list of keys, the newest first.")
        encryption.current_cipher()
    except RecommenderError as error:
        hint = _("Until this is repaired, no event with a query is stored. Leave it out to store queries as they are.")
        yield checks.Error(f"RECOMMENDER: {error}", hint, id="recommender.E009")


def _invalid_retention(retention: Any) -> Iterator[CheckMessage]:
    """E004: a kind that there is not, or days that are no number."""
    hint = _("The defaults are %(defaults)s.") % {"defaults": conf.DEFAULT_RETENTION}
    if not isinstance(retention, dict):
        yield checks.Error(_("RECOMMENDER['RETENTION'] must be a dict."), hint, id="recommender.E004")
        return
    for kind, n_days in retention.items():
        if kind not in conf.DEFAULT_RETENTION:
            message = _("RECOMMENDER['RETENTION'] has no kind %(kind)r.") % {"kind": kind}
            yield checks.Error(message, conf.closest(str(kind), conf.DEFAULT_RETENTION) or hint, id="recommender.E004")
        elif not (_is_number(n_days) and n_days >= 0):
            message = _("RECOMMENDER['RETENTION'][%(kind)r] must be a number of days, not %(days)r.")
            yield checks.Error(message % {"kind": kind, "days": n_days}, hint, id="recommender.E004")


def _naive_times() -> Iterator[CheckMessage]:
    if not settings.USE_TZ:
        message = _("USE_TZ is False: events cannot be stored, because their times need a time zone.")
        hint = _("Set USE_TZ = True, Django's default; see 'Time zones' in Django's documentation on how to migrate.")
        yield checks.Error(message, hint, id="recommender.E008")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _faults_of(catalog: Catalog) -> Iterator[CheckMessage]:
    try:
        faults = catalog.faults()
    except ConfigurationError as error:
        hint = _('The label is "app_label.Model" of an installed app.')
        yield checks.Error(str(error), hint, obj=type(catalog), id="recommender.E006")
        return
    hint = _("An attribute is a dotted path of the model, a Constant or a method that takes the object.")
    for _attribute, message in faults:
        yield checks.Error(message, hint, obj=type(catalog), id="recommender.E005")


def _faulty_rows() -> Iterator[CheckMessage]:
    for rows in tracking.tracked_rows():
        try:
            rows.model  # noqa: B018  looking it up is the check
            messages = [message for _attribute, message in rows.faults()]
        except ConfigurationError as error:
            messages = [str(error)]
        for message in messages:
            yield checks.Error(message, ROWS_EXAMPLE, obj=type(rows), id="recommender.E007")


def _states() -> Iterator[CheckMessage]:
    """W014: a state in words counts as true, whatever it says."""
    for rows in tracking.tracked_rows():
        try:
            states = rows.states()
        except ConfigurationError:  # reported as E007
            continue
        for name, path, values in states:
            attribute = {"attribute": f"{type(rows).__name__}.{name}", "path": path}
            message = _("%(attribute)s = %(path)r is a state: every value counts as true.") % attribute
            if values:
                shown_values = ", ".join(repr(value) for value in values[:MAX_STATES_SHOWN])
                message += " " + _("There are %(values)s.") % {"values": shown_values}
            example = values[-1] if values else "paid"
            row = f"def {name}(self, row): return row.{path.replace('__', '.')} in ({example!r},)"
            hint = f"paid_values = ({example!r},)" if name == "paid" else row
            hint = _("Name the values that count: %(code)s") % {"code": hint}
            yield checks.Warning(message, hint, obj=type(rows), id="recommender.W014")


def _page_warnings() -> Iterator[CheckMessage]:
    """W007 and W009 to W011: pages without a URL or part of it, pages that count twice, values that are no item."""
    pages = tracking.tracked_pages()
    if not pages or not getattr(settings, "ROOT_URLCONF", None):
        return
    parts_by_name: dict[str, dict[str, Any]] = {}
    for name, route in named_routes():
        parts_by_name.setdefault(name, {}).update(route.kwargs)
    for name in sorted({page.view_name for page in pages} - set(parts_by_name)):
        message = _("track_pages() names the page %(name)r, but no URL has this name: its events are never recorded.")
        hint = conf.closest(name, parts_by_name) or _("Name a URL as reverse() does, with its namespace.")
        yield checks.Warning(message % {"name": name}, hint, id="recommender.W007")
    for page in pages:
        parts = parts_by_name.get(page.view_name)
        for part in sorted(page.url_parts - set(parts)) if parts is not None else ():
            message = _("track_pages() reads 'kwargs.%(part)s' of the page %(name)r, but its URL has no such part.")
            hint = _("Its URL has %(parts)s.") % {"parts": ", ".join(sorted(parts or ())) or _("no part at all")}
            hint = conf.closest(part, parts or ()) or hint
            yield checks.Warning(message % {"part": part, "name": page.view_name}, hint, id="recommender.W009")
        yield from _items_out_of_reach(page, parts or {})
    yield from _counted_twice(pages)


def _items_out_of_reach(page: tracking.TrackedPage, parts: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """W011: the value that a page reads cannot be an item's id or an object's key, or is a key of several models."""
    declared = page.item_id[1] if isinstance(page.item_id, tuple) else page.item_id
    if not isinstance(declared, str):
        return
    converter = parts.get(last_word(declared)) if declared.startswith("kwargs.") else None
    try:
        if isinstance(page.item_id, tuple):
            fault, hint = _fault_of_model(*page.item_id, converter=converter)
        else:
            fault, hint = _fault_of_key(catalogs(), declared, converter)
    except ConfigurationError:  # the Catalog's own fault, reported as E006
        return
    if fault:
        message = _("track_pages() reads %(value)r of the page %(name)r as the item, %(fault)s")
        message %= {"value": declared, "name": page.view_name, "fault": fault}
        yield checks.Warning(message, hint, id="recommender.W011")


def _fault_of_model(label: str, declared: str, field: str = "", *, converter: Any) -> tuple[str, str]:
    """What is wrong with a page that names the model, and the repair; two empty texts if nothing is."""
    catalog = catalog_for_label(label)
    if catalog is None:
        labels = [catalog.label for catalog in catalogs()]
        fault = _("of %(label)s, which has no Catalog.") % {"label": label}
        return fault, conf.closest(label, labels) or CATALOG_EXAMPLE
    if not field:
        return _fault_of_key([catalog], declared, converter)
    if fault := path_fault(catalog.model, field):
        hint = _("Name the field of the model that holds this value.")
        return _("by %(field)r: %(fault)s") % {"field": field, "fault": fault}, hint
    return "", ""


def _fault_of_key(candidates: list[Catalog], declared: str, converter: Any) -> tuple[str, str]:
    """The same if the model has to be recognised by the name and the converter of the value."""
    name = last_word(declared)
    reached = [catalog for catalog in meant_by(name, candidates) if may_name(catalog, name, converter)]
    if candidates and not reached:
        code = f'item_id=("{candidates[0].label}", "{declared}", "<field>")'
        hint = _("Say which field it is, %(code)s, or give a callable that takes the request and returns the object.")
        return _("but no item has such an id, and no object such a key."), hint % {"code": code}
    if len(reached) > 1:
        labels = _(" and ").join(catalog.label for catalog in reached)
        hint = _("Name the model: %(code)s.") % {"code": f'item_id=("{reached[0].label}", "{declared}")'}
        return _("but objects of %(labels)s may have the same.") % {"labels": labels}, hint
    return "", ""


def _counted_twice(pages: Sequence[tracking.TrackedPage]) -> Iterator[CheckMessage]:
    for index, page in enumerate(pages):
        names = {"name": page.view_name, "event": page.event.value}
        if any(page.overlaps(other) for other in pages[:index]):
            message = _("track_pages() declares the page %(name)r as %(event)s twice: it counts twice.")
            hint = _("Keep one of them, or tell them apart by method or statuses.")
            yield checks.Warning(message % names, hint, id="recommender.W010")
        elif page.event in (EventType.PURCHASE, EventType.REFUND):
            message = _("The page %(name)r is a %(event)s: what a page says about an order is not a purchase.")
            hint = _("Remove the page, and declare order rows with @track_rows.")
            yield checks.Warning(message % names, hint, id="recommender.W010")


def _sqlite_warnings(alias: str, database: dict[str, Any]) -> Iterator[CheckMessage]:
    if not str(database.get("ENGINE", "")).endswith("sqlite3"):
        return
    options, names = database.get("OPTIONS", {}), {"alias": alias}
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        message = _("DATABASES[%(alias)r] is SQLite without immediate transactions: parallel writers get 'locked'.")
        hint = _('Add "transaction_mode": "IMMEDIATE" to its OPTIONS.')
        yield checks.Warning(message % names, hint, id="recommender.W004")
    if "journal_mode=wal" not in str(options.get("init_command", "")).replace(" ", "").lower():
        message = _("DATABASES[%(alias)r] is SQLite without a write-ahead log: a reader waits for every writer.")
        hint = _('Add "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" to its OPTIONS.')
        yield checks.Warning(message % names, hint, id="recommender.W005")
    if database.get("ATOMIC_REQUESTS"):
        message = _("DATABASES[%(alias)r] is SQLite with ATOMIC_REQUESTS: each request holds the only write lock.")
        hint = _("Set ATOMIC_REQUESTS to False and use transaction.atomic() in views that write; or use PostgreSQL.")
        yield checks.Warning(message % names, hint, id="recommender.W006")
