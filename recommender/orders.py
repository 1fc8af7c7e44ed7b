"""A shop's order rows described from outside: a row in, the draft of a purchase or a refund out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from functools import cached_property
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models
from django.utils import timezone

from recommender.capture import EventDraft
from recommender.catalog import Catalog, catalogs_for, item_id_of
from recommender.identity import user_key_of, visitor_key_from, visitor_key_from_cookie
from recommender.paths import (
    Constant,
    column,
    foreign_keys,
    last_field,
    model_of,
    models_on,
    path_faults,
    resolve,
)
from recommender.types import EventType
from recommender.values import moment

ATTRIBUTES = (
    "item_id", "order_id", "user", "occurred_at", "quantity", "price", "currency", "refunded", "paid", "returned",
    "visitor", "email",
)  # fmt: skip
REQUIRED = ("item_id", "order_id", "occurred_at")

USER_BY_EMAIL = "recommender_user_by_email"

Read = tuple["models.QuerySet[Any]", Callable[[Any], list[EventDraft]], Callable[[Any], Any]]


class OrderRows:
    """An order's row as a purchase: each attribute is a dotted path, a `Constant` or a method that takes the row.

    `item_id` may end in an object that has a Catalog, `user` in a user. A row whose `refunded` is true is a refund, and
    so is a negative quantity. A row counts once its `paid` is true, or a time; it is a refund beside its purchase once
    its `returned` is. `visitor` is what `recommender.identity` knew of the browser when the shop kept it; `email` finds
    the user of an order without one. Where all attributes are paths of columns, the past is read without objects.
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
    returned: Any = Constant(None)
    visitor: Any = Constant(None)
    email: Any = None

    def __init__(self, label: str) -> None:
        self.label = label

    @cached_property
    def model(self) -> type[models.Model]:
        """The shop's model of a row. Raises `ConfigurationError` where the label names none."""
        return model_of(self.label, "track_rows")

    def queryset(self) -> models.QuerySet[Any]:
        """The rows that count; leave out what is not bought yet."""
        return self.model._default_manager.all()

    @property
    def may_change(self) -> bool:
        """May a saved row become a purchase or come back later?"""
        return not (isinstance(self.paid, Constant) and isinstance(self.returned, Constant))

    def lookup_of(self, model: type[models.Model]) -> str:
        """The look-up from the rows to the orders whose saving may mean that they are paid or returned, or nothing."""
        for declared in (self.paid, self.returned):
            if isinstance(declared, str):
                for lookup, found in models_on(self.model, declared).items():
                    if found is model:
                        return lookup
        return ""

    def objects(self) -> models.QuerySet[Any]:
        """The rows with all that the paths lead to, in one query."""
        paths = [path for name in ATTRIBUTES if isinstance(path := getattr(self, name), str)]
        joins = {join for path in paths if (join := foreign_keys(self.model, path))} | self._heirs_of_items()
        return self._counting().select_related(*sorted(joins)) if joins else self._counting()

    def message_id(self, pk: Any) -> str:
        """The id under which a row is recorded once, whoever tells of it."""
        return f"{self.kind}:{self.label.lower()}:{pk}"

    def drafts(self, row: models.Model) -> list[EventDraft]:
        """The events of one row object: its purchase or its refund, both where it came back; none before it is paid."""
        told = {name: self._value(name, row) for name in ATTRIBUTES if name != "email"}
        if isinstance(told["item_id"], models.Model):
            told["item_id"] = item_id_of(told["item_id"])
        if told["user"] is None:
            told["user"] = getattr(row, USER_BY_EMAIL, None)
        if isinstance(told["user"], models.Model):
            told["user"] = user_key_of(told["user"])
        return self._drafts(row.pk, **told)

    def reader(self) -> Read:
        """How to read many rows: what to take chunks of, what makes drafts of one, what tells its primary key."""
        columns = self.columns()
        if columns is None:
            return self.objects(), self.drafts, lambda row: row.pk
        fixed = {name: self._value(name, None) for name in ATTRIBUTES if name not in columns}
        prefix = self._item_prefix() if "item_id" in columns else ""
        names = tuple(columns)

        def drafts(row: tuple[Any, ...]) -> list[EventDraft]:
            told = {**fixed, **dict(zip(names, row[1:], strict=True))}
            if prefix and told["item_id"] is not None:
                told["item_id"] = f"{prefix}{told['item_id']}"
            by_email = told.pop("email")
            if told["user"] is None:
                told["user"] = by_email
            return self._drafts(row[0], **told)

        return self._counting().values_list("pk", *columns.values()), drafts, lambda row: row[0]

    def columns(self) -> dict[str, str] | None:
        """The column of each attribute that is a path; None where a method or a property needs the object."""
        columns = {}
        for name in ATTRIBUTES:
            declared = getattr(self, name)
            if isinstance(declared, str):
                column = _column(self.model, declared, is_item=name == "item_id")
                if column is None:
                    return None
                columns[name] = USER_BY_EMAIL if name == "email" else column
            elif callable(declared):
                return None
        return columns

    def since(self, rows: models.QuerySet[Any], at: dt.datetime | None) -> models.QuerySet[Any]:
        """Those of the rows from a moment on, where their time is a column; else all."""
        column = _column(self.model, self.occurred_at) if isinstance(self.occurred_at, str) else None
        return rows if at is None or column is None else rows.filter(**{f"{column}__gte": at})

    def _counting(self) -> models.QuerySet[Any]:
        """The rows that are paid, where that is a column; with the user of their e-mail address, where that is one."""
        rows = self.queryset()
        if isinstance(self.paid, str) and (column := _column(self.model, self.paid)):
            is_flag = isinstance(last_field(self.model, self.paid), models.BooleanField)
            rows = rows.filter(**({column: True} if is_flag else {f"{column}__isnull": False}))
        if isinstance(self.email, str):
            user = get_user_model()
            address = {user.get_email_field_name(): models.OuterRef(self.email.replace(".", "__"))}
            known = user._default_manager.filter(**address).exclude(**dict.fromkeys(address, "")).order_by("pk")
            rows = rows.annotate(**{USER_BY_EMAIL: models.Subquery(known.values("pk")[:1])})
        return rows

    def faults(self) -> list[tuple[str, str]]:
        """`(attribute, message)` of what is missing or misspelt."""
        name_of = type(self).__name__
        found = [
            (name, f"{name_of}.{name} must be a path of {self.label}, a Constant or a method.")
            for name in REQUIRED
            if getattr(self, name) is None
        ]
        found += path_faults(self.model, name_of, {name: getattr(self, name) for name in ATTRIBUTES})
        if self.email is not None and not (isinstance(self.email, str) and _column(self.model, self.email)):
            found.append(("email", f"{name_of}.email must be the path of a column: the users are found by SQL."))
        return found

    def _value(self, name: str, row: Any) -> Any:
        return resolve(getattr(self, name), row)

    def _drafts(self, pk: Any, *, paid: Any, returned: Any, **told: Any) -> list[EventDraft]:
        if not paid:
            return []
        bought = self._draft(pk, **told)
        if not returned or bought.type == EventType.REFUND:
            return [bought]
        came_back = moment(returned) or timezone.now()
        message_id = f"returned:{self.message_id(pk)}"
        back = dataclasses.replace(bought, message_id=message_id, type=EventType.REFUND, occurred_at=came_back)
        return [bought, back]

    def _draft(
        self,
        pk: Any,
        *,
        item_id: Any,
        order_id: Any,
        user: Any,
        occurred_at: Any,
        quantity: Any,
        price: Any,
        currency: Any,
        refunded: Any,
        visitor: Any,
    ) -> EventDraft:
        is_refund = bool(refunded) or quantity < 0
        return EventDraft(
            message_id=self.message_id(pk),
            type=EventType.REFUND if is_refund else EventType.PURCHASE,
            occurred_at=moment(occurred_at) or timezone.now(),
            item_id="" if item_id is None else str(item_id),
            quantity=abs(quantity),
            price=None if isinstance(price, int | float | Decimal) and price < 0 else price,
            currency=currency or "",
            order_id="" if order_id is None else str(order_id),
            source="order",
            visitor_key=_visitor_key(visitor),
            user_key=None if user is None else str(user),
        )

    def _item_prefix(self) -> str:
        """What a Catalog without ids of its own writes before the primary key; nothing where the path ends in an id."""
        current: Any = self.model
        for part in self.item_id.replace("__", ".").split("."):
            field = current._meta.get_field(part)
            current = getattr(field, "related_model", None) if part == field.name else None
            if current is None:
                return ""
        catalog = _catalog_of_all(current)
        return f"{catalog.model._meta.model_name}:" if catalog is not None and catalog.id is None else ""

    def _heirs_of_items(self) -> set[str]:
        """The joins that tell of which child of its model an item is, where children have Catalogs of their own."""
        if not isinstance(self.item_id, str):
            return set()
        join = foreign_keys(self.model, self.item_id)
        model = models_on(self.model, self.item_id).get(join)
        catalogs = catalogs_for(model) if model is not None else []
        return {f"{join}__{heir}" for catalog in catalogs for _, heir in catalog.inheriting_catalogs() if heir}


