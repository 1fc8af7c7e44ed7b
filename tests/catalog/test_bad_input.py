"""Whatever a shop's rows and declarations hold: what is wrong is named with its repair, and the rest goes on."""

from __future__ import annotations

import tracemalloc
from decimal import Decimal
from io import StringIO
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.db import models

from recommender.catalog import Catalog, Constant, live_items, sync
from recommender.catalog.values import currency, link, money, name, plain, price
from recommender.models import Item
from recommender.text.intent.categories import fit_categorizer
from shopreco.shop.models import Department, Product

pytestmark = pytest.mark.django_db


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Any:
    def register(*catalogs: Catalog) -> None:
        monkeypatch.setattr("recommender.catalog.registry._catalogs", {one.label.lower(): one for one in catalogs})

    return register


class Plain(Catalog):
    id = "stock_code"
    currency = Constant("GBP")


def make_products(n: int) -> None:
    rows = [Product(stock_code=f"P{number}", title=f"Thing {number}", price=Decimal(1)) for number in range(n)]
    Product.objects.bulk_create(rows, batch_size=500)


def test_catalog_of_a_missing_model_is_named_and_the_others_are_synced(registered: Any) -> None:
    registered(Catalog("shop.Prodct"), Plain("shop.Product"))
    make_products(3)
    output, errors = StringIO(), StringIO()
    call_command("recommender_sync", "--no-vectors", stdout=output, stderr=errors)
    assert "3 created" in output.getvalue()
    assert "@register('shop.Prodct') names no model. Did you mean 'shop.Product'?" in errors.getvalue()


def test_missing_model_never_breaks_the_shops_save(registered: Any, django_capture_on_commit_callbacks: Any) -> None:
    registered(Catalog("shop.Prodct"), Plain("shop.Product"))
    with django_capture_on_commit_callbacks(execute=True):
        make_product = Product.objects.create(stock_code="A", title="Mug", price=1)
        Department.objects.create(name="x", slug="x")
        make_product.delete()
    assert live_items({"A": ("shop.Product", "1")}) == {}


def test_path_that_fails_on_one_product_of_a_thousand_leaves_that_one_out(registered: Any) -> None:
    class Fragile(Plain):
        def price(self, product: Product) -> Decimal:
            if product.stock_code == "P500":
                raise ZeroDivisionError("no exchange rate for P500")
            return product.price

    registered(Fragile("shop.Product"))
    make_products(1000)
    report = sync.sync()
    assert (report.n_created, report.n_failed) == (999, 1)
    assert "no exchange rate for P500" in report.failures[0]
    assert not Item.objects.filter(item_id="P500").exists()


def test_price_that_raises_leaves_one_place_of_a_list_empty(registered: Any, caplog: Any) -> None:
    class Fragile(Plain):
        def price(self, product: Product) -> Decimal:
            if product.stock_code == "P1":
                raise RuntimeError("the price service is down")
            return product.price

    registered(Fragile("shop.Product"))
    make_products(3)
    refs = {product.stock_code: ("shop.Product", str(product.pk)) for product in Product.objects.all()}
    assert set(live_items(refs)) == {"P0", "P2"}
    assert "the price service is down" in caplog.text


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("x" * 10_000_000, "x" * 500),
        ("<p>Tea &amp; <b>biscuits</b></p>", "Tea & biscuits"),
        ("<" * 2_000, ""),
        ("<a<b<c>" * 300 + "Mug", None),
        ("a\x00b\ud800c", "a b?c"),
        ("<script>alert(1)</script>Mug", "Mug"),
    ],
    ids=["10 MB", "HTML", "only brackets", "nested", "unstorable", "script"],
)
def test_odd_title_is_plain_and_short(registered: Any, title: str, expected: str | None) -> None:
    class Titled(Plain):
        def title(self, product: Product) -> str:
            return title

    registered(Titled("shop.Product"))
    make_products(1)
    assert sync.sync().n_created == 1
    stored = Item.objects.get().title
    assert len(stored) <= 500
    assert expected is None or stored.strip("<") == expected


def test_hundred_thousand_categories_fit_into_memory() -> None:
    n = 100_000
    titles = [("thing", f"number{code}") for code in range(n)]
    queries = [(("number7",), {7: 3.0})] * 2_000
    tracemalloc.start()
    model = fit_categorizer(titles, np.arange(n, dtype=np.int32), n, queries)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300e6
    assert int(model.probabilities(["number7"]).argmax()) == 7
    assert model.probabilities(["number7"]).sum() == pytest.approx(1, abs=1e-3)


def test_two_catalogs_that_give_one_id_are_named_and_neither_takes_the_other(registered: Any) -> None:
    class Same(Catalog):
        id = Constant("SAME")
        title = "name"

    class Other(Plain):
        id = Constant("SAME")

    registered(Other("shop.Product"), Same("shop.Department"))
    make_products(1)
    Department.objects.create(name="Kitchen", slug="kitchen")
    for _ in range(2):
        report = sync.sync()
        assert report.n_failed == 1
        assert "is an item of shop.Product already. Give the Catalog an id of its own" in report.failures[0]
    assert Item.objects.get().label == "shop.Product"


@pytest.mark.parametrize("key", ["", "x" * 129, "a\x00"])
def test_id_that_no_column_takes_is_named(registered: Any, key: str) -> None:
    class Odd(Plain):
        def id(self, product: Product) -> str:
            return key

    registered(Odd("shop.Product"))
    make_products(1)
    assert "must have 1 to 128 characters" in sync.sync().failures[0]


