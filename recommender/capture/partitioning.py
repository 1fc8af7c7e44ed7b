"""Divides the events table by month on PostgreSQL, while the shop goes on writing.

The old table becomes the first partition without being rewritten: a CHECK constraint that was validated before proves
its bound, its indexes are taken over, and the names are swapped in one transaction of moments. No lock that writers
notice is waited for longer than `months.LOCK_TIMEOUT`, and what was interrupted may be started again.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db import connections, router

from recommender.capture import months
from recommender.capture.months import FUNCTION, KEYS, REST, TABLE, bound, month_after, patiently, run
from recommender.exceptions import RecommenderError
from recommender.models import Event, Visitor

KEYS_PER_BATCH = 20_000
CHECK = f"{TABLE}_before"
NEW = f"{TABLE}_new"

MARGIN = dt.timedelta(days=2)
"""The old table's end lies at least so far ahead: events go on coming in during the division."""

KEEPER = f"""
CREATE OR REPLACE FUNCTION {FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO {KEYS} VALUES (NEW.message_id, NEW.occurred_at) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN RETURN NULL; END IF;
        RETURN NEW;
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM {KEYS} WHERE message_id = OLD.message_id;
        RETURN OLD;
    ELSIF TG_OP = 'UPDATE' THEN
        UPDATE {KEYS} SET message_id = NEW.message_id WHERE message_id = OLD.message_id;
        RETURN NEW;
    END IF;
    TRUNCATE {KEYS};
    RETURN NULL;
END $$
"""  # noqa: S608
"""A row that moves to another month is deleted there and inserted here (PostgreSQL's documentation, CREATE TRIGGER), so
that its key goes and comes again."""


@dataclass(frozen=True, slots=True)
class Division:
    """The events before `until` lie in the old table; the months from then on have partitions of their own."""

    until: dt.date
    n_months: int


def divide(*, at: dt.datetime) -> Division:
    """Divide the events table. Raises RecommenderError on another database, in a transaction, or if it is divided."""
    connection = connections[router.db_for_write(Event)]
    if connection.vendor != "postgresql":
        raise RecommenderError(f"Only PostgreSQL divides the events table by month; this is {connection.vendor}.")
    if months.is_partitioned():
        raise RecommenderError("The events table is divided by month already; --ahead creates the coming months.")
    if connection.in_atomic_block:
        raise RecommenderError("Divide the events table outside of a transaction: other writers would have to wait.")
    until = _end_of_the_old(at)
    patiently(_write_keys_from_now_on)
    _write_past_keys()
    _prove_end(until)
    patiently(lambda: _swap(until))
    _delete_orphaned_keys()
    created = months.create_months(at=at)
    return Division(until, len(created))


def _end_of_the_old(at: dt.datetime) -> dt.date:
    latest = Event.objects.order_by("-occurred_at").values_list("occurred_at", flat=True).first() or at
    return month_after((max(at, latest) + MARGIN).date(), 1)


def _write_keys_from_now_on() -> None:
    run(
        f"CREATE TABLE IF NOT EXISTS {KEYS} (message_id varchar(160) PRIMARY KEY, occurred_at timestamptz NOT NULL)",
        f"CREATE INDEX IF NOT EXISTS {KEYS}_time ON {KEYS} USING brin (occurred_at)",
        KEEPER,
        *_triggers(TABLE, replace=True),
    )


def _triggers(table: str, *, replace: bool = False) -> list[str]:
    create = f"CREATE {'OR REPLACE ' if replace else ''}TRIGGER"
    return [
        f"{create} {FUNCTION} BEFORE INSERT OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {FUNCTION}()",
        f"{create} {FUNCTION}_renamed BEFORE UPDATE OF message_id ON {table} FOR EACH ROW "
        f"WHEN (OLD.message_id <> NEW.message_id) EXECUTE FUNCTION {FUNCTION}()",
        f"{create} {FUNCTION}_emptied AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {FUNCTION}()",
    ]


