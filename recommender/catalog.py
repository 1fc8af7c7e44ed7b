"""Describe a shop's model as items from outside: `@register("shop.Product") class Products(Catalog)`."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.db import models
from django.utils import timezone
from django.utils.html import strip_tags

from recommender import conf
from recommender.exceptions import ConfigurationError
from recommender.types import Live

logger = logging.getLogger(__name__)

ATTRIBUTES = (
    "id", "title", "text", "category", "brand", "price", "currency", "url", "image", "available", "active",
    "first_seen",
)  # fmt: skip
MAX_TITLE_LENGTH = 500
MAX_TEXT_LENGTH = 5_000
MAX_ID_LENGTH = 128


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is the same for every object; a bare string in a Catalog is a path."""

    value: Any


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """What a Catalog says of one object, ready for an `Item` row."""

    item_id: str
    object_id: str
    title: str
    text: str
    category: str
    brand: str
    price: Decimal | None
    currency: str
    url: str
    image: str
    attributes: dict[str, Any]
    is_available: bool
    is_active: bool
    text_hash: str
    first_seen_at: dt.datetime | None


class Catalog:
    """Each attribute is a dotted path, a `Constant` or a method that takes the object, as in Django's `Sitemap`.

    A path is followed through attributes and foreign keys; what it ends in is called if it is callable; it ends in
    None where a link of it is None. `attributes` maps names to paths. `first_seen` is when the object came into the
    shop; without it, when it was first synced. `updated` names the model's own "last changed"
    field, if it has one: the incremental sync then reads only what changed.
    """

    id: Any = None
    title: Any = "title"
    text: Any = None
    category: Any = None
    brand: Any = None
    price: Any = None
    currency: Any = None
    url: Any = "get_absolute_url"
    image: Any = None
    available: Any = Constant(True)
    active: Any = Constant(True)
    first_seen: Any = None
    attributes: Mapping[str, Any] = {}
    updated: str = ""

    def __init__(self, label: str) -> None:
        self.label = label

    @cached_property
    def model(self) -> type[models.Model]:
        """The shop's model; raises `ConfigurationError` where the label names none."""
        try:
            return apps.get_model(self.label)
        except (LookupError, ValueError) as error:
            known = [model._meta.label for model in apps.get_models()]
            raise ConfigurationError(
                f"@register({self.label!r}) names no model. {conf.closest(self.label, known)}".strip()
            ) from error

    def queryset(self) -> models.QuerySet[Any]:
        """The objects that may become items. Foreign keys in paths are joined, so that no object costs a query."""
        queryset = self.model._default_manager.all()
        joins = self._joins()
        return queryset.select_related(*joins) if joins else queryset

    def objects(self, object_ids: Collection[str]) -> Iterable[Any]:
        """The objects of a list that is being shown; those that left the queryset are missing. One query."""
        return self.queryset().filter(pk__in=list(object_ids))

    def changed_since(self, at: dt.datetime) -> models.QuerySet[Any]:
        """The objects that changed at or after a moment; all where no `updated` field tells."""
        objects = self.queryset()
        return objects.filter(**{f"{self.updated.replace('.', '__')}__gte": at}) if self.updated else objects

    def value(self, name: str, obj: Any) -> Any:
        """One attribute of one object."""
        declared = getattr(self, name)
        return self._resolve(declared, obj)

    def item_id(self, obj: Any) -> str:
        """The opaque id of an object: `product:12` unless `id` says otherwise."""
        if self.id is None:
            return f"{self.model._meta.model_name}:{obj.pk}"
        return str(self.value("id", obj))

    def facts(self, obj: Any) -> ItemFacts:
        """Everything about one object. Raises `ConfigurationError` where the id is empty or too long."""
        item_id = self.item_id(obj)
        if not item_id or len(item_id) > MAX_ID_LENGTH:
            raise ConfigurationError(f"The id {item_id[:40]!r} must have 1 to {MAX_ID_LENGTH} characters.")
        title = _plain(self.value("title", obj), MAX_TITLE_LENGTH)
        text = self._text(obj, title)
        return ItemFacts(
            item_id=item_id,
            object_id=str(obj.pk),
            title=title,
            text=text,
            category=_plain(self.value("category", obj), 255),
            brand=_plain(self.value("brand", obj), 255),
            price=_price(self.value("price", obj)),
            currency=_plain(self.value("currency", obj), 3),
            url=_link(self.value("url", obj)),
            image=_link(self.value("image", obj)),
            attributes={name: _plain(self._resolve(path, obj), 255) for name, path in self.attributes.items()},
            is_available=bool(self.value("available", obj)),
            is_active=bool(self.value("active", obj)),
            text_hash=text_hash(text),
            first_seen_at=moment(self.value("first_seen", obj)),
        )

    def live(self, obj: Any) -> Live | None:
        """What a card shows of an object now; None where the shop hides it."""
        if not self.value("active", obj):
            return None
        return Live(
            title=_plain(self.value("title", obj), MAX_TITLE_LENGTH),
            url=_link(self.value("url", obj)),
            image=_link(self.value("image", obj)),
            price=_price(self.value("price", obj)),
            currency=_plain(self.value("currency", obj), 3),
            available=bool(self.value("available", obj)),
            object=obj,
        )

    def faults(self) -> list[tuple[str, str]]:
        """`(attribute, message)` of every declared name or path that the model does not have."""
        faults = [
            (
                name,
                f"{type(self).__name__}.{name} is not an attribute of a Catalog. {conf.closest(name, _declarable())}",
            )
            for name in vars(type(self))
            if not name.startswith("_") and name not in _declarable() and not callable(getattr(type(self), name))
        ]
        paths = {name: getattr(self, name) for name in ATTRIBUTES} | {
            f"attributes[{name!r}]": path for name, path in self.attributes.items()
        }
        if self.updated:
            paths["updated"] = self.updated
        for name, path in paths.items():
            if isinstance(path, str) and (message := path_fault(self.model, path)):
                faults.append((name, f"{type(self).__name__}.{name} = {path!r}: {message}"))
        return faults

    def _resolve(self, declared: Any, obj: Any) -> Any:
        if isinstance(declared, Constant):
            return declared.value
        if isinstance(declared, str):
            return follow(obj, declared)
        return declared(obj) if callable(declared) else declared

    def _text(self, obj: Any, title: str) -> str:
        if self.text is not None:
            return _plain(self.value("text", obj), MAX_TEXT_LENGTH)
        parts = [title, *(_plain(self.value(name, obj), 255) for name in ("brand", "category"))]
        return " . ".join(part for part in parts if part)

    def _joins(self) -> list[str]:
        joins = set()
        for declared in (*(getattr(self, name) for name in ATTRIBUTES), *self.attributes.values()):
            if isinstance(declared, str) and (join := foreign_keys(self.model, declared)):
                joins.add(join)
        return sorted(joins)


