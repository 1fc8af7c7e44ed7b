"""What shoppers do at Oscar's real pages is recorded once each, and never in the page's way."""

import random

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from myshop import stock
from myshop.shopping import Shopper, item_id, recorded, titles_of, walk
from oscar.apps.search.views import FacetedSearchView
from oscar.core.loading import get_model

from recommender import capture
from recommender.contrib.oscar import receivers
from recommender.models import Event, Impression, Visitor
from recommender.tracking import reconcile

pytestmark = pytest.mark.usefixtures("live_shop")

Order, Line = get_model("order", "Order"), get_model("order", "Line")
N_STEPS = 200


@pytest.fixture
def bought(product):
    """A guest's order of two teapots and a red apron."""
    shopper = Shopper()
    shopper.add(product("Teapot"), 2)
    shopper.add(product("Apron, red"))
    shopper.order()
    return shopper


@pytest.fixture
def user(django_user_model):
    return django_user_model.objects.create_user("ada", "ada@example.org", "a-long-password")


def signed_in(user, **options):
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return Shopper(client=client, **options)


def test_guest_from_home_to_order_is_recorded_once_each():
    shopper = walk()
    assert sorted(kind for kind, _, _ in shopper.happened) == ["add_to_cart", "purchase", "search", "view_item"]
    assert set(Event.objects.values_list("visitor__has_consented", flat=True)) == {True}
    assert Visitor.objects.count() == 1
    assert Order.objects.get().guest_email not in str(list(Event.objects.values()))


def test_session_of_two_hundred_steps_is_recorded_whole_and_nothing_twice(capsys):
    shopper, chosen = Shopper(), random.Random(4)
    products = list(get_model("catalogue", "Product").objects.filter(is_public=True))
    for_sale = [product for product in products if not product.is_parent]
    n_orders = 0
    for _ in range(N_STEPS):
        step = chosen.choices(["view", "search", "add", "remove", "order"], [40, 25, 20, 5, 10])[0]
        if step == "order" and shopper.basket:
            shopper.order()
            n_orders += 1
        elif step == "remove" and shopper.basket:
            shopper.remove_first()
        elif step == "search":
            shopper.search(chosen.choice((*stock.NOVELS, *stock.POTS, "apron", "red  glove ", "no such thing", " ")))
        elif step == "add":
            product = chosen.choice([one for one in for_sale if one not in shopper.basket])
            shopper.add(product, chosen.randint(1, 5))
        else:
            shopper.view(chosen.choice(products))
    reports = [reconcile(), reconcile()]
    happened, recorded_events = shopper.happened, recorded()
    with capsys.disabled():
        kinds = sorted({kind for kind, _, _ in happened})
        recorded_types = {kind: sum(n for (of, _, _), n in happened.items() if of == kind) for kind in kinds}
        print(  # noqa: T201  the figures of the session
            f"\n{N_STEPS} steps, {n_orders} orders: happened {sum(happened.values())} {recorded_types}, "
            f"recorded {sum(recorded_events.values())}, missing {sum((happened - recorded_events).values())}, "
            f"twice or never done {sum((recorded_events - happened).values())}"
        )
    assert n_orders > 3
    assert recorded_events == happened
    assert [report.n_recorded for report in reports] == [0, 0]
    assert Event.objects.values("message_id").distinct().count() == Event.objects.count()


def test_without_consent_only_orders_count_and_as_nobodys(product):
    shopper = Shopper(has_consented=False)
    shopper.home()
    shopper.search("teapot")
    shopper.view(product("Teapot"))
    shopper.add(product("Teapot"), 2)
    shopper.order()
    assert not Visitor.objects.exists()
    assert not Impression.objects.exists()
    event = Event.objects.get()
    assert (event.type, event.quantity, event.price, event.visitor) == ("purchase", 2, 20, None)
    assert "recommender_visitor" not in shopper.client.cookies
    assert reconcile().n_recorded == 0


def test_child_that_is_bought_is_a_purchase_of_its_parent(bought, product):
    apron = Event.objects.get(type="purchase", item_id=item_id(product("Apron")))
    assert apron.price == 10
    assert recorded() == bought.happened


