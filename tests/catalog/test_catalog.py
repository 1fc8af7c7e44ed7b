"""A Catalog describes a shop's model: paths, constants, methods, and everything that can be wrong with them."""

from decimal import Decimal

import pytest

from recommender.catalog import Catalog, Constant, catalog_of, item_id_of, live_items
from recommender.exceptions import ConfigurationError
from shopreco.shop.models import Department, Product

pytestmark = pytest.mark.django_db


def make_product(code="22423", **values):
    defaults = {"title": "Regency Cakestand 3 Tier", "price": Decimal("12.75"), "stock": 5, "is_visible": True}
    return Product.objects.create(stock_code=code, **(defaults | values))


class Plain(Catalog):
    id = "stock_code"
    category = "department.name"
    price = "price"
    currency = Constant("GBP")
    active = "is_visible"
    attributes = {"letters": "title.upper"}

    def available(self, obj):
        return obj.stock > 0


def test_paths_constants_and_methods_are_read():
    department = Department.objects.create(name="Kitchen", slug="kitchen")
    facts = Plain("shop.Product").facts(make_product(department=department, stock=0))
    assert (facts.item_id, facts.category, facts.currency) == ("22423", "Kitchen", "GBP")
    assert facts.price == Decimal("12.75")
    assert not facts.is_available
    assert facts.attributes == {"letters": "REGENCY CAKESTAND 3 TIER"}


def test_none_in_the_middle_of_a_path_is_empty():
    assert Plain("shop.Product").facts(make_product()).category == ""


def test_id_is_model_and_key_unless_declared():
    product = make_product()
    assert Catalog("shop.Product").item_id(product) == f"product:{product.pk}"
    assert item_id_of(product) == "22423"


def test_object_without_catalog_names_the_repair():
    with pytest.raises(ConfigurationError, match=r"recommendations\.py"):
        item_id_of(Department(name="x"))
    assert catalog_of("a string") is None


def test_markup_control_characters_and_length_are_cleaned():
    facts = Plain("shop.Product").facts(Product(pk=1, stock_code="A", title="<b>Tea\x00 \n set</b>"))
    assert facts.title == "Tea set"


def test_unusable_prices_become_unknown():
    class Odd(Plain):
        def price(self, obj):
            return float("nan")

    assert Odd("shop.Product").facts(make_product()).price is None


def test_misspelt_attribute_and_path_name_the_closest():
    class Wrong(Catalog):
        titel = "title"
        price = "prise"
        category = "department.nam"

    messages = dict(Wrong("shop.Product").faults())
    assert "'title'" in messages["titel"]
    assert "'price'" in messages["price"]
    assert "'name'" in messages["category"]


def test_right_catalog_has_no_faults():
    assert Plain("shop.Product").faults() == []


def test_unknown_model_names_the_closest():
    with pytest.raises(ConfigurationError, match=r"shop\.Product"):
        Catalog("shop.Produkt").model  # noqa: B018


def test_live_items_are_read_in_one_query(django_assert_num_queries):
    department = Department.objects.create(name="Kitchen", slug="kitchen")
    products = [make_product(f"P{n}", price=n, department=department) for n in range(3)]
    refs = {product.stock_code: ("shop.Product", str(product.pk)) for product in products}
    with django_assert_num_queries(1):
        live = live_items(refs)
    assert [live[f"P{n}"].price for n in range(3)] == [0, 1, 2]
    assert live["P1"].object == products[1]


def test_hidden_and_deleted_objects_are_missing():
    hidden = make_product("H", is_visible=False)
    assert live_items({"H": ("shop.Product", str(hidden.pk)), "gone": ("shop.Product", "999999")}) == {}


def test_catalog_may_read_the_objects_of_a_list_in_its_own_way(monkeypatch):
    shown, other = make_product("A"), make_product("B")
    reads = []

    def objects(self, object_ids):
        reads.append(set(object_ids))
        return [shown]

    monkeypatch.setattr(type(catalog_of(shown)), "objects", objects)
    refs = {code: ("shop.Product", str(product.pk)) for code, product in (("A", shown), ("B", other))}
    assert list(live_items(refs)) == ["A"]
    assert reads == [{str(shown.pk), str(other.pk)}]


def test_margin_is_read_like_a_price_and_may_be_a_loss():
    class Earning(Plain):
        def margin(self, obj):
            return obj.price - Decimal("12.999")

    product = make_product()
    facts = Earning("shop.Product").facts(product)
    assert (facts.margin, facts.currency) == (Decimal("-0.25"), "GBP")
    assert Plain("shop.Product").facts(product).margin is None


def test_margin_is_never_guessed_from_a_field_of_that_name():
    product = make_product()
    product.margin = Decimal(5)
    assert Plain("shop.Product").facts(product).margin is None
