"""The months of an events table that `recommender_partition` has divided on PostgreSQL: created ahead, dropped whole.

A partition is named by its month, `recommender_event_202612`; the table from before the division by its end,
`recommender_event_until_202701`. What fits no month waits in `recommender_event_rest`. A unique index over all months
would have to contain the time; therefore each message id has a row in `recommender_event_key`, which triggers on the
events write and delete: a repeated id is skipped in whatever month it falls.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from django.db import IntegrityError, OperationalError, connections, router, transaction

from recommender.models import Event

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)

TABLE = Event._meta.db_table
KEYS = f"{TABLE}_key"
REST = f"{TABLE}_rest"
FUNCTION = f"{TABLE}_once"

N_MONTHS_AHEAD = 3
"""So many months after the current one exist; the daily job has that long to be repaired."""

LOCK_TIMEOUT = "1s"
"""Writers queue behind a statement that waits for a lock, at most this long; then it steps back and tries again."""

N_ATTEMPTS = 30
PAUSE_SECONDS = 1.0
KEYS_PER_DELETE = 10_000


def is_partitioned() -> bool:
    """Whether the events table is divided by month. One query on PostgreSQL, none elsewhere."""
    alias = router.db_for_write(Event)
    if connections[alias].vendor != "postgresql":
        return False
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_partitioned_table WHERE partrelid = to_regclass(%s)", [TABLE])
        return cursor.fetchone() is not None


def missing_months(*, at: dt.datetime) -> list[dt.date]:
    """The current month and those ahead that have no partition. One query."""
    partitions = _partitions()
    covered = max((end for name, end in partitions.items() if "_until_" in name), default=dt.date.min)
    ahead = [month_after(at.date(), n) for n in range(N_MONTHS_AHEAD + 1)]
    return [month for month in ahead if month >= covered and name_of(month) not in partitions]


def create_months(*, at: dt.datetime) -> list[dt.date]:
    """Create the months that are missing; return them. Each in a transaction, without a lock for longer than moments.

    What had to wait in the rest because its month was missing moves into it.
    """
    missing = missing_months(at=at)
    for month in missing:
        patiently(partial(_create, month))
    if missing:
        run(f"ANALYZE {TABLE}")  # autovacuum looks at the partitions alone
    return missing


def drop_months(*, before: dt.datetime) -> int:
    """Drop the partitions that end before a moment, and the keys of their message ids; return how many events.

    Keys that an earlier call was interrupted over are deleted too.
    """
    n_dropped = 0
    for name, end in _partitions().items():
        if end <= before.date():
            n_dropped += patiently(partial(_drop, name))
    _delete_keys(before)
    return n_dropped


def month_after(day: dt.date, n_months: int) -> dt.date:
    """The first day of the month so many months later."""
    years, month = divmod(day.month - 1 + n_months, 12)
    return dt.date(day.year + years, month + 1, 1)


def name_of(month: dt.date) -> str:
    """The name of a month's partition."""
    return f"{TABLE}_{month:%Y%m}"


def bound(month: dt.date) -> str:
    """The start of a month, as a literal of SQL."""
    return f"'{month:%Y-%m-%d} 00:00:00+00'"


def patiently(work: Callable[[], Answer]) -> Answer:
    """Return what the work returns in a transaction of its own, in which no lock is waited for longer than
    `LOCK_TIMEOUT`; repeated where others held it. Raises the last error after `N_ATTEMPTS`."""
    alias, n_attempts = router.db_for_write(Event), 1
    while True:
        try:
            with transaction.atomic(using=alias):
                run(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                return work()
        except (OperationalError, IntegrityError) as error:
            if n_attempts == N_ATTEMPTS or connections[alias].in_atomic_block:
                raise
            logger.info("the events table is in use, trying again: %s", str(error).strip())
        n_attempts += 1
        time.sleep(PAUSE_SECONDS)


def run(*statements: str) -> int:
    """Execute statements; return how many rows the last one touched."""
    with connections[router.db_for_write(Event)].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return int(cursor.rowcount)


def _partitions() -> dict[str, dt.date]:
    """The months and the table from before them, each with the day on which it ends. One query."""
    alias = router.db_for_write(Event)
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass(%s)", [TABLE])
        names = [row[0] for row in cursor.fetchall()]
    partitions = {}
    for name in names:
        if match := re.search(r"_(until_)?(\d{4})(\d{2})$", name):
            month = dt.date(int(match[2]), int(match[3]), 1)
            partitions[name] = month if match[1] else month_after(month, 1)
    return partitions


def _create(month: dt.date) -> None:
    """The rest's trigger deletes the keys of what moves, therefore they are written again, in the same transaction."""
    name, start, end = name_of(month), bound(month), bound(month_after(month, 1))
    run(
        f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING DEFAULTS)",
        f"ALTER TABLE {name} ADD PRIMARY KEY (id), ADD UNIQUE (message_id)",
        f"WITH moved AS (DELETE FROM {REST} WHERE occurred_at >= {start} AND occurred_at < {end} RETURNING *) "  # noqa: S608
        f"INSERT INTO {name} SELECT * FROM moved",
        f"INSERT INTO {KEYS} SELECT message_id, occurred_at FROM {name} ON CONFLICT DO NOTHING",  # noqa: S608
        f"ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})",
    )


def _drop(name: str) -> int:
    with connections[router.db_for_write(Event)].cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {name}")  # noqa: S608
        n_events = int(cursor.fetchone()[0])
    run(f"ALTER TABLE {TABLE} DETACH PARTITION {name}", f"DROP TABLE {name}")
    return n_events


def _delete_keys(before: dt.datetime) -> None:
    """Those of dropped months: the keys from before the first of the month that still has events."""
    end = bound(before.date().replace(day=1))
    n_deleted = 1
    while n_deleted:
        n_deleted = run(
            f"DELETE FROM {KEYS} WHERE message_id IN (SELECT keys.message_id FROM {KEYS} AS keys "  # noqa: S608
            f"WHERE keys.occurred_at < {end} AND NOT EXISTS "
            f"(SELECT 1 FROM {TABLE} AS event WHERE event.message_id = keys.message_id) LIMIT {KEYS_PER_DELETE})"
        )
