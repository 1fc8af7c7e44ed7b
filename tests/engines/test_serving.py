"""A shop that is served from a vector engine: searches, lists, and what happens when the engine is gone or slow."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test.utils import CaptureQueriesContext

from recommender import bundles, pipeline, serving
from recommender.exceptions import ConfigurationError
from recommender.models import Item, VectorCollection
from recommender.retrieval.engine import Condition, Space
from recommender.retrieval.vector import ExactScan
from recommender.serving import engine_sync, engines, near
from recommender.serving.near import EngineNear
from recommender.types import Slot
from tests.conftest import DemoShop
from tests.engines.conftest import PATHS, PATIENT
from tests.test_pipeline import Asker, event


def rankings() -> dict[str, list[tuple[str, float]]]:
    """Lists that come from what is near: a search, filters, and what is similar."""
    item_id = Item.objects.filter(is_active=True).order_by("pk").values_list("item_id", flat=True)[3]
    narrow = {"max_price": ("5",)}
    lists = {
        "search": pipeline.search("something to keep my drink warm"),
        "filtered": pipeline.search("gift for my daughter", filters=narrow),
        "similar": pipeline.recommend(Slot.SIMILAR, item_id=item_id),
    }
    return {name: [(one.item_id, round(one.score, 4)) for one in ranking] for name, ranking in lists.items()}


def test_lists_come_from_the_engine_and_are_those_of_the_exact_scan(shop: DemoShop, configured: Any) -> None:
    serving.reload()
    by_scan = rankings()
    assert engines.counts["answered"] == 0
    (synced,) = engine_sync.sync()
    assert synced.is_full
    assert synced.n_items == Item.objects.filter(is_active=True).count()
    serving.reload()
    assert rankings() == by_scan
    assert all(by_scan.values())
    assert engines.counts["answered"] >= len(by_scan)
    assert set(engines.counts) == {"answered"}


def test_personal_lists_come_from_the_engine_too(shop: DemoShop, configured: Any) -> None:
    first, second = Item.objects.filter(is_active=True).order_by("pk").values_list("item_id", flat=True)[2:4]
    shopper = Asker(event("view_item", first), event("add_to_cart", second), event("search", "", query="red lunch bag"))

    def home() -> list[str]:
        return [entry.item_id for entry in pipeline.recommend(Slot.HOME, shopper=shopper, limit=12)]

    serving.reload()
    by_scan = home()
    engine_sync.sync()
    serving.reload()
    assert home() == by_scan
    assert engines.counts["answered"] >= 3
    assert set(engines.counts) == {"answered"}


def test_likeness_to_several_is_that_of_the_exact_scan(shop: DemoShop, configured: Any) -> None:
    engine_sync.sync()
    served = serving.reload()
    scan, searched = ExactScan(served.shelf.vectors), near.near_items(served)
    assert isinstance(searched, EngineNear)
    directions, allowed = served.shelf.vectors[[0, 1, 2]], served.shelf.items.active.copy()
    allowed[[5, 6]] = False
    for one, other in (
        (scan.nearest_to_any(directions, limit=20), searched.nearest_to_any(directions, limit=20)),
        (
            scan.likeness(directions).nearest([0, 2], limit=20, allowed=allowed),
            searched.likeness(directions).nearest([0, 2], limit=20, allowed=allowed),
        ),
    ):
        assert set(one.rows.tolist()) == set(other.rows.tolist())
        assert one.scores == pytest.approx(other.scores, abs=1e-5)


def test_what_a_mask_leaves_out_is_never_found_whichever_way_it_is_said(
    shop: DemoShop, configured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_sync.sync()
    served = serving.reload()
    scan, searched = ExactScan(served.shelf.vectors), near.near_items(served)
    direction, draw = served.shelf.vectors[0], np.random.default_rng(0)
    for most_named, share in ((500, 0.9), (5, 0.05), (0, 0.5), (0, 0.05)):
        monkeypatch.setattr(near, "MOST_NAMED", most_named)
        allowed = served.shelf.items.active & (draw.random(len(served.shelf)) < share)
        expected = scan.nearest(direction, limit=10, allowed=allowed)
        assert searched.nearest(direction, limit=10, allowed=allowed).rows.tolist() == expected.rows.tolist()
    assert set(engines.counts) == {"answered"}


def test_filters_reach_the_engine(shop: DemoShop, configured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.spread_over_categories()
    engine_sync.sync()
    served = serving.reload()
    monkeypatch.setattr(near, "MOST_NAMED", 0)
    conditions: list[Condition] = []
    search = engines.GuardedEngine.search

    def listen(self: Any, space: Space, vectors: Any, *, limit: int, condition: Condition) -> Any:
        conditions.append(condition)
        return search(self, space, vectors, limit=limit, condition=condition)

    monkeypatch.setattr(engines.GuardedEngine, "search", listen)
    category = served.shelf.items.category_names[0]
    ranking = pipeline.search("gift", filters={"category": (category,), "max_price": ("7.5",), "available": ("1",)})
    assert conditions[0] == Condition(categories=(category,), max_price=7.5, only_available=True)
    assert ranking.entries


def test_nothing_is_asked_of_an_engine_that_lacks_the_vectors_of_the_bundle(shop: DemoShop, configured: Any) -> None:
    served = serving.reload()
    assert isinstance(near.near_items(served), ExactScan)
    assert pipeline.search("gift").entries
    assert not engines.counts


def test_engine_costs_a_page_no_query(shop: DemoShop, configured: Any) -> None:
    from django.db import connection

    def n_queries() -> int:
        with CaptureQueriesContext(connection) as queries:
            pipeline.search("a warm drink")
        return len(queries)

    serving.reload()
    before = n_queries()
    engine_sync.sync()
    serving.reload()
    assert n_queries() == before
    assert engines.counts["answered"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def milvus_server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Milvus in a process of its own, which a test may stop or kill."""
    port = free_port()
    code = "import sys; from milvus_lite.adapter.grpc.server import run_server; "
    code += "run_server(sys.argv[1], '127.0.0.1', int(sys.argv[2]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "server"), str(port)], stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}", process
    os.kill(process.pid, signal.SIGCONT)
    process.kill()
    process.wait(timeout=10)


