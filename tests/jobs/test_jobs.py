"""Recurring jobs run when they are due, one at a time, and are never lost; schedules mean the same as in Celery."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from celery.schedules import crontab
from django.core.management import call_command
from django.db import OperationalError, connection
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender import jobs, runs
from recommender.exceptions import ConfigurationError
from recommender.jobs import Crontab, ledger, timing, work, worker
from recommender.models import Item, ItemVector, Job, Run, Worker
from recommender.runs import supervision
from tests.conftest import wait_for

ROOT = Path(__file__).resolve().parents[2]
NOW = dt.datetime(2026, 3, 4, 12, 30, 20, tzinfo=dt.UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (("0", "3", "*"), (2026, 3, 4, 3, 0)),
        (("0", "13", "*"), (2026, 3, 3, 13, 0)),
        (("30", "12", "wed"), (2026, 3, 4, 12, 30)),
        (("31", "12", "3"), (2026, 2, 25, 12, 31)),
        (("*/20", "*", "*"), (2026, 3, 4, 12, 20)),
        (("0", "4,22", "sat-mon"), (2026, 3, 2, 22, 0)),
        ((15, 6, 7), (2026, 3, 1, 6, 15)),
        ((15, [6, 8], "sunday"), (2026, 3, 1, 8, 15)),
    ],
)
def test_crontab_names_the_newest_time_that_has_come(declared: Any, expected: tuple[int, ...]) -> None:
    assert Crontab.of(declared).last(NOW) == dt.datetime(*expected, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "declared",
    [
        "0 3 * * *",
        ("0", "3"),
        ("60", "3", "*"),
        ("0", "24", "*"),
        ("0", "3", "someday"),
        ("x", "3", "*"),
        ("0", 3.5, "*"),
    ],
)
def test_schedule_that_is_no_crontab_is_refused_with_an_example(declared: Any, settings: Any) -> None:
    with pytest.raises(ConfigurationError, match="mon-fri"):
        Crontab.of(declared)
    settings.RECOMMENDER = {**settings.RECOMMENDER, "TRAINING_SCHEDULE": declared}
    (message,) = timing.check_schedule(None)
    assert message.id == "recommender.E004"


def parts(size: int, *names: str) -> st.SearchStrategy[str]:
    number = st.integers(0, size - 1)
    span = st.tuples(number, number).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
    return st.one_of(
        st.just("*"),
        number.map(str),
        span,
        st.tuples(span, st.integers(1, 9)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
        st.integers(1, 9).map(lambda step: f"*/{step}"),
        st.lists(number.map(str), min_size=1, max_size=3).map(",".join),
        *(st.just(name) for name in names),
    )


@settings(deadline=None)
@given(parts(60), parts(24), parts(7, "sun", "mon-fri", "sat,tue"))
def test_crontab_means_what_celery_means(minute: str, hour: str, day: str) -> None:
    ours, theirs = Crontab.of((minute, hour, day)), crontab(minute=minute, hour=hour, day_of_week=day)
    assert (ours.minutes, ours.hours, ours.days) == (theirs.minute, theirs.hour, theirs.day_of_week)


@pytest.mark.django_db
def test_work_that_somebody_does_is_not_done_twice() -> None:
    done = []

    def first() -> None:
        done.append("first")
        assert jobs.perform("sync_changed", lambda: done.append("second")) is False

    assert jobs.perform("sync_changed", first) is True
    assert done == ["first"]
    assert jobs.perform("sync_changed", lambda: done.append("third")) is True


@pytest.mark.django_db
def test_work_of_a_killed_worker_is_free_again() -> None:
    Job.objects.create(name="reconcile", held_by="killed", held_until=timezone.now() - dt.timedelta(seconds=1))
    assert jobs.perform("reconcile", lambda: None) is True


@pytest.mark.django_db(transaction=True)
def test_long_work_keeps_its_hold(monkeypatch: Any) -> None:
    monkeypatch.setattr(ledger, "HOLD_SECONDS", 0.4)
    monkeypatch.setattr(ledger, "RENEW_SECONDS", 0.05)
    taken = []

    def long() -> None:
        time.sleep(1)
        taken.append(jobs.perform("reconcile", lambda: None))

    jobs.perform("reconcile", long)
    assert taken == [False]


@pytest.mark.django_db
def test_work_that_fails_says_why_and_is_free() -> None:
    with pytest.raises(OSError, match="no disk"):
        jobs.perform("reconcile", lambda: (_ for _ in ()).throw(OSError("no disk")))
    job = Job.objects.get()
    assert (job.error, job.held_by) == ("OSError: no disk", "")
    jobs.perform("reconcile", lambda: None)
    assert Job.objects.get().error == ""


@pytest.mark.django_db
def test_interrupted_work_is_due_again() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.perform("purge_retention", interrupted)
    later = timezone.now() + dt.timedelta(seconds=10)
    assert ledger.is_due(Job.objects.get(), later - dt.timedelta(days=1), later)


@pytest.fixture
def counted(monkeypatch: Any) -> dict[str, int]:
    """Count how often each job is done; the jobs do nothing."""
    n_done = dict.fromkeys(work.WORK, 0)

    def counter(name: str) -> Any:
        def count() -> None:
            n_done[name] += 1

        return count

    monkeypatch.setattr(work, "WORK", {name: counter(name) for name in work.WORK})
    return n_done


@pytest.mark.django_db
def test_worker_does_each_job_when_it_is_due(counted: dict[str, int]) -> None:
    loop = worker.Loop()
    loop.run_once()
    loop.run_once()
    assert counted == {**dict.fromkeys(work.TIMES, 1), "start_scheduled_run": 0}
    Job.objects.filter(name__in=("reconcile", "learn_queries")).update(
        started_at=timezone.now() - dt.timedelta(minutes=11)
    )
    loop.run_once()
    assert (counted["reconcile"], counted["learn_queries"]) == (2, 1)


@pytest.mark.django_db
def test_worker_encodes_what_was_saved_without_waiting_for_the_minute(
    counted: dict[str, int], monkeypatch: Any
) -> None:
    loop = worker.Loop()
    loop.run_once()
    monkeypatch.setattr(ledger, "COALESCE_SECONDS", 0.05)
    jobs.want("encode_items")
    time.sleep(0.1)
    loop.run_once()
    loop.run_once()
    assert (counted["encode_items"], counted["sync_changed"]) == (2, 1)


@pytest.mark.django_db
def test_scheduled_training_waits_for_its_time_and_comes_once(settings: Any, counted: dict[str, int]) -> None:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "TRAINING_SCHEDULE": ("*", "*", "*")}
    loop = worker.Loop(does=(worker.SHORT,))
    loop.run_once()
    assert counted["start_scheduled_run"] == 0
    Job.objects.filter(name="start_scheduled_run").update(started_at=timezone.now() - dt.timedelta(minutes=2))
    loop.run_once()
    loop.run_once()
    assert counted["start_scheduled_run"] == 1


@pytest.mark.django_db
def test_job_that_fails_leaves_the_others_their_turn(counted: dict[str, int], monkeypatch: Any) -> None:
    def broken() -> None:
        raise OSError("no disk")

    monkeypatch.setitem(work.WORK, "sync_changed", broken)
    messages: list[str] = []
    worker.Loop(say=messages.append).run_once()
    assert "sync_changed failed: OSError: no disk" in messages
    assert counted["refresh_statistics"] == counted["reconcile"] == 1


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_share_the_work(counted: dict[str, int]) -> None:
    def work_once() -> None:
        try:
            worker.Loop(does=(worker.SHORT,)).run_once()
        finally:
            connection.close()

    threads = [threading.Thread(target=work_once) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted == {**dict.fromkeys(work.TIMES, 1), "start_scheduled_run": 0}


@pytest.mark.django_db(transaction=True)
def test_worker_outlives_a_dropped_connection(counted: dict[str, int], monkeypatch: Any) -> None:
    monkeypatch.setattr(worker, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.1)
    loop = worker.Loop(does=(worker.SHORT,))
    turns = []

    def turn() -> None:
        turns.append(len(turns))
        if len(turns) == 1:
            connection.connection.close()  # as a server does that is restarted: Django holds a dead connection
            Job.objects.count()
        if len(turns) == 2:
            raise OperationalError("the server is starting up")
        type(loop)._work(loop)
        loop.stop.set()

    Job.objects.count()
    monkeypatch.setattr(loop, "_work", turn)
    thread = threading.Thread(target=lambda: loop._repeat_apart(turn))
    Job.objects.count()
    thread.start()
    thread.join(30)
    assert turns == [0, 1, 2]
    assert counted["sync_changed"] == 1


def planted(code: str) -> Any:
    """A subprocess instead of the training."""

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code, *command[4:]], **options)

    return start


@pytest.mark.django_db(transaction=True)
def test_training_of_a_stopped_worker_goes_back_to_the_queue(monkeypatch: Any, counted: dict[str, int]) -> None:
    monkeypatch.setattr(supervision, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(supervision, "start_process", planted("import time; time.sleep(60)"))
    run = runs.request_run(trigger="command")
    loop = worker.Loop()
    thread = threading.Thread(target=lambda: loop._repeat_apart(loop.run))
    thread.start()
    wait_for(lambda: Run.objects.filter(state=Run.State.RUNNING).exists(), what="the lease")
    wait_for(worker.alive().exists, what="the heartbeat")
    wait_for(lambda: counted["reconcile"], what="short work beside a training")
    loop.stop.set()
    thread.join(30)
    assert not thread.is_alive()
    run.refresh_from_db()
    assert (run.state, run.reason) == (Run.State.QUEUED, "Its worker was stopped; the next one continues it.")
    assert not Worker.objects.exists()


def test_pauses_vary_so_that_hosts_do_not_ask_at_the_same_moment(monkeypatch: Any) -> None:
    loop, pauses = worker.Loop(), []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) == 50 and (loop.stop.set() or True)

    monkeypatch.setattr(loop.stop, "wait", wait)
    monkeypatch.setattr(worker, "close_old_connections", lambda: None)  # there is no database in this test
    loop._repeat(lambda: None)
    assert len({round(seconds, 6) for seconds in pauses}) > 40
    assert all(0.8 <= seconds / worker.LOOK_SECONDS <= 1.2 for seconds in pauses)


@pytest.mark.django_db
def test_run_that_a_command_supervises_is_left_to_it() -> None:
    mine = Run.objects.create(trigger="here")
    assert worker._queued_ids() == []
    Run.objects.update(created_at=timezone.now() - dt.timedelta(minutes=2))
    assert worker._queued_ids() == [mine.pk]


@pytest.mark.django_db(transaction=True)
def test_command_works_once(live_demo_shop: Any, settings: Any, capsys: Any) -> None:
    """Sync, bundle 0, vectors, statistics and a training that waits, in one call."""
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}
    run = runs.request_run(trigger="command", settings={"minutes": 0.05, "encoder": "scratch", "least_pairs": 20})
    call_command("recommender_worker", "--once", "--only", "short")
    assert ItemVector.objects.count() == Item.objects.filter(is_active=True).count()
    assert "encode_items: " in capsys.readouterr().out
    Item.objects.update(is_active=False)  # so that the run ends at once, in words
    call_command("recommender_worker", "--once", "--only", "training")
    run.refresh_from_db()
    assert run.verdict == Run.Verdict.INSUFFICIENT, run.reason
    assert f"run {run.pk}: succeeded" in capsys.readouterr().out


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_stops_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "recommender_worker"], cwd=ROOT, env={**os.environ}, stdout=log, stderr=log
        )
    wait_for(worker.alive().exists, what="the heartbeat", process=process)
    wait_for(lambda: Job.objects.filter(name="purge_retention", finished_at__isnull=False), what="a round of work")
    process.send_signal(number)
    assert process.wait(60) == 0
    output = (tmp_path / "log").read_text()
    assert "Stopped." in output
    assert "Traceback" not in output
    assert not Worker.objects.exists()
    assert not Job.objects.exclude(held_by="").exists()
