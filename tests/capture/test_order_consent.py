"""Whose orders teach the model is the shop's decision: who consented here, everybody, or who its own record names."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from recommender import capture, checks, datasets, identity, tracking
from recommender.capture import erasure, order_consent, privacy
from recommender.jobs import work
from recommender.models import Event, Item, Visitor
from recommender.personas import segmentation
from recommender.training.judging import evaluation
from recommender.training.split import split_in_time
from shopreco.shop.models import Customer, Order, OrderLine, Product
from tests.conftest import request_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def decide(settings: Any) -> Any:
    def set_to(decision: Any) -> None:
        settings.RECOMMENDER = {**settings.RECOMMENDER, "ORDER_CONSENT": decision}

    return set_to


@pytest.fixture
def ada(django_user_model: Any) -> Any:
    return django_user_model.objects.create(username="ada")


def placed(user: Any, *, number: str = "o1") -> OrderLine:
    customer = Customer.objects.get_or_create(user=user, defaults={"code": user.username})[0] if user else None
    order = Order.objects.create(number=number, customer=customer, placed_at=timezone.now() - dt.timedelta(days=3))
    product = Product.objects.get_or_create(stock_code="mug", defaults={"title": "Mug", "price": 2})[0]
    return OrderLine.objects.create(order=order, product=product, unit_price=2)


def people_who_teach() -> set[str]:
    """Keys of the users whose orders a training ties to a person."""
    rows = datasets.read_people()
    buyers = Visitor.objects.filter(events__isnull=False)
    return {visitor.user_key or "" for visitor in buyers if rows[visitor.pk][0] >= 0}


def history_of(user: Any, consent: str = "") -> tuple[Any, ...]:
    request = request_of(user)
    if consent:
        request.COOKIES[identity.CONSENT_COOKIE] = consent
    return identity.shopper_of(request).history()


def test_by_default_an_order_of_who_has_not_consented_is_nobodys(ada: Any) -> None:
    placed(ada)
    tracking.reconcile()
    assert Event.objects.get().visitor is None
    assert not Visitor.objects.exists()


def test_pseudonymous_orders_teach_and_are_never_served(ada: Any, decide: Any) -> None:
    decide("pseudonymous")
    placed(ada)
    tracking.reconcile()
    visitor = Event.objects.get().visitor
    assert visitor is not None
    assert (visitor.user_key, visitor.has_consented, visitor.is_pseudonymous) == (str(ada.pk), False, True)
    assert people_who_teach() == {str(ada.pk)}
    assert history_of(ada) == ()
    assert not segmentation._profiled(Visitor.objects.all()).exists()


def test_guest_stays_nobody_where_customers_are_pseudonymous(decide: Any) -> None:
    decide("pseudonymous")
    placed(None)
    tracking.reconcile()
    assert Event.objects.get().visitor is None


def test_consent_given_later_turns_the_orders_into_a_history(ada: Any, decide: Any) -> None:
    decide("pseudonymous")
    placed(ada)
    tracking.reconcile()
    Visitor.objects.create(user_key=str(ada.pk), has_consented=True)
    tracking.reconcile()
    assert [event.item_id for event in history_of(ada, "granted")] == ["mug"]


@pytest.mark.parametrize("decision", ["required", "pseudonymous"])
def test_orders_recorded_as_nobodys_find_their_buyer_later(ada: Any, decide: Any, decision: str) -> None:
    placed(ada)
    placed(None, number="of a guest")
    tracking.reconcile()
    decide(decision)
    if decision == "required":
        Visitor.objects.create(user_key=str(ada.pk), has_consented=True)
    report = tracking.reconcile()
    assert (report.n_recorded, report.n_known, report.n_attached) == (0, 2, 1)
    assert Event.objects.get(order_id="o1").visitor.user_key == str(ada.pk)
    assert Event.objects.get(order_id="of a guest").visitor is None
    assert tracking.reconcile().n_attached == 0


def test_own_record_of_the_shop_decides(ada: Any, decide: Any, django_user_model: Any) -> None:
    grace = django_user_model.objects.create(username="grace")
    calls: list[list[str]] = []

    def agreed(user_keys: Any) -> list[int]:
        calls.append(list(user_keys))
        return [ada.pk]

    decide(agreed)
    placed(ada)
    placed(grace, number="o2")
    tracking.reconcile()
    assert calls == [sorted([str(ada.pk), str(grace.pk)])]
    assert Event.objects.get(order_id="o1").visitor.has_consented
    assert Event.objects.get(order_id="o2").visitor is None
    assert [event.item_id for event in history_of(ada)] == ["mug"]


def test_record_that_fails_says_no_and_loses_no_order(ada: Any, decide: Any, caplog: Any) -> None:
    def broken(user_keys: Any) -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT user_id FROM no_table_of_consents")
        return []

    decide(broken)
    placed(ada)
    tracking.reconcile()
    assert Event.objects.get().visitor is None
    assert "ORDER_CONSENT" in caplog.text


@pytest.mark.parametrize("takes_back", [erasure.erase, lambda **who: privacy.set_consent(False, **who)])
@pytest.mark.parametrize("decision", ["pseudonymous", lambda user_keys: user_keys])
def test_who_objects_teaches_no_more_also_after_the_next_reconcile(
    ada: Any, decide: Any, decision: Any, takes_back: Any
) -> None:
    decide(decision)
    placed(ada)
    tracking.reconcile()
    assert people_who_teach() == {str(ada.pk)}
    takes_back(user_key=str(ada.pk))
    placed(ada, number="o2")
    tracking.reconcile()
    assert people_who_teach() == set()
    assert Event.objects.get(order_id="o2").visitor is None
    privacy.set_consent(True, user_key=str(ada.pk))
    tracking.reconcile()
    assert people_who_teach() == {str(ada.pk)}


def test_profiling_switched_off_ends_the_teaching(ada: Any, decide: Any) -> None:
    decide("pseudonymous")
    placed(ada)
    tracking.reconcile()
    privacy.set_profiling(False, user_key=str(ada.pk))
    assert people_who_teach() == set()


@pytest.mark.parametrize(
    ("decision", "consent", "teaches"),
    [
        ("required", "", False), ("pseudonymous", "", True), ("required", "denied", False),
        ("pseudonymous", "denied", False),
    ],
)  # fmt: skip
def test_order_of_a_signed_in_customer_on_the_site(
    transactional_db: None, ada: Any, decide: Any, decision: str, consent: str, teaches: bool
) -> None:
    """Also after the next reconcile: a refusal is not undone by reading the order's row again."""
    decide(decision)
    Customer.objects.create(user=ada, code="ada")
    Product.objects.create(stock_code="mug", title="Mug", price=2, stock=5)
    client = Client()
    client.force_login(ada)
    if consent:
        client.cookies[identity.CONSENT_COOKIE] = consent
    client.post("/cart/add/mug/", {"quantity": "1"})
    client.post("/checkout/", {"name": "Ada", "email": "ada@example.com"})
    tracking.reconcile()
    assert Event.objects.filter(type="purchase").count() == 1
    assert (people_who_teach() == {str(ada.pk)}) is teaches
    assert history_of(ada) == ()


