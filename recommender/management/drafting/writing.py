"""Writes the draft of a `recommendations.py`: Catalogs, pages and order rows, each line with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from recommender.management.drafting import facts, mapping, money, orders, pages, products
from recommender.management.drafting.lines import Line, comment, indented
from recommender.management.drafting.mapping import CatalogLines
from recommender.management.drafting.orders import Model, Sale
from recommender.management.drafting.products import Product
from recommender.management.drafting.rows import RowLines
from recommender.management.drafting.views import View, views

OPENING = '''"""What the recommender learns from this shop, as `manage.py recommender_init` understood it."""'''
NO_ITEM_PAGE = [
    "    # No page of an item was recognised; it would look like this:",
    '    # page("product", "view_item", item_id=("shop.Product", "kwargs.slug")),',
]


@dataclass(frozen=True, slots=True)
class Draft:
    """The text of the file and the app that it belongs to; both are empty if no product was recognised."""

    text: str = ""
    app_label: str = ""


def draft() -> Draft:
    """The draft for a project. From its tables it reads only the states of orders and the newest lines in JSON."""
    candidates = facts.shop_models()
    shop = _Shop(candidates, list(views()), orders.sales(candidates))
    if not shop.items:
        return Draft()
    body = "\n".join([*shop.catalogs(), *shop.pages(), *shop.order_rows()])
    names = [name for name in ("Catalog", "Constant", "register") if f"{name}(" in body or name == "Catalog"]
    tracking = [name for name in ("OrderRows", "page", "track_pages", "track_rows") if name in body]
    lines = [
        OPENING,
        "",
        *(["import dataclasses", ""] if "dataclasses." in body else []),
        f"from recommender.catalog import {', '.join(names)}",
        f"from recommender.tracking import {', '.join(tracking)}",
        body.rstrip(),
        "",
    ]
    return Draft("\n".join(lines), shop.items[0].model._meta.app_label)


class _Shop:
    """What was recognised in a project, and the lines that declare it."""

    def __init__(self, candidates: list[Model], answering: list[View], sales: list[Sale]) -> None:
        self.views, self.sales = answering, sales
        self.products = products.products(candidates, sales, pages.shown_models(answering, candidates))
        self.heads = {product.model: product.group for product in self.products if product.is_variant_model}
        whole = [product for product in self.products if not product.is_variant_model]
        self.items = [product for product in whole if product.is_sure]
        self.possible_items = [product for product in whole if not product.is_sure]
        models = [product.model for product in self.items]
        self.currency = money.currency_of_shop(models, [sale.order_model for sale in sales])

    def catalogs(self) -> Iterator[str]:
        """The Catalog of each item; one that may be an item is commented out."""
        taken_names: set[str] = set()
        class_names = [product.model.__name__ for product in self.items]
        for product in self.items:
            options, name = product.model._meta, product.model.__name__
            variants, fixed = products.variant_links(product, self.products), self._fixed(product.model)
            catalog = CatalogLines(product, variants, fixed, taken_names=set(taken_names), currency=self.currency)
            lines = catalog.lines()
            taken_names.add(catalog.name)
            prefix = _prefix(product.model) if class_names.count(name) > 1 else ""
            yield from ["", "", *comment(f"An item: {', '.join(product.reasons)}.")]
            if by_itself := catalog.by_itself():
                yield from comment(f"Found without a line here: {by_itself}.")
            yield f'@register("{options.label}")'
            yield f"class {prefix}{_plural(name)}(Catalog):"
            yield from indented(lines)
            if all(line.is_hint for line in lines):
                yield "    pass"
        for product in self.possible_items:
            reasons = ", ".join(product.reasons)
            yield from ["", "", *comment(f"Perhaps an item too ({reasons}), but nothing shows that it is sold:")]
            yield f'# register("{product.model._meta.label}")(Catalog)'

    def pages(self) -> Iterator[str]:
        """The tracked pages; those of what may be an item are commented out."""
        lookups = {product.model: self._variant_lookups(product) for product in self.items}
        lines = pages.page_lines(self.views, lookups)
        possible = (
            line
            for product in self.possible_items
            for view in self.views
            for line in pages.viewing(view, {product.model: []})
        )
        yield from ["", "", "track_pages("]
        yield from indented([*lines, *(Line(line.code, line.reason, is_hint=True) for line in possible)])
        yield from [] if any("view_item" in line.code for line in lines) else NO_ITEM_PAGE
        yield ")"

    def order_rows(self) -> Iterator[str]:
        """The OrderRows of each sale of an item; generic foreign keys and JSON name their items themselves."""
        models = {product.model for product in self.items} | set(self.heads)
        sales = [sale for sale in self.sales if sale.generic or sale.json or models & set(sale.item_models)]
        for number, sale in enumerate(sales):
            others = (other.order_model.__name__ for other in sales if other is not sale)
            name = _class_name(sale.model)
            if sale.order_model.__name__ in others:
                name = f"{_prefix(sale.model)}{name}"
            prefix = sale.order_model._meta.label_lower if number else ""
            items = [product.model for product in self.items]
            rows = RowLines(sale, self.heads, items, self.currency[0], prefix=prefix)
            yield from ["", "", *comment(f"Sold: {sale.reason}.")]
            yield f'@track_rows("{sale.model._meta.label}")'
            yield f"class {name}Rows(OrderRows):"
            yield from indented(rows.lines())

    def _variant_lookups(self, product: Product) -> list[tuple[Model, str]]:
        """The variant models of a product, each with the look-up that leads to it."""
        links = products.variant_links(product, self.products)
        return [(model, mapping.query_name(product.model, name)) for name, model in links if model is not product.model]

    def _fixed(self, model: Model) -> dict[str, bool]:
        """The flags by which the pages that show one object of the model select it."""
        names = {column.name for column in facts.columns(model, facts.FLAGS)}
        return {
            name: value
            for view in self.views
            if pages.shown_by(view) is model
            for owner, name, value in view.reading.fixed
            if owner is model and name in names
        }


def _prefix(model: Model) -> str:
    return model._meta.app_label.title().replace("_", "")


def _class_name(model: Model) -> str:
    return "".join(part.capitalize() for part in model.__name__.split("_")) if "_" in model.__name__ else model.__name__


def _plural(name: str) -> str:
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "ch", "sh")) else f"{name}s"
