"""Every event is checked, stored once, and accounted for: sent = accepted + duplicate + rejected + dropped."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import threading
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from recommender import capture, identity
from recommender.capture import EventDraft, ImpressionDraft, IngestResult, ingest, storage, visitors
from recommender.models import Event, Impression, Visitor
from recommender.models.claims import message_id_as_sent
from recommender.signals import event_recorded
from recommender.types import Entry, Ranking, Rung, Slot

pytestmark = pytest.mark.django_db


def draft(**values: Any) -> EventDraft:
    defaults = {"message_id": uuid.uuid4().hex, "type": "view_item", "occurred_at": timezone.now(), "item_id": "mug"}
    return EventDraft(**{**defaults, **values})


def ranking_of(*item_ids: str, **values: Any) -> Ranking:
    entries = tuple(Entry(item_id, position, 1.0) for position, item_id in enumerate(item_ids, 1))
    return Ranking(uuid.uuid4(), Slot.HOME, entries, Rung.POPULARITY, **values)


def accounted(result: IngestResult) -> int:
    return result.n_accepted + result.n_duplicate + len(result.rejections) + result.n_dropped


@pytest.fixture(autouse=True)
def _forget_visitors() -> None:
    visitors.forget_visitors()


def statements(context: CaptureQueriesContext) -> list[str]:
    """The statements that read or write, without the frame of the transaction."""
    frames = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
    return [
        query["sql"]
        for query in context.captured_queries
        if not query["sql"].lstrip("0123456789 times:").startswith(frames)
    ]


def test_event_is_stored_as_told() -> None:
    key, ranking_id = uuid.uuid4(), uuid.uuid4()
    at = timezone.now() - dt.timedelta(minutes=3)
    sent = draft(
        message_id="m1",
        type="purchase",
        occurred_at=at,
        query="  red\x00 mug ",
        quantity=Decimal("2.5"),
        price="4.999",
        currency="gbp",
        order_id="o1",
        ranking_id=ranking_id,
        position=3,
        source="api",
        device="mobile",
        region="GB",
        is_bot=True,
        visitor_key=key,
    )
    assert ingest([sent]) == IngestResult(n_accepted=1)
    event = Event.objects.select_related("visitor").get()
    assert (event.type, event.item_id, event.query) == ("purchase", "mug", "red mug")
    assert message_id_as_sent(event.message_id) == "m1"
    assert (event.occurred_at, event.quantity, event.price, event.currency) == (at, 2.5, Decimal("5.00"), "GBP")
    assert (event.order_id, event.ranking_id, event.position) == ("o1", ranking_id, 3)
    assert (event.source, event.device, event.region, event.is_bot) == ("api", "mobile", "GB", True)
    assert event.visitor is not None
    assert (event.visitor.key, event.visitor.has_consented, event.visitor.device) == (key, True, "mobile")
    assert event.received_at >= at


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"type": "viewitem"}, "type"),
        ({"type": None}, "type"),
        ({"type": ["view_item"]}, "type"),
        ({"message_id": ""}, "message_id"),
        ({"message_id": "m" * 129}, "message_id"),
        ({"message_id": "a\x00b"}, "message_id"),
        ({"message_id": 7}, "message_id"),
        ({"item_id": ""}, "item_id"),
        ({"item_id": "\ud800"}, "item_id"),
        ({"item_id": "i" * 129}, "item_id"),
        ({"type": "search", "query": "", "item_id": ""}, "query"),
        ({"type": "search", "query": " \x00\n"}, "query"),
        ({"query": None}, "query"),
        ({"occurred_at": dt.datetime(2026, 1, 1)}, "occurred_at"),  # noqa: DTZ001 - naive on purpose
        ({"occurred_at": "2026-01-01"}, "occurred_at"),
        ({"occurred_at": timezone.now() + dt.timedelta(days=2)}, "occurred_at"),
        ({"occurred_at": dt.datetime(1, 1, 1, tzinfo=dt.UTC)}, "occurred_at"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": -1}, "quantity"),
        ({"quantity": float("nan")}, "quantity"),
        ({"quantity": float("inf")}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"quantity": "2"}, "quantity"),
        ({"price": Decimal("-1")}, "price"),
        ({"price": Decimal("NaN")}, "price"),
        ({"price": Decimal("1e20")}, "price"),
        ({"price": "cheap"}, "price"),
        ({"currency": "EURO"}, "currency"),
        ({"currency": None}, "currency"),
        ({"order_id": "o\x00"}, "order_id"),
        ({"ranking_id": "abc"}, "ranking_id"),
        ({"position": 0}, "position"),
        ({"position": 40_000}, "position"),
        ({"position": True}, "position"),
        ({"device": "d" * 17}, "device"),
        ({"region": "r" * 33}, "region"),
        ({"source": "s" * 11}, "source"),
        ({"visitor_key": "abc"}, "visitor_key"),
        ({"user_key": "u" * 65}, "user_key"),
    ],
)
def test_unsound_event_is_rejected_by_name_and_the_others_are_stored(values: dict[str, Any], field: str) -> None:
    result = ingest([draft(), draft(**values), draft()])
    (rejection,) = result.rejections
    assert (rejection.index, rejection.field) == (1, field)
    assert rejection.message
    assert (result.n_accepted, Event.objects.count()) == (2, 2)


def test_clock_that_is_a_little_ahead_is_set_to_now() -> None:
    before = timezone.now()
    ingest([draft(occurred_at=before + dt.timedelta(hours=3))])
    assert before <= Event.objects.get().occurred_at <= timezone.now()


def test_message_is_stored_once_however_often_it_is_sent() -> None:
    first = draft(message_id="m", item_id="a")
    assert ingest([first, draft(message_id="m", item_id="b"), draft()]) == IngestResult(2, 1)
    assert ingest([draft(message_id="m", item_id="c"), draft()]) == IngestResult(1, 1)
    assert Event.objects.get(message_id="m").item_id == "a"


def test_nothing_is_stored_of_an_empty_batch(django_assert_num_queries: Any) -> None:
    assert ingest([]) == IngestResult()
    assert not Visitor.objects.exists()


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.decimals(),
    st.text(st.characters(codec=None), max_size=140),
    st.binary(max_size=5),
    st.uuids(),
    st.datetimes(),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.lists(st.integers(), max_size=2),
)
SOUND = st.fixed_dictionaries(
    {"message_id": st.sampled_from(["a", "b", "c", "d"]), "type": st.sampled_from(sorted(capture.TYPES))},
    optional={"visitor_key": st.sampled_from([uuid.UUID(int=1), None]), "user_key": st.sampled_from(["7", "8", None])},
)
FIELDS = [column.name for column in dataclasses.fields(EventDraft)]


@budget(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(st.tuples(SOUND, st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=3)), max_size=6))
def test_every_event_is_accounted_for_whatever_is_sent(batch: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    drafts = [draft(**{**sound, **odd}) for sound, odd in batch]
    n_before = Event.objects.count()
    result = ingest(drafts)
    assert accounted(result) == len(drafts)
    assert Event.objects.count() - n_before == result.n_accepted
    assert {rejection.index for rejection in result.rejections} <= set(range(len(drafts)))


def test_event_of_a_user_without_consent_is_dropped_and_an_order_is_nobodys() -> None:
    identity.visitor_of_user("7")
    result = ingest([draft(user_key="7"), draft(user_key="7", source="order", type="purchase", order_id="o")])
    assert (result.n_accepted, result.n_dropped) == (1, 1)
    assert Event.objects.get().visitor is None
    assert Visitor.objects.get().has_consented is False


def test_visitors_without_consent_are_never_made() -> None:
    ingest([draft(), draft(user_key="7"), draft(user_key="8", source="order")])
    assert not Visitor.objects.exists()


def test_withdrawn_visitor_is_recorded_no_more() -> None:
    visitor = Visitor.objects.create()
    assert ingest([draft(visitor_key=visitor.key)]).n_accepted == 1
    Visitor.objects.update(has_consented=False)
    visitors.forget_visitors()
    assert ingest([draft(visitor_key=visitor.key)]) == IngestResult(n_dropped=1)
    visitor.refresh_from_db()
    assert visitor.has_consented is False


def test_withdrawal_in_another_process_holds_while_the_visitor_is_remembered() -> None:
    visitor = Visitor.objects.create()
    ingest([draft(visitor_key=visitor.key)])
    Visitor.objects.update(has_consented=False)
    ingest([draft(message_id="late", visitor_key=visitor.key)])
    assert Event.objects.get(message_id="late").visitor is None


def test_order_of_a_consenting_user_is_under_their_own_visitor() -> None:
    identity.grant_consent(["7"])
    ingest([draft(user_key="7", source="order", type="purchase")])
    event = Event.objects.select_related("visitor").get()
    assert event.visitor is not None
    assert event.visitor.key == identity.own_key("7")


def test_order_of_a_user_who_consented_in_a_browser_is_that_visitors() -> None:
    visitor = Visitor.objects.create(user_key="7")
    ingest([draft(user_key="7", source="order", type="purchase")])
    assert Event.objects.get().visitor == visitor
    assert Visitor.objects.count() == 1


def test_visitor_is_linked_to_the_user_it_comes_with_and_never_moved() -> None:
    key = uuid.uuid4()
    ingest([draft(visitor_key=key)])
    ingest([draft(visitor_key=key, user_key="7")])
    assert Visitor.objects.get(key=key).user_key == "7"
    ingest([draft(message_id="other", visitor_key=key, user_key="8")])
    assert Visitor.objects.get(key=key).user_key == "7"
    stored = Event.objects.select_related("visitor").get(message_id="other")
    assert stored.visitor is not None
    assert stored.visitor.key == identity.own_key("8")


def test_visitor_remembers_first_and_last_time_and_a_switched_off_profile() -> None:
    key, now = uuid.uuid4(), timezone.now()
    ingest([draft(visitor_key=key, occurred_at=now - dt.timedelta(hours=1)), draft(visitor_key=key, occurred_at=now)])
    visitors.forget_visitors()
    ingest([draft(visitor_key=key, occurred_at=now - dt.timedelta(days=3), is_profiled=False)])
    visitor = Visitor.objects.get()
    assert (visitor.first_seen_at, visitor.last_seen_at) == (now - dt.timedelta(days=3), now)
    assert visitor.is_profiled is False
    visitors.forget_visitors()
    ingest([draft(visitor_key=key)])
    visitor.refresh_from_db()
    assert visitor.is_profiled is False


def test_cart_and_order_follow_from_the_last_list_within_thirty_days() -> None:
    key, now = uuid.uuid4(), timezone.now()
    old, first, last, late = (uuid.uuid4() for _ in range(4))
    for ranking_id, days in ((old, 45), (first, 3), (last, 2), (late, 0)):
        clicked = {"type": "select_item", "ranking_id": ranking_id, "position": days + 1}
        ingest([draft(visitor_key=key, occurred_at=now - dt.timedelta(days=days), **clicked)])
    at = now - dt.timedelta(days=1)
    ingest(
        [
            draft(message_id="cart", type="add_to_cart", visitor_key=key, occurred_at=at),
            draft(message_id="order", type="purchase", visitor_key=key, occurred_at=at),
            draft(message_id="other item", type="add_to_cart", item_id="bowl", visitor_key=key, occurred_at=at),
            draft(message_id="stranger", type="add_to_cart", visitor_key=uuid.uuid4(), occurred_at=at),
            draft(message_id="view", visitor_key=key, occurred_at=at),
            draft(message_id="past", type="purchase", visitor_key=key, occurred_at=now - dt.timedelta(days=10)),
        ]
    )
    rankings = dict(Event.objects.exclude(type="select_item").values_list("message_id", "ranking_id"))
    assert rankings == {
        "cart": last, "order": last, "other item": None, "stranger": None, "view": None, "past": None
    }  # fmt: skip
    assert Event.objects.get(message_id="order").position == 3


def test_order_of_a_user_follows_from_a_click_on_another_device() -> None:
    ranking_id = uuid.uuid4()
    clicked = {"type": "select_item", "ranking_id": ranking_id, "occurred_at": timezone.now() - dt.timedelta(hours=1)}
    ingest([draft(visitor_key=uuid.uuid4(), user_key="7", **clicked)])
    ingest([draft(message_id="order", type="purchase", source="order", user_key="7")])
    assert Event.objects.get(message_id="order").ranking_id == ranking_id


def test_click_and_cart_of_one_batch_belong_together() -> None:
    key, ranking_id, now = uuid.uuid4(), uuid.uuid4(), timezone.now()
    click = draft(type="select_item", visitor_key=key, ranking_id=ranking_id, occurred_at=now - dt.timedelta(minutes=1))
    ingest([draft(message_id="cart", type="add_to_cart", visitor_key=key, occurred_at=now), click])
    assert Event.objects.get(message_id="cart").ranking_id == ranking_id


def test_row_that_the_database_refuses_never_loses_the_others(monkeypatch: Any) -> None:
    columns = storage.EVENT_COLUMNS
    real = storage._event_values

    def broken(drafts: Any, at: Any, alias: str) -> Any:
        values = real(drafts, at, alias)
        return [
            tuple(
                None if name == "type" and draft.item_id == "bad" else value
                for name, value in zip(columns, row, strict=True)
            )
            for draft, row in zip(drafts, values, strict=True)
        ]

    monkeypatch.setattr(storage, "_event_values", broken)
    result = ingest([draft(), draft(item_id="bad"), draft(message_id="m"), draft(message_id="m")])
    assert (result.n_accepted, result.n_duplicate) == (2, 1)
    assert [rejection.index for rejection in result.rejections] == [1]
    assert Event.objects.count() == 2


def test_broken_database_is_an_error_and_no_receipt(monkeypatch: Any) -> None:
    def locked(*args: Any, **kwargs: Any) -> int:
        raise OperationalError("database is locked")

    monkeypatch.setattr(storage, "_insert", locked)
    before = dict(capture.counts)
    with pytest.raises(OperationalError):
        ingest([draft(visitor_key=uuid.uuid4())])
    assert dict(capture.counts) == before
    assert not Visitor.objects.exists()


def test_failed_batch_leaves_the_hosts_transaction_usable(monkeypatch: Any) -> None:
    monkeypatch.setattr(storage, "attributed", lambda rows, alias: 1 / 0)
    with transaction.atomic():
        Visitor.objects.create(user_key="before")
        with pytest.raises(ZeroDivisionError):
            ingest([draft(visitor_key=uuid.uuid4())])
        Visitor.objects.create(user_key="after")
    assert Visitor.objects.count() == 2


def test_large_batch_is_one_insert() -> None:
    drafts = [draft(visitor_key=uuid.UUID(int=n % 40 + 1)) for n in range(1000)]
    with CaptureQueriesContext(connection) as context:
        assert ingest(drafts).n_accepted == 1000
    assert len(statements(context)) == 2
    assert Visitor.objects.count() == 40


def test_known_visitors_page_view_is_two_statements() -> None:
    key = uuid.uuid4()
    ingest([draft(visitor_key=key)])
    shown = ImpressionDraft(ranking_of("a", "b"), timezone.now(), visitor_key=key)
    with CaptureQueriesContext(connection) as context:
        ingest([draft(visitor_key=key)], [shown])
    assert len(statements(context)) == 2


def test_impression_is_stored_as_shown_and_once() -> None:
    key = uuid.uuid4()
    ranking = dataclasses.replace(ranking_of("a", "b", query="mugs", bundle="abc"), slot=Slot.SEARCH)
    shown = ImpressionDraft(ranking, timezone.now(), "c", "page", "mobile", visitor_key=key)
    ingest([], [shown])
    ingest([], [shown, ImpressionDraft(ranking_of(), timezone.now(), visitor_key=key)])
    impression = Impression.objects.select_related("visitor").get()
    assert (impression.ranking_id, impression.item_ids, impression.first_position) == (ranking.id, ["a", "b"], 1)
    assert (impression.slot, impression.rung, impression.query, impression.bundle) == (
        "search",
        "popularity",
        "mugs",
        "abc",
    )
    assert (impression.current_item_id, impression.device, impression.propensities) == ("c", "mobile", [1.0, 1.0])
    assert impression.visitor is not None
    assert impression.visitor.key == key


@pytest.mark.django_db(transaction=True)
def test_signal_tells_after_the_commit_how_many_were_stored() -> None:
    heard: list[int] = []

    def listen(n_accepted: int, **_: Any) -> None:
        heard.append(n_accepted)

    event_recorded.connect(listen)
    try:
        with transaction.atomic():
            ingest([draft(message_id="m"), draft()])
            assert heard == []
        ingest([draft(message_id="m")])
    finally:
        event_recorded.disconnect(listen)
    assert heard == [2]


@pytest.mark.django_db(transaction=True)
def test_failing_listener_loses_no_event(caplog: Any) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("not my day")

    event_recorded.connect(fail)
    try:
        assert ingest([draft()]).n_accepted == 1
    finally:
        event_recorded.disconnect(fail)
    assert Event.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_parallel_duplicate_batches_are_stored_once() -> None:
    ids = [f"m{n}" for n in range(60)]
    visitors = [uuid.uuid4() for _ in range(5)]
    results: list[IngestResult] = []

    def send(reverse: bool) -> None:
        try:
            for _ in range(5):
                order = ids[::-1] if reverse else ids
                batch = [draft(message_id=name, visitor_key=visitors[n % 5]) for n, name in enumerate(order)]
                results.append(ingest(batch))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send, args=(number % 2 == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    assert sum(result.n_accepted for result in results) == 60 == Event.objects.count()
    assert all(accounted(result) == 60 for result in results)


def request_with(consent: str | None = "granted") -> Any:
    request: Any = RequestFactory().get("/", HTTP_USER_AGENT="Mozilla/5.0 (iPhone)", HTTP_ACCEPT_LANGUAGE="en-GB")
    if consent:
        request.COOKIES["recommender_consent"] = consent
    return request


def test_recorded_events_wait_for_the_flush_and_get_their_shopper(django_assert_num_queries: Any) -> None:
    request = request_with()
    ranking = ranking_of("a")
    with django_assert_num_queries(0):
        capture.record(request, draft(message_id="m"))
        capture.record_impression(request, ranking, current_item_id="b")
        capture.record_impression(request, ranking, current_item_id="b")
    assert len(capture.buffer_of(request).impressions) == 1
    assert capture.flush(request) == IngestResult(n_accepted=1)
    event, impression = Event.objects.get(), Impression.objects.get()
    assert event.visitor is not None
    assert event.visitor == impression.visitor
    assert (event.device, event.region) == ("mobile", "GB")
    assert capture.flush(request) == IngestResult()


def test_list_that_nobody_sees_is_no_impression() -> None:
    request = request_with()
    request.method = "HEAD"
    capture.record_impression(request, ranking_of("a"))
    request.method = "GET"
    capture.record_impression(request, ranking_of())
    assert capture.flush(request) == IngestResult()
    assert not Impression.objects.exists()


def test_without_consent_nothing_is_stored_and_the_loss_is_counted() -> None:
    request = request_with(consent=None)
    capture.record(request, draft())
    capture.record_impression(request, ranking_of("a"))
    n_dropped = capture.counts["dropped"]
    assert capture.flush(request) == IngestResult(n_dropped=1)
    assert capture.counts["dropped"] == n_dropped + 1
    assert [model.objects.count() for model in (Event, Impression, Visitor)] == [0, 0, 0]


def test_failing_source_keeps_the_events_of_the_others(caplog: Any) -> None:
    request = request_with()
    capture.record_later(request, lambda shopper: 1 / 0)  # type: ignore[arg-type, return-value]
    capture.record_later(request, lambda shopper: [draft()])
    assert capture.flush(request).n_accepted == 1
    assert "source of events failed" in caplog.text


def test_page_with_a_list_is_kept_out_of_caches() -> None:
    request = request_with()
    request._cache_update_cache = True
    capture.record_impression(request, ranking_of("a"))
    assert request._cache_update_cache is False


def test_logs_above_debug_hold_no_query(caplog: Any, monkeypatch: Any) -> None:
    caplog.set_level(logging.INFO)
    real = storage._event_values
    monkeypatch.setattr(
        storage, "_event_values", lambda rows, at, alias: [(None, *row[1:]) for row in real(rows, at, alias)]
    )
    result = ingest([draft(type="search", query="something private", item_id="")])
    assert len(result.rejections) == 1
    assert "private" not in caplog.text
