"""A shopper with a real browser: from the consent banner to a personal list with reasons, on any screen size."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.http import HttpResponse
from django.template import engines
from django.urls import path as url
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import shopreco.urls
from recommender import identity, tracking
from recommender.models import Event, Visitor
from shopreco.shop.models import Department, Product

CACHED_PAGE = """{% load recommender static %}<h1>Kept</h1>{% lazy_recommendations "trending" limit=3 %}
<script src="{% static 'recommender/recommender.js' %}" data-beacon="{% url 'recommender:beacon' %}" defer></script>"""


def cached_page(request: Any, code: str) -> HttpResponse:
    """A page that a CDN keeps, under a strict policy."""
    response = HttpResponse(engines["django"].from_string(CACHED_PAGE).render({}, request))
    response["Content-Security-Policy"] = "default-src 'self'"
    response["Cache-Control"] = "public, max-age=600"
    return response


urlpatterns = [url("kept/<code>/", cached_page, name="kept"), *shopreco.urls.urlpatterns]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

KIND = "Alarm Clock"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --window-size=1280,900"
)
WAIT_SECONDS = 15


class Browser:
    """A driver that knows the shop's address."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver = driver
        self.address = address

    def visit(self, path: str) -> None:
        self.driver.get(self.address + path)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def first(self, selector: str) -> Any:
        wait_for(lambda: self.all(selector), what=selector)
        return self.all(selector)[0]

    def titles(self, slot: str) -> list[str]:
        return [title.text for title in self.all(f'[data-slot="{slot}"] .card-title')]

    def resize(self, width: int) -> None:
        metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def without_scripts(self) -> None:
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})


@pytest.fixture
def browser(tmp_path: Path, live_demo_shop: Any, live_server: Any) -> Iterator[Browser]:
    options = Options()
    if binary := shutil.which("chromium"):
        options.binary_location = binary
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver") or ""))
    driver.set_page_load_timeout(60)
    try:
        yield Browser(driver, live_server.url)
    finally:
        driver.quit()


