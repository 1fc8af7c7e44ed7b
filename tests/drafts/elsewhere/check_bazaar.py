"""What the drafted file records of `rtl_shop`: translated texts, guests, a cart in the session, a gateway."""

from collections import Counter
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import translation
from store.models import Order, OrderLine, Product

from recommender import tracking
from recommender.catalog import sync
from recommender.models import Event, Item

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bazaar():
    call_command("fill_store", orders=25, customers=6, verbosity=0)
    sync.sync()


def test_items_are_what_the_shop_sells(bazaar):
    hidden = Product.objects.order_by("pk").first()
    Product.objects.filter(pk=hidden.pk).update(published=False, stock=0)
    sync.sync()
    with translation.override("fa"):
        expected = {
            f"product:{each.pk}": (each.title, each.category.name, each.price, "IRR", each.published, each.in_stock)
            for each in Product.objects.all()
        }
    stored = {
        item.item_id: (item.title, item.category, item.price, item.currency, item.is_active, item.is_available)
        for item in Item.objects.all()
    }
    assert stored == expected
    hidden.set_current_language("en")
    assert hidden.title in Item.objects.get(item_id=f"product:{hidden.pk}").text


@pytest.mark.parametrize("language", ["fa", "en"])
def test_pages_are_the_items_of_their_addresses(bazaar, language):
    guest = Client(headers={"user-agent": FIREFOX, "accept-language": language})
    guest.cookies["recommender_consent"] = "granted"
    first, second = Product.objects.order_by("pk")[:2]
    for path, query in ((f"product/{first.slug}/", {}), ("search/", {"s": "چای"}), ("search/", {}), ("cart/", {})):
        assert guest.get(f"/{language}/{path}", query).status_code == 200
    for path, form in (
        (f"cart/add/{first.slug}/", {"quantity": 2}),
        (f"cart/add/{second.slug}/", {}),
        (f"cart/remove/{second.pk}/", {}),
    ):
        assert guest.post(f"/{language}/{path}", form).status_code == 302
    rows = Event.objects.exclude(type__in=("purchase", "refund")).values_list("type", "item_id", "query", "quantity")
    assert Counter((kind, item or query, quantity) for kind, item, query, quantity in rows) == Counter(
        [
            ("view_item", f"product:{first.pk}", 1.0),
            ("search", "چای", 1.0),
            ("add_to_cart", f"product:{first.pk}", 2.0),
            ("add_to_cart", f"product:{second.pk}", 1.0),
            ("remove_from_cart", f"product:{second.pk}", 1.0),
        ]
    )


def test_past_orders_are_purchases_where_they_were_paid(bazaar):
    tracking.reconcile()
    lines = OrderLine.objects.filter(order__status=Order.Status.PAID)
    expected = Counter((f"product:{line.product_id}", float(line.quantity), Decimal(line.unit_price)) for line in lines)
    assert Counter(Event.objects.values_list("item_id", "quantity", "price")) == expected
    assert OrderLine.objects.count() > lines.count() > 0
