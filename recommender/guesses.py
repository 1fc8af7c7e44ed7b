"""A model in, what its Catalog most likely means out: title, price, image, flags by the names that shops use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import models

TITLES = ("title", "name")
IMAGES = ("image", "photo", "picture", "thumbnail")
SLUGS = ("slug", "sku")
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
)
HIDDEN = ("is_deleted", "deleted", "is_removed", "removed", "is_hidden", "hidden", "is_archived", "archived")
DELETED_AT = ("deleted_at", "removed_at", "archived_at", "deleted")

NUMBERS = (models.DecimalField, models.FloatField, models.IntegerField)


def guessed(model: type[models.Model]) -> dict[str, Any]:
    """A path or a callable for each attribute that a Catalog may leave out and this model has."""
    found: dict[str, Any] = {"title": next((name for name in TITLES if hasattr(model, name)), str)}
    if hasattr(model, "get_absolute_url"):
        found["url"] = "get_absolute_url"
    if _is_field(model, "price", NUMBERS):
        found["price"] = "price"
    if _is_field(model, "currency", models.CharField):
        found["currency"] = "currency"
    if image := next((name for name in IMAGES if _is_field(model, name, (models.FileField, models.URLField))), None):
        found["image"] = image
    if wanted := flags(model):
        found["active"] = _all_of(wanted)
    return found


def flags(model: type[models.Model]) -> dict[str, Any]:
    """The columns that say whether an object is shown, as a filter such as `{"is_active": True}`."""
    shown = {name: True for name in SHOWN if _is_field(model, name, models.BooleanField)}
    hidden = {name: False for name in HIDDEN if _is_field(model, name, models.BooleanField)}
    times = (models.DateTimeField, models.DateField)
    deleted = {f"{name}__isnull": True for name in DELETED_AT if _is_field(model, name, times)}
    return shown | hidden | deleted


def first_of_groups(queryset: models.QuerySet[Any], lookup: str) -> models.QuerySet[Any]:
    """Of the variants that share a value of a column only the first that is shown; those without a value all."""
    model = queryset.model
    shown = flags(model)
    same = {lookup: models.OuterRef(lookup), "pk__lt": models.OuterRef("pk")}
    earlier = model._default_manager.filter(**shown, **same)
    if _is_field(model, lookup, models.CharField):
        earlier = earlier.exclude(**{lookup: ""})
    return queryset.filter(~models.Exists(earlier), **shown)


def texts_apart(model: type[models.Model]) -> list[str]:
    """Names of the relations to the rows in which parler keeps the texts of a model: read at once, not one by one."""
    return [part.rel_name for part in getattr(model, "_parler_meta", ())]


def key_field(model: type[models.Model], name: str) -> str:
    """The unique field that a part of a URL or of a form is named after, such as "slug"; "pk" where there is none."""
    is_field = _is_field(model, name, models.Field)
    return name if is_field and (name in SLUGS or getattr(model._meta.get_field(name), "unique", False)) else "pk"


def _is_field(model: type[models.Model], name: str, kinds: Any) -> bool:
    try:
        return isinstance(model._meta.get_field(name), kinds)
    except FieldDoesNotExist:
        return False


def _all_of(wanted: dict[str, Any]) -> Callable[[Any], bool]:
    checks: Sequence[tuple[str, Any, bool]] = [
        (key.removesuffix("__isnull"), value, key.endswith("__isnull")) for key, value in wanted.items()
    ]
    return lambda obj: all(
        (getattr(obj, name) is None) if is_null else bool(getattr(obj, name)) is value
        for name, value, is_null in checks
    )
