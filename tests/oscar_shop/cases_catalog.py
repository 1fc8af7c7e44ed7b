"""Oscar's products as items: what is listed, what stands for what, and whose price is shown."""

import datetime as dt
from decimal import Decimal

import pytest
from django.utils import timezone
from myshop import stock
from myshop.shopping import Shopper, titles_of
from oscar.apps.basket import middleware as baskets
from oscar.apps.partner import strategy
from oscar.core.loading import get_model

from recommender.catalog import catalog_for_label, item_id_of, live_items, sync
from recommender.models import Item

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shop")]

StockRecord = get_model("partner", "StockRecord")


class HalfPrice(strategy.UseFirstStockRecord, strategy.StockRequired, strategy.FixedRateTax, strategy.Structured):
    """Half the price and a fifth of tax: for the shopper who is asking."""

    rate = Decimal("0.2")

    def pricing_policy(self, product, stockrecord):
        stockrecord.price /= 2
        return super().pricing_policy(product, stockrecord)

    def parent_pricing_policy(self, product, children_stock):
        return self.pricing_policy(*children_stock[0])


def item(title):
    return Item.objects.get(title=title)


def read(*titles):
    """What the shop says now of items, read as a list reads them."""
    refs = {item(title).item_id: ("catalogue.Product", item(title).object_id) for title in titles}
    return {live.title: live for live in live_items(refs).values()}


def test_parents_and_standalone_products_that_are_public_are_items():
    assert sorted(Item.objects.values_list("title", flat=True)) == sorted(
        (*stock.NOVELS, *stock.POTS, "Apron", "Oven glove")
    )
    assert set(Item.objects.values_list("is_active", flat=True)) == {True}


def test_item_has_the_whole_way_through_the_tree_its_maker_and_its_address(product):
    teapot = item("Teapot")
    assert (teapot.category, teapot.brand, teapot.currency, teapot.price) == ("Kitchen", "Wedgwood", "GBP", 20)
    assert teapot.url == product("Teapot").get_absolute_url()
    assert teapot.text == "Teapot . Home > Kitchen . Wedgwood . pot-0 . Teapot for the home"
    assert "Books > Fiction > Classics" in item("Emma").text
    assert item("Emma").category == "Classics"


def test_deepest_public_category_names_the_item(product):
    emma = product("Emma")
    category = get_model("catalogue", "Category")
    emma.categories.add(category.objects.get(name="Kitchen"))
    category.objects.filter(name="Classics").update(is_public=False)
    sync.sync()
    assert item("Emma").category == "Kitchen"
    assert "Fiction" not in item("Emma").text


def test_child_is_the_item_of_its_parent(product):
    assert item_id_of(product("Apron, red")) == item_id_of(product("Apron")) == item("Apron").item_id
    assert "Apron, red" in item("Apron").text
    assert 10 <= item("Apron").price <= 12


def test_hidden_product_leaves_the_items_and_returns(product, django_capture_on_commit_callbacks):
    emma = product("Emma")
    for is_public in (False, True):
        emma.is_public = is_public
        with django_capture_on_commit_callbacks(execute=True):
            emma.save()
        assert item("Emma").is_active is is_public
        assert bool(read("Emma")) is is_public


def test_list_is_read_in_one_query_and_says_what_oscar_says(product, django_assert_num_queries):
    titles = (*stock.NOVELS, "Teapot", "Apron", "Oven glove")
    refs = {item(title).item_id: ("catalogue.Product", item(title).object_id) for title in titles}
    with django_assert_num_queries(1):
        lives = {live.title: live for live in live_items(refs).values()}
    assert set(lives) == set(titles)
    for title, live in lives.items():
        one = product(title)
        plain = strategy.Selector().strategy()
        info = plain.fetch_for_parent(one) if one.is_parent else plain.fetch_for_product(one)
        assert (live.price, live.currency, live.available) == (
            info.price.excl_tax, info.price.currency, info.availability.is_available_to_buy,
        )  # fmt: skip
        assert (live.url, live.object) == (one.get_absolute_url(), one)
        children = list(one.get_public_children())
        assert live.object.get_public_children() == children


