"""A cart and an order follow from the list in which the item was clicked last, within thirty days."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from recommender.capture import ingest, visitors
from recommender.models import Event, Visitor
from tests.capture.drafts import MOMENT, draft, statements

pytestmark = pytest.mark.django_db


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


def test_order_of_a_withdrawn_visitor_follows_from_no_click() -> None:
    key, now = uuid.uuid4(), timezone.now()
    ingest([draft(type="select_item", visitor_key=key, ranking_id=uuid.uuid4(), occurred_at=now)])
    Visitor.objects.update(has_consented=False)
    visitors.forget_visitors()
    ingest([draft(message_id="order", type="purchase", source="order", visitor_key=key, occurred_at=now)])
    assert Event.objects.get(message_id="order").ranking_id is None


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
