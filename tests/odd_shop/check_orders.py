"""Driven in a process of its own: orders that are paid later, in odd values, returned in part."""

import dataclasses
import datetime as dt
from decimal import Decimal
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core import checks
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from wares.models import Booking, Good, Line, Order, Payment, Ticket
from wares.recommendations import Lines

from recommender import identity, tracking
from recommender.capture import erasure, privacy, retention
from recommender.management import doctor
from recommender.models import Event, UnpaidRow, Visitor
from recommender.tracking import OrderRows

pytestmark = pytest.mark.django_db(transaction=True)
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"


@pytest.fixture
def good():
    return Good.objects.create(title="Mug")


def browser(consent="granted"):
    client = Client(headers={"user-agent": CHROME})
    if consent:
        client.cookies["recommender_consent"] = consent
    return client


def key_of(client):
    return identity.visitor_key_from_cookie(client.cookies["recommender_visitor"].value)


def order(client, good, number="1", **sent):
    client.get(f"/good/{good.pk}/")
    return client.post("/order/", {"number": number, "good": good.pk, **sent})


def tracked(monkeypatch, **attributes):
    rows = type("Odd", (Lines,), attributes)("wares.Line")
    monkeypatch.setattr(tracking, "_rows", {("wares.line", "order"): rows})
    return rows


def paid_line(good, **values):
    placed = Order.objects.create(number=f"o{Order.objects.count()}", status="paid")
    return Line.objects.create(order=placed, good=good, **values)


def by_method(self, line):
    return line.order.is_paid


def by_payments(self, line):
    return line.order.payments.filter(ok=True).exists()


@pytest.mark.parametrize(
    "paid", ["order.is_paid", "is_settled", by_method], ids=["property", "property of the row", "method"]
)
def test_order_that_is_saved_as_paid_is_recorded_at_once(good, monkeypatch, paid):
    tracked(monkeypatch, paid=paid)
    order(browser(), good)
    assert not Event.objects.filter(type="purchase").exists()
    Client().post("/hook/1/failed/")
    assert not Event.objects.filter(type="purchase").exists()
    Client().post("/hook/1/paid/")
    assert Event.objects.filter(type="purchase").count() == 1


def test_payment_that_is_saved_pays_the_order_at_once(good, monkeypatch):
    tracked(monkeypatch, paid=by_payments)
    order(browser(), good)
    Payment.objects.create(order=Order.objects.get(), ok=False)
    assert not Event.objects.filter(type="purchase").exists()
    Payment.objects.create(order=Order.objects.get(), ok=True)
    assert Event.objects.filter(type="purchase").count() == 1


def test_saved_good_reads_no_order(good, monkeypatch, django_assert_max_num_queries):
    rows = tracked(monkeypatch, paid=by_payments)
    assert not rows.lookup_of(Good)
    assert not rows.lookup_of(User)


def test_guest_who_ordered_is_the_buyer_when_the_gateway_tells_of_the_payment(good):
    guest, stranger = browser(), browser()
    order(guest, good)
    stranger.get(f"/good/{good.pk}/")
    stranger.post("/hook/1/paid/")
    purchase = Event.objects.get(type="purchase")
    assert purchase.visitor.key == key_of(guest)
    assert purchase.device
    tracking.reconcile()
    assert not UnpaidRow.objects.exists()


def test_guest_whose_order_was_paid_by_an_update_is_found_by_reconcile(good):
    guest = browser()
    order(guest, good)
    Order.objects.update(status="paid")
    assert tracking.reconcile().n_recorded == 1
    assert Event.objects.get(type="purchase").visitor.key == key_of(guest)


@pytest.mark.parametrize("paid", [{}, {"paid": "order.status", "paid_values": ("paid",)}], ids=["method", "column"])
def test_guest_whose_lines_were_written_without_a_signal_is_remembered_by_the_order(good, monkeypatch, paid):
    tracked(monkeypatch, **paid)
    guest = browser()
    order(guest, good, bulk="yes")
    Client().post("/hook/1/paid/")
    assert Event.objects.get(type="purchase").visitor.key == key_of(guest)


@pytest.mark.parametrize("consent", ["denied", None])
def test_guest_without_consent_is_not_remembered(good, consent):
    order(browser(consent), good)
    assert not UnpaidRow.objects.exists()
    Client().post("/hook/1/paid/")
    assert Event.objects.get(type="purchase").visitor is None


def test_staff_who_enter_an_order_are_not_its_buyer(good):
    staff = browser()
    staff.force_login(User.objects.create(username="staff"))
    order(staff, good)
    Client().post("/hook/1/paid/")
    assert Event.objects.get(type="purchase").visitor is None


