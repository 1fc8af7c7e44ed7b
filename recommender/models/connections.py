"""Database connections outside of requests: retry after a lost connection, and savepoints in a host's transaction.

Django renews connections only at the start and end of requests, so long-running loops use this module.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 90.0
"""How long to wait for a database that restarts: less than a run may go without a heartbeat (`runs.STALE_SECONDS`)."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 3.0

WRITE_PATIENCE_SECONDS = 30.0
FIRST_WRITE_PAUSE_SECONDS, LONGEST_WRITE_PAUSE_SECONDS = 0.005, 0.2

SQLITE_CONTENTION = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
POSTGRES_CONTENTION = frozenset({"40001", "40P01", "55P03"})
"""Serialization failure, deadlock, and a lock that was not available (PostgreSQL's documentation, appendix A)."""

_depth: ContextVar[int] = ContextVar("recommender_savepoints", default=0)

LOST = (OperationalError, InterfaceError)


def persistently(work: Callable[[], Answer], *, patience_seconds: float = PATIENCE_SECONDS) -> Answer:
    """Return what `work` returns; if the connection was lost meanwhile, renew it and repeat the work.

    For work that may be done twice. Other errors are raised at once, and so is a lost connection inside a transaction
    around the call, which only its opener can restart.
    """
    deadline, pause = time.monotonic() + patience_seconds, FIRST_PAUSE_SECONDS
    while True:
        drivers = _drivers()
        try:
            return work()
        except LOST as error:
            if not was_lost(drivers) or time.monotonic() > deadline:
                raise
            logger.warning("lost the database connection, trying again: %s", str(error).strip())
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def committed(work: Callable[[], Answer], *, using: str, patience_seconds: float = WRITE_PATIENCE_SECONDS) -> Answer:
    """Do the work in a transaction of its own; where other writers were in the way, do it again.

    SQLite takes its one lock for writers at the start, whatever the host's `transaction_mode`: a transaction that reads
    first and then has to wait is refused at once. Inside a host's transaction the work is done once, in a savepoint.
    Raises what the work raises.
    """
    connection = connections[using]
    if connection.in_atomic_block:
        with transaction.atomic(using=using):
            return work()
    deadline, pause = time.monotonic() + patience_seconds, FIRST_WRITE_PAUSE_SECONDS
    while True:
        try:
            with writing(using=using):
                return work()
        except OperationalError as error:
            if not is_contention(error) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0, pause))
        pause = min(pause * 2, LONGEST_WRITE_PAUSE_SECONDS)


@contextmanager
def writing(*, using: str) -> Iterator[None]:
    """A transaction that writes what it has read: SQLite waits for its lock for writers at the start, as long as the
    driver's `timeout`, because it refuses at once who read first and has to wait then."""
    with _locking_at_start(connections[using]), transaction.atomic(using=using):
        yield


def is_contention(error: BaseException) -> bool:
    """Whether a statement failed only because another writer was in the way: it may succeed a moment later."""
    cause = error.__cause__
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return bool(code & 0xFF in SQLITE_CONTENTION)  # the lower byte of an extended code is the plain one
    return getattr(cause, "sqlstate", None) in POSTGRES_CONTENTION


@contextmanager
def _locking_at_start(connection: BaseDatabaseWrapper) -> Iterator[None]:
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    wrapper: Any = connection  # the attribute is new in Django 5.1, and not in its type stubs yet
    mode = wrapper.transaction_mode
    wrapper.transaction_mode = "IMMEDIATE"
    try:
        yield
    finally:
        wrapper.transaction_mode = mode


def was_lost(drivers: Mapping[str, Any] | None = None) -> bool:
    """Renew the dead connections of this thread; return whether there was one, or one that could not be opened.

    drivers: the driver's connections of before, by alias. One that is another now was lost within a transaction, at
    whose end Django renews it.
    """
    opened = connections.all(initialized_only=True)
    if any(connection.in_atomic_block for connection in opened):
        return False
    before = drivers or {}
    was_renewed = any(before.get(alias) not in (None, driver) for alias, driver in _drivers().items())
    return bool([connection for connection in opened if _is_lost(connection)]) or was_renewed


def _drivers() -> dict[str, Any]:
    """The driver's connection of each alias that this thread has used; None where it is closed."""
    return {connection.alias: connection.connection for connection in connections.all(initialized_only=True)}


def _is_lost(connection: BaseDatabaseWrapper) -> bool:
    if connection.connection is None:  # it could not be opened, perhaps only a moment ago
        _open(connection)
        return True
    if connection.is_usable():
        return False
    try:
        connection.close()
    except DatabaseError:  # a driver may complain about what is closed already
        connection.connection = None
    _open(connection)
    return True


def _open(connection: BaseDatabaseWrapper) -> None:
    with suppress(DatabaseError):
        connection.ensure_connection()


@contextmanager
def apart() -> Iterator[None]:
    """Run in a savepoint of each transaction that the host has open; without one there is no query.

    PostgreSQL refuses all statements after one that failed: the savepoint undoes only ours. Exceptions are passed on.
    """
    with ExitStack() as stack:
        for connection in connections.all(initialized_only=True):
            is_refusing = connection.vendor == "postgresql" and connection.in_atomic_block
            if is_refusing and not connection.needs_rollback:
                stack.enter_context(transaction.atomic(using=connection.alias))
        depth = _depth.set(_depth.get() + 1)
        try:
            yield
        finally:
            _depth.reset(depth)


@contextmanager
def apart_once() -> Iterator[None]:
    """As `apart`, but without a savepoint inside another of ours, whose opener handles exceptions."""
    if _depth.get():
        yield
        return
    with apart():
        yield
