"""`Catalog`: describes from outside how the objects of a shop's model are items."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import models

from recommender import conf
from recommender.catalog import guesses, paths, values
from recommender.catalog.paths import Constant, ModelDescription
from recommender.catalog.registry import catalog_of, catalogs
from recommender.catalog.values import ItemFacts
from recommender.exceptions import ConfigurationError
from recommender.types import Live

ATTRIBUTES = (
    "id", "title", "text", "category", "brand", "price", "currency", "url", "image", "available", "active",
    "first_seen", "margin",
)  # fmt: skip
MAX_TITLE_LENGTH = 500
MAX_TEXT_LENGTH = 5_000
MAX_ID_LENGTH = 128
MAX_SIGN_LENGTH = 3


class Catalog(ModelDescription):
    """Each attribute is a dotted path, a `Constant` or a method that takes the object, as in Django's `Sitemap`. The
    parts of a tuple are joined.

    A path follows attributes and foreign keys; its last part is called if it is callable; its value is None if a link
    on the way is None. An attribute that is left out is guessed from the model's field names; `None` says that there
    is none. A method `prepare_<attribute>(obj)` replaces the value of an attribute.

    `margin` is what the shop earns with one, and its secret. `attributes` maps names to paths. `first_seen` is when the
    object came into the shop; without it, when it was first synced. `updated` names the model's own "last changed"
    field, if it has one: the incremental sync then reads only what changed. `group` leads to what variants have in
    common, `related` maps labels of other models to the look-up from this one to them, `languages` are those that the
    text is read in, `sites` leads to `django.contrib.sites`.
    """

    id: Any = None
    title: Any = None
    text: Any = None
    category: Any = None
    brand: Any = None
    price: Any = None
    currency: Any = None
    url: Any = None
    image: Any = None
    available: Any = Constant(True)
    active: Any = None
    first_seen: Any = None
    margin: Any = None
    attributes: Mapping[str, Any] = {}
    updated: str = ""
    group: Any = None
    related: Mapping[str, str] = {}
    languages: Sequence[str] = ()
    sites: str = ""
    _decorator = "register"

    def queryset(self) -> models.QuerySet[Any]:
        """The objects that may become items, one for each group of variants, with the tables that paths need joined."""
        queryset = self.model._default_manager.all()
        if self._groups_by_column:
            queryset = guesses.first_of_groups(queryset, _lookup(self.group))
        queryset = queryset.prefetch_related(*guesses.texts_apart(self.model))
        joins = set(self._reads(paths.foreign_keys))
        if isinstance(self.group, str) and not self._groups_by_column:
            joins.add(_lookup(self.group))
        return queryset.select_related(*sorted(joins)) if joins else queryset

    def should_index(self, obj: Any) -> bool:
        """May the object be an item at all? Override it where `queryset()` cannot tell."""
        return True

    def is_item(self, obj: Any) -> bool:
        """Is the object an item of its own, and not a variant of another?"""
        head = self._head(obj)
        is_head = not isinstance(head, models.Model) or head.pk == obj.pk
        return is_head and self.should_index(obj) and self.owning_catalog(obj)[0] is self

    def declared(self, name: str) -> Any:
        """An attribute as it is declared, or guessed from the model where it is left out."""
        declared = getattr(self, name)
        mro = type(self).__mro__
        if declared is None and name != "active" and any(name in vars(own) for own in mro[: mro.index(Catalog)]):
            return Constant(None)
        if declared is None:
            return self._guessed.get(name, Constant(True) if name == "active" else None)
        return declared

    def objects(self, object_ids: Collection[str]) -> Iterable[Any]:
        """The objects of a list to be shown, without those that left the queryset or belong to another site than
        `SITE_ID`. One query."""
        site_id = getattr(settings, "SITE_ID", None)
        site = {_lookup(self.sites): site_id} if self.sites and site_id else {}
        pks = [paths.pk_of(self.model, object_id) for object_id in object_ids]
        return self.own_objects(self.queryset().filter(pk__in=pks, **site))

    def changed_since(self, at: dt.datetime) -> models.QuerySet[Any]:
        """The objects that changed at or after a moment; all objects without an `updated` field."""
        objects = self.queryset()
        return objects.filter(**{f"{self.updated.replace('.', '__')}__gte": at}) if self.updated else objects

    def value(self, name: str, obj: Any) -> Any:
        """One attribute of one object."""
        prepare = getattr(self, f"prepare_{name}", None)
        return paths.resolve(self.declared(name), obj) if prepare is None else prepare(obj)

    def item_id(self, obj: Any) -> str:
        """The opaque id of an object: `product:12` unless `id` says otherwise; a variant has the id of its group."""
        head = self._head(obj)
        if isinstance(head, models.Model) and head.pk != obj.pk:
            return (catalog_of(head) or self).item_id(head)
        catalog, own = self.owning_catalog(obj)
        if catalog is not self:
            return catalog.item_id(own)
        if self.id is not None:
            return str(self.value("id", obj))
        is_group = head not in (None, "") and not isinstance(head, models.Model)
        return f"{self.model._meta.model_name}:{head if is_group else paths.object_key(obj.pk)}"

    def items_about(self, obj: Any) -> models.QuerySet[Any]:
        """The objects to read again after this one was saved: itself, or the one that represents its group."""
        head = self._head(obj)
        if isinstance(head, models.Model):
            return (catalog_of(head) or self).queryset().filter(pk=head.pk)
        if self._groups_by_column and head not in (None, ""):
            return self.queryset().filter(**{_lookup(self.group): head})
        return self.queryset().filter(pk=obj.pk)

    def own_objects(self, objects: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """The objects that are not items of the Catalog of a child or proxy of this model."""
        return paths.without_heirs(objects, self.inheriting_catalogs())

    def owning_catalog(self, obj: Any) -> tuple[Catalog, Any]:
        """The Catalog whose item an object is, and the object as an instance of its model."""
        heir = paths.heir_of(obj, self.inheriting_catalogs())
        return (self, obj) if heir is None else heir[0].owning_catalog(heir[1])

    def inheriting_catalogs(self) -> list[tuple[Catalog, str]]:
        """The Catalogs of children and proxies of the model, with the look-up to the rows that a child adds."""
        return paths.heirs(self.model, catalogs())

    @cached_property
    def columns(self) -> list[str]:
        """The columns of an object and those that its paths lead to, without the `updated` one."""
        return paths.own_columns(self.model, self._paths(), but=self.updated)

    @cached_property
    def prefetched(self) -> list[str]:
        """The relations that a sync prefetches, parler's translated texts among them. A card on a page needs none of
        them."""
        links = [link for path in self._paths() for link in paths.models_on(self.model, path).items()]
        texts = {f"{lookup}__{name}" for lookup, model in links for name in guesses.texts_apart(model)}
        return sorted({*self._reads(paths.many_to_many), *texts})

    @cached_property
    def watched(self) -> dict[str, list[str]]:
        """Look-ups to the models whose changes are changes of items, by label in lower case."""
        lookups_by_label: dict[str, list[str]] = {}
        links = [link for path in self._paths() for link in paths.models_on(self.model, path).items()]
        for lookup, model in links:
            lookups_by_label.setdefault(paths.concrete_label(model), []).append(lookup)
        for model, lookup in [(self.model, ""), *((model, f"{lookup}__") for lookup, model in links)]:
            for texts in getattr(model, "_parler_meta", ()):
                lookups_by_label.setdefault(texts.model._meta.label_lower, []).append(f"{lookup}{texts.rel_name}")
        for label, lookup in self.related.items():
            lookups_by_label.setdefault(label.lower(), []).append(_lookup(lookup))
        return {label: list(dict.fromkeys(lookups)) for label, lookups in lookups_by_label.items()}

    def facts(self, obj: Any) -> ItemFacts:
        """Everything about one object. Raises `ConfigurationError` where the id is empty or too long."""
        with values.in_language(obj, self.languages[0] if self.languages else ""):
            return self._facts(obj)

    def _facts(self, obj: Any) -> ItemFacts:
        item_id = self.item_id(obj)
        object_id = paths.object_key(obj.pk)
        for key in (item_id, object_id):
            if not key or len(key) > MAX_ID_LENGTH or "\x00" in key:
                raise ConfigurationError(
                    f"The id {key[:40]!r} must have 1 to {MAX_ID_LENGTH} characters, none of them NUL."
                )
        title = self._title(obj) or values.first_said(obj, self.languages[1:], self._title)
        text = self._text(obj, title)
        price, currency = self._price(obj)
        return ItemFacts(
            item_id=item_id,
            object_id=object_id,
            title=title,
            text=text,
            category=values.plain(values.name(self.value("category", obj)), 255),
            brand=values.plain(values.name(self.value("brand", obj)), 255),
            price=price,
            currency=currency,
            url=values.link(self.value("url", obj)),
            image=values.link(self.value("image", obj)),
            attributes={name: values.plain(paths.resolve(path, obj), 255) for name, path in self.attributes.items()},
            is_available=bool(self.value("available", obj)),
            is_active=bool(self.value("active", obj)),
            text_hash=values.text_hash(text),
            first_seen_at=values.moment(self.value("first_seen", obj)),
            margin=values.margin(self.value("margin", obj), currency),
        )

    def live(self, obj: Any) -> Live | None:
        """What a card shows of an object now; None if the shop hides it."""
        if not self.value("active", obj) or not self.should_index(obj):
            return None
        price, currency = self._price(obj)
        return Live(
            title=self._title(obj) or values.first_said(obj, self.languages, self._title),
            url=values.link(self.value("url", obj)),
            image=values.link(self.value("image", obj)),
            price=price,
            currency=currency,
            available=bool(self.value("available", obj)),
            object=obj,
        )

    def faults(self) -> list[tuple[str, str]]:
        """`(attribute, message)` of every declared name or path that the model does not have."""
        name_of = type(self).__name__
        faults = [
            (name, f"{name_of}.{name} is not an attribute of a Catalog. {conf.closest(name, _declarable())}")
            for name, value in vars(type(self)).items()
            if not name.startswith("_") and name not in _declarable() and _is_misspelt(name, value)
        ]
        declared = {name: self.declared(name) for name in ATTRIBUTES}
        declared |= {name: path for name in ("updated", "group", "sites") if (path := getattr(self, name))}
        declared |= {f"attributes[{name!r}]": path for name, path in self.attributes.items()}
        declared |= {f"related[{label!r}]": path for label, path in self.related.items()}
        faults += paths.path_faults(self.model, name_of, declared)
        labels = [model._meta.label for model in apps.get_models()]
        for label in self.related:
            if label.lower() not in {one.lower() for one in labels}:
                faults.append(("related", f"{name_of}.related names no model {label!r}. {conf.closest(label, labels)}"))
        return faults

    def _price(self, obj: Any) -> tuple[Decimal | None, str]:
        """The price with the decimals of its currency: the declared one, else the one that the price says itself."""
        declared, price = self.value("currency", obj), self.value("price", obj)
        sign = str(declared or "").strip()
        code = values.currency(declared) or (sign if len(sign) <= MAX_SIGN_LENGTH else "") or values.money(price)[1]
        return values.price(price, code), code

    def _title(self, obj: Any) -> str:
        return values.plain(self.value("title", obj), MAX_TITLE_LENGTH)

    def _text(self, obj: Any, title: str) -> str:
        """The text of an object in each of its languages, one after the other."""
        texts = [self._text_as_it_is(obj, title)]
        for language in self.languages[1:]:
            with values.in_language(obj, language):
                texts.append(self._text_as_it_is(obj, self._title(obj)))
        return " . ".join(text for text in dict.fromkeys(texts) if text)[:MAX_TEXT_LENGTH].strip()

    def _text_as_it_is(self, obj: Any, title: str) -> str:
        if self.text is not None or hasattr(self, "prepare_text"):
            return values.plain(self.value("text", obj), MAX_TEXT_LENGTH, between=" . ")
        parts = [title, *(values.plain(values.name(self.value(name, obj)), 255) for name in ("brand", "category"))]
        return " . ".join(part for part in parts if part)

    @cached_property
    def _guessed(self) -> dict[str, Any]:
        return guesses.guessed(self.model)

    def _head(self, obj: Any) -> Any:
        """What the variants of one item share: the object of the item, or the value of a column."""
        return None if self.group is None else paths.resolve(self.group, obj)

    @cached_property
    def _groups_by_column(self) -> bool:
        """Has the group no object of its own, so that the first shown variant represents it?"""
        if not isinstance(self.group, str):
            return False
        return paths.foreign_keys(self.model, self.group) != _lookup(self.group)

    def _paths(self) -> list[str]:
        declared = (*(self.declared(name) for name in ATTRIBUTES), *self.attributes.values())
        return [path for one in declared for path in paths.paths_in(one)]

    def _reads(self, part_of: Callable[[type[models.Model], str], str]) -> list[str]:
        return sorted({part for path in self._paths() if (part := part_of(self.model, path))})


def _declarable() -> set[str]:
    """The attributes that a subclass may define, besides methods of its own."""
    return {name for name in dir(Catalog) if not name.startswith("_")} | {"label"}


def _is_misspelt(name: str, value: Any) -> bool:
    """A shop's own method may have any name except `prepare_` and something that is no attribute."""
    is_method = callable(value) or isinstance(value, staticmethod | classmethod | property)
    return name.removeprefix("prepare_") not in ATTRIBUTES if name.startswith("prepare_") else not is_method


def _lookup(path: str) -> str:
    return path.replace(".", "__")
