"""Forgets a person: writes down the wish and a tombstone at once, then deletes the rows, visitor by visitor.

An erasure can be interrupted anywhere and goes on where it stopped. It takes the visitors in the order of their primary
keys, never holds the lock of more than one, and first closes that visitor: an event that is being stored at the same
moment is waited for, and what comes later finds no visitor who consents. So it neither deadlocks with writers nor
leaves a row behind. What is derived from the rows is computed anew by `recommender.jobs.erasing`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.apps import apps
from django.db import connections, models, router, transaction
from django.utils import timezone

from recommender.capture.privacy import unpaid_of, visitors_of
from recommender.capture.visitors import forget_visitors
from recommender.identity import own_key, tombstones
from recommender.models import (
    AppToken,
    Bundle,
    Erasure,
    Event,
    Impression,
    Persona,
    RejectedEvent,
    Visitor,
    VisitorLink,
    webhooks,
)
from recommender.models.connections import writing

ROWS_PER_DELETE = 5_000


def erase(
    *,
    visitor_key: uuid.UUID | None = None,
    user_key: str | None = None,
    trigger: Erasure.Trigger = Erasure.Trigger.CODE,
) -> Erasure:
    """Forget a person: everything that names them is deleted when this returns; the job `erase` does the rest.

    Purchases that the shop's own order rows prove come back by reconcile without a visitor.
    """
    erasure = request_erasure(visitor_key=visitor_key, user_key=user_key, trigger=trigger)
    erase_rows(erasure)
    return erasure


def request_erasure(
    *,
    visitor_key: uuid.UUID | None = None,
    user_key: str | None = None,
    trigger: Erasure.Trigger = Erasure.Trigger.CODE,
) -> Erasure:
    """Write down that a person is to be forgotten, and record nothing of them any more; the job `erase` does the rest.

    Within the caller's transaction, so that it is undone with it; at its end the visitors are closed. Five queries.
    """
    persons = list(visitors_of(visitor_key=visitor_key, user_key=user_key).values_list("key", "user_key"))
    keys = {key for key, _ in persons} | ({visitor_key} if visitor_key else set())
    users = {user for _, user in persons if user} | ({user_key} if user_key else set())
    names = tombstones.names_of(keys, users)
    with writing(using=router.db_for_write(Erasure)):
        tombstones.bury(names)
        erasure = Erasure.objects.create(
            subject=tombstones.digests_of(names[-1])[0],
            trigger=trigger,
            names={"visitors": sorted(key.hex for key in {*keys, *map(own_key, users)}), "users": sorted(users)},
        )
    transaction.on_commit(partial(_close_all, erasure), robust=True)
    return erasure


def erase_rows(erasure: Erasure) -> None:
    """Delete what names the person; nothing where that was done. Chunks of `ROWS_PER_DELETE`, each with its count."""
    if erasure.state != Erasure.State.REQUESTED:
        return
    _overwrite_deleted()
    _note_bundles(erasure, _rows_of(erasure)[0])
    _delete_rows(erasure)
    with changing(erasure) as row:
        row.state, row.rows_erased_at = Erasure.State.ROWS_ERASED, timezone.now()
    forget_visitors()
    erasure.refresh_from_db()


def delete_late_rows(erasure: Erasure) -> None:
    """Delete what was being stored for a new visitor while the tombstone was written: neither saw the other, and it is
    there by the time of the job. Nothing of who has consented again since. Then nothing names the person any more."""
    visitors = {tombstones.name_of_visitor(uuid.UUID(key)): key for key in erasure.names.get("visitors", [])}
    users = {tombstones.name_of_user(user): user for user in erasure.names.get("users", [])}
    standing = tombstones.erased([*visitors, *users])
    erasure.names = {
        kind: [subject for name, subject in subjects.items() if name in standing]
        for kind, subjects in (("visitors", visitors), ("users", users))
    }
    _delete_rows(erasure)
    with changing(erasure) as row:
        row.names = {}


def unfinished() -> models.QuerySet[Erasure]:
    """The erasures that are not finished, the oldest first."""
    return Erasure.objects.exclude(state=Erasure.State.FINISHED).order_by("pk")


def _delete_rows(erasure: Erasure) -> None:
    visitors, others = _rows_of(erasure)
    _rename_in_history(erasure, visitors)
    for pk in visitors.order_by("pk").values_list("pk", flat=True):
        _close(pk)
        for model in (Impression, Event, RejectedEvent):
            _delete_counted(erasure, model._default_manager.filter(visitor=pk))
        _delete_visitor(erasure, pk)
    for rows in others:
        _delete_counted(erasure, rows)
    if n_owed := webhooks.forget(erasure.names.get("users", []), at=timezone.now()):
        _count(erasure, "WebhookMember, told", n_owed)


def _rows_of(erasure: Erasure) -> tuple[models.QuerySet[Visitor], list[models.QuerySet[Any]]]:
    """The visitors of the person, also those that were linked to the user since, and the rows that name the person
    beside them: unpaid orders, tokens, and links that were undone."""
    keys = [uuid.UUID(key) for key in erasure.names.get("visitors", [])]
    users = erasure.names.get("users", [])
    visitors = Visitor.objects.filter(models.Q(key__in=keys) | models.Q(user_key__in=users))
    unpaid = unpaid_of([*keys, *visitors.values_list("key", flat=True)], None)
    return visitors, [unpaid, *(model.objects.filter(user_key__in=users) for model in (AppToken, VisitorLink))]


def _rename_in_history(erasure: Erasure, visitors: models.QuerySet[Visitor]) -> None:
    """Let the admin's history of the person's tokens, links and persona name a keyed hash, not a device or a user.
    Three queries, one more for each of them that has rows."""
    if not apps.is_installed("django.contrib.admin"):
        return
    of_person = models.Q(visitor__in=visitors) | models.Q(user_key__in=erasure.names.get("users", []))
    entries = apps.get_model("admin", "LogEntry")._default_manager.filter(content_type__app_label="recommender")
    rows: dict[str, models.QuerySet[Any]] = {
        **{str(model._meta.model_name): model._default_manager.filter(of_person) for model in (AppToken, VisitorLink)},
        str(Persona._meta.model_name): visitors,
    }
    for name, of_model in rows.items():
        pks = list(map(str, of_model.values_list("pk", flat=True)))
        if pks:
            of_rows = entries.filter(content_type__model=name, object_id__in=pks)
            of_rows.update(object_repr=f"person {erasure.subject[: tombstones.SUBJECT_LENGTH]}")


def _note_bundles(erasure: Erasure, visitors: models.QuerySet[Visitor]) -> None:
    """Note the trained bundles that were made after the person's first event. Two queries."""
    first = Event.objects.filter(visitor__in=visitors).aggregate(first=models.Min("received_at"))["first"]
    trained = Bundle.objects.filter(is_trained=True)
    names = [] if first is None else sorted(trained.filter(created_at__gte=first).values_list("name", flat=True))
    with changing(erasure) as row:
        row.receipt["learned"] = sorted({*row.receipt.get("learned", []), *names})


