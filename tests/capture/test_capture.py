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
from django.db import DatabaseError, InterfaceError, OperationalError, connection, connections, transaction
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from recommender import capture, identity
from recommender.capture import EventDraft, ImpressionDraft, IngestResult, Rejection, ingest, storage, visitors
from recommender.capture.checking import check_event, check_impression
from recommender.exceptions import InvalidEvent
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


PLAIN = "Expected text of at most 128 characters, without NUL and unpaired surrogates."
NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
FIRST_DAY = dt.datetime(1990, 1, 1, tzinfo=dt.UTC)
MOMENT = dt.timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        (
            {"type": "viewitem"},
            "type",
            "Expected one of add_to_cart, dismiss_item, purchase, refund, remove_from_cart, search, select_item, "
            "view_item, view_item_list.",
        ),
        ({"message_id": ""}, "message_id", "Give every event an id of its own, 1 to 128 characters."),
        ({"message_id": "m" * 129}, "message_id", PLAIN),
        ({"item_id": ""}, "item_id", "An event of type view_item needs the item it is about."),
        ({"item_id": "\ud800"}, "item_id", PLAIN),
        ({"item_id": "a\udfff"}, "item_id", PLAIN),
        ({"order_id": "o\x00"}, "order_id", PLAIN),
        ({"query": None}, "query", "Expected text."),
        ({"type": "search", "query": " "}, "query", "A search needs the query that was searched."),
        ({"occurred_at": "2026-01-01"}, "occurred_at", "Expected a date and time with its offset from UTC."),
        ({"occurred_at": FIRST_DAY - MOMENT}, "occurred_at", "Nothing is recorded from before 1990."),
        (
            {"occurred_at": NOON + dt.timedelta(days=1) + MOMENT},
            "occurred_at",
            "The event is more than a day in the future; set the client's clock.",
        ),
        *(
            ({"quantity": quantity}, "quantity", "Expected a number above 0 and at most 1000000000.")
            for quantity in (0, 1e9 + 1, 10**400, Decimal("sNaN"), None, True, "2")
        ),
        *(
            ({"price": price}, "price", "Expected the price of one unit, 0 to 12 digits, or none.")
            for price in (10**12, Decimal("-0.01"), Decimal("Infinity"), Decimal("sNaN"), "cheap")
        ),
        *(
            ({"currency": currency}, "currency", "Expected the three letters of ISO 4217, or nothing.")
            for currency in ("EU", "EURO", "EU1", "ÄÖÜ", None, ["E", "U", "R"])
        ),
        ({"ranking_id": "abc"}, "ranking_id", "Expected a UUID."),
        ({"visitor_key": "abc"}, "visitor_key", "Expected a UUID."),
        *(
            ({"position": position}, "position", "Expected a position from 1 to 32767.")
            for position in (0, 32_768, True, 1.0)
        ),
        ({"source": "s" * 11}, "source", "Expected text of at most 10 characters."),
        ({"device": "d" * 17}, "device", "Expected text of at most 16 characters."),
        ({"device": None}, "device", "Expected text of at most 16 characters."),
        ({"region": "r" * 33}, "region", "Expected text of at most 32 characters."),
        *(
            ({"user_key": user_key}, "user_key", "Expected a user's key of 1 to 64 characters.")
            for user_key in ("", "u" * 65, "a\x00", 7)
        ),
    ],
)
def test_refusal_names_the_field_and_says_what_was_expected(values: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidEvent) as refusal:
        check_event(
            EventDraft(**{"message_id": "m", "type": "view_item", "occurred_at": NOON, "item_id": "i"} | values), NOON
        )
    assert (str(refusal.value), refusal.value.field) == (message, field)


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        ({}, {}),
        ({"message_id": "m" * 128, "item_id": "i" * 128, "order_id": "o" * 128}, {}),
        ({"item_id": "\ud7ff\ue000"}, {}),
        ({"type": "search", "item_id": "", "query": "mug"}, {}),
        ({"type": "view_item_list", "item_id": ""}, {}),
        ({"query": " red\x00  mug"}, {"query": "red mug"}),
        ({"occurred_at": FIRST_DAY}, {}),
        ({"occurred_at": NOON - MOMENT}, {}),
        ({"occurred_at": NOON + MOMENT}, {"occurred_at": NOON}),
        ({"occurred_at": NOON + dt.timedelta(days=1)}, {"occurred_at": NOON}),
        ({"quantity": 1e9}, {}),
        ({"quantity": 0.001}, {}),
        ({"quantity": Decimal("2.5")}, {"quantity": 2.5}),
        ({"price": 0}, {"price": Decimal("0.00")}),
        ({"price": 0.1}, {"price": Decimal("0.10")}),
        ({"price": Decimal("999999999999.99")}, {}),
        ({"price": "4.999", "currency": "gbp"}, {"price": Decimal("5.00"), "currency": "GBP"}),
        ({"price": "499.6", "currency": "JPY"}, {"price": Decimal(500)}),
        ({"position": 1}, {}),
        ({"position": 32_767}, {}),
        ({"source": "s" * 10, "device": "d" * 16, "region": "r" * 32, "user_key": "u" * 64}, {}),
        ({"source": ""}, {"source": "page"}),
        ({"source": "api"}, {"message_id": "api:nobody:m"}),
        ({"is_bot": 1, "is_profiled": 0}, {"is_bot": True, "is_profiled": False}),
        ({"emptied": ("price: cheap",), "ranking_id": uuid.UUID(int=3), "visitor_key": uuid.UUID(int=4)}, {}),
    ],
)
def test_sound_event_is_kept_as_it_is_but_for_the_values_that_are_put_in_order(
    values: dict[str, Any], stored: dict[str, Any]
) -> None:
    sent = EventDraft(**{"message_id": "m", "type": "view_item", "occurred_at": NOON, "item_id": "i"} | values)
    checked = check_event(sent, NOON)
    assert checked == dataclasses.replace(sent, **stored)
    assert str(checked.price) == str(stored.get("price", sent.price))


