"""Probes say what is down, in time, and the metrics say what was counted, to whoever has the token."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from prometheus_client import REGISTRY

from recommender import capture, metrics, pipeline, serving, tasks
from recommender.api import gauges, health
from recommender.capture import EventDraft
from recommender.models import Bundle, Job, Run
from recommender.serving import memory, sharing
from recommender.types import EventType

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-long-secret-of-the-monitoring"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_is_down(monkeypatch: Any) -> None:
    monkeypatch.setattr(health, "_down_until", {})


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def scraper(settings: Any) -> Client:
    settings.RECOMMENDER = settings.RECOMMENDER | {"METRICS_TOKEN": TOKEN}
    return Client(headers={"Authorization": f"Bearer {TOKEN}"})


def redis_cache(port: int) -> dict[str, Any]:
    options = {"socket_timeout": 0.3, "socket_connect_timeout": 0.3}
    backend = "django.core.cache.backends.redis.RedisCache"
    return {"default": {"BACKEND": backend, "LOCATION": f"redis://127.0.0.1:{port}/0", "OPTIONS": options}}


def ready() -> tuple[int, dict[str, str]]:
    response = Client().get(reverse("recommender:readyz"))
    assert "no-store" in response["Cache-Control"]
    return response.status_code, response.json()


def test_process_is_alive_without_a_query(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert Client().get("/healthz").json() == {"status": "ok"}
    assert reverse("recommender:healthz") == "/recommender/healthz"


def test_whole_shop_is_ready_with_one_query(demo_shop: Any, django_assert_num_queries: Any) -> None:
    serving.reload()
    with django_assert_num_queries(1):
        status, parts = ready()
    assert (status, parts["status"], parts["model"]) == (200, "ok", "lexical")
    assert {parts[name] for name in ("database", "cache", "broker")} == {"ok"}


def test_process_without_a_model_says_so_and_starts_no_load(demo_shop: Any) -> None:
    status, parts = ready()
    assert (status, parts["status"], parts["model"]) == (200, "degraded", "loading")
    assert memory._memory.served is None


def test_model_that_cannot_be_loaded_is_told_from_one_that_loads(demo_shop: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sharing, "load_shelf", lambda *_: 1 / 0)
    serving.reload()
    assert ready()[1]["model"] == "failed"


@pytest.mark.parametrize("is_deaf", [True, False])
def test_shop_without_its_cache_is_ready_and_degraded(settings: Any, deaf_port: int, is_deaf: bool) -> None:
    serving.reload()
    settings.CACHES = redis_cache(deaf_port if is_deaf else 1)
    started = time.monotonic()
    status, parts = ready()
    assert (status, parts["status"], parts["cache"], parts["broker"]) == (200, "degraded", "down", "ok")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("is_deaf", [True, False])
def test_shop_without_its_broker_is_ready_and_degraded(monkeypatch: Any, deaf_port: int, is_deaf: bool) -> None:
    serving.reload()
    port = deaf_port if is_deaf else 1
    down = Celery("shopreco", broker=f"redis://127.0.0.1:{port}/0", set_as_current=False)
    monkeypatch.setattr(tasks, "_apps", lambda: [down])
    started = time.monotonic()
    status, parts = ready()
    assert (status, parts["status"], parts["broker"], parts["cache"]) == (200, "degraded", "down", "ok")
    assert time.monotonic() - started < 4
    started = time.monotonic()
    assert ready()[1]["broker"] == "down"
    assert time.monotonic() - started < 0.5, "what is down is not asked at every probe"


def test_part_that_is_back_is_seen_after_ten_seconds(monkeypatch: Any) -> None:
    serving.reload()
    monkeypatch.setattr(tasks, "require_broker", lambda app: 1 / 0)
    assert ready()[1]["broker"] == "down"
    monkeypatch.setattr(tasks, "require_broker", lambda app: None)
    assert ready()[1]["broker"] == "down"
    health._down_until["broker"] -= health.DOWN_SECONDS
    assert ready()[1]["status"] == "ok"


def test_shop_without_celery_misses_no_broker(monkeypatch: Any) -> None:
    serving.reload()
    monkeypatch.setattr(tasks, "_apps", list)
    assert ready()[1]["broker"] == "ok"


def test_shop_without_its_database_is_not_ready_but_alive(tmp_path: Path) -> None:
    code = (
        "import django, json; django.setup(); from django.test import Client; "
        "client = Client(SERVER_NAME='127.0.0.1'); answers = [client.get(path) for path in ('/readyz', '/healthz')]; "
        "print(json.dumps([[answer.status_code, answer.json()['status']] for answer in answers]))"
    )
    nobody = {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing", "SHOPRECO_VAR": str(tmp_path)}
    environment = os.environ | nobody | {"DJANGO_SETTINGS_MODULE": "shopreco.settings"}
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert json.loads(ended.stdout) == [[503, "down"], [200, "ok"]], ended.stderr
    assert "the database does not answer" in ended.stderr


def test_metrics_are_only_for_whoever_has_the_token(scraper: Client, settings: Any) -> None:
    address = reverse("recommender:metrics")
    assert scraper.get(address).status_code == 200
    for sent in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        response = Client(headers=sent).get(address)
        assert (response.status_code, response["WWW-Authenticate"], response.content) == (401, "Bearer", b"")
    settings.RECOMMENDER = settings.RECOMMENDER | {"METRICS_TOKEN": ""}
    for client in (scraper, Client(headers={"Authorization": "Bearer "})):
        assert client.get(address).status_code == 404


def test_metrics_without_their_package_say_what_to_install(scraper: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(metrics, "prometheus_client", None)
    response = scraper.get("/metrics")
    assert (response.status_code, b"shopreco[metrics]" in response.content) == (501, True)
    counts = metrics.OutcomeCounts("events", "The name is not registered twice.")
    counts["accepted"] += 2
    assert counts == {"accepted": 2}


def events(outcome: str) -> float:
    return REGISTRY.get_sample_value("recommender_events_total", {"outcome": outcome}) or 0.0


def test_events_are_counted_by_outcome() -> None:
    before = {outcome: events(outcome) for outcome in ("accepted", "duplicate", "rejected", "dropped", "failed")}
    draft = EventDraft(uuid.uuid4().hex, EventType.SEARCH, timezone.now(), query="mug")
    capture.ingest([draft, draft, EventDraft(uuid.uuid4().hex, EventType.VIEW_ITEM, timezone.now())])
    capture.counts["failed"] += 1
    counted = {outcome: events(outcome) - n for outcome, n in before.items()}
    assert counted == {"accepted": 1, "duplicate": 1, "rejected": 1, "dropped": 0, "failed": 1}


def test_count_that_another_thread_overtook_does_not_go_down() -> None:
    before = events("accepted")
    capture.counts["accepted"] += 5
    capture.counts["accepted"] -= 1
    assert events("accepted") == before + 5


def test_lists_are_counted_by_slot_and_rung_with_their_seconds(demo_shop: Any, scraper: Client) -> None:
    serving.reload()
    labels = {"slot": "search", "rung": pipeline.search("bag").rung.value}
    before = REGISTRY.get_sample_value("recommender_list_seconds_count", labels)
    pipeline.search("mug")
    assert REGISTRY.get_sample_value("recommender_list_seconds_count", labels) == (before or 0) + 1
    assert f'recommender_list_seconds_bucket{{le="0.04",rung="{labels["rung"]}",slot="search"}}' in scraped(scraper)


def scraped(scraper: Client) -> str:
    return scraper.get("/metrics").content.decode()


def test_state_of_runs_jobs_and_bundles_is_read_at_the_scrape(scraper: Client, django_assert_num_queries: Any) -> None:
    Run.objects.create(state=Run.State.QUEUED)
    Run.objects.create(state=Run.State.SUCCEEDED)
    moment = timezone.now()
    Job.objects.create(name="purge_retention", finished_at=moment, error="OperationalError: locked")
    Bundle.objects.create(name="champion-one", state=Bundle.State.CHAMPION, created_at=moment)
    Bundle.objects.create(name="broken", state=Bundle.State.QUARANTINED)
    with django_assert_num_queries(5):
        lines = scraped(scraper).splitlines()
    assert 'recommender_runs{state="queued"} 1.0' in lines
    assert 'recommender_runs{state="running"} 0.0' in lines
    assert 'recommender_job_failing{name="purge_retention"} 1.0' in lines
    assert "recommender_quarantined_bundles 1.0" in lines
    assert "recommender_database_up 1.0" in lines
    stamps = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines if "_timestamp_seconds{" in line}
    assert stamps == {
        "recommender_job_finished_timestamp_seconds": pytest.approx(moment.timestamp()),
        "recommender_bundle_created_timestamp_seconds": pytest.approx(moment.timestamp()),
    }


def test_every_metric_is_documented_and_none_else(scraper: Client) -> None:
    Bundle.objects.create(name="champion-one", state=Bundle.State.CHAMPION)
    table = (ROOT / "docs" / "deployment.md").read_text().split("## Metrics")[1].split("\n## ")[0]
    documented = set(re.findall(r"`(recommender_\w+)`", table))
    assert documented == set(re.findall(r"^# TYPE (recommender_\w+(?<!_created)) ", scraped(scraper), re.MULTILINE))


def test_failures_are_exposed_before_the_first() -> None:
    code = (
        "from django.conf import settings; settings.configure(); from recommender import metrics; "
        "metrics.OutcomeCounts('events', 'Events.', 'failed'); from prometheus_client import generate_latest; "
        "print(generate_latest().decode())"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 'recommender_events_total{outcome="failed"} 0.0' in ended.stdout


def test_metrics_outlive_the_database(scraper: Client, monkeypatch: Any) -> None:
    def refuse() -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(gauges, "_gauges", refuse)
    lines = scraped(scraper).splitlines()
    assert "recommender_database_up 0.0" in lines
    assert any(line.startswith("recommender_events_total{") for line in lines)


def test_processes_of_one_host_are_added_up(tmp_path: Path) -> None:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "shopreco.settings",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "SHOPRECO_VAR": str(tmp_path),
    }

    def printed(code: str) -> str:
        command = [sys.executable, "-c", f"import django; django.setup(); {code}"]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    for n in (2, 3):
        printed(f"from recommender import capture; capture.counts['accepted'] += {n}")
    text = printed("from recommender.api import gauges; print(gauges.exposition().decode())")
    assert 'recommender_events_total{outcome="accepted"} 5.0' in text
