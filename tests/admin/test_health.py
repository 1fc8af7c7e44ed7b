"""The health page shows what the doctor finds, with each repair, in bounded time and without writing."""

from __future__ import annotations

import json
import re
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from recommender import metrics, tasks
from recommender.deadlines import Stage
from recommender.management import background, findings, health
from recommender.management.findings import UNKNOWN, Finding, exit_code, guarded, within
from recommender.metrics import StageFault
from recommender.models import Alarm, Bundle, Event, EventCount
from recommender.models.words import words_of
from recommender.serving import ladder, sharing
from tests.admin.test_experiments import clerk

pytestmark = pytest.mark.django_db

URL = "/admin/recommender/health/"


def page(client: Client, **form: str) -> str:
    response = client.post(URL, form) if form else client.get(URL)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


def findings_on(topic: str) -> list[Finding]:
    return list(health.examinations()[topic]())


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch: Any) -> None:
    monkeypatch.setattr(findings, "_waiting", {})


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def deaf_cache(port: int) -> dict[str, Any]:
    """Django's own Redis cache without the timeouts that a shop may have forgotten: a call hangs for ever."""
    backend = "django.core.cache.backends.redis.RedisCache"
    return {"default": {"BACKEND": backend, "LOCATION": f"redis://127.0.0.1:{port}/0"}}


def test_page_shows_every_finding_of_the_command_with_its_repair(demo_shop: Any, admin_client: Client) -> None:
    Alarm.objects.create(kind="look", item_id="mug", day=timezone.now().date(), n_people=9_000, limit=100)
    output = StringIO()
    with pytest.raises(SystemExit):
        call_command("recommender_doctor", "--json", stdout=output)
    report = json.loads(output.getvalue())["findings"]
    text = page(admin_client, test="event")
    shown = re.findall(r'<th scope="row">([^<]+)</th>', text)
    assert sorted(shown) == sorted(words_of(finding["topic"]) for finding in report)
    assert "1 alarms: far more visitors than usual" in text
    assert "Look at the alarms in the admin and mark them as seen." in text
    assert 'href="/admin/recommender/alarm/"' in text
    assert "An event was written, read and removed." in text


def test_what_is_wrong_comes_first_in_sign_word_and_colour(demo_shop: Any, admin_client: Client) -> None:
    Bundle.objects.create(name="b1", encoder_hash="h", state="quarantined", manifest={"quarantined": "a bit flipped"})
    text = page(admin_client)
    words = re.findall(r'rec-badge rec-(\w+)"><span aria-hidden="true">(.)</span> (error|warning|in order)', text)
    assert words[0] == ("failed", "✗", "error")
    assert words[-1] == ("succeeded", "✓", "in order")
    assert text.index("a bit flipped") < text.index("All migrations are applied.")


def test_looking_writes_nothing(demo_shop: Any, admin_client: Client) -> None:
    n_events = Event.objects.count()
    with CaptureQueriesContext(connection) as captured:
        text = page(admin_client)
    verbs = {query["sql"].split()[0].upper() for query in captured}
    assert not verbs & {"INSERT", "UPDATE", "DELETE"}, verbs
    assert "An event was written" not in text
    page(admin_client, test="event")
    assert Event.objects.count() == n_events


def test_page_needs_its_permission() -> None:
    viewer = clerk("view_run", "view_overview")
    assert viewer.get(URL).status_code == 403
    assert "what to repair" not in viewer.get("/admin/recommender/").content.decode()
    User.objects.all().delete()
    nurse = clerk("view_health")
    assert "what to repair" in nurse.get("/admin/recommender/").content.decode()
    Alarm.objects.create(kind="look", item_id="mug", day=timezone.now().date(), n_people=9_000, limit=100)
    assert 'href="/admin/recommender/alarm/"' not in page(nurse)


def test_cache_that_never_answers_is_a_finding_and_is_asked_once(
    admin_client: Client, settings: Any, deaf_port: int, monkeypatch: Any
) -> None:
    settings.CACHES = deaf_cache(deaf_port)
    monkeypatch.setattr(health, "ANSWER_SECONDS", 0.3)
    text = page(admin_client)
    assert "The cache does not answer: TimeoutError: no answer in 0.3 seconds" in text
    assert findings._waiting["cache"].is_alive()  # it would have hung
    (finding,) = findings_on("cache")
    assert (finding.level, "earlier question" in finding.message) == ("error", True)


def test_broker_that_does_not_answer_leaves_its_queues_not_known(monkeypatch: Any, deaf_port: int) -> None:
    from celery import Celery

    down = Celery("shopreco", broker=f"redis://127.0.0.1:{deaf_port}/0", set_as_current=False)
    monkeypatch.setattr(tasks, "_apps", lambda: [down])
    monkeypatch.setattr(background, "ANSWER_SECONDS", 0.3)
    levels = {finding.message.partition(":")[0]: finding.level for finding in findings_on("background")}
    assert levels["messages that wait"] == UNKNOWN


def test_long_queue_is_a_warning(monkeypatch: Any) -> None:
    monkeypatch.setattr(tasks, "listening", lambda app: {"worker@host": ["shopreco-recommender"]})
    monkeypatch.setattr(tasks, "n_waiting", lambda app, task: 3 if task is tasks.train else 4_000)
    (finding,) = [finding for finding in findings_on("background") if finding.message.startswith("Messages that")]
    assert finding.level == "warning"
    assert "`shopreco-recommender` 4000, `shopreco-training` 3" in finding.message