def test_order_of_a_user_belongs_to_the_user(user, product):
    shopper = signed_in(user)
    shopper.add(product("Teapot"))
    assert shopper.client.get(reverse("checkout:index")).status_code == 302
    shopper.order()
    assert Event.objects.get(type="purchase").visitor.user_key == str(user.pk)


def test_past_orders_are_reconciled_once(bought):
    Event.objects.all().delete()
    assert [reconcile().n_recorded for _ in range(2)] == [2, 0]
    assert sorted(Event.objects.values_list("type", "quantity", "visitor")) == [
        ("purchase", 1, None),
        ("purchase", 2, None),
    ]


def test_line_of_a_deleted_product_is_left_out(bought, product):
    product("Teapot").delete()
    Event.objects.all().delete()
    report = reconcile()
    assert (report.n_recorded, report.n_rejected) == (1, 0)


def test_lines_written_in_bulk_are_told_by_the_order(bought):
    """A forked order creator may use `bulk_create`, which sends no `post_save`."""
    from oscar.apps.order.signals import order_placed

    Event.objects.all().delete()
    order_placed.send(sender=None, order=Order.objects.get(), user=None)
    assert Event.objects.filter(type="purchase").count() == 2


def test_cancelled_order_is_a_refund_of_each_line_once(bought):
    order = Order.objects.get()
    order.set_status("Cancelled")
    assert [reconcile().n_recorded for _ in range(2)] == [0, 0]
    assert sorted(Event.objects.filter(order_id=order.number).values_list("type", "quantity")) == [
        ("purchase", 1),
        ("purchase", 2),
        ("refund", 1),
        ("refund", 2),
    ]
    purchase, refund = (Event.objects.filter(type=kind).latest("pk") for kind in ("purchase", "refund"))
    assert refund.occurred_at > purchase.occurred_at


def test_returned_line_is_a_refund_and_a_shipped_order_none(bought):
    Line.objects.get(quantity=2).set_status("Returned")
    Order.objects.get().set_status("Shipped")
    assert Event.objects.filter(type="refund").get().quantity == 2
    assert reconcile().n_recorded == 0


def test_cancellation_of_the_past_is_reconciled(bought):
    Order.objects.update(status="CANCELLED")
    assert [reconcile().n_recorded for _ in range(2)] == [2, 0]


def test_removed_basket_line_is_recorded_and_an_emptied_basket_of_a_merge_is_not(product, user):
    shopper = Shopper()
    shopper.add(product("Teapot"), 3)
    shopper.remove_first()
    assert recorded() == shopper.happened
    get_model("basket", "Basket").objects.all().delete()
    assert recorded() == shopper.happened


@pytest.mark.parametrize("query", ["", "   ", "\x00"])
def test_empty_search_is_none(query):
    Shopper().search(query.replace("\x00", ""))
    assert not Event.objects.exists()


def test_second_page_of_results_is_no_second_search(monkeypatch):
    monkeypatch.setattr(FacetedSearchView, "paginate_by", 1)
    shopper = Shopper()
    shopper.search("pot")
    pages = [shopper.client.get(reverse("search:search"), {"q": "pot", "page": page}) for page in "12"]
    assert [page.status_code for page in pages] == [200, 200]
    assert Event.objects.filter(type="search").count() == 2


def test_head_and_missing_page_are_no_view(product):
    shopper = Shopper()
    assert shopper.client.head(product("Teapot").get_absolute_url()).status_code == 200
    assert shopper.client.get("/catalogue/teapot_99999/").status_code == 404
    assert not Event.objects.exists()


def test_hidden_product_that_staff_looks_at_is_no_view(user, product):
    user.is_staff = True
    user.save()
    page = signed_in(user).client.get(product("Secret lamp").get_absolute_url())
    assert page.status_code == 200
    assert not Event.objects.exists()


def test_refused_addition_is_none(product):
    shopper = Shopper()
    shopper.client.post(reverse("basket:add", args=[product("Teapot").pk]), {"quantity": 99_999})
    assert not Event.objects.exists()


