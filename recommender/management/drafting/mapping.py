"""Drafts the Catalog of one model: a line and its reason for each attribute that a Catalog does not find by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import models

from recommender.catalog import guesses
from recommender.management.drafting import facts, money, words
from recommender.management.drafting.facts import columns
from recommender.management.drafting.lines import Line, assign, assign_value, method
from recommender.management.drafting.products import Product, is_priced

ATTRIBUTES = ("color", "colour", "size", "material", "author", "authors", "format", "gender", "season", "farbe")
FILES = (models.FileField, models.URLField)


class CatalogLines:
    """The lines of the Catalog of a product. `fixed` are the flags by which its pages select what they show."""

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
        """All lines in reading order."""
        parts = (
            self._id, self._title, self._text, self._category, self._brand, self._price, self._image, self._available,
            self._active, self._first_seen, self._group, self._languages, self._sites, self._attributes, self._related,
            self._queryset,
        )  # fmt: skip
        return [line for part in parts for line in part()]

    def by_itself(self) -> str:
        """What the Catalog finds by the names of fields, without a line."""
        state_columns = (*guesses.flags(self.model), *guesses.hidden_states(self.model))
        flags = ", ".join(name.removesuffix("__isnull") for name in state_columns)
        named = {name: value for name, value in self.guessed.items() if isinstance(value, str)}
        texts = [f"{name} ({value})" if name != value else name for name, value in named.items()]
        if "active" in self.guessed and not self._conditions():
            texts.append(f"active ({flags})" if flags else "active")
        return ", ".join(texts)

    def _id(self) -> Iterator[Line]:
        if self.name in self.taken_names:
            item_id = f'return f"{self.model._meta.app_label}-{self.name}:{{{self.name}.pk}}"'
            yield from method(f"id(self, {self.name})", "another model of this name has the same keys", item_id)

    def _title(self) -> Iterator[Line]:
        title = facts.title_of(self.model)
        if self.guessed["title"] is str and title:
            yield assign("title", title, "the text that names it")

    def _text(self) -> Iterator[Line]:
        description = next((name for name in words.DESCRIPTION if hasattr(self.model, name)), "")
        title = self.guessed["title"] if isinstance(self.guessed["title"], str) else facts.title_of(self.model)
        if description and title:
            links = [self._link_named(words.BRAND), self._link_named(words.CATEGORY, trees=True)]
            parts = (title, *(link[0] for link in links if link is not None), description)
            yield assign_value("text", parts, "title, brand and category are read; add this text", is_hint=True)

    def _category(self) -> Iterator[Line]:
        kinds = ("type", "class", "topic", "family")
        link = self._link_named(words.CATEGORY, trees=True) or self._link_named(kinds)
        if link is not None:
            yield assign("category", *link)

    def _brand(self) -> Iterator[Line]:
        if (link := self._link_named(words.BRAND)) is not None:
            yield assign("brand", *link)

    def _price(self) -> Iterator[Line]:
        field = facts.price_column(self.model)
        if field is not None:
            if "price" not in self.guessed:
                yield assign("price", field.name, "the number whose name is most like a price")
            yield from self._currency(money.currency_column(self.model, field.name), field)
            return
        self.rows = self._priced_rows()
        if self.rows is None:
            yield assign("price", "…", "no number is named like a price: where is it?", is_hint=True)
        else:
            yield from self._price_of_rows(*self.rows)

    def _price_of_rows(self, accessor: str, rows: Any, price: str) -> Iterator[Line]:
        own = next((name for name, model in self.variants if model is self.model), "")
        self.prefetched += [accessor, *([f"{own}__{accessor}"] if own else [])]
        self.related[rows._meta.label] = accessor
        reason = f"{rows.__name__} holds the price" + (", of variants too" if own else "")
        variants = f"({self.name}, *{self.name}.{own}.all())"
        every = f"return [row for one in {variants} for row in one.{accessor}.all()]"
        body = every if own else f"return list({self.name}.{accessor}.all())"
        yield from method(f"_prices(self, {self.name})", reason, body)
        all_rows = f"self._prices({self.name})"
        lowest = f"return min((row.{price} for row in {all_rows} if row.{price} is not None), default=None)"
        yield from method(f"price(self, {self.name})", "the lowest", lowest)
        column = money.currency_column(rows, price)
        if column:
            first = f'return next((row.{column} for row in {all_rows} if row.{column}), "")'
            yield from method(f"currency(self, {self.name})", f"{rows.__name__}.{column}", first)
        else:
            yield from self._currency("", rows._meta.get_field(price))

    def _currency(self, column: str, price: Any) -> Iterator[Line]:
        if "currency" in self.guessed:
            return
        in_words = money.currency_in_words(price)
        code, reason = in_words if in_words[0] else self.currency
        if column:
            yield assign("currency", column, "beside the price")
        elif code:
            yield Line(f'currency = Constant("{code}")', reason)
        else:
            nowhere = "no column, setting or template names a currency: write yours"
            yield Line('currency = Constant("EUR")', nowhere, is_hint=True)

    def _image(self) -> Iterator[Line]:
        if "image" in self.guessed:
            return
        field = _picture_of(self.model)
        if field is not None:
            yield assign("image", field.name, "the file or address that is named like a picture")
            return
        for accessor, rows, key in facts.rows_about(self.model):
            picture = _picture_of(rows)
            if picture is not None and not key.unique and words.has(rows.__name__, words.IMAGE):
                self.prefetched.append(accessor)
                first = f'return next((row.{picture.name} for row in {self.name}.{accessor}.all()), "")'
                yield from method(f"image(self, {self.name})", f"the first {rows.__name__}", first)
                return

    def _available(self) -> Iterator[Line]:
        flag = facts.best(
            (field for field in columns(self.model, models.BooleanField) if field.name not in self.fixed),
            lambda name: words.fit(name, words.STOCK, ("track", "manage", "allow", "notify")),
        )
        signature = f"available(self, {self.name})"
        if flag is not None:
            yield assign("available", flag.name, "the flag that says whether it can be bought")
        elif (stock := _stock_of(self.model)) is not None:
            yield from method(signature, "while it is in stock", f"return {_is_in_stock(self.name, stock)}")
        elif self.rows is not None and (stock := _stock_of(self.rows[1])) is not None:
            reason = f"in stock by {self.rows[1].__name__}.{stock.name}"
            reason += "; always, if that is empty" if stock.null else ""
            body = f"return any({_is_in_stock('row', stock)} for row in self._prices({self.name}))"
            yield from method(signature, reason, body)

    def _active(self) -> Iterator[Line]:
        if conditions := self._conditions():
            body = f"return bool({' and '.join(conditions)})"
            yield from method(f"active(self, {self.name})", "what its own pages and flags require", body)

    def _conditions(self) -> list[str]:
        """What must be true of a shown object, if that is more than the Catalog finds by itself."""
        flags = guesses.flags(self.model)
        more = {name: value for name, value in self.fixed.items() if name not in flags}
        if not more:
            return []
        choosing = {field.name for field in columns(self.model, models.Field) if field.choices}
        conditions = [
            f"{self.name}.{name} not in {tuple(sorted(hidden))!r}"
            for name, hidden in guesses.hidden_states(self.model).items()
            if name in choosing and name not in more
        ]
        for name, value in (flags | more).items():
            path = f"{self.name}.{name.removesuffix('__isnull')}"
            if name.endswith("__isnull"):
                conditions.append(f"{path} is None")
            elif isinstance(value, bool):
                conditions.append(path if value else f"not {path}")
            else:
                conditions.append(f"{path} == {value!r}")
        return conditions

    def _first_seen(self) -> Iterator[Line]:
        names = {field.name for field in columns(self.model, facts.TIMES)}
        name = next((name for name in words.CREATED if name in names), "")
        if name:
            yield assign("first_seen", name, "when it came into the shop")

    def _group(self) -> Iterator[Line]:
        names = {field.name for field in columns(self.model, models.Field)}
        column = next((name for name in words.GROUP_COLUMNS if name in names), "")
        if self.product.group:
            yield assign("group", self.product.group, "a variant counts as the item that this leads to")
        elif column:
            yield assign("group", column, "variants share it")

    def _languages(self) -> Iterator[Line]:
        languages = facts.languages_of(self.model)
        if languages:
            yield assign_value("languages", languages, "it has texts in each of these")
        for part in getattr(self.model, "_parler_meta", ()):
            self.related[part.model._meta.label] = part.model._meta.get_field("master").related_query_name()

    def _sites(self) -> Iterator[Line]:
        for field in (*facts.links(self.model), *self.model._meta.many_to_many):
            related: Any = field.related_model
            if related._meta.label == "sites.Site":
                yield assign("sites", field.name, "lists show only items of SITE_ID")

    def _attributes(self) -> Iterator[Line]:
        forward = [*columns(self.model, facts.TEXTS), *facts.links(self.model)]
        named = {field.name: field.name for field in forward if field.name in ATTRIBUTES}
        if named:
            yield assign_value("attributes", named, "more facts by which shoppers choose")

    def _related(self) -> Iterator[Line]:
        for accessor, model in self.variants:
            if model is not self.model:
                self.related[model._meta.label] = query_name(self.model, accessor)
        if self.related:
            yield assign_value("related", self.related, "a change of one of these changes the item")

    def _queryset(self) -> Iterator[Line]:
        if self.prefetched:
            names = ", ".join(f'"{name}"' for name in dict.fromkeys(self.prefetched))
            body = f"return super().queryset().prefetch_related({names})"
            yield from method("queryset(self)", "read for all objects at once, not one by one", body)

    def _link_named(self, wanted: tuple[str, ...], *, trees: bool = False) -> tuple[str, str] | None:
        """The relation or text column whose name, or whose model's name, fits best; with the reason."""
        scored = []
        for field in (*facts.links(self.model), *self.model._meta.many_to_many):
            related = field.related_model
            if related is self.model or not isinstance(related, type):
                continue
            is_tree = facts.is_tree(related)
            fit = max(words.fit(field.name, wanted), words.fit(related.__name__, wanted) - 10)
            if not fit and trees and is_tree:
                fit = 60
            if fit >= 20:
                reason = " is a tree: the deepest counts" if is_tree else ": its name"
                scored.append((fit, field.name, f"{related.__name__}{reason}"))
        text = facts.best(columns(self.model, facts.TEXTS), lambda name: words.fit(name, wanted), least=60)
        if text is not None:
            scored.append((words.fit(text.name, wanted) - 5, text.name, "a text of that name"))
        return max(scored)[1:] if scored else None

    def _priced_rows(self) -> tuple[str, Any, str] | None:
        """`(accessor, model, price column)` of the rows that hold an object's price; rows with stock come first."""
        priced = [
            (bool(_stock_of(rows)), accessor, rows)
            for accessor, rows, key in facts.rows_about(self.model)
            if is_priced(rows) and rows is not self.model and not key.unique
        ]
        if not priced:
            return None
        _has_stock, accessor, rows = max(priced, key=lambda row: row[0])
        return accessor, rows, facts.price_column(rows).name


def _picture_of(model: type[models.Model]) -> Any:
    return facts.best(columns(model, FILES), lambda name: words.fit(name, words.IMAGE))


def _stock_of(model: type[models.Model]) -> Any:
    against = ("low", "min", "threshold", "allocated", "reserved", "alert", "max")
    wanted = (*words.STOCK, "quantity", "qty")
    return facts.best(facts.numbers(model), lambda name: words.fit(name, wanted, against))


def _is_in_stock(owner: str, stock: models.Field[Any, Any]) -> str:
    """The condition as Python; an empty column means that stock is not counted."""
    path = f"{owner}.{stock.name}"
    return f"{path} is None or {path} > 0" if stock.null else f"{path} > 0"


def query_name(model: type[models.Model], accessor: str) -> str:
    """The name of a reverse relation in queries."""
    relations = {relation.get_accessor_name(): relation for relation in model._meta.related_objects}
    return str(relations[accessor].name)
