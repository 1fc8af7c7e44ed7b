"""Pages and order rows of a shop become events, by its own declarations."""

from __future__ import annotations

import datetime as dt
import io
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import resolve
from django.utils import timezone

from recommender import capture, identity, tracking
from recommender.capture import storage, visitors
from recommender.catalog import Catalog, Constant, register, unregister
from recommender.datasets import statistics
from recommender.exceptions import ConfigurationError
from recommender.identity import shopper_of
from recommender.models import Event, Item, ItemStatistics, Visitor
from recommender.tracking import page, track_pages, track_rows
from recommender.tracking.orders import OrderRows
from recommender.types import EventType
from shopreco.shop.models import Customer, Order, OrderLine, Product

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget_visitors() -> None:
    visitors.forget_visitors()


@pytest.fixture
def nothing_tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_pages", {})
    monkeypatch.setattr(tracking, "_rows", {})


def drafts_of_page(path: str, *, method: str = "get", status: int = 200, data: Any = None) -> list[capture.EventDraft]:
    """The drafts of a page of the demo shop, by the pages in force."""
    request: Any = getattr(RequestFactory(), method)(path, data)
    request.resolver_match = resolve(path.partition("?")[0])
    request.COOKIES["recommender_consent"] = "granted"
    source = tracking.page_source(request, HttpResponse(status=status))
    return [] if source is None else list(source(shopper_of(request)))


def test_pages_of_the_demo_shop_are_views_searches_and_carts() -> None:
    (view,) = drafts_of_page("/item/22423/")
    assert (view.type, view.item_id, view.quantity) == ("view_item", "22423", 1)
    (search,) = drafts_of_page("/search/?q=%20Red%20%20mug%20")
    assert (search.type, search.query, search.item_id) == ("search", "Red mug", "")
    (added,) = drafts_of_page("/cart/add/22423/", method="post", status=302, data={"quantity": "3"})
    assert (added.type, added.item_id, added.quantity) == ("add_to_cart", "22423", 3)
    (removed,) = drafts_of_page("/cart/remove/22423/", method="post", status=302)
    assert removed.type == "remove_from_cart"
    assert len({view.message_id, search.message_id, added.message_id}) == 3


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/item/22423/", "get", 404),
        ("/item/22423/", "get", 302),
        ("/item/22423/", "head", 200),
        ("/item/22423/", "post", 200),
        ("/search/", "get", 200),
        ("/search/?q=%00%20", "get", 200),
        ("/cart/add/22423/", "get", 405),
        ("/cart/add/22423/", "post", 400),
        ("/", "get", 200),
    ],
)
def test_page_that_failed_or_says_nothing_is_no_event(path: str, method: str, status: int) -> None:
    assert drafts_of_page(path, method=method, status=status) == []


@pytest.mark.parametrize("quantity", ["", "many", "0", "-2", "nan", "inf", "1e300"])
def test_quantity_that_makes_no_sense_is_one(quantity: str) -> None:
    (added,) = drafts_of_page("/cart/add/22423/", method="post", status=302, data={"quantity": quantity})
    assert added.quantity == 1


def test_long_query_is_cut() -> None:
    (search,) = drafts_of_page(f"/search/?q={'x' * 10_000}")
    assert len(search.query) == 255


def test_link_out_of_a_list_is_also_a_click_told_once() -> None:
    ranking_id = uuid.uuid4()
    select, view = drafts_of_page(f"/item/22423/?rid={ranking_id}&pos=4")
    assert (select.type, view.type) == ("select_item", "view_item")
    assert (select.ranking_id, select.position, view.ranking_id) == (ranking_id, 4, ranking_id)


