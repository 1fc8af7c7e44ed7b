"""Supervision of a training: how its process is started, why it is ended and what the run says afterwards."""

import datetime as dt
import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.db import DatabaseError
from django.utils import timezone

from recommender import runs
from recommender.models import Run
from recommender.runs import deaths, supervision
from tests.conftest import wait_for


class Process:
    """A training process on a clock of its own: runs for so many seconds, or until it is ended."""

    pid = 4711

    def __init__(self, seconds=float("inf"), *, code=0, output=b"", work=lambda: None, ignores_the_end=False):
        self.seconds, self.returncode, self.output, self.work = seconds, code, output, work
        self.ignores_the_end = ignores_the_end
        self.now, self.waits, self.ended_by = 100.0, [], []

    def start(self, command, **options):
        self.command, self.options = command, options
        options["stdout"].write(self.output)
        options["stdout"].flush()
        return self

    def wait(self, timeout=None):
        self.waits.append(timeout)
        if self.ended_by and (not self.ignores_the_end or "kill" in self.ended_by):
            return
        if timeout is None or self.now + timeout - 100.0 > self.seconds:
            return
        self.now += timeout
        self.work()
        raise subprocess.TimeoutExpired("training", timeout)

    def terminate(self):
        self.ended_by.append("terminate")

    def kill(self):
        self.ended_by.append("kill")


@pytest.fixture(autouse=True)
def _own_logs(settings, tmp_path):
    """Runs of two tests have the same number, and a log is only ever appended to."""
    settings.RECOMMENDER = {**settings.RECOMMENDER, "DIRECTORY": tmp_path / "not" / "there"}


@pytest.fixture
def run(db):
    return runs.request_run(trigger="here", settings={"minutes": 1.0})


@pytest.fixture
def supervised(run, monkeypatch, caplog):
    """Supervise the run in a planted process; return the run as it is afterwards."""
    caplog.set_level(logging.INFO, "recommender")

    def supervise(process, *, stop=None, **options):
        stop = stop or threading.Event()
        monkeypatch.setattr(supervision, "start_process", process.start)
        monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=lambda: process.now))
        monkeypatch.setattr(deaths, "pause_seconds", lambda _: stop.set() or 0.0)  # one process is enough here
        assert supervision.supervise(run.pk, stop=stop, **options) is True
        run.refresh_from_db()
        return run

    return supervise


def test_training_starts_as_a_command_with_the_settings_and_the_import_path_of_this_process(
    supervised, run, monkeypatch, caplog
):
    monkeypatch.setattr(sys, "path", ["", "/elsewhere"])
    monkeypatch.setenv("PLANTED", "inherited")
    process = Process(0)
    supervised(process)
    log = supervision.log_path(run.pk)
    assert process.command == [sys.executable, "-m", "django", "recommender_run", str(run.pk), "1"]
    assert process.options["env"]["DJANGO_SETTINGS_MODULE"] == "shopreco.settings"
    assert process.options["env"]["PYTHONPATH"] == f"{Path.cwd()}{os.pathsep}/elsewhere"
    assert process.options["env"]["PLANTED"] == "inherited"
    assert (process.options["stdin"], process.options["stderr"]) == (subprocess.DEVNULL, subprocess.STDOUT)
    assert process.options["stdout"].name == str(log)
    assert run.worker == f"{socket.gethostname()}, process {os.getpid()}"
    assert f"run {run.pk} trains in process 4711, log {log}" in caplog.messages
    assert process.waits == [1.0]


def test_settings_module_of_a_process_without_the_variable_is_that_of_django(supervised, monkeypatch, settings):
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    settings.SETTINGS_MODULE = "myshop.settings"
    process = Process(0)
    supervised(process)
    assert process.options["env"]["DJANGO_SETTINGS_MODULE"] == "myshop.settings"


def test_log_of_an_earlier_attempt_is_kept(supervised, run):
    log = supervision.log_path(run.pk)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"first\n")
    supervised(Process(0, output=b"second\n"))
    assert log.read_bytes() == b"first\nsecond\n"
    assert log.parts[-3:] == ("runs", str(run.pk), "log.txt")


