"""The small demo shop of the other tests is made of the real data, and is the same each time it is restored."""

from __future__ import annotations

from typing import Any

import pytest

from recommender.models import Event, Item, ItemStatistics, Visitor
from shopreco.shop.models import Order, OrderLine, Product
from tests.conftest import DemoShop


def contents() -> list[Any]:
    tables = [Product.objects.values_list("pk", "stock_code", "title", "price")]
    tables += [
        Event.objects.values_list("message_id", "visitor", "item_id", "type"),
        Item.objects.values_list("item_id"),
    ]
    return [sorted(rows) for rows in tables]


_first: list[Any] = []


@pytest.mark.parametrize("time", [1, 2])
def test_demo_shop_is_the_same_each_time(demo_shop: DemoShop, time: int) -> None:
    if time == 1:
        _first[:] = contents()
    assert contents() == (_first or contents())


def test_demo_shop_holds_real_orders_as_events(demo_shop: DemoShop) -> None:
    assert Product.objects.count() == 60
    assert Visitor.objects.filter(has_consented=True).count() == 30
    assert Order.objects.count() > 100
    assert Event.objects.count() == OrderLine.objects.count() > 500
    assert ItemStatistics.objects.exclude(n_total=0).exists()
    assert Item.objects.filter(is_active=True).count() > 50


def test_rows_can_be_added_to_the_demo_shop(demo_shop: DemoShop) -> None:
    before = demo_shop.product()
    added = Product.objects.create(stock_code="NEW-1", title="New mug", price=before.price)
    assert added.pk != before.pk


def test_shopper_has_the_history_of_a_customer(shopper: Any) -> None:
    history = shopper.history()
    assert len(history) > 20
    assert [event.at for event in history] == sorted(event.at for event in history)
