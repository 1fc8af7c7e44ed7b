"""Database connections outside of requests: retry after a lost connection, and savepoints in a host's transaction.

Django renews connections only at the start and end of requests, so long-running loops use this module.
"""

from __future__ import annotations

import logging
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
