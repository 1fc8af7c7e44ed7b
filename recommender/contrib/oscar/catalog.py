"""Oscar's products as items: a parent stands for its children, prices and stock are what Oscar's strategy says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import Case, CharField, OuterRef, Prefetch, Q, Subquery, Value, When
from django.db.models.functions import Coalesce, Concat, Substr
from django.http import HttpRequest

from recommender.capture import current_request
from recommender.catalog import Catalog, ItemFacts
from recommender.contrib.oscar.reading import read_products
from recommender.types import Live

BRAND_CODES = ("brand", "manufacturer", "maker")
"""Codes of product attributes that name a brand, the first that a product has; Oscar itself knows no brands."""

MAX_LEVELS = 6
"""Levels of the category tree that are read, from the root; each costs one look-up in an index."""

SEPARATOR = " > "
"""As in Oscar's `Category.full_name`."""


class Products(Catalog):
    """Every browsable product. Registered unless the shop has a Catalog of its own for `catalogue.Product`."""

    title = "get_title"
    active = "is_public"
    first_seen = "date_created"
    updated = "date_updated"

    def id(self, product: Any) -> str:
        """A child is the item of its parent."""
        return f"product:{product.parent_id or product.pk}"

    def text(self, product: Any) -> str:
        """What Oscar's own index reads, the way through the category tree, attributes and the names of variants."""
        names = [product.get_title(), *(lineage for category in _categories(product) if (lineage := category.lineage))]
        variants = [child.title for child in product.get_public_children()] if product.is_parent else []
        values = [*_attributes(product).values(), product.upc, *dict.fromkeys(variants), product.description]
        return " . ".join(str(part) for part in (*names, *values) if part)

    def category(self, product: Any) -> str:
        """The deepest public category."""
        categories = _categories(product)
        return str(max(categories, key=lambda category: category.depth).name) if categories else ""

    def brand(self, product: Any) -> str:
        """By an attribute of the product."""
        values = _attributes(product)
        return next((values[code] for code in BRAND_CODES if values.get(code)), "")

    def image(self, product: Any) -> str:
        """The first image of the product, else of a child."""
        name = getattr(product, "first_image", None)
        return str(_original().storage.url(name)) if name else ""

    def price(self, product: Any) -> Decimal | None:
        """With tax where the strategy knows it."""
        price = _purchase_info(product).price
        if not price.exists:
            return None
        amount: Decimal | None = price.incl_tax if price.is_tax_known else price.excl_tax
        return amount

    def currency(self, product: Any) -> str:
        return _purchase_info(product).price.currency or ""

    def available(self, product: Any) -> bool:
        return bool(_purchase_info(product).availability.is_available_to_buy)

    def facts(self, obj: Any) -> ItemFacts:
        """With the price and the stock for an anonymous shopper, to be stored."""
        return super().facts(_with_purchase_info(obj, _strategy(None)))

    def live(self, obj: Any) -> Live | None:
        """With the price and the stock of the shopper whose request is answered."""
        return super().live(_with_purchase_info(obj, _strategy(current_request.get())))

    def queryset(self) -> models.QuerySet[Any]:
        """What Oscar lists: public products that are no children; eight queries more, however many they are."""
        children = self._public().prefetch_related("stockrecords")
        return self._browsable().select_related("product_class").prefetch_related(
            "stockrecords",
            Prefetch("children", children, to_attr="_prefetched_public_children"),
            Prefetch("categories", _tree(), to_attr="_prefetched_browsable_categories"),
            "attribute_values__attribute",
            "attribute_values__value_option",
        )  # fmt: skip

    def objects(self, object_ids: Collection[str]) -> list[Any]:
        """With all that a strategy asks for, in one query."""
        listed = self._browsable().filter(pk__in=list(object_ids)).order_by().values("pk")
        children = Q(parent__in=list(object_ids), pk__in=self._public().order_by().values("pk"))
        products = read_products(_with_image(self.model._default_manager.filter(Q(pk__in=listed) | children)))
        return [product for product in products if product.parent_id is None]

    def changed_since(self, at: dt.datetime) -> models.QuerySet[Any]:
        """By its own date, that of a child, or that of a stock record: a new price is no change of Oscar's product."""
        products = self.model._default_manager
        changed = Q(date_updated__gte=at) | Q(stockrecords__date_updated__gte=at)
        keys = products.filter(changed).order_by().values_list(Coalesce("parent_id", "pk"), flat=True)
        return self.queryset().filter(pk__in=keys)

    def _browsable(self) -> models.QuerySet[Any]:
        browsable: models.QuerySet[Any] = self.model._default_manager.browsable()  # type: ignore[attr-defined]
        return _with_image(browsable)

    def _public(self) -> models.QuerySet[Any]:
        public: models.QuerySet[Any] = self.model._default_manager.public()  # type: ignore[attr-defined]
        return public


def _strategy(request: HttpRequest | None) -> Any:
    """The request's own, made by Oscar's basket middleware; without one, Oscar's default for an anonymous shopper."""
    strategy = getattr(request, "strategy", None)
    if strategy is not None:
        return strategy
    from oscar.core.loading import get_class

    return get_class("partner.strategy", "Selector")().strategy()


def _with_purchase_info(product: Any, strategy: Any) -> Any:
    fetch = strategy.fetch_for_parent if product.is_parent else strategy.fetch_for_product
    product.recommender_purchase_info = fetch(product)
    return product


def _purchase_info(product: Any) -> Any:
    if not hasattr(product, "recommender_purchase_info"):
        _with_purchase_info(product, _strategy(None))
    return product.recommender_purchase_info


def _categories(product: Any) -> list[Any]:
    """The product's public categories, each with its `lineage`."""
    if not hasattr(product, "_prefetched_browsable_categories"):
        product._prefetched_browsable_categories = list(_tree().filter(product=product))
    categories: list[Any] = product._prefetched_browsable_categories
    return categories


def _attributes(product: Any) -> dict[str, str]:
    """Attribute codes and values in words."""
    return {value.attribute.code: str(value.value_as_text) for value in product.attribute_values.all()}


def _tree() -> models.QuerySet[Any]:
    """Public categories with their `lineage`, "Books > Fiction": what `full_name` says, without a query for each.

    Treebeard's path has `steplen` characters a level; those of level n are the path of the ancestor there.
    """
    from oscar.core.loading import get_model

    category = get_model("catalogue", "Category")
    lineage: list[Any] = [Value("")]
    for level in range(1, MAX_LEVELS + 1):
        ancestors = category.objects.filter(path=Substr(OuterRef("path"), 1, category.steplen * level))
        named = Concat(Value(SEPARATOR if level > 1 else ""), Subquery(ancestors.order_by().values("name")[:1]))
        lineage.append(Case(When(depth__gte=level, then=named), default=Value("")))
    tree: models.QuerySet[Any] = category.objects.browsable().annotate(lineage=Concat(*lineage))
    return tree


def _with_image(products: models.QuerySet[Any]) -> models.QuerySet[Any]:
    images = _original().model._default_manager.order_by("display_order", "pk").values("original")
    own = Subquery(images.filter(product=OuterRef("pk"))[:1])
    of_a_child = Subquery(images.filter(product__parent=OuterRef("pk"))[:1])
    return products.annotate(first_image=Coalesce(own, of_a_child, output_field=CharField()))


def _original() -> Any:
    from oscar.core.loading import get_model

    return get_model("catalogue", "ProductImage")._meta.get_field("original")
