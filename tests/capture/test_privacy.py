"""A person gets everything that is stored on them, can have it erased, and is forgotten in time."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from recommender import capture, identity, tracking
from recommender.capture import EventDraft, ImpressionDraft, erasure, privacy
from recommender.exceptions import ConfigurationError
from recommender.models import Event, Impression, UnpaidRow, Visitor
from recommender.types import Entry, Ranking, Rung, Slot
from shopreco.shop.models import Customer, Order, OrderLine, Product

pytestmark = pytest.mark.django_db


def seen(key: uuid.UUID, user_key: str | None = None, *, days: float = 0, item_id: str = "mug") -> None:
    """A view and a list of one visitor."""
    at = timezone.now() - dt.timedelta(days=days)
    ranking = Ranking(uuid.uuid4(), Slot.SIMILAR, (Entry("bowl", 1, 1.0),), Rung.POPULARITY)
    view = EventDraft(uuid.uuid4().hex, "view_item", at, item_id, visitor_key=key, user_key=user_key)
    capture.ingest([view], [ImpressionDraft(ranking, at, "mug", visitor_key=key, user_key=user_key)])


def n_rows() -> list[int]:
    return [model.objects.count() for model in (Visitor, Event, Impression)]


def test_export_holds_every_column_that_is_stored_on_a_person(django_assert_num_queries: Any) -> None:
    key = uuid.uuid4()
    seen(key)
    seen(uuid.uuid4())
    UnpaidRow.objects.create(message_id="order:shop.orderline:7", visitor_key=key)
    UnpaidRow.objects.create(message_id="order:shop.orderline:8")
    with django_assert_num_queries(5):
        stored = privacy.export(visitor_key=key)
    assert [visitor["key"] for visitor in stored["visitors"]] == [key]
    assert [event["item_id"] for event in stored["events"]] == ["mug"]
    assert [shown["current_item_id"] for shown in stored["impressions"]] == ["mug"]
    left_out = {"id", "visitor", "propensities"}
    assert [row["message_id"] for row in stored["unpaid_rows"]] == ["order:shop.orderline:7"]
    tables = ((Visitor, "visitors"), (Event, "events"), (Impression, "impressions"), (UnpaidRow, "unpaid_rows"))
    for model, rows in tables:
        assert set(stored[rows][0]) == {field.name for field in model._meta.concrete_fields} - left_out


def test_export_of_a_user_spans_all_their_visitors() -> None:
    seen(uuid.uuid4(), "7")
    seen(uuid.uuid4(), "7", item_id="bowl")
    seen(uuid.uuid4(), "8")
    assert {event["item_id"] for event in privacy.export(user_key="7")["events"]} == {"mug", "bowl"}


def test_erasure_takes_every_row_of_the_person_and_no_other() -> None:
    key, other = uuid.uuid4(), uuid.uuid4()
    seen(key, "7")
    seen(uuid.uuid4(), "7")
    seen(other)
    erased = erasure.erase(visitor_key=key, user_key="7")
    assert erased.receipt["tables"] == {"Visitor": 2, "Event": 2, "Impression": 2}
    assert n_rows() == [1, 1, 1]
    assert Visitor.objects.get().key == other
    assert erasure.erase(visitor_key=key).receipt.get("tables", {}) == {}


def test_erased_visitor_who_stays_is_recorded_after_a_new_consent_only() -> None:
    seen(key := uuid.uuid4())
    erasure.erase(visitor_key=key)
    seen(key)
    assert n_rows() == [0, 0, 0]
    privacy.set_consent(True, visitor_key=key)
    seen(key)
    assert n_rows() == [1, 1, 1]
    assert Event.objects.get().visitor == Visitor.objects.get()


def test_erased_in_another_process_is_recorded_no_more() -> None:
    seen(key := uuid.uuid4())
    Visitor.objects.all().delete()
    seen(key)
    assert n_rows() == [0, 0, 0]


def test_purchases_of_an_erased_user_come_back_as_nobodys(django_user_model: Any) -> None:
    user = django_user_model.objects.create(username="ada")
    customer = Customer.objects.create(user=user, code="ada")
    mug = Product.objects.create(stock_code="mug", title="Mug", price=3)
    OrderLine.objects.create(order=Order.objects.create(number="o", customer=customer), product=mug, unit_price=3)
    identity.grant_consent([str(user.pk)])
    tracking.reconcile()
    assert Event.objects.get().visitor is not None
    assert erasure.erase(user_key=str(user.pk)).receipt["tables"]["Event"] == 1
    assert tracking.reconcile().n_recorded == 1
    assert Event.objects.get().visitor is None


def test_switched_off_profile_empties_the_history_until_it_is_switched_on() -> None:
    seen(key := uuid.uuid4())

    def history() -> int:
        from django.test import RequestFactory

        request = RequestFactory().get("/")
        request.COOKIES = {"recommender_consent": "granted", "recommender_visitor": identity.cookie_for(key)}
        return len(identity.shopper_of(request).history())

    assert history() == 1
    assert privacy.set_profiling(False, visitor_key=key) == 1
    assert history() == 0
    privacy.set_profiling(True, visitor_key=key)
    assert history() == 1


def test_withdrawn_consent_ends_the_recording_at_once() -> None:
    seen(key := uuid.uuid4())
    assert privacy.set_consent(False, visitor_key=key) == 1
    seen(key)
    assert Event.objects.count() == 1
    assert privacy.set_consent(True, visitor_key=key) == 1
    seen(key)
    assert Event.objects.count() == 2


def test_consent_given_again_in_a_browser_begins_a_fresh_visitor() -> None:
    client = Client()
    client.cookies["recommender_consent"] = "granted"
    Product.objects.create(stock_code="mug", title="Mug", price=3)
    client.get("/item/mug/")
    first = Visitor.objects.get()
    client.post("/consent/", {"answer": "denied"})
    client.get("/item/mug/")
    client.post("/consent/", {"answer": "granted"})
    client.get("/item/mug/")
    assert Visitor.objects.count() == 2
    assert sorted(Event.objects.values_list("visitor", flat=True)) == sorted([first.pk, first.pk + 1])


def test_nobody_is_named_by_nothing() -> None:
    seen(uuid.uuid4())
    for action in (erasure.erase, privacy.export, privacy.visitors_of):
        with pytest.raises(ConfigurationError, match="visitor_key or a user_key"):
            action()
        with pytest.raises(ConfigurationError):
            action(user_key="")
    assert n_rows() == [1, 1, 1]