def test_remembered_buyer_is_exported_erased_forgotten_and_withdrawn(good):
    guest = browser()
    order(guest, good)
    key = key_of(guest)
    (row,) = privacy.export(visitor_key=key)["unpaid_rows"]
    assert row["message_id"] == f"order:wares.line:{Line.objects.get().pk}"
    stored = guest.get("/r/api/v1/me/export")
    assert len(stored.json()["unpaid_rows"]) == 1
    erasure.erase(visitor_key=key)
    assert not UnpaidRow.objects.exists()
    guest = browser()  # the erased one is remembered by nothing until it consents anew
    order(guest, good, "4")
    key = key_of(guest)
    UnpaidRow.objects.all().delete()
    for number in ("2", "3"):
        order(guest, good, number)
    UnpaidRow.objects.filter(message_id__endswith=str(Line.objects.last().pk)).update(
        occurred_at=timezone.now() - dt.timedelta(days=900)
    )
    retention.purge(at=timezone.now())
    assert UnpaidRow.objects.count() == 1
    privacy.set_consent(False, visitor_key=key)
    assert not UnpaidRow.objects.exists()


class Money:
    amount, currency = Decimal("7.5"), type("Currency", (), {"code": "USD"})()


@pytest.mark.parametrize(
    ("attributes", "values", "stored", "n_emptied"),
    [
        ({}, {"each": "12,50"}, ("12.50", "EUR", 1), 0),
        ({"currency": lambda self, line: "€"}, {}, ("5", "EUR", 1), 0),
        ({"currency": lambda self, line: "$"}, {}, ("5", "", 1), 1),
        ({"currency": lambda self, line: "Euro?"}, {"each": "cheap"}, (None, "", 1), 1),
        ({"price": lambda self, line: Money, "currency": lambda self, line: None}, {}, ("7.5", "USD", 1), 0),
        ({"price": lambda self, line: float("nan")}, {}, (None, "EUR", 1), 1),
        ({"price": lambda self, line: 10**15}, {}, (None, "EUR", 1), 1),
        ({}, {"each": "-5"}, (None, "EUR", 1), 1),
        ({}, {"n": 0}, ("5", "EUR", 1), 1),
        ({"quantity": lambda self, line: "2,5"}, {}, ("5", "EUR", 2.5), 0),
        ({"quantity": lambda self, line: None}, {}, ("5", "EUR", 1), 1),
        ({"quantity": lambda self, line: "many"}, {}, ("5", "EUR", 1), 1),
        ({"currency": lambda self, line: "JPY", "price": lambda self, line: "1500.4"}, {}, ("1500", "JPY", 1), 0),
        ({"currency": lambda self, line: "KWD", "price": lambda self, line: "4,255"}, {}, ("4.255", "KWD", 1), 0),
    ],
)  # fmt: skip
def test_odd_value_never_loses_a_purchase(good, monkeypatch, attributes, values, stored, n_emptied, caplog):
    monkeypatch.setattr(tracking, "_rows", {})
    paid_line(good, **values)
    tracked(monkeypatch, **attributes)
    report = tracking.reconcile()
    assert (report.n_recorded, report.n_rejected, report.n_emptied) == (1, 0, n_emptied)
    event = Event.objects.get()
    price = None if stored[0] is None else Decimal(stored[0])
    assert (event.price, event.currency, event.quantity) == (price, *stored[1:])
    assert len(report.emptied) == n_emptied


def test_emptied_values_are_told_by_the_command_and_the_doctor(good, caplog):
    line = paid_line(good, n=0)
    assert "quantity 0 is no number of units" in caplog.text
    output = StringIO()
    call_command("recommender_reconcile", stdout=StringIO(), stderr=output)
    assert "1 Zeile zählt ohne Wert" in output.getvalue()
    assert f"order:wares.line:{line.pk}: quantity 0" in output.getvalue()
    (finding,) = [one for one in doctor.examine() if one.topic == "orders" and one.level == "warning"]
    assert "quantity 0" in finding.message


def test_units_that_come_back_are_one_refund_that_grows(good):
    line = paid_line(good, n=3)
    for n_returned, refunded in ((1, [1]), (2, [2]), (5, [3]), (1, [1])):
        line.n_returned = n_returned
        line.save()
        assert list(Event.objects.filter(type="refund").values_list("quantity", flat=True)) == refunded
    line.n_returned = 2
    line.save_base(raw=True)
    tracking.reconcile()
    assert Event.objects.get(type="refund").quantity == 2
    assert Event.objects.get(type="purchase").quantity == 3


def test_refund_of_a_guest_is_of_the_browser_that_bought(good):
    guest = browser()
    order(guest, good, n=3)
    Client().post("/hook/1/paid/")
    tracking.reconcile()
    line = Line.objects.get()
    line.n_returned = 1
    line.save()
    assert Event.objects.get(type="refund").visitor.key == key_of(guest)


def test_rows_keyed_by_two_columns_are_recorded_once_and_found_again():
    ticket = Ticket.objects.create(name="Box")
    Booking.objects.create(number="a,b", place=1, ticket=ticket)
    Booking.objects.bulk_create([Booking(number="a,b", place=seat, ticket=ticket) for seat in (2, 3)])
    assert tracking.reconcile(chunk_size=2).n_recorded == 2
    ids = set(Event.objects.values_list("message_id", flat=True))
    assert ids == {f"order:wares.booking:a%2Cb,{seat}" for seat in (1, 2, 3)}
    assert tracking.nobodys_orders().n_rows == 3


