"""Writes the draft of a `recommendations.py`: Catalogs, pages and order rows, each line with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from recommender.management.drafting import facts, mapping, money, orders, pages, products
from recommender.management.drafting.facts import Line
from recommender.management.drafting.mapping import CatalogLines
from recommender.management.drafting.orders import Model, Sale
from recommender.management.drafting.products import Product
from recommender.management.drafting.rows import RowLines
from recommender.management.drafting.views import View, views

WIDTH = 116
OPENING = '''"""What the recommender learns from this shop, as `manage.py recommender_init` understood it."""'''


@dataclass(slots=True)
class Draft:
    """The text of the file, the app that it belongs to, and what was recognised."""

    text: str = ""
    app_label: str = ""
    products: list[Product] = field(default_factory=list)
    sales: list[Sale] = field(default_factory=list)
    pages: list[Line] = field(default_factory=list)


def draft() -> Draft:
    """The draft for a project. Of its tables only the states of orders and the newest lines in JSON are read."""
    candidates = facts.shop_models()
    answering = list(views())
    sales = orders.sales(candidates)
    found = products.products(candidates, sales, pages.shown_models(answering, candidates))
    heads = {one.model: one.group for one in found if one.is_variant_model}
    items = [one for one in found if not one.is_variant_model]
    sure = [one for one in items if one.is_sure]
    hints = [one for one in items if not one.is_sure]
    by_item = {one.model: _lookups(one, found) for one in sure}
    page_lines = pages.page_lines(answering, by_item)
    perhaps = [line for one in hints for view in answering for line in pages.viewing(view, {one.model: []})]
    currency = money.currency_of_shop([one.model for one in sure], [sale.order_model for sale in sales])
    written = _Text(sure, hints, found, answering, currency)
    written.catalogs()
    written.pages([*page_lines, *(Line(line.code, line.reason, is_hint=True) for line in perhaps)])
    written.sales(_sold(sales, sure, heads), heads)
    return Draft(written.text(), sure[0].model._meta.app_label if sure else "", sure, sales, page_lines)


def _lookups(product: Product, found: list[Product]) -> list[tuple[Model, str]]:
    """Variant models of a product, with the look-up that leads from it to them."""
    pairs = products.variant_links(product, found)
    return [
        (model, mapping.query_name(product.model, accessor)) for accessor, model in pairs if model is not product.model
    ]


def _sold(sales: list[Sale], sure: list[Product], heads: dict[Model, str]) -> list[Sale]:
    """The sales of what are items here; generic keys and JSON name them themselves."""
    known = {one.model for one in sure} | set(heads)
    return [sale for sale in sales if sale.generic or sale.json or known & set(sale.item_models)]


class _Text:
    """The file, from above to below."""

    def __init__(
        self,
        sure: list[Product],
        hints: list[Product],
        found: list[Product],
        answering: list[View],
        currency: tuple[str, str],
    ) -> None:
        self.sure, self.hints, self.found, self.views, self.currency = sure, hints, found, answering, currency
        self.body: list[str] = []

    def catalogs(self) -> None:
        taken: set[str] = set()
        names = [one.model.__name__ for one in self.sure]
        for product in self.sure:
            variants = products.variant_links(product, self.found)
            catalog = CatalogLines(
                product, variants, self._fixed(product.model), taken_names=set(taken), currency=self.currency
            )
            lines = catalog.lines()
            taken.add(catalog.name)
            name = product.model.__name__
            prefix = product.model._meta.app_label.title().replace("_", "") if names.count(name) > 1 else ""
            self.body += ["", "", *_commented(f"An item: {', '.join(product.reasons)}.")]
            if told := catalog.by_itself():
                self.body += _commented(f"Without a line here: {told}.")
            self.body += [f'@register("{product.model._meta.label}")', f"class {prefix}{_plural(name)}(Catalog):"]
            self.body += [*_indented(lines), *(["    pass"] if all(line.is_hint for line in lines) else [])]
        for product in self.hints:
            self.body += [
                "",
                "",
                *_commented(f"Perhaps an item too ({', '.join(product.reasons)}); nothing says that it is sold:"),
            ]
            self.body.append(f'# register("{product.model._meta.label}")(Catalog)')

    def pages(self, lines: list[Line]) -> None:
        self.body += ["", "", "track_pages("]
        self.body += _indented(lines)
        self.body.append(")")
        if not any("view_item" in line.code for line in lines if not line.is_hint):
            self.body[-1:] = [
                "    # No page of an item was recognised; such a page looks like this:",
                '    # page("product", "view_item", item_id=("shop.Product", "kwargs.slug")),',
                ")",
            ]

    def sales(self, sales: list[Sale], heads: dict[Model, str]) -> None:
        for place, sale in enumerate(sales):
            same = any(other.order_model.__name__ == sale.order_model.__name__ for other in sales if other is not sale)
            name = (
                f"{sale.model._meta.app_label.title().replace('_', '')}{_class_name(sale.model)}"
                if same
                else _class_name(sale.model)
            )
            prefix = "" if place == 0 else f"{sale.order_model._meta.label_lower}"
            rows = RowLines(sale, heads, [one.model for one in self.sure], self.currency[0], prefix=prefix)
            self.body += ["", "", *_commented(f"Sold: {sale.reason}.")]
            self.body += [
                f'@track_rows("{sale.model._meta.label}")',
                f"class {name}Rows(OrderRows):",
                *_indented(rows.lines()),
            ]

    def text(self) -> str:
        body = "\n".join(self.body)
        names = [name for name in ("Catalog", "Constant", "register") if f"{name}(" in body or name == "Catalog"]
        tracking = [name for name in ("OrderRows", "page", "track_pages", "track_rows") if name in body]
        imports = [
            f"from recommender.catalog import {', '.join(names)}",
            f"from recommender.tracking import {', '.join(tracking)}",
        ]
        above = ["import dataclasses", ""] if "dataclasses." in body else []
        return "\n".join([OPENING, "", *above, *imports, body.rstrip(), ""])

    def _fixed(self, model: Model) -> dict[str, bool]:
        """The flags of a model by which the pages that show one object of it choose."""
        names = {column.name for column in facts.columns(model, facts.FLAGS)}
        return {
            name: value
            for view in self.views
            if pages.shown_by(view) is model
            for of, name, value in view.reading.fixed
            if of is model and name in names
        }


def _class_name(model: Model) -> str:
    return "".join(part.capitalize() for part in model.__name__.split("_")) if "_" in model.__name__ else model.__name__


def _plural(name: str) -> str:
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "ch", "sh")) else f"{name}s"


def _commented(text: str) -> list[str]:
    """A comment of as many lines as it needs."""
    lines, current = [], "#"
    for word in text.split():
        if len(current) + 1 + len(word) > WIDTH:
            lines.append(current)
            current = "#"
        current += f" {word}"
    return [*lines, current]


def _indented(lines: list[Line]) -> list[str]:
    """The lines of a class or a call, each with its reason behind it, or above it where that is too long."""
    written: list[str] = []
    for line in lines:
        code = f"    {'# ' if line.is_hint else ''}{line.code}".rstrip()
        ends_block = line.code and not line.code.startswith(" ") and written and written[-1].startswith("        ")
        if written and written[-1] and (line.code.startswith("def ") or ends_block):
            written.append("")
        if not line.reason:
            written.append(code)
        elif len(code) + len(line.reason) <= WIDTH:
            written.append(f"{code}  # {line.reason}")
        else:
            written += [f"    {comment}" for comment in _commented(line.reason)] + [code]
    while written and not written[-1]:
        written.pop()
    return written
