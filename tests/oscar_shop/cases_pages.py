"""The pages of an Oscar shop with us: personal lists, in the place of what is kept by hand, and the search page."""

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.core.management import call_command
from django.urls import include, path, reverse
from django.utils.functional import SimpleLazyObject
from myshop import urls
from myshop.shopping import Shopper, item_id, titles_of
from oscar.apps.search.signals import user_search
from oscar.core.loading import get_model

from recommender import tracking
from recommender.checks import MIDDLEWARE
from recommender.contrib.oscar import checks
from recommender.datasets import statistics
from recommender.management import doctor
from recommender.models import Event
from recommender.templatetags.carts import item_ids_of_cart

SEARCH = path("search/", include("recommender.contrib.oscar.urls"))


class Replaced:
    urlpatterns = [SEARCH, *urls.urlpatterns]


class TooLate:
    urlpatterns = [*urls.urlpatterns, SEARCH]


class Prefixed:
    """An Oscar shop in several languages, our page at the top of them: docs/oscar.md."""

    urlpatterns = [*i18n_patterns(SEARCH), urls.urlpatterns[0], *i18n_patterns(urls.urlpatterns[1])]


class Unprefixed:
    """The same shop, our page where nobody is led to."""

    urlpatterns = [SEARCH, urls.urlpatterns[0], *i18n_patterns(urls.urlpatterns[1])]


@pytest.fixture
def replaced(settings):
    settings.ROOT_URLCONF = Replaced


@pytest.mark.usefixtures("live_shop")
def test_home_page_is_personal(product):
    readers, cooks = Shopper(), Shopper()
    for title in ("Emma", "Dracula", "Walden"):
        readers.view(product(title))
    for title in ("Teapot", "Stock pot", "Apron, red"):
        cooks.view(product(title))
    read, cooked = (titles_of(shopper.home(), "home") for shopper in (readers, cooks))
    assert not set(read) & {"Emma", "Dracula", "Walden"}  # "for you" leads with what is new
    assert not set(cooked) & {"Teapot", "Stock pot", "Apron"}
    assert read[:3] != cooked[:3]


@pytest.mark.usefixtures("live_shop")
def test_product_page_shows_a_list_in_the_place_of_what_is_kept_by_hand(product):
    emma, pot = product("Emma"), product("Flower pot")
    get_model("catalogue", "ProductRecommendation").objects.create(primary=emma, recommendation=pot)
    for _ in range(5):
        buyer = Shopper()
        buyer.add(emma)
        buyer.add(product("Middlemarch"))
        buyer.order()
    statistics.refresh_statistics()
    page = Shopper().view(emma)
    similar = titles_of(page, "similar")
    assert "Middlemarch" in similar
    assert "Emma" not in similar
    assert page.content.decode().count("Recommended items") == 1
    assert 'class="product_pod"' not in page.content.decode()


@pytest.mark.usefixtures("live_shop", "replaced")
def test_search_page_replaces_oscars_and_is_recorded_once():
    heard = []

    def listen(query, user, session, **_):
        heard.append(query)

    user_search.connect(listen)
    page = Shopper().search("coffe pot")
    user_search.disconnect(listen)
    assert "Coffee pot" in titles_of(page, "search")
    assert heard == ["coffe pot"]
    assert Event.objects.filter(type="search").count() == 1
    assert reverse("search:search") in Shopper().home().content.decode()
    assert checks_of("check_search_page") == []


@pytest.mark.django_db
def test_tutorials_shop_passes_its_checks():
    call_command("check", fail_level="WARNING")


def checks_of(name):
    return [message.id for message in getattr(checks, name)(None)]


def test_contrib_without_the_app_is_an_error(settings):
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "recommender"]
    assert checks_of("check_apps") == ["recommender_oscar.E001"]
    assert checks_of("check_pages") == []


def test_contrib_without_an_app_of_oscars_names_it(monkeypatch):
    monkeypatch.setattr(checks, "OSCAR_APPS", ("catalogue", "shelves"))
    (message,) = checks.check_apps(None)
    assert message.id == "recommender_oscar.E002"
    assert "shelves" in message.msg
    assert checks_of("check_middleware") == []


