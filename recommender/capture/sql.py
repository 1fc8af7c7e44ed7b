"""Names and values as the database's own driver takes them, for the statements that Django's ORM cannot write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from django.db import connections, models

from recommender.models import Visitor
from recommender.models.encryption import EncryptedTextField


def column_name(model: type[models.Model], field_name: str, alias: str) -> str:
    """The quoted name of a field's column."""
    field: Any = model._meta.get_field(field_name)
    return connections[alias].ops.quote_name(field.column)


def column_names(model: type[models.Model], field_names: Sequence[str], alias: str) -> str:
    """The quoted names of the columns, separated by commas."""
    return ", ".join(column_name(model, name, alias) for name in field_names)


def prepared(
    model: type[models.Model], field_names: Sequence[str], rows: Iterable[Sequence[Any]], alias: str
) -> list[tuple[Any, ...]]:
    """Rows of values as the driver takes them. A visitor stands in a row as its key, not as its primary key."""
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
    for index, name in enumerate(field_names if columns else ()):
        field = Visitor._meta.get_field("key") if name == "visitor" else model._meta.get_field(name)
        if convert := _converter(field, connections[alias]):
            columns[index] = [value if value is None else convert(value) for value in columns[index]]
    return list(zip(*columns, strict=True))


def _converter(field: Any, connection: Any) -> Callable[[Any], Any] | None:
    """What Django's field does to a checked value, without the checks, which take most of its time."""
    if isinstance(field, models.DateTimeField):
        return cache(connection.ops.adapt_datetimefield_value)  # a batch was received at one moment
    if isinstance(field, models.UUIDField):
        return None if connection.features.has_native_uuid_field else (lambda key: key.hex)
    if isinstance(field, EncryptedTextField):
        return lambda text: text and field.get_db_prep_save(text, connection)
    if isinstance(field, models.DecimalField | models.JSONField):
        return lambda value: field.get_db_prep_save(value, connection)
    return None


def shared_lock(alias: str) -> str:
    """The end of a SELECT that keeps its rows from being erased until the transaction ends; SQLite has one lock for all
    writers."""
    return " FOR KEY SHARE" if connections[alias].vendor == "postgresql" else ""


def locked_rows(values: models.QuerySet[Any], alias: str) -> list[tuple[Any, ...]]:
    """The rows of a `values_list` as the driver returns them; they stay locked as `shared_lock` says. One query."""
    sql, params = values.query.get_compiler(using=alias).as_sql()
    with connections[alias].cursor() as cursor:
        cursor.execute(sql + shared_lock(alias), params)
        return list(cursor.fetchall())
