"""Describes a shop's order rows from outside, and turns each into the draft of a purchase, a refund or both."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models
from django.utils import timezone

from recommender import conf
from recommender.capture import EventDraft
from recommender.catalog import Catalog, catalogs_for, item_id_of
from recommender.catalog.paths import (
    Constant,
    ModelDescription,
    belongings,
    column,
    foreign_keys,
    last_field,
    models_on,
    object_key,
    path_faults,
    paths_in,
    resolve,
)
from recommender.catalog.values import moment, number
from recommender.exceptions import ConfigurationError
from recommender.identity import user_key_of
from recommender.tracking.addresses import users_by_address
from recommender.tracking.odd_values import sound, visitor_key
from recommender.types import EventType

ATTRIBUTES = (
    "item_id", "order_id", "user", "occurred_at", "quantity", "price", "currency", "refunded", "paid", "returned",
    "visitor", "email",
)  # fmt: skip
REQUIRED = ("item_id", "order_id", "occurred_at")

USER_BY_EMAIL = "recommender_user_by_email"
RETURNED = "returned:"
"""Begins the message id of the refund of a row that says itself that it came back."""

Read = tuple["models.QuerySet[Any]", Callable[[Any], list[EventDraft]], Callable[[Any], Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowValues:
    """The values of one row, by the attributes of `OrderRows`."""

    pk: Any = field(kw_only=False)
    item_id: Any
    order_id: Any
    user: Any
    occurred_at: Any
    quantity: Any
    price: Any
    currency: Any
    refunded: Any
    paid: Any
    returned: Any
    visitor: Any


class OrderRows(ModelDescription):
    """An order's row as a purchase: each attribute is a dotted path, a `Constant` or a method that takes the row.

    `item_id` may end in an object that has a Catalog, `user` in a user. A row whose `refunded` is true is a refund, and
    so is a negative quantity. A row counts once its `paid` is true, or a time; it is a refund beside its purchase once
    its `returned` is. `visitor` is what `recommender.identity` knew of the browser when the shop kept it; `email` finds
    the user of an order without one. Where all attributes are paths of columns, the past is read without objects.
    A `paid` that is a state in words counts where it is one of `paid_values`; a number in `returned` is of units.
    `kind` begins the message ids: give a second class for the same model, such as one of refunds, another one.
    """

    kind: str = "order"
    item_id: Any = None
    order_id: Any = None
    user: Any = None
    occurred_at: Any = None
    quantity: Any = Constant(1)
    price: Any = None
    currency: Any = Constant("")
    refunded: Any = Constant(False)
    paid: Any = Constant(True)
    paid_values: Collection[Any] = ()
    returned: Any = Constant(None)
    visitor: Any = Constant(None)
    email: Any = None
    _decorator = "track_rows"

    def queryset(self) -> models.QuerySet[Any]:
        """The rows that count; leave out what is not bought yet."""
        return self.model._default_manager.all()

    @property
    def may_change(self) -> bool:
        """May a saved row become a purchase or come back later?"""
        return not (isinstance(self.paid, Constant) and isinstance(self.returned, Constant))

    @property
    def makes_own_drafts(self) -> bool:
        """Does the shop's class replace `drafts`, as for orders that keep their lines in JSON?"""
        return type(self).drafts is not OrderRows.drafts

    def lookup_of(self, model: type[models.Model]) -> str:
        """The look-up from the rows to objects of a model whose saving may mean that rows are paid or returned; else
        empty."""
        try:
            return self._followed.get(model._meta.concrete_model, "")
        except ConfigurationError:  # a label that names no model: a system check reports it, the shop's save goes on
            return ""

    @cached_property
    def _followed(self) -> dict[Any, str]:
        """The answers of `lookup_of` by model: the orders that `paid` and `returned` lead through. What a method or a
        property reads is unknown: then every order, and every model with a foreign key to it or to a row."""
        declared = [one for one in (self.paid, self.returned) if not isinstance(one, Constant)]
        paths = [path for one in declared for path in paths_in(one)]
        is_open = any(not isinstance(one, str) or column(self.model, one) is None for one in declared)
        if is_open:
            others = [getattr(self, name) for name in ATTRIBUTES if name not in ("item_id", "user")]
            paths += [path for one in others for path in paths_in(one)] + self._parents()
        links = [link for path in paths for link in models_on(self.model, path).items()]
        orders: dict[Any, str] = {model._meta.concrete_model: lookup for lookup, model in reversed(links)}
        if not is_open:
            return orders
        parts = [part for model, lookup in [*orders.items(), (self.model, "")] for part in belongings(model, lookup)]
        return {**{model: lookup for model, lookup in parts if model is not self.model}, **orders}

    def _parents(self) -> list[str]:
        """The foreign keys of a row that may lead to its order: neither to an item nor to a user."""
        fields = [field for field in self.model._meta.fields if isinstance(field, models.ForeignKey)]
        users = get_user_model()
        return [one.name for one in fields if not catalogs_for(one.related_model) and one.related_model is not users]

    def objects(self) -> models.QuerySet[Any]:
        """The rows with everything that the paths lead to, in one query."""
        paths = [path for name in ATTRIBUTES if isinstance(path := getattr(self, name), str)]
        joins = {join for path in paths if (join := foreign_keys(self.model, path))} | self._heirs_of_items()
        return self._counting().select_related(*sorted(joins)) if joins else self._counting()

    def message_id(self, pk: Any) -> str:
        """The id under which a row is recorded once, by whichever way it arrives."""
        return f"{self.kind}:{self.label.lower()}:{object_key(pk)}"

    def drafts(self, row: models.Model) -> list[EventDraft]:
        """The events of one row object: its purchase or its refund, both if it was returned; none before it is paid."""
        values = {name: self._value(name, row) for name in ATTRIBUTES if name != "email"}
        if isinstance(values["item_id"], models.Model):
            values["item_id"] = item_id_of(values["item_id"])
        if values["user"] is None and self.email is not None and not hasattr(row, USER_BY_EMAIL):
            self.with_users([row])
        if values["user"] is None:
            values["user"] = getattr(row, USER_BY_EMAIL, None)
        if isinstance(values["user"], models.Model):
            values["user"] = user_key_of(values["user"])
        return self._drafts(RowValues(row.pk, **values))

    def reader(self) -> Read:
        """How to read many rows: the queryset, the function that makes drafts of one row, and that of its primary
        key."""
        columns = self.columns()
        if columns is None or self.makes_own_drafts:
            return self.objects(), self.drafts, lambda row: row.pk
        fixed = {name: self._value(name, None) for name in ATTRIBUTES if name not in columns}
        prefix = self._item_prefix() if "item_id" in columns else ""
        names = tuple(columns)

        def drafts(row: tuple[Any, ...]) -> list[EventDraft]:
            values = {**fixed, **dict(zip(names, row[1:], strict=True))}
            if prefix and values["item_id"] is not None:
                values["item_id"] = f"{prefix}{values['item_id']}"
            by_email = values.pop("email")
            if values["user"] is None:
                values["user"] = by_email
            return self._drafts(RowValues(row[0], **values))

        return self._counting().values_list("pk", *columns.values()), drafts, lambda row: row[0]

    def columns(self) -> dict[str, str] | None:
        """The column of each attribute that is a path; None where a method or a property needs the object."""
        columns = {}
        for name in ATTRIBUTES:
            declared = getattr(self, name)
            if isinstance(declared, str):
                lookup = _column(self.model, declared, is_item=name == "item_id")
                if lookup is None:
                    return None
                columns[name] = lookup
            elif callable(declared):
                return None
        return columns

    def since(self, rows: models.QuerySet[Any], at: dt.datetime | None) -> models.QuerySet[Any]:
        """The rows from a moment on, if their time is a column; else all."""
        lookup = column(self.model, self.occurred_at) if isinstance(self.occurred_at, str) else None
        return rows if at is None or lookup is None else rows.filter(**{f"{lookup}__gte": at})

    def with_users(self, rows: Iterable[Any]) -> list[Any]:
        """Rows of `reader` or of `objects`, each with the user of its e-mail address, as their drafts need it.

        Addresses are compared without regard to case, because Django lower-cases only their domain; an exact match
        comes first. One query for each 500 addresses.
        """
        rows = list(rows)
        if self.email is None or not rows:
            return rows
        if isinstance(rows[0], tuple):
            index = 1 + list(self.columns() or {}).index("email")
            users = users_by_address(row[index] for row in rows)
            return [(*row[:index], users.get(row[index]), *row[index + 1 :]) for row in rows]
        users = users_by_address(self._value("email", row) for row in rows)
        for row in rows:
            setattr(row, USER_BY_EMAIL, users.get(self._value("email", row)))
        return rows

    def _counting(self) -> models.QuerySet[Any]:
        """The rows that are paid, where that is a column."""
        rows = self.queryset()
        if isinstance(self.paid, str) and (lookup := column(self.model, self.paid)):
            is_flag = isinstance(last_field(self.model, self.paid), models.BooleanField)
            counting: Any = {lookup: True} if is_flag else {f"{lookup}__isnull": False}
            rows = rows.filter(**({f"{lookup}__in": list(self.paid_values)} if self.paid_values else counting))
        return rows

    def states(self) -> list[tuple[str, str, list[Any]]]:
        """`(attribute, path, values)` of each flag that is a state in words, so that every value counts as true."""
        flags = [("paid", self.paid), ("returned", self.returned), ("refunded", self.refunded)]
        states = []
        for name, path in flags:
            field = last_field(self.model, path) if isinstance(path, str) and column(self.model, path) else None
            is_state = isinstance(field, models.CharField | models.TextField) or bool(getattr(field, "choices", None))
            if field is not None and is_state and not (name == "paid" and self.paid_values):
                states.append((name, path, [value for value, _ in field.flatchoices if value not in (None, "")]))
        return states

    def faults(self) -> list[tuple[str, str]]:
        """`(attribute, message)` of what is missing or misspelt."""
        name_of = type(self).__name__
        faults = [
            (name, f"{name_of}.{name} must be a path of {self.label}, a Constant or a method.")
            for name in REQUIRED
            if getattr(self, name) is None
        ]
        faults += path_faults(self.model, name_of, {name: getattr(self, name) for name in ATTRIBUTES})
        faults += self._faults_of_states()
        if self.email is not None and not (isinstance(self.email, str) and column(self.model, self.email)):
            faults.append(("email", f"{name_of}.email must be the path of a column: the users are faults by SQL."))
        return faults

    def _faults_of_states(self) -> Iterator[tuple[str, str]]:
        if not self.paid_values:
            return
        field = last_field(self.model, self.paid) if isinstance(self.paid, str) else None
        if field is None or not column(self.model, self.paid):
            yield "paid_values", f"{type(self).__name__}.paid_values needs a `paid` that is the path of a column."
            return
        states = [state for state, _ in field.flatchoices]
        for value in self.paid_values:
            if states and value not in states:
                hint = conf.closest(str(value), [str(state) for state in states])
                message = f"{type(self).__name__}.paid_values has {value!r}, which {self.paid!r} never is. {hint}"
                yield "paid_values", message.strip()

    def _value(self, name: str, row: Any) -> Any:
        return resolve(getattr(self, name), row)

    def _drafts(self, row: RowValues) -> list[EventDraft]:
        if not (row.paid in self.paid_values if self.paid_values else row.paid):
            return []
        bought = self._draft(row)
        if not row.returned or bought.type == EventType.REFUND:
            return [bought]
        n_units = None if isinstance(row.returned, bool) else number(row.returned)
        n_returned = bought.quantity if n_units is None else min(float(n_units), bought.quantity)
        if n_returned <= 0:
            return [bought]
        returned = dataclasses.replace(
            bought,
            message_id=f"{RETURNED}{self.message_id(row.pk)}",
            type=EventType.REFUND,
            occurred_at=moment(row.returned) or timezone.now(),
            quantity=n_returned,
            emptied=(),
        )
        return [bought, returned]

    def _draft(self, row: RowValues) -> EventDraft:
        draft = EventDraft(
            message_id=self.message_id(row.pk),
            type=EventType.REFUND if row.refunded else EventType.PURCHASE,
            occurred_at=moment(row.occurred_at) or timezone.now(),
            item_id="" if row.item_id is None else str(row.item_id),
            quantity=row.quantity,
            price=row.price,
            currency=row.currency,
            order_id="" if row.order_id is None else str(row.order_id),
            source="order",
            visitor_key=visitor_key(row.visitor),
            user_key=None if row.user is None else str(row.user),
        )
        return sound(draft)

    def _item_prefix(self) -> str:
        """What a Catalog without ids of its own puts before the primary key; empty if the path ends in an id."""
        current: Any = self.model
        for part in self.item_id.replace("__", ".").split("."):
            field = current._meta.get_field(part)
            current = getattr(field, "related_model", None) if part == field.name else None
            if current is None:
                return ""
        catalog = _catalog_of_all(current)
        return f"{catalog.model._meta.model_name}:" if catalog is not None and catalog.id is None else ""

    def _heirs_of_items(self) -> set[str]:
        """The joins that show which child of its model an item is, if children have Catalogs of their own."""
        if not isinstance(self.item_id, str):
            return set()
        join = foreign_keys(self.model, self.item_id)
        model = models_on(self.model, self.item_id).get(join)
        catalogs = catalogs_for(model) if model is not None else []
        return {f"{join}__{heir}" for catalog in catalogs for _, heir in catalog.inheriting_catalogs() if heir}


def _catalog_of_all(model: type[models.Model]) -> Catalog | None:
    """The Catalog of all objects of a model; None if children or proxies have Catalogs of their own."""
    catalogs = catalogs_for(model)
    return catalogs[0] if len(catalogs) == 1 and not catalogs[0].inheriting_catalogs() else None


def _column(model: type[models.Model], path: str, *, is_item: bool = False) -> str | None:
    """A path as `values_list` takes it; None if it is no column. The path of an item's object gets its Catalog's id."""
    lookup, field = column(model, path), last_field(model, path)
    if lookup is None or not is_item or not isinstance(field, models.ForeignKey) or not path.endswith(field.name):
        return lookup
    catalog = _catalog_of_all(field.related_model)
    if catalog is None or catalog.group is not None or not (catalog.id is None or isinstance(catalog.id, str)):
        return None
    return lookup if catalog.id is None else _column(model, f"{path}.{catalog.id}")
