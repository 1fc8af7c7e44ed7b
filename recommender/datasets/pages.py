"""Reads rows of SQL by primary key, a page at a time, so that no transaction is long and no table is held in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import models

CHUNK_SIZE = 20_000
"""Rows per query."""


def pages(
    rows: models.Manager[Any] | models.QuerySet[Any], columns: tuple[str, ...], *, after: Any = 0
) -> Iterator[list[tuple[Any, ...]]]:
    """Read by primary key, `CHUNK_SIZE` rows per query, from beyond `after`; the first column must be "pk"."""
    last = after
    while page := list(rows.filter(pk__gt=last).order_by("pk").values_list(*columns)[:CHUNK_SIZE]):
        yield page
        last = page[-1][0]


def rows_of(
    rows: models.Manager[Any] | models.QuerySet[Any], columns: tuple[str, ...], *, after: Any = 0
) -> Iterator[tuple[Any, ...]]:
    """The rows of all `pages`, one after the other."""
    for page in pages(rows, columns, after=after):
        yield from page