def test_missing_basket_middleware_is_a_warning_and_one_of_the_shops_own_none(settings):
    assert checks_of("check_middleware") == []
    settings.MIDDLEWARE = [MIDDLEWARE, "cases_pages.OwnBaskets"]
    assert checks_of("check_middleware") == []
    settings.MIDDLEWARE = [MIDDLEWARE, "no.such.Middleware"]
    assert checks_of("check_middleware") == ["recommender_oscar.W001"]


def test_page_beside_a_signal_is_a_warning(monkeypatch):
    assert checks_of("check_pages") == []
    monkeypatch.setattr(tracking, "_pages", {})
    tracking.track_pages(tracking.page("catalogue:detail", "view_item", item_id="kwargs.pk"))
    assert checks_of("check_pages") == ["recommender_oscar.W002"]


def test_search_page_below_oscars_is_a_warning(settings):
    assert checks_of("check_search_page") == []
    settings.ROOT_URLCONF = TooLate
    assert checks_of("check_search_page") == ["recommender_oscar.W003"]


@pytest.mark.usefixtures("live_shop")
def test_search_page_is_replaced_under_the_prefix_of_a_language(settings):
    settings.ROOT_URLCONF = Prefixed
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE[:3],
        "django.middleware.locale.LocaleMiddleware",
        *settings.MIDDLEWARE[3:],
    ]
    assert reverse("search:search") == "/en-gb/search/"
    assert checks_of("check_search_page") == []
    assert "Coffee pot" in titles_of(Shopper().search("coffe pot"), "search")


def test_search_page_outside_of_the_prefix_is_a_warning_with_the_line_to_write(settings):
    settings.ROOT_URLCONF = Unprefixed
    (message,) = checks.check_search_page(None)
    assert (message.id, "/en-gb/search/" in message.msg) == ("recommender_oscar.W003", True)
    assert 'urlpatterns[:0] = i18n_patterns(path("search/", include("recommender.contrib.oscar.urls")))' in message.hint


def test_doctor_knows_what_the_signals_tell():
    findings = [finding for finding in doctor._pages() if finding.topic == "pages"]
    assert {finding.level for finding in findings} == {"ok"}
    messages = " ".join(finding.message for finding in findings)
    for name, event in (
        ("catalogue:detail", "view_item"), ("search:search", "search"), ("basket:add", "add_to_cart"),
        ("basket:summary", "remove_from_cart"),
    ):  # fmt: skip
        assert f"{name} is {event}" in messages


@pytest.mark.usefixtures("live_shop")
def test_list_on_the_page_of_the_basket_goes_with_its_lines(product):
    shopper = Shopper()
    for _ in range(2):
        buyer = Shopper()
        buyer.add(product("Emma"))
        buyer.add(product("Middlemarch"))
        buyer.order()
    statistics.refresh_statistics()
    assert titles_of(shopper.client.get(reverse("basket:summary")), "cart") == []
    shopper.add(product("Emma"))
    assert titles_of(shopper.client.get(reverse("basket:summary")), "cart")[0] == "Middlemarch"


@pytest.mark.usefixtures("live_shop")
@pytest.mark.parametrize("form", ["basket", "basket.all_lines", "basket.lines", "list"])
def test_basket_is_a_cart_in_every_form(product, form, django_assert_max_num_queries):
    basket = get_model("basket", "Basket").objects.create()
    apron = product("Apron, red")
    for one in (apron, product("Emma")):
        basket.lines.create(
            product=one,
            stockrecord=one.stockrecords.get(),
            line_reference=str(one.pk),
            quantity=1,
            price_currency="GBP",
        )
    lazy = SimpleLazyObject(lambda: basket)
    lines = list(basket.lines.all())
    carts = {"basket": lazy, "basket.all_lines": basket.all_lines(), "basket.lines": basket.lines, "list": lines}
    with django_assert_max_num_queries(4):
        assert set(item_ids_of_cart(carts[form])) == {item_id(apron), item_id(product("Emma"))}


def test_replacing_app_below_oscars_is_a_warning(monkeypatch):
    from django.apps import apps

    assert checks_of("check_recommended") == []
    configs = list(apps.get_app_configs())
    monkeypatch.setattr(checks.apps, "get_app_configs", lambda: configs[::-1])
    assert checks_of("check_recommended") == ["recommender_oscar.W004"]


def __getattr__(name):
    if name == "OwnBaskets":
        from oscar.apps.basket.middleware import BasketMiddleware

        return type("OwnBaskets", (BasketMiddleware,), {})
    raise AttributeError(name)
