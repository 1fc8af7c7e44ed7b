"""Finds the visitor under which each draft is stored: one that exists and has consented, or nobody."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from django.db import connections

from recommender.capture import order_consent
from recommender.capture.drafts import EventDraft, ImpressionDraft
from recommender.capture.sql import column_name, column_names, prepared
from recommender.identity import forgotten, own_key, tombstones
from recommender.models import Erasure, Tombstone, Visitor

REMEMBERED_SECONDS = 600.0
MAX_REMEMBERED = 20_000
MAX_PARAMETERS = 900
"""Of one statement: below the 999 that the oldest SQLite takes."""

VISITOR_COLUMNS = (
    "key", "user_key", "is_profiled", "is_bot", "device", "first_seen_at", "last_seen_at", "has_consented",
)  # fmt: skip

Draft = EventDraft | ImpressionDraft

_remembered: dict[uuid.UUID, tuple[str | None, float]] = {}
"""Browsers' visitors seen lately in this process, with the user's key and the time on the monotonic clock. It only
saves updating them again: whether they still consent is decided by the statement that stores an event."""


def with_visitors(drafts: list[Draft], *, alias: str) -> list[Draft]:
    """The drafts that may be stored, each under a visitor that exists and has consented. Orders may always be stored,
    then under nobody.

    At most one query for users without a visitor, those of `order_consent.buyers`, and one statement for each hundred
    visitors that this process has not seen lately.
    """
    drafts, teaching = _under_users(drafts, alias)  # `teaching`: visitors whose orders only teach the model
    consenting = _touched((draft for draft in drafts if draft.visitor_key not in teaching), alias=alias)

    moved = []  # drafts of a user in a browser whose visitor is another user
    for index, draft in enumerate(drafts):
        owner = consenting.get(draft.visitor_key) if draft.visitor_key else None
        if owner and draft.user_key and owner != draft.user_key:
            drafts[index] = replace(draft, visitor_key=own_key(draft.user_key))
            moved.append(drafts[index])
    consenting |= _touched(moved, alias=alias)
    allowed = {None, *consenting, *teaching}
    return [
        draft if draft.visitor_key in allowed else replace(draft, visitor_key=None)
        for draft in drafts
        if draft.visitor_key in allowed or draft.source == "order"
    ]


def forget_visitors(keys: Iterable[uuid.UUID] | None = None) -> None:
    """Look these visitors up again, or every one; after an erasure, or where one consents no more."""
    if keys is None:
        _remembered.clear()
        return
    for key in keys:
        _remembered.pop(key, None)


def _under_users(drafts: list[Draft], alias: str) -> tuple[list[Draft], set[uuid.UUID]]:
    """Give drafts that name only a user a visitor of that user who has consented, the user's own before a browser's.

    Where there is none, only orders stay, under the visitors that `ORDER_CONSENT` allows, which are returned too.
    """
    of_users = [draft for draft in drafts if _names_only_user(draft)]
    if not of_users:
        return drafts, set()
    user_keys = {draft.user_key for draft in of_users}
    visitors = Visitor.objects.using(alias).filter(user_key__in=user_keys, has_consented=True).order_by("last_seen_at")
    consenting: dict[str | None, uuid.UUID] = {}
    for user_key, key in visitors.values_list("user_key", "key"):
        if user_key and consenting.get(user_key) != own_key(user_key):
            consenting[user_key] = key
    ordering = {draft.user_key for draft in of_users if draft.user_key and draft.source == "order"}
    buyers = order_consent.buyers(ordering - set(consenting), alias=alias)
    allowed: list[Draft] = []
    for draft in drafts:
        if not _names_only_user(draft):
            allowed.append(draft)
        elif draft.user_key in consenting:
            allowed.append(replace(draft, visitor_key=consenting[draft.user_key]))
        elif draft.source == "order":
            allowed.append(replace(draft, visitor_key=buyers.get(draft.user_key or "")))
    return allowed, set(buyers.values())


def _names_only_user(draft: Draft) -> bool:
    return bool(draft.user_key) and draft.visitor_key is None


def _touched(drafts: Iterable[Draft], *, alias: str) -> dict[uuid.UUID, str | None]:
    """Insert or update the visitors of the drafts; return those that consent, with their users.

    One statement for each hundred that were not seen lately in this process. A user's own visitor is always read:
    another process may have just stored that consent was given or withdrawn.
    """
    by_key: defaultdict[uuid.UUID, list[Draft]] = defaultdict(list)
    for draft in drafts:
        if draft.visitor_key is not None:
            by_key[draft.visitor_key].append(draft)
    consenting: dict[uuid.UUID, str | None] = {}
    unseen: list[uuid.UUID] = []
    now = time.monotonic()
    for key, of_visitor in sorted(by_key.items()):
        user_key, seconds = _remembered.get(key, (None, -REMEMBERED_SECONDS))
        users = {draft.user_key for draft in of_visitor if draft.user_key}
        is_recent = now - seconds < REMEMBERED_SECONDS
        if is_recent and users <= {user_key} and all(draft.is_profiled for draft in of_visitor):
            consenting[key] = user_key
        else:
            unseen.append(key)
    if not unseen:
        return consenting
    n_per_statement = visitors_per_statement()
    for start in range(0, len(unseen), n_per_statement):
        rows = [_visitor_row(key, by_key[key]) for key in unseen[start : start + n_per_statement]]
        consenting |= _upserted(rows, alias)
    return consenting


def visitors_per_statement() -> int:
    """How many visitors one statement inserts or updates: seven values each, and two hashes for each key of hashes."""
    return min(100, MAX_PARAMETERS // (len(VISITOR_COLUMNS) - 1 + 2 * len(tombstones.subject_keys())))


def _visitor_row(key: uuid.UUID, drafts: list[Draft]) -> tuple[Any, ...]:
    """The values of `VISITOR_COLUMNS`; consent is decided in the statement."""
    times = [draft.occurred_at for draft in drafts]
    return (
        key,
        next((draft.user_key for draft in drafts if draft.user_key), None),
        all(draft.is_profiled for draft in drafts),
        all(draft.is_bot for draft in drafts),
        next((draft.device for draft in drafts if draft.device), ""),
        min(times),
        max(times),
        True,
    )


def _upserted(rows: list[tuple[Any, ...]], alias: str) -> dict[uuid.UUID, str | None]:
    """Insert, link, update and read in one statement, so that no visitor can be erased in between. `bulk_create` with
    `update_conflicts` can neither keep the earlier of two values nor return what was there.

    A visitor with a tombstone is not stored, and a user with one is not linked. At most three statements more if one of
    the visitors does not consent, and on PostgreSQL one more if one of them is new.
    """
    is_postgres = connections[alias].vendor == "postgresql"
    table = connections[alias].ops.quote_name(Visitor._meta.db_table)
    key, user, profiled, first, last, consented = (
        column_name(Visitor, name, alias)
        for name in ("key", "user_key", "is_profiled", "first_seen_at", "last_seen_at", "has_consented")
    )
    is_erased, n_hashes = _is_erased(alias), len(tombstones.subject_keys())
    marks = f"(%s, CASE WHEN {is_erased} THEN NULL ELSE %s END, %s, %s, %s, %s, %s, NOT {is_erased})"
    sql = (
        f"INSERT INTO {table} ({column_names(Visitor, VISITOR_COLUMNS, alias)}) "  # noqa: S608
        f"VALUES {', '.join([marks] * len(rows))} "
        f"ON CONFLICT ({key}) DO UPDATE SET {user} = COALESCE({table}.{user}, excluded.{user}), "
        f"{profiled} = ({table}.{profiled} AND excluded.{profiled}), "
        f"{first} = CASE WHEN excluded.{first} < {table}.{first} THEN excluded.{first} ELSE {table}.{first} END, "
        f"{last} = CASE WHEN excluded.{last} > {table}.{last} THEN excluded.{last} ELSE {table}.{last} END "
        f"RETURNING {key}, {user}, {consented}, {f'{table}.xmax = 0' if is_postgres else 'FALSE'}"
    )
    values: list[Any] = []
    for row, stored in zip(rows, prepared(Visitor, VISITOR_COLUMNS, rows, alias), strict=True):
        of_user = tombstones.digests_of(tombstones.name_of_user(row[1])) if row[1] else [""] * n_hashes
        of_visitor = tombstones.digests_of(tombstones.name_of_visitor(row[0]))
        values += [stored[0], *of_user, *stored[1:-1], *of_visitor]
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, values)
        returned = [(uuid.UUID(str(key)), *columns) for key, *columns in cursor.fetchall()]
    late = _erased_meanwhile([key for key, _, has_consented, is_new in returned if has_consented and is_new], alias)
    consenting = {key: user for key, user, has_consented, _ in returned if has_consented and key not in late}
    _drop_erased([key for key, *_ in returned if key not in consenting], alias)
    _remember(consenting)
    return consenting


def _erased_meanwhile(inserted: list[uuid.UUID], alias: str) -> set[uuid.UUID]:
    """Those of the visitors just inserted that were erased while the statement waited for their row; they consent no
    more. On PostgreSQL a statement that waited sees the newest row, but the tombstones as they were when it began:
    https://www.postgresql.org/docs/current/transaction-iso.html#XACT-READ-COMMITTED
    """
    if not inserted:
        return set()
    names = {tombstones.name_of_visitor(key): key for key in inserted}
    late = {names[name] for name in tombstones.erased(names)}
    if late:
        Visitor.objects.using(alias).filter(key__in=late).update(has_consented=False)
    return late


def _is_erased(alias: str) -> str:
    """The condition that one of the hashes of a subject has a tombstone that no new consent has lifted."""
    table = connections[alias].ops.quote_name(Tombstone._meta.db_table)
    digest, lifted = (column_name(Tombstone, name, alias) for name in ("digest", "lifted_at"))
    marks = ", ".join(["%s"] * len(tombstones.subject_keys()))
    return f"EXISTS (SELECT 1 FROM {table} WHERE {digest} IN ({marks}) AND {lifted} IS NULL)"  # noqa: S608


def _drop_erased(refused: list[uuid.UUID], alias: str) -> None:
    """Delete the rows that the statement inserted for erased visitors, and let their browsers be asked again. A row
    that an erasure has not reached yet is left to it, which counts what it deletes."""
    if not refused:
        return
    names = {tombstones.name_of_visitor(key): key for key in refused}
    gone = {names[name] for name in tombstones.erased(names)}
    if gone:
        forgotten.remember(gone)
        pending = Erasure.objects.filter(state=Erasure.State.REQUESTED).values_list("names", flat=True)
        counted = {uuid.UUID(key) for of_person in pending for key in of_person.get("visitors", [])}
        Visitor.objects.using(alias).filter(key__in=gone - counted, has_consented=False).delete()


def _remember(visitors: dict[uuid.UUID, str | None]) -> None:
    """Only the random keys of browsers: a user's own visitor can return under the same key after an erasure."""
    if len(_remembered) + len(visitors) > MAX_REMEMBERED:
        _remembered.clear()
    now = time.monotonic()
    _remembered.update({key: (user_key, now) for key, user_key in visitors.items() if key.version == 4})
