"""A model that hangs, raises or gives no numbers costs nobody more than the deadline; the answer says what served."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import threading
import time
from collections import Counter
from contextlib import contextmanager
from decimal import Decimal
from functools import partial

import numpy as np
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone, translation

from recommender import metrics, pipeline, serving
from recommender.catalog import sync
from recommender.deadlines import Breaker, Pool, Stage, Stopwatch, pool, timed_by
from recommender.metrics import StageFault
from recommender.models.corrections import Corrections
from recommender.serving import Served, ladder, live_entries, memory
from recommender.serving.ranker import Ranker
from recommender.types import Context, EventType, PastEvent, Request, Rung, Slot
from shopreco.shop.models import Product

DEADLINE_SECONDS = 0.4
GRACE_SECONDS = 1.5
"""What a busy machine may add; a model that hangs here hangs until the test has ended."""

REST_SECONDS = 0.3


class Shopper:
    """Somebody who has looked at an item and searched for another."""

    person_key, segment_id = "someone", None

    def __init__(self, *, pause=0.0):
        self.live, self.n_live_reads, self.corrections, self.pause = {}, 0, Corrections(), pause
        self.entered = frozenset()

    def history(self):
        time.sleep(self.pause)
        past = [(EventType.VIEW_ITEM, {"item_id": "A"}), (EventType.SEARCH, {"query": "garden lantern"})]
        return tuple(PastEvent(kind, timezone.now() - dt.timedelta(minutes=3), **values) for kind, values in past)

    def context(self, at=None):
        return Context(at or timezone.now())


class Session:
    """A session of ONNX Runtime that does something else first; `n_runs` counts."""

    def __init__(self, session, before):
        self.session, self.before, self.n_runs = session, before, 0

    def run(self, *inputs):
        self.n_runs += 1
        self.before()
        return self.session.run(*inputs)


class OfNan(Session):
    def run(self, *inputs):
        return [np.full_like(output, np.nan) for output in super().run(*inputs)]


class Faulty(Ranker):
    """A ranker whose head does something else first."""

    before_score = staticmethod(lambda: None)

    def score(self, *inputs, **named):
        self.before_score()
        return super().score(*inputs, **named)


@pytest.fixture
def hang(monkeypatch):
    """Work that waits for the end of the test."""
    released = threading.Event()
    monkeypatch.setattr(pool, "_pool", Pool())
    yield partial(released.wait, 60)
    released.set()


@pytest.fixture
def shop(db, settings, monkeypatch, untrained):
    """A shop in SQL, served with the untrained encoder by `serve`."""
    settings.RECOMMENDER = settings.RECOMMENDER | {"PAGE_DEADLINE_SECONDS": DEADLINE_SECONDS}
    monkeypatch.setattr(ladder, "Breaker", partial(Breaker, first_rest_seconds=REST_SECONDS))
    monkeypatch.setattr(metrics, "faults", Counter())
    titles = ("Red lunch bag", "Blue lunch bag", "Desk lamp", "Garden lantern", "Paper lantern")
    for code, title in zip("ABCDE", titles, strict=True):
        Product.objects.create(stock_code=code, title=title, price=Decimal("2.50"), stock=5, is_visible=True)
    sync.sync()
    serving.reload()
    yield
    serving.reload()


@pytest.fixture
def serve(shop, monkeypatch, untrained):
    """Let a model serve whose encoder or head does something else first."""

    def served_by(before_encoding=None, before_score=lambda: None, kind=Session):
        healthy = untrained._parts
        encoder = healthy.encoder if before_encoding is None else kind(healthy.encoder, before_encoding)
        ranker = Faulty(dataclasses.replace(healthy, name="b", encoder=encoder))
        ranker.before_score = before_score
        shelf = serving.current().shelf
        shelf = dataclasses.replace(shelf, vectors=untrained.encode(shelf.titles))
        monkeypatch.setattr(memory._memory, "served", Served(shelf, ranker, "b"))
        return encoder

    return served_by


@contextmanager
def at_most(seconds):
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def search(query):
    with at_most(DEADLINE_SECONDS + GRACE_SECONDS):
        return pipeline.search(query, shopper=Shopper(), personal=False)


def home():
    with at_most(DEADLINE_SECONDS + GRACE_SECONDS):
        return pipeline.recommend("home", shopper=Shopper())


def raises():
    raise RuntimeError("the model fails")


def test_healthy_model_answers_in_time_and_nothing_is_counted(serve):
    serve()
    assert search("lunch bag").rung == Rung.UNTRAINED
    assert home().rung == Rung.UNTRAINED
    assert not metrics.faults


def test_search_whose_encoder_hangs_is_answered_by_words_within_the_deadline(serve, hang):
    serve(hang)
    ranking = search("lunch bag")
    assert (ranking.rung, ranking.entries[0].item_id) == (Rung.LEXICAL, "A")
    assert metrics.faults == {("encoding", StageFault.LATE): 1}


def test_encoder_that_hangs_is_not_even_started_after_three_searches(serve, hang, caplog):
    encoder = serve(hang)
    for query in ("bag", "lamp", "lantern"):
        search(query)
    ladder._faults._breakers["b", Stage.ENCODING]._rests_until += 60
    with at_most(DEADLINE_SECONDS * 5):  # each alone would wait as long
        rungs = {search(f"{query} red").rung for query in ("bag", "lamp", "lantern", "paper", "desk", "blue", "garden")}
    assert (rungs, encoder.n_runs) == ({Rung.LEXICAL}, 3)
    assert metrics.faults["encoding", StageFault.RESTED] == 7
    texts = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert [text.partition("; ")[0] for text in texts] == ["bundle b failed: the stage encoding was late"]


def test_encoder_serves_again_after_a_try_that_succeeded(serve, hang, caplog):
    encoder = serve(hang)
    for query in ("bag", "lamp", "lantern"):
        search(query)
    encoder.before = lambda: None
    time.sleep(REST_SECONDS)
    with caplog.at_level(logging.INFO):
        assert search("red bag").rung == Rung.UNTRAINED
    assert "answers again" in caplog.text
    assert search("blue bag").rung == Rung.UNTRAINED


def test_what_was_encoded_before_is_served_while_the_encoder_is_left_alone(serve, hang):
    encoder = serve(lambda: None)
    assert search("lunch bag").rung == Rung.UNTRAINED
    encoder.before = hang
    for query in ("bag", "lamp", "lantern"):
        search(query)
    assert search("Lunch Bag").rung == Rung.UNTRAINED


def test_list_whose_head_hangs_is_popular_at_first_and_then_by_vectors_without_the_head(serve, hang):
    serve(before_score=hang)
    assert [home().rung for _ in range(3)] == [Rung.POPULARITY] * 3
    with at_most(DEADLINE_SECONDS):
        ranking = home()
    assert (ranking.rung, ranking.bundle) == (Rung.REDUCED, "b")
    assert ranking.entries


def test_head_that_raises_is_left_out_of_the_same_answer_and_logged_once(serve, caplog):
    serve(before_score=raises)
    assert {home().rung for _ in range(3)} == {Rung.REDUCED}
    assert metrics.faults["head", StageFault.RAISED] == 3
    failures = [record for record in caplog.records if record.levelname == "ERROR" and record.exc_info]
    assert len(failures) == 1
    assert "the model fails" in caplog.text


def test_vector_of_nan_is_noticed_counted_and_logged_once(serve, caplog):
    serve(lambda: None, kind=OfNan)
    rankings = [search(query) for query in ("bag", "lamp", "lantern", "desk")]
    assert {ranking.rung for ranking in rankings} == {Rung.LEXICAL}
    assert np.isfinite([entry.score for ranking in rankings for entry in ranking]).all()
    assert metrics.faults["encoding", StageFault.NO_NUMBERS] == 3
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_list_goes_on_without_the_searches_of_a_history_that_cannot_be_encoded(serve):
    serve(raises)
    ranking = home()
    assert (ranking.rung, len(ranking)) == (Rung.REDUCED, 5)


def test_two_hundred_requests_at_once_are_answered_while_the_encoder_hangs(serve, hang):
    encoder, rungs = serve(hang), []
    served, request = serving.current(), Request(Slot.SEARCH, Context(timezone.now()), query="lunch bag", limit=3)

    def ask():
        with timed_by(Stopwatch(time.monotonic() + DEADLINE_SECONDS, stops=False)):
            rungs.append(ladder.ranked(request, served).rung)

    started = time.monotonic()
    callers = [threading.Thread(target=ask, daemon=True) for _ in range(200)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert Counter(rungs) == {Rung.LEXICAL: 200}
    assert encoder.n_runs == 1
    assert pool._pool.n_running <= pool.MOST_THREADS
    assert time.monotonic() - started < 20


def test_two_hundred_equal_requests_at_once_encode_the_query_once(serve):
    encoder, rungs = serve(partial(time.sleep, 0.2)), []
    served, request = serving.current(), Request(Slot.SEARCH, Context(timezone.now()), query="lunch bag", limit=3)

    def ask():
        with timed_by(Stopwatch(time.monotonic() + 60, stops=False)):
            rungs.append(ladder.ranked(request, served).rung)

    callers = [threading.Thread(target=ask) for _ in range(60)] + [
        threading.Thread(target=served.ranker.encode_query, args=("Lunch  BAG",)) for _ in range(140)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert Counter(rungs) == {Rung.UNTRAINED: 60}
    assert encoder.n_runs == 1


def test_request_that_found_another_one_encoding_is_not_bound_by_its_deadline(untrained, hang):
    released = threading.Event()
    encoder = Session(untrained._parts.encoder, released.wait)
    ranker = Ranker(dataclasses.replace(untrained._parts, encoder=encoder))
    impatient = Stopwatch(time.monotonic() + 60)

    def ask():
        with timed_by(impatient), pytest.raises(RuntimeError):
            ranker.encode_query("bag")

    encoder.before = lambda: (released.wait(), raises())
    first = threading.Thread(target=ask)
    first.start()
    released.set()
    first.join(10)
    encoder.before = lambda: None
    assert ranker.encode_query("bag").shape == (untrained.dimension,)


def test_reasons_are_in_the_language_of_the_page(serve):
    serve()
    with translation.override("de"):
        texts = {reason.text for entry in home() for reason in entry.reasons}
    assert texts
    assert not any("Similar" in text for text in texts)


def test_block_for_which_nothing_was_ready_is_empty(serve, monkeypatch):
    serve()
    with pipeline.within(1e-9):
        ranking = pipeline.recommend("home", shopper=Shopper())
        assert (ranking.rung, len(ranking)) == (Rung.EMPTY, 0)
        assert pipeline.search("lunch bag").rung == Rung.LEXICAL  # no lower rung would find anything


def test_where_memory_fails_altogether_the_shop_serves_in_its_own_order(serve, monkeypatch):
    serve()
    monkeypatch.setattr(ladder, "rank", lambda *args, **options: raises())
    ranking = home()
    assert (ranking.rung, len(ranking)) == (Rung.SHOP_ORDER, 5)
    assert search("lunch bag").rung == Rung.EMPTY


def test_history_that_is_too_slow_three_times_is_not_read_for_a_while(serve):
    serve()
    slow = partial(pipeline.recommend, "home", shopper=Shopper(pause=DEADLINE_SECONDS + 0.01))
    for _ in range(3):
        slow()
    with at_most(DEADLINE_SECONDS):
        slow()
    assert metrics.faults["history", StageFault.LATE] == 3


def test_prices_that_are_read_too_slowly_three_times_are_those_in_memory(serve, monkeypatch):
    def slowly(keys, read=live_entries.live_items):
        time.sleep(DEADLINE_SECONDS + 0.01)
        return read(keys)

    serve()
    monkeypatch.setattr(live_entries, "live_items", slowly)
    for _ in range(3):
        home()
    with at_most(DEADLINE_SECONDS):
        ranking = home()
    assert all(entry.live.price == Decimal("2.50") for entry in ranking)
    assert ranking.entries


def test_api_may_take_longer_than_a_page(serve, hang, client, settings):
    settings.RECOMMENDER = settings.RECOMMENDER | {"API_DEADLINE_SECONDS": 30, "PAGE_DEADLINE_SECONDS": 0.05}
    serve(partial(time.sleep, 0.5))
    assert pipeline.search("lamp", personal=False).rung == Rung.LEXICAL
    answer = client.get("/recommender/api/v1/search", {"q": "paper"})
    assert answer.json()["rung"] == Rung.UNTRAINED


def test_asynchronous_view_is_answered_in_time_too(serve, hang):
    serve(hang)

    async def view():
        return await sync_to_async(search)("lunch bag")

    assert async_to_sync(view)().rung == Rung.LEXICAL


def test_there_is_no_deadline_where_each_list_loads_first(shop, settings):
    settings.RECOMMENDER = settings.RECOMMENDER | {"REFRESH_SECONDS": 0, "PAGE_DEADLINE_SECONDS": 1e-9}
    assert pipeline.recommend("home").rung == Rung.POPULARITY