def test_id_of_an_api_event_is_its_visitors_own() -> None:
    one, other = (
        check_event(draft(message_id="m", source="api", visitor_key=uuid.UUID(int=number)), timezone.now()).message_id
        for number in (1, 2)
    )
    assert one != other
    assert message_id_as_sent(one) == message_id_as_sent(other) == "m"


def test_shown_list_with_impossible_values_is_kept_without_them() -> None:
    for current, kept in (("c" * 128, "c" * 128), ("c" * 129, ""), ("c\x00", ""), ("\udc00", ""), (7, "")):
        shown = ImpressionDraft(ranking_of("a", bundle="b" * 65), NOON, current)  # type: ignore[arg-type]
        checked = check_impression(shown)
        assert checked.current_item_id == kept
        assert checked.ranking == dataclasses.replace(shown.ranking, bundle="b" * 64)


def test_receipt_lists_refusals_by_their_place_in_the_batch(monkeypatch: Any) -> None:
    refuse_rows(monkeypatch, "bad")
    counts = {name: capture.counts[name] for name in ("accepted", "duplicate", "rejected", "dropped")}
    identity.visitor_of_user("7")
    result = ingest(
        [
            draft(item_id="bad"), draft(quantity=0), draft(message_id="m"), draft(item_id="bad"), draft(message_id="m"),
            draft(message_id="m"), draft(user_key="7"), draft(user_key="7"), draft(user_key="7"), draft(user_key="7"),
        ]
    )  # fmt: skip
    assert [(rejection.index, rejection.field) for rejection in result.rejections] == [
        (0, ""),
        (1, "quantity"),
        (3, ""),
    ]
    assert result.rejections[0].message.startswith("The database does not take the event: ")
    assert "null" in result.rejections[0].message.lower()
    assert (result.n_accepted, result.n_duplicate, result.n_dropped, result.n_attached) == (1, 2, 4, 0)
    added = {name: capture.counts[name] - before for name, before in counts.items()}
    assert added == {"accepted": 1, "duplicate": 2, "rejected": 3, "dropped": 4}


