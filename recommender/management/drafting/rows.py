"""Drafts the OrderRows of one model of sold rows: a line, with its reason, for each attribute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.db import DatabaseError, models

from recommender.management.drafting import facts, orders, words
from recommender.management.drafting.facts import columns
from recommender.management.drafting.lines import Line, assign, method
from recommender.management.drafting.orders import Model, Sale

MAX_STATES, MAX_STATES_SHOWN = 30, 8
VISITORS = ("visitor", "recommender_visitor", "visitor_id", "visitor_key", "visitor_token")
REFUNDS = ("is_refund", "is_return", "is_cancellation", "is_credit", "is_credit_note")
LINE_KEYS = {"item": (*words.PRODUCT, "id", "pk"), "quantity": words.QUANTITY, "price": words.UNIT_PRICE}
FLAGS = (models.BooleanField, *facts.TIMES)


class RowLines:
    """The lines of the OrderRows of a sale. `heads` maps the model of a variant to its foreign key to the item."""

    def __init__(
        self, sale: Sale, heads: Mapping[Model, str], catalogued: list[Model], currency: str, *, prefix: str = ""
    ) -> None:
        self.sale, self.heads, self.catalogued, self.currency, self.prefix = sale, heads, catalogued, currency, prefix
        self.model, self.order_model = sale.model, sale.order_model
        self.name = "order" if sale.json else "line"
        self.before = f"{sale.order}." if sale.order else ""

    def lines(self) -> list[Line]:
        """All lines in reading order."""
        parts = (
            self._item_id, self._order_id, self._user, self._email, self._visitor, self._occurred_at, self._quantity,
            self._price, self._currency, self._paid, self._returned, self._refunded, self._drafts,
        )  # fmt: skip
        return [line for part in parts for line in part()]

    def _item_id(self) -> Iterator[Line]:
        sale = self.sale
        if sale.json:
            yield from method(f"item_id(self, {self.name})", "each line names its own, see drafts() below", 'return ""')
        elif sale.generic and not sale.items:
            yield from self._generic_item()
        elif len(sale.items) == 1:
            (name,) = sale.items
            head = self.heads.get(sale.item_models[0], "")
            reason = f"a variant of {head}" if head else f"what was bought: {sale.item_models[0].__name__}"
            yield assign("item_id", f"{name}.{head}" if head else name, reason)
        else:
            either = " or ".join(f"line.{name}" for name in sale.items)
            yield from method("item_id(self, line)", "one of these is what was bought", f"return {either}")
            names = ", ".join(f'"{name}"' for name in sale.items)
            body = f"return super().queryset().select_related({names})"
            yield from method("queryset(self)", "read with their items in one query", body)

    def _generic_item(self) -> Iterator[Line]:
        item = f"line.{self.sale.generic}"
        for key in dict.fromkeys(self.heads.values()):
            item = f'getattr({item}, "{key}", {item})'
        reason = "any kind of object, by its content type; a variant counts as its item"
        yield from method("item_id(self, line)", reason, f"return {item}")
        body = f'return super().queryset().prefetch_related("{self.sale.generic}")'
        yield from method("queryset(self)", "read with their objects, one query for each kind", body)

    def _order_id(self) -> Iterator[Line]:
        path = f"{self.sale.order}_id" if self.sale.order else "pk"
        if self.prefix:
            body = f'return f"{self.prefix}:{{{self.name}.{path}}}"'
            yield from method(f"order_id(self, {self.name})", "orders of another model have the same keys", body)
        else:
            yield assign("order_id", path, "groups the rows of one order" if self.sale.order else "a row is an order")

    def _user_path(self) -> str:
        path = facts.user_path(self.order_model)
        return f"{self.before}{path}" if path else facts.user_path(self.model)

    def _user(self) -> Iterator[Line]:
        if path := self._user_path():
            yield assign("user", path, "who bought it")

    def _email(self) -> Iterator[Line]:
        has_user = bool(self._user_path())
        if path := self._first(lambda field: field.name in words.EMAILS, (models.CharField,)):
            reason = "finds the user of an order without one" if has_user else "finds the user: orders have none"
            yield assign("email", path, reason)
        elif not has_user:
            reason = "orders name neither a user nor an address: they count for no visitor"
            yield assign("email", f"{self.before}email", reason, is_hint=True)

    def _visitor(self) -> Iterator[Line]:
        if path := self._first(lambda field: field.name in VISITORS, models.Field):
            yield assign("visitor", path, "the browser's visitor, stored with the order")
            return
        reason = 'store request.COOKIES.get("recommender_visitor", "") with the order to learn from guests too'
        yield assign("visitor", f"{self.before}visitor", reason, is_hint=True)

    def _occurred_at(self) -> Iterator[Line]:
        for model, before in self._owners():
            times = columns(model, facts.TIMES)
            field = facts.best(times, lambda name: words.fit(name, words.DATE, words.NOT_THE_DATE))
            if field is not None:
                yield assign("occurred_at", f"{before}{field.name}", "when")
                return
        yield assign("occurred_at", "…", "neither the row nor its order has a time: which one is it?", is_hint=True)

    def _quantity(self) -> Iterator[Line]:
        if name := orders.quantity_of(self.model):
            yield assign("quantity", name)

    def _price(self) -> Iterator[Line]:
        price, total, number = orders.price_of(self.model), orders.total_of(self.model), orders.quantity_of(self.model)
        if self.sale.json:
            return
        if price:
            yield assign("price", price, "of one piece")
        elif total and number:
            is_given = f"line.{total} is not None and line.{number}"
            body = f"return round(line.{total} / line.{number}, 2) if {is_given} else None"
            yield from method("price(self, line)", f"of one piece: {total} is that of all", body)
        elif total:
            yield assign("price", total)

    def _currency(self) -> Iterator[Line]:
        if path := self._first(lambda field: words.has(field.name, ("currency",)), (models.CharField,)):
            yield assign("currency", path)
        elif self.currency:
            yield Line(f'currency = Constant("{self.currency}")', "that of the shop")

    def _paid(self) -> Iterator[Line]:
        owner = self.order_model
        properties = (name for name in ("is_paid", "paid") if isinstance(getattr(owner, name, None), property))
        path = self._first(lambda field: _is_paid(field.name), FLAGS)
        path = path or next((f"{self.before}{name}" for name in properties), "")
        if path:
            yield assign("paid", path, "before that it is not a purchase")
            return
        state, values = self._states()
        if not state:
            reason = "no field tells paid from unpaid: every order counts"
            yield assign("paid", f"{self.before}paid", reason, is_hint=True)
        elif paid := _states_named(values, words.BOUGHT_STATES, ("un", "not", "unpaid")):
            body = f"return {self.name}.{state} {_among(paid)}"
            yield from method(f"paid(self, {self.name})", f"of the states {_listed(values)}", body)
        else:
            states = _listed(values) or "no orders yet that show"
            reason = f"which states of {state} mean paid? There are {states}; until you say it, all of them count"
            yield assign("paid", state, reason, is_hint=True)

    def _returned(self) -> Iterator[Line]:
        if path := self._first(lambda field: field.name in words.RETURNED, FLAGS):
            yield assign("returned", path, "then it came back")
            return
        state, values = self._states()
        if returned := _states_named(values, words.RETURNED_STATES, ("cancelled", "canceled")):
            body = f"return {self.name}.{state} {_among(returned)}"
            yield from method(f"returned(self, {self.name})", "then it came back", body)

    def _refunded(self) -> Iterator[Line]:
        if path := self._first(lambda field: field.name in REFUNDS, (models.BooleanField,)):
            yield assign("refunded", path, "a separate row that says that goods came back")

    def _drafts(self) -> Iterator[Line]:
        """Orders with lines in JSON: one row is many purchases, which a mapping cannot express."""
        if not self.sale.json:
            return
        keys, is_seen = self._keys_of_json()
        item = self.catalogued[0]._meta.model_name if self.catalogued else "product"
        source = "from the newest order" if is_seen else "guessed, because there is no order yet: check them"
        yield from method(
            "drafts(self, order)",
            f"An order keeps its lines in JSON, so this is code. The keys are {source}",
            "drafts = super().drafts(order)",
            "return [",
            "    dataclasses.replace(",
            "        draft,",
            '        message_id=f"{draft.message_id}:{n}",',
            f"        item_id=f\"{item}:{{line['{keys['item']}']}}\",",
            f'        quantity=line.get("{keys["quantity"]}", 1),',
            f'        price=line.get("{keys["price"]}"),',
            "    )",
            f"    for n, line in enumerate(order.{self.sale.json})",
            "    for draft in drafts",
            "]",
        )

    def _keys_of_json(self) -> tuple[dict[str, str], bool]:
        """The keys of item, quantity and price in a line, and whether an order shows them."""
        keys = {"item": "product_id", "quantity": "quantity", "price": "price"}
        try:
            newest = list(self.model._default_manager.order_by("-pk").values_list(self.sale.json, flat=True)[:20])
        except DatabaseError:
            newest = []
        line = next((rows[0] for rows in newest if isinstance(rows, list) and rows and isinstance(rows[0], dict)), None)
        if line is None:
            return keys, False
        for meaning, wanted in LINE_KEYS.items():
            against = () if meaning == "quantity" else ("total", "name", "title")
            fit, key = max(((words.fit(str(key), wanted, against), str(key)) for key in line), default=(0, ""))
            if fit >= 20:
                keys[meaning] = key
        return keys, True

    def _states(self) -> tuple[str, dict[Any, str]]:
        """The path of the state column, and the text of each state that may be chosen or is stored."""
        for model, before in self._owners():
            field = facts.best(
                columns(model, (models.CharField, models.IntegerField)),
                lambda name: words.fit(name, ("payment", "status", "state"), ("method", "type", "id")),
                least=60,
            )
            if field is not None and (field.name != "payment" or field.choices):
                return f"{before}{field.name}", _values(model, field)
        return "", {}

    def _owners(self) -> Iterator[tuple[Model, str]]:
        yield self.order_model, self.before
        if self.sale.order:
            yield self.model, ""

    def _first(self, is_wanted: Any, kinds: Any) -> str:
        """The path of the first wanted column of these kinds, of the order or of the row; empty if there is none."""
        owned = ((before, field) for model, before in self._owners() for field in columns(model, kinds))
        return next((f"{before}{field.name}" for before, field in owned if is_wanted(field)), "")


def _is_paid(name: str) -> bool:
    own = set(words.parts(name))
    is_named_paid = bool(own & {"paid", "payed", "bezahlt"}) or own == {"payment", "date"}
    return is_named_paid and not own & {"un", "unpaid", "not"}


def _states_named(values: Mapping[Any, str], wanted: tuple[str, ...], unwanted: tuple[str, ...]) -> list[Any]:
    return [value for value, text in values.items() if words.has(text, wanted) and not words.has(text, unwanted)]


def _values(model: Model, field: Any) -> dict[Any, str]:
    texts = {key: str(key) if str(key) == str(label).lower() else f"{key} {label}" for key, label in field.flatchoices}
    try:
        stored = list(model._default_manager.order_by().values_list(field.name, flat=True).distinct()[:MAX_STATES])
    except DatabaseError:
        stored = []
    return texts | {value: str(value) for value in stored if value not in texts and value not in ("", None)}


def _listed(values: Mapping[Any, str]) -> str:
    return ", ".join(list(values.values())[:MAX_STATES_SHOWN])


def _among(values: list[Any]) -> str:
    """The comparison with one state or with several, as Python."""
    texts = [f'"{value}"' if isinstance(value, str) else repr(value) for value in values]
    return f"== {texts[0]}" if len(texts) == 1 else f"in ({', '.join(texts)})"
