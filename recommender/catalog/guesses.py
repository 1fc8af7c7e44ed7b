"""Guesses what a Catalog leaves out (title, price, image, flags) from the field names that shops commonly use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.utils import translation

TITLES = ("title", "name")
IMAGES = ("image", "photo", "picture", "thumbnail")
SLUGS = ("slug", "sku")
CURRENCIES = ("currency", "price_currency")
"""The second is where django-money keeps the currency of a field "price"."""

SHOWN = (
    "is_active",
    "active",
    "is_visible",
    "visible",
    "is_public",
    "is_published",
    "published",
    "is_enabled",
    "enabled",
    "is_live",
    "live",
)
HIDDEN = (
    "is_deleted",
    "deleted",
    "is_removed",
    "removed",
    "is_hidden",
    "hidden",
    "is_archived",
    "archived",
    "is_draft",
    "draft",
)
DELETED_AT = ("deleted_at", "removed_at", "archived_at", "deleted")

STATES = ("status", "state", "publish_status", "publication_status")
NOT_SHOWN = frozenset(
    {
        "archived", "cancelled", "canceled", "deleted", "disabled", "discontinued", "draft", "expired", "hidden",
        "in_review", "inactive", "invisible", "not_published", "off", "offline", "paused", "pending", "private",
        "rejected", "removed", "retired", "review", "scheduled", "suspended", "trash", "trashed", "unlisted",
        "unpublished",
    }
)  # fmt: skip
"""States of an object that is not shown; in any other state it is shown."""

NUMBERS = (models.DecimalField, models.FloatField, models.IntegerField)


def guessed(model: type[models.Model]) -> dict[str, Any]:
    """A path or a callable for each attribute that a Catalog may leave out and this model has."""
    attributes: dict[str, Any] = {"title": next((name for name in TITLES if hasattr(model, name)), str)}
    if hasattr(model, "get_absolute_url"):
        attributes["url"] = "get_absolute_url"
    if _is_field(model, "price", NUMBERS):
        attributes["price"] = "price"
    if currency := next((name for name in CURRENCIES if _is_field(model, name, models.CharField)), None):
        attributes["currency"] = currency
    if image := next((name for name in IMAGES if _is_field(model, name, (models.FileField, models.URLField))), None):
        attributes["image"] = image
    if (wanted := flags(model)) | (states := hidden_states(model)):
        attributes["active"] = _all_of(wanted, states)
    return attributes


def flags(model: type[models.Model]) -> dict[str, Any]:
    """The columns that say whether an object is shown, as a filter such as `{"is_active": True}`."""
    shown = {name: True for name in SHOWN if _is_field(model, name, models.BooleanField)}
    hidden = {name: False for name in HIDDEN if _is_field(model, name, models.BooleanField)}
    times = (models.DateTimeField, models.DateField)
    deleted = {f"{name}__isnull": True for name in DELETED_AT if _is_field(model, name, times)}
    return shown | hidden | deleted


def hidden_states(model: type[models.Model]) -> dict[str, frozenset[Any]]:
    """Columns such as "status", each with the values of an object that is not shown: values or labels of choices such
    as "draft" and "archived"; without choices these words in any spelling."""
    hidden_by_column: dict[str, frozenset[Any]] = {}
    for name in STATES:
        if not _is_field(model, name, (models.CharField, models.IntegerField)):
            continue
        field: Any = model._meta.get_field(name)
        with translation.override(None):
            hidden = [value for value, label in field.flatchoices if {_word(value), _word(label)} & NOT_SHOWN]
        if not field.choices and isinstance(field, models.CharField):
            hidden = [spelling for word in NOT_SHOWN for spelling in (word, word.upper(), word.capitalize())]
        if hidden:
            hidden_by_column[name] = frozenset(hidden)
    return hidden_by_column


def _word(value: Any) -> str:
    return "_".join(str(value).lower().replace("-", " ").replace("_", " ").split())


def first_of_groups(queryset: models.QuerySet[Any], lookup: str) -> models.QuerySet[Any]:
    """Of the variants with the same value in a column the first that is shown, and all variants without a value."""
    model = queryset.model
    shown = flags(model)
    same = {lookup: models.OuterRef(lookup), "pk__lt": models.OuterRef("pk")}
    earlier = model._default_manager.filter(**shown, **same)
    if _is_field(model, lookup, models.CharField):
        earlier = earlier.exclude(**{lookup: ""})
    for name, states in hidden_states(model).items():
        earlier = earlier.exclude(**{f"{name}__in": states})
        queryset = queryset.exclude(**{f"{name}__in": states})
    return queryset.filter(~models.Exists(earlier), **shown)


def texts_apart(model: type[models.Model]) -> list[str]:
    """Names of the relations to parler's rows of translated texts, to be prefetched."""
    return [part.rel_name for part in getattr(model, "_parler_meta", ())]


def key_fields(model: type[models.Model], name: str) -> list[str]:
    """Look-ups by which a part of a URL or of a form may name an object, the likeliest first; "pk" is always one.

    If the model has no field of that name: the primary key, then the fields that addresses usually contain.
    """
    named = named_key(model, name)
    if named:
        return list(dict.fromkeys((named, "pk")))
    return ["pk", *[word for word in SLUGS if _is_field(model, word, models.Field)]]


def named_key(model: type[models.Model], name: str) -> str:
    """The look-up that a name stands for: "pk" or a unique field (also one that parler translates), by the whole name
    or its last word, as in "product_slug"; empty where the model has no such key."""
    own = (model._meta.pk.name, model._meta.pk.attname)
    for word in dict.fromkeys((name, name.rpartition("_")[2])):
        if word in own:
            return "pk"
        if _is_key(model, word):
            return word
        if word in ("pk", "id"):
            return "pk"
        for relation in texts_apart(model):
            translation: Any = model._meta.get_field(relation).related_model
            if _is_field(translation, word, models.Field):
                return f"{relation}__{word}"
    return ""


def unique_fields(model: type[models.Model]) -> list[str]:
    """Names of the columns beside the primary key that a shop may name an object by."""
    return [field.name for field in model._meta.concrete_fields if not field.primary_key and _is_key(model, field.name)]


def _is_key(model: type[models.Model], name: str) -> bool:
    is_field = _is_field(model, name, models.Field)
    return is_field and (name in SLUGS or bool(getattr(model._meta.get_field(name), "unique", False)))


def _is_field(model: type[models.Model], name: str, kinds: Any) -> bool:
    try:
        return isinstance(model._meta.get_field(name), kinds)
    except FieldDoesNotExist:
        return False


def _all_of(wanted: dict[str, Any], states: dict[str, frozenset[Any]]) -> Callable[[Any], bool]:
    checks: Sequence[tuple[str, Any, bool]] = [
        (key.removesuffix("__isnull"), value, key.endswith("__isnull")) for key, value in wanted.items()
    ]
    return lambda obj: (
        all(
            (getattr(obj, name) is None) if is_null else bool(getattr(obj, name)) is value
            for name, value, is_null in checks
        )
        and all(getattr(obj, name) not in hidden for name, hidden in states.items())
    )
