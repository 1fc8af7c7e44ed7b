"""Describe a shop's model as items from outside: `@register("shop.Product") class Products(Catalog)`."""

from __future__ import annotations

from collections.abc import Callable

from recommender.catalog import registry
from recommender.catalog.base import Catalog
from recommender.catalog.live import live_items
from recommender.catalog.paths import Constant
from recommender.catalog.registry import (
    attribute_names,
    catalog_for_label,
    catalog_of,
    catalogs,
    catalogs_for,
    item_id_of,
)
from recommender.catalog.values import ItemFacts
from recommender.exceptions import ConfigurationError

__all__ = [
    "Catalog", "Constant", "ItemFacts", "attribute_names", "catalog_for_label", "catalog_of", "catalogs",
    "catalogs_for", "item_id_of", "live_items", "register", "unregister",
]  # fmt: skip


def register(label: str) -> Callable[[type[Catalog]], type[Catalog]]:
    """Declare that objects of the model `label` ("app.Model") are items, as this Catalog describes them."""

    def decorate(declared: type[Catalog]) -> type[Catalog]:
        if not (isinstance(declared, type) and issubclass(declared, Catalog)):
            raise ConfigurationError(f"@register({label!r}) decorates a subclass of recommender.catalog.Catalog.")
        registry._catalogs[label.lower()] = declared(label)
        return declared

    return decorate


def unregister(label: str) -> None:
    """Forget a Catalog; for tests and for hosts that replace one."""
    registry._catalogs.pop(label.lower(), None)
