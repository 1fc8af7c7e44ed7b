"""Faults of trainings: messages that come again and again, killed trainers and workers, and one that was asleep."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.faults.bench import Bench
from benchmarks.faults.registry import Outcome, fault
from benchmarks.faults.servers import Celery, children_of, kill, wait_for

if TYPE_CHECKING:
    from recommender.models import Run

SETTINGS = {
    "minutes": 0.5, "encoder": "scratch", "fine_tuning": "frozen", "seed": 1, "least_pairs": 20, "least_examples": 20,
    "least_lists": 10_000, "least_steps": 0, "least_tuning_steps": 0, "least_cases": 1,
}  # fmt: skip
"""The smallest training that ends with a bundle and a verdict."""

RUN_SECONDS = 240.0
TRAINING = ("worker", "--queues", "shopreco-training", "--pool", "solo", "--without-mingle", "--without-gossip")
SHORT = ("worker", "--queues", "shopreco-recommender", "--concurrency", "1", "--without-mingle", "--without-gossip")


@fault(7, "one task comes 50 times; two beats, two reapers")
def repeated_tasks(bench: Bench) -> Outcome:
    """One run by 50 messages to two trainers, with two beats that ask for a run each second and two that reap it."""
    from recommender import runs, tasks
    from recommender.models import Run

    with ExitStack() as stack:
        trainers = [stack.enter_context(bench.celery(*TRAINING, "--hostname", f"trainer{n}@%h")) for n in range(2)]
        stack.enter_context(bench.celery(*SHORT, "--hostname", "short@%h"))
        run = runs.request_run(trigger="faults", settings=SETTINGS)
        app = tasks.project_app()
        n_sent = sum(tasks.publish(tasks.train, run.pk, run.key, app=app) for _ in range(50))
        beats = [stack.enter_context(bench.celery(*_beat(bench, n), FAULTS_HURRY="1")) for n in range(2)]
        most_active = _most_active_until(run)
        n_reaped = _reaped_by_two()
        n_due = sum(beat.log().count("Sending due task") for beat in beats)
        logs = [trainer.log() for trainer in trainers]
    for other in Run.objects.filter(state__in=runs.ACTIVE):
        runs.cancel(other)
    run.refresh_from_db()
    n_processes = sum(log.count(f"run {run.pk} trains in process") for log in logs)
    passed = run.state == Run.State.SUCCEEDED and n_processes == 1 == run.fencing_token == most_active == n_reaped
    figure = f"{n_sent} messages, {n_due} of beats: {n_processes} training, at most {most_active} active run"
    return Outcome(passed and n_sent == 50 and n_due > 2, f"{figure}; a silent run was reaped {n_reaped} time")


def _beat(bench: Bench, number: int) -> tuple[str, ...]:
    return ("beat", "--schedule", str(bench.folder / f"beat{number}"), "--pidfile=")


def _most_active_until(run: Run) -> int:
    """Wait for the end of a run; return the largest number of active runs that there was."""
    from recommender import runs
    from recommender.models import Run

    most, deadline = 0, time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        most = max(most, Run.objects.filter(state__in=runs.ACTIVE).count())
        run.refresh_from_db()
        if run.state not in runs.ACTIVE:
            break
        time.sleep(0.2)
    return most


def _reaped_by_two() -> int:
    """Let two reapers look at a run whose process went silent, at the same moment; how often it was reaped."""
    from django.db import connection
    from django.utils import timezone

    from recommender import runs
    from recommender.models import Run

    silent = Run.objects.create(state=Run.State.RUNNING, trigger="here", fencing_token=1, heartbeat_at=timezone.now())
    time.sleep(0.2)
    reaped: list[int] = []
    barrier = threading.Barrier(2)

    def reap() -> None:
        barrier.wait()
        reaped.extend(one for one in runs.reap_stale(stale_seconds=0.1) if one == silent.pk)
        connection.close()

    threads = [threading.Thread(target=reap) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    silent.delete()
    return len(reaped)


@fault(8, "a trainer and then its worker are killed -9")
def killed_trainers(bench: Bench) -> Outcome:
    """The run goes on each time, under another lease, and ends once."""
    from recommender import runs, tasks
    from recommender.models import Run

    with bench.celery(*TRAINING) as worker:
        run = _started(worker)
        started = time.monotonic()
        kill(_trainer_of(worker))
        wait_for(lambda: _lease(run) == 2, what="the run's second lease", seconds=RUN_SECONDS)
        trainer = _trainer_of(worker)
        kill(worker.pid)
        kill(trainer)
        seconds = time.monotonic() - started
    wait_for(lambda: runs.reap_stale(stale_seconds=1.0), what="the silent run", seconds=30)
    with bench.celery(*TRAINING):
        tasks.publish(tasks.train, run.pk, run.key)
        wait_for(lambda: _state(run) not in runs.ACTIVE, what="the end of the run", seconds=RUN_SECONDS)
    run.refresh_from_db()
    passed = run.state == Run.State.SUCCEEDED and run.fencing_token == 3
    return Outcome(passed, f"{run.get_state_display()} under lease {run.fencing_token}", seconds)


@fault(9, "a trainer sleeps through its lease (SIGSTOP, SIGCONT)")
def sleeping_trainer(bench: Bench) -> Outcome:
    """Another worker takes its run; what awakes writes nothing and ends."""
    from recommender import runs, tasks
    from recommender.models import Run

    with bench.celery(*TRAINING, "--hostname", "first@%h") as first:
        run = _started(first)
        sleeper = _trainer_of(first)
        with _asleep(first.pid, sleeper):
            wait_for(lambda: runs.reap_stale(stale_seconds=2.0), what="the silent run", seconds=30)
            with bench.celery(*TRAINING, "--hostname", "second@%h"):
                tasks.publish(tasks.train, run.pk, run.key)
                wait_for(lambda: _lease(run) == 2, what="the second lease", seconds=60)
                kill(sleeper, signal.SIGCONT)
                kill(first.pid, signal.SIGCONT)
                seconds = wait_for(lambda: not _trainers_of(first), what="the sleeper's end", seconds=60)
                wait_for(lambda: _state(run) not in runs.ACTIVE, what="the end of the run", seconds=RUN_SECONDS)
    run.refresh_from_db()
    passed = run.state == Run.State.SUCCEEDED and run.fencing_token == 2
    return Outcome(passed, f"the sleeper ended; {run.get_state_display()} under lease {run.fencing_token}", seconds)


@contextmanager
def _asleep(*pids: int) -> Iterator[None]:
    for pid in pids:
        kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            kill(pid, signal.SIGCONT)


def _started(worker: Celery) -> Run:
    """A run whose training has got somewhere."""
    from recommender import runs
    from recommender.models import Run

    run = runs.request_run(trigger="faults", settings=SETTINGS)
    has_begun = Run.objects.filter(pk=run.pk, progress__gt=0.01)
    wait_for(lambda: has_begun.exists() and _trainers_of(worker), what="a training", seconds=90)
    return run


def _lease(run: Run) -> int:
    from recommender.models import Run

    return Run.objects.values_list("fencing_token", flat=True).get(pk=run.pk)


def _state(run: Run) -> str:
    from recommender.models import Run

    return Run.objects.values_list("state", flat=True).get(pk=run.pk)


def _trainer_of(worker: Celery) -> int:
    wait_for(lambda: _trainers_of(worker), what="a training process", seconds=60)
    return _trainers_of(worker)[0]


def _trainers_of(worker: Celery) -> list[int]:
    return [pid for pid in children_of(worker.pid) if b"recommender_run" in Path(f"/proc/{pid}/cmdline").read_bytes()]
