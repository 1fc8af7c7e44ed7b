"""Turns a page that a shop declares (a URL name, an event, and where its values stand) into drafts of events."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import logging
import math
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

from django.contrib import messages
from django.core.exceptions import RequestDataTooBig, ValidationError
from django.db import models
from django.http import HttpRequest, HttpResponseBase
from django.http.request import RawPostDataException
from django.urls.converters import IntConverter, SlugConverter, UUIDConverter
from django.utils import translation

from recommender import capture, conf
from recommender.capture import EventDraft
from recommender.catalog import Catalog, Constant, catalog_for_label, catalogs, item_id_of
from recommender.catalog.guesses import key_fields, named_key
from recommender.exceptions import ConfigurationError
from recommender.identity import Shopper
from recommender.models import Event, Item
from recommender.text.query import normal_query
from recommender.types import EventType

logger = logging.getLogger(__name__)

SOURCES = ("kwargs", "GET", "POST", "JSON")
SHOWN = frozenset({200, 304})
ACTED = frozenset({200, 201, 202, 204, 302, 303})
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
"""The content types of an HTML form. Source: HTML Living Standard, section 4.10.21.5."""

EMPTYING = (EventType.REMOVE_FROM_CART, EventType.PURCHASE)
REPEAT_SECONDS = 5
"""The same item in the same quantity, added again within this time, is a double click or a reload."""

SAMPLES = {SlugConverter: "red-mug", IntConverter: "1", UUIDConverter: str(uuid.UUID(int=1))}
"""An example of what each converter of Django's URLs accepts; converters of text accept anything."""

ACTS = frozenset({EventType.ADD_TO_CART, EventType.REMOVE_FROM_CART, EventType.DISMISS_ITEM, EventType.PURCHASE})


@dataclass(frozen=True)
class TrackedPage:
    """A page that is an event: `page("shop:product", "view_item", item_id="kwargs.pk")`. Values are "kwargs.pk",
    "GET.q", "POST.quantity", "JSON.line.sku", a `Constant`, or a callable that takes the request.

    `item_id` finds the item by its id, or by the primary key or the unique field of its object that the last word
    names. `("shop.Product", "kwargs.slug")` says in which model, where several may have it; a third word names another
    field: `("shop.Product", "GET.p", "slug")`. A callable may return the object or the id. The page counts for a
    response with one of `statuses`: by default a page that was shown, for a POST and for what fills a cart also a
    redirect. With `beacon=True` the page's script reports it, because a CDN serves the page. Raises
    `ConfigurationError`.
    """

    view_name: str
    event: Any
    _: KW_ONLY
    item_id: Any = None
    query: Any = None
    quantity: Any = None
    method: str = "GET"
    statuses: Any = ()
    beacon: bool = False

    def __post_init__(self) -> None:
        if self.event not in capture.TYPES:
            hint = conf.closest(self.event, capture.TYPES)
            raise ConfigurationError(f"page({self.view_name!r}): {self.event!r} is no event. {hint}".strip())
        for path in self.paths:
            source, _, name = path.partition(".")
            if source not in SOURCES or not name:
                raise ConfigurationError(
                    f"page({self.view_name!r}): {path!r} must start with one of "
                    f"{', '.join(f'{source}.' for source in SOURCES)}, or be a Constant or a callable that takes the "
                    "request."
                )
        method = self.method.upper()
        default = SHOWN if method == "GET" and self.event not in ACTS else ACTED
        values = {"event": EventType(self.event), "method": method, "statuses": frozenset(self.statuses) or default}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def paths(self) -> list[str]:
        """Where the page's values are read."""
        read = (self.item_id[1] if isinstance(self.item_id, tuple) else self.item_id, self.query, self.quantity)
        return [value for value in read if isinstance(value, str)]

    @property
    def url_parts(self) -> frozenset[str]:
        """The names of the URL's parts that are read."""
        return frozenset(path.split(".")[1] for path in self.paths if path.startswith("kwargs."))

    @cached_property
    def reads_json(self) -> bool:
        """Is one of the values in a JSON body?"""
        return any(path.startswith("JSON.") for path in self.paths)

    def overlaps(self, other: TrackedPage) -> bool:
        """May both record the same event of one response? Not if they read the item from different parts of the
        request."""
        if self._is_sent_elsewhere(other):
            return False
        same = (self.view_name, self.event, self.method) == (other.view_name, other.event, other.method)
        return same and bool(self.statuses & other.statuses)

    def _is_sent_elsewhere(self, other: TrackedPage) -> bool:
        paths = [page.item_id[1] if isinstance(page.item_id, tuple) else page.item_id for page in (self, other)]
        is_sent = all(isinstance(path, str) and not path.startswith("kwargs.") for path in paths)
        return is_sent and paths[0] != paths[1]


