"""The pages of the demo shop: every page answers, the sums are right, and no page needs a script."""

from __future__ import annotations

import re
from decimal import Decimal
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.test import Client, RequestFactory
from django.urls import reverse

from recommender.catalog import sync
from recommender.models import Event, Impression, Item
from shopreco.shop.cart import MAX_LINES, Cart
from shopreco.shop.context import shop
from shopreco.shop.models import Customer, Department, Order, OrderLine, Product
from shopreco.shop.ordering import SoldOut, place_order
from tests.conftest import assert_queries

pytestmark = pytest.mark.django_db

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"


@pytest.fixture
def browser() -> Client:
    return Client(headers={"User-Agent": BROWSER})


@pytest.fixture
def mug() -> Product:
    return make_product("MUG1", "Red Retrospot Mug", price="2.95", stock=5)


def make_product(code: str, title: str, *, price: str = "1.00", stock: int = 20, **fields: Any) -> Product:
    return Product.objects.create(stock_code=code, title=title, price=Decimal(price), stock=stock, **fields)


def add(client: Client, product: Product, quantity: object = 1) -> Any:
    return client.post(reverse("shop:cart_add", args=[product.stock_code]), {"quantity": quantity}, follow=True)


def messages_of(response: Any) -> str:
    return " ".join(str(message) for message in response.context["messages"])


PAGES = ["/", "/products/", "/search/", "/search/?q=mug", "/cart/", "/sign-in/", "/privacy/"]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_answers_in_an_empty_shop(browser: Client, page: str) -> None:
    assert browser.get(page).status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_every_page_answers_in_a_full_shop(demo_shop: Any, browser: Client, page: str) -> None:
    browser.force_login(demo_shop.customer().user)
    response = browser.get(page)
    assert response.status_code == 200
    assert "data-item-id" in response.content.decode() or page in ("/sign-in/", "/privacy/")


class Audit(HTMLParser):
    """Collects what a strict Content-Security-Policy forbids, ids, labels, and fields without a name."""

    def __init__(self) -> None:
        super().__init__()
        self.forbidden: list[str] = []
        self.ids: list[str] = []
        self.labelled: set[str] = set()
        self.fields: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "style" or "style" in names or (tag == "script" and "src" not in names):
            self.forbidden.append(tag)
        self.forbidden += [name for name in names if name.startswith("on")]
        self.ids += [names["id"] or ""] if "id" in names else []
        if tag == "label":
            self.labelled.add(names.get("for") or "")
        if tag in ("input", "select") and names.get("type") not in ("hidden", "submit"):
            self.fields.append(names.get("id") or "")


@pytest.mark.parametrize("page", [*PAGES, "product", "/nowhere/"])
def test_pages_keep_a_strict_content_security_policy_and_label_their_fields(
    demo_shop: Any, browser: Client, page: str
) -> None:
    add(browser, demo_shop.product())
    response = browser.get(demo_shop.product().get_absolute_url() if page == "product" else page)
    audit = Audit()
    audit.feed(response.content.decode())
    assert audit.forbidden == []
    assert len(set(audit.ids)) == len(audit.ids)
    assert set(audit.fields) <= audit.labelled


def test_cards_carry_what_capture_needs(demo_shop: Any, browser: Client) -> None:
    page = browser.get("/").content.decode()
    cards = re.findall(
        r'<article class="card" data-item-id="([^"]+)" data-ranking-id="([0-9a-f-]{36})" data-position="(\d+)">\s*'
        r'<a class="card-link" href="/item/([^/"]+)/\?rid=([0-9a-f-]{36})&amp;pos=(\d+)"',
        page,
    )
    assert len(cards) == page.count('<article class="card"') > 5
    assert all((item, ranking, position) == (code, rid, pos) for item, ranking, position, code, rid, pos in cards)


