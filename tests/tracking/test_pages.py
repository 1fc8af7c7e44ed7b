"""A declared page finds its values in the URL, in a form, in JSON; a cart by GET counts; nonsense is no event."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import Any

import pytest
from django.contrib import messages
from django.contrib.messages.storage.cookie import CookieStorage
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import resolve

from recommender import capture, catalog, conf, tracking
from recommender.catalog import Catalog
from recommender.identity import cookie_for, shopper_of
from recommender.models import Event, Item, Visitor
from recommender.tracking import page, pages, track_pages
from shopreco.shop.models import Department, Product

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_pages", {})


def drafts_of_page(
    path: str, *, body: Any = None, status: int = 200, is_read: bool = False
) -> list[capture.EventDraft]:
    factory = RequestFactory()
    request: Any = factory.get(path) if body is None else factory.post(path, body, content_type="application/json")
    request.resolver_match = resolve(path.partition("?")[0])
    request.COOKIES["recommender_consent"] = "granted"
    if is_read:
        request.read()
    source = tracking.page_source(request, HttpResponse(status=status))
    return [] if source is None else list(source(shopper_of(request)))


def json_page(item_id: str = "JSON.lines.0.sku", quantity: str = "JSON.lines.0.n") -> None:
    track_pages(page("shop:cart", "add_to_cart", item_id=item_id, quantity=quantity, method="POST"))


def test_json_is_read_by_a_path_into_objects_and_lists() -> None:
    json_page()
    (draft,) = drafts_of_page("/cart/", body={"lines": [{"sku": "22423", "n": 4}]}, status=201)
    assert (draft.item_id, draft.quantity) == ("22423", 4)


@pytest.mark.parametrize(
    "body",
    ["[", "", "[]", '{"lines": []}', '{"lines": [{"sku": {"a": 1}}]}', '{"lines": [{"sku": true}]}', "[" * 100_000,
     json.dumps({"lines": [{"sku": "A"}], "x": "x" * 300_000}), b"\xff\xfe"],
)  # fmt: skip
def test_json_that_says_nothing_is_no_event(body: Any) -> None:
    json_page()
    assert drafts_of_page("/cart/", body=body) == []


def test_json_that_the_view_read_as_a_stream_is_no_event_and_no_error() -> None:
    json_page()
    assert drafts_of_page("/cart/", body={"lines": [{"sku": "22423"}]}, is_read=True) == []


@pytest.mark.parametrize(("status", "n_told"), [(200, 1), (201, 1), (302, 1), (304, 0), (400, 0), (500, 0)])
def test_cart_that_is_filled_by_get_counts_when_it_redirects(status: int, n_told: int) -> None:
    track_pages(page("shop:cart_add", "add_to_cart", item_id="kwargs.stock_code"))
    assert len(drafts_of_page("/cart/add/22423/", status=status)) == n_told


def test_object_is_found_by_the_field_that_the_part_is_named_after() -> None:
    Product.objects.create(stock_code="22423", title="Mug", price=1)
    track_pages(page("shop:product", "view_item", item_id=("shop.Product", "kwargs.stock_code")))
    assert [draft.item_id for draft in drafts_of_page("/item/22423/")] == ["22423"]
    assert drafts_of_page("/item/none/") == []


def test_object_is_found_by_a_field_that_is_named() -> None:
    Product.objects.create(stock_code="22423", title="Mug", price=1)
    track_pages(page("shop:home", "view_item", item_id=("shop.Product", "GET.p", "stock_code")))
    assert [draft.item_id for draft in drafts_of_page("/?p=22423")] == ["22423"]


def test_page_of_the_beacon_is_left_to_it() -> None:
    track_pages(page("shop:product", "view_item", item_id="kwargs.stock_code", beacon=True))
    assert drafts_of_page("/item/22423/") == []
    request = RequestFactory().get("/item/22423/")
    request.COOKIES["recommender_consent"] = "granted"
    source = tracking.beacon_source(request)
    assert source is not None
    assert [draft.item_id for draft in source(shopper_of(request))] == ["22423"]
    assert tracking.beacon_source(RequestFactory().get("/nowhere/at/all/")) is None


def test_body_is_read_up_to_the_limit_of_the_api() -> None:
    json_page()
    body = {"lines": [{"sku": "A"}], "x": "x" * (conf.get("MAX_BODY_BYTES") - 100)}
    assert len(drafts_of_page("/cart/", body=body)) == 1


class TestItemNamedByItsKey:
    """A Catalog without `id` calls its items `product:<pk>`; what a URL or a form says is another key of the object."""

    @pytest.fixture
    def mug(self, monkeypatch: pytest.MonkeyPatch) -> Product:
        monkeypatch.setattr("recommender.catalog.registry._catalogs", {"shop.product": Catalog("shop.Product")})
        return Product.objects.create(stock_code="red-mug", title="Mug", price=1)

    @pytest.mark.parametrize("declared", ["kwargs.stock_code", ("shop.Product", "kwargs.stock_code")])
    def test_item_is_found_by_the_field_that_the_part_is_named_after(self, mug: Product, declared: Any) -> None:
        track_pages(page("shop:product", "view_item", item_id=declared))
        assert [draft.item_id for draft in drafts_of_page("/item/red-mug/")] == [f"product:{mug.pk}"]

    @pytest.mark.parametrize("name", ["id", "pk", "product_id", "product", "p"])
    def test_primary_key_is_an_item_without_a_query(
        self, mug: Product, name: str, django_assert_num_queries: Any
    ) -> None:
        track_pages(page("shop:home", "view_item", item_id=f"GET.{name}"))
        with django_assert_num_queries(0):
            assert [draft.item_id for draft in drafts_of_page(f"/?{name}={mug.pk}")] == [f"product:{mug.pk}"]

    def test_item_id_stays_as_it_is(self, mug: Product, django_assert_num_queries: Any) -> None:
        track_pages(page("shop:home", "view_item", item_id="GET.item"))
        with django_assert_num_queries(0):
            assert [draft.item_id for draft in drafts_of_page(f"/?item=product:{mug.pk}")] == [f"product:{mug.pk}"]

    def test_object_of_a_callable_is_its_item(self, mug: Product) -> None:
        track_pages(page("shop:product", "view_item", item_id=lambda request: mug))
        assert [draft.item_id for draft in drafts_of_page("/item/red-mug/")] == [f"product:{mug.pk}"]

    def test_model_that_is_named_gives_no_item_that_does_not_exist(self, mug: Product) -> None:
        track_pages(page("shop:product", "view_item", item_id=("shop.Product", "kwargs.stock_code")))
        assert drafts_of_page("/item/blue-mug/") == []

    def test_one_of_several_catalogs_is_the_one_that_has_the_object(
        self, mug: Product, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Department.objects.create(pk=mug.pk + 1000, name="Kitchen", slug="kitchen")
        monkeypatch.setitem(catalog.registry._catalogs, "shop.department", Catalog("shop.Department"))
        track_pages(page("shop:home", "view_item", item_id="GET.pk"))
        assert [draft.item_id for draft in drafts_of_page(f"/?pk={mug.pk + 1000}")] == [f"department:{mug.pk + 1000}"]
        assert [draft.item_id for draft in drafts_of_page(f"/?pk={mug.pk}")] == [f"product:{mug.pk}"]

    def test_id_of_the_shops_own_is_no_primary_key(
        self, mug: Product, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
    ) -> None:
        own = type("Own", (Catalog,), {"id": "stock_code"})("shop.Product")
        monkeypatch.setattr("recommender.catalog.registry._catalogs", {"shop.product": own})
        other = Product.objects.create(stock_code=str(mug.pk), title="Its code is another's key", price=1)
        Item.objects.create(item_id=str(mug.pk), label="shop.Product", object_id=str(other.pk))
        track_pages(page("shop:home", "view_item", item_id="GET.ref"))
        assert [draft.item_id for draft in drafts_of_page(f"/?ref={mug.pk}")] == [str(mug.pk)]
        track_pages(page("shop:product", "view_item", item_id="kwargs.stock_code"))
        with django_assert_num_queries(0):
            assert [draft.item_id for draft in drafts_of_page("/item/red-mug/")] == ["red-mug"]


class TestRefusedAndRepeated:
    """What fills a cart counts when the shop let it, and once."""

    def added(self, *, status: int = 302, error: str = "", statuses: tuple[int, ...] = (), **headers: str) -> int:
        """How many events a form that was sent makes."""
        tracked_page = page(
            "shop:cart_add", "add_to_cart", item_id="kwargs.stock_code", method="POST", statuses=statuses
        )
        track_pages(tracked_page)
        request: Any = RequestFactory().post("/cart/add/22423/", headers=headers)
        request.resolver_match = resolve("/cart/add/22423/")
        request.COOKIES["recommender_consent"] = "granted"
        request._messages = CookieStorage(request)
        messages.success(request, "Thank you")
        if error:
            getattr(messages, error)(request, "Only three are left")
        source = tracking.page_source(request, HttpResponse("<form>", status=status))
        return len(list(source(shopper_of(request)))) if source is not None else 0

    def test_redirect_is_an_addition(self) -> None:
        assert self.added() == 1

    def test_redirect_with_an_error_message_is_none(self) -> None:
        assert self.added(error="error") == 0

    def test_redirect_with_a_warning_is_one(self) -> None:
        assert self.added(error="warning") == 1

    @pytest.mark.parametrize("headers", [{}, {"sec-fetch-mode": "navigate"}])
    def test_form_that_is_shown_again_is_none(self, headers: dict[str, str]) -> None:
        assert self.added(status=200, **headers) == 0

    @pytest.mark.parametrize("headers", [{"sec-fetch-mode": "cors"}, {"hx-request": "true"}, {"x-requested-with": "x"}])
    def test_part_of_a_page_for_a_script_is_one(self, headers: dict[str, str]) -> None:
        assert self.added(status=200, **headers) == 1

    def test_page_that_says_so_by_its_statuses_is_one(self) -> None:
        assert self.added(status=200, statuses=(200,)) == 1

    @pytest.mark.parametrize(("seconds", "n_events"), [(0, 1), (0.5, 1), (4.9, 1), (6, 2), (60, 2)])
    @pytest.mark.parametrize("begin", [0.0, 2.3, 4.8])
    def test_same_addition_within_seconds_counts_once(self, begin: float, seconds: float, n_events: int) -> None:
        visitor = Visitor.objects.create(has_consented=True)
        tracked_page = page("shop:cart_add", "add_to_cart", item_id="kwargs.stock_code")
        request: Any = RequestFactory().get("/cart/add/22423/")
        request.resolver_match = resolve("/cart/add/22423/")
        request.COOKIES |= {"recommender_consent": "granted", "recommender_visitor": cookie_for(visitor.key)}
        first = dt.datetime.fromtimestamp(1_750_000_000 + begin, dt.UTC)
        for at in (first, first + dt.timedelta(seconds=seconds)):
            shopper = shopper_of(request)
            drafts = list(pages.drafts_of(tracked_page, request, shopper, at))
            capture.ingest([dataclasses.replace(draft, visitor_key=visitor.key) for draft in drafts])
        assert Event.objects.filter(type="add_to_cart").count() == n_events

    def test_addition_after_an_order_is_another(self) -> None:
        visitor = Visitor.objects.create(has_consented=True)
        at = dt.datetime.fromtimestamp(1_750_000_000, dt.UTC)
        tracked_page = page("shop:cart_add", "add_to_cart", item_id="kwargs.stock_code")
        request: Any = RequestFactory().get("/cart/add/22423/")
        request.resolver_match = resolve("/cart/add/22423/")
        request.COOKIES |= {"recommender_consent": "granted", "recommender_visitor": cookie_for(visitor.key)}
        (first,) = pages.drafts_of(tracked_page, request, shopper_of(request), at)
        bought = {"message_id": "order:1", "type": "purchase", "item_id": "22423", "occurred_at": at}
        Event.objects.create(visitor=visitor, **bought)
        (second,) = pages.drafts_of(tracked_page, request, shopper_of(request), at + dt.timedelta(seconds=1))
        assert first.message_id != second.message_id

    def test_other_item_and_other_quantity_are_others(self) -> None:
        track_pages(page("shop:cart", "add_to_cart", item_id="JSON.sku", quantity="JSON.n", method="POST"))
        sent = [{"sku": "A", "n": 1}, {"sku": "A", "n": 2}, {"sku": "B", "n": 1}]
        assert (
            len({draft.message_id for body in sent for draft in drafts_of_page("/cart/", body=body, status=201)}) == 3
        )