def test_run_that_is_not_queued_or_has_another_key_is_left_alone(run, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "recommender")
    monkeypatch.setattr(supervision, "start_process", lambda *_, **__: pytest.fail("started"))
    assert supervision.supervise(run.pk, key="0" * 32) is False
    assert f"run {run.pk} is not queued any more" in caplog.messages
    runs.lease(run.pk, worker="first")
    assert supervision.supervise(run.pk) is False


def test_run_with_its_own_key_is_supervised(supervised, run):
    assert supervised(Process(0), key=run.key).fencing_token == 1


@pytest.mark.parametrize(
    ("process", "stage", "expected"),
    [
        (Process(0, code=3), "encoder", "The training process ended with exit code 3 at encoder. "),
        (Process(0, code=0), "", "The training process ended with exit code 0 at the start. "),
        (
            Process(0, code=1, output=b"reads\n\xff no memory\n\n"),
            "encoder",
            "The training process ended with exit code 1 at encoder. Last line: \ufffd no memory ",
        ),
        (
            Process(0, code=1, output=b"x" * 301),
            "encoder",
            f"The training process ended with exit code 1 at encoder. Last line: {'x' * 300} ",
        ),
    ],
)
def test_process_that_did_not_end_its_run_is_a_failure_in_words(supervised, run, process, stage, expected):
    Run.objects.update(stage=stage)
    supervised(process)
    assert run.state == Run.State.FAILED
    assert run.reason == f"{expected}See {supervision.log_path(run.pk)}, then train again."


def test_run_that_its_process_has_ended_is_not_touched(supervised):
    def succeed():
        runs.finish(Run.objects.get().pk, 1, state=Run.State.SUCCEEDED, reason="Done.")

    run = supervised(Process(1.0, work=succeed))
    assert (run.state, run.reason) == (Run.State.SUCCEEDED, "Done.")


def test_process_that_stops_after_a_cancellation_leaves_a_cancelled_run(supervised, run):
    run = supervised(Process(5.0, code=1, work=lambda: runs.cancel(run)))
    assert (run.state, run.reason) == (Run.State.CANCELLED, "Cancelled.")


def test_cancelled_training_is_terminated_after_its_grace_and_killed_if_it_ignores_that(supervised, run, caplog):
    process = Process(ignores_the_end=True, work=lambda: runs.cancel(run))
    supervised(process)
    assert process.waits == [1.0] * 32 + [10.0, None]
    assert process.ended_by == ["terminate", "kill"]
    assert (run.state, run.reason) == (Run.State.CANCELLED, "Cancelled.")
    assert "process 4711 is ended: it was cancelled and did not stop by itself" in caplog.messages


@pytest.mark.parametrize("signal_number", [6, 9, 11])
def test_killed_training_waits_to_be_resumed(supervised, run, signal_number):
    Run.objects.update(stage="encoder")
    supervised(Process(0, code=-signal_number))
    assert (run.state, run.finished_at) == (Run.State.QUEUED, None)
    assert run.reason == (
        f"The training process was killed by signal {signal_number} at encoder; it is resumed from its last checkpoint."
    )
    assert run.provenance["deaths"]["n"] == 1


@pytest.mark.parametrize("signal_number", [2, 15])
def test_training_that_was_asked_to_stop_before_it_could_listen_did_not_die(supervised, run, signal_number):
    supervised(Process(0, code=-signal_number))
    assert (run.state, run.reason) == (Run.State.QUEUED, "Its worker was stopped; the next one continues it.")
    assert "deaths" not in run.provenance


def test_killed_training_is_resumed_until_it_succeeds(run, monkeypatch):
    processes = [Process(0, code=-9), Process(0, code=-15), Process(0, code=-9), Process(1.0)]
    started, paused = [], []

    def start(command, **options):
        token = int(command[-1])
        process = processes[token - 1]
        started.append(token)
        if token == 4:
            runs.finish(run.pk, token, state=Run.State.SUCCEEDED, reason="Done.")
        return process.start(command, **options)

    monkeypatch.setattr(supervision, "start_process", start)
    stop = SimpleNamespace(is_set=lambda: False, wait=paused.append)
    assert supervision.supervise(run.pk, stop=stop) is True
    run.refresh_from_db()
    assert (run.state, run.reason) == (Run.State.SUCCEEDED, "Done.")
    assert started == [1, 2, 3, 4]
    assert paused == [1.0, 1.0, 2.0]
    assert [attempt["reason"][:20] for attempt in run.provenance["attempts"]] == [
        "The training process", "Its worker was stopp", "The training process",
    ]  # fmt: skip


