"""What an examination of the installation finds, and the bounds of time within which each examination ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from django.db import OperationalError, connections, transaction
from django.utils.translation import gettext as _

logger = logging.getLogger(__name__)

UNKNOWN = "unknown"
EXIT_CODES = {"ok": 0, UNKNOWN: 1, "warning": 1, "error": 2}
"""Every level, and what the command answers the shell for it."""

EXAMINATION_SECONDS = 5.0
"""Longest time that the queries of one examination take."""

ANSWER_SECONDS = 5.0
"""Longest wait for an answer of the broker or the cache."""

SQLITE_STEPS = 10_000
"""SQLite looks at the clock after so many steps of its virtual machine, less than a millisecond."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one examination. `repair` is a command or a line to write; empty if nothing is wrong."""

    topic: str
    level: str
    message: str
    repair: str = ""


Examination = Callable[[], Iterator[Finding]]

_waiting: dict[str, threading.Thread] = {}
"""Who still waits for the answer to an earlier question, by what was asked."""


def exit_code(findings: list[Finding]) -> int:
    """0: everything is in order, 1: there is a warning or something is not known, 2: there is an error."""
    return max((EXIT_CODES[finding.level] for finding in findings), default=0)


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """The report for programs."""
    return {"exit_code": exit_code(findings), "findings": [asdict(finding) for finding in findings]}


def not_known(topic: str, what: str, reason: str, repair: str = "") -> Finding:
    """A finding that says what could not be determined, and why."""
    return Finding(topic, UNKNOWN, _("%(what)s: not known, %(reason)s") % {"what": what, "reason": reason}, repair)


def guarded(topic: str, look: Examination, *, seconds: float = EXAMINATION_SECONDS) -> list[Finding]:
    """The findings of one examination that only reads; one that raises, or takes longer, becomes a finding."""
    return _caught(topic, look, seconds)


def guarded_write(topic: str, look: Examination) -> list[Finding]:
    """The same of an examination that writes, or that looks at errors of the database itself: it has no bound."""
    return _caught(topic, look, None)


def within(seconds: float, name: str, ask: Callable[[], Any]) -> Any:
    """The answer to a question that may hang. Raises what it raises, and TimeoutError if there is no answer in time.

    While an earlier question of this name hangs, the next one is not asked: so at most one thread waits.
    """
    earlier = _waiting.get(name)
    if earlier is not None and earlier.is_alive():
        raise TimeoutError(_("an earlier question still waits for its answer"))
    answer: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(ask())
        except Exception as error:  # raised again by whoever waits
            failure.append(error)
        finally:
            connections.close_all()  # those of this thread

    thread = _waiting[name] = threading.Thread(target=run, name=f"recommender-ask-{name}", daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not answer:
        raise TimeoutError(_("no answer in %(seconds)g seconds") % {"seconds": seconds})
    return answer[0]


def _caught(topic: str, look: Examination, seconds: float | None) -> list[Finding]:
    findings: list[Finding] = []
    deadline = None if seconds is None else time.monotonic() + seconds
    try:
        with ExitStack() as bounds:
            if seconds is not None:
                for alias in connections:
                    bounds.enter_context(_bounded(alias, time.monotonic() + seconds, seconds))
            findings.extend(look())
    except Exception as error:  # the shop's own code or database; the other examinations go on
        logger.debug("examination of %s failed", topic, exc_info=True)
        if deadline is not None and time.monotonic() >= deadline and isinstance(error, OperationalError | TimeoutError):
            reason = _("the database took longer than %(seconds)g seconds.") % {"seconds": seconds}
            repair = _("Run recommender_doctor while less is going on, or look for a slow query of your own code.")
            return [*findings, not_known(topic, _("the rest of this"), reason, repair)]
        repair = _("Repair this, then run recommender_doctor.")
        return [*findings, Finding(topic, "error", f"{type(error).__name__}: {error}", repair)]
    return findings


@contextmanager
def _bounded(alias: str, deadline: float, seconds: float) -> Iterator[None]:
    """Let no query of this database begin after the deadline, and break off one that takes longer."""

    def watch(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        if time.monotonic() >= deadline:
            raise TimeoutError
        return execute(sql, params, many, context)

    connection = connections[alias]
    with ExitStack() as bounds:
        if connection.vendor == "postgresql":
            bounds.enter_context(transaction.atomic(using=alias))
            bounds.enter_context(_statement_timeout(connection, seconds))
        elif connection.vendor == "sqlite":
            connection.ensure_connection()
            native: Any = connection.connection
            native.set_progress_handler(lambda: time.monotonic() >= deadline, SQLITE_STEPS)
            bounds.callback(native.set_progress_handler, None, 0)
        bounds.enter_context(connection.execute_wrapper(watch))
        yield


@contextmanager
def _statement_timeout(connection: Any, seconds: float) -> Iterator[None]:
    """PostgreSQL's own bound, for this transaction alone. After an error the roll-back of the savepoint lifts it."""
    set_bound = "SELECT set_config('statement_timeout', %s, true)"
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        before = cursor.fetchone()[0]
        cursor.execute(set_bound, [str(int(seconds * 1000))])
    yield
    with connection.cursor() as cursor:
        cursor.execute(set_bound, [before])
