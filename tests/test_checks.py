"""A system check names every mistake in a host's settings and catalogs, and its repair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core import checks
from django.core.management import call_command

from recommender import conf, tracking
from recommender.catalog import Catalog, Constant, register
from recommender.checks import (
    MIDDLEWARE,
    check_catalogs,
    check_databases,
    check_middleware,
    check_settings,
    check_tracking,
)
from recommender.tracking import OrderRows, page, track_pages, track_rows


@pytest.fixture
def only_catalogs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommender.catalog.registry._catalogs", {})


@pytest.fixture
def databases(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    def declare(database: dict[str, Any]) -> None:
        monkeypatch.setattr(django_settings, "DATABASES", {"default": database})

    return declare


def ids_of(messages: list[checks.CheckMessage]) -> list[str | None]:
    return [message.id for message in messages]


def test_demo_project_passes_its_checks() -> None:
    call_command("check", fail_level="WARNING")


def test_checks_are_registered_under_a_tag_of_their_own(settings: Any) -> None:
    settings.RECOMMENDER = {"CONCENT": 1}
    assert "recommender.E001" in ids_of(checks.run_checks(tags=["recommender"]))


def test_unknown_setting_names_the_closest_one(settings: Any) -> None:
    settings.RECOMMENDER = {"CONCENT": "shop.consent"}
    (message,) = check_settings(None)
    assert (message.id, message.hint) == ("recommender.E001", "Did you mean 'CONSENT'?")
    assert "'CONCENT'" in message.msg


@pytest.mark.parametrize("limits", [{"brnad": 2}, {"brand": 0}, 3])
def test_limit_of_lists_that_has_no_effect_is_an_error(settings: Any, limits: Any) -> None:
    settings.RECOMMENDER = {"AT_MOST": limits}
    (message,) = check_settings(None)
    assert message.id == "recommender.E004"
    assert "AT_MOST" in message.msg


def test_unknown_setting_like_no_other_lists_them_all(settings: Any) -> None:
    settings.RECOMMENDER = {"xyz": 1}
    (message,) = check_settings(None)
    assert "TRAINING_MINUTES" in str(message.hint)


@pytest.mark.parametrize("declared", [["CONSENT"], "CONSENT", None, 3])
def test_settings_that_are_no_dict_are_an_error(settings: Any, declared: object) -> None:
    settings.RECOMMENDER = declared
    assert ids_of(check_settings(None)) == ["recommender.E002"]


def test_absent_settings_are_fine(settings: Any) -> None:
    del settings.RECOMMENDER
    assert check_settings(None) == []


def test_consent_that_cannot_be_imported_is_an_error(settings: Any) -> None:
    settings.RECOMMENDER = {"CONSENT": "shopreco.no_such_module.consent"}
    (message,) = check_settings(None)
    assert message.id == "recommender.E003"
    assert "shopreco.no_such_module.consent" in message.msg


def test_consent_that_cannot_be_called_is_an_error(settings: Any) -> None:
    settings.RECOMMENDER = {"CONSENT": "shopreco.settings.STATIC_URL"}
    assert ids_of(check_settings(None)) == ["recommender.E003"]


@pytest.mark.parametrize("value", ["3", -1, None, True])
def test_number_that_is_none_is_an_error(settings: Any, value: object) -> None:
    settings.RECOMMENDER = {"TRAINING_MINUTES": value}
    (message,) = check_settings(None)
    assert message.id == "recommender.E004"
    assert "3.0" in str(message.hint)


@pytest.mark.parametrize("name", ["FINE_TUNING", "ADAPTATION", "TEACHER"])
def test_word_that_is_not_known_is_an_error_that_names_the_known_ones(settings: Any, name: str) -> None:
    settings.RECOMMENDER = {name: "allways"}
    (message,) = check_settings(None)
    assert message.id == "recommender.E004"
    assert f"{name} must be one of " in message.msg
    assert str(conf.DEFAULTS[name]) in str(message.hint)


def test_unknown_storage_alias_names_the_closest_one(settings: Any) -> None:
    settings.RECOMMENDER = {"BUNDLE_STORAGE": "defualt"}
    (message,) = check_settings(None)
    assert (message.id, message.hint) == ("recommender.E004", "Did you mean 'default'?")


def test_missing_middleware_is_a_warning(settings: Any) -> None:
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
    assert ids_of(check_middleware(None)) == ["recommender.W001"]


def test_middleware_below_another_is_a_warning(settings: Any) -> None:
    settings.MIDDLEWARE = ["django.middleware.cache.UpdateCacheMiddleware", MIDDLEWARE]
    (message,) = check_middleware(None)
    assert message.id == "recommender.W002"
    assert "UpdateCacheMiddleware" in str(message.hint)


def test_middleware_at_the_top_passes(settings: Any) -> None:
    settings.MIDDLEWARE = [MIDDLEWARE, "django.middleware.common.CommonMiddleware"]
    assert check_middleware(None) == []


def test_shop_without_catalog_is_shown_how_to_write_one(only_catalogs: None) -> None:
    (message,) = check_catalogs(None)
    assert message.id == "recommender.W003"
    assert "class Products(Catalog):" in str(message.hint)


def test_misspelt_catalog_attribute_and_path_name_the_closest(only_catalogs: None) -> None:
    @register("shop.Product")
    class Products(Catalog):
        titel = "title"
        price = "prise"
        currency = Constant("GBP")

    messages = check_catalogs(None)
    assert ids_of(messages) == ["recommender.E005", "recommender.E005"]
    assert all(message.obj is Products for message in messages)
    assert "Did you mean 'title'?" in messages[0].msg
    assert "Did you mean 'price'?" in messages[1].msg


def test_catalog_of_an_unknown_model_names_the_closest(only_catalogs: None) -> None:
    register("shop.Produkt")(type("Products", (Catalog,), {}))
    (message,) = check_catalogs(None)
    assert message.id == "recommender.E006"
    assert "shop.Product" in message.msg


@pytest.fixture
def nothing_tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_pages", {})
    monkeypatch.setattr(tracking, "_rows", {})


def test_tracked_page_that_no_url_has_names_the_closest(nothing_tracked: None) -> None:
    track_pages(page("shop:produkt", "view_item", item_id="kwargs.stock_code"))
    (message,) = check_tracking(None)
    assert (message.id, message.hint) == ("recommender.W007", "Did you mean 'shop:product'?")


def test_tracked_page_is_found_in_its_namespace(nothing_tracked: None) -> None:
    track_pages(page("shop:product", "view_item", item_id="kwargs.stock_code"), page("admin:index", "view_item"))
    assert check_tracking(None) == []


def test_order_rows_without_an_item_are_an_error(nothing_tracked: None) -> None:
    @track_rows("shop.OrderLine")
    class Purchases(OrderRows):
        order_id = "order.number"
        occurred_at = "order.placed_at"

    (message,) = check_tracking(None)
    assert (message.id, message.obj) == ("recommender.E007", Purchases)
    assert "item_id" in message.msg


def test_order_rows_of_an_unknown_model_name_the_closest(nothing_tracked: None) -> None:
    track_rows("shop.OrderLin")(type("Purchases", (OrderRows,), {}))
    (message,) = check_tracking(None)
    assert message.id == "recommender.E007"
    assert "shop.OrderLine" in message.msg


def test_bare_sqlite_is_warned_of_lost_writes(databases: Any) -> None:
    databases({"ENGINE": "django.db.backends.sqlite3", "ATOMIC_REQUESTS": True})
    assert ids_of(check_databases(None)) == ["recommender.W004", "recommender.W005", "recommender.W006"]


def test_sqlite_with_log_and_immediate_transactions_passes(databases: Any) -> None:
    options = {"transaction_mode": "immediate", "init_command": "PRAGMA journal_mode = wal;"}
    databases({"ENGINE": "django.db.backends.sqlite3", "OPTIONS": options})
    assert check_databases(None) == []


def test_postgres_is_not_warned(databases: Any) -> None:
    databases({"ENGINE": "django.db.backends.postgresql", "ATOMIC_REQUESTS": True})
    assert check_databases(None) == []


def test_page_that_reads_a_part_its_url_lacks_names_the_parts(nothing_tracked: None) -> None:
    track_pages(page("shop:product", "view_item", item_id="kwargs.stock_cod"))
    (message,) = check_tracking(None)
    assert (message.id, message.hint) == ("recommender.W009", "Did you mean 'stock_code'?")


def test_two_pages_for_one_event_are_warned_of(nothing_tracked: None) -> None:
    track_pages(
        page("shop:product", "view_item", item_id="kwargs.stock_code"),
        page("shop:product", "view_item", item_id=Constant("22423")),
        page("shop:product", "view_item", item_id=Constant("22423"), statuses=(201,)),
    )
    (message,) = check_tracking(None)
    assert (message.id, "counts twice" in message.msg) == ("recommender.W010", True)


@pytest.mark.parametrize("has_rows", [True, False])
def test_page_that_is_to_be_a_purchase_is_warned_of(nothing_tracked: None, has_rows: bool) -> None:
    if has_rows:

        @track_rows("shop.OrderLine")
        class Lines(OrderRows):
            item_id = "product.stock_code"
            order_id = "order.number"
            occurred_at = "order.placed_at"

    track_pages(page("shop:product", "purchase", item_id="kwargs.stock_code"))
    (message,) = check_tracking(None)
    assert (message.id, "order rows" in message.hint) == ("recommender.W010", True)


def test_times_without_a_zone_are_an_error(settings: Any) -> None:
    settings.USE_TZ = False
    (message,) = check_settings(None)
    assert (message.id, "USE_TZ = True" in (message.hint or "")) == ("recommender.E008", True)


class TestItemsOutOfReach:
    """A page whose value leads to no item is reported before a page view is lost."""

    @pytest.fixture(autouse=True)
    def _shop(self, nothing_tracked: None, only_catalogs: None, settings: Any) -> None:
        settings.ROOT_URLCONF = "tests.urls_of_keys"
        register("shop.Product")(type("Products", (Catalog,), {}))

    def warnings_of(self, name: str, item_id: Any) -> list[tuple[str | None, str, str]]:
        track_pages(page(name, "view_item", item_id=item_id))
        return [(message.id, message.msg, str(message.hint)) for message in check_tracking(None)]

    @pytest.mark.parametrize(
        ("name", "item_id"),
        [("by_number", "kwargs.pk"), ("by_code", "kwargs.stock_code"), ("by_number", "GET.anything"),
         ("by_slug", ("shop.Product", "kwargs.slug", "stock_code")), ("by_slug", lambda request: None),
         ("by_number", ("shop.Product", "kwargs.pk")), ("by_text", "kwargs.ref")],
    )  # fmt: skip
    def test_page_that_may_lead_to_an_item_passes(self, name: str, item_id: Any) -> None:
        assert self.warnings_of(name, item_id) == []

    @pytest.mark.parametrize("item_id", ["kwargs.slug", ("shop.Product", "kwargs.slug")])
    def test_slug_of_a_model_without_one_names_the_repair(self, item_id: Any) -> None:
        ((code, message, hint),) = self.warnings_of("by_slug", item_id)
        assert (code, "no object such a key" in message) == ("recommender.W011", True)
        assert 'item_id=("shop.Product", "kwargs.slug", "<field>")' in hint

    def test_key_that_two_models_may_have_asks_for_the_model(self) -> None:
        register("shop.Department")(type("Departments", (Catalog,), {}))
        ((code, message, hint),) = self.warnings_of("by_number", "kwargs.pk")
        assert (code, "shop.Product and shop.Department" in message) == ("recommender.W011", True)
        assert '("shop.Product", "kwargs.pk")' in hint

    def test_key_that_one_of_two_models_has_is_its_own(self) -> None:
        register("shop.Department")(type("Departments", (Catalog,), {}))
        assert self.warnings_of("by_text", "GET.stock_code") == []
        assert self.warnings_of("by_slug", "kwargs.slug") == []

    @pytest.mark.parametrize(
        ("item_id", "word"),
        [(("shop.Produkt", "kwargs.pk"), "'shop.Product'"), (("shop.Product", "kwargs.pk", "titel"), "'title'")],
    )
    def test_model_without_a_catalog_and_misspelt_field_name_the_closest(self, item_id: Any, word: str) -> None:
        ((code, message, hint),) = self.warnings_of("by_number", item_id)
        assert (code, word in message + hint) == ("recommender.W011", True)

    def test_ids_of_the_shops_own_making_are_not_judged(self) -> None:
        register("shop.Product")(type("Products", (Catalog,), {"id": lambda self, product: f"p{product.pk}"}))
        assert self.warnings_of("by_slug", "kwargs.slug") == []


@pytest.mark.parametrize("keys", ["one secret", ("",), [3], None])
def test_secrets_that_are_no_list_of_secrets_are_an_error(settings: Any, keys: Any) -> None:
    settings.RECOMMENDER = {"SUBJECT_KEYS": keys}
    (message,) = check_settings(None)
    assert (message.id, "SUBJECT_KEYS" in message.msg) == ("recommender.E004", True)
