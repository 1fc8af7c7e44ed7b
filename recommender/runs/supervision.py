"""Supervision of a training: lease the run, start its subprocess, watch it until it ends.

A process of its own, so that no memory of torch stays in the worker and a training that hangs can be killed.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils.translation import gettext

from recommender import conf, runs
from recommender.exceptions import LeaseLost
from recommender.models import Run
from recommender.models.connections import persistently, was_lost
from recommender.runs import deaths

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
BEAT_SECONDS = 15.0
"""How often the worker itself says that the training is alive, which on a busy machine may be too slow to say so."""

GRACE_SECONDS = 30.0
"""A cancelled training stops at its next step; one that takes longer than this is terminated."""

STILL_FACTOR, STILL_SECONDS = 3.0, 900.0
"""A training that neither takes a step nor computes for three time boxes and a quarter of an hour hangs and is killed.
One that is only slow, however long beyond its time box, goes on."""

ENDED_POLITELY = (-signal.SIGTERM, -signal.SIGINT)
"""Exit codes of a process that was asked to stop before it could listen for that."""

HERE = "here"
"""Trigger of a run that the requesting process supervises itself: no worker is notified."""

WORKER_STOPS, HANGS = "its worker stops", "it hangs"
PARTING_PATIENCE_SECONDS = 5.0
"""How long a worker that is being ended waits for the database in order to hand its run over."""


def supervise(run_id: int, *, key: str = "", stop: threading.Event | None = None) -> bool:
    """Lease a run, train in a subprocess and wait for its end; return whether the lease was obtained.

    If the subprocess is killed, the run is resumed from its last checkpoint, unless another worker takes it first.
    key: of the run, which the run of another shop with the same number does not have. Once `stop` is set, the training
    is terminated and its run goes back to the queue. Whatever goes wrong here ends the run with its reason.
    """
    stop = stop or threading.Event()
    was_leased = False
    while not stop.is_set() and _supervise_once(run_id, key, stop):
        was_leased = True
        run = persistently(lambda: Run.objects.get(pk=run_id))
        if run.state != Run.State.QUEUED:
            break
        stop.wait(deaths.pause_seconds(run.provenance))
    return was_leased


def _supervise_once(run_id: int, key: str, stop: threading.Event) -> bool:
    """One lease of the run, from its start to the end of its process; False if the lease was not obtained."""
    worker = f"{socket.gethostname()}, process {os.getpid()}"
    token = persistently(lambda: runs.lease(run_id, worker=worker, key=key))
    if token is None:
        logger.info("run %s is not queued any more", run_id)
        return False
    try:
        code, ended_for = _trained(run_id, token, stop)
    except Exception as error:  # the edge of the run: without a process nobody else would end it
        logger.exception("run %s could not be trained in a process of its own", run_id)
        reason = _why_no_process(run_id, error)
        persistently(lambda: _end_run(run_id, token, reason))
        return True
    except BaseException:  # the worker itself is ended: its training was, in `_watch`
        persistently(lambda: _hand_over(run_id, token), patience_seconds=PARTING_PATIENCE_SECONDS)
        raise
    persistently(lambda: _report(run_id, token, code, ended_for))
    return True


def _trained(run_id: int, token: int, stop: threading.Event) -> tuple[int, str]:
    """Train in a subprocess; return its exit code and why it was terminated, "" if it ended by itself."""
    log = log_path(run_id)
    conf.make_directory()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = start_process(
            [sys.executable, "-m", "django", "recommender_run", str(run_id), str(token)],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        logger.info("run %s trains in process %s, log %s", run_id, process.pid, log)
        ended_for = _watch(process, run_id, token, stop)
    return process.returncode, ended_for


def supervise_in_thread(run_id: int) -> threading.Thread:
    """Supervise a run from a thread of this process; the training is a subprocess all the same."""

    def work() -> None:
        try:
            supervise(run_id)
        finally:
            connection.close()

    thread = threading.Thread(target=work, name=f"recommender-train-{run_id}")
    thread.start()
    return thread


def start_process(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start the training; the one place that does."""
    return subprocess.Popen(command, **options)  # noqa: S603 - our own command and two numbers


def log_path(run_id: int) -> Path:
    """Where the subprocess of a run writes."""
    return conf.directory() / "runs" / str(run_id) / "log.txt"


def _environment() -> dict[str, str]:
    """The same settings and the same import path as this process."""
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    module = os.environ.get("DJANGO_SETTINGS_MODULE") or settings.SETTINGS_MODULE
    return {**os.environ, "DJANGO_SETTINGS_MODULE": module, "PYTHONPATH": path}


def _watch(process: subprocess.Popen[bytes], run_id: int, token: int, stop: threading.Event) -> str:
    """Wait for the end; return why the process was terminated, "" if it ended by itself."""
    cancelled_at: float | None = None
    try:
        look = _Look(run_id, token)
        while True:
            try:
                process.wait(LOOK_SECONDS)
                return ""
            except subprocess.TimeoutExpired:
                now = time.monotonic()
            if stop.is_set():
                return _end(process, WORKER_STOPS)
            state = look.at(now)
            if state == Run.State.CANCELLING and cancelled_at is None:
                cancelled_at = now
            if state is None:
                return _end(process, gettext("its lease was given to another worker"))
            if cancelled_at is not None and now - cancelled_at > GRACE_SECONDS:
                return _end(process, gettext("it was cancelled and did not stop by itself"))
            if look.still_seconds > look.limit_seconds:
                return _kill(process, HANGS)
    except BaseException:  # the worker has to stop: its training stops too
        _end(process, WORKER_STOPS)
        raise