def test_click_on_a_card_is_recorded_after_consent_only(demo_shop: Any, browser: Client) -> None:
    def click_first_card() -> None:
        link = re.search(r'card-link" href="([^"]+)"', browser.get("/").content.decode())
        assert link
        browser.get(link[1].replace("&amp;", "&"))

    before = Event.objects.count()
    click_first_card()
    assert Event.objects.count() == before
    browser.post("/consent/", {"answer": "granted", "next": "/"})
    click_first_card()
    new = Event.objects.exclude(source="order")
    assert set(new.values_list("type", flat=True)) == {"select_item", "view_item"}
    assert Impression.objects.filter(pk__in=new.values("ranking_id")).count() == 1


def test_consent_banner_asks_until_it_is_answered(browser: Client) -> None:
    page = browser.get("/cart/").content.decode()
    assert 'data-consent="accept"' in page
    assert 'data-consent="decline"' in page
    response = browser.post("/consent/", {"answer": "denied", "next": "/cart/"})
    assert response["Location"] == "/cart/"
    assert response.cookies["recommender_consent"].value == "denied"
    assert "data-consent" not in browser.get("/").content.decode()


def test_consent_leads_back_to_this_shop_only(browser: Client) -> None:
    response = browser.post("/consent/", {"answer": "granted", "next": "https://elsewhere.example/"})
    assert response["Location"] == "/"
    assert response.cookies["recommender_consent"].value == "granted"


def test_hidden_product_and_unknown_department_are_not_found(browser: Client, mug: Product) -> None:
    Product.objects.update(is_visible=False)
    assert browser.get(mug.get_absolute_url()).status_code == 404
    assert browser.post(reverse("shop:cart_add", args=["MUG1"])).status_code == 404
    assert browser.get("/department/none/").status_code == 404
    assert browser.get("/item/NONE/").status_code == 404


def test_department_lists_its_own_in_the_chosen_order(browser: Client) -> None:
    mugs = Department.objects.create(name="Mugs", slug="mugs")
    for n in range(30):
        make_product(f"M{n:02}", f"Mug {n:02}", price=f"{n + 1}.00", department=mugs)
    make_product("C1", "Card")
    Product.objects.filter(stock_code="M07").update(is_visible=False)

    def codes(query: str) -> list[str]:
        return re.findall(r'data-item-id="([^"]+)"', browser.get(f"/department/mugs/?{query}").content.decode())

    assert codes("sort=price")[:2] == ["M00", "M01"]
    assert codes("sort=-price")[:2] == ["M29", "M28"]
    assert len(codes("sort=name")) == 24
    assert codes("sort=name&page=2") == [f"M{n}" for n in range(25, 30)]
    assert codes("sort=nonsense&page=nonsense") == codes("")
    assert codes("sort=name&page=99") == codes("sort=name&page=2")


def test_search_finds_in_spite_of_a_typing_error_and_says_so(demo_shop: Any, browser: Client) -> None:
    product = demo_shop.product()
    word = max(product.title.lower().split(), key=len)
    wrong = word[:2] + word[3:]
    page = browser.get("/search/", {"q": wrong}).content.decode()
    assert f"Results for “{word}”" in page
    assert f"You typed “{wrong}”" in page
    assert f'data-item-id="{product.stock_code}"' in page


@pytest.mark.parametrize(
    "query",
    [
        "",
        "   ",
        "zzzzqqqq",
        "🎁",
        "杯子",
        "'; DROP TABLE shop_product; --",
        'mug AND NOT "x* NEAR(',
        "a" * 10_000,
        "\x00",
    ],
)
def test_search_answers_every_query_and_never_with_an_empty_page(demo_shop: Any, browser: Client, query: str) -> None:
    response = browser.get("/search/", {"q": query})
    assert response.status_code == 200
    assert "data-item-id" in response.content.decode()