def _write_past_keys() -> None:
    """Of the events from before the triggers, by primary key; no row is locked."""
    last = Event.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    start = Event.objects.order_by("pk").values_list("pk", flat=True).first() or 1
    for first in range(start, last + 1, KEYS_PER_BATCH):
        run(
            f"INSERT INTO {KEYS} SELECT message_id, occurred_at FROM {TABLE} "  # noqa: S608
            f"WHERE id >= {first} AND id < {first + KEYS_PER_BATCH} ON CONFLICT DO NOTHING"
        )


def _prove_end(until: dt.date) -> None:
    """The scan takes a lock beside which others read and write."""
    patiently(
        lambda: run(
            f"ALTER TABLE {TABLE} DROP CONSTRAINT IF EXISTS {CHECK}",
            f"ALTER TABLE {TABLE} ADD CONSTRAINT {CHECK} CHECK (occurred_at < {bound(until)}) NOT VALID",
        )
    )
    run(f"ALTER TABLE {TABLE} VALIDATE CONSTRAINT {CHECK}")


def _swap(until: dt.date) -> None:
    """Metadata alone: the new parent takes the old table's name, foreign keys, indexes and numbers."""
    old = f"{TABLE}_until_{until:%Y%m}"
    run(
        f"LOCK TABLE {Visitor._meta.db_table} IN SHARE ROW EXCLUSIVE MODE",  # in the order in which events are written
        f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE",
        f"CREATE TABLE {NEW} (LIKE {TABLE} INCLUDING DEFAULTS) PARTITION BY RANGE (occurred_at)",
        *_foreign_keys(),
        *_indexes(),
        f"ALTER TABLE {TABLE} ALTER id DROP IDENTITY",
        *(f"DROP TRIGGER {FUNCTION}{name} ON {TABLE}" for name in ("", "_renamed", "_emptied")),
        f"ALTER TABLE {TABLE} RENAME TO {old}",
        f"ALTER TABLE {NEW} RENAME TO {TABLE}",
        f"ALTER TABLE {TABLE} ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ({bound(until)})",
        f"CREATE TABLE {REST} PARTITION OF {TABLE} DEFAULT",
        f"ALTER TABLE {REST} ADD PRIMARY KEY (id), ADD UNIQUE (message_id)",
        *_triggers(TABLE),
        f"ALTER TABLE {TABLE} ALTER id ADD GENERATED BY DEFAULT AS IDENTITY",
        f"SELECT setval(pg_get_serial_sequence('{TABLE}', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM {old}), false)",  # noqa: S608
        f"ALTER TABLE {old} DROP CONSTRAINT {CHECK}",
    )


def _foreign_keys() -> list[str]:
    rows = _rows(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid = to_regclass(%s) AND contype = 'f'"
    )
    return [f'ALTER TABLE {NEW} ADD CONSTRAINT "{name}" {definition}' for name, definition in rows]


def _indexes() -> list[str]:
    """The old ones make room for the names, by which later migrations know them."""
    rows = _rows(
        "SELECT relname, pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        "WHERE indrelid = to_regclass(%s) AND NOT indisunique"
    )
    statements = []
    for name, definition in rows:
        columns = definition[definition.index(" USING ") :]
        statements += [
            f'ALTER INDEX "{name}" RENAME TO "{name[:55]}_before"',
            f'CREATE INDEX "{name}" ON {NEW}{columns}',
        ]
    return statements


def _rows(sql: str) -> list[tuple[str, str]]:
    with connections[router.db_for_write(Event)].cursor() as cursor:
        cursor.execute(sql, [TABLE])
        return list(cursor.fetchall())


def _delete_orphaned_keys() -> None:
    """Of events whose deletion was under way while their key was copied; the swap has waited for the last of them."""
    run(
        f"DELETE FROM {KEYS} AS keys WHERE NOT EXISTS "  # noqa: S608
        f"(SELECT 1 FROM {TABLE} AS event WHERE event.message_id = keys.message_id)"
    )