_catalogs: dict[str, Catalog] = {}


def register(label: str) -> Callable[[type[Catalog]], type[Catalog]]:
    """Declare that objects of the model `label` ("app.Model") are items, as this Catalog describes them."""

    def decorate(declared: type[Catalog]) -> type[Catalog]:
        if not (isinstance(declared, type) and issubclass(declared, Catalog)):
            raise ConfigurationError(f"@register({label!r}) decorates a subclass of recommender.catalog.Catalog.")
        _catalogs[label.lower()] = declared(label)
        return declared

    return decorate


def unregister(label: str) -> None:
    """Forget a Catalog; for tests and for hosts that replace one."""
    _catalogs.pop(label.lower(), None)


def text_hash(text: str) -> str:
    """The key under which the vector of a text is kept: 32 hex digits."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def catalogs() -> list[Catalog]:
    """Every registered Catalog, in the order of registration."""
    return list(_catalogs.values())


def catalog_for_label(label: str) -> Catalog | None:
    """The Catalog of a model label such as "shop.Product"."""
    return _catalogs.get(label.lower())


def catalog_of(obj: Any) -> Catalog | None:
    """The Catalog of an object, by its concrete model or an ancestor of it."""
    for ancestor in type(obj).__mro__:
        meta = getattr(ancestor, "_meta", None)
        if meta is not None and (catalog := _catalogs.get(meta.label_lower)):
            return catalog
    return None


def item_id_of(obj: Any) -> str:
    """The item id of a shop's object. Raises `ConfigurationError` for a model without a Catalog."""
    catalog = catalog_of(obj)
    if catalog is None:
        raise ConfigurationError(
            f"{type(obj).__name__} has no Catalog. Register one in a recommendations.py: "
            f'@register("{getattr(getattr(obj, "_meta", None), "label", "app.Model")}") class Items(Catalog): ...'
        )
    return catalog.item_id(obj)