def test_click_out_of_a_list_is_attributed_to_the_order(product):
    shopper = Shopper()
    shopper.home()
    shown = Impression.objects.get()
    teapot = product("Teapot")
    shopper.view(teapot, rid=str(shown.ranking_id), pos=shown.item_ids.index(item_id(teapot)) + 1)
    shopper.add(teapot)
    shopper.order()
    lists = dict(Event.objects.values_list("type", "ranking_id"))
    assert lists == dict.fromkeys(("select_item", "view_item", "add_to_cart", "purchase"), shown.ranking_id)


def test_failure_is_logged_and_counted_and_no_page_sees_it(monkeypatch, caplog, product):
    def fail(*args, **kwargs):
        raise RuntimeError("broken")

    monkeypatch.setattr(receivers, "_complaints", set())
    for name in ("record_page", "record_rows"):
        monkeypatch.setattr(receivers, name, fail)
    monkeypatch.setattr(capture, "ingest", fail)
    failed = capture.counts["failed"]
    shopper = Shopper()
    shopper.home()
    shopper.search("teapot")
    shopper.search("teapot")
    shopper.view(product("Teapot"))
    shopper.add(product("Teapot"))
    shopper.order()
    assert not Event.objects.exists()
    assert capture.counts["failed"] - failed >= 5
    messages = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert sum(message.startswith("on_search failed") for message in messages) == 1
    assert not any("teapot" in message for message in messages)
    monkeypatch.undo()
    assert reconcile().n_recorded == 1


def test_atomic_requests_record_the_same(settings, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    walk()


def test_capture_adds_no_query_before_the_response(product, monkeypatch):
    """What is stored after the response is switched off here; the lists of the pages stay."""
    apron, shopper = product("Apron, red"), Shopper()
    monkeypatch.setattr(capture, "flush", lambda request: None)
    pages = (
        lambda: shopper.client.get(reverse("search:search"), {"q": "teapot"}),
        lambda: shopper.client.get(apron.get_absolute_url()),
        lambda: shopper.client.post(reverse("basket:add", args=[apron.pk]), {"quantity": 1}),
        lambda: shopper.client.post(reverse("basket:summary"), {"form-TOTAL_FORMS": 0, "form-INITIAL_FORMS": 0}),
    )

    def n_queries():
        n_queries = []
        for page in pages:
            with CaptureQueriesContext(connection) as queries:
                page()
            n_queries.append(len(queries))
        return n_queries

    n_queries()
    with_us = n_queries()
    try:
        for name, signal in (
            ("on_view", receivers.product_viewed),
            ("on_search", receivers.user_search),
            ("on_addition", receivers.basket_addition),
            ("on_removal", receivers.post_delete),
        ):
            assert signal.disconnect(dispatch_uid=f"recommender_oscar.{name}")
        assert n_queries() == with_us
    finally:
        receivers.connect()


def test_order_is_placed_without_a_query_of_ours_before_the_response(product, monkeypatch):
    monkeypatch.setattr(capture, "flush", lambda request: None)
    shopper = Shopper()
    shopper.add(product("Teapot"))
    with CaptureQueriesContext(connection) as queries:
        shopper.order()
    assert not any("recommender_event" in query["sql"] or "recommender_visitor" in query["sql"] for query in queries)
    assert sum('FROM "order_line"' in query["sql"] for query in queries) > 0


def test_lists_of_a_page_read_at_most_four_queries(product):
    shopper = Shopper()
    shopper.view(product("Teapot"))
    page = "/catalogue/"

    def statements():
        with CaptureQueriesContext(connection) as queries:
            response = shopper.client.get(page)
        assert response.status_code == 200
        return response, [query["sql"] for query in queries]

    statements()
    response, sql = statements()
    assert titles_of(response, "home")
    ours = [one for one in sql if "recommender_" in one and one.startswith("SELECT")]
    live = [one for one in sql if "first_image" in one]
    assert len(ours) + len(live) <= 4
    assert len(live) == 1