@pytest.mark.parametrize(("minutes", "n_looks", "expected"), [(1.0, 19, 18), (None, 22, 21)])
def test_training_that_neither_steps_nor_computes_is_killed_and_waits_to_be_resumed(
    supervised, run, monkeypatch, settings, minutes, n_looks, expected
):
    """Three times the time box and a quarter of an hour; a run without one has that of the settings."""
    settings.RECOMMENDER = {**settings.RECOMMENDER, "TRAINING_MINUTES": 2.0}
    monkeypatch.setattr(supervision, "LOOK_SECONDS", 60.0)
    Run.objects.update(settings={"minutes": minutes}, stage="")
    process = Process()
    supervised(process)
    assert process.waits == [60.0] * n_looks + [None]
    assert process.ended_by == ["kill"]
    assert run.state == Run.State.QUEUED
    assert run.reason == (
        f"The training neither took a step nor computed for {expected} minutes, so its process was killed at the "
        "start; it is resumed from its last checkpoint."
    )


def test_slow_training_that_advances_goes_on_however_long_it_takes(supervised, run, monkeypatch):
    """One step in ten minutes, for a day; the time box is a minute."""
    monkeypatch.setattr(supervision, "LOOK_SECONDS", 60.0)
    clock = itertools.count()

    def step():
        if next(clock) % 10 == 0:
            Run.objects.update(advanced_at=timezone.now())

    process = Process(24 * 3_600.0, code=1, work=step)
    supervised(process)
    assert process.ended_by == []
    assert run.reason.startswith("The training process ended with exit code 1")


def test_worker_says_that_a_training_lives_which_has_no_time_to_say_so(supervised, run):
    def forget():
        Run.objects.update(heartbeat_at=timezone.now() - dt.timedelta(seconds=1_000))

    process = Process(14.0, code=1, work=forget)
    supervised(process)
    assert (timezone.now() - run.heartbeat_at).total_seconds() > runs.STALE_SECONDS
    Run.objects.update(state=Run.State.QUEUED)
    once = iter([forget])
    supervised(Process(60.0, code=1, work=lambda: next(once, lambda: None)()))
    assert (timezone.now() - run.heartbeat_at).total_seconds() < runs.STALE_SECONDS


def test_training_whose_worker_stops_goes_back_to_the_queue(supervised, caplog):
    stop = threading.Event()
    process = Process()
    process.work = lambda: stop.set() if len(process.waits) == 3 else None
    run = supervised(process, stop=stop)
    assert process.waits == [1.0, 1.0, 1.0, 10.0]
    assert (run.state, run.reason) == (Run.State.QUEUED, "Its worker was stopped; the next one continues it.")
    assert "process 4711 is ended: its worker stops" in caplog.messages


def test_training_whose_lease_is_lost_is_terminated_and_its_run_left_alone(supervised, caplog):
    process = Process(work=lambda: Run.objects.update(fencing_token=7))
    run = supervised(process)
    assert process.waits == [1.0, 10.0]
    assert (run.state, run.reason) == (Run.State.RUNNING, "")
    assert "process 4711 is ended: its lease was given to another worker" in caplog.messages


def test_interrupted_supervisor_ends_the_training_and_stops_itself(supervised, run, caplog):
    def interrupt():
        raise KeyboardInterrupt

    process = Process(work=interrupt)
    with pytest.raises(KeyboardInterrupt):
        supervised(process)
    run.refresh_from_db()
    assert (run.state, run.reason) == (Run.State.QUEUED, "Its worker was stopped; the next one continues it.")
    assert process.ended_by == ["terminate"]
    assert "process 4711 is ended: its worker stops" in caplog.messages


def test_training_goes_on_while_the_database_does_not_answer(supervised, monkeypatch, caplog):
    seen = supervision._seen
    renewed = []

    def gone(*_):
        monkeypatch.setattr(supervision, "_seen", seen)
        raise DatabaseError("no answer\n")

    monkeypatch.setattr(supervision, "_seen", gone)
    monkeypatch.setattr(supervision, "was_lost", lambda: renewed.append(True))
    process = Process(2.0)
    run = supervised(process)
    assert process.waits == [1.0] * 3
    assert process.ended_by == []
    assert renewed == [True]
    assert f"the state of run {run.pk} cannot be read; its training goes on: no answer" in caplog.messages