def _visitor_key(kept: Any) -> uuid.UUID | None:
    """The key, the cookie or the token that a shop kept with an order; None for anything else."""
    if isinstance(kept, uuid.UUID) or not kept:
        return kept or None
    text = str(kept)
    try:
        return visitor_key_from_cookie(text) or visitor_key_from(text) or uuid.UUID(text)
    except ValueError:
        return None


def _catalog_of_all(model: type[models.Model]) -> Catalog | None:
    """The one Catalog that all objects of a model are items of; None where children or proxies have their own."""
    catalogs = catalogs_for(model)
    return catalogs[0] if len(catalogs) == 1 and not catalogs[0].inheriting_catalogs() else None


def _column(model: type[models.Model], path: str, *, is_item: bool = False) -> str | None:
    """A path as `values_list` takes it; None where it leaves the columns. An item's object ends in its Catalog's id."""
    lookup, field = column(model, path), last_field(model, path)
    if lookup is None or not is_item or not isinstance(field, models.ForeignKey) or not path.endswith(field.name):
        return lookup
    catalog = _catalog_of_all(field.related_model)
    if catalog is None or catalog.group is not None or not (catalog.id is None or isinstance(catalog.id, str)):
        return None
    return lookup if catalog.id is None else _column(model, f"{path}.{catalog.id}")
