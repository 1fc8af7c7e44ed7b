"""Every value is checked before it is stored: a refusal names the field and says what was expected."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from recommender.capture import EventDraft, ImpressionDraft, ingest
from recommender.capture.checking import check_event, check_impression
from recommender.exceptions import InvalidEvent
from recommender.models import Event
from recommender.models.claims import message_id_as_sent
from tests.capture.drafts import MOMENT, draft, ranking_of

pytestmark = pytest.mark.django_db


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
    for current, stored in (("c" * 128, "c" * 128), ("c" * 129, ""), ("c\x00", ""), ("\udc00", ""), (7, "")):
        shown = ImpressionDraft(ranking_of("a", bundle="b" * 65), NOON, current)  # type: ignore[arg-type]
        checked = check_impression(shown)
        assert checked.current_item_id == stored
        assert checked.ranking == dataclasses.replace(shown.ranking, bundle="b" * 64)


def test_clock_that_is_a_little_ahead_is_set_to_now() -> None:
    before = timezone.now()
    ingest([draft(occurred_at=before + dt.timedelta(hours=3))])
    assert before <= Event.objects.get().occurred_at <= timezone.now()
