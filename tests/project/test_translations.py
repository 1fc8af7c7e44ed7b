"""Shoppers read the language of the page, in each of the shipped languages."""

from __future__ import annotations

import gettext
import re
from pathlib import Path
from typing import Any

import pytest
from django.template import RequestContext, Template
from django.test import Client
from django.utils import translation

from tests.conftest import DemoShop, request_of

APP = Path(__file__).resolve().parents[2] / "recommender"
LANGUAGES = ("de", "es", "fa", "fr", "zh_Hans")
MODULES = tuple(APP / name for name in ("serving/explain.py", "serving/filters.py", "templatetags/recommender.py"))


def texts_for_shoppers() -> set[str]:
    """The texts of headings, reasons, notices and templates, as the source has them."""
    in_code = [re.findall(r'\b(?:_|ngettext)\(\s*"([^"]+)"', module.read_text()) for module in MODULES]
    templates = [*(APP / "templates" / "recommender").glob("*.html")]
    in_templates = [re.findall(r'\{% translate "([^"]+)"', template.read_text()) for template in templates]
    return {text for texts in (*in_code, *in_templates) for text in texts}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_for_shoppers_is_translated_and_compiled(language: str) -> None:
    folder = APP / "locale" / language / "LC_MESSAGES"
    with (folder / "django.mo").open("rb") as compiled:
        catalogue = gettext.GNUTranslations(compiled)
    texts = texts_for_shoppers()
    assert len(texts) > 30
    missing = [text for text in texts if catalogue.gettext(text) == catalogue.ngettext(text, text, 1) == text]
    assert not missing
    source = (folder / "django.po").read_text()
    written = re.findall(r'^msgid "(.+)"\nmsgstr "(.+)"$', source, re.MULTILINE)
    assert {text: catalogue.gettext(text) for text, _ in written} == dict(written), "compile it: make messages"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "heading", "results"),
    [("de", "Gerade beliebt", "Ergebnis"), ("fr", "Tendances du moment", "résultat"), ("zh-hans", "正在流行", "个结果"),
     ("fa", "پرطرفدار", "نتیجه"), ("es", "Tendencias", "resultado")],
)  # fmt: skip
def test_headings_and_results_are_in_the_language_of_the_page(
    demo_shop: DemoShop, language: str, heading: str, results: str
) -> None:
    request = request_of(path="/?q=bag")
    template = Template('{% load recommender %}{% recommendations "trending" limit=2 %}{% search %}')
    with translation.override(language):
        html = template.render(RequestContext(request, {"request": request}))
    assert heading in html
    assert results in html
    assert not re.search(r"Trending now|Popular in|results? for|Selling faster|From our range", html)


@pytest.mark.django_db
def test_list_that_loads_late_has_the_language_of_its_page(demo_shop: DemoShop, settings: Any) -> None:
    with translation.override("de"):
        placeholder = Template('{% load recommender %}{% lazy_recommendations "trending" limit=2 %}').render(
            RequestContext(None)
        )
    (source,) = re.findall(r'data-recommender-src="([^"]+)"', placeholder)
    html = Client().get(source.replace("&amp;", "&")).content.decode()
    assert "Gerade beliebt" in html
    assert "Trending now" in Client().get("/recommender/blocks/trending?language=xx").content.decode()
