"""Fixtures that every test may use: a small real shop, a shopper, real workers, and memories wiped in between."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.core.cache import cache
from django.core.management.color import no_style
from django.db import connection, models, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from tests import environment, shops

ROOT = Path(__file__).resolve().parent.parent
collect_ignore = ["oscar_shop"]  # its tests run under settings of their own: see test_oscar.py
IN_CI = os.environ.get("CI") == "true"
N_CUSTOMERS = 30
WORKER_START_SECONDS = 60


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what another run of the same suite covers; skip what this machine lacks, but never in CI."""
    absent = [name for name, is_there in {"postgres": has_postgres(), "redis": has_redis()}.items() if not is_there]
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in absent)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    if not shutil.which("chromedriver"):
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason="Debian's chromium and chromium-driver are not installed"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail") and not item.get_closest_marker("gpu"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped; only the marker gpu may skip in continuous integration"
    return report


def has_postgres() -> bool:
    return os.environ.get("DATABASE_URL", "").startswith("postgres")


def has_redis() -> bool:
    return bool(os.environ.get("REDIS_URL"))


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Name the test database so that every process that a test starts opens it too."""
    database = django_settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        database.setdefault("TEST", {})["NAME"] = str(database["NAME"])
    else:
        name = f"test_{database['NAME']}_{environment.worker_number()}"
        database.setdefault("TEST", {})["NAME"] = name
        os.environ["DATABASE_URL"] = f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{name}"


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Nothing that one test cached or loaded serves the next; `serving.reload()` picks up what a test has written."""
    cache.clear()
    translation.deactivate()  # LocaleMiddleware leaves the language of the last page behind
    monkeypatch.setattr(logging.getLogger("recommender"), "propagate", True)  # so that caplog hears it
    no_deadline = {"PAGE_DEADLINE_SECONDS": 0, "API_DEADLINE_SECONDS": 0}  # a busy machine must not lower the rung
    settings.RECOMMENDER = {**django_settings.RECOMMENDER, "REFRESH_SECONDS": 3600.0, **no_deadline}
    if (ledger := sys.modules.get("recommender.jobs.ledger")) is not None:
        monkeypatch.setattr(ledger, "_marked", {})
    _load_in_this_thread(monkeypatch)
    _forget_faults(monkeypatch)


@pytest.fixture(autouse=True)
def _count_nothing_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test counted is written by no other test, and not at the end of the process."""
    from recommender import metrics
    from recommender.capture import counting

    monkeypatch.setattr(metrics, "answers", Counter())
    monkeypatch.setattr(counting, "_pending", Counter())
    monkeypatch.setattr(counting, "_written_at", time.monotonic())


def _forget_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that failed in one test is not left alone in the next."""
    from recommender.serving import ladder

    monkeypatch.setattr(ladder, "_faults", type(ladder._faults)())


def _load_in_this_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load and refresh in the test's own thread, which sees its uncommitted rows, and never at a page's first request.

    How a web process loads in the background is tested in serving/test_memory.py.
    """
    from recommender import serving
    from recommender.serving import memory

    monkeypatch.setattr(memory, "_memory", type(memory._memory)())
    monkeypatch.setattr(memory, "_start", lambda work: work())
    monkeypatch.setattr(serving, "warm_up", lambda: None)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is shipped, built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("shopreco-*.whl")
    return wheel


@pytest.fixture(scope="session")
def wheel_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a fresh virtual environment in which `recommender` is what is shipped."""
    return shops.install_wheel(wheel, tmp_path_factory.mktemp("venv"))


FEW_ARE_ENOUGH = {"FEWEST_PEOPLE": 1, "FEWEST_EVENTS": 1, "FEWEST_BUYERS": 1}


@pytest.fixture
def few_are_enough(settings: Any) -> None:
    """What one person did is published: the demo shop of the tests is small. Comes before the fixture of the shop."""
    settings.RECOMMENDER = settings.RECOMMENDER | FEW_ARE_ENOUGH


@pytest.fixture
def demo_shop(db: None) -> DemoShop:
    """60 real products, 30 real customers and their orders, synced, reconciled and with statistics; no vectors."""
    return _fill_shop()


@pytest.fixture
def live_demo_shop(transactional_db: None) -> DemoShop:
    """The same, committed: other threads and processes see it."""
    return _fill_shop()


@pytest.fixture
def shopper(demo_shop: DemoShop) -> Any:
    """The customer with the most orders, as the pipeline sees them."""
    from recommender.identity import shopper_of

    return shopper_of(request_of(demo_shop.customer().user))


@pytest.fixture
def celery_eager() -> Iterator[None]:
    """Tasks run in this process, at once, and their errors are raised."""
    from shopreco.celery import app

    before = app.conf.task_always_eager, app.conf.task_eager_propagates
    app.conf.task_always_eager = app.conf.task_eager_propagates = True
    yield
    app.conf.task_always_eager, app.conf.task_eager_propagates = before