page = TrackedPage
"""How a `recommendations.py` declares a page."""


def note_json(pages: list[TrackedPage], request: HttpRequest, response: HttpResponseBase) -> None:
    """Keep the JSON that was sent, if a page reads it, before the request's stream is closed."""
    for page in pages:
        if page.reads_json:
            request.recommender_json = _sent_json(request, response)  # type: ignore[attr-defined]
            return


def is_refused(page: TrackedPage, request: HttpRequest, response: HttpResponseBase) -> bool:
    """Did the shop refuse, although the status is a success: by an error message of Django's, or by showing the form
    again instead of redirecting? A page that answers its form with itself declares `statuses`. No query."""
    if page.event not in ACTS or not page.view_name:  # the shop's own signals know what happened
        return False
    queued = getattr(getattr(request, "_messages", None), "_queued_messages", ())
    if queued and any(message.level >= messages.ERROR for message in queued):
        return True
    is_page = response.status_code == 200 and response.get("Content-Type", "").startswith("text/html")
    return request.method == "POST" and is_page and page.statuses == ACTED and not _is_by_script(request)


def _is_by_script(request: HttpRequest) -> bool:
    """Did a script send the request? Sources: Fetch Metadata, htmx, and the header of old libraries."""
    mode = request.headers.get("Sec-Fetch-Mode", "")
    if request.content_type not in FORMS:
        return True
    return mode not in ("", "navigate") or any(name in request.headers for name in ("HX-Request", "X-Requested-With"))


def drafts_of(page: TrackedPage, request: HttpRequest, shopper: Shopper, at: dt.datetime) -> Iterator[EventDraft]:
    """The event of a page; a view that was opened from a list also gives a click. At most two queries."""
    item_id = _item_id(page, request) if shopper.has_consented else _value(page, request)
    query = _read(page.query, request) or ""
    query = query and normal_query(str(query))
    if not item_id and not query:
        return
    ranking_id, position = _origin(request)
    draft = EventDraft(
        message_id=f"page:{uuid.uuid4().hex}",
        type=page.event,
        occurred_at=at,
        item_id=item_id,
        query=query,
        quantity=_quantity(_read(page.quantity, request)),
        ranking_id=ranking_id,
        position=position,
    )
    if page.event == EventType.VIEW_ITEM and ranking_id is not None:
        yield _selection(draft, ranking_id, shopper)
    if page.event == EventType.ADD_TO_CART and shopper.has_consented and shopper.visitor_key is not None:
        draft = dataclasses.replace(draft, message_id=_addition_id(draft, request, shopper.visitor_key))
    yield draft