def live_items(refs: Mapping[str, tuple[str, str]]) -> dict[str, Live]:
    """What the shop says now of the items in `refs`, item id -> (label, object id). One query per model.

    Hidden and deleted objects are missing from the answer; one whose attributes cannot be read is left out and logged.
    """
    found: dict[str, Live] = {}
    for catalog in catalogs():
        wanted = {object_id: item_id for item_id, (label, object_id) in refs.items() if label == catalog.label}
        if not wanted:
            continue
        unreadable: list[str] = []
        for obj in catalog.objects(wanted):
            try:
                live = catalog.live(obj)
            except Exception as error:  # the shop's own code: one bad object must not empty the list
                unreadable.append(f"{obj.pk} ({type(error).__name__}: {error})")
                continue
            if live is not None:
                found[wanted[str(obj.pk)]] = live
        if unreadable:
            logger.error(
                "%s: %d objects cannot be read and are left out of lists, the first is %s",
                catalog.label,
                len(unreadable),
                unreadable[0],
            )
    return found


def follow(obj: Any, path: str) -> Any:
    """What a dotted path ends in; callables are called, None in the middle ends it."""
    value = obj
    for part in path.replace("__", ".").split("."):
        if value is None:
            return None
        try:
            value = value[part] if isinstance(value, Mapping) else getattr(value, part)
        except (ObjectDoesNotExist, KeyError):
            return None
        if callable(value) and not isinstance(value, models.Manager):
            value = value()
    return value


def _declarable() -> set[str]:
    return {name for name in vars(Catalog) if not name.startswith("_")} | {"label"}


def path_fault(model: type[models.Model], path: str) -> str:
    current: type[models.Model] | None = model
    for part in path.replace("__", ".").split("."):
        if current is None:
            return ""
        names = [field.name for field in current._meta.get_fields()]
        try:
            field = current._meta.get_field(part)
        except FieldDoesNotExist:
            if hasattr(current, part):
                return ""
            public = [name for name in (*names, *dir(current)) if not name.startswith("_")]
            return f"{current._meta.label} has no {part!r}. {conf.closest(part, public)}".strip()
        related = getattr(field, "related_model", None)
        current = related if isinstance(related, type) and issubclass(related, models.Model) else None
    return ""


def foreign_keys(model: type[models.Model], path: str) -> str:
    """The part of a path that leads through forward foreign keys, as `select_related` wants it."""
    joins: list[str] = []
    current: type[models.Model] = model
    for part in path.replace("__", ".").split("."):
        try:
            field = current._meta.get_field(part)
        except FieldDoesNotExist:
            break
        if not isinstance(field, models.ForeignKey) or field.name != part:  # `user_id` is the column, not a join
            break
        joins.append(part)
        current = field.related_model
    return "__".join(joins)


def _plain(value: Any, limit: int) -> str:
    """Text without tags, control characters and runs of white space."""
    if value is None:
        return ""
    text = str(value)[: limit * 4]
    text = strip_tags(text) if "<" in text else text
    text = text.replace("\x00", " ").encode("utf-8", "replace").decode()
    return " ".join(text.split())[:limit].strip()


def _price(value: Any) -> Decimal | None:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    try:
        price = Decimal(str(value)).quantize(Decimal("0.01"))
    except InvalidOperation:
        return None
    return price if price.is_finite() and 0 <= price < Decimal(10) ** 12 else None


def moment(value: Any) -> dt.datetime | None:
    """A date or a naive time in the shop's time zone becomes aware."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time.min)
    if not isinstance(value, dt.datetime):
        return None
    return timezone.make_aware(value) if timezone.is_naive(value) else value


def _link(value: Any) -> str:
    """A URL that fits its column; an image field without a file and an over-long URL are none."""
    if not value:
        return ""
    link = str(getattr(value, "url", value))
    return link if len(link) <= 500 else ""
