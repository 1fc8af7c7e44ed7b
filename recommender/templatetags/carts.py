"""Reads the items of a shop's cart, whatever the shop uses as a cart: ids, a dict, lines of a table, or objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from django.db import models
from django.utils.functional import LazyObject, empty

from recommender.catalog import Catalog, catalog_for_label, catalog_of, catalogs, item_id_of
from recommender.exceptions import ConfigurationError
from recommender.tracking.pages import item_id_named, makes_id_of_key

LINE_ATTRIBUTES = ("all_lines", "get_items", "items", "lines", "products")
"""Names under which carts hold their lines."""

ITEM_ATTRIBUTES = ("item", "product", "variant", "content_object", "item_id", "product_id", "sku", "slug", "pk", "id")
"""Names under which a line holds its item; "pk" and "id" come last, because they are usually the line's own."""


def item_ids_of_cart(cart: Any) -> tuple[str, ...]:
    """The item ids in a cart, each once, in its order.

    A cart is an iterable, a manager, a mapping of keys to quantities or lines, an object with `items` or `lines`, or
    ids joined by commas. Its entries are item ids or primary keys, objects with a Catalog, lines (models, objects or
    mappings) that lead to such an object, or pairs of one of these and a quantity. No query for lines whose foreign key
    gives the item's id; otherwise the queries that read the shop's objects. Raises `ConfigurationError` for others.
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
    elif (lines := _lines_of(cart)) is not None:
        yield from _ids_in(lines)
    elif cart is not None:
        yield _id_of(cart)


def _unwrapped(cart: Any) -> Any:
    """The object behind a lazy one such as `request.basket`, whose own type says nothing."""
    if not isinstance(cart, LazyObject):
        return cart
    if cart._wrapped is empty:
        cart._setup()
    return cart._wrapped


def _ids_in_mapping(cart: Mapping[Any, Any]) -> Iterator[str]:
    """A mapping of keys to quantities or lines, as in sessions, or of the parts of a cart, its lines among them."""
    for name in LINE_ATTRIBUTES:
        if isinstance(cart.get(name), Mapping | list | tuple | models.QuerySet):
            yield from _ids_in(cart[name])
            return
    for key, line in cart.items():
        quantity = line.get("quantity", 1) if isinstance(line, Mapping) else line
        if isinstance(quantity, int | float | Decimal) and quantity <= 0:
            continue
        yield (_id_of_line(line) if isinstance(line, Mapping) else "") or _id_of(key)


def _lines_of(cart: Any) -> Any:
    """The lines of a cart that is an object; None if it has none of the names."""
    for name in LINE_ATTRIBUTES:
        lines = getattr(cart, name, None)
        if lines is not None:
            is_manager = hasattr(lines, "all")
            return lines() if callable(lines) and not is_manager else lines
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
    """An item id as it is; for a primary key the id that the shop's Catalog makes of it, if it has only one."""
    described = catalogs()
    if len(described) == 1 and makes_id_of_key(described[0]):
        prefix = f"{described[0].model._meta.model_name}:"
        return text if text.startswith(prefix) else item_id_named(described[0], "pk", text) or text
    return text


def _id_of_line(line: Any) -> str:
    """The item of a line that is a mapping or an object; empty if it has none.

    Either an object in it leads to an item, or it holds a key under a usual name or under that of the shop's model.
    """
    values = line.values() if isinstance(line, Mapping) else vars(line).values() if hasattr(line, "__dict__") else ()
    for value in values:
        if isinstance(value, models.Model) and _is_line(value):
            return _id_of(value)
    own = [name for catalog in catalogs() for name in _names_of(catalog)]
    usual = ITEM_ATTRIBUTES if not isinstance(line, models.Model) else ITEM_ATTRIBUTES[:-2]
    for name in (*own, *usual):
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
    """Whether the object has a Catalog or leads to an object that has one."""
    return catalog_of(obj) is not None or bool(_paths(type(obj)))


def _id_by_foreign_key(line: models.Model) -> str:
    """The item that a line's foreign key leads to; without a query if the item's id is made of the key."""
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
    """The lines, joined with the tables that must be read for their items."""
    if lines._result_cache is not None or lines.query.values_select or _catalog_of_model(lines.model) is not None:
        return lines
    joins = ["__".join(path) for path in _paths(lines.model) if not _is_id_of_key(lines.model, path)]
    joined = lines.query.select_related
    is_joined = joined is True or all(join.partition("__")[0] in (joined or {}) for join in joins)
    return lines if is_joined else lines.select_related(*joins)


def _is_id_of_key(model: type[models.Model], path: tuple[str, ...]) -> bool:
    catalog = _catalog_of_model(model._meta.get_field(path[0]).related_model)
    return catalog is not None and makes_id_of_key(catalog)


def _paths(model: type[models.Model]) -> list[tuple[str, ...]]:
    """The foreign keys of a line that lead to a model with a Catalog: directly, else through one model in between."""
    keys = [field for field in model._meta.concrete_fields if isinstance(field, models.ForeignKey)]
    direct: list[tuple[str, ...]] = [(key.name,) for key in keys if _catalog_of_model(key.related_model) is not None]
    if direct:
        return direct
    return [
        (key.name, further.name)
        for key in keys
        for further in key.related_model._meta.concrete_fields
        if isinstance(further, models.ForeignKey) and _catalog_of_model(further.related_model) is not None
    ]


def _catalog_of_model(model: Any) -> Catalog | None:
    meta = getattr(model, "_meta", None)
    return catalog_for_label(meta.label) if meta is not None else None