@pytest.mark.parametrize(("python", "expected"), [("/usr/bin/python3", "/usr/bin/python3"), ("", "no Python")])
def test_process_that_cannot_be_started_fails_its_run_with_what_is_needed(
    supervised, run, monkeypatch, caplog, python, expected
):
    monkeypatch.setattr(sys, "executable", python)
    process = Process()

    def refuse(*_, **__):
        raise PermissionError("not allowed")

    process.start = refuse
    supervised(process)
    assert run.state == Run.State.FAILED
    assert run.reason == (
        "The training process could not be started or watched (PermissionError: not allowed). It is run by "
        f"{expected}, its log is {supervision.log_path(run.pk)}: the user of this process must be able to run the one "
        "and write the other. Then train again."
    )
    assert f"run {run.pk} could not be trained in a process of its own" in caplog.messages


def test_run_that_another_worker_took_while_its_process_ended_is_left_to_it(supervised, caplog):
    process = Process()

    def lose(*_, **__):
        Run.objects.update(fencing_token=7)
        raise PermissionError("not allowed")

    process.start = lose
    run = supervised(process)
    assert (run.state, run.reason) == (Run.State.RUNNING, "")
    assert f"run {run.pk} was taken over while its process ended" in caplog.messages


def planted(code):
    """A subprocess that runs this code instead of the training."""

    def start(command, **options):
        return subprocess.Popen([sys.executable, "-c", code, *command[4:]], **options)

    return start


@pytest.mark.django_db(transaction=True)
def test_training_process_that_is_really_killed_is_started_again(monkeypatch, tmp_path):
    code = (
        "import os, pathlib, sys\n"
        f"mark = pathlib.Path({str(tmp_path / 'mark')!r})\n"
        "if not mark.exists(): mark.touch(); os.kill(os.getpid(), 9)\n"
        "print('out of memory, says the allocator', flush=True); sys.exit(1)"
    )
    monkeypatch.setattr(supervision, "start_process", planted(code))
    run = runs.request_run(trigger="here")
    supervision.supervise(run.pk)
    run.refresh_from_db()
    assert (run.state, run.fencing_token) == (Run.State.FAILED, 2)
    assert run.reason == (
        "The training process ended with exit code 1 at waiting. Last line: out of memory, says the allocator "
        f"See {supervision.log_path(run.pk)}, then train again."
    )
    (attempt,) = run.provenance["attempts"]
    assert attempt["reason"].startswith("The training process was killed by signal 9 at waiting")


@pytest.mark.django_db(transaction=True)
def test_training_that_ignores_its_cancellation_is_ended(monkeypatch):
    monkeypatch.setattr(supervision, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(supervision, "GRACE_SECONDS", 0.6)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    monkeypatch.setattr(supervision, "start_process", planted(code))
    run = runs.request_run(trigger="here")
    thread = supervision.supervise_in_thread(run.pk)
    assert thread.name == f"recommender-train-{run.pk}"
    wait_for(lambda: Run.objects.filter(state=Run.State.RUNNING).exists(), what="the lease")
    runs.cancel(run)
    thread.join(20)
    assert not thread.is_alive()
    run.refresh_from_db()
    assert run.state == Run.State.CANCELLED


@pytest.mark.django_db(transaction=True)
def test_training_whose_lease_went_to_another_worker_is_ended_without_a_word(monkeypatch):
    monkeypatch.setattr(supervision, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(supervision, "start_process", planted("import time; time.sleep(60)"))
    run = runs.request_run(trigger="here")
    thread = supervision.supervise_in_thread(run.pk)
    wait_for(lambda: Run.objects.filter(state=Run.State.RUNNING).update(fencing_token=7), what="the lease")
    thread.join(20)
    assert not thread.is_alive()
    run.refresh_from_db()
    assert (run.state, run.reason) == (Run.State.RUNNING, "")


def test_process_is_started_with_its_command_and_options():
    process = supervision.start_process(
        [sys.executable, "-c", "print('hello'); raise SystemExit(7)"], stdout=subprocess.PIPE
    )
    assert process.communicate() == (b"hello\n", None)
    assert process.returncode == 7