def test_misspelt_preparation_and_unknown_related_model_are_faults() -> None:
    class Wrong(Plain):
        related = {"shop.Departmen": "department"}
        group = "departmet"

        def prepare_titel(self, product: Product) -> str:
            return ""

    faults = dict(Wrong("shop.Product").faults())
    assert "prepare_titel" in faults
    assert "'shop.Department'" in faults["related"]
    assert "'department'" in faults["group"]


def test_prepared_value_and_an_object_that_is_not_to_be_an_item(registered: Any) -> None:
    class Choosy(Plain):
        def prepare_title(self, product: Product) -> str:
            return product.title.upper()

        def should_index(self, product: Product) -> bool:
            return product.stock_code != "P1"

    registered(Choosy("shop.Product"))
    make_products(2)
    report = sync.sync()
    assert (report.n_created, report.n_failed) == (1, 0)
    assert Item.objects.get().title == "THING 0"
    Product.objects.filter(stock_code="P0").update(stock_code="P1x")
    refs = {one.stock_code: ("shop.Product", str(one.pk)) for one in Product.objects.all()}
    assert set(live_items(refs)) == {"P1x"}


def test_item_that_may_be_one_no_more_becomes_inactive(registered: Any) -> None:
    class Choosy(Plain):
        wanted = staticmethod(lambda: True)

        def should_index(self, product: Product) -> bool:
            return type(self).wanted()

    registered(Choosy("shop.Product"))
    make_products(1)
    sync.sync()
    Choosy.wanted = staticmethod(lambda: False)
    assert sync.sync().n_deactivated == 1
    assert not Item.objects.get().is_active


def test_names_and_prices_of_other_kinds_are_read() -> None:
    class Money:
        amount = Decimal("9.90")

    assert price(Money()) == Decimal("9.90")
    assert (price(1500, "JPY"), price("4.2555", "KWD"), price(1500.4, "irr")) == (1500, Decimal("4.256"), 1500)
    assert name([]) is None
    assert name(Department(name="Kitchen")) == "Kitchen"
    assert name(Department.objects.none()) is None
    assert plain(None, 5) == ""
    assert issubclass(type(Department.objects), models.Manager)


def test_change_of_a_department_is_read_up_to_a_limit(
    registered: Any, monkeypatch: Any, caplog: Any, django_capture_on_commit_callbacks: Any
) -> None:
    class InDepartment(Plain):
        category = "department.name"

    registered(InDepartment("shop.Product"))
    kitchen = Department.objects.create(name="Kitchen", slug="kitchen")
    make_products(3)
    Product.objects.update(department=kitchen)
    sync.sync()
    monkeypatch.setattr(sync, "MAX_FOLLOWED", 2)
    with django_capture_on_commit_callbacks(execute=True):
        kitchen.name = "Cuisine"
        kitchen.save()
    assert Item.objects.filter(category="Cuisine").count() == 2
    assert "run recommender_sync" in caplog.text


@pytest.mark.parametrize(
    ("written", "amount", "code"),
    [
        ("19.99 USD", "19.99", "USD"), ("€1.234,50", "1234.50", "EUR"), ("12,5", "12.5", ""), ("1,234", "1234", ""),
        ("1.234", "1.234", ""), ("1.234 €", "1234", "EUR"), ("1,234 KWD", "1.234", "KWD"), ("19,- €", "19", "EUR"),
        ("۱۲۳\u066c۰۰۰ تومان", "123000", "IRT"), ("1 234,50 zł", "1234.50", "PLN"), ("$5", "5", ""),
        ("-5 €", "-5", "EUR"),
        ("from 19 EUR", None, ""), ("nan", None, ""), ("", None, ""), (True, None, ""), (float("inf"), None, ""),
    ],
)  # fmt: skip
def test_price_is_read_as_shops_write_it(written: Any, amount: str | None, code: str) -> None:
    assert money(written) == (None if amount is None else Decimal(amount), code)


@pytest.mark.parametrize(
    ("declared", "code"), [("eur ", "EUR"), ("€", "EUR"), ("$", ""), ("euro", ""), (None, ""), ("ｅｕｒ", "")]
)
def test_currency_is_three_letters_or_a_sign_of_one_only(declared: Any, code: str) -> None:
    assert currency(declared) == code


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Tom &amp; Jerry", "Tom & Jerry"), ("<p>Red</p><p>Mug</p>", "Red Mug"), ("&lt;b&gt;Mug&lt;/b&gt;", "Mug"),
        ("5 < 6 &amp; 7", "5 < 6 & 7"), ("AT&T", "AT&T"), ("Mug<style>p{}</style>", "Mug"),
        (("Red", "", "Mug"), "Red, Mug"),
    ],
)  # fmt: skip
def test_markup_and_entities_are_no_part_of_a_title(title: Any, shown: str) -> None:
    assert plain(title, 50) == shown


@pytest.mark.parametrize(
    ("declared", "url"),
    [
        ("javascript:alert(1)", ""), (" java\tscript:alert(1)", ""), ("\x01JavaScript:alert(1)", ""),
        ("data:text/html,x", ""), ("vbscript:x", ""), ("/item/a:b", "/item/a:b"),
        ("//cdn.example/x", "//cdn.example/x"),
        ("https://a.example/?u=javascript:x", "https://a.example/?u=javascript:x"), ("https://" + "x" * 2000, ""),
    ],
)  # fmt: skip
def test_link_runs_nothing(declared: str, url: str) -> None:
    assert link(declared) == url