def test_results_are_narrowed_and_ordered_by_links_and_a_form(demo_shop: Any, browser: Client) -> None:
    demo_shop.spread_over_categories()
    page = browser.get("/search/?q=set").content.decode()
    links = [unescape(link) for link in re.findall(r'href="([^"]+)" rel="nofollow"', page)]
    link = next(link for link in links if "Cards" in link)
    narrowed = browser.get(f"/search/{link}&sort=price&page=1").content.decode()
    assert 'aria-current="true"><span>Cards &amp; paper</span>' in narrowed
    assert '<input type="hidden" name="category" value="Cards &amp; paper">' in narrowed
    assert '<option value="price" selected>Price, low to high</option>' in narrowed
    assert 'name="page"' not in narrowed
    n_found = int(re.search(r"(\d+) found", narrowed)[1])  # type: ignore[index]
    prices = [float(price) for price in re.findall(r'<p class="price">£([\d.]+)', narrowed)][:n_found]
    assert len(prices) > 1
    assert prices == sorted(prices)


@pytest.mark.parametrize("address", ["sort=x", "category=x", "min_price=9&max_price=1", "facets=x", "available=x"])
def test_no_address_breaks_the_results(demo_shop: Any, browser: Client, address: str) -> None:
    page = browser.get(f"/search/?q=set&{address}").content.decode()
    assert "data-item-id" in page


@pytest.mark.parametrize("page", ["0", "-1", "x", "9999999999", "²", "1.5"])
def test_search_takes_any_page_number(demo_shop: Any, browser: Client, page: str) -> None:
    assert browser.get("/search/", {"q": "red", "page": page}).status_code == 200


def test_search_escapes_what_was_typed(demo_shop: Any, browser: Client) -> None:
    page = browser.get("/search/", {"q": '<script>alert("x")</script>'}).content.decode()
    assert "<script>alert" not in page


def test_second_page_of_results_continues_the_first(demo_shop: Any, browser: Client) -> None:
    def positions(number: int) -> list[int]:
        page = browser.get("/search/", {"q": "keepsake", "page": number}).content.decode()
        return [int(position) for position in re.findall(r'data-position="(\d+)"', page)]

    for product in Product.objects.all()[:30]:
        product.title += " keepsake"
        product.save()
    sync.sync()
    first = positions(1)
    assert first == list(range(1, 25))
    assert positions(2) == list(range(25, 31))


