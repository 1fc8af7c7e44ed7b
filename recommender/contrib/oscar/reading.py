"""Reads the products of a list with their children, stock records and classes in one joined query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import models


def read_products(products: models.QuerySet[Any]) -> list[Any]:
    """Products annotated with `first_image`, and their children among them, as if prefetched: one query, not five.

    In the model's own order: Oscar's default strategy takes the first child and the first stock record.
    """
    model, alias = products.model, products.db
    kinds = model._meta.get_field("product_class").related_model
    records = model._meta.get_field("stockrecords").related_model
    parts = [("", model), ("product_class__", kinds), ("stockrecords__", records)]
    names = [f"{prefix}{column}" for prefix, part in parts for column in _columns(part)]
    rows = products.order_by(*model._meta.ordering, "pk", "stockrecords__pk").values_list("first_image", *names)
    products_by_pk: dict[Any, Any] = {}
    classes: dict[Any, Any] = {}
    stock: defaultdict[Any, list[Any]] = defaultdict(list)
    for image, *values in rows:
        product, kind, record = _objects([part for _, part in parts], values, alias)
        product = products_by_pk.setdefault(product.pk, product)
        product.first_image = image
        if kind is not None:
            product.product_class = classes.setdefault(kind.pk, kind)
        if record is not None:
            record.product = product
            stock[product.pk].append(record)
    _connect(products_by_pk, stock)
    return list(products_by_pk.values())


def _objects(parts: Iterable[type[models.Model]], values: Sequence[Any], alias: str) -> list[Any]:
    """One object of each model out of a joined row; None where the join found none."""
    objects = []
    for part in parts:
        columns = _columns(part)
        own_values, values = values[: len(columns)], values[len(columns) :]
        is_there = own_values[columns.index(part._meta.pk.attname)] is not None
        objects.append(part.from_db(alias, columns, own_values) if is_there else None)
    return objects


def _connect(products: dict[Any, Any], stock: dict[Any, list[Any]]) -> None:
    """Children to their parents, stock records where a prefetch would have put them."""
    for product in products.values():
        product._prefetched_public_children = []
        records = product.stockrecords.all()
        records._result_cache, records._prefetch_done = stock.get(product.pk, []), True
        product._prefetched_objects_cache = {"stockrecords": records}
    for product in products.values():
        parent = products.get(product.parent_id)
        if parent is not None:
            product.parent = parent
            parent._prefetched_public_children.append(product)


def _columns(model: type[models.Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]
