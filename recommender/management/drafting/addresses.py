"""Resolves the `get_absolute_url` of a model's object to find the URL of its page and the field in it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.db import DatabaseError, models
from django.urls import Resolver404, resolve

from recommender.catalog.guesses import texts_apart
from recommender.management.drafting.lookups import Lookup, Path

logger = logging.getLogger(__name__)

NUMBER = 918_273
KEYS_FIRST = ("pk", "id", "uuid", "slug", "sku", "code")


def page_of(model: type[models.Model]) -> tuple[str, Lookup] | None:
    """The name of the URL that shows an object of the model, and how its page looks the object up."""
    if not hasattr(model, "get_absolute_url"):
        return None
    for obj in _examples(model):
        match = _match(obj)
        if match is not None and (lookup := _lookup(model, obj, match.kwargs)) is not None:
            return match.view_name, lookup
    return None


def _examples(model: type[models.Model]) -> Iterator[Any]:
    """An unsaved object in which each field has a different value; then one of the shop's own objects."""
    try:
        yield _with_distinct_values(model)
    except Exception:  # a model of the shop may need arguments
        logger.debug("%s cannot be created without arguments", model._meta.label, exc_info=True)
    try:
        if stored := model._default_manager.order_by("pk").first():
            yield stored
    except DatabaseError:
        logger.debug("the table of %s cannot be read", model._meta.label, exc_info=True)


def _with_distinct_values(model: type[models.Model]) -> Any:
    obj = model()
    for number, field in enumerate(model._meta.concrete_fields):
        if isinstance(field, models.UUIDField):
            setattr(obj, field.attname, uuid.uuid5(uuid.NAMESPACE_URL, field.name))
        elif isinstance(field, models.CharField):
            setattr(obj, field.attname, f"text-{number}"[: field.max_length or None])
        elif isinstance(field, models.IntegerField | models.AutoField):
            setattr(obj, field.attname, NUMBER + number)
    for part in getattr(model, "_parler_meta", ()):
        for name in part.get_translated_fields():
            setattr(obj, name, f"text-{name}")
    return obj


def _match(obj: Any) -> Any:
    try:
        return resolve(urlsplit(str(obj.get_absolute_url())).path)
    except Resolver404:
        return None
    except Exception:  # the shop's own code, called with an unsaved object
        logger.debug("%s has no address", obj._meta.label, exc_info=True)
        return None


def _lookup(model: type[models.Model], obj: Any, kwargs: dict[str, Any]) -> Lookup | None:
    """The part of the URL that is the value of a field: the key, else the slug, else any other field."""
    fields = {field.name: getattr(obj, field.attname) for field in model._meta.concrete_fields if not field.is_relation}
    for part in getattr(model, "_parler_meta", ()):
        (rows,) = texts_apart(model)[:1]
        fields |= {f"{rows}__{name}": getattr(obj, name, None) for name in part.get_translated_fields()}
    fields = {"pk": obj.pk, **fields}
    lookups = [
        Lookup(model, name, Path("kwargs", (part,)))
        for part, value in kwargs.items()
        for name, own in fields.items()
        if own not in (None, "") and str(own) == str(value)
    ]
    return min(lookups, key=lambda lookup: _rank(lookup.field), default=None)


def _rank(field: str) -> int:
    return KEYS_FIRST.index(field) if field in KEYS_FIRST else len(KEYS_FIRST)
