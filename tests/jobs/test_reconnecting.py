"""Every long loop survives a lost database connection; other errors are raised at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, OperationalError, connection, transaction

from recommender import bundles, runs
from recommender.management import following
from recommender.models import Item, Run
from recommender.models.connections import persistently, was_lost
from recommender.runs import supervision
from recommender.training import run as train
from recommender.training.watch import Watch
from tests.conftest import DemoShop, wait_for

SETTINGS: dict[str, Any] = {
    "minutes": 3, "encoder": "scratch", "fine_tuning": "frozen", "seed": 1, "least_pairs": 20, "least_examples": 20,
    "least_lists": 5, "least_steps": 0, "least_cases": 1,
}  # fmt: skip
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"


@pytest.fixture(autouse=True)
def _scratch_encoder(settings: Any) -> None:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}


def cut() -> None:
    """Close every connection to the test's database, of this and other processes, as a restart does."""
    import psycopg

    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as other:
        other.execute(CUT, [other.info.backend_pid])


def leased() -> tuple[Run, int]:
    run = runs.request_run(trigger=supervision.HERE, settings=SETTINGS)
    token = runs.lease(run.pk, worker="test")
    assert token is not None
    run.refresh_from_db()
    return run, token


class TestPersistently:
    def test_fault_of_the_query_is_raised_at_once(self, transactional_db: None) -> None:
        calls = []

        def ask() -> None:
            calls.append(1)
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM no_such_table")

        with pytest.raises(DatabaseError, match="no_such_table"):
            persistently(ask)
        assert len(calls) == 1

    def test_error_of_a_connection_that_works_is_no_loss(self, transactional_db: None) -> None:
        Item.objects.exists()
        assert not was_lost()

    def test_transaction_around_it_is_left_to_whoever_opened_it(self, transactional_db: None) -> None:
        def fail() -> None:
            calls.append(1)
            raise OperationalError("gone")

        calls: list[int] = []
        with pytest.raises(OperationalError), transaction.atomic():
            persistently(fail)
        assert len(calls) == 1

    def test_database_that_is_away_for_a_while_is_waited_for(
        self, transactional_db: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection.close()
        with monkeypatch.context() as away:
            away.setattr(connection, "connect", _refusing(3, connection.connect))
            assert persistently(Item.objects.count) == 0

    def test_patience_has_an_end(self, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
        connection.close()
        with monkeypatch.context() as away:
            away.setattr(connection, "connect", _refusing(10_000, connection.connect))
            with pytest.raises(OperationalError, match="refused"):
                persistently(Item.objects.count, patience_seconds=0.5)

    @pytest.mark.postgres
    def test_cut_within_a_transaction_of_the_work_is_done_again_too(self, transactional_db: None) -> None:
        calls: list[int] = []

        def write() -> int:
            with transaction.atomic():
                n_items = Item.objects.count()
                calls.append(n_items)
                if len(calls) < 3:
                    cut()
                return Item.objects.count()

        Item.objects.exists()
        assert persistently(write) == 0
        assert len(calls) == 3

    @pytest.mark.postgres
    def test_cut_connection_is_renewed_and_the_work_is_done_again(self, transactional_db: None) -> None:
        Item.objects.exists()
        cut()
        assert persistently(Item.objects.count) == 0
        cut()
        with pytest.raises(DatabaseError):
            Item.objects.count()
        assert was_lost()
        assert Item.objects.count() == 0


def _refusing(n_times: int, connect: Callable[[], None]) -> Callable[[], None]:
    refusals = iter(range(n_times))

    def attempt() -> None:
        if next(refusals, None) is not None:
            raise OperationalError("connection refused")
        connect()

    return attempt


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
class TestTraining:
    def test_run_whose_connections_are_cut_at_every_stage_ends_as_it_would_have(
        self, live_demo_shop: DemoShop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run, token = leased()
        train(run.pk, token)
        run.refresh_from_db()
        begin, stages = Watch.stage, []

        def stage(watch: Watch, name: str) -> None:
            begin(watch, name)
            stages.append(name)
            cut()

        monkeypatch.setattr(Watch, "stage", stage)
        again, token = leased()
        cut()
        train(again.pk, token)
        persistently(again.refresh_from_db)
        assert (again.state, again.verdict, again.reason) == (run.state, run.verdict, run.reason)
        assert again.state == Run.State.SUCCEEDED
        assert {"dataset", "encoder", "context", "head", "evaluation", "publication"} <= set(stages)
        assert again.bundle is not None

    def test_run_that_is_cut_in_the_midst_of_its_queries_ends_well(self, live_demo_shop: DemoShop) -> None:
        run, token = leased()
        with _cut_within_queries(at=(2, 3, 5, 8, 13, 21, 34, 55, 70, 85, 100)) as cuts:
            train(run.pk, token)
        persistently(run.refresh_from_db)
        assert run.state == Run.State.SUCCEEDED, run.reason
        assert len(cuts) > 6

    def test_supervisor_and_training_process_survive_cuts_every_second(
        self, live_demo_shop: DemoShop, settings: Any
    ) -> None:
        bundles.ensure_champion()  # the subprocess reads the settings of the project, not those of this test
        ended = threading.Event()

        def cut_on() -> None:
            while not ended.wait(1.5):
                cut()

        cutting = threading.Thread(target=cut_on)
        run = runs.request_run(trigger=supervision.HERE, settings=SETTINGS)
        cutting.start()
        try:
            assert supervision.supervise(run.pk)
        finally:
            ended.set()
            cutting.join()
        persistently(run.refresh_from_db)
        assert run.state == Run.State.SUCCEEDED, run.reason

    def test_heartbeat_goes_on_after_a_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("recommender.training.watch.BEAT_SECONDS", 0.1)
        run, token = leased()
        with Watch(run.pk, token) as watch:
            wait_for(lambda: _beats_after(run), what="a first beat")
            cut()
            persistently(run.refresh_from_db)
            watch.stage("encoder")
            wait_for(lambda: Run.objects.get(pk=run.pk).stage == "encoder", what="a beat after the cut")


def _beats_after(run: Run) -> bool:
    return bool(Run.objects.filter(pk=run.pk, heartbeat_at__gt=run.heartbeat_at).exists())


@contextmanager
def _cut_within_queries(*, at: tuple[int, ...]) -> Iterator[list[int]]:
    """Close all connections just before the given queries of this thread, counted from now."""
    cuts: list[int] = []
    n_queries = 0

    def wrapper(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        nonlocal n_queries
        n_queries += 1
        if n_queries in at:
            cuts.append(n_queries)
            cut()
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(wrapper):
        yield cuts


@pytest.mark.django_db(transaction=True)
class TestProcessThatCannotBeStarted:
    def test_run_ends_with_the_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        run = runs.request_run(trigger=supervision.HERE)
        assert supervision.supervise(run.pk)
        run.refresh_from_db()
        assert run.state == Run.State.FAILED
        assert "/no/such/python" in run.reason
        assert "Then train again." in run.reason

    def test_log_that_cannot_be_written_ends_the_run_too(self, settings: Any, tmp_path: Any) -> None:
        (tmp_path / "file").write_text("no folder")
        settings.RECOMMENDER = {**settings.RECOMMENDER, "DIRECTORY": tmp_path / "file"}
        run = runs.request_run(trigger=supervision.HERE)
        supervision.supervise(run.pk)
        run.refresh_from_db()
        assert run.state == Run.State.FAILED
        assert "log.txt" in run.reason

    def test_python_that_lacks_our_packages_is_told_by_its_last_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
            return subprocess.Popen([sys.executable, "-S", "-c", "import no_such_package"], **options)

        monkeypatch.setattr(supervision, "start_process", start)
        run = runs.request_run(trigger=supervision.HERE)
        supervision.supervise(run.pk)
        run.refresh_from_db()
        assert run.state == Run.State.FAILED
        assert "no_such_package" in run.reason

    def test_command_that_trains_here_ends_with_the_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(following, "LOOK_SECONDS", 0.1)
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        with pytest.raises(CommandError, match="/no/such/python"):
            call_command("recommender_train", "--here")

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_command_whose_thread_dies_before_the_lease_ends_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def die(run_id: int, **_: Any) -> None:
            raise KeyError("planted")

        monkeypatch.setattr(following, "LOOK_SECONDS", 0.1)
        monkeypatch.setattr(runs, "lease", die)
        with pytest.raises(CommandError, match="started 2 times"):
            call_command("recommender_train", "--here")
        assert Run.objects.get().state == Run.State.FAILED
