"""What the drafted file records of `headless_shop`: an API only, variants, and generic keys to two kinds of things."""

from collections import Counter

import pytest
from catalogue.models import GiftCard, Product, Variant
from django.core.management import call_command
from django.test import Client
from rest_framework.authtoken.models import Token
from sales.models import OrderLine

from recommender import tracking
from recommender.catalog import sync
from recommender.models import Event, Item

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def depot():
    call_command("fill_depot", orders=40, customers=6, verbosity=0)
    sync.sync()


def test_items_are_what_the_shop_sells(depot):
    hidden = Product.objects.order_by("label").first()
    Product.objects.filter(pk=hidden.pk).update(listed=False)
    Variant.objects.filter(product=hidden).update(stock=0)
    sync.sync()
    expected = {
        f"giftcard:{card.pk}": (card.name, "", "", card.price, "EUR", True, True) for card in GiftCard.objects.all()
    }
    for each in Product.objects.all():
        price = min(variant.price for variant in each.variants.all())
        is_shown = each.pk != hidden.pk
        expected[f"product:{each.pk}"] = (
            *(each.label, each.department.name, each.maker, price, "EUR"), is_shown, is_shown,
        )  # fmt: skip
    stored = {
        item.item_id: (
            item.title, item.category, item.brand, item.price, item.currency, item.is_active, item.is_available
        )
        for item in Item.objects.all()
    }  # fmt: skip
    assert stored == expected


def test_calls_are_the_items_that_they_name(depot):
    token = Token.objects.get(user__username="customer001").key
    app = Client(headers={"user-agent": "DepotApp/4.2 (iPhone; iOS 18.1)", "authorization": f"Token {token}"})
    app.cookies["recommender_consent"] = "granted"
    first, second = Product.objects.order_by("label")[:2]
    card = GiftCard.objects.first()
    for path in (f"products/{first.pk}/", f"giftcards/{card.pk}/", "products/?page=2", "cart/"):
        assert app.get(f"/api/{path}").status_code == 200
    sku, other = first.variants.first().sku, second.variants.first().sku
    for line in ({"sku": sku, "quantity": 2}, {"sku": other}, {"gift_card": str(card.pk)}):
        assert app.post("/api/cart/", line, "application/json").status_code == 201
    assert app.delete("/api/cart/", {"sku": other}, "application/json").status_code == 204
    rows = Event.objects.exclude(type__in=("purchase", "refund")).values_list("type", "item_id", "quantity")
    assert Counter(rows) == Counter(
        [
            ("view_item", f"product:{first.pk}", 1.0),
            ("view_item", f"giftcard:{card.pk}", 1.0),
            ("add_to_cart", f"product:{first.pk}", 2.0),
            ("add_to_cart", f"product:{second.pk}", 1.0),
            ("remove_from_cart", f"product:{second.pk}", 1.0),
            ("add_to_cart", f"giftcard:{card.pk}", 1.0),
        ]
    )


def test_past_orders_are_purchases_where_they_were_paid(depot):
    tracking.reconcile()
    expected = Counter()
    for line in OrderLine.objects.filter(order__paid_at__isnull=False):
        thing = line.thing
        item = f"product:{thing.product_id}" if isinstance(thing, Variant) else f"giftcard:{thing.pk}"
        expected[item, float(line.quantity), thing.price, str(line.order_id)] += 1
    assert Counter(Event.objects.values_list("item_id", "quantity", "price", "order_id")) == expected
    (rows,) = tracking.tracked_rows()
    row = rows.objects().filter(order__paid_at__isnull=False).first()
    assert [draft.user_key for draft in rows.drafts(row)] == [str(row.order.user_id)]