def _close_all(erasure: Erasure) -> None:
    forget_visitors()
    for pk in _rows_of(erasure)[0].order_by("pk").values_list("pk", flat=True):
        _close(pk)


def _close(pk: int) -> None:
    """Let nothing more be stored for a visitor, once the events that are just being stored are committed."""
    with writing(using=router.db_for_write(Visitor)):
        for visitor in Visitor.objects.select_for_update().filter(pk=pk):
            Visitor.objects.filter(pk=visitor.pk).update(has_consented=False, is_pseudonymous=False, segment=None)


def _delete_visitor(erasure: Erasure, pk: int) -> None:
    """Delete the visitor, and what came by a consent that was given meanwhile."""
    with changing(erasure) as row:
        for visitor in Visitor.objects.select_for_update().filter(pk=pk):
            _, by_label = visitor.delete()
            for label, n in by_label.items():
                _count(row, label.rpartition(".")[2], n)


def _delete_counted(erasure: Erasure, rows: models.QuerySet[Any]) -> None:
    """Delete in chunks; each is counted in the transaction that deletes it."""
    while pks := list(rows.values_list("pk", flat=True)[:ROWS_PER_DELETE]):
        with changing(erasure) as row:
            n_deleted, _ = rows.model._default_manager.filter(pk__in=pks).delete()
            _count(row, rows.model.__name__, n_deleted)


def _count(erasure: Erasure, table: str, n: int) -> None:
    tables = erasure.receipt.setdefault("tables", {})
    tables[table] = tables.get(table, 0) + n


@contextmanager
def changing(erasure: Erasure) -> Iterator[Erasure]:
    """The erasure's row in a transaction of its own: nobody else changes it meanwhile, and at the end it is saved."""
    with writing(using=router.db_for_write(Erasure)):
        row = Erasure.objects.select_for_update().get(pk=erasure.pk)
        yield row
        row.save()


def _overwrite_deleted() -> None:
    """SQLite writes zeros over what it deletes on this connection: https://sqlite.org/pragma.html#pragma_secure_delete"""
    connection = connections[router.db_for_write(Event)]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")
