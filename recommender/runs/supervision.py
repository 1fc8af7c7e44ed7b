"""A queued run in, a training subprocess started and watched until it ends; nothing of torch stays in the worker."""

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

from recommender import conf, runs
from recommender.exceptions import LeaseLost
from recommender.models import Run
from recommender.models.connections import persistently, was_lost

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
GRACE_SECONDS = 30.0
"""A cancelled training stops at its next step; one that does not within this time is ended."""

OVERTIME_FACTOR, OVERTIME_SECONDS = 3.0, 900.0
"""The time box is kept by the training itself; what runs this much longer hangs."""

N_LOG_LINES = 8

HERE = "here"
"""Trigger of a run that the asking process supervises itself: nobody else is told of it."""

STOPS = "its worker stops"


def supervise(run_id: int, *, key: str = "", stop: threading.Event | None = None) -> bool:
    """Lease a run, train in a subprocess, wait for its end; return whether the lease was had.

    A message names the run's `key` too: the run of another shop with the same number has another. Once `stop` is set,
    the training is ended and its run given back to the queue. Whatever goes wrong here ends the run with its reason.
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
        reason = _no_process_in_words(run_id, error)
        persistently(lambda: _end_run(run_id, token, reason))
        return True
    persistently(lambda: _report(run_id, token, code, ended_for))
    return True


def _trained(run_id: int, token: int, stop: threading.Event | None) -> tuple[int, str]:
    """Train in a process of its own; return its exit code and why it was ended from here, "" for by itself."""
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
    """Do what a worker does with a run, in a thread of this process; the training is a subprocess all the same."""

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
    """Wait for the end; return why the process was ended from here, "" where it ended by itself."""
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
                return _end(process, STOPS)
            state = _state(run_id, token)
            if state == Run.State.CANCELLING and cancelled_at is None:
                cancelled_at = now
            if state is None:
                return _end(process, "its lease was given to another worker")
            if cancelled_at is not None and now - cancelled_at > GRACE_SECONDS:
                return _end(process, "it was cancelled and did not stop by itself")
            if now - started > limit:
                return _end(process, f"it ran for {limit / 60:.0f} minutes, far beyond its time box")
    except BaseException:  # the worker is told to stop: take the training along
        _end(process, STOPS)
        raise


def _limit_seconds(run_id: int) -> float:
    minutes = persistently(lambda: Run.objects.values_list("settings__minutes", flat=True).get(pk=run_id))
    return float(minutes or conf.get("TRAINING_MINUTES")) * 60 * OVERTIME_FACTOR + OVERTIME_SECONDS


def _state(run_id: int, token: int) -> Run.State | None:
    """The state while the lease is ours, else None; a database that does not answer changes nothing."""
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
    """Say how a process ended that could not say so itself; one that did has given its lease back."""
    state = _held_state(run_id, token)
    if state not in runs.HELD:
        return
    if ended_for == STOPS:
        runs.release(run_id, token, reason="Its worker was stopped; the next one goes on with it.")
        return
    _end_run(run_id, token, _crash_in_words(run_id, code, ended_for))


def _end_run(run_id: int, token: int, reason: str) -> None:
    """End a run whose process is gone: as cancelled where that was asked for, else as failed, with the reason."""
    is_cancelled = _held_state(run_id, token) == Run.State.CANCELLING
    ended = Run.State.CANCELLED if is_cancelled else Run.State.FAILED
    try:
        runs.finish(run_id, token, state=ended, reason="Cancelled." if is_cancelled else reason)
    except LeaseLost:
        logger.info("run %s was taken over while its process ended", run_id)


def _no_process_in_words(run_id: int, error: Exception) -> str:
    return (
        f"The training process could not be started or watched ({type(error).__name__}: {error}). It is run by "
        f"{sys.executable or 'no Python'}, its log is {log_path(run_id)}: the user of this process must be able to run "
        "the one and write the other. Then train again."
    )


def _crash_in_words(run_id: int, code: int, ended_for: str) -> str:
    stage = Run.objects.values_list("stage", flat=True).get(pk=run_id) or "the start"
    if ended_for:
        return f"The training was ended at {stage}: {ended_for}. See {log_path(run_id)}."
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    hint = " The host may lack memory." if code == -9 else ""
    lines = log_path(run_id).read_text(errors="replace").strip().splitlines()[-N_LOG_LINES:]
    last = f" Last line: {lines[-1][:300]}" if lines else ""
    return f"The training process {how} at {stage}.{hint}{last} See {log_path(run_id)}, then train again."