def test_click_that_is_loaded_again_has_the_same_id_for_the_same_visitor_only() -> None:
    path = f"/item/22423/?rid={uuid.uuid4()}&pos=4"

    def click(key: uuid.UUID) -> str:
        request: Any = RequestFactory().get(path)
        request.COOKIES |= {"recommender_consent": "granted", "recommender_visitor": identity.cookie_for(key)}
        request.resolver_match = resolve("/item/22423/")
        source = tracking.page_source(request, HttpResponse())
        assert source is not None
        return next(iter(source(shopper_of(request)))).message_id

    one, other = uuid.uuid4(), uuid.uuid4()
    assert click(one) == click(one) != click(other)


@pytest.mark.parametrize("origin", ["rid=abc&pos=1", "rid=&pos=", "pos=1", "rid=\x00"])
def test_nonsense_in_a_link_is_a_plain_view(origin: str) -> None:
    (view,) = drafts_of_page(f"/item/22423/?{origin}")
    assert (view.ranking_id, view.position) == (None, None)


@pytest.mark.parametrize("position", ["0", "-1", "x", "99999", "٣", "1" * 400])
def test_place_that_cannot_be_is_left_out(position: str) -> None:
    select, _ = drafts_of_page(f"/item/22423/?rid={uuid.uuid4()}&pos={position}")
    assert select.position is None
    assert capture.ingest([select]).n_accepted == 1


def test_form_on_a_card_tells_its_list() -> None:
    ranking_id = uuid.uuid4()
    (added,) = drafts_of_page("/cart/add/22423/", method="post", status=302, data={"rid": str(ranking_id), "pos": "2"})
    assert (added.ranking_id, added.position) == (ranking_id, 2)


def test_item_is_found_by_the_primary_key_of_its_object(nothing_tracked: None) -> None:
    track_pages(page("shop:product", "view_item", item_id=("shop.Product", "kwargs.stock_code")))
    Item.objects.create(item_id="CODE", label="shop.Product", object_id="7", title="Mug", text="Mug", text_hash="x")
    assert [draft.item_id for draft in drafts_of_page("/item/7/")] == ["CODE"]
    assert drafts_of_page("/item/8/") == []


def test_item_without_an_id_of_its_own_is_named_by_its_model(nothing_tracked: None) -> None:
    register("shop.Department")(type("Departments", (Catalog,), {"title": "name"}))
    try:
        track_pages(page("shop:product", "view_item", item_id=("shop.Department", "kwargs.stock_code")))
        assert [draft.item_id for draft in drafts_of_page("/item/7/")] == ["department:7"]
    finally:
        unregister("shop.Department")


