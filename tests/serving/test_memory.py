"""The pair in memory: loaded aside while SQL serves, never waited for, and whatever breaks in it is survived."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from recommender import bundles, pipeline, serving
from recommender.bundles.manifest import MANIFEST
from recommender.catalog import sync
from recommender.exceptions import BundleError, BundleUnreachable, ConfigurationError
from recommender.models import Bundle, Item, ItemStatistics
from recommender.serving import loading, memory, sharing, sql_lists
from recommender.serving.bundle_parts import BundleParts
from recommender.types import Ranking, Rung
from shopreco.shop.models import Product
from shopreco.shop.recommendations import Products
from tests.conftest import ROOT, DemoShop, wait_for

START, WARM_UP = memory._start, serving.warm_up
"""The real ones: the fixtures of every other test load in the test's own thread."""

NOBODY = 65534


@pytest.fixture
def aside(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[threading.Thread]]:
    """Loads run in threads, as in a web process; the fixture waits for their end."""
    threads: list[threading.Thread] = []

    def start(work: Callable[[], None]) -> None:
        before = set(threading.enumerate())
        START(work)
        threads.extend(set(threading.enumerate()) - before)

    monkeypatch.setattr(memory, "_start", start)
    yield threads
    for thread in threads:
        thread.join(timeout=30)


