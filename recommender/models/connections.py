"""Connections that outlive a request: renewed when they are lost, and kept apart in a transaction of the host.

Django renews a connection only at the edges of requests, so every loop of ours asks here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 90.0
"""A database that restarts is waited for this long: less than a run may be silent (`runs.STALE_SECONDS`)."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 3.0
_depth: ContextVar[int] = ContextVar("recommender_savepoints", default=0)

LOST = (OperationalError, InterfaceError)


def persistently(work: Callable[[], Answer], *, patience_seconds: float = PATIENCE_SECONDS) -> Answer:
    """Return what `work` returns; where the database was lost meanwhile, renew the connection and do it again.

    For work that may be done twice. An error that is not a lost connection is raised at once, and so is one inside a
    transaction that stands around the call: only who opened it can begin again.
    """
    deadline, pause = time.monotonic() + patience_seconds, FIRST_PAUSE_SECONDS
    while True:
        try:
            return work()
        except LOST as error:
            if not was_lost() or time.monotonic() > deadline:
                raise
            logger.warning("the database was lost and is asked again: %s", str(error).strip())
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def was_lost() -> bool:
    """Close the connections of this thread that are dead; return whether one was, or could not be opened."""
    opened = connections.all(initialized_only=True)
    if any(connection.in_atomic_block for connection in opened):
        return False
    return bool([connection for connection in opened if _is_lost(connection)])


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
    return True


def _open(connection: BaseDatabaseWrapper) -> None:
    with suppress(DatabaseError):
        connection.ensure_connection()


@contextmanager
def apart() -> Iterator[None]:
    """In a savepoint of every transaction that a host has opened around us: none, and no query, where it has not.

    PostgreSQL refuses all that follows a statement that failed; with the savepoint only ours is undone. What is raised
    goes on to the caller.
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
    """As `apart`, without a savepoint inside another one of ours: who opened that one catches what is raised here."""
    if _depth.get():
        yield
        return
    with apart():
        yield