def test_product_saved_in_the_shop_becomes_an_item(
    mug: Product, django_capture_on_commit_callbacks: Any, browser: Client
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        mug.title = "Blue Enamel Mug"
        mug.save()
    assert Item.objects.get(item_id="MUG1").title == "Blue Enamel Mug"


def test_cart_adds_changes_and_removes(browser: Client, mug: Product) -> None:
    add(browser, mug, 2)
    page = add(browser, mug, 1)
    assert page.context["cart"].quantities == {"MUG1": 3}
    assert "£8.85" in page.content.decode()
    page = browser.post(reverse("shop:cart_update", args=["MUG1"]), {"quantity": 1}, follow=True)
    assert page.context["cart"].total == Decimal("2.95")
    page = browser.post(reverse("shop:cart_remove", args=["MUG1"]), follow=True)
    assert not page.context["cart"].lines
    assert "removed" in messages_of(page)


def test_cart_holds_at_most_what_is_in_stock_and_says_so(browser: Client, mug: Product) -> None:
    page = add(browser, mug, 99)
    assert page.context["cart"].quantities == {"MUG1": 5}
    assert "Only 5" in messages_of(page)
    Product.objects.update(stock=0)
    assert "sold out" in messages_of(add(browser, mug)).lower()


@pytest.mark.parametrize("quantity", ["-1", "x", "1e9", "99999"])
def test_odd_quantities_are_refused_in_words(browser: Client, mug: Product, quantity: str) -> None:
    page = add(browser, mug, quantity)
    assert page.context["cart"].quantities == {}
    assert "quantity" in messages_of(page)


def test_cart_without_quantity_adds_one(browser: Client, mug: Product) -> None:
    page = browser.post(reverse("shop:cart_add", args=["MUG1"]), follow=True)
    assert page.context["cart"].quantities == {"MUG1": 1}


def test_cart_forgets_what_left_the_shop(browser: Client, mug: Product) -> None:
    add(browser, mug)
    Product.objects.update(is_visible=False)
    assert browser.get("/cart/").context["cart"].lines == []
    assert browser.get("/checkout/")["Location"] == "/cart/"


def test_cart_has_a_last_line(mug: Product) -> None:
    request = RequestFactory().get("/")
    request.session = {"cart": {f"X{n}": 1 for n in range(MAX_LINES)}}  # type: ignore[assignment]
    assert Cart(request).put(mug, 1) == 0


def test_cart_is_changed_by_post_only(browser: Client, mug: Product) -> None:
    for name in ("cart_add", "cart_update", "cart_remove"):
        assert browser.get(reverse(f"shop:{name}", args=["MUG1"])).status_code == 405
    assert browser.get("/sign-out/").status_code == 405
    assert browser.get("/consent/").status_code == 405


def test_checkout_writes_the_order_and_takes_the_stock(browser: Client, mug: Product) -> None:
    add(browser, mug, 2)
    page = browser.post("/checkout/", {"name": "Ada", "email": "ada@example.com"}, follow=True)
    order = Order.objects.get()
    assert (order.name, order.email, order.customer) == ("Ada", "ada@example.com", None)
    assert [(line.product, line.quantity, line.unit_price) for line in order.lines.all()] == [(mug, 2, Decimal("2.95"))]
    mug.refresh_from_db()
    assert (mug.stock, mug.n_sold) == (3, 1)
    assert order.number in page.content.decode()
    assert page.context["cart"].quantities == {}


def test_checkout_becomes_purchases_at_once(
    demo_shop: Any, browser: Client, django_capture_on_commit_callbacks: Any
) -> None:
    customer = demo_shop.customer()
    browser.post("/sign-in/", {"code": customer.code})
    add(browser, demo_shop.product(), 2)
    with django_capture_on_commit_callbacks(execute=True):
        browser.post("/checkout/", {"name": "Ada", "email": "ada@example.com"})
    order = customer.orders.first()
    event = Event.objects.get(order_id=order.number)
    assert (event.type, event.quantity, event.item_id) == ("purchase", 2, demo_shop.product().stock_code)
    assert event.visitor is not None
    assert event.visitor.user_key == str(customer.user_id)


@pytest.mark.parametrize(
    "fields", [{}, {"name": "Ada"}, {"name": "Ada", "email": "not an address"}, {"name": "x" * 500}]
)
def test_checkout_asks_again_for_what_is_wrong(browser: Client, mug: Product, fields: dict[str, str]) -> None:
    add(browser, mug)
    page = browser.post("/checkout/", fields)
    assert page.status_code == 200
    assert 'class="error"' in page.content.decode()
    assert not Order.objects.exists()


def test_checkout_of_what_was_sold_meanwhile_writes_nothing(browser: Client, mug: Product) -> None:
    add(browser, mug, 4)
    other = make_product("CARD", "Card")
    add(browser, other)
    Product.objects.filter(pk=mug.pk).update(stock=3)
    page = browser.post("/checkout/", {"name": "Ada", "email": "ada@example.com"}, follow=True)
    assert "no longer available" in messages_of(page)
    assert not Order.objects.exists()
    assert not OrderLine.objects.exists()
    other.refresh_from_db()
    assert other.stock == 20


def test_last_piece_is_sold_once(mug: Product) -> None:
    Product.objects.update(stock=1)
    line = Cart(_request_with_cart({"MUG1": 1})).lines
    place_order(line, name="Ada", email="ada@example.com")
    with pytest.raises(SoldOut, match="Red Retrospot Mug"):
        place_order(line, name="Eve", email="eve@example.com")


def _request_with_cart(quantities: dict[str, int]) -> Any:
    request: Any = RequestFactory().get("/")
    request.session, request.user = {"cart": quantities}, AnonymousUser()
    return request


def test_thank_you_page_is_shown_to_its_buyer_only(browser: Client, mug: Product) -> None:
    add(browser, mug)
    page = browser.post("/checkout/", {"name": "Ada", "email": "ada@example.com"}, follow=True)
    address = page.redirect_chain[-1][0]
    assert browser.get(address).status_code == 200
    assert Client().get(address).status_code == 404


def test_sign_in_offers_real_customers_by_number_and_country(demo_shop: Any, browser: Client) -> None:
    page = browser.get("/sign-in/")
    offered = [customer.code for customer, _ in page.context["choices"]]
    assert offered[0] == demo_shop.customer().code
    assert f"{demo_shop.customer().n_orders}" in page.content.decode()
    country = Customer.objects.get(code=offered[-1]).country
    choices = browser.get("/sign-in/", {"q": country[:4]}).context["choices"]
    assert choices
    assert all(country[:4].lower() in customer.country.lower() for customer, _ in choices)
    assert "No customer" in browser.get("/sign-in/", {"q": "nobody"}).content.decode()


def test_sign_in_shows_what_a_customer_buys(demo_shop: Any, browser: Client) -> None:
    department = Department.objects.create(name="Bags", slug="bags")
    Product.objects.update(department=department)
    _, tastes = browser.get("/sign-in/").context["choices"][0]
    assert tastes == ["Bags"]


def test_sign_in_as_a_customer_personalises_and_sign_out_ends_it(demo_shop: Any, browser: Client) -> None:
    customer = demo_shop.customer()
    page = browser.post("/sign-in/", {"code": customer.code}, follow=True)
    assert browser.cookies["recommender_consent"].value == "granted"
    assert f"customer {customer.code}" in page.content.decode()
    assert 'data-slot="buy_again"' in page.content.decode()
    page = browser.post("/sign-out/", follow=True)
    assert page.wsgi_request.user.is_anonymous
    assert 'data-slot="buy_again"' not in page.content.decode()


def test_two_customers_see_different_lists(demo_shop: Any, browser: Client) -> None:
    def list_of(position: int) -> list[str]:
        browser.post("/sign-in/", {"code": demo_shop.customer(position).code})
        page = browser.get("/").content.decode().partition('data-slot="home"')[2].partition("</section>")[0]
        return re.findall(r'data-item-id="([^"]+)"', page)

    assert list_of(0)
    assert list_of(0) != list_of(1)


def test_sign_in_exists_in_the_demo_only(browser: Client, settings: Any) -> None:
    settings.DEMO_SIGN_IN = False
    User.objects.create_superuser("root", "root@example.com", "secret")
    assert browser.get("/sign-in/").status_code == 404
    assert browser.post("/sign-in/", {"code": "root"}).status_code == 404
    assert "/sign-in/" not in browser.get("/").content.decode()


def test_sign_in_is_for_customers_never_for_staff(browser: Client) -> None:
    User.objects.create_superuser("root", "root@example.com", "secret")
    assert browser.post("/sign-in/", {"code": "root"}).status_code == 404


def test_page_costs_the_shop_few_queries(demo_shop: Any, browser: Client) -> None:
    browser.get("/")
    with assert_queries(12):
        browser.get("/")
    with assert_queries(12):
        browser.get(demo_shop.product().get_absolute_url())


def test_context_costs_nothing_until_it_is_shown(db: None, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        context = shop(_request_with_cart({"MUG1": 2}))
        assert len(context["cart"]) == 2
        assert context["asks_for_consent"]


def test_items_of_the_shop_are_as_its_catalog_says(mug: Product) -> None:
    mug.department = Department.objects.create(name="Mugs", slug="mugs")
    mug.save()
    make_product("GONE", "Hidden Thing", is_visible=False)
    make_product("SOLD", "Sold Thing", stock=0)
    sync.sync()
    item = Item.objects.get(item_id="MUG1")
    assert (item.title, item.category, item.price, item.currency) == (
        "Red Retrospot Mug",
        "Mugs",
        Decimal("2.95"),
        "GBP",
    )
    assert item.url == "/item/MUG1/"
    assert not Item.objects.get(item_id="GONE").is_active
    assert not Item.objects.get(item_id="SOLD").is_available
