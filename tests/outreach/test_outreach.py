"""Ready lists hold exactly who has a reason to be written to: computed from events of people who consented."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from recommender import conf, outreach, serving
from recommender.capture import erasure, privacy
from recommender.catalog import sync
from recommender.models import Event, Item, PriceChange, Segment, Visitor
from recommender.outreach import people, prices
from shopreco.shop.models import Product
from tests.admin.test_experiments import clerk
from tests.overview.shop import happened

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 6, 30, 12, 0, tzinfo=dt.UTC)
URL = "/admin/recommender/outreach/"


def customer(user_key: str, **fields: Any) -> Visitor:
    return Visitor.objects.create(user_key=user_key, **fields)


def item(item_id: str, **fields: Any) -> Item:
    return Item.objects.create(
        item_id=item_id, label="shop.Product", object_id=item_id, title=item_id.title(), **fields
    )


def ordered(person: Visitor, item_id: str, *days_ago: float, kind: str = "purchase", **fields: Any) -> None:
    for days in days_ago:
        order_id = fields.get("order_id", f"{person.pk}-{item_id}-{days}")
        values = {"source": "order", **fields, "order_id": order_id}
        happened(person, kind, item_id, since=NOW, after=-dt.timedelta(days=days), **values)


def looked(person: Visitor, item_id: str, days_ago: float) -> None:
    happened(person, "view_item", item_id, since=NOW, after=-dt.timedelta(days=days_ago))


def cheaper(item_id: str, price: str, *, days_ago: float, currency: str = "") -> None:
    """The item cost this until so many days ago."""
    item_row = Item.objects.get(item_id=item_id)
    ended_at = NOW - dt.timedelta(days=days_ago)
    PriceChange.objects.create(item=item_row, price=Decimal(price), currency=currency, ended_at=ended_at)


def lapsed(**options: Any) -> dict[str, tuple[int, float, int]]:
    return {row.user_key: (row.n_orders, row.rhythm_days, row.silent_days)
            for row in outreach.win_back(at=NOW, **options)}  # fmt: skip


def due() -> list[tuple[str, str]]:
    return [(row.user_key, row.item_id) for row in outreach.due_items(at=NOW)]


def drops(**options: Any) -> list[tuple[str, str, str]]:
    return [(row.user_key, row.item_id, str(row.price_then)) for row in outreach.price_drops(at=NOW, **options)]


def test_silence_is_measured_by_the_own_median_pause() -> None:
    ordered(customer("weekly"), "tea", 40, 33, 26, 19)  # every 7 days, silent for 19
    ordered(customer("monthly"), "tea", 79, 49, 19)  # every 30 days, silent for 19
    ordered(customer("once"), "tea", 300)
    ordered(customer("one day"), "tea", 300, 300.1)
    assert lapsed() == {"weekly": (4, 7.0, 19)}
    assert lapsed(factor=0.5) == {"weekly": (4, 7.0, 19), "monthly": (3, 30.0, 19)}


def test_silence_of_exactly_the_limit_is_not_yet_too_long() -> None:
    ordered(customer("a"), "tea", 25, 15)  # every 10 days, silent for 15
    assert lapsed() == {}
    assert set(lapsed(factor=1.49)) == {"a"}


def test_order_that_went_back_is_no_order() -> None:
    person = customer("a")
    ordered(person, "tea", 90, 80)
    ordered(person, "tea", 79, kind="refund")
    assert lapsed() == {}


def test_order_that_an_app_only_claims_is_no_order() -> None:
    ordered(customer("a"), "tea", 90, 80, source="api")
    assert lapsed() == {}


def test_orders_of_all_devices_are_one_person() -> None:
    ordered(customer("a"), "tea", 90)
    ordered(customer("a"), "tea", 80)
    assert lapsed() == {"a": (2, 10.0, 80)}


@pytest.mark.parametrize(
    "refusal", [{"has_consented": False}, {"is_profiled": False}, {"is_bot": True}, {"has_objected": True}]
)
def test_who_does_not_consent_is_on_no_list(refusal: dict[str, bool]) -> None:
    item("tea", price=8)
    cheaper("tea", "10", days_ago=1)
    person = customer("a", **refusal)
    ordered(person, "tea", 90, 80)
    looked(person, "tea", 5)
    assert (lapsed(), due(), drops()) == ({}, [], [])
    Visitor.objects.update(has_consented=True, is_profiled=True, is_bot=False, has_objected=False)
    assert (set(lapsed()), due(), drops()) == ({"a"}, [("a", "tea")], [("a", "tea", "10.000")])


def test_switching_off_on_one_device_holds_for_all() -> None:
    first = customer("a")
    ordered(first, "tea", 90, 80)
    customer("a", is_profiled=False)
    assert lapsed() == {}


def test_orders_that_only_teach_write_to_nobody() -> None:
    ordered(customer("a", has_consented=False, is_pseudonymous=True), "tea", 90, 80)
    assert lapsed() == {}


def test_visitor_without_an_account_is_on_no_list() -> None:
    ordered(Visitor.objects.create(), "tea", 90, 80)
    assert lapsed() == {}


def test_item_is_due_by_the_cycle_of_the_person_as_in_buy_again() -> None:
    for name in ("tea", "soap", "gone", "back"):
        item(name, is_available=name != "gone")
    person = customer("a")
    ordered(person, "tea", 70, 50, 30)  # every 20 days, 10 overdue
    ordered(person, "soap", 40, 20)  # every 20 days, due today
    ordered(person, "soap", 1)  # and bought yesterday
    ordered(person, "gone", 70, 50, 30)
    ordered(person, "back", 70, 50, 30)
    ordered(person, "back", 29, 28, 27, kind="refund")
    (row,) = outreach.due_items(at=NOW)
    assert (row.user_key, row.item_id, row.title, row.n_orders) == ("a", "tea", "Tea", 3)
    assert (row.cycle_days, row.overdue_days) == (pytest.approx(20.0), pytest.approx(10.0))
    assert row.last_order_on == dt.date(2026, 5, 31)


def test_dismissed_item_is_not_due() -> None:
    item("tea")
    person = customer("a")
    ordered(person, "tea", 70, 50, 30)
    happened(person, "dismiss_item", "tea", since=NOW, after=-dt.timedelta(days=2))
    assert due() == []


def test_price_is_compared_with_that_of_the_last_look() -> None:
    for name in ("early", "late"):
        item(name, price=Decimal("8.00"))
        cheaper(name, "10.00", days_ago=10)
    person = customer("a")
    looked(person, "early", 20)
    looked(person, "late", 20)
    looked(person, "late", 5)  # saw the new price
    assert drops() == [("a", "early", "10.000")]


def test_of_several_changes_the_price_that_held_at_the_look_counts() -> None:
    item("tea", price=Decimal("9.00"))
    cheaper("tea", "12.00", days_ago=20)
    cheaper("tea", "8.00", days_ago=10)  # then it rose to 9
    before, between = customer("before"), customer("between")
    looked(before, "tea", 25)
    looked(between, "tea", 15)
    assert drops() == [("before", "tea", "12.000")]


@pytest.mark.parametrize(("price", "is_listed"), [("9.50", True), ("9.51", False), ("10.00", False), ("11.00", False)])
def test_fall_below_five_per_cent_is_no_reason(price: str, is_listed: bool) -> None:
    item("tea", price=Decimal(price))
    cheaper("tea", "10.00", days_ago=1)
    looked(customer("a"), "tea", 2)
    assert bool(drops()) is is_listed


def test_old_look_other_currency_sold_out_and_bought_are_no_reason() -> None:
    person = customer("a")
    for name, fields in {"old": {}, "euro": {"currency": "EUR"}, "out": {"is_available": False}, "has": {}}.items():
        item(name, price=Decimal("5.00"), **fields)
        cheaper(name, "10.00", days_ago=1)
        looked(person, name, 31 if name == "old" else 3)
    ordered(person, "has", 2)
    assert drops() == []
    assert drops(days=40) == [("a", "old", "10.000")]


def test_sync_remembers_the_price_that_ended_and_only_that() -> None:
    product = Product.objects.create(stock_code="A", title="Mug", price=Decimal("10.00"))
    sync.sync()
    assert not PriceChange.objects.exists()
    Product.objects.filter(pk=product.pk).update(title="Cup")
    sync.sync()
    assert not PriceChange.objects.exists()
    Product.objects.filter(pk=product.pk).update(price=Decimal("8.00"))
    sync.sync()
    sync.sync()
    (past,) = PriceChange.objects.all()
    assert (past.item.title, past.price, past.item.price) == ("Cup", Decimal("10"), Decimal("8"))
    assert past.ended_at <= timezone.now()


def test_prices_are_kept_longer_than_looks_count() -> None:
    assert conf.DEFAULT_RETENTION["past_prices"] > prices.LOOKED_AT_DAYS


def test_people_are_read_in_pages_and_each_is_listed_once(monkeypatch: Any) -> None:
    monkeypatch.setattr(people, "PEOPLE_A_PAGE", 3)
    for number in range(8):
        ordered(customer(f"{number}"), "tea", 90, 80)
    assert list(lapsed()) == [str(number) for number in range(8)]
    assert list(lapsed(most_people=4)) == ["0", "1", "2", "3"]


def test_number_of_queries_is_that_of_the_pages() -> None:
    for number in range(20):
        person = customer(f"{number}")
        item(f"tea{number}", price=8)
        cheaper(f"tea{number}", "10", days_ago=1)
        ordered(person, f"tea{number}", 90, 80)
        looked(person, f"tea{number}", 5)
    for rows, most in ((outreach.win_back, 4), (outreach.due_items, 5), (outreach.price_drops, 7)):
        with CaptureQueriesContext(connection) as captured:
            assert len(list(rows(at=NOW))) == 20  # type: ignore[operator]
        assert len(captured) == most


def test_erased_person_is_gone_from_the_lists() -> None:
    ordered(customer("a"), "tea", 90, 80)
    erasure.erase(user_key="a")
    assert lapsed() == {}
    assert privacy.export(user_key="a")["events"] == []


@pytest.fixture
def shop(admin_client: Client) -> Client:
    person = customer("=cmd()")
    days = [(timezone.now() - NOW).days * -1 + days for days in (90, 80)]
    ordered(person, "tea", *days)
    return admin_client


def test_page_shows_the_list_and_how_to_take_it(shop: Client) -> None:
    text = shop.get(URL).content.decode()
    assert "=cmd()" in text
    assert "/admin/recommender/outreach/win-back/export/" in text
    assert "Nobody at present." in shop.get(URL + "?list=prices").content.decode()


def test_file_is_asked_for_escaped_and_written_down(shop: Client) -> None:
    question = shop.get(URL + "win-back/export/")
    assert question.status_code == 200
    assert not LogEntry.objects.exists()
    answer = shop.post(URL + "win-back/export/")
    lines = b"".join(answer).decode("utf-8-sig").splitlines()
    assert lines[0] == "user,orders,last_order,rhythm_days,silent_days"
    assert lines[1].startswith("'=cmd(),2,")
    entry = LogEntry.objects.get()
    assert (entry.object_repr, entry.change_message) == ("Win back", "Exported as CSV.")
    assert "Win back" in shop.get("/admin/recommender/approval/actions/").content.decode()
    assert shop.get(URL + "nothing/export/").status_code == 404


@pytest.mark.parametrize("permissions", [("view_outreach", "export_outreach"), ("view_persona", "view_outreach"), ()])
def test_file_needs_its_permission_and_that_for_people(permissions: tuple[str, ...]) -> None:
    ordered(customer("a"), "tea", 90, 80)
    client = clerk(*permissions)
    assert client.post(URL + "win-back/export/").status_code == 403
    assert not LogEntry.objects.exists()
    assert client.get(URL).status_code == (200 if "view_persona" in permissions else 403)
    User.objects.get().user_permissions.add(
        *Permission.objects.filter(codename__in=("view_persona", "export_outreach"))
    )
    assert client.post(URL + "win-back/export/").status_code == 200


def test_segment_is_exported_with_interests_of_who_consented(admin_client: Client) -> None:
    segment = Segment.objects.create(number=4, own_name="tea lovers", n_people=3)
    for name in ("tea", "soap"):
        item(name, category=name.title())
    ada, bob = customer("ada", segment=segment), customer("bob", segment=segment, has_objected=True)
    other = customer("ada")
    ordered(ada, "tea", 90, 80)
    ordered(other, "soap", 70)
    ordered(bob, "tea", 90)
    Visitor.objects.create(segment=segment)
    customer("eve")
    serving.reload()
    url = f"/admin/recommender/segment/{segment.pk}/export/"
    assert admin_client.get(url).status_code == 200
    lines = b"".join(admin_client.post(url)).decode("utf-8-sig").splitlines()
    assert lines == ["user,orders,last_order,interests", "ada,3,2026-04-21,Tea; Soap"]
    assert LogEntry.objects.get().object_id == str(segment.pk)
    assert url in admin_client.get(f"/admin/recommender/segment/{segment.pk}/change/").content.decode()
    User.objects.all().delete()
    assert clerk("view_segment", "view_persona").post(url).status_code == 403
    User.objects.all().delete()
    assert clerk("view_segment", "export_segment").post(url).status_code == 403
    assert Event.objects.exists()