def refuse_rows(monkeypatch: Any, item_id: str) -> None:
    """Let the database refuse events of an item: their type is missing."""
    real, type_at = storage._event_values, storage.EVENT_COLUMNS.index("type")

    def broken(drafts: Any, at: Any, alias: str) -> Any:
        return [
            (*row[:type_at], None, *row[type_at + 1 :]) if draft.item_id == item_id else row
            for draft, row in zip(drafts, real(drafts, at, alias), strict=True)
        ]

    monkeypatch.setattr(storage, "_event_values", broken)


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


def test_visitor_of_a_batch_has_the_first_device_and_user_and_is_a_bot_only_by_all_its_events() -> None:
    now = timezone.now()
    keys = {name: uuid.uuid4() for name in ("mixed", "bot", "unprofiled")}
    moments = [now - dt.timedelta(minutes=minutes) for minutes in (2, 3, 1)]
    values: dict[str, list[dict[str, Any]]] = {
        "mixed": [{"is_bot": True}, {"device": "mobile", "user_key": "7"}, {"device": "tablet"}],
        "bot": [{"is_bot": True}] * 3,
        "unprofiled": [{}, {"is_profiled": False}, {}],
    }
    ingest(
        [
            draft(message_id=f"{number}", visitor_key=keys[name], occurred_at=at, **given)
            for name, of_visitor in values.items()
            for number, (at, given) in enumerate(zip(moments, of_visitor, strict=True), 3 * list(keys).index(name))
        ]
    )
    columns = ("key", "user_key", "has_consented", "is_profiled", "is_bot", "device", "first_seen_at", "last_seen_at")
    assert set(Visitor.objects.values_list(*columns)) == {
        (keys["mixed"], "7", True, True, False, "mobile", moments[1], moments[2]),
        (keys["bot"], None, True, True, True, "", moments[1], moments[2]),
        (keys["unprofiled"], None, True, False, False, "", moments[1], moments[2]),
    }


def test_earlier_event_never_moves_the_last_time_nor_a_later_one_the_first() -> None:
    key, now = uuid.uuid4(), timezone.now()
    for hours in (2, 4, 1, 3):
        visitors.forget_visitors()
        ingest([draft(visitor_key=key, occurred_at=now - dt.timedelta(hours=hours))])
    visitor = Visitor.objects.get()
    assert (visitor.first_seen_at, visitor.last_seen_at) == (now - dt.timedelta(hours=4), now - dt.timedelta(hours=1))


@pytest.mark.parametrize(("n_visitors", "n_statements"), [(100, 1), (101, 2), (201, 3)])
def test_new_visitors_take_one_statement_for_each_hundred(n_visitors: int, n_statements: int) -> None:
    drafts = [draft(visitor_key=uuid.uuid4()) for _ in range(n_visitors)]
    with CaptureQueriesContext(connection) as context:
        assert ingest(drafts).n_accepted == n_visitors
    assert len(statements(context)) == n_statements + 1
    assert Event.objects.exclude(visitor=None).count() == Visitor.objects.count() == n_visitors


def n_statements_of(*drafts: EventDraft) -> int:
    with CaptureQueriesContext(connection) as context:
        ingest(drafts)
    return len(statements(context))


@pytest.mark.parametrize(("seconds", "n_statements"), [(0, 1), (599.5, 1), (600, 2)])
def test_visitor_is_remembered_for_ten_minutes(monkeypatch: Any, seconds: float, n_statements: int) -> None:
    key, clock = uuid.uuid4(), [5.0]
    monkeypatch.setattr(visitors.time, "monotonic", lambda: clock[0])
    assert n_statements_of(draft(visitor_key=key)) == 2
    clock[0] += seconds
    assert n_statements_of(draft(visitor_key=key)) == n_statements


def test_remembered_visitor_is_read_again_for_a_user_and_for_a_switched_off_profile() -> None:
    key = uuid.uuid4()
    assert n_statements_of(draft(visitor_key=key)) == 2
    assert n_statements_of(draft(visitor_key=key), draft(visitor_key=key, is_profiled=False)) == 2
    assert n_statements_of(draft(visitor_key=key), draft(visitor_key=key, user_key="7")) == 2
    assert n_statements_of(draft(visitor_key=key, user_key="7"), draft(visitor_key=key)) == 1
    assert Visitor.objects.filter(user_key="7", is_profiled=False).count() == 1