def test_refusal_in_one_browser_keeps_that_order_from_a_customer_who_consented_elsewhere(
    transactional_db: None, ada: Any
) -> None:
    Customer.objects.create(user=ada, code="ada")
    Product.objects.create(stock_code="mug", title="Mug", price=2, stock=5)
    identity.grant_consent([str(ada.pk)])
    client = Client()
    client.force_login(ada)
    client.cookies[identity.CONSENT_COOKIE] = "denied"
    client.post("/cart/add/mug/", {"quantity": "1"})
    client.post("/checkout/", {"name": "Ada", "email": "ada@example.com"})
    assert Event.objects.get(type="purchase").visitor is None
    tracking.reconcile()
    assert Event.objects.get(type="purchase").visitor is None


def test_pseudonymous_past_is_judged_by_as_many_cases_as_a_consenting_one(demo_shop: Any, decide: Any) -> None:
    def n_cases() -> int:
        return len(evaluation.cases(split_in_time(datasets.read_dataset()), most=10_000, seed=0))

    Item.objects.update(first_seen_at=timezone.now())
    with_consent = n_cases()
    Event.objects.all().delete()
    Visitor.objects.all().delete()
    tracking.reconcile()
    assert n_cases() == 0
    decide("pseudonymous")
    report = tracking.reconcile()
    assert report.n_attached > 0
    assert n_cases() == with_consent > 10


@pytest.mark.parametrize("decision", ["pseudonymos", "shop.nowhere.agreed", "shopreco.settings.BASE_DIR", None, 3])
def test_decision_that_cannot_be_understood_is_told_and_means_no(ada: Any, decide: Any, decision: Any) -> None:
    decide(decision)
    (error,) = [message for message in checks.check_settings(None) if message.id == "recommender.E003"]
    assert "ORDER_CONSENT" in error.msg
    assert '"pseudonymous"' in error.msg
    placed(ada)
    tracking.reconcile()
    assert Event.objects.get().visitor is None
    assert not order_consent.is_open()


def test_events_other_than_orders_never_enter_under_a_pseudonym(ada: Any, decide: Any) -> None:
    decide("pseudonymous")
    placed(ada)
    tracking.reconcile()
    view = capture.EventDraft("v1", "view_item", timezone.now(), item_id="mug", user_key=str(ada.pk))
    assert capture.ingest([view]).n_dropped == 1
    assert Event.objects.count() == 1


def test_old_order_finds_its_buyer_within_a_day_without_a_command(ada: Any) -> None:
    placed(ada)
    Order.objects.update(placed_at=timezone.now() - dt.timedelta(days=300))
    tracking.reconcile()
    Visitor.objects.create(user_key=str(ada.pk), has_consented=True)
    work.reconcile()
    assert Event.objects.get().visitor is None
    work.WORK["reconcile_all"]()
    assert Event.objects.get().visitor.user_key == str(ada.pk)
    assert work.TIMES["reconcile_all"] == dt.timedelta(days=1)