def _addition_id(draft: EventDraft, request: HttpRequest, visitor_key: uuid.UUID) -> str:
    """The id of an addition: that of the same request some seconds ago, if there was one, so that a double click and a
    reload count once, in parallel processes too; what was bought or removed in between makes it another. Two queries.
    """
    since = draft.occurred_at - dt.timedelta(seconds=REPEAT_SECONDS)
    emptied = Event.objects.filter(visitor__key=visitor_key, type__in=EMPTYING, occurred_at__gt=since)
    last_emptied = emptied.order_by("-occurred_at").values_list("message_id", flat=True).first() or ""
    same = uuid.uuid5(visitor_key, f"{draft.item_id}|{draft.quantity}|{_sent(request)}|{last_emptied}").hex
    window = int(draft.occurred_at.timestamp() // REPEAT_SECONDS)
    earlier = f"add:{same}:{window - 1}"
    is_repeated = Event.objects.filter(message_id=earlier, occurred_at__gt=since).exists()
    return earlier if is_repeated else f"add:{same}:{window}"


def _sent(request: HttpRequest) -> str:
    """The address and the form of a request without its CSRF token; the chosen variant is a part of the form."""
    fields = sorted((name, values) for name, values in request.POST.lists() if name != "csrfmiddlewaretoken")
    return f"{request.get_full_path()}|{fields}|{getattr(request, 'recommender_json', None)}"


def _selection(view: EventDraft, ranking_id: uuid.UUID, shopper: Shopper) -> EventDraft:
    """The click that led to a view: one for a list, an item and a visitor, even if the page is loaded again."""
    click = uuid.uuid5(ranking_id, f"{view.item_id}|{shopper.visitor_key or uuid.uuid4()}")
    return dataclasses.replace(view, message_id=f"select:{click.hex}", type=EventType.SELECT_ITEM)


def _value(page: TrackedPage, request: HttpRequest) -> str:
    """The value that names the item of a page, not looked up: enough to count an event that is dropped. No query."""
    declared = page.item_id[1] if isinstance(page.item_id, tuple) else page.item_id
    return "" if callable(declared) else str(_read(declared, request) or "")


def _item_id(page: TrackedPage, request: HttpRequest) -> str:
    """The item of a page; a value without an object in any Catalog is kept as it is. A translated address names its
    object in its own language. Queries as in `item_id_named`."""
    with translation.override(getattr(request, "LANGUAGE_CODE", None) or translation.get_language()):
        return _item_id_as_declared(page, request)


def _item_id_as_declared(page: TrackedPage, request: HttpRequest) -> str:
    if isinstance(page.item_id, tuple):
        label, declared, *named = page.item_id
        key, catalog = _read(declared, request), catalog_for_label(label)
        if key in (None, "") or catalog is None:
            return ""
        return _id_of_object(catalog, named[0], key) if named else item_id_named(catalog, last_word(declared), key)
    value = _read(page.item_id, request)
    if isinstance(value, models.Model):
        return item_id_of(value)
    if value in (None, "") or isinstance(page.item_id, Constant):
        return str(value or "")
    return _id_in_any_catalog(last_word(page.item_id), str(value)) or str(value)


def last_word(declared: Any) -> str:
    """The name of a value: "slug" of "kwargs.slug"; empty for a callable."""
    return declared.rpartition(".")[2] if isinstance(declared, str) else ""


def item_id_named(catalog: Catalog, name: str, key: Any) -> str:
    """The item id of the object that a value called `name` names; empty without such an object.

    No query if the id is derived from the primary key; else one for each look-up of `guesses.key_fields`, at most two
    for a name that is a field, and one more for a key without an item.
    """
    for lookup in key_fields(catalog.model, name):
        if item_id := _id_of_key(catalog, key) if lookup == "pk" else _id_of_object(catalog, lookup, key):
            return item_id
    return ""


def states_id(catalog: Catalog, name: str) -> bool:
    """Is a value called `name` the item id itself, because the Catalog's ids come from that column?"""
    if not isinstance(catalog.id, str) or catalog.group is not None or hasattr(catalog, "prepare_id"):
        return False
    column = last_word(f".{catalog.id}")
    return column == name or (name not in ("pk", "id") and column.endswith(f"_{name}")) or name.endswith(f"_{column}")


def may_name(catalog: Catalog, name: str, converter: Any = None) -> bool:
    """Can a value called `name`, which this URL converter accepts, be an id or a key of the Catalog's? True if only the
    rows can tell. No query."""
    if states_id(catalog, name) or catalog.id is not None or hasattr(catalog, "prepare_id"):
        return True
    sample = next((text for kind, text in SAMPLES.items() if isinstance(converter, kind)), None)
    if sample is None or key_fields(catalog.model, name) != ["pk"]:
        return True
    try:
        catalog.model._meta.pk.to_python(sample)
    except (TypeError, ValueError, ValidationError):
        return False
    return True


def meant_by(name: str, described: list[Catalog]) -> list[Catalog]:
    """The Catalogs of models with a key of this name, such as "sku"; all Catalogs if there is none."""
    having = [catalog for catalog in described if named_key(catalog.model, name) not in ("", "pk")]
    return having or described


def makes_id_of_key(catalog: Catalog) -> bool:
    """Are the Catalog's item ids `product:<pk>`?"""
    is_plain = catalog.id is None and catalog.group is None and not hasattr(catalog, "prepare_id")
    return is_plain and not catalog.inheriting_catalogs()


def _id_in_any_catalog(name: str, value: str) -> str:
    """The item id of a value if the page does not name the model; empty if no model or several have such an object. One
    more query if a Catalog has ids of its own, so that an id is never taken for a primary key."""
    described = catalogs()
    if any(states_id(catalog, name) for catalog in described) or _is_id_of_key(described, value):
        return value
    may_be_id = any(catalog.id is not None and not named_key(catalog.model, name) for catalog in described)
    if may_be_id and Item.objects.filter(item_id=value).exists():
        return value
    meant = meant_by(name, described)
    if len(meant) == 1:
        return item_id_named(meant[0], name, value)
    named = {item_id for catalog in meant if (item_id := _id_by_query(catalog, name, value))}
    return named.pop() if len(named) == 1 else ""


def _is_id_of_key(described: list[Catalog], value: str) -> bool:
    prefix, colon, _ = value.partition(":")
    return bool(colon) and prefix in {one.model._meta.model_name for one in described if makes_id_of_key(one)}


def _id_by_query(catalog: Catalog, name: str, key: Any) -> str:
    lookups = key_fields(catalog.model, name)
    return next((item_id for lookup in lookups if (item_id := _id_of_object(catalog, lookup, key))), "")


def _id_of_key(catalog: Catalog, key: Any) -> str:
    """The item id of the object with this primary key: from the key alone if ids are derived from it, else from the
    item's row; for a variant, or an object without an item yet, from the object."""
    if makes_id_of_key(catalog):
        try:
            return f"{catalog.model._meta.model_name}:{catalog.model._meta.pk.to_python(key)}"
        except (TypeError, ValueError, ValidationError):
            return ""
    items = (
        Item.objects.filter(label=catalog.label, object_id=str(key)) if catalog.group is None else Item.objects.none()
    )
    return items.values_list("item_id", flat=True).first() or _id_of_object(catalog, "pk", key)


def _id_of_object(catalog: Catalog, lookup: str, key: Any) -> str:
    """The item id of the object with this key; empty if there is none, or if the key is impossible."""
    try:
        obj = catalog.model._default_manager.filter(**{lookup: key}).first()
    except (TypeError, ValueError, ValidationError):
        return ""
    return "" if obj is None else catalog.item_id(obj)


def _read(declared: Any, request: HttpRequest) -> Any:
    if isinstance(declared, Constant):
        return declared.value
    if callable(declared):
        return declared(request)
    if not isinstance(declared, str):
        return declared
    source, _, name = declared.partition(".")
    if source == "kwargs":
        return request.resolver_match.kwargs.get(name) if request.resolver_match else None
    if source == "JSON":
        return _inside(getattr(request, "recommender_json", None), name)
    return getattr(request, source).get(name)


def _inside(value: Any, path: str) -> Any:
    """A text or a number inside decoded JSON, by "lines.0.sku"."""
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _sent_json(request: HttpRequest, response: HttpResponseBase) -> Any:
    """The JSON of the request: as REST framework decoded it, else from the body if the view has read all of it."""
    decoded = getattr(response, "renderer_context", None) or {}
    if (api_request := decoded.get("request")) is not None:
        return api_request.data
    try:
        body = request.body
    except (RawPostDataException, RequestDataTooBig, OSError):
        logger.debug("the view of %s read its body as a stream: use a callable in its page()", request.path_info)
        return None
    try:
        return json.loads(body) if len(body) <= conf.get("MAX_BODY_BYTES") else None
    except (ValueError, RecursionError):
        return None


def _origin(request: HttpRequest) -> tuple[uuid.UUID | None, int | None]:
    """The list and the position that a link or a form names, `rid=<ranking id>` and `pos=<n>`; None if malformed."""
    sent = request.POST if request.method == "POST" and "rid" not in request.GET else request.GET
    try:
        ranking_id = uuid.UUID(sent.get("rid", ""))
    except ValueError:
        return None, None
    position = sent.get("pos", "")
    is_place = position.isascii() and position.isdigit() and 0 < int(position[:6]) <= capture.MAX_POSITION
    return ranking_id, int(position) if is_place else None


def _quantity(value: Any) -> float:
    """A quantity; 1 if the page has none that makes sense."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 1.0
    return number if math.isfinite(number) and 0 < number <= capture.MAX_QUANTITY else 1.0
