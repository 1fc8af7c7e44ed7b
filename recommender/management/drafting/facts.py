"""Facts about any model: its columns of a kind, its relations, its title, its user and its languages."""

from __future__ import annotations

import inspect
import sysconfig
from collections.abc import Callable, Iterator
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
"""Apps that are not part of a shop."""

TIMES = (models.DateTimeField, models.DateField)
TEXTS = (models.CharField,)
PROFILES = ("customer", "profile", "client", "buyer", "account")
FLAGS = (models.BooleanField, models.CharField, models.IntegerField)


def shop_models() -> list[type[models.Model]]:
    """Every model that may belong to the shop itself."""
    return [
        model
        for model in apps.get_models()
        if not any(model.__module__ == name or model.__module__.startswith(f"{name}.") for name in FOREIGN)
        and not model._meta.proxy
        and not model._meta.swapped
        and not _is_about_another_model(model)
    ]


def columns(model: type[models.Model], kinds: Any) -> Iterator[models.Field[Any, Any]]:
    """The columns of a kind, without primary and foreign keys."""
    for field in model._meta.concrete_fields:
        if isinstance(field, kinds) and not field.is_relation and not field.primary_key:
            yield field


def numbers(model: type[models.Model]) -> Iterator[models.Field[Any, Any]]:
    """The numeric columns."""
    return columns(model, NUMBERS)


def price_column(model: type[models.Model]) -> Any:
    """The numeric column whose name is most like a price, or None."""
    return best(numbers(model), lambda name: words.fit(name, words.PRICE, words.NOT_THE_PRICE))


def best(fields: Iterator[models.Field[Any, Any]], fit: Callable[[str], int], *, least: int = 20) -> Any:
    """The field whose name fits best, or None."""
    scored = [(fit(field.name), field) for field in fields]
    return max((row for row in scored if row[0] >= least), default=(0, None), key=lambda row: row[0])[1]


def links(model: type[models.Model]) -> Iterator[models.ForeignKey[Any, Any]]:
    """The foreign keys, including one-to-one."""
    for field in model._meta.fields:
        if isinstance(field, models.ForeignKey):
            yield field


def link_to(model: type[models.Model], target: type[models.Model]) -> models.ForeignKey[Any, Any] | None:
    """The foreign key to a model or to one of its ancestors."""
    return next((link for link in links(model) if issubclass(target, link.related_model)), None)


def generic_link(model: type[models.Model]) -> str:
    """The name of a generic foreign key; empty if there is none."""
    fields: list[Any] = list(model._meta.private_fields)
    return next((field.name for field in fields if isinstance(field, GenericForeignKey)), "")


def rows_about(model: type[models.Model]) -> Iterator[tuple[str, type[models.Model], Any]]:
    """`(accessor, model, foreign key)` of each model with a foreign key to this one."""
    for relation in model._meta.related_objects:
        accessor = relation.get_accessor_name()
        if accessor and not relation.many_to_many and isinstance(relation.related_model, type):
            yield accessor, relation.related_model, relation.field


def user_path(model: type[models.Model]) -> str:
    """The path from a model to its user, perhaps through a customer or profile; empty if there is none."""
    user = get_user_model()
    candidates = [link for link in links(model) if link.related_model is user]
    if candidates:
        likely = best(iter(candidates), lambda name: words.fit(name, ("user", "customer", "owner", "buyer", "account")))
        return (likely or candidates[0]).name
    for link in links(model):
        inner = next((key for key in links(link.related_model) if key.related_model is user), None)
        if inner is not None and words.has(link.related_model.__name__, PROFILES):
            return f"{link.name}.{inner.name}"
    return ""


def title_of(model: type[models.Model]) -> str:
    """The attribute that names an object: a field, a translated attribute or a property; empty if there is none."""
    for name in words.TITLE:
        if hasattr(model, name) and not callable(getattr(model, name, None)):
            return name
    field = best(columns(model, models.CharField), lambda name: words.fit(name, words.TITLE, ("meta", "seo", "short")))
    return "" if field is None else field.name


def languages_of(model: type[models.Model]) -> tuple[str, ...]:
    """The shop's languages if the model has texts in several of them: as columns `name_de`, `name_en`, or by parler."""
    codes = [code for code, _name in settings.LANGUAGES]
    codes.sort(key=lambda code: code != settings.LANGUAGE_CODE)
    if texts_apart(model):
        return tuple(codes)
    names = {field.name for field in model._meta.concrete_fields}
    suffixed = [code for code in codes if any(name.endswith(f"_{code.replace('-', '_')}") for name in names)]
    return tuple(suffixed) if len(suffixed) > 1 else ()


def is_tree(model: type[models.Model]) -> bool:
    """Do the objects form a tree, by a parent of the same model or by treebeard's path?"""
    names = {field.name for field in model._meta.fields}
    own = any(link.related_model is model for link in links(model))
    return own or {"path", "depth", "numchild"} <= names


def is_installed_package(app_label: str) -> bool:
    """Does the app come from an installed package, where the shop cannot add a file?"""
    path = Path(apps.get_app_config(app_label).path).resolve()
    return any(Path(sysconfig.get_path(name)).resolve() in path.parents for name in ("purelib", "platlib"))


def source_of(function: Any) -> str:
    """The source of a function; empty if it is not available."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return ""


def _is_about_another_model(model: type[models.Model]) -> bool:
    """Does it hold the translations or the history of another model?"""
    names = {field.name for field in model._meta.fields}
    return {"language_code", "master"} <= names or {"history_id", "history_type"} <= names
