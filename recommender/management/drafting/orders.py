"""Finds the models whose rows are sold items, usually the lines of orders, and tells them from carts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models

from recommender.catalog.guesses import NUMBERS
from recommender.management.drafting import facts, words
from recommender.management.drafting.facts import columns, generic_link, link_to, links

Model = type[models.Model]

LINE_THRESHOLD = 7
ORDER_THRESHOLD = 4


@dataclass(frozen=True, slots=True)
class Sale:
    """A model whose rows are sold items. `order` is the foreign key to the order; empty if the row is the order.

    `items` are the foreign keys to what is sold, `generic` is a generic foreign key, `json` a column with the lines.
    """

    model: Model
    order: str
    items: tuple[str, ...]
    generic: str = ""
    json: str = ""
    reason: str = ""

    @property
    def order_model(self) -> Model:
        return self.model._meta.get_field(self.order).related_model if self.order else self.model  # type: ignore[return-value]

    @property
    def item_models(self) -> list[Model]:
        """The models that the foreign keys to items lead to."""
        related = [self.model._meta.get_field(name).related_model for name in self.items]
        return [model for model in related if isinstance(model, type)]


def sales(candidates: list[Model]) -> list[Sale]:
    """The models of sold rows: lines with a foreign key to an order, then orders of one item or with lines in JSON."""
    by_lines = [sale for model in candidates if (sale := _sale_of_line(model)) is not None]
    orders = {sale.order_model for sale in by_lines}
    through = [sale for model in candidates if model not in orders for sale in _sales_of_many(model)]
    orders |= {sale.order_model for sale in through}
    single = [
        sale
        for model in candidates
        if model not in orders and (sale := _sale_of_order(model) or _sale_of_json(model)) is not None
    ]
    return _without_copies([*by_lines, *through, *single])


def is_cart(model: Model) -> bool:
    """Is it a cart, a wish list or a line of one, by its own name or that of its owner?"""
    if words.has(model.__name__, words.CART) or words.has(model._meta.app_label, words.CART):
        return True
    return any(
        words.has(link.related_model.__name__, words.CART) or words.has(link.name, words.CART)
        for link in links(model)
        if words.has(model.__name__, words.LINE)
    )


def order_score(model: Model) -> int:
    """How much a model looks like an order: name, buyer, date, state, total. The key of a session counts against it."""
    if is_cart(model) or issubclass(model, get_user_model()):
        return 0
    names = [field.name for field in model._meta.fields]
    score = 3 if words.has(model.__name__, words.ORDER) else 0
    score += bool(facts.user_path(model)) or any(name in words.EMAILS for name in names)
    score += any(isinstance(field, facts.TIMES) for field in model._meta.fields)
    score += any(words.has(name, ("status", "state", "paid")) for name in names)
    score += any(words.has(name, ("total", "amount", "sum", "subtotal")) for name in names)
    score -= 2 * any(name in ("session_key", "session_id", "session") for name in names)
    return score


def quantity_of(model: Model) -> str:
    """The column with the number of pieces; empty if there is none."""
    field = facts.best(facts.numbers(model), lambda name: words.fit(name, words.QUANTITY, ("allocated", *words.STOCK)))
    return "" if field is None or (words.fit(field.name, words.PRICE) and not _is_whole(field)) else field.name


def price_of(model: Model) -> str:
    """The column with the price of one piece; empty if there is none."""
    against = ("original", *words.NOT_THE_PRICE)
    fields = (field for field in facts.numbers(model) if field.name != quantity_of(model))
    field = facts.best(fields, lambda name: words.fit(name, words.UNIT_PRICE, against), least=40)
    return "" if field is None else field.name


def total_of(model: Model) -> str:
    """The column with the price of all pieces; empty if there is none."""
    fit = ("total", "subtotal", "sum", "line", "price", "amount")
    fields = (field for field in facts.numbers(model) if field.name != quantity_of(model))
    field = facts.best(fields, lambda name: words.fit(name, fit, ("tax", "discount", "shipping", "excl", "before")))
    return "" if field is None else field.name


def _without_copies(candidates: list[Sale]) -> list[Sale]:
    """Leave out what documents another sale: the lines of an invoice, of a delivery or of a return of an order."""
    orders = {sale.order_model for sale in candidates}
    return [
        sale
        for sale in candidates
        if not any(link.related_model in orders - {sale.order_model} for link in links(sale.order_model))
    ]


def _sale_of_line(model: Model) -> Sale | None:
    if is_cart(model):
        return None
    ranked = sorted(links(model), key=lambda link: order_score(link.related_model), reverse=True)
    if not ranked or order_score(ranked[0].related_model) < ORDER_THRESHOLD:
        return None
    order, items, generic = ranked[0], _items_of(model, but=ranked[0].name), generic_link(model)
    if not items and not generic:
        return None
    number, price = quantity_of(model), price_of(model) or total_of(model)
    score = 3 + 2 + 2 * bool(number) + bool(price) + words.has(model.__name__, words.LINE)
    if score < LINE_THRESHOLD:
        return None
    clues = [
        f"a key to {order.related_model.__name__}",
        *([repr(number)] if number else []),
        *([repr(price)] if price else []),
    ]
    return Sale(model, order.name, tuple(items), generic, reason=", ".join(clues))


def _sales_of_many(model: Model) -> list[Sale]:
    """Orders that have their items by many-to-many: the rows of the table in between."""
    if order_score(model) < ORDER_THRESHOLD:
        return []
    sales = []
    for field in model._meta.many_to_many:
        through: Any = field.remote_field.through
        if through._meta.auto_created and _is_sellable(field.related_model):
            order, item = field.m2m_field_name(), field.m2m_reverse_field_name()
            sales.append(Sale(through, order, (item,), reason=f"the rows of {model.__name__}.{field.name}"))
    return sales


def _sale_of_order(model: Model) -> Sale | None:
    """Orders of one item each."""
    items = _items_of(model, but="")
    if order_score(model) < ORDER_THRESHOLD + 1 or not items or not (quantity_of(model) or price_of(model)):
        return None
    reason = "an order of one item: buyer, item and date in a row"
    return Sale(model, "", tuple(items), generic_link(model), reason=reason)


def _sale_of_json(model: Model) -> Sale | None:
    """Orders that keep their lines in a JSON column."""
    if order_score(model) < ORDER_THRESHOLD:
        return None
    named = (*words.LINE, *words.CART, *words.PRODUCT)
    field = facts.best(columns(model, models.JSONField), lambda name: words.fit(name, named))
    if field is None:
        return None
    return Sale(model, "", (), json=field.name, reason=f"its lines are JSON, in {field.name!r}")


def _items_of(model: Model, *, but: str) -> list[str]:
    """The foreign keys that may lead to what is sold; of a variant and its product, only the one to the product."""
    sellable = [link for link in links(model) if link.name != but and _is_sellable(link.related_model)]
    named = [link for link in sellable if words.has(f"{link.name} {link.related_model.__name__}", words.PRODUCT)]
    pool = named or sellable
    return [link.name for link in pool if not any(_leads_to(link.related_model, other.related_model) for other in pool)]


def _leads_to(model: Model, other: Model) -> bool:
    return other is not model and link_to(model, other) is not None


def _is_sellable(model: Model) -> bool:
    """May its objects be sold: they have a title or a price, and are no users, orders, carts or anything else?"""
    if issubclass(model, get_user_model()) or is_cart(model) or order_score(model) >= ORDER_THRESHOLD:
        return False
    if facts.is_tree(model) and words.has(model.__name__, words.CATEGORY):
        return False
    if any(order_score(link.related_model) >= ORDER_THRESHOLD or is_cart(link.related_model) for link in links(model)):
        return False  # a line of an order or of a cart itself
    is_named = words.has(model.__name__, words.PRODUCT)
    is_other = words.has(model.__name__, words.NO_PRODUCT) or model._meta.app_label in ("auth", "sites", "contenttypes")
    return (is_named and not words.has(model.__name__, ("class", "stock", "image", "review", "type"))) or (
        not is_other
        and bool(facts.title_of(model) or facts.best(facts.numbers(model), lambda name: words.fit(name, words.PRICE)))
    )


def _is_whole(field: models.Field) -> bool:
    return isinstance(field, models.IntegerField) and isinstance(field, NUMBERS)
