"""Writers in each other's way: what failed only because of another one is done again, and nothing else is."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection, connections, transaction

from recommender import capture
from recommender.capture import erasure
from recommender.catalog import sync
from recommender.identity import linking, tokens
from recommender.models import Event, Item, ItemVector, Visitor
from recommender.models.connections import committed
from recommender.serving import vectors
from shopreco.shop.models import Product
from tests.capture.drafts import draft


@pytest.fixture
def plain_sqlite(transactional_db: None, tmp_path: Path) -> Iterator[str]:
    """A SQLite file as `startproject` configures it, but that a lock is waited for only a moment."""
    connections.settings["plain"] = {
        **connections.settings["default"],
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": tmp_path / "plain.sqlite3",
        "OPTIONS": {"timeout": 0.05},
    }
    connections["plain"].connect()
    with connections["plain"].cursor() as cursor:
        cursor.execute("CREATE TABLE counter (n integer)")
        cursor.execute("INSERT INTO counter VALUES (0)")
    yield "plain"
    connections["plain"].close()
    del connections["plain"], connections.settings["plain"]


def count_up(alias: str) -> None:
    """Read first and write then, which SQLite refuses at once where another one wrote in between."""
    with connections[alias].cursor() as cursor:
        (n,) = cursor.execute("SELECT n FROM counter").fetchone()
        cursor.execute("UPDATE counter SET n = %s", [n + 1])


def counted(alias: str) -> int:
    with connections[alias].cursor() as cursor:
        return int(cursor.execute("SELECT n FROM counter").fetchone()[0])


def test_writers_of_a_plain_sqlite_wait_for_each_other(plain_sqlite: str) -> None:
    failures: list[Exception] = []

    def write() -> None:
        connections[plain_sqlite].connect()
        try:
            for _ in range(50):
                committed(lambda: count_up(plain_sqlite), using=plain_sqlite)
        except OperationalError as error:
            failures.append(error)
        finally:
            connections[plain_sqlite].close()

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failures, counted(plain_sqlite)) == ([], 400)


def test_lock_that_is_held_longer_than_the_driver_waits_is_waited_for(plain_sqlite: str, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "plain.sqlite3", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(0.5, lambda: other.execute("COMMIT"))
    timer.start()
    committed(lambda: count_up(plain_sqlite), using=plain_sqlite)
    timer.join()
    other.close()
    assert counted(plain_sqlite) == 1


@pytest.mark.django_db(transaction=True)
def test_tokens_links_and_erasures_wait_for_each_other_without_our_options() -> None:
    """As `startproject` configures SQLite, a transaction that reads first is refused at once where it has to wait."""
    errors: list[Exception] = []
    visitors = [Visitor.objects.create(has_consented=True) for _ in range(24)]
    issued = [tokens.issue(visitor) for visitor in visitors]
    user = get_user_model().objects.create(username="somebody")

    def work(own: slice) -> None:
        connection.ensure_connection()
        connection.transaction_mode = None
        try:
            for visitor, pair in zip(visitors[own], issued[own], strict=True):
                claims = tokens.claims_of(tokens.refresh(pair.refresh_token).token)
                assert claims is not None
                assert linking.link_app(claims, user, authentication="test", session_hash="") is not None
                assert linking.unlink_app(visitor)
                erasure.erase(visitor_key=visitor.key)
        except OperationalError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(slice(first, None, 4),)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (errors, Visitor.objects.count()) == ([], 0)


def test_patience_ends(plain_sqlite: str, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "plain.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OperationalError, match="locked"):
        committed(lambda: count_up(plain_sqlite), using=plain_sqlite, patience_seconds=0.2)
    other.close()


def test_host_keeps_its_own_mode_of_transactions(plain_sqlite: str) -> None:
    with pytest.raises(ZeroDivisionError):
        committed(lambda: 1 // 0, using=plain_sqlite)
    assert connections[plain_sqlite].transaction_mode is None


def test_other_errors_and_work_inside_a_transaction_of_the_host_are_not_repeated(plain_sqlite: str) -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        with connections[plain_sqlite].cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")

    with pytest.raises(OperationalError, match="no such table"):
        committed(fail, using=plain_sqlite)
    with transaction.atomic(using=plain_sqlite):
        with pytest.raises(OperationalError, match="no such table"):
            committed(fail, using=plain_sqlite)
        count_up(plain_sqlite)
    assert (len(calls), counted(plain_sqlite)) == (2, 1)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_deadlock_is_resolved_by_doing_the_work_again() -> None:
    """Two writers take the same two locks in opposite order; PostgreSQL refuses one of them."""
    meet, tries = threading.Barrier(2, timeout=10), []

    def write(locks: tuple[int, int]) -> None:
        def lock_both() -> None:
            tries.append(locks)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [locks[0]])
                if tries.count(locks) == 1:
                    meet.wait()
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [locks[1]])

        try:
            committed(lock_both, using="default")
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(locks,)) for locks in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tries) == 3


@pytest.mark.django_db(transaction=True)
def test_batch_of_events_is_stored_once_a_lock_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    store, failed = capture.store, []

    def refused_once(*positional: object, **named: object) -> object:
        stored = store(*positional, **named)  # type: ignore[arg-type]
        if not failed:
            failed.append(1)
            error = OperationalError("in the way")
            error.__cause__ = type("Cause", (Exception,), {"sqlstate": "40P01"})()
            raise error
        return stored

    monkeypatch.setattr(capture, "store", refused_once)
    assert capture.ingest([draft(message_id="m")]).n_accepted == 1
    assert Event.objects.count() == 1


def busy_once(work: Callable[..., Any]) -> Callable[..., Any]:
    """The same work, which another writer is in the way of the first time."""
    calls = []

    def call(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            return work(*arguments, **options)
        cause = sqlite3.OperationalError("database is locked")
        cause.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise OperationalError("database is locked") from cause

    return call


@pytest.mark.django_db(transaction=True)
def test_items_and_vectors_wait_for_other_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    Product.objects.bulk_create([Product(stock_code=f"S{n}", title=f"Mug {n}", price=n) for n in range(1, 4)])
    monkeypatch.setattr(Item.objects, "bulk_create", busy_once(Item.objects.bulk_create))
    report = sync.sync()
    assert (report.n_created, Item.objects.count()) == (3, 3)

    monkeypatch.setattr(ItemVector.objects, "bulk_create", busy_once(ItemVector.objects.bulk_create))
    vectors.write_vectors(list(Item.objects.all()), np.ones((3, 4), np.float32), encoder_hash="e")
    assert ItemVector.objects.filter(encoder_hash="e").count() == 3
