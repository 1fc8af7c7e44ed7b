"""Faults of storing: a full disk, and an insert of ours that fails in a transaction of the shop's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from pathlib import Path

from benchmarks.faults.bench import Bench, environment_of, load_shop, stored_in, summary
from benchmarks.faults.load import Load
from benchmarks.faults.registry import Outcome, fault
from benchmarks.faults.servers import Postgres, Web

DISK_BYTES = 300 * 2**20
PIECE_BYTES = 2**16


@fault(15, "the disk is full for events and for a bundle")
def full_disk(bench: Bench) -> Outcome:
    """The disk of the database in either mode, each time a small one of its own."""
    if os.geteuid() != 0:
        return Outcome(passed=False, figure="not carried out: only root may mount a disk")
    both = {database: _filled(bench, database) for database in ("SQLite", "PostgreSQL")}
    figures = [f"{database}: {outcome.figure}" for database, outcome in both.items()]
    seconds = max(outcome.seconds for outcome in both.values())
    return Outcome(all(outcome.passed for outcome in both.values()), "; ".join(figures), seconds)


def _filled(bench: Bench, database: str) -> Outcome:
    """Fill the disk under a load of events, write a bundle there, and make room again."""
    with _small_disk(bench.folder / f"disk-{database}") as disk, ExitStack() as stack:
        environment, postgres = environment_of(disk / "var"), None
        if database == "PostgreSQL":
            postgres = Postgres(bench.children, disk / "postgres")
            postgres.start()
            stack.callback(postgres.end, signal.SIGINT)
            environment["DATABASE_URL"] = postgres.url
        load_shop(environment)
        web = Web(bench.children, bench.folder / "web", environment)
        web.start()
        stack.callback(web.end)
        with Load(web.address, n_clients=2) as load:
            bench.rest(1)
            _fill(disk / "filler")
            n_before = len(load.ledger.answered)
            bench.rest(4)
            n_refused = sum(answer.status == 503 for answer in load.ledger.answered[n_before:])
            left = _bundle_on(disk)
            (disk / "filler").unlink()
            freed_at = time.monotonic()
            if postgres is not None:
                postgres.ensure()
            seconds = load.recovered_in(since=freed_at)
            bench.rest(1)
        n_missing, n_twice = bench.settle(load, stored=stored_in(environment, load.prefix))
    others = set(load.ledger.statuses) - {202, 503}
    passed = not n_missing and not n_twice and n_refused > 0 and not left and not others
    figure = f"{n_refused} batches refused, {left or 'nothing'} left of the bundle"
    return Outcome(passed, f"{figure}, {summary(load.ledger, n_missing, n_twice)}", seconds)


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder], check=True)  # noqa: S607
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S607


def _fill(file: Path) -> None:
    """Take what is left of the disk."""
    with file.open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(PIECE_BYTES)):
            continue
    with file.open("ab", buffering=0) as filler, suppress(OSError):
        while filler.write(b"x" * 512):
            continue


def _bundle_on(disk: Path) -> list[str]:
    """Write a bundle where there is no room; return the files that it leaves, or that it was written at all."""
    from django.conf import settings
    from django.test import override_settings

    from recommender import bundles
    from recommender.exceptions import BundleUnreachable

    target = disk / "recommender"
    with (
        tempfile.TemporaryDirectory() as source,
        override_settings(RECOMMENDER={**settings.RECOMMENDER, "DIRECTORY": target}),
    ):
        (Path(source) / "head.json").write_text('"' + "x" * 2**20 + '"')
        try:
            bundles.write_bundle(Path(source), is_trained=True, encoder_hash="none")
        except (BundleUnreachable, OSError):
            left = [path.name for path in target.rglob("*") if path.is_file() and path.name != ".gitignore"]
            shutil.rmtree(target, ignore_errors=True)
            return left
    return ["the whole bundle"]


@fault(17, "our insert fails in a transaction of the shop's")
def failing_insert(bench: Bench) -> Outcome:
    """A view saves a product, and what it has shown cannot be stored within its transaction: the product is saved."""
    from django.db import transaction
    from django.test import RequestFactory
    from django.utils import timezone

    from recommender import capture, middleware
    from recommender.models import Event
    from shopreco.shop.models import Product

    codes = [f"f{uuid.uuid4().hex[:10]}" for _ in range(50)]
    with _refused_events():
        for code in codes:
            request = RequestFactory().get("/", headers={"cookie": "recommender_consent=granted"})
            with transaction.atomic():
                Product.objects.create(stock_code=code, title="Red heart", price=Decimal(1), stock=1)
                capture.record(request, capture.EventDraft(code, "view_item", timezone.now(), item_id=code))
                middleware._store(request)
                Product.objects.filter(stock_code=code).update(stock=2)
    n_saved = Product.objects.filter(stock_code__in=codes, stock=2).count()
    n_events = Event.objects.filter(message_id__in=codes).count()
    Product.objects.filter(stock_code__in=codes).delete()
    figure = f"{n_saved} of {len(codes)} rows of the shop committed, {n_events} events stored"
    return Outcome(n_saved == len(codes) and not n_events, figure)


@contextmanager
def _refused_events() -> Iterator[None]:
    """PostgreSQL refuses every event."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON recommender_event FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse CASCADE")