def test_page_takes_constants_callables_and_statuses(nothing_tracked: None) -> None:
    track_pages(
        page("shop:home", "view_item", item_id=Constant("front"), statuses=(201,)),
        page("shop:home", "search", query=lambda request: request.path),
    )
    assert [draft.item_id for draft in drafts_of_page("/", status=201)] == ["front"]
    assert [draft.query for draft in drafts_of_page("/")] == ["/"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"event": "view_itm"}, "view_item"),
        ({"event": "view_item", "item_id": "kwarg.pk"}, "kwargs."),
        ({"event": "view_item", "item_id": "pk"}, "kwargs."),
        ({"event": "view_item", "item_id": ("shop.Product", "GET.")}, "GET."),
    ],
)
def test_misspelt_page_is_refused_with_the_repair(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        page("shop:product", **arguments)


def placed(user: Any = None, *, number: str = "o1", is_cancellation: bool = False, **line: Any) -> OrderLine:
    product, _ = Product.objects.get_or_create(stock_code="mug", defaults={"title": "Mug", "price": 3})
    customer = Customer.objects.get_or_create(user=user, defaults={"code": f"c{user.pk}"})[0] if user else None
    order, _ = Order.objects.get_or_create(
        number=number, defaults={"customer": customer, "is_cancellation": is_cancellation}
    )
    return OrderLine.objects.create(order=order, product=product, **{"quantity": 2, "unit_price": "2.50", **line})


def test_reconcile_takes_in_the_past_once(django_user_model: Any) -> None:
    ada = django_user_model.objects.create(username="ada")
    grace = django_user_model.objects.create(username="grace")
    identity.grant_consent([str(ada.pk)])
    bought = placed(ada)
    placed(grace, number="o2")
    placed(None, number="o3")
    placed(ada, number="o4", is_cancellation=True)
    progress: list[tuple[int, int]] = []
    report = tracking.reconcile(chunk_size=3, progress=lambda done, total: progress.append((done, total)))
    assert (report.n_read, report.n_recorded, report.n_known, report.n_rejected) == (4, 4, 0, 0)
    assert progress == [(3, 4), (4, 4)]
    events = {event.order_id: event for event in Event.objects.select_related("visitor")}
    purchase = events["o1"]
    assert (purchase.message_id, purchase.type, purchase.source) == (
        f"order:shop.orderline:{bought.pk}",
        "purchase",
        "order",
    )
    assert (purchase.item_id, purchase.quantity, purchase.price) == ("mug", 2, Decimal("2.50"))
    assert (purchase.currency, purchase.occurred_at) == ("GBP", bought.order.placed_at)
    assert purchase.visitor is not None
    assert purchase.visitor.user_key == str(ada.pk)
    assert (events["o2"].visitor, events["o3"].visitor, events["o4"].type) == (None, None, "refund")
    again = tracking.reconcile()
    assert (again.n_read, again.n_recorded, again.n_known) == (4, 0, 4)
    assert Visitor.objects.count() == 1


def test_reconcile_since_reads_only_the_newer_rows() -> None:
    placed(number="old")
    Order.objects.update(placed_at=timezone.now() - dt.timedelta(days=9))
    placed(number="new")
    assert tracking.reconcile(since=timezone.now() - dt.timedelta(days=1)).n_read == 1
    assert Event.objects.get().order_id == "new"


def test_reconcile_of_a_chunk_costs_a_fixed_number_of_statements(django_user_model: Any) -> None:
    ada = django_user_model.objects.create(username="ada")
    identity.grant_consent([str(ada.pk)])

    def n_statements() -> int:
        Event.objects.all().delete()
        with CaptureQueriesContext(connection) as context:
            tracking.reconcile()
        return len(context)

    placed(ada)
    few = n_statements()
    for _ in range(30):
        placed(ada)
    assert n_statements() == few


def test_columns_and_methods_tell_the_same(nothing_tracked: None, django_user_model: Any) -> None:
    ada = django_user_model.objects.create(username="ada")

    class ByColumns(OrderRows):
        item_id = "product"
        order_id = "order.number"
        user = "order.customer.user"
        occurred_at = "order__placed_at"
        quantity = "quantity"
        price = "unit_price"
        refunded = "order.is_cancellation"

    class ByMethods(ByColumns):
        def quantity(self, row: OrderLine) -> int:
            return row.quantity

    line = placed(ada, unit_price=Decimal("2.50"))
    by_columns, by_methods = ByColumns("shop.OrderLine"), ByMethods("shop.OrderLine")
    assert by_methods.columns() is None
    assert by_columns.columns() is not None
    drafts = []
    for rows in (by_columns, by_methods):
        source, draft, _ = rows.reader()
        drafts += draft(source.get())
    assert drafts == [drafts[0], *by_columns.drafts(line)]
    assert (drafts[0].item_id, drafts[0].user_key) == ("mug", str(ada.pk))


def test_item_of_a_row_is_named_by_its_model_without_an_id_of_its_own(nothing_tracked: None, monkeypatch: Any) -> None:
    from shopreco.shop.recommendations import Products

    monkeypatch.setattr(Products, "id", None)
    line = placed()
    rows = OrderRows("shop.OrderLine")
    rows.item_id, rows.order_id, rows.occurred_at = "product", "order_id", "order.placed_at"
    source, draft, _ = rows.reader()
    assert rows.columns() is not None
    assert draft(source.get())[0].item_id == f"product:{line.product_id}" == rows.drafts(line)[0].item_id


def test_odd_row_is_counted_and_the_others_are_recorded(nothing_tracked: None, caplog: Any) -> None:
    @track_rows("shop.OrderLine")
    class Purchases(OrderRows):
        item_id = "product.stock_code"
        order_id = "order.number"
        occurred_at = "order.placed_at"

        def quantity(self, row: OrderLine) -> float:
            return 1 / (row.quantity - 2)

    placed()
    placed(quantity=3)
    placed(quantity=1)
    report = tracking.reconcile()
    assert (report.n_read, report.n_recorded, report.n_rejected) == (3, 2, 1)
    assert "ZeroDivisionError" in report.rejections[0]
    assert sorted(Event.objects.values_list("type", flat=True)) == ["purchase", "refund"]


def test_row_without_a_quantity_is_one_unit_and_told_by_name() -> None:
    line = placed(quantity=0)
    report = tracking.reconcile()
    assert (report.n_read, report.n_recorded, report.n_rejected, report.n_emptied) == (1, 1, 0, 1)
    assert report.emptied[0].startswith(f"order:shop.orderline:{line.pk}: quantity 0")
    assert Event.objects.get().quantity == 1


def test_rows_that_the_queryset_leaves_out_are_not_purchases(nothing_tracked: None) -> None:
    @track_rows("shop.OrderLine")
    class Purchases(OrderRows):
        item_id = "product.stock_code"
        order_id = "order.number"
        occurred_at = "order.placed_at"

        def queryset(self) -> Any:
            return super().queryset().filter(quantity__gt=5)

    placed()
    placed(quantity=6)
    assert tracking.reconcile().n_recorded == 1


def test_misspelt_path_of_a_row_offers_the_closest() -> None:
    rows = OrderRows("shop.OrderLine")
    rows.item_id, rows.order_id, rows.occurred_at = "product.stock_cod", "order.number", "order.placed_at"
    ((name, message),) = rows.faults()
    assert name == "item_id"
    assert "stock_code" in message


def test_only_a_class_of_order_rows_can_be_tracked() -> None:
    with pytest.raises(ConfigurationError, match="OrderRows"):
        track_rows("shop.OrderLine")(dict)  # type: ignore[arg-type]


def test_saved_row_is_recorded_when_its_transaction_commits(django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        placed()
    assert not Event.objects.exists()
    for callback in callbacks:
        callback()
    assert Event.objects.get().item_id == "mug"
    assert tracking.reconcile().n_known == 1


def test_row_that_cannot_be_recorded_never_fails_the_order(
    django_capture_on_commit_callbacks: Any, monkeypatch: Any, caplog: Any
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no database")

    monkeypatch.setattr(storage, "insert", broken)
    n_failed = capture.counts["failed"]
    with django_capture_on_commit_callbacks(execute=True):
        placed()
    assert OrderLine.objects.count() == 1
    assert capture.counts["failed"] == n_failed + 1
    assert "recommender_reconcile" in caplog.text


def test_row_saved_again_or_loaded_from_a_fixture_is_not_told_again(django_capture_on_commit_callbacks: Any) -> None:
    line = placed()
    with django_capture_on_commit_callbacks() as callbacks:
        line.save()
        line.save_base(raw=True)
    assert callbacks == []


class Browser:
    """A browser at the demo shop, with consent unless told otherwise."""

    def __init__(self, consent: str | None = "granted") -> None:
        self.client = Client()
        if consent:
            self.client.cookies["recommender_consent"] = consent

    def buy(self, product: Product) -> None:
        self.client.post(f"/cart/add/{product.stock_code}/", {"quantity": "2"})
        answer = {"name": "Ada", "email": "ada@example.com", "address": "1 Road", "postcode": "AB1", "country": "UK"}
        response = self.client.post("/checkout/", answer)
        assert response.status_code == 302, response.content.decode()

    @property
    def key(self) -> uuid.UUID | None:
        cookie = self.client.cookies.get("recommender_visitor")
        return identity.visitor_key_from_cookie(cookie.value) if cookie else None


@pytest.fixture
def mug(transactional_db: None) -> Product:
    return Product.objects.create(stock_code="mug", title="Mug", price=3, stock=50)


def test_guest_with_consent_is_the_buyer_of_their_order(mug: Product) -> None:
    browser = Browser()
    browser.buy(mug)
    purchase = Event.objects.select_related("visitor").get(type="purchase")
    assert purchase.visitor is not None
    assert purchase.visitor.key == browser.key
    assert purchase.visitor.user_key is None
    assert purchase.quantity == 2


def test_guest_without_consent_buys_as_nobody(mug: Product) -> None:
    browser = Browser(consent=None)
    browser.buy(mug)
    assert [(event.type, event.visitor) for event in Event.objects.all()] == [("purchase", None)]
    assert browser.key is None
    assert not Visitor.objects.exists()


def test_signed_in_customer_buys_under_the_visitor_of_the_browser(mug: Product, django_user_model: Any) -> None:
    user = django_user_model.objects.create(username="ada")
    Customer.objects.create(user=user, code="ada")
    browser = Browser()
    browser.client.get("/item/mug/")
    browser.client.force_login(user)
    browser.buy(mug)
    visitor = Visitor.objects.get()
    assert (visitor.key, visitor.user_key) == (browser.key, str(user.pk))
    assert set(visitor.events.values_list("type", flat=True)) == {"view_item", "add_to_cart", "purchase"}


def test_staff_who_enter_an_order_do_not_buy_it(mug: Product, django_user_model: Any, rf: RequestFactory) -> None:
    staff = django_user_model.objects.create(username="staff")
    ada = django_user_model.objects.create(username="ada")
    identity.grant_consent([str(ada.pk), str(staff.pk)])
    request: Any = rf.get("/admin/")
    request.COOKIES["recommender_consent"] = "granted"
    request.user = staff
    token = capture.current_request.set(request)
    placed(ada)
    placed(None, number="o2")
    capture.current_request.reset(token)
    assert capture.flush(request).n_accepted == 2
    buyers = dict(Event.objects.values_list("order_id", "visitor__user_key"))
    assert buyers == {"o1": str(ada.pk), "o2": None}


def test_customer_who_refuses_in_this_browser_buys_as_nobody(mug: Product, django_user_model: Any) -> None:
    user = django_user_model.objects.create(username="ada")
    Customer.objects.create(user=user, code="ada")
    identity.grant_consent([str(user.pk)])
    browser = Browser(consent="denied")
    browser.client.force_login(user)
    browser.buy(mug)
    assert [(event.type, event.visitor) for event in Event.objects.all()] == [("purchase", None)]


def test_order_follows_from_the_list_that_was_clicked(mug: Product) -> None:
    browser, ranking_id = Browser(), uuid.uuid4()
    browser.client.get(f"/item/mug/?rid={ranking_id}&pos=3")
    browser.client.get(f"/item/mug/?rid={ranking_id}&pos=3")
    browser.buy(mug)
    rankings = dict(Event.objects.exclude(type="view_item").values_list("type", "ranking_id"))
    assert rankings == dict.fromkeys(["select_item", "add_to_cart", "purchase"], ranking_id)
    assert Event.objects.filter(type="select_item").count() == 1


def test_command_without_a_declaration_says_what_to_write(nothing_tracked: None) -> None:
    with pytest.raises(CommandError, match="track_rows"):
        call_command("recommender_reconcile")


def test_command_takes_in_the_demo_shop(demo_shop: Any) -> None:
    n_lines = OrderLine.objects.count()
    n_gone, _ = Event.objects.filter(order_id=Order.objects.all()[0].number).delete()
    out = io.StringIO()
    call_command("recommender_reconcile", stdout=out)
    expected = f"{n_lines} rows read: {n_gone} recorded, {n_lines - n_gone} recorded before, 0 rejected"
    assert out.getvalue().startswith(expected)
    out = io.StringIO()
    call_command("recommender_reconcile", days=0.0001, stdout=out)
    assert out.getvalue().startswith("0 rows read")


def test_orders_that_the_command_records_count_in_popularity_at_once(demo_shop: Any) -> None:
    Event.objects.all().delete()
    statistics.refresh_statistics()
    assert not ItemStatistics.objects.filter(n_total__gt=0).exists()
    out = io.StringIO()
    call_command("recommender_reconcile", stdout=out)
    assert ItemStatistics.objects.filter(n_total__gt=0).exists()
    assert "items have statistics" in out.getvalue()
    Event.objects.all().delete()
    Item.objects.all().delete()  # before the first sync, which counts them
    out = io.StringIO()
    call_command("recommender_reconcile", stdout=out)
    assert "statistics" not in out.getvalue()
    out = io.StringIO()
    call_command("recommender_reconcile", stdout=out)
    assert "statistics" not in out.getvalue(), "nothing new, nothing to count"


def shown(request: Any, *, status: int = 200) -> list[capture.EventDraft]:
    source = tracking.page_source(request, HttpResponse(status=status))
    return [] if source is None else list(source(shopper_of(request)))


def test_page_told_by_a_signal_is_recorded_with_its_list_once_shown(nothing_tracked: None) -> None:
    ranking_id = uuid.uuid4()
    request: Any = RequestFactory().get(f"/anywhere/?rid={ranking_id}&pos=3")
    tracking.record_page(request, EventType.VIEW_ITEM, item_id="mug")
    tracking.record_page(request, EventType.SEARCH, query=lambda request: "red  mug")
    select, view, search = shown(request)
    assert (select.type, view.item_id, view.ranking_id, view.position) == ("select_item", "mug", ranking_id, 3)
    assert search.query == "red mug"
    assert shown(request) == []


@pytest.mark.parametrize(("method", "status"), [("get", 404), ("get", 302), ("head", 200), ("post", 400)])
def test_page_told_by_a_signal_that_was_not_shown_is_no_event(nothing_tracked: None, method: str, status: int) -> None:
    request: Any = getattr(RequestFactory(), method)("/anywhere/")
    tracking.record_page(request, EventType.VIEW_ITEM, item_id="mug")
    assert shown(request, status=status) == []


def test_rows_written_without_a_signal_are_recorded_when_they_are_named(
    django_capture_on_commit_callbacks: Any,
) -> None:
    line = placed()
    OrderLine.objects.filter(pk=line.pk).delete()
    OrderLine.objects.bulk_create([line])
    with django_capture_on_commit_callbacks(execute=True):
        tracking.record_rows("shop.OrderLine", [line.pk])
        tracking.record_rows("shop.OrderLine", [line.pk])
        assert not Event.objects.exists()
    assert Event.objects.get().message_id == f"order:shop.orderline:{line.pk}"


def test_two_classes_of_one_model_record_a_purchase_and_its_refund(nothing_tracked: None) -> None:
    @track_rows("shop.OrderLine")
    class Purchases(OrderRows):
        item_id = "product.stock_code"
        order_id = "order.number"
        occurred_at = "order.placed_at"

    @track_rows("shop.OrderLine")
    class Refunds(Purchases):
        kind = "refund"
        refunded = Constant(True)

        def queryset(self) -> Any:
            return super().queryset().filter(order__is_cancellation=True)

    line = placed()
    assert tracking.reconcile().n_recorded == 1
    Order.objects.update(is_cancellation=True)
    assert tracking.reconcile().n_recorded == 1
    assert tracking.reconcile().n_recorded == 0
    assert sorted(Event.objects.values_list("message_id", "type")) == [
        (f"order:shop.orderline:{line.pk}", "purchase"),
        (f"refund:shop.orderline:{line.pk}", "refund"),
    ]
