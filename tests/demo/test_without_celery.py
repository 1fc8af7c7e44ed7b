"""The demo in processes that have no Celery: its commands work, its pages are served, and one worker does the work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults.absences import without
from benchmarks.web import ROOT, free_port, wait_until_served
from shopreco.shop.processes import Children


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of an embedded demo without Celery, in an empty folder."""
    embedded = {"DATABASE_URL": "", "REDIS_URL": "", "DJANGO_SETTINGS_MODULE": "shopreco.settings"}
    return {**os.environ, **embedded, "SHOPRECO_VAR": str(tmp_path), **without("celery", "kombu", "billiard")}


def python(*arguments: str, environment: dict[str, str]) -> str:
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_commands_work_and_pages_are_served(environment: dict[str, str], tmp_path: Path) -> None:
    python("manage.py", "check", "--fail-level", "ERROR", environment=environment)
    python("manage.py", "migrate", "--verbosity", "0", environment=environment)
    port = free_port()
    with Children(tmp_path / "logs") as children:
        command = [sys.executable, str(ROOT / "manage.py"), "runserver", "--noreload", str(port)]
        children.start("web", command, environment=environment)
        for path in ("/", "/search/?q=heart", "/recommender/api/v1/search?q=heart"):
            wait_until_served(f"http://127.0.0.1:{port}{path}", seconds=60)


def test_demo_starts_the_worker_that_needs_no_celery(environment: dict[str, str]) -> None:
    python("manage.py", "migrate", "--verbosity", "0", environment=environment)
    code = """
from shopreco.shop import demo
from shopreco.shop.processes import Children
from recommender.jobs import worker
with Children(demo.log_folder()) as children:
    demo.start_workers(children, print)
    print([child.name for child in children.children], worker.is_alive(worker.TRAINING))
"""
    printed = python("manage.py", "shell", "--no-imports", "-c", code, environment=environment)
    assert printed.splitlines()[-1] == "['worker'] True"
