"""What the drafted file records of Oscar's models, as those of any shop."""

from decimal import Decimal

import pytest
from django.test import Client
from myshop.shopping import Shopper, item_id
from oscar.core.loading import get_model

from recommender import tracking
from recommender.catalog import sync
from recommender.models import Event, Item

Product, Order = get_model("catalogue", "Product"), get_model("order", "Order")


def test_items_are_what_the_shop_sells(shop):
    Product.objects.filter(title="Emma").update(is_public=False)
    get_model("partner", "StockRecord").objects.filter(product__title="Walden").update(num_in_stock=0)
    sync.sync()
    items = Item.objects.exclude(title="Secret lamp").order_by("title")
    rows = items.values_list("title", "category", "price", "currency", "is_available", "is_active")
    assert list(rows) == [
        ("Apron", "Kitchen", Decimal(10), "GBP", True, True),
        ("Coffee pot", "Kitchen", Decimal(21), "GBP", True, True),
        ("Dracula", "Classics", Decimal(8), "GBP", True, True),
        ("Emma", "Classics", Decimal(5), "GBP", True, False),
        ("Flower pot", "Kitchen", Decimal(23), "GBP", True, True),
        ("Frankenstein", "Classics", Decimal(9), "GBP", True, True),
        ("Middlemarch", "Classics", Decimal(6), "GBP", True, True),
        ("Oven glove", "Kitchen", Decimal(10), "GBP", True, True),
        ("Stock pot", "Kitchen", Decimal(22), "GBP", True, True),
        ("Teapot", "Kitchen", Decimal(20), "GBP", True, True),
        ("Ulysses", "Classics", Decimal(7), "GBP", True, True),
        ("Walden", "Classics", Decimal(10), "GBP", False, True),
    ]
    teapot = Product.objects.get(title="Teapot")
    item = Item.objects.get(item_id=f"product:{teapot.pk}")
    assert (item.url, item.first_seen_at) == (teapot.get_absolute_url(), teapot.date_created)
    assert not Item.objects.get(title="Secret lamp").is_active


@pytest.mark.usefixtures("live_shop")
def test_shopper_is_recorded_from_page_to_order(product):
    shopper = Shopper(client=Client(headers={"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0"}))
    red = product("Apron, red")
    shopper.home()
    shopper.search("teapot")
    shopper.view(product("Teapot"))
    shopper.view(product("Apron"))
    shopper.add(product("Teapot"), 2)
    shopper.add(red)
    number = shopper.order()
    tracking.reconcile()
    rows = Event.objects.values_list("type", "item_id", "query", "quantity", "price", "currency")
    stored = {
        (kind, item or query, quantity): (price, currency) for kind, item, query, quantity, price, currency in rows
    }
    assert set(stored) == set(shopper.happened)
    assert stored["purchase", item_id(red), 1] == (Decimal(10), "GBP")
    order = Order.objects.get(number=number)
    assert set(Event.objects.filter(type="purchase").values_list("order_id", flat=True)) == {str(order.pk)}