@pytest.fixture
def slow_load(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No shelf is loaded before the event is set."""
    may_load, load = threading.Event(), loading.load_shelf

    def wait_and_load(*positional: Any, **named: Any) -> Any:
        assert may_load.wait(timeout=30)
        return load(*positional, **named)

    monkeypatch.setattr(sharing, "load_shelf", wait_and_load)
    yield may_load
    may_load.set()


@pytest.fixture
def stocked(db: None) -> None:
    """Four products in SQL, of which one is hidden."""
    rows = (
        ("A", "Red lunch bags", 5, True),
        ("B", "Blue lunch bag", 0, True),
        ("C", "红色陶瓷马克杯", 5, True),
        ("D", "Green lunch bag", 5, False),
    )
    for code, title, stock, is_visible in rows:
        Product.objects.create(stock_code=code, title=title, price=Decimal(5), stock=stock, is_visible=is_visible)
    sync.sync()


def ids(ranking: Ranking) -> list[str]:
    return [entry.item_id for entry in ranking]


def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process whose load has not ended."""
    monkeypatch.setattr(memory, "_start", lambda work: memory._memory.lock.release())


class TestWhileLoading:
    def test_nobody_waits_for_the_first_load(
        self, live_demo_shop: DemoShop, aside: list[threading.Thread], slow_load: threading.Event
    ) -> None:
        title = live_demo_shop.product().title
        served = serving.current()
        ranking = pipeline.search(title)
        assert not served.is_loaded
        assert ranking.rung == Rung.WORDS
        live = ranking.entries[0].live
        assert live is not None
        assert live.title == title
        assert pipeline.recommend("home").rung == Rung.SHOP_ORDER
        assert pipeline.suggest(title[:3]) == []
        assert len(aside) == 1, "one thread loads, however many ask"
        slow_load.set()
        wait_for(lambda: serving.current().is_loaded, what="the shelf in memory")
        assert pipeline.search(title).rung == Rung.LEXICAL

    def test_first_request_of_any_page_starts_the_load(
        self,
        live_demo_shop: DemoShop,
        aside: list[threading.Thread],
        slow_load: threading.Event,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(serving, "warm_up", WARM_UP)
        assert Client().get("/no-such-page/").status_code == 404
        assert len(aside) == 1

    def test_commands_wait_for_the_pair(
        self, live_demo_shop: DemoShop, aside: list[threading.Thread], slow_load: threading.Event
    ) -> None:
        assert not serving.current().is_loaded
        threading.Timer(0.3, slow_load.set).start()
        assert serving.loaded().is_loaded

    @pytest.mark.parametrize("path", ["/", "/search/?q=bag", "/recommender/api/v1/search?q=bag"])
    def test_pages_are_whole(self, path: str, demo_shop: DemoShop, monkeypatch: pytest.MonkeyPatch) -> None:
        unloaded(monkeypatch)
        assert Client().get(path).status_code == 200

    def test_child_of_a_fork_loads_for_itself(self, db: None) -> None:
        memory._memory.lock.acquire()
        memory._forget_after_fork()
        assert serving.loaded().is_loaded

    def test_process_without_threads_to_spare_goes_on(
        self, stocked: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(work: Any) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(memory, "_start", refuse)
        assert not serving.current().is_loaded
        assert "no thread can be started" in caplog.text
        assert not memory._memory.lock.locked()


class TestWordsFromSql:
    @pytest.fixture(autouse=True)
    def _unloaded(self, stocked: None, monkeypatch: pytest.MonkeyPatch) -> None:
        unloaded(monkeypatch)

    def test_all_words_are_sought_and_what_can_be_bought_leads(self) -> None:
        assert ids(pipeline.search("lunch bag")) == ["A", "B"]
        assert ids(pipeline.search("LUNCH red")) == ["A"]

    @pytest.mark.parametrize("query", ["bags", "bag", "the bags", "bag of lunch"])
    def test_plurals_and_linking_words_are_forgiven(self, query: str) -> None:
        assert ids(pipeline.search(query)) == ["A", "B"]

    def test_chinese_is_found_without_spaces(self) -> None:
        assert ids(pipeline.search("陶瓷马克杯")) == ["C"]

    def test_longest_word_stands_in_where_no_item_has_all(self) -> None:
        assert ids(pipeline.search("lunch zz")) == ["A", "B"]

    @pytest.mark.parametrize("query", ["nothing of the kind", "", "%", "_", "'; --", "\x00"])
    def test_what_is_not_there_is_an_empty_list(self, query: str) -> None:
        ranking = pipeline.search(query)
        assert (ids(ranking), ranking.rung, ranking.n_found) == ([], Rung.EMPTY, 0)

    def test_hidden_items_are_not_shown(self) -> None:
        Product.objects.filter(stock_code="A").update(is_visible=False)
        assert [(entry.item_id, entry.position) for entry in pipeline.search("lunch bag")] == [("B", 1)]

    def test_filters_and_pages_hold(self) -> None:
        assert ids(pipeline.search("bag", filters={"available": "1"})) == ["A"]
        assert ids(pipeline.search("bag", filters={"max_price": "4"})) == []
        assert ids(pipeline.search("bag", filters={"min_price": "nan"})) == ["A", "B"]
        assert ids(pipeline.search("bag", filters={"brand": "none such"})) == []
        second = pipeline.search("bag", limit=1, offset=1)
        assert (ids(second), second.entries[0].position, second.n_found) == (["B"], 2, 2)

    @pytest.mark.parametrize("query", ["85123A", "85123a", "85-123-A", "SKU: 85123A", " 85123A "])
    def test_item_is_found_by_its_id_and_alone(self, query: str) -> None:
        Product.objects.create(stock_code="85123A", title="hanging heart", price=1, stock=1)
        Product.objects.create(stock_code="X", title="set of 85123A hearts", price=1, stock=1)
        sync.sync()
        assert ids(pipeline.search(query)) == ["85123A"]
        assert ids(pipeline.search(query, filters={"max_price": "0.5"})) == []

    def test_gtin_is_found_without_its_leading_zeros(self) -> None:
        Product.objects.create(stock_code="0012345678905", title="hanging heart", price=1, stock=1)
        sync.sync()
        for query in ("0012345678905", "12345678905", "012345678905", "00 12345 67890 5"):
            assert ids(pipeline.search(query)) == ["0012345678905"]

    def test_several_values_of_a_filter_and_attributes_of_the_shop_are_heeded(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Item.objects.filter(item_id="A").update(attributes={"colour": "red", "it's": "x"}, brand="Lux")
        Item.objects.filter(item_id="B").update(attributes={"colour": "blue"}, brand="Sol")
        monkeypatch.setattr(Products, "attributes", {"colour": "title", "it's": "title"})
        for filters, expected in (
            ({"colour": "blue"}, ["B"]),
            ({"colour": ("red", "blue")}, ["A", "B"]),
            ({"colour": ("red", "blue"), "brand": ["Sol", "Rex"]}, ["B"]),
            ({"it's": "x"}, ["A"]),
            ({"colour": "red' OR '1'='1"}, []),
        ):
            ranking = pipeline.search("bag", filters=filters, facets="all")
            assert (ids(ranking), ranking.facets) == (expected, ())
        with pytest.raises(ConfigurationError, match="Did you mean 'colour'"):
            pipeline.search("bag", filters={"color": "red"})

    @pytest.mark.parametrize(
        ("sort", "expected"),
        [
            ("relevance", ["F", "E", "A", "G", "B"]),
            ("popular", ["F", "E", "A", "G", "B"]),
            ("price", ["F", "A", "E", "G", "B"]),
            ("-price", ["E", "A", "F", "G", "B"]),
            ("newest", ["G", "F", "E", "A", "B"]),
            ("name", ["G", "E", "F", "A", "B"]),
        ],
    )
    @pytest.mark.parametrize("span", [1, 10_000])
    def test_order_is_the_one_that_was_asked_for_and_what_is_sold_out_stays_last(
        self, sort: str, expected: list[str], span: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = (("E", "green bag", 9, 20), ("F", "late bag", 1, 25), ("G", "A bag", None, 30))
        for code, title, price, day in rows:
            seen = dt.date(2999, 1, day)
            Product.objects.create(stock_code=code, title=title, price=price or 0, stock=1, first_seen=seen)
        sync.sync()
        Item.objects.filter(item_id="G").update(price=None)
        for item_id, n_sold in (("F", 9), ("E", 5), ("A", 2), ("G", 1)):
            item = Item.objects.get(item_id=item_id)
            ItemStatistics.objects.update_or_create(item=item, defaults={"n_30": n_sold})
        monkeypatch.setattr(sql_lists, "SPAN", span)
        monkeypatch.setattr(sql_lists, "LONGEST_SECONDS", 60.0)
        ranking = pipeline.search("bag", sort=sort)
        assert (ids(ranking), ranking.sort, ranking.rung) == (expected, sort, Rung.WORDS)

    def test_large_catalogue_is_looked_through_from_its_newest_items_within_a_time(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sql_lists, "SPAN", 1)
        assert ids(pipeline.search("lunch bag")) == ["A", "B"]
        monkeypatch.setattr(sql_lists, "LONGEST_SECONDS", 0.0)
        newest = Item.objects.order_by("-pk").values_list("item_id", flat=True)[0]
        with CaptureQueriesContext(connection) as context:
            assert set(ids(pipeline.search("lunch bag"))) <= {newest}
        assert sum("LIKE" in query["sql"] for query in context) == 1, "one span is looked through"


FAULTS = [
    PermissionError(13, "Permission denied", "cache"),
    OSError(30, "Read-only file system"),
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
    KeyError("files"),
]


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
    def test_shelf_that_cannot_be_loaded_is_logged_once_and_tried_again(
        self, stocked: None, fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise fault

        failed_before, load = serving.counts["failed"], loading.load_shelf
        monkeypatch.setattr(sharing, "load_shelf", fail)
        for _ in range(5):
            assert ids(pipeline.search("lunch bag")) == ["A", "B"]
        assert serving.counts["failed"] == failed_before + 1, "the next try waits"
        monkeypatch.setattr(memory._memory, "refreshed_at", float("-inf"))
        assert pipeline.search("lunch bag").rung == Rung.WORDS
        assert serving.counts["failed"] == failed_before + 2
        assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1
        monkeypatch.setattr(sharing, "load_shelf", load)
        monkeypatch.setattr(memory._memory, "refreshed_at", float("-inf"))
        assert pipeline.search("lunch bag").rung == Rung.LEXICAL
        assert "loads again" in caplog.text

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
    def test_bundle_that_this_process_cannot_load_leaves_the_words_and_stays_champion(
        self,
        stocked: None,
        fault: Exception,
        settings: Any,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def fail(name: str) -> None:
            fetched.append(name)
            raise fault

        fetched: list[str] = []
        settings.RECOMMENDER = settings.RECOMMENDER | {"REFRESH_SECONDS": 0}
        Bundle.objects.create(name="well", state=Bundle.State.CHAMPION, encoder_hash="e")
        monkeypatch.setattr(bundles, "fetch", fail)
        assert pipeline.search("lunch bag").rung == Rung.LEXICAL
        Product.objects.filter(stock_code="B").update(title="Copper kettle")
        sync.sync()
        assert ids(pipeline.search("kettle")) == ["B"], "the words stay fresh meanwhile"
        assert len(fetched) == 1
        assert Bundle.objects.get(name="well").state == Bundle.State.CHAMPION
        assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1

    def test_pauses_grow_to_five_minutes(self, db: None) -> None:
        pauses = []
        for _ in range(10):
            memory._memory.fail("no", ValueError())
            pauses.append(memory._memory.pause_seconds)
        assert pauses[:3] == [5, 10, 20]
        assert pauses[-1] == 300

    def test_cache_of_another_user_is_a_storage_that_does_not_answer(self, settings: Any, tmp_path: Path) -> None:
        settings.RECOMMENDER = settings.RECOMMENDER | {"DIRECTORY": tmp_path}
        cache = tmp_path / "cache"
        (cache / "abc").mkdir(parents=True)
        tmp_path.chmod(0o755)
        is_root = os.geteuid() == 0
        cache.chmod(0o700 if is_root else 0)
        if is_root:
            os.seteuid(NOBODY)
        try:
            with pytest.raises(BundleUnreachable, match="cannot be read or written by this process"):
                bundles.fetch("abc")
        finally:
            if is_root:
                os.seteuid(0)
            cache.chmod(0o700)

    def test_manifest_nested_without_end_is_quarantined(self, stocked: None, settings: Any, tmp_path: Path) -> None:
        settings.RECOMMENDER = settings.RECOMMENDER | {"DIRECTORY": tmp_path}
        folder = tmp_path / "bundles" / "nested"
        folder.mkdir(parents=True)
        (folder / MANIFEST).write_text('{"files": ' + "[" * 100_000)
        Bundle.objects.create(name="nested", state=Bundle.State.CHAMPION, encoder_hash="e")
        assert pipeline.search("lunch bag").rung == Rung.LEXICAL
        assert Bundle.objects.get(name="nested").state == Bundle.State.QUARANTINED

    @pytest.mark.parametrize("name", ["encoder.json", "head.json", "golden.json", "tokenizer.json"])
    def test_part_nested_without_end_is_a_broken_bundle(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "encoder.json").write_text('{"format": 1, "hash": "e", "dimension": 4, "max_tokens": 8}')
        (tmp_path / name).write_text("[" * 10_000 + "]" * 10_000)
        with pytest.raises(BundleError, match="roll back, or train again"):
            BundleParts.read(tmp_path)

    def test_answers_after_a_quarantine_name_the_bundle_that_ranked(
        self, stocked: None, settings: Any, tmp_path: Path
    ) -> None:
        settings.RECOMMENDER = settings.RECOMMENDER | {"DIRECTORY": tmp_path, "ENCODER": "scratch"}
        sound = bundles.ensure_champion()
        sync.sync()
        assert pipeline.search("lunch bag").bundle == sound.name
        source = tmp_path / "source"
        source.mkdir()
        (source / "head.json").write_text("{}")
        broken = bundles.write_bundle(source, is_trained=True, encoder_hash=sound.encoder_hash)
        bundles.make_champion(broken)
        for folder in ("bundles", "cache"):
            (tmp_path / folder / broken.name / "head.json").write_text("{ }")
        for _ in range(2):
            memory._memory.refreshed_at = float("-inf")
            ranking = pipeline.search("lunch bag")
            assert ranking.bundle == sound.name
        assert bundles.champion() == sound
        assert Bundle.objects.get(name=broken.name).state == Bundle.State.QUARANTINED
        assert serving.reload().bundle == sound.name


PATIENCE_SECONDS, SLOW_SECONDS = 10, 15


class TestUnderGunicorn:
    @pytest.fixture
    def address(self, live_demo_shop: DemoShop, tmp_path: Path) -> Iterator[str]:
        """Two workers whose load takes longer than gunicorn is patient."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        command = [
            *(sys.executable, "-m", "gunicorn", "tests.slow_shop:application", "--bind", address),
            *("--workers", "2", "--timeout", str(PATIENCE_SECONDS), "--preload"),
        ]
        log = tmp_path / "gunicorn.log"
        with log.open("wb") as output:
            environment = {**os.environ, "SLOW_SECONDS": str(SLOW_SECONDS)}
            server = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=environment)
        try:
            wait_for(lambda: b"Booting worker" in log.read_bytes(), what=f"gunicorn in {log}", process=server)
            yield address
            assert b"WORKER TIMEOUT" not in log.read_bytes()
        finally:
            server.terminate()
            server.wait(timeout=30)

    def test_workers_survive_a_load_longer_than_their_timeout_and_pages_answer_meanwhile(self, address: str) -> None:
        def rung() -> str:
            with urllib.request.urlopen(f"http://{address}/recommender/api/v1/search?q=bag", timeout=30) as answer:
                return str(json.load(answer)["rung"])

        started = time.monotonic()
        rungs: list[str] = []
        while time.monotonic() - started < SLOW_SECONDS * 4 and rungs[-8:] != ["lexical"] * 8:
            rungs.append(rung())
            time.sleep(0.3)
        assert rungs[0] == "words"
        assert set(rungs) == {"words", "lexical"}
        assert rungs[-1] == "lexical"


def test_process_that_ends_while_it_loads_waits_for_the_thread() -> None:
    """Native code in a thread that Python takes down with itself ends the process by an abort."""
    ended = subprocess.run([sys.executable, "-c", ENDS_WHILE_LOADING], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "asked\nloaded\n"), ended.stderr


ENDS_WHILE_LOADING = """
import os, time
os.environ["DJANGO_SETTINGS_MODULE"] = "shopreco.settings"
import django
django.setup()
from recommender.serving import memory
def refresh():
    time.sleep(0.5)
    print("loaded", flush=True)
memory._refresh = refresh
memory._refresh_in_background()
print("asked", flush=True)
"""