def test_users_own_visitor_is_never_remembered() -> None:
    identity.grant_consent(["7"])
    own = identity.own_key("7")
    assert n_statements_of(draft(visitor_key=own, user_key="7")) == 2
    assert n_statements_of(draft(visitor_key=own, user_key="7")) == 2
    Visitor.objects.update(has_consented=False)
    assert ingest([draft(visitor_key=own, user_key="7")]) == IngestResult(n_dropped=1)


def test_memory_of_visitors_is_emptied_before_it_grows_over_its_limit(monkeypatch: Any) -> None:
    monkeypatch.setattr(visitors, "MAX_REMEMBERED", 2)
    first, second, third = (uuid.uuid4() for _ in range(3))
    ingest([draft(visitor_key=first)])
    ingest([draft(visitor_key=second)])
    assert n_statements_of(draft(visitor_key=first)) == n_statements_of(draft(visitor_key=second)) == 1
    ingest([draft(visitor_key=third)])
    assert n_statements_of(draft(visitor_key=third)) == 1
    assert n_statements_of(draft(visitor_key=first)) == 2


def test_users_events_are_under_their_own_visitor_else_under_the_browsers_that_was_seen_last() -> None:
    now = timezone.now()
    for user_key, hours in (("7", 1), ("7", 2), ("8", 2), ("8", 1)):
        Visitor.objects.create(user_key=user_key, last_seen_at=now - dt.timedelta(hours=hours), device=f"{hours}")
    Visitor.objects.create(user_key="7", has_consented=False, device="refused", last_seen_at=now)
    identity.grant_consent(["8"])
    Visitor.objects.filter(key=identity.own_key("8")).update(last_seen_at=now - dt.timedelta(days=9), device="own")
    ingest([draft(user_key="7", item_id="a"), draft(user_key="8", item_id="b"), draft(item_id="c")])
    assert dict(Event.objects.values_list("item_id", "visitor__device")) == {"a": "1", "b": "own", "c": None}


def test_shown_list_of_a_user_without_consent_is_dropped_and_of_a_consenting_one_is_theirs() -> None:
    identity.grant_consent(["7"])
    shown = {name: ranking_of("a") for name in ("7", "8")}
    ingest([], [ImpressionDraft(ranking, timezone.now(), user_key=name) for name, ranking in shown.items()])
    assert list(Impression.objects.values_list("ranking_id", "visitor__key")) == [
        (shown["7"].id, identity.own_key("7"))
    ]


def test_order_of_a_withdrawn_visitor_is_stored_as_nobodys() -> None:
    visitor = Visitor.objects.create(has_consented=False)
    result = ingest([draft(visitor_key=visitor.key, type="purchase", source="order"), draft(visitor_key=visitor.key)])
    assert result == IngestResult(n_accepted=1, n_dropped=1)
    assert Event.objects.get().visitor is None


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


@pytest.mark.parametrize(
    ("age", "is_attributed"),
    [
        (dt.timedelta(days=30), True),
        (dt.timedelta(days=30) + MOMENT, False),
        (dt.timedelta(0), True),
        (-MOMENT, False),
    ],
    ids=["oldest", "too old", "same moment", "later"],
)
@pytest.mark.parametrize("is_one_batch", [True, False])
def test_click_counts_from_thirty_days_before_until_the_cart(
    age: dt.timedelta, is_attributed: bool, is_one_batch: bool
) -> None:
    key, ranking_id, at = uuid.uuid4(), uuid.uuid4(), timezone.now() - dt.timedelta(days=1)
    click = draft(type="select_item", visitor_key=key, ranking_id=ranking_id, position=5, occurred_at=at - age)
    cart = draft(message_id="cart", type="add_to_cart", visitor_key=key, occurred_at=at)
    for batch in [[click, cart]] if is_one_batch else [[click], [cart]]:
        ingest(batch)
    event = Event.objects.get(message_id="cart")
    assert (event.ranking_id, event.position) == ((ranking_id, 5) if is_attributed else (None, None))