@pytest.fixture
def live_worker(transactional_db: None, tmp_path: Path) -> Iterator[Path]:
    """A real Celery worker for every queue, on the test database and the broker of this mode; gives its log."""
    log = tmp_path / "worker.log"
    with run_worker("shopreco-recommender,shopreco-training", log=log):
        yield log


@contextmanager
def run_worker(queues: str, *, log: Path, pool: str = "solo") -> Iterator[subprocess.Popen[bytes]]:
    """Start one worker process in a session of its own and end it, with its children, at the end."""
    command = [sys.executable, "-m", "celery", "-A", "shopreco", "worker", "-Q", queues, f"--pool={pool}", "-l", "INFO"]
    with log.open("wb") as output:
        worker = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_for(lambda: " ready." in log.read_text(errors="replace"), what=f"a worker ready in {log}", process=worker)
        yield worker
    finally:
        _end(worker)


def wait_for(
    is_true: Callable[[], object],
    *,
    what: str,
    seconds: float = WORKER_START_SECONDS,
    process: subprocess.Popen[bytes] | None = None,
) -> None:
    """Look ten times a second; fail with what was waited for."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if process is not None and process.poll() is not None:
            pytest.fail(f"waiting for {what}: the process ended with {process.returncode}")
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)


def request_of(user: Any = None, path: str = "/") -> Any:
    """A request of a user who has consented, as a view receives it but for the session."""
    from django.contrib.auth.models import AnonymousUser
    from django.test import RequestFactory

    request: Any = RequestFactory().get(path)
    request.COOKIES["recommender_consent"] = "granted"
    request.user = user or AnonymousUser()
    return request


@contextmanager
def assert_queries(at_most: int, *, at_least: int = 0) -> Iterator[None]:
    """Count queries without savepoints: on PostgreSQL we make some inside a transaction, and a test stands in one."""
    with CaptureQueriesContext(connection) as context:
        yield
    frames = ("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT")
    queries = [query["sql"] for query in context.captured_queries if not query["sql"].startswith(frames)]
    assert at_least <= len(queries) <= at_most, "\n".join(queries)


class DemoShop:
    """What the fixture has loaded, with the questions that tests ask of it."""

    def customer(self, index: int = 0) -> Any:
        """A customer by number of orders: 0 has the most."""
        from shopreco.shop.models import Customer

        ranked = Customer.objects.annotate(n_orders=models.Count("orders")).order_by("-n_orders", "code")
        return ranked.select_related("user")[index]

    def product(self, index: int = 0) -> Any:
        """A visible product by number of order lines: 0 has the most."""
        from shopreco.shop.models import Product

        ranked = Product.objects.filter(is_visible=True).annotate(n_lines=models.Count("order_lines"))
        return ranked.order_by("-n_lines", "stock_code")[index]

    def spread_over_categories(self) -> None:
        """Put the items into three categories in turn, and read them anew."""
        from recommender import serving
        from recommender.models import Item

        keys = list(Item.objects.order_by("pk").values_list("pk", flat=True))
        for index, name in enumerate(("Bags", "Cards & paper", "Toys")):
            Item.objects.filter(pk__in=keys[index::3]).update(category=name)
        serving.reload()


Rows = list[tuple[type[models.Model], list[models.Model]]]

_rows: dict[tuple[int, ...], Rows] = {}
"""The demo shop as it was after its first load in this process, by the thresholds under which it was published;
later tests only insert it again."""


def _fill_shop() -> DemoShop:
    from recommender import conf

    thresholds = tuple(conf.get(name) for name in FEW_ARE_ENOUGH)
    if thresholds in _rows:
        _restore(_rows[thresholds])
    else:
        _rows[thresholds] = _load()
    return DemoShop()


def _load() -> Rows:
    from recommender import tracking
    from recommender.catalog import sync
    from recommender.datasets import statistics
    from shopreco.shop import loading

    loading.load(n_customers=N_CUSTOMERS, n_products=60, now=timezone.now())
    sync.sync()
    tracking.reconcile()
    statistics.refresh_statistics()
    return [(model, rows) for model in _loaded_models() if (rows := list(model._default_manager.all()))]


def _restore(tables: Rows) -> None:
    with transaction.atomic():
        for model, rows in tables:
            model._default_manager.bulk_create(rows, batch_size=500)
        reset = connection.ops.sequence_reset_sql(no_style(), [model for model, _ in tables])
        with connection.cursor() as cursor:
            for statement in reset:
                cursor.execute(statement)


def _loaded_models() -> list[type[models.Model]]:
    """Tables of the user, the shop and the recommender, each after the tables that it points to."""
    wanted = [apps.get_model(django_settings.AUTH_USER_MODEL)]
    wanted += [model for label in ("shop", "recommender") for model in apps.get_app_config(label).get_models()]
    ordered: list[type[models.Model]] = []

    def visit(model: type[models.Model]) -> None:
        if model in ordered or model not in wanted or model._meta.proxy:
            return
        for field in model._meta.concrete_fields:
            if isinstance(field, models.ForeignKey) and field.related_model is not model:
                visit(field.related_model)
        ordered.append(model)

    for model in wanted:
        visit(model)
    return ordered


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to stop, then make it and its children."""
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=15)
