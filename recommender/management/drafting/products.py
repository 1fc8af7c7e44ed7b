"""Finds the models that a shop sells, by their columns, what points to them, and which pages show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db import models

from recommender.management.drafting import facts, words
from recommender.management.drafting.facts import link_to
from recommender.management.drafting.orders import ORDER_THRESHOLD, Sale, is_cart, order_score

Model = type[models.Model]

THRESHOLD = 7
HINT_THRESHOLD = 5


@dataclass(slots=True)
class Product:
    """A model whose objects may be items. `group` is a variant's foreign key to what it is a variant of."""

    model: Model
    score: int = 0
    reasons: list[str] = field(default_factory=list)
    group: str = ""
    is_variant_model: bool = False

    @property
    def is_sure(self) -> bool:
        """Is there enough evidence that its objects are sold?"""
        return self.score >= THRESHOLD

    def add(self, points: int, reason: str) -> None:
        """Count a piece of evidence."""
        self.score += points
        self.reasons.append(reason)


def products(candidates: list[Model], sales: list[Sale], shown_models: Iterable[Model]) -> list[Product]:
    """The models that look like items, the highest score first; models of variants come last."""
    pages = list(shown_models)
    scored = [_scored(model, sales, pages, candidates) for model in candidates if _may_be_item(model, sales)]
    likely = [product for product in scored if product.score >= HINT_THRESHOLD]
    _mark_variants(likely)
    order = sorted(likely, key=lambda product: (product.is_variant_model, -product.score))
    return [product for product in order if not product.is_variant_model or _has_head(product, likely)]


def variant_links(product: Product, others: list[Product]) -> list[tuple[str, Model]]:
    """`(accessor, model)` of a product's variants, which are a model of their own or of the same model."""
    variants = {other.model: other.group for other in others if other.group}
    return [
        (accessor, model) for accessor, model, key in facts.rows_about(product.model) if variants.get(model) == key.name
    ]


def is_priced(model: Model) -> bool:
    """Does the model have a price without being an order, a cart or a line of one?"""
    is_line = words.has(model.__name__, ("line", "lines", "position", "entry", *words.ORDER))
    if is_line or order_score(model) >= ORDER_THRESHOLD or is_cart(model):
        return False
    return facts.price_column(model) is not None


def _may_be_item(model: Model, sales: list[Sale]) -> bool:
    is_sold = any(model in sale.item_models for sale in sales)
    is_sale = any(model in (sale.model, sale.order_model) for sale in sales)
    is_auto = bool(model._meta.auto_created)
    return is_sold or not (is_sale or is_auto or is_cart(model) or order_score(model) >= ORDER_THRESHOLD)


def _scored(model: Model, sales: list[Sale], pages: list[Model], candidates: list[Model]) -> Product:
    product, name = Product(model), model.__name__
    if any(model in sale.item_models for sale in sales):
        product.add(4, "order lines point to it")
    if any(is_cart(other) and link_to(other, model) for other in candidates):
        product.add(2, "carts point to it")
    price = facts.price_column(model)
    if price is not None:
        product.add(3, f"has {price.name!r}")
    elif any(is_priced(rows) for _, rows, _ in facts.rows_about(model)):
        product.add(2, "rows about it have a price")
    if facts.title_of(model):
        product.add(2, f"has {facts.title_of(model)!r}")
    if hasattr(model, "get_absolute_url"):
        product.add(1, "has an address of its own")
    if model in pages:
        product.add(2, "has a page")
    if _is_something_else(model):
        product.score -= 5
    elif words.has(name, words.PRODUCT):
        product.add(2, f"is called {name}")
    return product


def _is_something_else(model: Model) -> bool:
    """Does its name say that it is not a product: by the last word, or by any word if none is a product's?"""
    own = words.parts(model.__name__)
    is_other = own[-1] in words.NO_PRODUCT or not words.has(model.__name__, words.PRODUCT)
    return is_other and words.has(f"{model.__name__} {model._meta.app_label}", words.NO_PRODUCT)


def _mark_variants(candidates: list[Product]) -> None:
    """Set `group`: a foreign key to its own model named like a parent, or that of a variant model to a product."""
    product_models = {product.model for product in candidates}
    for product in candidates:
        model = product.model
        own = [link.name for link in facts.links(model) if link.related_model is model and link.name in words.GROUPS]
        if own:
            product.group = own[0]
            continue
        if not words.has(model.__name__, ("variant", "variation", "sku", "edition", "version", "size", "child")):
            continue
        heads = [link for link in facts.links(model) if link.related_model in product_models]
        if heads:
            product.group, product.is_variant_model = heads[0].name, True


def _has_head(product: Product, others: list[Product]) -> bool:
    related = product.model._meta.get_field(product.group).related_model
    return any(other.model is related for other in others)
