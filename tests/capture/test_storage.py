"""Events and lists are written once each, and a row that the database refuses loses no other."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import threading
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from recommender import capture, identity
from recommender.capture import ImpressionDraft, IngestResult, Rejection, ingest, storage
from recommender.models import Event, Impression, Visitor
from recommender.models.claims import message_id_as_sent
from recommender.types import Slot
from tests.capture.drafts import NEW_VISITORS, accounted, draft, ranking_of, refuse_rows, statements

pytestmark = pytest.mark.django_db


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


def test_message_is_stored_once_however_often_it_is_sent() -> None:
    first = draft(message_id="m", item_id="a")
    assert ingest([first, draft(message_id="m", item_id="b"), draft()]) == IngestResult(2, 1)
    assert ingest([draft(message_id="m", item_id="c"), draft()]) == IngestResult(1, 1)
    assert Event.objects.get(message_id="m").item_id == "a"


def test_row_that_the_database_refuses_never_loses_the_others(monkeypatch: Any, caplog: Any) -> None:
    refuse_rows(monkeypatch, "bad")
    result = ingest([draft(), draft(item_id="bad"), draft(message_id="m"), draft(message_id="m")])
    assert (result.n_accepted, result.n_duplicate) == (2, 1)
    assert [rejection.index for rejection in result.rejections] == [1]
    assert Event.objects.count() == 2
    ours = [record.message for record in caplog.records if record.name.startswith("recommender")]  # psycopg warns too
    assert ours == ["a batch of 3 events was refused; it is stored row by row"]


def test_rows_are_stored_in_the_order_of_their_ids() -> None:
    """Parallel batches then never wait for each other in a circle."""
    lists = sorted((ranking_of("a") for _ in range(5)), key=lambda ranking: ranking.id.bytes)
    ingest(
        [draft(message_id=name) for name in "dbeac"],
        [ImpressionDraft(lists[number], timezone.now()) for number in (3, 1, 4, 0, 2)],
    )
    assert "".join(Event.objects.order_by("pk").values_list("message_id", flat=True)) == "abcde"
    assert list(Impression.objects.order_by("pk").values_list("ranking_id", flat=True)) == [one.id for one in lists]


def test_broken_database_is_an_error_and_no_receipt(monkeypatch: Any) -> None:
    def locked(*args: Any, **kwargs: Any) -> int:
        raise OperationalError("database is locked")

    monkeypatch.setattr(storage, "insert", locked)
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
    assert len(statements(context)) == 2 + NEW_VISITORS
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


def test_logs_above_debug_hold_no_query(caplog: Any, monkeypatch: Any) -> None:
    caplog.set_level(logging.INFO)
    real = storage._event_values
    monkeypatch.setattr(
        storage, "_event_values", lambda rows, at, alias: [(None, *row[1:]) for row in real(rows, at, alias)]
    )
    result = ingest([draft(type="search", query="something private", item_id="")])
    assert len(result.rejections) == 1
    assert "private" not in caplog.text


def test_quantities_are_corrected_where_they_differ(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        storage.correct_quantities({})
    ingest([draft(message_id=name, quantity=quantity) for name, quantity in (("a", 1), ("b", 2), ("c", 3))])
    with django_assert_num_queries(1):
        storage.correct_quantities({"a": 1, "b": 2, "gone": 9})
    with django_assert_num_queries(2):
        storage.correct_quantities({"a": 1, "b": 5})
    assert dict(Event.objects.values_list("message_id", "quantity")) == {"a": 1, "b": 5, "c": 3}


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
@pytest.mark.parametrize("earlier", [[], [DatabaseError]], ids=["all at once", "one by one"])
def test_broken_connection_is_an_error_and_no_refusal_of_a_row(
    monkeypatch: Any, error: type[Exception], earlier: list[type[Exception]]
) -> None:
    errors = [*earlier, error]

    def broken(*args: Any, **kwargs: Any) -> int:
        raise errors.pop(0)

    monkeypatch.setattr(storage, "insert", broken)
    with pytest.raises(error):
        ingest([draft()])
    assert errors == []


@pytest.mark.parametrize("error", [DatabaseError, ValueError, OverflowError])
def test_row_that_the_driver_refuses_is_a_refusal_of_that_row(monkeypatch: Any, error: type[Exception]) -> None:
    real = storage.insert

    def refusing(model: Any, columns: Any, values: list[tuple[Any, ...]], *, alias: str) -> int:
        if any("bad" in row for row in values):
            raise error("too large")
        return real(model, columns, values, alias=alias)

    monkeypatch.setattr(storage, "insert", refusing)
    result = ingest([draft(message_id="1"), draft(message_id="2", item_id="bad"), draft(message_id="3")])
    assert result == IngestResult(2, rejections=[Rejection(1, "", "The database does not take the event: too large")])


def test_order_sent_again_with_its_buyer_is_attached_to_them() -> None:
    order = draft(message_id="o", type="purchase", source="order", user_key="7")
    view = draft(message_id="v")
    assert ingest([order, view]) == IngestResult(n_accepted=2)
    identity.grant_consent(["7"])
    assert ingest([order, view, draft(message_id="new")]) == IngestResult(1, 2, n_attached=1)
    assert ingest([order]) == IngestResult(n_duplicate=1)
    assert Event.objects.exclude(visitor=None).get().message_id == "o"