def test_sold_out_and_unpriced_products_are_shown_as_such(product):
    StockRecord.objects.filter(product__title="Emma").update(num_in_stock=0)
    StockRecord.objects.filter(product__title="Ulysses").delete()
    StockRecord.objects.filter(product__parent__title="Apron").update(num_in_stock=0)
    lives = read("Emma", "Ulysses", "Apron", "Teapot")
    assert {title: live.available for title, live in lives.items()} == {
        "Emma": False, "Ulysses": False, "Apron": False, "Teapot": True,
    }  # fmt: skip
    assert (lives["Emma"].price, lives["Ulysses"].price) == (5, None)
    assert sync.sync().n_failed == 0
    assert (item("Ulysses").price, item("Ulysses").is_available) == (None, False)


def test_parent_without_a_public_child_is_not_for_sale(product):
    get_model("catalogue", "Product").objects.filter(parent__title="Apron").update(is_public=False)
    assert (read("Apron")["Apron"].available, read("Apron")["Apron"].price) == (False, None)


def test_second_stock_record_makes_no_second_item(product):
    partner = get_model("partner", "Partner").objects.create(name="Elsewhere", code="elsewhere")
    StockRecord.objects.create(product=product("Emma"), partner=partner, partner_sku="x", price=1, num_in_stock=1)
    (emma,) = read("Emma").values()
    assert emma.price == 5
    assert len(emma.object.stockrecords.all()) == 2


def test_image_is_the_first_of_the_product_else_of_a_child(product):
    images = get_model("catalogue", "ProductImage").objects
    images.create(product=product("Emma"), original="second.png", display_order=2)
    images.create(product=product("Emma"), original="first.png", display_order=1)
    images.create(product=product("Apron, red"), original="red.png")
    sync.sync()
    lives = read("Emma", "Apron", "Teapot")
    assert {title: live.image for title, live in lives.items()} == {
        "Emma": "/media/first.png", "Apron": "/media/red.png", "Teapot": "",
    }  # fmt: skip
    assert item("Apron").image == "/media/red.png"


def test_price_is_that_of_the_request_and_the_stored_one_of_nobody(monkeypatch):
    monkeypatch.setattr(baskets.selector, "strategy", lambda request=None, user=None: HalfPrice(request))
    page = Shopper().home().content.decode()
    assert "recommender-card__price" in page
    assert "£12.00" in page  # the teapot: half of 20, and a fifth of tax
    assert "£20.00" not in page.partition('data-slot="home"')[2].partition("</section>")[0]
    sync.sync()
    assert item("Teapot").price == 20


def test_new_price_is_noticed_by_the_incremental_sync(product):
    long_ago = timezone.now() - dt.timedelta(days=9)
    get_model("catalogue", "Product").objects.update(date_updated=long_ago)
    StockRecord.objects.update(date_updated=long_ago)
    assert catalog_for_label("catalogue.Product").changed_since(timezone.now() - dt.timedelta(hours=1)).count() == 0
    for title in ("Emma", "Apron, red", "Apron, blue", "Apron, green"):
        record = StockRecord.objects.get(product__title=title)
        record.price = 77
        record.save()
    assert sync.sync_changed().n_changed == 2
    assert item("Emma").price == item("Apron").price == 77


def test_queries_of_a_sync_do_not_grow_with_the_products(django_assert_max_num_queries):
    kind = get_model("catalogue", "ProductClass").objects.get(name="Ware")
    category = get_model("catalogue", "Category").objects.get(name="Kitchen")
    for n in range(30):
        stock.product(f"Cup {n}", kind, category, price=n + 1, upc=f"cup-{n}")
    with django_assert_max_num_queries(22):
        sync.sync()
    assert Item.objects.filter(title__startswith="Cup").count() == 30


def test_shop_may_describe_its_products_itself(monkeypatch):
    from recommender import catalog
    from recommender.contrib.oscar import recommendations
    from recommender.contrib.oscar.catalog import Products

    class Ours(Products):
        brand = "upc"

    monkeypatch.setattr("recommender.catalog.registry._catalogs", {})
    catalog.register("catalogue.Product")(Ours)
    import importlib

    importlib.reload(recommendations)
    assert type(catalog_for_label("catalogue.Product")) is Ours


def test_home_page_without_a_sync_shows_the_shops_own_order():
    Item.objects.all().delete()
    assert len(titles_of(Shopper().home(), "home")) == 8
