"""The doctor examines broker, workers and recurring jobs, and names the exact command that repairs each problem."""

from __future__ import annotations

import datetime as dt
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.core.management import call_command
from django.utils import timezone

from recommender import jobs, runs, tasks
from recommender.jobs import worker
from recommender.management import background, following
from recommender.management.findings import Finding
from recommender.models import Job, Run, Worker
from shopreco.celery import app
from tests.conftest import run_worker

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
SECRET_KEY = "myshop"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "recommender"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""

pytestmark = pytest.mark.django_db

SHORT = "celery -A shopreco worker --queues shopreco-recommender"
TRAINING = "celery -A shopreco worker --queues shopreco-training --pool solo"
BEAT = "celery -A shopreco beat"


def warnings() -> dict[str, str]:
    """The repair of every finding that is not in order, by its message."""
    return {finding.message: finding.repair for finding in background.examine() if finding.level != "ok"}


@pytest.fixture
def no_app(monkeypatch: Any) -> None:
    monkeypatch.setattr(tasks, "_apps", list)


@pytest.fixture
def done() -> None:
    """Every job was done a moment ago."""
    for name in jobs.WORK:
        Job.objects.create(name=name, started_at=timezone.now(), finished_at=timezone.now())


@pytest.fixture
def quiet_broker(monkeypatch: Any) -> Iterator[list[str]]:
    """A broker that answers, and the queues that are listened to."""
    listened: list[str] = []
    monkeypatch.setattr(tasks, "listening", lambda app: {"worker@host": listened})
    return listened


def test_exact_commands_are_named_for_a_project_with_celery() -> None:
    assert background.start_commands() == [SHORT, TRAINING, BEAT]


def test_worker_command_is_named_for_a_project_without(no_app: None) -> None:
    assert background.start_commands() == ["python manage.py recommender_worker"]
    assert background.training_command() == "python manage.py recommender_worker"


@pytest.mark.django_db(transaction=True)
def test_training_that_waits_says_how_the_worker_is_started_here(no_app: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.1)
    run = runs.request_run(trigger="command")
    output = StringIO()

    def end_once_told(_: float) -> None:
        if "recommender_worker" in output.getvalue():
            Run.objects.update(state=Run.State.CANCELLED)

    monkeypatch.setattr(following.time, "sleep", end_once_told)
    following.follow(run, output, is_here=False)  # type: ignore[arg-type]
    assert "  python manage.py recommender_worker\n" in output.getvalue()


def test_queue_that_nobody_listens_to_is_told_with_its_command(done: None, quiet_broker: list[str]) -> None:
    assert list(warnings().values()) == [SHORT, TRAINING]
    quiet_broker.append("shopreco-recommender")
    assert list(warnings().values()) == [TRAINING]
    quiet_broker.append("shopreco-training")
    assert warnings() == {}


def test_solo_worker_that_trains_answers_by_its_run(done: None, quiet_broker: list[str]) -> None:
    quiet_broker.append("shopreco-recommender")
    Run.objects.create(state=Run.State.RUNNING, heartbeat_at=timezone.now())
    assert warnings() == {}


def test_own_worker_stands_for_both(done: None, no_app: None) -> None:
    assert set(warnings().values()) == {"python manage.py recommender_worker"}
    Worker.objects.create(name="mine", does="short,training", beat_at=timezone.now())
    assert warnings() == {}
    Worker.objects.update(beat_at=timezone.now() - dt.timedelta(seconds=worker.ALIVE_SECONDS + 1))
    assert len(warnings()) == 2


def test_work_that_does_not_come_round_is_told_with_beat(done: None, quiet_broker: list[str]) -> None:
    quiet_broker += ["shopreco-recommender", "shopreco-training"]
    Job.objects.filter(name="sync_changed").update(finished_at=timezone.now() - dt.timedelta(minutes=10))
    Job.objects.filter(name="encode_items").delete()
    assert list(warnings().values()) == [BEAT, BEAT]


def test_work_that_failed_says_why(done: None, quiet_broker: list[str]) -> None:
    quiet_broker += ["shopreco-recommender", "shopreco-training"]
    Job.objects.filter(name="reconcile").update(error="OperationalError: no such table: shop_orderline")
    (message,) = warnings()
    assert "no such table: shop_orderline" in message


@pytest.mark.parametrize("is_deaf", [True, False])
def test_broker_that_does_not_answer_is_an_error_within_seconds(monkeypatch: Any, is_deaf: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1] if is_deaf else 1
        down = Celery("shopreco", broker=f"redis://someone:hidden@127.0.0.1:{port}/0", set_as_current=False)
        monkeypatch.setattr(tasks, "_apps", lambda: [down])
        started = time.monotonic()
        (finding,) = [finding for finding in background.examine() if finding.level == "error"]
        assert time.monotonic() - started < 8
    assert "does not answer" in finding.message
    assert "hidden" not in finding.message


def test_project_whose_name_is_anybodys_is_asked_for_one(monkeypatch: Any) -> None:
    monkeypatch.setattr(tasks, "project_name", lambda app: "config")
    assert isinstance(next(background.examine()), Finding)
    assert any('Celery("myshop")' in repair for repair in warnings().values())


def test_documented_lines_make_an_app_whose_commands_are_the_documented_ones(tmp_path: Path) -> None:
    """The code under "With Celery" is enough for a project without any other Celery configuration."""
    text = (ROOT / "docs" / "deployment.md").read_text().split("### With Celery")[1].split("\n## ")[0]
    shop = tmp_path / "myshop"
    shop.mkdir()
    for name, code in re.findall(r"```python\n# (myshop/\w+\.py)[^\n]*\n(.*?)```", text, re.DOTALL):
        (tmp_path / name).write_text(code + (SETTINGS if name.endswith("settings.py") else ""))
    assert len((shop / "celery.py").read_text().strip().replace("\n\n", "\n").splitlines()) == 6
    code = (
        "import django; django.setup(); from recommender.management.background import start_commands; "
        "print(*start_commands(), sep='\\n')"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "DJANGO_SETTINGS_MODULE": "myshop.settings"}
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    printed = subprocess.run([sys.executable, "-c", code], env=inherited | environment, capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.strip() == re.search(r"```\n(celery .*?)\n```", text, re.DOTALL)[1]


@pytest.mark.broker
@pytest.mark.django_db(transaction=True)
def test_real_worker_is_seen(tmp_path: Any) -> None:
    with run_worker("shopreco-recommender", log=tmp_path / "log"):
        listened = {queue for queues in tasks.listening(app, seconds=5.0).values() for queue in queues}
    assert listened == {"shopreco-recommender"}


def test_doctor_prints_it(no_app: None) -> None:
    output = StringIO()
    with pytest.raises(SystemExit):
        call_command("recommender_doctor", stdout=output)
    assert "background: No worker trains: a requested run waits." in output.getvalue()
    assert "-> python manage.py recommender_worker" in output.getvalue()
