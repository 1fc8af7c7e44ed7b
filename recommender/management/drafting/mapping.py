"""The lines of a Catalog for one model, each with its reason; what a Catalog finds by itself is only told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import models

from recommender.catalog import guesses
from recommender.management.drafting import facts, money, words
from recommender.management.drafting.facts import Line, columns
from recommender.management.drafting.products import Product, is_priced

ATTRIBUTES = ("color", "colour", "size", "material", "author", "authors", "format", "gender", "season", "farbe")
FILES = (models.FileField, models.URLField)


class CatalogLines:
    """What to write in the Catalog of a product. `fixed` are the flags by which its pages choose what they show."""

    def __init__(
        self,
        product: Product,
        variants: list[tuple[str, Any]],
        fixed: dict[str, Any],
        *,
        taken_names: set[str],
        currency: tuple[str, str],
    ) -> None:
        self.model, self.product, self.variants, self.fixed = product.model, product, variants, fixed
        self.guessed = guesses.guessed(self.model)
        self.currency = currency
        self.taken_names = taken_names
        self.name = self.model._meta.model_name or "item"
        self.prefetched: list[str] = []
        self.related: dict[str, str] = {}
        self.rows: tuple[str, Any, Any] | None = None

    def lines(self) -> list[Line]:
        """All of them, in the order in which they are read."""
        parts = (
            self._id, self._title, self._text, self._category, self._brand, self._price, self._image, self._available,
            self._active, self._first_seen, self._group, self._languages, self._sites, self._attributes, self._related,
            self._queryset,
        )  # fmt: skip
        return [line for part in parts for line in part()]

    def by_itself(self) -> str:
        """What the Catalog finds by the names of fields, without a line."""
        columns_of_state = (*guesses.flags(self.model), *guesses.hidden_states(self.model))
        flags = ", ".join(name.removesuffix("__isnull") for name in columns_of_state)
        named = {name: value for name, value in self.guessed.items() if isinstance(value, str)}
        texts = [f"{name} ({value})" if name != value else name for name, value in named.items()]
        if "active" in self.guessed and not self._conditions():
            texts.append(f"active ({flags})" if flags else "active")
        return ", ".join(texts)

    def _id(self) -> Iterator[Line]:
        if self.name in self.taken_names:
            label = self.model._meta.app_label
            yield Line(f"def id(self, {self.name}):", "another model of this name has the same keys")
            yield Line(f'    return f"{label}-{self.name}:{{{self.name}.pk}}"')

    def _title(self) -> Iterator[Line]:
        title = facts.title_of(self.model)
        if self.guessed["title"] is str and title:
            yield Line(f'title = "{title}"', "the text that names it")

    def _text(self) -> Iterator[Line]:
        told = next((name for name in words.DESCRIPTION if hasattr(self.model, name)), "")
        title = self.guessed["title"] if isinstance(self.guessed["title"], str) else facts.title_of(self.model)
        if told and title:
            known = [self._link_named(words.BRAND), self._link_named(words.CATEGORY, trees=True)]
            parts = [title, *(link[0] for link in known if link is not None), told]
            reason = "title, brand and category are read; this also"
            yield Line(f"text = {tuple(parts)!r}".replace("'", '"'), reason, is_hint=True)

    def _category(self) -> Iterator[Line]:
        name, reason = (
            self._link_named(words.CATEGORY, trees=True)
            or self._link_named(("type", "class", "topic", "family"))
            or ("", "")
        )
        if name:
            yield Line(f'category = "{name}"', reason)

    def _brand(self) -> Iterator[Line]:
        name, reason = self._link_named(words.BRAND) or ("", "")
        if name:
            yield Line(f'brand = "{name}"', reason)

    def _price(self) -> Iterator[Line]:
        field = facts.best(facts.numbers(self.model), lambda name: words.fit(name, words.PRICE, words.NOT_THE_PRICE))
        if field is not None and "price" not in self.guessed:
            yield Line(f'price = "{field.name}"', "the number that is named most like a price")
        if field is not None:
            yield from self._currency(money.currency_column(self.model, field.name), field)
            return
        self.rows = self._priced_rows()
        if self.rows is None:
            yield Line('price = "…"', "no number here is named as a price: where does it stand?", is_hint=True)
            return
        yield from self._price_of_rows()

    def _price_of_rows(self) -> Iterator[Line]:
        accessor, rows, price = self.rows  # type: ignore[misc]
        own = next((name for name, model in self.variants if model is self.model), "")
        self.prefetched += [accessor, *([f"{own}__{accessor}"] if own else [])]
        self.related[rows._meta.label] = accessor
        reason = f"{rows.__name__} holds the price" + (", of variants too" if own else "")
        yield Line(f"def _prices(self, {self.name}):", reason)
        if own:
            ones = f"({self.name}, *{self.name}.{own}.all())"
            yield Line(f"    return [row for one in {ones} for row in one.{accessor}.all()]")
        else:
            yield Line(f"    return list({self.name}.{accessor}.all())")
        yield Line("")
        yield Line(f"def price(self, {self.name}):", "the lowest")
        rows_of = f"self._prices({self.name})"
        yield Line(f"    return min((row.{price} for row in {rows_of} if row.{price} is not None), default=None)")
        column = money.currency_column(rows, price)
        if column:
            yield Line("")
            yield Line(f"def currency(self, {self.name}):", f"{rows.__name__}.{column}")
            yield Line(f'    return next((row.{column} for row in self._prices({self.name}) if row.{column}), "")')
        else:
            yield from self._currency("", rows._meta.get_field(price))

    def _currency(self, column: str, price: Any) -> Iterator[Line]:
        if "currency" in self.guessed:
            return
        code, reason = money.currency_in_words(price)
        code, reason = (code, reason) if code else self.currency
        if column:
            yield Line(f'currency = "{column}"', "beside the price")
        elif code:
            yield Line(f'currency = Constant("{code}")', reason)
        else:
            nowhere = "neither a column, nor the settings, nor a template names a currency: write yours"
            yield Line('currency = Constant("EUR")', nowhere, is_hint=True)

    def _image(self) -> Iterator[Line]:
        if "image" in self.guessed:
            return
        field = facts.best(columns(self.model, FILES), lambda name: words.fit(name, words.IMAGE))
        if field is not None:
            yield Line(f'image = "{field.name}"', "the file or address that is named as a picture")
            return
        for accessor, rows, key in facts.rows_about(self.model):
            picture = facts.best(columns(rows, FILES), lambda name: words.fit(name, words.IMAGE))
            if picture is not None and not key.unique and words.has(rows.__name__, words.IMAGE):
                self.prefetched.append(accessor)
                yield Line(f"def image(self, {self.name}):", f"the first {rows.__name__}")
                yield Line(f'    return next((row.{picture.name} for row in {self.name}.{accessor}.all()), "")')
                return

    def _available(self) -> Iterator[Line]:
        flag = facts.best(
            (field for field in columns(self.model, models.BooleanField) if field.name not in self.fixed),
            lambda name: words.fit(name, words.STOCK, ("track", "manage", "allow", "notify")),
        )
        if flag is not None:
            yield Line(f'available = "{flag.name}"', "the flag that says whether it can be bought")
            return
        stock = _stock_of(self.model)
        if stock is not None:
            yield Line(
                f"def available(self, {self.name}):",
                "while it is in stock",
            )
            empty = f"{self.name}.{stock.name} is None or " if stock.null else ""
            yield Line(f"    return {empty}{self.name}.{stock.name} > 0")
        elif self.rows is not None and (stock := _stock_of(self.rows[1])) is not None:
            name = stock.name
            empty = f"row.{name} is None or " if stock.null else ""
            reason = f"in stock by {self.rows[1].__name__}.{name}" + (
                "; where that is empty, always" if stock.null else ""
            )
            yield Line(f"def available(self, {self.name}):", reason)
            yield Line(f"    return any({empty}row.{name} > 0 for row in self._prices({self.name}))")

    def _active(self) -> Iterator[Line]:
        conditions = self._conditions()
        if conditions:
            yield Line(f"def active(self, {self.name}):", "what its own pages and flags ask for")
            yield Line(f"    return bool({' and '.join(conditions)})")

    def _conditions(self) -> list[str]:
        """What must be true of a shown object, where that is more than the Catalog finds by itself."""
        flags = guesses.flags(self.model)
        more = {name: value for name, value in self.fixed.items() if name not in flags}
        if not more:
            return []
        choosing = {field.name for field in columns(self.model, models.Field) if field.choices}
        found = [
            f"{self.name}.{name} not in {tuple(sorted(hidden))!r}"
            for name, hidden in guesses.hidden_states(self.model).items()
            if name in choosing and name not in more
        ]
        for name, value in (flags | more).items():
            path = f"{self.name}.{name.removesuffix('__isnull')}"
            if name.endswith("__isnull"):
                found.append(f"{path} is None")
            else:
                found.append(path if value is True else f"not {path}" if value is False else f"{path} == {value!r}")
        return found

    def _first_seen(self) -> Iterator[Line]:
        names = {field.name for field in columns(self.model, facts.TIMES)}
        name = next((name for name in words.CREATED if name in names), "")
        if name:
            yield Line(f'first_seen = "{name}"', "when it came into the shop")

    def _group(self) -> Iterator[Line]:
        names = {field.name for field in columns(self.model, models.Field)}
        column = next((name for name in words.GROUP_COLUMNS if name in names), "")
        if self.product.group:
            yield Line(f'group = "{self.product.group}"', "a variant is an item of what this leads to")
        elif column:
            yield Line(f'group = "{column}"', "variants share it")

    def _languages(self) -> Iterator[Line]:
        languages = facts.languages_of(self.model)
        if languages:
            yield Line(f"languages = {languages!r}".replace("'", '"'), "its texts are kept in each")
        for part in getattr(self.model, "_parler_meta", ()):
            self.related[part.model._meta.label] = part.model._meta.get_field("master").related_query_name()

    def _sites(self) -> Iterator[Line]:
        for field in (*facts.links(self.model), *self.model._meta.many_to_many):
            related: Any = field.related_model
            if related._meta.label == "sites.Site":
                yield Line(f'sites = "{field.name}"', "lists show what is of SITE_ID")

    def _attributes(self) -> Iterator[Line]:
        forward = [*columns(self.model, facts.TEXTS), *facts.links(self.model)]
        named = {field.name: field.name for field in forward if field.name in ATTRIBUTES}
        if named:
            yield Line(f"attributes = {named!r}".replace("'", '"'), "more facts by which shoppers choose")

    def _related(self) -> Iterator[Line]:
        for accessor, model in self.variants:
            if model is not self.model:
                self.related[model._meta.label] = query_name(self.model, accessor)
        if self.related:
            yield Line(f"related = {self.related!r}".replace("'", '"'), "a change of these is a change of the item")

    def _queryset(self) -> Iterator[Line]:
        if self.prefetched:
            names = ", ".join(f'"{name}"' for name in dict.fromkeys(self.prefetched))
            yield Line("")
            yield Line("def queryset(self):", "read for all objects at once, not one by one")
            yield Line(f"    return super().queryset().prefetch_related({names})")

    def _link_named(self, wanted: tuple[str, ...], *, trees: bool = False) -> tuple[str, str] | None:
        """The key, many-to-many or text that is named so, or leads to a model that is; and why."""
        scored = []
        for field in (*facts.links(self.model), *self.model._meta.many_to_many):
            related = field.related_model
            if related is self.model or not isinstance(related, type):
                continue
            fit = max(words.fit(field.name, wanted), words.fit(related.__name__, wanted) - 10)
            if not fit and trees and facts.is_tree(related):
                fit = 60
            if fit >= 20:
                kind = "a tree" if facts.is_tree(related) else "its name"
                scored.append(
                    (
                        fit,
                        field.name,
                        f"{related.__name__}: {kind}"
                        if kind == "its name"
                        else f"{related.__name__} is a tree: the deepest counts",
                    )
                )
        text = facts.best(columns(self.model, facts.TEXTS), lambda name: words.fit(name, wanted), least=60)
        if text is not None:
            scored.append((words.fit(text.name, wanted) - 5, text.name, "a text of that name"))
        return max(scored)[1:] if scored else None

    def _priced_rows(self) -> tuple[str, Any, Any] | None:
        """The rows about an object that have its price; what has stock as well first."""
        found = [
            (bool(_stock_of(rows)), accessor, rows)
            for accessor, rows, key in facts.rows_about(self.model)
            if is_priced(rows) and rows is not self.model and not key.unique
        ]
        if not found:
            return None
        _, accessor, rows = max(found, key=lambda row: row[0])
        price = facts.best(facts.numbers(rows), lambda name: words.fit(name, words.PRICE, words.NOT_THE_PRICE))
        return accessor, rows, price.name


def _stock_of(model: type[models.Model]) -> Any:
    against = ("low", "min", "threshold", "allocated", "reserved", "alert", "max")
    wanted = (*words.STOCK, "quantity", "qty")
    return facts.best(facts.numbers(model), lambda name: words.fit(name, wanted, against))


def query_name(model: type[models.Model], accessor: str) -> str:
    relations = {relation.get_accessor_name(): relation for relation in model._meta.related_objects}
    return str(relations[accessor].name)
