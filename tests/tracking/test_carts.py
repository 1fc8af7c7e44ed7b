"""What shops call a cart: every form of it leads to the items in it, and an empty one costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from django.http import HttpRequest
from django.template import RequestContext, Template

from recommender import capture, pipeline
from recommender.catalog import Catalog
from recommender.exceptions import ConfigurationError
from recommender.templatetags.carts import item_ids_of_cart
from shopreco.shop.models import Customer, Department, Order, OrderLine, Product
from tests.conftest import DemoShop, request_of

pytestmark = pytest.mark.django_db


@dataclass
class Line:
    """A line as a cart class of a shop's own yields it."""

    product: Any
    quantity: int = 1


@pytest.fixture
def mugs(monkeypatch: pytest.MonkeyPatch) -> list[Product]:
    """Three products in a shop whose items are called `product:<pk>`, and an order with the first two."""
    monkeypatch.setattr("recommender.catalog.registry._catalogs", {"shop.product": Catalog("shop.Product")})
    mugs = [Product.objects.create(stock_code=f"mug-{n}", title=f"Mug {n}", price=1) for n in range(3)]
    order = Order.objects.create(number="1")
    for mug in mugs[:2]:
        OrderLine.objects.create(order=order, product=mug, quantity=1, unit_price=1)
    return mugs


CARTS: dict[str, Callable[[list[Product]], Any]] = {
    "products": lambda mugs: mugs[:2],
    "query of products": lambda mugs: Product.objects.filter(pk__in=[mugs[0].pk, mugs[1].pk]).order_by("pk"),
    "lines": lambda mugs: list(OrderLine.objects.order_by("pk")),
    "query of lines": lambda mugs: OrderLine.objects.order_by("pk"),
    "manager of lines": lambda mugs: Order.objects.get().lines,
    "values of lines": lambda mugs: OrderLine.objects.order_by("pk").values("product_id", "quantity"),
    "primary keys": lambda mugs: [mugs[0].pk, str(mugs[1].pk)],
    "ids": lambda mugs: [f"product:{mug.pk}" for mug in mugs[:2]],
    "ids in a text": lambda mugs: f"product:{mugs[0].pk}, {mugs[1].pk}",
    "key: quantity": lambda mugs: {str(mugs[0].pk): 2, mugs[1].pk: 1, str(mugs[2].pk): 0},
    "key: line of a session": lambda mugs: {
        str(mug.pk): {"quantity": 1, "price": "9.90", "id": 77} | ({"product_id": mug.pk} if n else {"item": mug})
        for n, mug in enumerate(mugs[:2])
    },
    "key: line without a product": lambda mugs: {str(mug.pk): {"quantity": 1, "price": "9"} for mug in mugs[:2]},
    "dicts": lambda mugs: [{"product": mugs[0], "quantity": 1}, {"product_id": str(mugs[1].pk), "id": 9}],
    "dicts with a word of the shop's own": lambda mugs: [{"ware": mug, "pieces": 1} for mug in mugs[:2]],
    "parts of a cart": lambda mugs: {"items": [{"product": mug} for mug in mugs[:2]], "total": 12, "currency": "EUR"},
    "objects": lambda mugs: [Line(mugs[0]), SimpleNamespace(product_id=mugs[1].pk)],
    "pairs": lambda mugs: [(mugs[0], 2), (str(mugs[1].pk), 1)],
    "object with lines": lambda mugs: SimpleNamespace(lines=OrderLine.objects.order_by("pk")),
    "object with a method": lambda mugs: SimpleNamespace(get_items=lambda: [Line(mug) for mug in mugs[:2]]),
    "object that yields lines": lambda mugs: (Line(mug) for mug in mugs[:2]),
    "twice": lambda mugs: [mugs[0], mugs[1], mugs[0]],
}  # fmt: skip


@pytest.mark.parametrize("form", CARTS)
def test_items_are_found_in_every_form_of_a_cart(mugs: list[Product], form: str) -> None:
    assert item_ids_of_cart(CARTS[form](mugs)) == (f"product:{mugs[0].pk}", f"product:{mugs[1].pk}")


@pytest.mark.parametrize("cart", [(), [], {}, "", None, OrderLine.objects, SimpleNamespace(lines=[]), iter(())])
def test_nothing_is_in_an_empty_cart(mugs: list[Product], cart: Any) -> None:
    OrderLine.objects.all().delete()
    assert item_ids_of_cart(cart) == ()


def test_lines_tell_their_items_by_the_key_alone(mugs: list[Product], django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        item_ids_of_cart(OrderLine.objects.all())


def test_items_with_ids_of_their_own_are_joined_to_the_lines(
    mugs: list[Product], monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    own = type("Own", (Catalog,), {"id": "stock_code"})("shop.Product")
    monkeypatch.setattr("recommender.catalog.registry._catalogs", {"shop.product": own})
    with django_assert_num_queries(1):
        assert item_ids_of_cart(OrderLine.objects.order_by("pk")) == ("mug-0", "mug-1")


@pytest.mark.parametrize("cart", [[3.5], [object()], [{"colour": "red"}], Customer.objects.model()])
def test_what_leads_to_no_item_is_told_with_what_does(mugs: list[Product], cart: Any) -> None:
    with pytest.raises(ConfigurationError, match="Expected item ids"):
        item_ids_of_cart(cart)


class TestEmptyCart:
    """A page with an empty cart is most pages of most shops."""

    def drawn(self, request: HttpRequest, **values: Any) -> str:
        template = Template('{% load recommender %}{% recommendations "cart" cart=cart limit=4 %}')
        return str(template.render(RequestContext(request, {"request": request, **values})))

    @pytest.mark.parametrize("cart", [[], {}, "", None, ()])
    def test_nothing_is_computed_and_nothing_is_read(
        self, demo_shop: DemoShop, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any, cart: Any
    ) -> None:
        monkeypatch.setattr(pipeline, "recommend", lambda *args, **options: pytest.fail("a list was computed"))
        request = request_of()
        with django_assert_num_queries(0):
            assert self.drawn(request, cart=cart).strip() == ""
            capture.flush(request)

    def test_page_that_says_nothing_of_a_cart_gets_what_goes_with_past_orders(self, demo_shop: DemoShop) -> None:
        request = request_of(demo_shop.customer().user)
        template = Template('{% load recommender %}{% recommendations "cart" limit=4 %}')
        assert "data-item-id" in template.render(RequestContext(request, {"request": request}))

    def test_cart_with_something_in_it_shows_a_list(self, demo_shop: DemoShop) -> None:
        assert "data-item-id" in self.drawn(request_of(), cart=[demo_shop.product()])


def test_one_model_may_stand_between_a_line_and_its_item(
    mugs: list[Product], monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    """As a variant does; here a line's product leads to what is sold."""
    monkeypatch.setattr("recommender.catalog.registry._catalogs", {"shop.department": Catalog("shop.Department")})
    kitchen = Department.objects.create(name="Kitchen", slug="kitchen")
    Product.objects.update(department=kitchen)
    with django_assert_num_queries(1):
        assert item_ids_of_cart(OrderLine.objects.all()) == (f"department:{kitchen.pk}",)
    assert item_ids_of_cart([{"product": Product.objects.first()}]) == (f"department:{kitchen.pk}",)
