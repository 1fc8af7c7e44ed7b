"""How fast events are stored durably, as a share of a plain `executemany` of the same rows into the same table.

    python -m benchmarks.event_storage [--clients 8] [--events 4000]

Eight processes hand in batches of 1, 20 and 100 events, each batch a transaction, as web workers do: a client makes the
drafts, has them checked, finds their visitors and waits for the commit. What it is compared with is one process that
inserts rows which are ready, in one transaction. It runs on the database of the settings, in a copy that is deleted
afterwards: PostgreSQL with DATABASE_URL, else SQLite.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django

LIMITS = {"postgresql": {1: 0.1, 20: 0.3, 100: 0.4}, "sqlite": {1: 0.03, 20: 0.15, 100: 0.2}}
"""The least share by database and events in a batch."""

EVENTS_PER_VISITOR = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--events", type=int, default=4_000, help="in total, per size of a batch")
    parser.add_argument("--client", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        _be_client(*options.client)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SHOPRECO_VAR"] = folder
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
        django.setup()
        with own_database():
            _compare(options.clients, options.events)


def _compare(n_clients: int, n_events: int) -> None:
    from django.db import connection

    limits = LIMITS[connection.vendor]
    print(f"{connection.vendor}, {n_clients} clients, {n_events} events per size of a batch")
    print(f"{'batch':>6} {'executemany/s':>14} {'stored/s':>10} {'failed':>7} {'share':>7} {'limit':>7}")
    for size, limit in limits.items():
        plain = _plain_per_second(n_events)
        stored, n_failed = _stored_per_second(n_clients, size, n_events)
        share = stored / plain
        verdict = "ok" if share >= limit and not n_failed else "UNDER"
        print(
            f"{size:>6} {plain:>14,.0f} {stored:>10,.0f} {n_failed:>7} {share:>7.3f} {limit:>7.2f}  {verdict}",
            flush=True,
        )


@contextmanager
def own_database() -> Iterator[None]:
    """A new database; the clients find it by the same environment."""
    from django.core.management import call_command
    from django.db import connection

    if connection.vendor == "sqlite":
        call_command("migrate", verbosity=0)
        yield
        return
    before = connection.settings_dict["NAME"]
    name = connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    os.environ["DATABASE_URL"] = f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{name}"
    try:
        yield
    finally:
        connection.creation.destroy_test_db(before, verbosity=0)


def _plain_per_second(n_events: int) -> float:
    """Insert rows that are ready, in one transaction."""
    from django.db import connection, transaction
    from django.utils import timezone

    from recommender.capture.sql import column_names
    from recommender.capture.storage import EVENT_COLUMNS, _event_values
    from recommender.models import Event, Visitor

    Event.objects.all().delete()
    visitors = [Visitor.objects.create().pk for _ in range(n_events // EVENTS_PER_VISITOR)]
    at = EVENT_COLUMNS.index("visitor")
    values = [
        (*row[:at], visitors[number // EVENTS_PER_VISITOR], *row[at + 1 :])
        for number, row in enumerate(_event_values(_drafts(n_events), timezone.now(), connection.alias))
    ]
    marks = ", ".join(["%s"] * len(EVENT_COLUMNS))
    names = column_names(Event, EVENT_COLUMNS, connection.alias)
    sql = f"INSERT INTO {Event._meta.db_table} ({names}) VALUES ({marks})"  # noqa: S608
    started = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        _plain_cursor(cursor).executemany(sql, values)
    seconds = time.perf_counter() - started
    Event.objects.all().delete()
    return n_events / seconds


def _plain_cursor(cursor: Any) -> Any:
    """On PostgreSQL the driver's own cursor, which sends rows without waiting for each; Django's takes three times as
    long."""
    from django.db import connection

    if connection.vendor != "postgresql":
        return cursor
    import psycopg

    return psycopg.Cursor(connection.connection)


def _stored_per_second(n_clients: int, size: int, n_events: int) -> tuple[float, int]:
    """Let the clients store the events; return events per second, and how many were not stored."""
    from recommender.models import Event

    n_batches = n_events // n_clients // size
    command = [sys.executable, "-m", "benchmarks.event_storage", "--client", str(size), str(n_batches)]
    clients = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(n_clients)
    ]
    pipes: list[Any] = [(client.stdin, client.stdout) for client in clients]
    for _, output in pipes:
        output.readline()
    started = time.perf_counter()
    for entry, _ in pipes:
        entry.write("go\n")
        entry.flush()
    for _, output in pipes:
        output.readline()
    seconds = time.perf_counter() - started
    for client in clients:
        client.wait()
    n_stored = Event.objects.count() - n_clients  # each has stored one before the start
    return n_stored / seconds, n_clients * n_batches * size - n_stored


def _be_client(size: int, n_batches: int) -> None:
    django.setup()
    from django.db import DatabaseError

    from recommender.capture import ingest

    ingest(_drafts(1))
    print("ready", flush=True)
    sys.stdin.readline()
    visitor = uuid.uuid4()
    for number in range(n_batches):
        if number * size % EVENTS_PER_VISITOR < size:
            visitor = uuid.uuid4()
        try:
            ingest(_drafts(size, first=visitor))
        except DatabaseError:
            continue
    print("done", flush=True)


def _drafts(n: int, *, first: uuid.UUID | None = None) -> list[Any]:
    """Views of items, ten by each visitor."""
    from django.utils import timezone

    from recommender.capture import EventDraft

    keys = [first or uuid.uuid4(), *(uuid.uuid4() for _ in range(n // EVENTS_PER_VISITOR))]
    return [
        EventDraft(
            message_id=uuid.uuid4().hex,
            type="view_item",
            occurred_at=timezone.now(),
            item_id=f"item-{number % 100}",
            visitor_key=keys[number // EVENTS_PER_VISITOR],
            device="desktop",
        )
        for number in range(n)
    ]


if __name__ == "__main__":
    main()
