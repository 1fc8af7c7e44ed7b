"""The Catalogs that the shop has registered, and which of them describes a model or an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recommender.catalog import paths
from recommender.exceptions import ConfigurationError

if TYPE_CHECKING:
    from recommender.catalog.base import Catalog

_catalogs: dict[str, Catalog] = {}


def catalogs() -> list[Catalog]:
    """Every registered Catalog, in the order of registration."""
    return list(_catalogs.values())


def attribute_names() -> tuple[str, ...]:
    """Every name in the `attributes` of a Catalog, once."""
    return tuple(dict.fromkeys(name for catalog in catalogs() for name in catalog.attributes))


def catalog_for_label(label: str) -> Catalog | None:
    """The Catalog of a model label such as "shop.Product"."""
    return _catalogs.get(label.lower())


def catalog_of(obj: Any) -> Catalog | None:
    """The Catalog of an object: of its model, of an ancestor, or of a proxy whose queryset contains it."""
    candidates = catalogs_for(type(obj))
    having = (one for one in candidates[:-1] if one.queryset().filter(pk=obj.pk).exists())
    return next(having, candidates[-1]) if candidates else None


def catalogs_for(model: type[Any]) -> list[Catalog]:
    """The Catalog of a model or its nearest ancestor; without one, the Catalogs of proxies of the model."""
    if getattr(model, "_meta", None) is None:
        return []
    for ancestor in model.__mro__:
        if catalog := _catalogs.get(getattr(getattr(ancestor, "_meta", None), "label_lower", "")):
            return [catalog]
    return [catalog for catalog, lookup in paths.heirs(model._meta.concrete_model, catalogs()) if not lookup]


def item_id_of(obj: Any) -> str:
    """The item id of a shop's object. Raises `ConfigurationError` for a model without a Catalog."""
    catalog = catalog_of(obj)
    if catalog is None:
        raise ConfigurationError(
            f"{type(obj).__name__} has no Catalog. Register one in a recommendations.py: "
            f'@register("{getattr(getattr(obj, "_meta", None), "label", "app.Model")}") class Items(Catalog): ...'
        )
    return catalog.item_id(obj)