def wait_for(is_true: Callable[[], Any], *, what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, f"waited {WAIT_SECONDS} s for {what}"
        time.sleep(0.05)


def wait_for_event(**fields: Any) -> None:
    """Events are written after the page has been sent."""
    wait_for(lambda: Event.objects.filter(**fields).exists(), what=f"an event {fields}")


def accept(browser: Browser) -> None:
    browser.visit("/")
    browser.first("[data-consent=accept]").click()
    wait_for(lambda: not browser.all("[data-consent]"), what="the banner to go")


def look_at(browser: Browser, product: Product) -> None:
    browser.visit(product.get_absolute_url())
    assert browser.first("h1").text == product.title
    wait_for_event(item_id=product.stock_code, type="view_item")


def test_shopper_clicks_two_of_a_kind_and_the_home_page_shows_the_kind_and_says_why(browser: Browser) -> None:
    call_command("recommender_sync")
    clocks = list(Product.objects.filter(title__startswith=KIND).order_by("stock_code"))
    assert len(clocks) > 3
    accept(browser)
    assert browser.titles("home")
    for clock in clocks[:2]:
        look_at(browser, clock)

    browser.visit("/")
    assert browser.first("#shelf-home").text == "For you"
    others = [clock.title for clock in clocks[2:]]
    assert set(others) & set(browser.titles("home")[:6])
    assert set(browser.titles("recently_viewed")) == {clock.title for clock in clocks[:2]}
    card = next(card for card in browser.all('[data-slot="home"] .card') if card.text.split("\n")[0] in others)
    why = card.find_element(By.CSS_SELECTOR, ".why summary")
    assert "what you looked at" in why.text
    why.click()
    assert card.find_element(By.CSS_SELECTOR, ".why-more").is_displayed()

    persona = Visitor.objects.get(pk__in=Event.objects.filter(type="view_item").values("visitor"))
    User.objects.create_superuser("admin", "admin@example.com", "admin")
    browser.driver.delete_all_cookies()
    browser.visit(f"/admin/login/?next=/admin/recommender/persona/{persona.pk}/change/")
    browser.first("#id_username").send_keys("admin")
    browser.first("#id_password").send_keys("admin", Keys.ENTER)
    wait_for(lambda: "persona" in browser.driver.current_url and browser.all(".rec-headline"), what="the persona page")
    words = browser.first("#content").text
    assert all(clock.title in words for clock in clocks[:2])
    assert re.search(r"alarm|clock", browser.first(".rec-headline").text, re.IGNORECASE)
    assert set(others) & {line.strip() for line in words.split("\n")} or any(title in words for title in others)


def test_search_with_a_typing_error_succeeds(browser: Browser) -> None:
    browser.visit("/")
    browser.first("#q").send_keys("retrosopt cake", Keys.ENTER)
    wait_for(lambda: "/search/" in browser.driver.current_url and browser.all("h1"), what="the results")
    assert browser.first("h1").text == "Results for “retrospot cake”"
    assert "Red Retrospot Cake Stand" in browser.titles("search")[:6]
    browser.all('[data-slot="search"] .card-link')[0].click()
    wait_for(lambda: "rid=" in browser.driver.current_url, what="the product")
    assert browser.first(".buy button").text == "Add to cart"


def test_suggestions_follow_the_typing_and_can_be_taken_by_keys(browser: Browser) -> None:
    browser.visit("/")
    field = browser.first("#q")
    field.send_keys("alarm cl")
    wait_for(lambda: browser.all(".suggestion"), what="suggestions")
    assert field.get_attribute("aria-expanded") == "true"
    assert KIND.lower() in browser.first("#suggestions").text.lower()
    field.send_keys(Keys.ARROW_DOWN)
    assert field.get_attribute("aria-activedescendant") == "suggestion-0"
    field.send_keys(Keys.ESCAPE)
    assert not browser.first("#suggestions").is_displayed()
    field.send_keys("o", Keys.ARROW_DOWN)
    wait_for(lambda: browser.first("#suggestions").is_displayed(), what="suggestions again")
    field.send_keys(Keys.ARROW_DOWN, Keys.ENTER)
    wait_for(lambda: not browser.driver.current_url.endswith("/"), what="another page")


def test_shop_sells_without_any_script(browser: Browser) -> None:
    browser.without_scripts()
    accept(browser)
    product = Product.objects.get(title="Regency Cakestand 3 Tier")
    browser.visit(f"/search/?q={product.stock_code}+cakestand+regency")
    browser.visit(product.get_absolute_url())
    browser.first(".buy button").click()
    wait_for(lambda: browser.all(".line"), what="the cart")
    browser.first(".sum .button").click()
    wait_for(lambda: browser.all("#id_name"), what="the checkout")
    browser.first("#id_name").send_keys("Ada")
    browser.first("#id_email").send_keys("ada@example.com", Keys.ENTER)
    wait_for(lambda: browser.all(".thanks"), what="the thanks")
    assert "Thank you, Ada" in browser.first("h1").text
    wait_for_event(type="purchase", item_id=product.stock_code, source="order", order_id__startswith="W")


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_its_screen(browser: Browser, width: int) -> None:
    Product.objects.update(department=Department.objects.create(name="Notebooks & Pencils", slug="notebooks"))
    browser.resize(width)
    accept(browser)
    product = Product.objects.order_by("pk")[0]
    browser.visit(product.get_absolute_url())
    browser.first(".buy button").click()
    wait_for(lambda: browser.all(".line"), what="the cart")
    paths = [
        "/",
        "/products/",
        product.get_absolute_url(),
        "/search/?q=" + "w" * 80,
        "/cart/",
        "/checkout/",
        "/sign-in/",
    ]
    for path in paths:
        browser.visit(path)
        assert browser.driver.execute_script("return document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Browser, scheme: str) -> None:
    """Source of the ratio: WCAG 2.2, success criterion 1.4.3, and the definition of relative luminance."""
    browser.prefer(scheme)
    browser.visit("/")
    for selector in (".card-title", ".price", ".why summary", ".departments a", ".hero p", ".button", ".foot p"):
        ratio = browser.driver.execute_script(CONTRAST, browser.first(selector))
        assert ratio >= 4.5, f"{selector} in {scheme}: {ratio:.2f}"


def test_every_tile_is_drawn(browser: Browser) -> None:
    browser.visit("/products/")
    sizes = browser.driver.execute_script(
        "return [...document.querySelectorAll('.tile use')].map(use => use.getBBox().width)"
    )
    assert sizes
    assert all(size > 0 for size in sizes)
    assert not [line for line in browser.driver.get_log("browser") if line["level"] == "SEVERE"]


CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const rgb = (colour) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = ([r, g, b]) => [r, g, b].map((value) => {
  const share = value / 255;
  return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
}).reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
let element = arguments[0];
const ink = light(rgb(getComputedStyle(element).color));
while (rgb(getComputedStyle(element).backgroundColor)[3] === 0) element = element.parentElement;
const ground = light(rgb(getComputedStyle(element).backgroundColor));
return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
"""


def test_page_of_a_cdn_fills_its_list_and_tells_of_itself(browser: Browser, settings: Any, monkeypatch: Any) -> None:
    settings.ROOT_URLCONF = __name__
    monkeypatch.setattr(tracking, "_pages", {})
    tracking.track_pages(tracking.page("kept", "view_item", item_id="kwargs.code", beacon=True))
    accept(browser)
    browser.visit("/kept/22423/")
    assert browser.first('.recommender-lazy [data-slot="trending"]')
    wait_for_event(item_id="22423", type="view_item")
    (event,) = Event.objects.filter(type="view_item")
    cookie = browser.driver.get_cookie("recommender_visitor")
    assert event.visitor is not None
    assert event.visitor.key == identity.visitor_key_from_cookie(cookie["value"])
