"""Dotted paths such as "category.name" through a shop's models: their values, their joins and their misspellings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.db import models

from recommender import conf
from recommender.catalog.values import speak
from recommender.exceptions import ConfigurationError

TO_ONE = (models.ForeignKey, models.OneToOneRel)
"""Links that a join follows: a foreign key, and a one-to-one from its other side."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is the same for every object; a bare string is a path."""

    value: Any


class ModelDescription:
    """What a Catalog and a class of order rows share: the label of the shop's model that they describe."""

    _decorator = ""
    """The name of the decorator that registers the class, for messages."""

    def __init__(self, label: str) -> None:
        self.label = label

    @cached_property
    def model(self) -> type[models.Model]:
        """The shop's model. Raises `ConfigurationError` where the label names none."""
        return model_of(self.label, self._decorator)


def model_of(label: str, decorator: str) -> type[models.Model]:
    """The model that a declaration is about. Raises `ConfigurationError` where the label names none."""
    try:
        return apps.get_model(label)
    except (LookupError, ValueError) as error:
        labels = [model._meta.label for model in apps.get_models()]
        message = f"@{decorator}({label!r}) names no model. {conf.closest(label, labels)}".strip()
        raise ConfigurationError(message) from error


def concrete_label(model: type[models.Model]) -> str:
    """The label of the model that has the rows, in lower case: of a proxy that of the model it stands for."""
    concrete: Any = model._meta.concrete_model
    label: str = concrete._meta.label_lower
    return label


def resolve(declared: Any, obj: Any) -> Any:
    """The value of a declaration for an object: of a path, a `Constant`, a method, or several of these."""
    if isinstance(declared, Constant):
        return declared.value
    if isinstance(declared, str):
        return follow(obj, declared)
    if isinstance(declared, tuple | list):
        return [resolve(part, obj) for part in declared]
    return declared(obj) if callable(declared) else declared


def paths_in(declared: Any) -> list[str]:
    parts = declared if isinstance(declared, tuple | list) else (declared,)
    return [part for part in parts if isinstance(part, str)]


def follow(obj: Any, path: str) -> Any:
    """What a dotted path ends in; callables are called, None in the middle ends it."""
    value = obj
    for part in path.replace("__", ".").split("."):
        if value is None:
            return None
        if value is not obj:
            speak(value)
        try:
            value = value[part] if isinstance(value, Mapping) else getattr(value, part)
        except (ObjectDoesNotExist, KeyError):
            return None
        if callable(value) and not isinstance(value, models.Manager):
            value = value()
    return value


def path_fault(model: type[models.Model], path: str) -> str:
    """What is misspelt in a path, with the closest name; empty if the path is right."""
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
    """The part of a path that leads through links to one object, as `select_related` wants it."""
    return "__".join(name for name, _ in _links(model, path, TO_ONE))


def many_to_many(model: type[models.Model], path: str) -> str:
    """The many-to-many field that a path begins with, as `prefetch_related` wants it; empty where it does not."""
    return "__".join(name for name, _ in _links(model, path, models.ManyToManyField)[:1])


def models_on(model: type[models.Model], path: str) -> dict[str, type[models.Model]]:
    """The models that a path leads through, by the look-up that finds the objects from one of theirs."""
    links = _links(model, path, TO_ONE) or _links(model, path, models.ManyToManyField)[:1]
    names = [name for name, _ in links]
    return {"__".join(names[: index + 1]): related for index, (_, related) in enumerate(links)}


def last_field(model: type[models.Model], path: str) -> models.Field[Any, Any] | None:
    """The column that a path ends in; None where it leaves the columns."""
    current: Any = model
    field = None
    for part in path.replace("__", ".").split("."):
        try:
            field = current._meta.get_field(part)
        except (AttributeError, FieldDoesNotExist):
            return None
        current = getattr(field, "related_model", None)
    return field if isinstance(field, models.Field) else None


def column(model: type[models.Model], path: str) -> str | None:
    """A path as `values_list` takes it; None where it leaves the columns."""
    current: Any = model
    for part in path.replace("__", ".").split("."):
        try:
            field = current._meta.get_field(part) if current is not None else None
        except FieldDoesNotExist:
            return None
        if not isinstance(field, models.Field) or field.many_to_many:
            return None
        current = field.related_model if isinstance(field, models.ForeignKey) and part == field.name else None
    return path.replace(".", "__")