class _Look:
    """What the row of a run says about its training, second by second."""

    def __init__(self, run_id: int, token: int) -> None:
        self.run_id, self.token = run_id, token
        self.limit_seconds = _limit_seconds(run_id)
        self.still_seconds = 0.0
        self._advanced_at: object = None
        self._moved = self._beaten = time.monotonic()

    def at(self, now: float) -> Run.State | None:
        """The state while this process has the lease, else None; a database that does not answer changes nothing."""
        try:
            if now - self._beaten >= BEAT_SECONDS:
                self._beaten = now
                runs.keep_alive(self.run_id, self.token)
            seen = _seen(self.run_id, self.token)
        except DatabaseError as error:
            logger.warning(
                "the state of run %s cannot be read; its training goes on: %s", self.run_id, str(error).strip()
            )
            was_lost()  # the next look opens a connection of its own
            return Run.State.RUNNING
        if seen is None:
            return None
        state, advanced_at = seen
        if advanced_at != self._advanced_at:
            self._advanced_at, self._moved = advanced_at, now
        self.still_seconds = now - self._moved
        return state


def _limit_seconds(run_id: int) -> float:
    minutes = persistently(lambda: Run.objects.values_list("settings__minutes", flat=True).get(pk=run_id))
    return float(minutes or conf.get("TRAINING_MINUTES")) * 60 * STILL_FACTOR + STILL_SECONDS


def _seen(run_id: int, token: int) -> tuple[Run.State, dt.datetime | None] | None:
    row = Run.objects.filter(pk=run_id, fencing_token=token).values_list("state", "advanced_at").first()
    return (Run.State(row[0]), row[1]) if row else None


def _held_state(run_id: int, token: int) -> Run.State | None:
    seen = _seen(run_id, token)
    return seen[0] if seen else None


def _end(process: subprocess.Popen[bytes], why: str) -> str:
    logger.warning("process %s is ended: %s", process.pid, why)
    process.terminate()
    try:
        process.wait(GRACE_SECONDS / 3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return why


def _kill(process: subprocess.Popen[bytes], why: str) -> str:
    logger.warning("process %s is killed: %s", process.pid, why)
    process.kill()
    process.wait()
    return why


def _report(run_id: int, token: int, code: int, ended_for: str) -> None:
    """Record the end of a process that could not do so itself."""
    state = _held_state(run_id, token)
    if state not in runs.HELD:
        return
    if ended_for == WORKER_STOPS or (not ended_for and code in ENDED_POLITELY):
        _hand_over(run_id, token)
    elif ended_for == HANGS:
        minutes = f"{_limit_seconds(run_id) / 60:.0f}"
        what = gettext("The training neither took a step nor computed for %s minutes, so its process was killed")
        runs.resume(run_id, token, what=what % minutes)
    elif not ended_for and code < 0:
        runs.resume(run_id, token, what=gettext("The training process was killed by signal %d") % -code)
    else:
        _end_run(run_id, token, _why_crashed(run_id, code, ended_for))


def _hand_over(run_id: int, token: int) -> None:
    runs.release(run_id, token, reason=gettext("Its worker was stopped; the next one continues it."))


def _end_run(run_id: int, token: int, reason: str) -> None:
    """End a run whose process is gone: as cancelled if that was requested, else as failed with the reason."""
    is_cancelled = _held_state(run_id, token) == Run.State.CANCELLING
    state = Run.State.CANCELLED if is_cancelled else Run.State.FAILED
    try:
        runs.finish(run_id, token, state=state, reason=gettext("Cancelled.") if is_cancelled else reason)
    except LeaseLost:
        logger.info("run %s was taken over while its process ended", run_id)


def _why_no_process(run_id: int, error: Exception) -> str:
    return gettext(
        "The training process could not be started or watched (%(error)s). It is run by %(python)s, its log is "
        "%(log)s: the user of this process must be able to run the one and write the other. Then train again."
    ) % {
        "error": f"{type(error).__name__}: {error}",
        "python": sys.executable or gettext("no Python"),
        "log": log_path(run_id),
    }


def _why_crashed(run_id: int, code: int, ended_for: str) -> str:
    log = log_path(run_id)
    stage = Run.objects.values_list("stage", flat=True).get(pk=run_id) or gettext("the start")
    if ended_for:
        message = gettext("The training was terminated at %(stage)s: %(why)s. See %(log)s.")
        return message % {"stage": stage, "why": ended_for, "log": log}
    lines = log.read_text(errors="replace").strip().splitlines()
    sentences = [
        gettext("The training process ended with exit code %(code)d at %(stage)s.") % {"code": code, "stage": stage},
        gettext("Last line: %s") % lines[-1][:300] if lines else "",
        gettext("See %s, then train again.") % log,
    ]
    return " ".join(filter(None, sentences))
