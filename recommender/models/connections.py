"""Connections that outlive a request: renewed when they are lost, and kept apart in a transaction of the host.

Django renews a connection only at the edges of requests, so every loop of ours asks here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connections, models, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 90.0
"""A database that restarts is waited for this long: less than a run may be silent (`runs.STALE_SECONDS`)."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 3.0
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
def apart(*rows: type[models.Model]) -> Iterator[None]:
    """In a savepoint of the transaction that a host has opened around us, where it has: none and no query elsewhere.

    PostgreSQL refuses all that follows a statement that failed; with the savepoint only ours is undone.
    """
    aliases = {choose(model) for model in rows for choose in (router.db_for_read, router.db_for_write)}
    with ExitStack() as stack:
        for alias in sorted(aliases):
            connection = connections[alias]
            if connection.in_atomic_block and connection.features.uses_savepoints and not connection.needs_rollback:
                stack.enter_context(transaction.atomic(using=alias))
        yield