def test_each_cart_of_a_batch_follows_from_the_clicks_before_it() -> None:
    now = timezone.now() - dt.timedelta(days=1)
    one, other = uuid.uuid4(), uuid.uuid4()
    lists = {days: uuid.uuid4() for days in (60, 40, 20)}
    for days, ranking_id in lists.items():
        clicked = {"type": "select_item", "ranking_id": ranking_id, "position": days}
        ingest([draft(visitor_key=one, occurred_at=now - dt.timedelta(days=days), **clicked)])
    carts = [
        draft(message_id=f"{days}", type="add_to_cart", visitor_key=one, occurred_at=now - dt.timedelta(days=days))
        for days in (95, 45, 35, 0)
    ]
    nobodys = draft(message_id="nobody", type="add_to_cart", occurred_at=now)
    own_list = draft(message_id="own", type="purchase", visitor_key=other, ranking_id=(own := uuid.uuid4()), position=2)
    ingest([*carts, nobodys, own_list])
    stored = Event.objects.exclude(type="select_item").values_list("message_id", "ranking_id", "position")
    assert {message_id: values for message_id, *values in stored} == {
        "95": [None, None], "45": [lists[60], 60], "35": [lists[40], 40], "0": [lists[20], 20],
        "nobody": [None, None], "own": [own, 2],
    }  # fmt: skip


def test_order_of_a_signed_in_user_follows_from_their_click_in_this_browser_and_in_another() -> None:
    here, there, now = uuid.uuid4(), uuid.uuid4(), timezone.now()
    rankings = [uuid.uuid4() for _ in range(3)]
    for key, item_id, ranking_id in zip((here, there, uuid.uuid4()), ("mug", "bag", "cup"), rankings, strict=True):
        user_key = None if item_id == "cup" else "7"
        clicked = {"type": "select_item", "ranking_id": ranking_id, "occurred_at": now - dt.timedelta(hours=1)}
        ingest([draft(item_id=item_id, visitor_key=key, user_key=user_key, **clicked)])
    ingest(
        [
            draft(message_id=item_id, type="purchase", item_id=item_id, visitor_key=here, user_key="7")
            for item_id in ("mug", "bag", "cup")
        ]
    )
    bought = dict(Event.objects.filter(type="purchase").values_list("item_id", "ranking_id"))
    assert bought == {"mug": rankings[0], "bag": rankings[1], "cup": None}


def test_order_follows_from_the_latest_click_whichever_browser_it_was_made_in() -> None:
    now = timezone.now()
    lists = {hours: uuid.uuid4() for hours in (1, 2, 3)}
    for hours, number in ((3, 2), (2, 3), (1, 1)):
        clicked = {"type": "select_item", "ranking_id": lists[hours], "occurred_at": now - dt.timedelta(hours=hours)}
        ingest([draft(visitor_key=uuid.UUID(int=number, version=4), user_key="7", **clicked)])
    ingest([draft(message_id="order", type="purchase", source="order", user_key="7")])
    assert Event.objects.get(message_id="order").ranking_id == lists[1]


def test_cart_without_a_list_costs_one_query_and_a_view_none() -> None:
    key = uuid.uuid4()
    ingest([draft(visitor_key=key)])
    for values, n_statements in (({}, 1), ({"type": "add_to_cart"}, 2), ({"type": "purchase"}, 2)):
        with CaptureQueriesContext(connection) as context:
            ingest([draft(visitor_key=key, **values), draft(type="add_to_cart"), draft(visitor_key=key, **values)])
        assert len(statements(context)) == n_statements


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
    heard: list[tuple[Any, int]] = []

    def listen(sender: Any, n_accepted: int, **_: Any) -> None:
        heard.append((sender, n_accepted))

    event_recorded.connect(listen)
    try:
        with transaction.atomic():
            ingest([draft(message_id="m"), draft()])
            assert heard == []
        ingest([draft(message_id="m")])
    finally:
        event_recorded.disconnect(listen)
    assert heard == [(Event, 2)]


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
    messages = [record.getMessage() for record in caplog.records if record.name == "recommender.capture"]
    assert messages == [f"receiver {fail!r} of event_recorded failed: RuntimeError('not my day')"]


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


