"""The demo in three languages: the switch, its texts, the Chinese catalogue, and the prices."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from django.test import Client
from django.utils import translation
from django.utils.html import escape
from selenium.webdriver.common.keys import Keys

from shopreco.shop.languages import TRANSLATED, title_in_language
from shopreco.shop.models import Department, Product
from shopreco.shop.templatetags.shop import department, pounds
from tests.conftest import DemoShop
from tests.demo.test_browser import Browser, browser, wait_for
from tests.project.test_translations import entries, texts_of_module, texts_of_template

__all__ = ["browser"]

ROOT = Path(__file__).resolve().parents[2]


def page(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


@pytest.fixture
def chinese(demo_shop: DemoShop) -> Client:
    client = Client()
    assert client.post("/language/", {"language": "zh-hans", "next": "/"}).status_code == 302
    return client


@pytest.mark.parametrize("language", ["de", "zh_Hans"])
def test_every_text_of_the_demo_is_translated(language: str) -> None:
    in_code = [texts_of_module(path.read_text()) for path in (ROOT / "shopreco").rglob("*.py")]
    in_templates = [texts_of_template(path.read_text()) for path in (ROOT / "templates").rglob("*.html")]
    texts = {text for group in (*in_code, *in_templates) for text in group}
    source = (ROOT / "shopreco" / "locale" / language / "LC_MESSAGES" / "django.po").read_text()
    translated = {text for ids, strings, _flags in entries(source) if all(strings) for text in ids}
    assert len(texts) > 150
    assert not texts - translated


@pytest.mark.django_db
def test_switch_has_a_label_and_is_remembered(chinese: Client) -> None:
    html = page(chinese, "/")
    assert '<html lang="zh-hans">' in html
    assert '<label for="language">语言</label>' in html
    assert '<option value="zh-hans" lang="zh-hans" selected>简体中文</option>' in html
    assert "大家正在买" in html
    chinese.post("/language/", {"language": "de", "next": "/cart/"})
    assert "Ihr Warenkorb" in page(chinese, "/cart/")


@pytest.mark.django_db
def test_switch_leads_to_no_other_host(demo_shop: DemoShop) -> None:
    response = Client().post("/language/", {"language": "de", "next": "https://elsewhere.example/"})
    assert "elsewhere" not in response["Location"]


@pytest.mark.django_db
def test_chinese_catalogue_is_shown_and_searched_in_chinese(chinese: Client) -> None:
    with translation.override("zh-hans"):
        titles = {one: one.localised_title for one in Product.objects.filter(is_visible=True)}
    translated = [product for product, title in titles.items() if title != product.title]
    assert len(translated) > 5
    for product in translated[:3]:
        assert titles[product] in page(chinese, product.get_absolute_url())
        html = page(chinese, f"/search/?q={titles[product]}")
        assert f"“{titles[product]}”的搜索结果" in html
        assert re.findall(r'class="card-title">([^<]+)<', html)[0] == escape(titles[product])
        assert escape(product.title) in page(Client(), product.get_absolute_url())


def test_titles_without_a_translation_and_other_languages_stay_as_they_are() -> None:
    assert title_in_language("22423", "Regency Cakestand") == "Regency Cakestand"
    with translation.override("zh-hans"):
        assert title_in_language("no-code", "A Thing") == "A Thing"
        assert title_in_language("22423", "Regency Cakestand") == "摄政风三层蛋糕架"
        assert department("Bags & Sceptres") == "袋子 & Sceptres"
    assert set(TRANSLATED) == {"zh-hans"}


@pytest.mark.parametrize(("language", "price"), [("en-gb", "£1,234.50"), ("de", "1.234,50 £"), ("zh-hans", "£1234.50")])
def test_prices_are_written_as_the_language_does(language: str, price: str) -> None:
    with translation.override(language):
        assert pounds(Decimal("1234.5")) == price


@pytest.mark.django_db
def test_departments_are_named_in_the_language(chinese: Client) -> None:
    Department.objects.create(name="Bags & Lunch", slug="bags-lunch")
    assert "袋子 &amp; 午餐" in page(chinese, "/")


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_language_is_switched_by_keyboard_without_scripts(browser: Browser) -> None:
    browser.without_scripts()
    browser.visit("/")
    choice = browser.first("#language")
    choice.send_keys("D")
    choice.send_keys(Keys.TAB, Keys.NULL)
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    wait_for(lambda: browser.first("html").get_attribute("lang") == "de", what="the shop in German")
    assert "Warenkorb" in browser.first(".tools").text
