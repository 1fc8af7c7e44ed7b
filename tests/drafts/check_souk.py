"""What the drafted file records of the Persian shop."""

import json
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from recorded import browser, events, happened
from souk.models import Brand, Group, Kala, KalaImage, Order, Post

from recommender.catalog import live_items, sync
from recommender.models import Item

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def kalas():
    home = Group.objects.create(name="خانه")
    rugs = Group.objects.create(name="فرش", parent=home)
    Post.objects.create(title="About rugs", slug="rugs")
    products = [
        Kala.objects.create(
            name=name, slug=slug, group=rugs, price=price, old_price=900, num_in_stock=stock, available=is_shown
        )
        for name, slug, price, stock, is_shown in (
            ("گلیم", "گلیم", 500, 3, True),
            ("قالی", "قالی", 700, 0, True),
            ("جاجیم", "جاجیم", 300, None, False),
        )
    ]
    products[0].brand = Brand.objects.create(title="تبریز")
    products[0].save()
    KalaImage.objects.create(kala=products[0], file="kala/1.png")
    sync.sync()
    return products


def test_items_are_what_the_shop_sells(kalas):
    first, second, third = kalas
    rows = Item.objects.order_by("pk").values_list(
        "item_id", "title", "category", "brand", "price", "currency", "image", "is_available", "is_active"
    )
    assert list(rows) == [
        (f"kala:{first.pk}", "گلیم", "فرش", "تبریز", Decimal(500), "IRT", "/kala/1.png", True, True),
        (f"kala:{second.pk}", "قالی", "فرش", "", Decimal(700), "IRT", "", False, True),
        (f"kala:{third.pk}", "جاجیم", "فرش", "", Decimal(300), "IRT", "", True, False),
    ]
    assert Item.objects.get(item_id=f"kala:{first.pk}").first_seen_at == first.created_at
    assert set(live_items({f"kala:{each.pk}": ("souk.Kala", str(each.pk)) for each in kalas})) == {
        f"kala:{first.pk}",
        f"kala:{second.pk}",
    }


def test_pages_are_the_items_of_their_addresses(kalas):
    first, second, _ = kalas
    guest = browser()
    guest.get(first.get_absolute_url())
    guest.get("/", {"q": "گلیم"})
    guest.get("/")
    guest.get("/journal/rugs/")
    guest.post(f"/basket/add/{first.pk}/", {"quantity": 2})
    guest.post(f"/basket/add/{second.pk}/", {"quantity": 1})
    guest.get(f"/basket/remove/{second.pk}/")
    guest.get("/basket/")
    assert happened() == [
        ("add_to_cart", f"kala:{first.pk}", 2),
        ("add_to_cart", f"kala:{second.pk}", 1),
        ("remove_from_cart", f"kala:{second.pk}", 1),
        ("search", "گلیم", 1),
        ("view_item", f"kala:{first.pk}", 1),
    ]


def test_order_is_a_purchase_once_the_gateway_says_paid(kalas):
    first = kalas[0]
    User.objects.create_user("sara", "sara@post.example", "p")
    guest = browser()
    guest.post(f"/basket/add/{first.pk}/", {"quantity": 2})
    guest.post("/pay/", {"email": "sara@post.example"})
    order = Order.objects.get()
    assert not events("type", "item_id") or ("purchase", f"kala:{first.pk}") not in events("type", "item_id")
    gateway = browser()
    gateway.post("/gateway/", json.dumps({"order": order.pk, "status": "OK", "ref": "1"}), "application/json")
    bought = [
        row for row in events("type", "item_id", "quantity", "price", "currency", "order_id") if row[0] == "purchase"
    ]
    assert bought == [("purchase", f"kala:{first.pk}", 2, Decimal(500), "IRT", str(order.pk))]
    gateway.post("/gateway/", json.dumps({"order": order.pk, "status": "BACK"}), "application/json")
    assert [row for row in events("type", "item_id") if row[0] == "refund"] == [("refund", f"kala:{first.pk}")]
