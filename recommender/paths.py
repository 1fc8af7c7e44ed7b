"""Dotted paths through a shop's models: an object and "category.name" in, a value, a join or a spelling fault out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.db import models

from recommender import conf


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


def path_fault(model: type[models.Model], path: str) -> str:
    """What is misspelt in a path, with the closest name; empty where nothing is."""
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
    return "__".join(name for name, _ in _links(model, path, models.ForeignKey))


def many_to_many(model: type[models.Model], path: str) -> str:
    """The many-to-many field that a path begins with, as `prefetch_related` wants it; empty where it does not."""
    return "__".join(name for name, _ in _links(model, path, models.ManyToManyField)[:1])


def models_on(model: type[models.Model], path: str) -> dict[str, type[models.Model]]:
    """The models that a path leads through, by the look-up that finds the objects from one of theirs."""
    links = _links(model, path, models.ForeignKey) or _links(model, path, models.ManyToManyField)[:1]
    names = [name for name, _ in links]
    return {"__".join(names[: place + 1]): related for place, (_, related) in enumerate(links)}


def last_field(model: type[models.Model], path: str) -> models.Field[Any, Any] | None:
    """The column that a path ends in; None where it leaves the columns."""
    current: Any = model
    found = None
    for part in path.replace("__", ".").split("."):
        try:
            found = current._meta.get_field(part)
        except (AttributeError, FieldDoesNotExist):
            return None
        current = getattr(found, "related_model", None)
    return found if isinstance(found, models.Field) else None


def _links(model: type[models.Model], path: str, kind: type[models.Field]) -> list[tuple[str, type[models.Model]]]:
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
