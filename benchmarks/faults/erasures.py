"""Faults of forgetting: a person is erased while a training has read what they did."""

from __future__ import annotations

import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.faults.bench import Bench
from benchmarks.faults.load import API, call, event_of, new_visitor
from benchmarks.faults.registry import Outcome, fault
from benchmarks.faults.runs import RUN_SECONDS, SETTINGS, SHORT, TRAINING
from benchmarks.faults.servers import wait_for

if TYPE_CHECKING:
    from recommender.models import Erasure

N_SEARCHES = 30
FINISH_SECONDS = 60.0


@fault(22, "a person is erased during a training")
def erased_during_training(bench: Bench) -> Outcome:
    """The training goes on to its end; then nothing of the person is in a table, or in a file of runs and bundles."""
    from recommender import runs
    from recommender.models import Erasure, Run

    token = new_visitor(bench.web.address)
    names = _did_much(bench, token)
    with bench.celery(*TRAINING), bench.celery(*SHORT, "--hostname", "short@%h"):
        run = runs.request_run(trigger="faults", settings=SETTINGS)
        wait_for(partial(_has_read, run.pk, names), what=f"what run {run.pk} reads of the person", seconds=90)
        n_tables, n_files = len(list(_tables_with(names))), len(list(_files_with(names)))
        erased = call(bench.web.address, f"{API}/me", token=token, method="DELETE")
        erasure = Erasure.objects.latest("pk")
        still_named = [one for one in _tables_with(names) if one != Erasure._meta.db_table]
        _until(erasure, lambda row: bool(row.waits_for), seconds=FINISH_SECONDS)
        has_waited = Run.objects.get(pk=run.pk).state in runs.ACTIVE
        ended = Run.objects.filter(pk=run.pk).exclude(state__in=runs.ACTIVE)
        wait_for(ended.exists, what=f"the end of run {run.pk}", seconds=RUN_SECONDS)
        seconds = _until(erasure, lambda row: row.state == Erasure.State.FINISHED, seconds=FINISH_SECONDS)
    run.refresh_from_db()
    left = [*still_named, *_tables_with(names), *_files_with(names)]
    has_trained = run.state == Run.State.SUCCEEDED and run.bundle is not None
    figure = (
        f"run {run.get_state_display()}, {'a' if run.bundle else 'no'} bundle; before {n_tables} tables and {n_files} "
        f"file{'s' * (n_files != 1)} named the person, afterwards {left or 'none'}"
    )
    passed = erased.status == 204 and has_waited and has_trained and n_tables > 0 and not left
    return Outcome(passed, figure, seconds)


def _did_much(bench: Bench, token: str) -> list[str]:
    """Let a person search, look, and see lists; return what would name them anywhere."""
    from recommender.models import Event

    word, prefix = f"zanzibar{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    searches = [
        event_of(f"{prefix}{number}", type="search", item_id="", query=f"{word} lantern")
        for number in range(N_SEARCHES)
    ]
    looks = [event_of(f"{prefix}-{number}") for number in range(N_SEARCHES)]
    answer = call(bench.web.address, f"{API}/events", body=[*searches, *looks], token=token)
    if answer.status != 202 or answer.body["accepted"] != 2 * N_SEARCHES:
        raise RuntimeError(f"the person's events were answered with {answer.status}: {answer.body}")
    call(bench.web.address, f"{API}/recommendations/home", token=token)
    key = Event.objects.filter(message_id__contains=prefix).values_list("visitor__key", flat=True)[0]
    return [word, prefix, key.hex, str(key)]


def _has_read(run_id: int, names: list[str]) -> bool:
    return any(f"/runs/{run_id}/" in path for path in _files_with(names))


def _until(erasure: Erasure, is_true: Callable[[Erasure], bool], *, seconds: float) -> float:
    """Publish the job again and again until it has carried the erasure so far; the seconds that it took."""
    from recommender import tasks

    started = time.monotonic()
    while True:
        tasks.publish(tasks.erase)
        erasure.refresh_from_db()
        if is_true(erasure):
            return time.monotonic() - started
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"after {seconds:.0f} s {erasure} is {erasure.state}, waits for {erasure.waits_for!r}")
        time.sleep(1)


def _tables_with(names: list[str]) -> Iterator[str]:
    """The tables of the recommender and the admin's history in which a row contains one of the names."""
    from django.db import connection

    tables = [name for name in connection.introspection.table_names() if name.startswith("recommender_")]
    with connection.cursor() as cursor:
        for table in [*tables, "django_admin_log"]:
            clause = " OR ".join(["strpos(stored::text, %s) > 0"] * len(names))
            cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {table} stored WHERE {clause})", names)  # noqa: S608
            if cursor.fetchone()[0]:
                yield table


def _files_with(names: list[str]) -> Iterator[str]:
    """The files of runs, bundles and snapshots that contain one of the names, also in a compressed member."""
    from recommender import conf

    for path in conf.directory().rglob("*"):
        try:
            if path.is_file() and any(name.encode() in content for content in _contents(path) for name in names):
                yield str(path)
        except FileNotFoundError:  # a training has just replaced it
            continue


def _contents(path: Path) -> Iterator[bytes]:
    yield path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from map(archive.read, archive.namelist())
