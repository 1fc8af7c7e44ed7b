"""The items in a shop's cart, whatever a cart is there: ids, a session's dict, lines of a table, objects, products."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from django.db import models
from django.utils.functional import LazyObject, empty

from recommender.catalog import Catalog, catalog_for_label, catalog_of, catalogs, item_id_of
from recommender.exceptions import ConfigurationError
from recommender.tracking.pages import item_id_named, makes_id_of_key

CONTENTS = ("all_lines", "get_items", "items", "lines", "products")
"""What carts call their lines."""

THINGS = ("item", "product", "variant", "content_object", "item_id", "product_id", "sku", "slug", "pk", "id")
"""What a line calls its item; its own "id" comes last, because it is mostly that of the line."""


def item_ids_of_cart(cart: Any) -> tuple[str, ...]:
    """The item ids in a cart, each once, in its order.

    A cart is an iterable, a manager, a mapping of keys to quantities or to lines, an object with `items` or `lines`, or
    ids joined by commas. What is in it is an item id or a primary key, an object that has a Catalog, a line that leads
    to one, as a model, an object or a mapping, or a pair of one of these and a quantity. No query for lines whose
    foreign key tells the item; else those of the shop's own objects. Raises `ConfigurationError` for anything else.
    """
    return tuple(dict.fromkeys(_ids_in(_unwrapped(cart))))


def _ids_in(cart: Any) -> Iterator[str]:
    if isinstance(cart, str):
        yield from (_id_of_text(part.strip()) for part in cart.split(",") if part.strip())
    elif isinstance(cart, Mapping):
        yield from _ids_in_mapping(cart)
    elif isinstance(cart, models.Model) and _is_line(cart):
        yield _id_of(cart)
    elif isinstance(cart, models.QuerySet):
        yield from map(_id_of, _with_items(cart))
    elif callable(getattr(cart, "all", None)):
        yield from _ids_in(cart.all())
    elif isinstance(cart, Iterable):
        yield from map(_id_of, cart)
    elif (contents := _contents(cart)) is not None:
        yield from _ids_in(contents)
    elif cart is not None:
        yield _id_of(cart)


def _unwrapped(cart: Any) -> Any:
    """What a lazy object stands for, such as `request.basket`: its type tells nothing."""
    if not isinstance(cart, LazyObject):
        return cart
    if cart._wrapped is empty:
        cart._setup()
    return cart._wrapped


def _ids_in_mapping(cart: Mapping[Any, Any]) -> Iterator[str]:
    """Of keys to quantities or lines, as sessions keep them; or of a cart's parts, one of which are its lines."""
    for name in CONTENTS:
        if isinstance(cart.get(name), Mapping | list | tuple | models.QuerySet):
            yield from _ids_in(cart[name])
            return
    for key, line in cart.items():
        quantity = line.get("quantity", 1) if isinstance(line, Mapping) else line
        if isinstance(quantity, int | float | Decimal) and quantity <= 0:
            continue
        yield (_id_of_line(line) if isinstance(line, Mapping) else "") or _id_of(key)


def _contents(cart: Any) -> Any:
    """The lines of a cart that is an object; None where it names none."""
    for name in CONTENTS:
        contents = getattr(cart, name, None)
        if contents is not None:
            is_manager = hasattr(contents, "all")
            return contents() if callable(contents) and not is_manager else contents
    return None


def _id_of(entry: Any) -> str:
    """The item id of one entry of a cart."""
    entry = _unwrapped(entry)
    if isinstance(entry, str | int) and not isinstance(entry, bool):
        return _id_of_text(str(entry))
    if isinstance(entry, tuple | list) and entry and not isinstance(entry[0], tuple | list):
        return _id_of(entry[0])
    if isinstance(entry, models.Model) and catalog_of(entry) is not None:
        return item_id_of(entry)
    item_id = _id_by_foreign_key(entry) if isinstance(entry, models.Model) else ""
    if item_id := item_id or _id_of_line(entry):
        return item_id
    raise ConfigurationError(
        f"cart: {type(entry).__name__} leads to no item. Expected item ids, objects of a model with a Catalog, lines "
        "with a foreign key to one, or dicts with a 'product' or an 'item_id'."
    )


