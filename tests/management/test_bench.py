"""`recommender_bench` measures the installation that it runs in, says what to change, and leaves nothing behind."""

from __future__ import annotations

import json
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from recommender import bundles, metrics, serving
from recommender.capture import counting
from recommender.catalog import sync
from recommender.management import measuring
from recommender.models import Event, EventCount, Impression, Visitor
from recommender.serving import vectors
from shopreco.shop.models import Product

pytestmark = pytest.mark.django_db


@pytest.fixture
def _stocked() -> Any:
    for number in range(30):
        Product.objects.create(stock_code=f"{number:02}", title=f"Mug number {number}", price=Decimal(2), stock=5)
    Product.objects.update(is_visible=True)
    sync.sync()
    yield
    serving.reload()


@pytest.fixture
def bundle_zero(_stocked: Any, settings: Any, tmp_path: Any) -> str:
    settings.RECOMMENDER = settings.RECOMMENDER | {"ENCODER": "scratch", "DIRECTORY": tmp_path}
    return bundles.ensure_champion().name


def bench(*options: str) -> str:
    out = StringIO()
    call_command("recommender_bench", "--calls", "3", *options, stdout=out)
    return out.getvalue()


def advice() -> str:
    return "\n".join(json.loads(bench("--json"))["advice"])


@pytest.mark.usefixtures("_stocked")
def test_figures_are_those_of_this_catalogue() -> None:
    report = json.loads(bench("--json"))
    figures = report["figures"]
    assert figures["n_items"] == 30
    assert 0 < figures["search_p50_ms"] <= figures["search_p99_ms"]
    assert {"list_p50_ms", "rerank_p99_ms", "load_seconds", "resident_mb"} <= figures.keys()
    assert figures["events_per_second"] > 1
    assert figures["resident_mb"] > 20
    assert "words alone" in report["runtime"]


@pytest.mark.usefixtures("_stocked")
def test_report_in_words_names_each_figure() -> None:
    text = bench()
    assert "Catalogue: 30 items" in text
    assert "Search: half within" in text
    assert "-> There is no model" in text


@pytest.mark.usefixtures("_stocked")
def test_nothing_is_left_behind() -> None:
    bench()
    assert [model.objects.count() for model in (Event, Impression, Visitor, EventCount)] == [0, 0, 0, 0]
    assert not metrics.answers
    assert not counting._pending


@pytest.mark.usefixtures("_stocked")
def test_what_slows_this_host_down_is_named(settings: Any, monkeypatch: Any) -> None:
    settings.DEBUG = True
    settings.RECOMMENDER = settings.RECOMMENDER | {"PAGE_DEADLINE_SECONDS": 1e-6}
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    unsafe = {"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {}, "NAME": "shop.sqlite3"}
    monkeypatch.setitem(settings.DATABASES, "default", settings.DATABASES["default"] | unsafe)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(measuring.os, "cpu_count", lambda: 2)
    text = advice()
    for expected in ("DEBUG is on", "search, list", "Use Redis", "OMP_NUM_THREADS is 2", "write-ahead"):
        assert expected in text


@pytest.mark.usefixtures("_stocked")
def test_good_host_is_told_nothing_of_these(settings: Any, monkeypatch: Any) -> None:
    settings.RECOMMENDER = settings.RECOMMENDER | {"PAGE_DEADLINE_SECONDS": 60}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    text = advice()
    assert not any(word in text for word in ("DEBUG", "PAGE_DEADLINE", "OMP_NUM_THREADS", "no vector"))


def test_items_without_a_vector_are_counted_and_the_encoder_is_measured(bundle_zero: str) -> None:
    assert "30 items have no vector" in advice()
    vectors.encode_missing(bundle_zero)
    report = json.loads(bench("--json"))
    assert "no vector" not in "\n".join(report["advice"])
    assert report["runtime"].startswith("onnxruntime")
    assert report["figures"]["encoding_p50_ms"] > 0


def test_empty_catalogue_is_an_error_with_the_repair() -> None:
    with pytest.raises(CommandError, match="recommender_sync"):
        bench()


def test_no_calls_are_refused() -> None:
    with pytest.raises(CommandError, match="at least 1"):
        call_command("recommender_bench", "--calls", "0")