@pytest.mark.parametrize(("sent", "outcome"), [(signal.SIGKILL, "failed"), (signal.SIGSTOP, "late")])
def test_lists_go_on_without_an_engine_that_died_or_hangs(
    shop: DemoShop,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    milvus_server: tuple[str, subprocess.Popen[bytes]],
    sent: signal.Signals,
    outcome: str,
) -> None:
    uri, process = milvus_server
    declared = {"engine": PATHS["milvus"], "uri": uri, "deadline_seconds": PATIENT}
    settings.RECOMMENDER = settings.RECOMMENDER | {"VECTOR_ENGINE": declared}
    engine_sync.sync()
    serving.reload()
    expected = rankings()
    assert engines.counts["answered"]
    os.kill(process.pid, sent)
    guarded = engines.GuardedEngine.configured()
    assert guarded is not None
    guarded.deadline_seconds = 2.0 if sent is signal.SIGKILL else 0.2
    started = time.monotonic()
    assert rankings() == expected
    assert time.monotonic() - started < 10
    assert (engines.counts["failed"] + engines.counts["late"], engines.counts["skipped"] > 0) == (1, True)
    assert engines.counts[outcome] == 1 or sent is signal.SIGKILL
    started, n_skipped = time.monotonic(), engines.counts["skipped"]
    guarded.breaker._rests_until = started + 60
    assert rankings() == expected
    assert engines.counts["failed"] + engines.counts["late"] == 1
    assert engines.counts["skipped"] > n_skipped
    logged = [record for record in caplog.records if record.name == engines.__name__]
    assert [record.levelno for record in logged] == [logging.ERROR]
    assert "lists are made without it" in logged[0].getMessage()


def test_engine_that_hangs_and_comes_back_is_asked_again(
    shop: DemoShop,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    milvus_server: tuple[str, subprocess.Popen[bytes]],
) -> None:
    uri, process = milvus_server
    declared = {"engine": PATHS["milvus"], "uri": uri, "deadline_seconds": PATIENT}
    settings.RECOMMENDER = settings.RECOMMENDER | {"VECTOR_ENGINE": declared}
    engine_sync.sync()
    serving.reload()
    guarded = engines.GuardedEngine.configured()
    assert guarded is not None
    os.kill(process.pid, signal.SIGSTOP)
    guarded.deadline_seconds = 0.2
    pipeline.search("a warm drink")
    assert guarded.breaker.is_open
    os.kill(process.pid, signal.SIGCONT)
    guarded.deadline_seconds = PATIENT
    guarded.breaker._rests_until = 0.0
    with caplog.at_level(logging.INFO, engines.__name__):
        pipeline.search("a warm drink")
    assert engines.counts["answered"] >= 1
    assert not guarded.breaker.is_open
    assert "answers again" in caplog.text