def _id_of_text(text: str) -> str:
    """An item id as it is; of a primary key the id that the only Catalog of the shop makes of it."""
    described = catalogs()
    if len(described) == 1 and makes_id_of_key(described[0]):
        prefix = f"{described[0].model._meta.model_name}:"
        return text if text.startswith(prefix) else item_id_named(described[0], "pk", text) or text
    return text


def _id_of_line(line: Any) -> str:
    """The item of a line that is a mapping or an object: an object in it that leads to one, else a key by what shops
    call it and by the names of their models."""
    values = line.values() if isinstance(line, Mapping) else vars(line).values() if hasattr(line, "__dict__") else ()
    for value in values:
        if isinstance(value, models.Model) and _is_line(value):
            return _id_of(value)
    own = [name for catalog in catalogs() for name in _names_of(catalog)]
    things = THINGS if not isinstance(line, models.Model) else THINGS[:-2]
    for name in (*own, *things):
        value = line.get(name) if isinstance(line, Mapping) else getattr(line, name, None)
        if isinstance(value, models.Model) and _is_line(value):
            return _id_of(value)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return _id_of_text(str(value))
    return ""


def _names_of(catalog: Catalog) -> tuple[str, str]:
    name = str(catalog.model._meta.model_name)
    return name, f"{name}_id"


def _is_line(obj: models.Model) -> bool:
    """Is it an object that has a Catalog, or that leads to one?"""
    return catalog_of(obj) is not None or bool(_paths(type(obj)))


def _id_by_foreign_key(line: models.Model) -> str:
    """The item that a line's foreign key leads to; by the key alone where the item's id is made of it."""
    for path in _paths(type(line)):
        field: Any = line._meta.get_field(path[0])
        key = getattr(line, getattr(field, "attname", field.name), None)
        if key is None:
            continue
        catalog = _catalog_of_model(getattr(field, "related_model", None))
        if catalog is not None and makes_id_of_key(catalog) and field.target_field.primary_key:
            return f"{catalog.model._meta.model_name}:{key}"
        return _id_of(getattr(line, field.name))
    return ""


def _with_items(lines: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """Lines, joined with what must be read of their items."""
    if lines._result_cache is not None or lines.query.values_select or _catalog_of_model(lines.model) is not None:
        return lines
    joins = ["__".join(path) for path in _paths(lines.model) if not _is_told_by_key(lines.model, path)]
    joined = lines.query.select_related
    is_joined = joined is True or all(join.partition("__")[0] in (joined or {}) for join in joins)
    return lines if is_joined else lines.select_related(*joins)


def _is_told_by_key(model: type[models.Model], path: tuple[str, ...]) -> bool:
    catalog = _catalog_of_model(model._meta.get_field(path[0]).related_model)
    return catalog is not None and makes_id_of_key(catalog)


def _paths(model: type[models.Model]) -> list[tuple[str, ...]]:
    """The foreign keys of a line that lead to a model with a Catalog: at once, else through one model between."""
    keys = [field for field in model._meta.concrete_fields if isinstance(field, models.ForeignKey)]
    straight: list[tuple[str, ...]] = [(key.name,) for key in keys if _catalog_of_model(key.related_model) is not None]
    if straight:
        return straight
    return [
        (key.name, further.name)
        for key in keys
        for further in key.related_model._meta.concrete_fields
        if isinstance(further, models.ForeignKey) and _catalog_of_model(further.related_model) is not None
    ]


def _catalog_of_model(model: Any) -> Catalog | None:
    meta = getattr(model, "_meta", None)
    return catalog_for_label(meta.label) if meta is not None else None
