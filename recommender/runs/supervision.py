"""Supervision of a training: lease the run, start its subprocess, watch it until it ends.

A process of its own, so that no memory of torch stays in the worker and a training that hangs can be killed.
"""

from __future__ import annotations

import logging
import os
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

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
GRACE_SECONDS = 30.0
"""A cancelled training stops at its next step; one that takes longer than this is terminated."""

OVERTIME_FACTOR, OVERTIME_SECONDS = 3.0, 900.0
"""The training itself keeps to its time box; one that runs this much longer hangs and is terminated."""

HERE = "here"
"""Trigger of a run that the requesting process supervises itself: no worker is notified."""

WORKER_STOPS = "its worker stops"


def supervise(run_id: int, *, key: str = "", stop: threading.Event | None = None) -> bool:
    """Lease a run, train in a subprocess and wait for its end; return whether the lease was obtained.

    key: of the run, which the run of another shop with the same number does not have. Once `stop` is set, the training
    is terminated and its run goes back to the queue. Whatever goes wrong here ends the run with its reason.
    """
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
    persistently(lambda: _report(run_id, token, code, ended_for))
    return True


def _trained(run_id: int, token: int, stop: threading.Event | None) -> tuple[int, str]:
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


def _watch(process: subprocess.Popen[bytes], run_id: int, token: int, stop: threading.Event | None) -> str:
    """Wait for the end; return why the process was terminated, "" if it ended by itself."""
    started = time.monotonic()
    cancelled_at: float | None = None
    try:
        limit = _limit_seconds(run_id)
        while True:
            try:
                process.wait(LOOK_SECONDS)
                return ""
            except subprocess.TimeoutExpired:
                now = time.monotonic()
            if stop is not None and stop.is_set():
                return _end(process, WORKER_STOPS)
            state = _state(run_id, token)
            if state == Run.State.CANCELLING and cancelled_at is None:
                cancelled_at = now
            if state is None:
                return _end(process, gettext("its lease was given to another worker"))
            if cancelled_at is not None and now - cancelled_at > GRACE_SECONDS:
                return _end(process, gettext("it was cancelled and did not stop by itself"))
            if now - started > limit:
                minutes = f"{limit / 60:.0f}"
                return _end(process, gettext("it ran for %s minutes, far beyond its time box") % minutes)
    except BaseException:  # the worker has to stop: its training stops too
        _end(process, WORKER_STOPS)
        raise


def _limit_seconds(run_id: int) -> float:
    minutes = persistently(lambda: Run.objects.values_list("settings__minutes", flat=True).get(pk=run_id))
    return float(minutes or conf.get("TRAINING_MINUTES")) * 60 * OVERTIME_FACTOR + OVERTIME_SECONDS


def _state(run_id: int, token: int) -> Run.State | None:
    """The state while this process has the lease, else None; a database that does not answer changes nothing."""
    try:
        return _held_state(run_id, token)
    except DatabaseError as error:
        logger.warning("the state of run %s cannot be read; its training goes on: %s", run_id, str(error).strip())
        was_lost()  # the next look opens a connection of its own
        return Run.State.RUNNING


def _held_state(run_id: int, token: int) -> Run.State | None:
    state = Run.objects.filter(pk=run_id, fencing_token=token).values_list("state", flat=True).first()
    return Run.State(state) if state else None


def _end(process: subprocess.Popen[bytes], why: str) -> str:
    logger.warning("process %s is ended: %s", process.pid, why)
    process.terminate()
    try:
        process.wait(GRACE_SECONDS / 3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return why


def _report(run_id: int, token: int, code: int, ended_for: str) -> None:
    """Record the end of a process that could not do so itself."""
    state = _held_state(run_id, token)
    if state not in runs.HELD:
        return
    if ended_for == WORKER_STOPS:
        runs.release(run_id, token, reason=gettext("Its worker was stopped; the next one continues it."))
        return
    _end_run(run_id, token, _why_crashed(run_id, code, ended_for))


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
    end = gettext("was killed by signal %d") % -code if code < 0 else gettext("ended with exit code %d") % code
    sentences = [
        gettext("The training process %(end)s at %(stage)s.") % {"end": end, "stage": stage},
        gettext("The host may lack memory.") if code == -9 else "",
        gettext("Last line: %s") % lines[-1][:300] if lines else "",
        gettext("See %s, then train again.") % log,
    ]
    return " ".join(filter(None, sentences))