def own_columns(model: type[models.Model], declared: Iterable[str], *, but: str = "") -> list[str]:
    """The columns of a model and those that paths reach through foreign keys, as `values_list` takes them; for an
    object at the end of a path, its `name` and `title`."""
    fields = [field for field in model._meta.concrete_fields if not isinstance(field, models.BinaryField)]
    beyond = [end for path in declared if foreign_keys(model, path) for end in (path, f"{path}.name", f"{path}.title")]
    columns = [lookup for end in beyond if (lookup := column(model, end)) and "__" in lookup]
    return list(dict.fromkeys([*(field.attname for field in fields if field.name != but), *columns]))


def belongings(model: type[models.Model], lookup: str) -> Iterator[tuple[Any, str]]:
    """The models with a foreign key to a model, such as the payments of an order, with the look-up to them."""
    for relation in model._meta.related_objects:
        if not relation.many_to_many and not relation.hidden:
            yield relation.related_model._meta.concrete_model, f"{lookup}__{relation.name}" if lookup else relation.name


def child_lookup(model: type[models.Model], child: type[models.Model]) -> str:
    """The look-up from a model to the table of a child by multi-table inheritance; empty if it is no such child."""
    names: list[str] = []
    current: Any = child._meta.concrete_model
    top: Any = model._meta.concrete_model
    while current is not top:
        parents = [(parent, link) for parent, link in current._meta.parents.items() if link and issubclass(parent, top)]
        if not parents:
            return ""
        names.append(parents[0][1].related_query_name())
        current = parents[0][0]._meta.concrete_model
    return "__".join(reversed(names))


def heirs(model: type[models.Model], catalogs: Iterable[Any]) -> list[tuple[Any, str]]:
    """The Catalogs of children and proxies of a model, the deepest first, each with the look-up to the child's table,
    which is empty for a proxy."""
    pairs = [(one, child_lookup(model, one.model)) for one in catalogs if _inherits(one, model)]
    return sorted(pairs, key=lambda pair: -pair[1].count("__") - bool(pair[1]))


def _inherits(catalog: Any, model: type[models.Model]) -> bool:
    try:
        return catalog.model is not model and issubclass(catalog.model, model)
    except ConfigurationError:  # a label that names no model: a system check tells
        return False


def without_heirs(objects: models.QuerySet[Any], pairs: Sequence[tuple[Any, str]]) -> models.QuerySet[Any]:
    """The objects that belong to no Catalog of a child or a proxy."""
    for catalog, lookup in pairs:
        if lookup:
            objects = objects.filter(**{f"{lookup}__isnull": True}).select_related(lookup)
        else:
            objects = objects.exclude(pk__in=catalog.queryset().order_by().values("pk"))
    return objects


def heir_of(obj: Any, pairs: Sequence[tuple[Any, str]]) -> tuple[Any, Any] | None:
    """The Catalog of the child or proxy that an object belongs to, and the object as an instance of it. A query for
    each proxy, and for each child that is not joined."""
    for catalog, lookup in pairs:
        if isinstance(obj, catalog.model):
            return catalog, obj
        if lookup and (own := follow(obj, lookup)) is not None:
            return catalog, own
        if not lookup and catalog.queryset().filter(pk=obj.pk).exists():
            return catalog, obj
    return None


def path_faults(model: type[models.Model], name_of: str, declared: Mapping[str, Any]) -> list[tuple[str, str]]:
    """`(attribute, message)` of every declared path that the model does not have."""
    paths = [(name, path) for name, value in declared.items() for path in paths_in(value)]
    faults = [(name, path, path_fault(model, path)) for name, path in paths]
    return [(name, f"{name_of}.{name} = {path!r}: {message}") for name, path, message in faults if message]


def object_key(pk: Any) -> str:
    """A primary key as text; of several columns their values, percent-encoded, with commas between."""
    return ",".join(quote(str(part), safe="") for part in pk) if isinstance(pk, tuple) else str(pk)


def pk_of(model: type[models.Model], key: str) -> Any:
    """The primary key that `object_key` wrote. Raises `ValueError` for text that it cannot have written."""
    if not isinstance(model._meta.pk, models.CompositePrimaryKey):
        return key
    parts = [unquote(part) for part in key.split(",")]
    return tuple(field.to_python(part) for field, part in zip(model._meta.pk_fields, parts, strict=True))


def _links(model: type[models.Model], path: str, kind: Any) -> list[tuple[str, type[models.Model]]]:
    links: list[tuple[str, type[models.Model]]] = []
    current: Any = model
    for part in path.replace("__", ".").split("."):
        try:
            field = current._meta.get_field(part)
        except FieldDoesNotExist:
            break
        if not isinstance(field, kind) or field.name != part:  # `user_id` is the column, not a join
            break
        current = field.related_model
        links.append((part, current))
    return links