def test_rows_of_a_model_that_does_not_exist_break_no_save(monkeypatch):
    tracked(monkeypatch, paid=by_method)
    missing = Lines("wares.Lime")
    monkeypatch.setitem(tracking._rows, ("wares.lime", "order"), missing)
    assert Order.objects.create(number="1").pk


def split(self, row):
    """As `recommender_init` drafts it for an order that keeps its lines in JSON."""
    drafts = super(Lines, self).drafts(row)
    return [
        dataclasses.replace(draft, message_id=f"{draft.message_id}:{n}", quantity=quantity, price=price)
        for n, (quantity, price) in enumerate([("2", "12,50"), (0, "cheap")])
        for draft in drafts
    ]


@pytest.mark.parametrize("paid", [by_method, "order.paid_at"], ids=["objects", "columns"])
def test_drafts_that_a_shop_makes_itself_lose_no_purchase_and_no_guest(good, monkeypatch, paid):
    tracked(monkeypatch, paid=paid, drafts=split)
    guest = browser()
    order(guest, good)
    assert UnpaidRow.objects.count() == 1
    Order.objects.update(status="paid", paid_at=timezone.now())
    report = tracking.reconcile()
    assert (report.n_recorded, report.n_rejected, report.n_emptied) == (2, 0, 1)
    bought = Event.objects.filter(type="purchase").order_by("message_id")
    assert list(bought.values_list("quantity", "price")) == [(2.0, Decimal("12.5")), (1.0, None)]
    assert {event.visitor.key for event in bought} == {key_of(guest)}
    tracking.reconcile()
    assert not UnpaidRow.objects.exists()


def test_saved_proxy_of_a_row_is_recorded(good):
    from wares.models import FirstLine

    placed = Order.objects.create(number="1", status="paid")
    FirstLine.objects.create(order=placed, good=good)
    assert Event.objects.get().type == "purchase"


@pytest.mark.parametrize(
    ("stored", "written"),
    [
        ("ada@example.com", "ada@example.com"), ("ada@example.com", "Ada@Example.COM"),
        ("Ada.L@example.com", "ada.l@EXAMPLE.com"), ("a_b@example.com", "A_B@example.com"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("paid", [by_method, "order.status"], ids=["objects", "columns"])
def test_address_is_compared_without_regard_to_case(good, monkeypatch, stored, written, paid):
    User.objects.create_user("axb", "axb@example.com")
    user = User.objects.create_user("ada", stored)
    identity.grant_consent([str(user.pk)])
    tracked(monkeypatch, paid=paid)
    Order.objects.bulk_create(
        [Order(number="1", status="paid", mail=written), Order(number="2", status="paid", mail="")]
    )
    Line.objects.bulk_create([Line(order=placed, good=good) for placed in Order.objects.all()])
    assert tracking.reconcile().n_recorded == 2
    assert dict(Event.objects.values_list("order_id", "visitor__user_key")) == {"1": str(user.pk), "2": None}


def test_user_who_wrote_the_address_just_so_comes_first(good):
    User.objects.create_user("other", "ADA@example.com")
    user = User.objects.create_user("ada", "ada@example.com")
    identity.grant_consent([str(one.pk) for one in User.objects.all()])
    Order.objects.bulk_create([Order(number="1", status="paid", mail="ada@Example.com")])
    Line.objects.bulk_create([Line(order=Order.objects.get(), good=good)])
    tracking.reconcile()
    assert Event.objects.get().visitor.user_key == str(user.pk)
    assert Visitor.objects.filter(events__isnull=False).count() == 1


def warnings():
    return [message for message in checks.run_checks(tags=["recommender"]) if message.id == "recommender.W014"]


def test_state_in_words_is_warned_about_with_the_values_that_count(monkeypatch, good):
    tracked(monkeypatch, paid="order.status")
    (warning,) = warnings()
    assert "'pending'" in warning.msg
    assert "'failed'" in warning.msg
    assert "paid_values" in warning.hint
    rows = tracked(monkeypatch, paid="order.status", paid_values=("paid", "sent"))
    assert warnings() == []
    assert rows.faults() == []
    for state in ("pending", "failed", "paid", "sent"):
        Line.objects.create(order=Order.objects.create(number=state, status=state), good=good)
    tracking.reconcile()
    assert set(Event.objects.values_list("order_id", flat=True)) == {"paid", "sent"}


def test_state_of_a_return_is_warned_about_and_a_misspelt_value_is_a_fault(monkeypatch):
    tracked(monkeypatch, paid="order.status", paid_values=("payed",), returned="order.status")
    assert [warning.msg.split(" ")[0] for warning in warnings()] == ["Odd.returned"]
    ((name, message),) = tracking.tracked_rows()[0].faults()
    assert name == "paid_values"
    assert "'paid'" in message
    tracked(monkeypatch, paid_values=("paid",))
    assert [name for name, _ in tracking.tracked_rows()[0].faults()] == ["paid_values"]


def test_flags_and_times_are_no_states(monkeypatch):
    tracked(monkeypatch, paid="order.changed_at", returned="n_returned", refunded=OrderRows.refunded)
    assert warnings() == []
