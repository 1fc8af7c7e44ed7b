"""The lines of an `OrderRows` for one model of sold rows, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.db import DatabaseError, models

from recommender.management.drafting import facts, orders, words
from recommender.management.drafting.facts import Line, columns
from recommender.management.drafting.orders import Model, Sale

MAX_STATES = 30
VISITORS = ("visitor", "recommender_visitor", "visitor_id", "visitor_key", "visitor_token")
REFUNDS = ("is_refund", "is_return", "is_cancellation", "is_credit", "is_credit_note")
LINE_KEYS = {"item": (*words.PRODUCT, "id", "pk"), "quantity": words.QUANTITY, "price": words.UNIT_PRICE}


class RowLines:
    """What to write in the OrderRows of a sale. `heads` maps a variant's model to its key to the item."""

    def __init__(
        self, sale: Sale, heads: Mapping[Model, str], catalogued: list[Model], currency: str, *, prefix: str = ""
    ) -> None:
        self.sale, self.heads, self.catalogued, self.currency, self.prefix = sale, heads, catalogued, currency, prefix
        self.model, self.order_model = sale.model, sale.order_model
        self.name = "order" if sale.json else "line"
        self.before = f"{sale.order}." if sale.order else ""

    def lines(self) -> list[Line]:
        """All of them, in the order in which they are read."""
        parts = (
            self._item_id, self._order_id, self._user, self._email, self._visitor, self._occurred_at, self._quantity,
            self._price, self._currency, self._paid, self._returned, self._refunded, self._drafts,
        )  # fmt: skip
        return [line for part in parts for line in part()]

    def _item_id(self) -> Iterator[Line]:
        sale = self.sale
        if sale.json:
            yield Line(f"def item_id(self, {self.name}):", "each line names its own, see drafts() below")
            yield Line('    return ""')
        elif sale.generic and not sale.items:
            yield from self._generic_item()
        elif len(sale.items) == 1:
            (name,) = sale.items
            head = self.heads.get(sale.item_models[0], "")
            reason = f"a variant of {head}" if head else f"what was bought: {sale.item_models[0].__name__}"
            yield Line(f'item_id = "{name}.{head}"' if head else f'item_id = "{name}"', reason)
        else:
            named = [f"line.{name}" for name in sale.items]
            yield Line("def item_id(self, line):", "one of these is what was bought")
            yield Line(f"    return {' or '.join(named)}")
            yield Line("")
            yield Line("def queryset(self):", "read with their items in one query")
            yield Line(
                f"    return super().queryset().select_related({', '.join(chr(34) + n + chr(34) for n in sale.items)})"
            )
            yield Line("")

    def _generic_item(self) -> Iterator[Line]:
        keys = dict.fromkeys(self.heads.values())
        name = self.sale.generic
        yield Line("def item_id(self, line):", "any kind of object, by its content type; a variant counts as its item")
        found = f"line.{name}"
        for key in keys:
            found = f'getattr({found}, "{key}", {found})'
        yield Line(f"    return {found}")
        yield Line("")
        yield Line("def queryset(self):", "read with their objects, a query for each kind")
        yield Line(f'    return super().queryset().prefetch_related("{name}")')
        yield Line("")

    def _order_id(self) -> Iterator[Line]:
        path = f"{self.sale.order}_id" if self.sale.order else "pk"
        if self.prefix:
            yield Line(f"def order_id(self, {self.name}):", "orders of another model have the same keys")
            yield Line(f'    return f"{self.prefix}:{{{self.name}.{path}}}"')
            return
        yield Line(
            f'order_id = "{path}"', "what groups the rows of one order" if self.sale.order else "a row is an order"
        )

    def _user(self) -> Iterator[Line]:
        own, path = facts.user_path(self.model), facts.user_path(self.order_model)
        if path:
            yield Line(f'user = "{self.before}{path}"', "who bought it")
        elif own:
            yield Line(f'user = "{own}"', "who bought it")

    def _email(self) -> Iterator[Line]:
        found = self._first(lambda field: field.name in words.EMAILS, (models.CharField,))
        has_user = any(True for _ in self._user())
        if found:
            yield Line(
                f'email = "{found}"',
                "finds the user of an order without one" if has_user else "finds the user: orders have none",
            )
        elif not has_user:
            yield Line(
                f'email = "{self.before}email"',
                "orders name neither a user nor an address: they count for nobody",
                is_hint=True,
            )

    def _visitor(self) -> Iterator[Line]:
        found = self._first(lambda field: field.name in VISITORS, models.Field)
        if found:
            yield Line(f'visitor = "{found}"', "what the shop kept of the browser")
            return
        path = f"{self.before}visitor"
        reason = 'keep request.COOKIES.get("recommender_visitor", "") with the order, and guests teach too'
        yield Line(f'visitor = "{path}"', reason, is_hint=True)

    def _occurred_at(self) -> Iterator[Line]:
        for model, before in self._owners():
            fit = lambda name: words.fit(name, words.DATE, words.NOT_THE_DATE)  # noqa: E731
            field = facts.best(columns(model, facts.TIMES), fit)
            if field is not None:
                yield Line(f'occurred_at = "{before}{field.name}"', "when")
                return
        yield Line('occurred_at = "…"', "neither the row nor its order has a time: which one is it?", is_hint=True)

    def _quantity(self) -> Iterator[Line]:
        name = orders.quantity_of(self.model)
        if name:
            yield Line(f'quantity = "{name}"', "")

    def _price(self) -> Iterator[Line]:
        price, total, number = orders.price_of(self.model), orders.total_of(self.model), orders.quantity_of(self.model)
        if self.sale.json:
            return
        if price:
            yield Line(f'price = "{price}"', "of one piece")
        elif total and number:
            yield Line("def price(self, line):", f"of one piece: {total} is that of all")
            is_there = f"line.{total} is not None and line.{number}"
            yield Line(f"    return round(line.{total} / line.{number}, 2) if {is_there} else None")
        elif total:
            yield Line(f'price = "{total}"', "")

    def _currency(self) -> Iterator[Line]:
        found = self._first(lambda field: words.has(field.name, ("currency",)), (models.CharField,))
        if found:
            yield Line(f'currency = "{found}"', "")
        elif self.currency:
            yield Line(f'currency = Constant("{self.currency}")', "that of the shop")

    def _paid(self) -> Iterator[Line]:
        found = self._first(lambda field: _is_paid(field.name), (models.BooleanField, *facts.TIMES))
        found = found or next(
            (
                f"{self.before}{name}"
                for name in ("is_paid", "paid")
                if isinstance(getattr(self.order_model, name, None), property)
            ),
            "",
        )
        if found:
            yield Line(f'paid = "{found}"', "before that it is no purchase")
            return
        state, values = self._states()
        if not state:
            yield Line(
                f'paid = "{self.before}paid"', "no field tells paid from unpaid: every order counts", is_hint=True
            )
            return
        bought = [
            value
            for value, text in values.items()
            if words.has(text, words.BOUGHT_STATES) and not words.has(text, ("un", "not", "unpaid"))
        ]
        if bought:
            yield Line(f"def paid(self, {self.name}):", f"of the states {_told(values)}")
            yield Line(f"    return {self.name}.{state} {_among(bought)}")
        else:
            there = _told(values) or "no orders yet that show"
            reason = f"which states of {state} mean paid? There are {there}; until this says it, all count"
            yield Line(f'paid = "{state}"', reason, is_hint=True)

    def _returned(self) -> Iterator[Line]:
        found = self._first(lambda field: field.name in words.RETURNED, (models.BooleanField, *facts.TIMES))
        if found:
            yield Line(f'returned = "{found}"', "then it came back")
            return
        state, values = self._states()
        back = [
            value
            for value, text in values.items()
            if words.has(text, words.RETURNED_STATES) and not words.has(text, ("cancelled", "canceled"))
        ]
        if back:
            yield Line(f"def returned(self, {self.name}):", "then it came back")
            yield Line(f"    return {self.name}.{state} {_among(back)}")

    def _refunded(self) -> Iterator[Line]:
        found = self._first(lambda field: field.name in REFUNDS, (models.BooleanField,))
        if found:
            yield Line(f'refunded = "{found}"', "a row of its own that says that goods came back")

    def _drafts(self) -> Iterator[Line]:
        """Orders with lines in JSON: one row is many purchases, which is code and no mapping."""
        if not self.sale.json:
            return
        keys, is_seen = self._keys_of_json()
        item = self.catalogued[0]._meta.model_name if self.catalogued else "product"
        seen = "as the newest order has them" if is_seen else "guessed, for there is no order yet: look at them"
        yield Line("")
        yield Line("def drafts(self, order):", f"A mapping cannot do it: an order keeps its lines in JSON. Keys {seen}")
        yield Line("    drafts = super().drafts(order)")
        yield Line("    return [")
        yield Line("        dataclasses.replace(")
        yield Line("            draft,")
        yield Line('            message_id=f"{draft.message_id}:{n}",')
        yield Line(f"            item_id=f\"{item}:{{line['{keys['item']}']}}\",")
        yield Line(f'            quantity=line.get("{keys["quantity"]}", 1),')
        yield Line(f'            price=line.get("{keys["price"]}"),')
        yield Line("        )")
        yield Line(f"        for n, line in enumerate(order.{self.sale.json})")
        yield Line("        for draft in drafts")
        yield Line("    ]")

    def _keys_of_json(self) -> tuple[dict[str, str], bool]:
        keys = {"item": "product_id", "quantity": "quantity", "price": "price"}
        try:
            newest = list(self.model._default_manager.order_by("-pk").values_list(self.sale.json, flat=True)[:20])
        except DatabaseError:
            newest = []
        line = next((rows[0] for rows in newest if isinstance(rows, list) and rows and isinstance(rows[0], dict)), None)
        if line is None:
            return keys, False
        for meaning, wanted in LINE_KEYS.items():
            fitting = [
                (words.fit(str(key), wanted, ("total", "name", "title") if meaning != "quantity" else ()), str(key))
                for key in line
            ]
            if fitting and max(fitting)[0] >= 20:
                keys[meaning] = max(fitting)[1]
        return keys, True

    def _states(self) -> tuple[str, dict[Any, str]]:
        """The path of the column of states, and each state with its text: what may be chosen and what there is."""
        for model, before in self._owners():
            fields = (field for field in columns(model, (models.CharField, models.IntegerField)))
            field = facts.best(
                fields, lambda name: words.fit(name, ("payment", "status", "state"), ("method", "type", "id")), least=60
            )
            if field is not None and (field.name not in ("payment",) or field.choices):
                return f"{before}{field.name}", _values(model, field)
        return "", {}

    def _owners(self) -> Iterator[tuple[Model, str]]:
        yield self.order_model, self.before
        if self.sale.order:
            yield self.model, ""

    def _first(self, is_wanted: Any, kinds: Any) -> str:
        """The path of the first column of these kinds that is wanted, of the order or of the row."""
        for model, before in self._owners():
            for field in columns(model, kinds):
                if is_wanted(field):
                    return f"{before}{field.name}"
        return ""


def _is_paid(name: str) -> bool:
    own = set(words.parts(name))
    return bool(
        own & {"paid", "payed", "bezahlt"} | ({"payment"} if own == {"payment", "date"} else set())
    ) and not own & {"un", "unpaid", "not"}


def _values(model: Model, field: Any) -> dict[Any, str]:
    texts = {key: str(key) if str(key) == str(label).lower() else f"{key} {label}" for key, label in field.flatchoices}
    try:
        stored = list(model._default_manager.order_by().values_list(field.name, flat=True).distinct()[:MAX_STATES])
    except DatabaseError:
        stored = []
    return texts | {value: str(value) for value in stored if value not in texts and value not in ("", None)}


def _told(values: dict[Any, str]) -> str:
    return ", ".join(list(values.values())[:8])


def _among(values: list[Any]) -> str:
    """The comparison with one state or with several, as Python."""
    texts = [f'"{value}"' if isinstance(value, str) else repr(value) for value in values]
    return f"== {texts[0]}" if len(texts) == 1 else f"in ({', '.join(texts)})"
