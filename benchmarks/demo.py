"""Seconds of `make demo` after the download: from nothing with `--fresh`, else the next start of a loaded demo."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django

from benchmarks.figures import Figure, show
from benchmarks.web import ROOT, free_port, wait_until_served

FIRST_LIMIT_S, TRAINING_LIMIT_S, SECOND_LIMIT_S = 300, 180, 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="load and train in a temporary folder first")
    if parser.parse_args().fresh:
        with tempfile.TemporaryDirectory(prefix="shopreco-bench-") as folder:
            os.environ["SHOPRECO_VAR"] = folder
            show("make demo, from nothing", _fresh())
    else:
        show("make demo, once more", _second())


def _fresh() -> Iterator[Figure]:
    yield Figure("first start to the served page", _seconds_to_page(limit=3 * FIRST_LIMIT_S), FIRST_LIMIT_S, "s")
    yield from _second()


def _second() -> Iterator[Figure]:
    yield Figure("next start to the served page", _seconds_to_page(limit=4 * SECOND_LIMIT_S), SECOND_LIMIT_S, "s")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    django.setup()
    from recommender.models import Run

    run = Run.objects.exclude(started_at=None).exclude(finished_at=None).order_by("pk").first()
    if run is None or run.started_at is None or run.finished_at is None:
        raise SystemExit("There is no finished training. Run `make demo` first, or measure with --fresh.")
    yield Figure("its first training", (run.finished_at - run.started_at).total_seconds(), TRAINING_LIMIT_S, "s")
    for stage, seconds in run.seconds.items():
        yield Figure(f"  {stage}", seconds, TRAINING_LIMIT_S, "s")


def _seconds_to_page(*, limit: float) -> float:
    port = free_port()
    with _demo(port):
        return wait_until_served(f"http://127.0.0.1:{port}/", seconds=limit)


@contextmanager
def _demo(port: int) -> Iterator[None]:
    """The demo's own command, ended as Ctrl-C ends it."""
    log = Path(tempfile.gettempdir()) / f"shopreco-bench-{port}.log"
    with log.open("wb") as output:
        demo = subprocess.Popen(
            [sys.executable, "manage.py", "demo", "--port", str(port)],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(demo.pid, signal.SIGINT)
        demo.wait(timeout=60)


if __name__ == "__main__":
    main()
