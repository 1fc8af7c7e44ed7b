"""Encrypts stored queries and secrets anew: after the first key was set, or a new one put before the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from recommender.models import Event, Impression, QueryFigures, RejectedEvent, Webhook
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
    """Encrypt every stored query and secret by the newest key. May be interrupted: what is done is skipped."""
    report = EncryptionReport()
    for rows, column in _encrypted():
        for chunk in _chunks(rows, column):
            old = [(pk, stored) for pk, stored in chunk if not is_newest(stored)]
            readable = [rows.model(pk=pk, **{column: plain(stored)}) for pk, stored in old if is_readable(stored)]
            rows.bulk_update(readable, [column])
            report.n_encrypted += len(readable)
            report.n_unreadable += len(old) - len(readable)
    return report


def n_unreadable() -> int:
    """How many of the newest queries and secrets no key opens. Five queries."""
    newest = [_stored(rows, column).order_by("-pk")[:N_EXAMINED] for rows, column in _encrypted()]
    return sum(not is_readable(stored) for rows in newest for _, stored in rows)


def _encrypted() -> list[tuple[QuerySet[Any], str]]:
    """The rows with something in a column that is encrypted, and the column."""
    typed = (Event, Impression, RejectedEvent, QueryFigures)
    queries = [(model._default_manager.exclude(query=""), "query") for model in typed]
    return [*queries, (Webhook.objects.all(), "secret")]


def _stored(rows: QuerySet[Any], column: str) -> QuerySet[Any, tuple[Any, str]]:
    return rows.annotate(stored=StoredValue(column)).values_list("pk", "stored")


def _chunks(rows: QuerySet[Any], column: str) -> Iterator[list[tuple[Any, str]]]:
    following = rows
    while chunk := list(_stored(following, column).order_by("pk")[:ROWS_PER_CHUNK]):
        yield chunk
        following = rows.filter(pk__gt=chunk[-1][0])