def test_query_that_takes_too_long_is_broken_off() -> None:
    slow = {"postgresql": "SELECT pg_sleep(60)"}.get(
        connection.vendor, "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    )

    def look() -> Iterator[Finding]:
        yield Finding("slow", "ok", "the first line")
        with connection.cursor() as cursor:
            cursor.execute(slow)
        yield Finding("slow", "ok", "never")

    first, rest = guarded("slow", look, seconds=0.3)
    assert first.message == "the first line"
    assert (rest.level, "longer than 0.3 seconds" in rest.message) == (UNKNOWN, True)
    assert Event.objects.count() == 0  # the connection works, and nothing bounds it any more
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone()[0] == "0"


def test_bound_of_one_examination_does_not_outlive_it() -> None:
    assert guarded("quick", lambda: iter([Finding("quick", "ok", "done")]), seconds=0.2)[0].message == "done"
    time.sleep(0.3)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 200000) SELECT count(*) FROM n"
        )
        assert cursor.fetchone()[0] == 200_000
        if connection.vendor == "postgresql":
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone()[0] == "0"


def test_examinations_after_the_pages_time_are_not_known() -> None:
    report = health.examine(writes=False, most_seconds=0.0)
    assert {finding.topic for finding in report if finding.level == UNKNOWN} >= {"cache", "disk", "ages"}
    assert exit_code(report) == 1


def test_answer_of_a_question_comes_back_with_its_error() -> None:
    assert within(5.0, "sum", lambda: 1 + 1) == 2
    assert within(5.0, "nothing", lambda: None) is None
    with pytest.raises(ZeroDivisionError):
        within(5.0, "sum", lambda: 1 / 0)


def test_account_adds_up_and_many_rejections_name_the_page() -> None:
    today = timezone.now().date()
    EventCount.objects.create(day=today, source="page", accepted=90, duplicate=5, dropped=4, rejected=1)
    EventCount.objects.create(day=today, source="api", accepted=70, rejected=30)
    api, own = findings_on("account")
    assert (api.level, own.level) == ("warning", "ok")
    assert "100 sent = 90 accepted + 5 duplicate + 1 rejected + 4 dropped" in own.message


def test_pause_after_a_failure_is_a_warning_while_it_lasts(monkeypatch: Any) -> None:
    assert findings_on("pauses")[0].level == "ok"
    monkeypatch.setattr(tasks, "_paused_until", time.monotonic() + 20)
    finding = findings_on("pauses")[0]
    assert (finding.level, "publishing messages for another 20 s" in finding.message) == ("warning", True)


def test_stage_that_is_left_alone_is_a_warning_and_faults_are_counted_by_stage(monkeypatch: Any) -> None:
    monkeypatch.setattr(metrics, "faults", Counter())
    assert [finding.level for finding in findings_on("lists")] == ["ok"]
    for _ in range(3):
        ladder._faults.fail("b7", Stage.HEAD, StageFault.LATE)
    resting, counted = findings_on("lists")
    assert (resting.level, "“head” of model b7" in resting.message) == ("warning", True)
    assert "3 times late, 0 errors" in counted.message


@pytest.mark.parametrize(("free", "level"), [(100, "error"), (2**30, "warning"), (2**40, "ok")])
def test_little_free_disk_is_told_before_a_run_fails(monkeypatch: Any, free: int, level: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(2**41, 2**41 - free, free))
    assert {finding.level for finding in findings_on("disk")} == {level}


def test_disk_of_a_storage_that_does_not_say_is_not_known(settings: Any) -> None:
    storage = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
    settings.STORAGES = settings.STORAGES | {"far": storage}
    settings.RECOMMENDER = settings.RECOMMENDER | {"BUNDLE_STORAGE": "far"}
    finding = findings_on("disk")[-1]
    assert (finding.level, "InMemoryStorage does not say" in finding.message) == (UNKNOWN, True)


def test_missing_snapshot_of_a_large_catalogue_is_told(settings: Any, tmp_path: Path) -> None:
    (small,) = findings_on("snapshot")
    assert (small.level, "small" in small.message) == ("ok", True)
    settings.RECOMMENDER = settings.RECOMMENDER | {"SNAPSHOT_ITEMS": 0, "DIRECTORY": tmp_path}
    (missing,) = findings_on("snapshot")
    assert (missing.level, str(tmp_path) in missing.message, "worker" in missing.repair) == ("warning", True, True)
    sharing.write_snapshot()
    (written,) = findings_on("snapshot")
    assert (written.level, "0 minutes ago" in written.message.replace("\xa0", " ")) == ("ok", True)


def test_ages_say_what_is_old() -> None:
    assert {finding.level for finding in findings_on("ages")} == {"ok"}
    days = timezone.timedelta(days=5)
    Event.objects.create(message_id="old", type="view_item", occurred_at=timezone.now() - days,
                         received_at=timezone.now() - days)  # fmt: skip
    newest, _model, statistics = findings_on("ages")
    assert (newest.level, "5 days" in newest.message.replace("\xa0", " ")) == ("warning", True)
    assert (statistics.level, "never computed" in statistics.message) == ("warning", True)