class AfterTenSeconds(engines.VectorEngine):
    """An engine that answers too late, whatever it is asked."""

    requirement = "shopreco"

    def _search(self, *args: Any, **options: Any) -> Any:
        time.sleep(10)

    create = dimension = count = delete = delete_older = finish = drop = close = _upsert = lambda *args, **options: 0  # type: ignore[assignment]


def test_engine_that_answers_after_ten_seconds_holds_up_one_list_for_its_deadline(
    shop: DemoShop, settings: Any
) -> None:
    bundle, dimension = bundles.champion(), 384
    assert bundle is not None
    VectorCollection.objects.create(encoder_hash=bundle.encoder_hash, dimension=dimension, is_complete=True)
    serving.reload()
    expected = rankings()
    settings.RECOMMENDER = settings.RECOMMENDER | {
        "VECTOR_ENGINE": {"engine": f"{__name__}.AfterTenSeconds", "deadline_seconds": 0.1}
    }
    serving.reload()
    started = time.monotonic()
    assert rankings() == expected
    assert time.monotonic() - started < 5
    assert (engines.counts["late"], engines.counts["skipped"] > 0) == (1, True)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("recommender.contrib.milvus.MilvusEngin", "cannot be imported .* Did you mean 'recommender.contrib.milvus"),
        ("nothing.Like", r"cannot be imported .* Known: recommender\.contrib\.milvus\.MilvusEngine, "),
        ("recommender.conf.get", "is no recommender.retrieval.engine.VectorEngine"),
        ({"engine": PATHS["milvus"], "url": "x"}, "does not take these options .*url"),
        ({"engine": PATHS["milvus"], "index": "X"}, "There is no index 'X'"),
        ({"engine": PATHS["milvus"], "deadline_seconds": 0}, "must be a number above 0, not 0"),
        ({"uri": "x"}, "must be a dotted path, or a dict such as"),
        (7, "must be a dotted path"),
    ],
)
def test_setting_that_cannot_work_is_found_by_the_check(settings: Any, declared: Any, message: str) -> None:
    import re

    from recommender.checks import check_settings

    settings.RECOMMENDER = settings.RECOMMENDER | {"VECTOR_ENGINE": declared}
    (fault,) = check_settings(None)
    assert fault.id == "recommender.E004"
    assert re.search(rf"RECOMMENDER\['VECTOR_ENGINE'\]: .*{message}", fault.msg)
    with pytest.raises(ConfigurationError, match=message):
        engines.GuardedEngine.configured()


def test_check_names_the_package_that_is_missing(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from recommender.checks import check_settings

    monkeypatch.setitem(sys.modules, "pymilvus", None)
    settings.RECOMMENDER = settings.RECOMMENDER | {"VECTOR_ENGINE": PATHS["milvus"]}
    assert 'pip install "shopreco[milvus]"' in check_settings(None)[0].msg


def test_declared_engine_passes_the_check_without_connecting(settings: Any) -> None:
    from recommender.checks import check_settings

    settings.RECOMMENDER = settings.RECOMMENDER | {
        "VECTOR_ENGINE": {"engine": PATHS["pgvector"], "dsn": "postgresql://nobody@127.0.0.1:1/nothing"}
    }
    assert check_settings(None) == []


def test_setting_that_cannot_work_is_logged_once_and_the_scan_serves(
    shop: DemoShop, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    serving.reload()
    expected = rankings()
    settings.RECOMMENDER = settings.RECOMMENDER | {"VECTOR_ENGINE": "nothing.Like"}
    serving.reload()
    near.refresh()
    assert rankings() == expected
    logged = [record.getMessage() for record in caplog.records if record.name == near.__name__]
    assert len(logged) == 1
    assert "cannot be used, lists are made without it: 'nothing.Like' cannot be imported" in logged[0]