def test_flushed_events_and_lists_say_who_was_there(django_user_model: Any) -> None:
    request = request_with()
    request.user = user = django_user_model.objects.create(username="ada")
    request.META |= {"HTTP_SEC_PURPOSE": "prefetch", "HTTP_SEC_GPC": "1"}
    before = timezone.now()
    capture.record(request, draft(item_id="seen"))
    capture.record_impression(request, ranking_of("a"))
    later = draft(item_id="later", device="overwritten", region="overwritten")
    capture.record_later(request, lambda shopper: [later] if shopper is identity.shopper_of(request) else [])
    order = draft(item_id="order", type="purchase", source="order", device="till", user_key=str(user.pk))
    capture.record(request, order)
    assert capture.flush(request) == IngestResult(n_accepted=3)
    visitor = Visitor.objects.get()
    assert visitor.key == identity.shopper_of(request).visitor_key
    assert (visitor.user_key, visitor.device, visitor.is_profiled) == (str(user.pk), "mobile", False)
    columns = ("item_id", "source", "device", "region", "is_bot", "visitor")
    assert set(Event.objects.values_list(*columns)) == {
        ("seen", "page", "mobile", "GB", True, visitor.pk),
        ("later", "page", "mobile", "GB", True, visitor.pk),
        ("order", "order", "till", "", False, None),
    }
    impression = Impression.objects.get()
    assert (impression.source, impression.device, impression.is_bot) == ("page", "mobile", True)
    assert (impression.visitor, impression.current_item_id) == (visitor, "")
    assert before <= impression.occurred_at <= timezone.now()


def test_without_consent_only_orders_are_kept_and_the_others_are_counted() -> None:
    request = request_with(consent=None)
    for values in ({}, {"source": "order", "type": "purchase"}, {"type": "search", "query": "mug"}):
        capture.record(request, draft(**values))
    n_dropped = capture.counts["dropped"]
    assert capture.flush(request) == IngestResult(n_accepted=1, n_dropped=2)
    assert capture.counts["dropped"] == n_dropped + 2
    assert (Event.objects.get().source, Event.objects.get().visitor) == ("order", None)


def test_orders_alone_need_no_visitor_and_a_list_alone_is_stored() -> None:
    request = request_with()
    capture.record(request, draft(source="order", type="purchase"))
    assert capture.flush(request) == IngestResult(n_accepted=1)
    assert not Visitor.objects.exists()
    capture.record_impression(request, ranking_of("a"))
    assert capture.flush(request) == IngestResult()
    assert Impression.objects.get().visitor == Visitor.objects.get()


def test_request_of_rest_framework_shares_the_buffer_of_djangos() -> None:
    request = request_with()
    wrapped = type("RestRequest", (), {"_request": request})()
    capture.record(wrapped, draft())
    capture.record_impression(wrapped, ranking_of("a"))
    assert capture.buffer_of(wrapped) is capture.buffer_of(request)
    assert request.recommender_is_personal is True
    assert capture.flush(wrapped) == IngestResult(n_accepted=1)
    assert capture.flush(request) == IngestResult()


def test_list_drawn_twice_keeps_what_was_recorded_first() -> None:
    request, ranking = request_with(), ranking_of("a")
    capture.record_impression(request, ranking, current_item_id="first")
    capture.record_impression(request, ranking, current_item_id="second")
    capture.flush(request)
    assert Impression.objects.get().current_item_id == "first"


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
    n_failed = capture.counts["failed"]
    assert capture.flush(request).n_accepted == 1
    assert caplog.messages == ["a source of events failed; the others of its request are kept"]
    assert caplog.records[0].exc_info is not None
    assert capture.counts["failed"] == n_failed + 1


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

    monkeypatch.setattr(storage, "_insert", broken)
    with pytest.raises(error):
        ingest([draft()])
    assert errors == []


@pytest.mark.parametrize("error", [DatabaseError, ValueError, OverflowError])
def test_row_that_the_driver_refuses_is_a_refusal_of_that_row(monkeypatch: Any, error: type[Exception]) -> None:
    real = storage._insert

    def refusing(model: Any, columns: Any, values: list[tuple[Any, ...]], *, alias: str) -> int:
        if any("bad" in row for row in values):
            raise error("too large")
        return real(model, columns, values, alias=alias)

    monkeypatch.setattr(storage, "_insert", refusing)
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
