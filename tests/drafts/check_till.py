"""What the drafted file records of a shop whose two systems use the same keys."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from recorded import browser, events, happened
from till.counter import models as counter
from till.web import models as web

from recommender import tracking
from recommender.catalog import sync
from recommender.models import Item

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def goods():
    book = web.Product.objects.create(pk=1, title="Emma", price=5, category="Novels", author="Jane Austen")
    lost = web.Product.objects.create(pk=2, title="Lost", price=6, is_deleted=True)
    pen = counter.Product.objects.create(pk=1, name="Pen", barcode="401", unit_price=1.5)
    ink = counter.Product.objects.create(pk=2, name="Ink", barcode="402", unit_price=4, in_stock=False)
    sync.sync()
    return {"book": book, "lost": lost, "pen": pen, "ink": ink}


def ids():
    return dict(Item.objects.values_list("title", "item_id"))


def test_objects_with_one_key_are_items_of_their_own(goods):
    rows = Item.objects.order_by("title").values_list(
        "title", "category", "price", "currency", "is_available", "is_active"
    )
    assert list(rows) == [
        ("Emma", "Novels", Decimal(5), "EUR", True, True),
        ("Ink", "", Decimal(4), "EUR", False, True),
        ("Lost", "", Decimal(6), "EUR", True, False),
        ("Pen", "", Decimal("1.5"), "EUR", True, True),
    ]
    assert len(set(ids().values())) == 4
    assert Item.objects.get(title="Emma").attributes == {"author": "Jane Austen"}


def test_pages_are_the_items_of_their_addresses(goods):
    guest = browser()
    guest.get(goods["book"].get_absolute_url())
    guest.get(goods["pen"].get_absolute_url())
    guest.get("/find/", {"term": "emma"})
    guest.get("/cart/buy/", {"p": 1})
    assert happened() == sorted(
        [
            ("add_to_cart", ids()["Emma"], 1),
            ("search", "emma", 1),
            ("view_item", ids()["Emma"], 1),
            ("view_item", ids()["Pen"], 1),
        ]
    )


def test_orders_with_one_key_are_orders_of_their_own(goods):
    user = User.objects.create_user("ada", "ada@x.example", "p")
    order = web.Order.objects.create(pk=1, user=user, paid_at=timezone.now())
    order.products.set([goods["book"], goods["lost"]])
    web.Order.objects.create(pk=2, user=user).products.set([goods["book"]])
    sale = counter.Sale.objects.create(pk=1, sold_at=timezone.now())
    counter.SaleLine.objects.create(sale=sale, product=goods["pen"], qty=2, amount=3)
    lines = [{"product": 1, "count": 2, "price": "4.50"}, {"product": 2, "count": 1, "price": "6"}]
    web.PhoneOrder.objects.create(pk=1, email="ada@x.example", items=lines, is_paid=True)
    web.PhoneOrder.objects.create(pk=2, email="", items=lines)
    tracking.reconcile()
    bought = events("item_id", "quantity", "price")
    assert bought == sorted(
        [
            (ids()["Emma"], 1, None),
            (ids()["Lost"], 1, None),
            (ids()["Pen"], 2, Decimal("1.5")),
            (ids()["Emma"], 2, Decimal("4.5")),
            (ids()["Lost"], 1, Decimal(6)),
        ],
        key=str,
    )
    orders = {}
    for item_id, order_id in events("item_id", "order_id"):
        orders.setdefault(order_id, []).append(item_id)
    assert sorted(map(len, orders.values())) == [1, 2, 2]
    drafts = [draft for rows in tracking.tracked_rows() for row in rows.objects() for draft in rows.drafts(row)]
    assert {draft.user_key for draft in drafts} == {str(user.pk), None}
