"""Encrypts stored queries anew: after the first key was set, and after a new one was put before the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from recommender.models import Event, Impression, QueryFigures, RejectedEvent
from recommender.models.encryption import StoredValue, is_newest, is_readable, plain

ROWS_PER_CHUNK = 1_000
N_EXAMINED = 200
"""Newest rows with a query of each table that are looked at to find out whether the keys are the right ones."""


@dataclass(slots=True)
class EncryptionReport:
    """n_encrypted: rows that are encrypted by the newest key only now; n_unreadable: rows that no key opens."""

    n_encrypted: int = 0
    n_unreadable: int = 0


def encrypt_stored() -> EncryptionReport:
    """Encrypt every stored query by the newest key. May be interrupted and run again: what is done is skipped."""
    report = EncryptionReport()
    for rows in _with_queries():
        for chunk in _chunks(rows):
            old = [(pk, stored) for pk, stored in chunk if not is_newest(stored)]
            readable = [rows.model(pk=pk, query=plain(stored)) for pk, stored in old if is_readable(stored)]
            rows.bulk_update(readable, ["query"])
            report.n_encrypted += len(readable)
            report.n_unreadable += len(old) - len(readable)
    return report


def n_unreadable() -> int:
    """How many of the newest queries no key opens. Four queries."""
    newest = [_stored(rows).order_by("-pk")[:N_EXAMINED] for rows in _with_queries()]
    return sum(not is_readable(stored) for rows in newest for _, stored in rows)


def _with_queries() -> list[QuerySet[Any]]:
    return [model._default_manager.exclude(query="") for model in (Event, Impression, RejectedEvent, QueryFigures)]


def _stored(rows: QuerySet[Any]) -> QuerySet[Any, tuple[Any, str]]:
    return rows.annotate(stored=StoredValue("query")).values_list("pk", "stored")


def _chunks(rows: QuerySet[Any]) -> Iterator[list[tuple[Any, str]]]:
    following = rows
    while chunk := list(_stored(following).order_by("pk")[:ROWS_PER_CHUNK]):
        yield chunk
        following = rows.filter(pk__gt=chunk[-1][0])
