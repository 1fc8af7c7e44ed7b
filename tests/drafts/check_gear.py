"""What the drafted file records of the headless shop."""

from decimal import Decimal

import pytest
from django.utils import timezone
from gear.models import Client, Course, Department, Member, Product, ProductVariant, SalesOrder, SalesOrderEntry
from recorded import browser, events, happened

from recommender import tracking
from recommender.catalog import sync
from recommender.models import Item

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def goods():
    climbing = Department.objects.create(title="Climbing")
    rope = Product.objects.create(title="Rope", department=climbing, manufacturer="Beal", status="published")
    tent = Product.objects.create(title="Tent", department=climbing, status="draft", picture="https://x.example/t.png")
    variants = [
        ProductVariant.objects.create(product=rope, sku="R-40", selling_price=80, cost_price=1, stock=0),
        ProductVariant.objects.create(product=rope, sku="R-60", selling_price=110, stock=4),
        ProductVariant.objects.create(product=tent, sku="T-2", selling_price=300, stock=0),
    ]
    course = Course.objects.create(pk=rope.pk, name="Knots", code="knots", price=25)
    sync.sync()
    return rope, tent, variants, course


def test_items_are_what_the_shop_sells(goods):
    rope, tent, _, course = goods
    rows = Item.objects.order_by("title").values_list(
        "item_id", "title", "category", "brand", "price", "currency", "image", "is_available", "is_active"
    )
    assert list(rows) == [
        (f"course:{course.pk}", "Knots", "", "", Decimal(25), "GBP", "", True, True),
        (f"product:{rope.pk}", "Rope", "Climbing", "Beal", Decimal(80), "GBP", "", True, True),
        (f"product:{tent.pk}", "Tent", "Climbing", "", Decimal(300), "GBP", "https://x.example/t.png", False, False),
    ]


def test_calls_are_the_items_that_they_name(goods):
    rope, _, _, course = goods
    app = browser()
    app.get(f"/api/v1/products/{rope.uuid}/")
    app.get("/api/v1/products/", {"search": "rope"})
    app.get("/api/v1/courses/knots/")
    app.post("/api/v1/courses/knots/add_to_basket/")
    app.post("/api/v1/basket/", {"variant": "R-60", "pieces": 3}, "application/json")
    app.delete("/api/v1/basket/R-60/")
    assert happened() == [
        ("add_to_cart", f"course:{course.pk}", 1),
        ("add_to_cart", f"product:{rope.pk}", 3),
        ("remove_from_cart", f"product:{rope.pk}", 1),
        ("search", "rope", 1),
        ("view_item", f"course:{course.pk}", 1),
        ("view_item", f"product:{rope.pk}", 1),
    ]


def test_paid_orders_are_purchases_and_refunded_ones_came_back(goods):
    rope, _, variants, course = goods
    client = Client.objects.create(member=Member.objects.create(email="ada@x.example"))
    state = SalesOrder.State
    for n, (thing, stated, buyer) in enumerate(
        [
            (variants[1], state.PAID, client),
            (course, state.SHIPPED, None),
            (variants[2], state.PENDING, client),
            (rope, state.REFUNDED, client),
        ]
    ):
        order = SalesOrder.objects.create(client=buyer, state=stated, placed_on=timezone.now(), total=50)
        SalesOrderEntry.objects.create(sales_order=order, thing=thing, qty=n + 1, line_total=Decimal(50))
    tracking.reconcile()
    assert events("type", "item_id", "quantity", "price", "currency") == [
        ("purchase", f"course:{course.pk}", 2, Decimal(25), "GBP"),
        ("purchase", f"product:{rope.pk}", 1, Decimal(50), "GBP"),
        ("purchase", f"product:{rope.pk}", 4, Decimal("12.5"), "GBP"),
        ("refund", f"product:{rope.pk}", 4, Decimal("12.5"), "GBP"),
    ]
    (rows,) = tracking.tracked_rows()
    users = {draft.user_key for row in rows.objects() for draft in rows.drafts(row)}
    assert users == {str(client.member_id), None}
