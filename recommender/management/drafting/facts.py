"""What can be read off any model: the fields of a kind, the links to it and from it, whose user it is."""

from __future__ import annotations

import inspect
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.fields import GenericForeignKey
from django.db import models

from recommender.catalog.guesses import NUMBERS, texts_apart
from recommender.management.drafting import words

FOREIGN = (
    "django.contrib", "recommender", "rest_framework", "allauth", "django_celery_beat", "django_celery_results", "axes",
    "oauth2_provider", "silk", "reversion", "guardian", "easy_thumbnails", "sorl", "waffle", "taggit", "knox", "otp",
)  # fmt: skip
"""Apps that sell nothing."""

TIMES = (models.DateTimeField, models.DateField)
TEXTS = (models.CharField,)
FLAGS = (models.BooleanField, models.CharField, models.IntegerField)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the draft, and why it stands there. `is_hint` comments it out."""

    code: str
    reason: str = ""
    is_hint: bool = False


def shop_models() -> list[type[models.Model]]:
    """Every model that may be the shop's own business."""
    return [
        model
        for model in apps.get_models()
        if not any(model.__module__ == name or model.__module__.startswith(f"{name}.") for name in FOREIGN)
        and not model._meta.proxy
        and not model._meta.swapped
        and not _is_a_record_of_others(model)
    ]


def columns(model: type[models.Model], kinds: Any) -> Iterator[models.Field[Any, Any]]:
    """The columns of a kind that a person gave a value: no key, no link."""
    for field in model._meta.concrete_fields:
        if isinstance(field, kinds) and not field.is_relation and not field.primary_key:
            yield field


def numbers(model: type[models.Model]) -> Iterator[models.Field[Any, Any]]:
    """Columns of numbers."""
    return columns(model, NUMBERS)


def best(fields: Iterator[models.Field[Any, Any]], fit: Callable[[str], int], *, least: int = 20) -> Any:
    """The field whose name fits best, or None."""
    scored = [(fit(field.name), -place, field) for place, field in enumerate(fields)]
    return max((row for row in scored if row[0] >= least), default=(0, 0, None), key=lambda row: row[:2])[2]


def links(model: type[models.Model]) -> Iterator[models.ForeignKey[Any, Any]]:
    """Forward foreign keys, one-to-one among them."""
    for field in model._meta.fields:
        if isinstance(field, models.ForeignKey):
            yield field


def link_to(model: type[models.Model], target: type[models.Model]) -> models.ForeignKey[Any, Any] | None:
    """The foreign key to a model or to an ancestor of it."""
    return next((link for link in links(model) if issubclass(target, link.related_model)), None)


def generic_link(model: type[models.Model]) -> str:
    """The name of a generic foreign key; nothing where there is none."""
    fields: list[Any] = list(model._meta.private_fields)
    return next((field.name for field in fields if isinstance(field, GenericForeignKey)), "")


def rows_about(model: type[models.Model]) -> Iterator[tuple[str, type[models.Model], Any]]:
    """`(accessor, model, foreign key)` of each model whose rows point to this one."""
    for relation in model._meta.related_objects:
        accessor = relation.get_accessor_name()
        if accessor and not relation.many_to_many and isinstance(relation.related_model, type):
            yield accessor, relation.related_model, relation.field


def user_path(model: type[models.Model]) -> str:
    """The path from a model to its user, through a customer's or a profile's model; nothing where there is none."""
    user = get_user_model()
    candidates = [link for link in links(model) if link.related_model is user]
    if candidates:
        likely = best(iter(candidates), lambda name: words.fit(name, ("user", "customer", "owner", "buyer", "account")))
        return (likely or candidates[0]).name
    for link in links(model):
        inner = next((one for one in links(link.related_model) if one.related_model is user), None)
        if inner is not None and words.has(
            link.related_model.__name__, ("customer", "profile", "client", "buyer", "account")
        ):
            return f"{link.name}.{inner.name}"
    return ""


def title_of(model: type[models.Model]) -> str:
    """What names an object of the model: a field, a translated attribute or a property."""
    for name in words.TITLE:
        if hasattr(model, name) and not callable(getattr(model, name, None)):
            return name
    field = best(columns(model, models.CharField), lambda name: words.fit(name, words.TITLE, ("meta", "seo", "short")))
    return "" if field is None else field.name


def languages_of(model: type[models.Model]) -> tuple[str, ...]:
    """The shop's languages, where the model's texts are in more than one: columns `name_de`, `name_en`, or parler."""
    codes = [code for code, _ in settings.LANGUAGES]
    codes.sort(key=lambda code: code != settings.LANGUAGE_CODE)
    if texts_apart(model):
        return tuple(codes)
    names = {field.name for field in model._meta.concrete_fields}
    suffixed = [code for code in codes if any(name.endswith(f"_{code.replace('-', '_')}") for name in names)]
    return tuple(suffixed) if len(suffixed) > 1 else ()


def is_tree(model: type[models.Model]) -> bool:
    """Do the objects lie in a tree: a parent of its own kind, or treebeard's path?"""
    names = {field.name for field in model._meta.fields}
    own = any(link.related_model is model for link in links(model))
    return own or {"path", "depth", "numchild"} <= names


def is_installed_package(app_label: str) -> bool:
    """Does the app come from a package, where nobody writes a file of their own?"""
    path = Path(apps.get_app_config(app_label).path).resolve()
    return any(Path(sysconfig.get_path(name)).resolve() in path.parents for name in ("purelib", "platlib"))


def source_of(thing: Any) -> str:
    """The source of a function or class; nothing where there is none."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return ""


def _is_a_record_of_others(model: type[models.Model]) -> bool:
    """Rows of translations and of histories, which belong to another model."""
    names = {field.name for field in model._meta.fields}
    return {"language_code", "master"} <= names or {"history_id", "history_type"} <= names
