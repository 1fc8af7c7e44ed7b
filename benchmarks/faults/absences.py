"""Faults of an installation: Redis, PyTorch or Celery is not installed, and Redis is installed but does not run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.faults.bench import Bench, environment_of, load_shop, stored_in
from benchmarks.faults.load import API, Load, Readers, call
from benchmarks.faults.registry import Outcome, fault
from benchmarks.faults.servers import Web, python
from benchmarks.web import free_port

ABSENT = Path(__file__).parent / "absent"
LONGEST_PAGE_SECONDS = 5.0
REDIS, PYTORCH, CELERY = ("redis",), ("torch", "transformers", "accelerate", "peft"), ("celery", "kombu", "billiard")
PAGES = (*Readers.PATHS, "/admin/login/", "/healthz")


def without(*packages: str) -> dict[str, str]:
    """The environment of a Python process, and of those that it starts, in which packages are not installed."""
    paths = [str(ABSENT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "ABSENT_PACKAGES": " ".join(packages)}


@fault(21, "Redis, PyTorch or Celery is absent")
def absences(bench: Bench) -> Outcome:
    """Each in a shop of production; then none of them, from an empty folder on, with the worker without Celery."""
    silent = f"redis://127.0.0.1:{free_port()}/0"
    in_production = {
        "Redis not installed": {**without(*REDIS), "REDIS_URL": ""},
        "Redis not running": {"REDIS_URL": silent},
        "PyTorch not installed": without(*PYTORCH),
        "Celery not installed": without(*CELERY),
    }
    outcomes = {name: _served(bench, bench.environment | more) for name, more in in_production.items()}
    outcomes["none of them"] = _embedded(bench)
    figures = [f"{name}: {outcome.figure}" for name, outcome in outcomes.items()]
    seconds = max(outcome.seconds for outcome in outcomes.values())
    return Outcome(all(outcome.passed for outcome in outcomes.values()), "; ".join(figures), seconds)


def _embedded(bench: Bench) -> Outcome:
    """Without any of the packages: the tables, a catalogue, the recurring jobs, and what is then served."""
    environment = environment_of(bench.folder / "absent") | without(*REDIS, *PYTORCH, *CELERY)
    load_shop(environment)
    python("manage.py", "recommender_worker", "--once", "--only", "short", environment=environment)
    return _served(bench, environment)


def _served(bench: Bench, environment: Mapping[str, str]) -> Outcome:
    """Pages are answered, and events that were acknowledged are stored."""
    web = Web(bench.children, bench.folder / "web", environment)
    web.start()
    try:
        hits = call(web.address, f"{API}/search?q=heart").body.get("items", [])
        with Load(web.address, n_clients=2) as load, Readers(web.address, paths=PAGES) as readers:
            bench.rest(3)
    finally:
        web.end()
    n_missing, n_twice = bench.settle(load, stored=stored_in(environment, load.prefix))
    n_failed = load.ledger.n_failed() + readers.ledger.n_failed()
    seconds = max(load.ledger.longest_wait(), readers.ledger.longest_wait())
    n_pages, n_acknowledged = len(readers.ledger.answered), len(load.ledger.acknowledged)
    is_busy = bool(hits) and n_pages > len(PAGES) and n_acknowledged > 0
    passed = is_busy and not n_missing and not n_twice and not n_failed and seconds < LONGEST_PAGE_SECONDS
    figure = f"{n_failed} of {n_pages:,} pages failed, {n_acknowledged:,} acknowledged, {n_missing} not stored"
    return Outcome(passed, figure, seconds)
