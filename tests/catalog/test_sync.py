"""The shop's objects become items, in full, incrementally, and one by one as they are saved."""

import datetime as dt
from decimal import Decimal

import pytest
from django.utils import timezone

from recommender.catalog import Catalog, register, sync, unregister
from recommender.catalog import catalogs as registered
from recommender.management.progress import bar
from recommender.models import Item
from recommender.signals import items_changed
from shopreco.shop.models import Department, Product
from shopreco.shop.recommendations import Products

pytestmark = pytest.mark.django_db


def make_product(code, **values):
    defaults = {"title": f"Mug {code}", "price": Decimal("2.50"), "stock": 5, "is_visible": True}
    return Product.objects.create(stock_code=code, **(defaults | values))


def test_full_sync_creates_changes_and_deactivates():
    for code in ("A", "B", "C"):
        make_product(code)
    assert sync.sync().n_created == 3
    Product.objects.filter(stock_code="A").update(title="Teapot")
    Product.objects.filter(stock_code="B").delete()
    report = sync.sync()
    assert (report.n_created, report.n_changed, report.n_unchanged, report.n_deactivated) == (0, 1, 1, 1)
    assert Item.objects.get(item_id="A").title == "Teapot"
    assert not Item.objects.get(item_id="B").is_active


def test_hidden_product_becomes_inactive_and_returns():
    make_product("A")
    sync.sync()
    Product.objects.update(is_visible=False)
    sync.sync()
    assert not Item.objects.get(item_id="A").is_active
    Product.objects.update(is_visible=True)
    sync.sync()
    assert Item.objects.get(item_id="A").is_active


def test_queries_grow_by_chunk_not_by_object(django_assert_max_num_queries):
    for n in range(40):
        make_product(f"P{n:02}")
    with django_assert_max_num_queries(12):
        sync.sync(chunk_size=20)


def test_incremental_sync_reads_only_what_changed():
    make_product("OLD")
    sync.sync()
    Product.objects.filter(stock_code="OLD").update(updated_at=timezone.now() - dt.timedelta(days=9))
    make_product("NEW")
    report = sync.sync_changed()
    assert (report.n_created, report.n_unchanged, report.n_undated) == (1, 0, 0)


def test_incremental_sync_finds_what_moved_no_date():
    make_product("OLD")
    sync.sync()
    long_ago = timezone.now() - dt.timedelta(days=9)
    Product.objects.filter(stock_code="OLD").update(updated_at=long_ago, title="Bowl")
    report = sync.sync_changed()
    assert (report.n_changed, report.n_undated) == (1, 1)
    assert Item.objects.get(item_id="OLD").title == "Bowl"
    assert sync.sync_changed().n_undated == 0


def test_comparison_of_a_large_catalogue_goes_on_where_it_ended(monkeypatch):
    monkeypatch.setattr(sync, "N_COMPARED", 2)
    for code in ("A", "B", "C"):
        make_product(code)
    sync.sync()
    Product.objects.update(updated_at=timezone.now() - dt.timedelta(days=9), title="Bowl")
    assert [sync.sync_changed(most_compared=2).n_undated for _ in range(3)] == [2, 1, 0]


def test_renamed_department_is_found_without_a_signal():
    department = Department.objects.create(name="Kitchen", slug="kitchen")
    make_product("A", department=department)
    sync.sync()
    Product.objects.update(updated_at=timezone.now() - dt.timedelta(days=9))
    Department.objects.update(name="Cooking")
    assert sync.sync_changed().n_undated == 1
    assert Item.objects.get().category == "Cooking"


def test_incremental_sync_notices_a_deletion():
    make_product("A")
    sync.sync()
    Product.objects.all().delete()
    assert sync.sync_changed().n_deactivated == 1


def test_one_bad_object_is_reported_and_the_rest_synced():
    class Fragile(Products):
        def title(self, obj):
            if obj.stock_code == "BAD":
                raise ValueError("no title in this language")
            return obj.title

    for code in ("A", "BAD", "C"):
        make_product(code)
    register("shop.Product")(Fragile)
    try:
        report = sync.sync()
    finally:
        register("shop.Product")(Products)
    assert (report.n_created, report.n_failed) == (2, 1)
    assert "no title in this language" in report.failures[0]


def test_saved_product_becomes_an_item_on_commit(django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        product = make_product("A")
    assert Item.objects.get(item_id="A").title == "Mug A"
    with django_capture_on_commit_callbacks(execute=True):
        product.delete()
    assert not Item.objects.get(item_id="A").is_active


def test_change_is_announced_with_the_item_ids(django_capture_on_commit_callbacks):
    heard = []

    def listen(sender, item_ids, **_):
        heard.extend(item_ids)

    items_changed.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            make_product("A")
    finally:
        items_changed.disconnect(listen)
    assert heard == ["A"]


def test_failing_catalog_never_breaks_the_shops_save(django_capture_on_commit_callbacks, monkeypatch, caplog):
    def explode(self):
        raise RuntimeError("queryset of the shop is broken")

    monkeypatch.setattr(Products, "queryset", explode)
    with django_capture_on_commit_callbacks(execute=True):
        make_product("A")
    assert Product.objects.filter(stock_code="A").exists()
    assert "run recommender_sync" in caplog.text


def test_catalog_without_updated_field_compares_everything():
    class Timeless(Catalog):
        id = "stock_code"

    make_product("A")
    first = registered()[0]
    register("shop.Product")(Timeless)
    try:
        sync.sync_changed()
        Product.objects.update(title="Changed")
        assert sync.sync_changed().n_changed == 1
    finally:
        unregister("shop.Product")
        register("shop.Product")(type(first))


def test_catalog_may_say_itself_what_changed():
    make_product("OLD")
    sync.sync()
    Product.objects.update(updated_at=timezone.now() - dt.timedelta(days=9), stock=0)

    class Stocked(Products):
        def changed_since(self, at):
            return self.queryset().filter(stock=0)

    register("shop.Product")(Stocked)
    try:
        assert sync.sync_changed().n_changed == 1
    finally:
        register("shop.Product")(Products)
    assert not Item.objects.get(item_id="OLD").is_available


def test_no_progress_bar_is_drawn_into_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    with bar("items") as progress:
        progress(1, 2)
        progress(2, 2)
    assert capfd.readouterr().err == ""
