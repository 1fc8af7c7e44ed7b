"""Every page of the admin in a language whose letters are all accented: what keeps plain letters was not wrapped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation

from tests.admin.pages import accented, addresses, plant
from tests.conftest import DemoShop

pytestmark = pytest.mark.django_db

PLACEHOLDER = re.compile(r"(%\([^)]*\)[-+ #0]*[\d.]*[a-z]|%[-+ #0]*[\d.]*[a-z%]|\{[^}]*\}|<[^>]*>|&\w+;)")
PLAIN = re.compile(r"[A-Za-z_]{4,}")
"""A word in plain letters."""

NAMES = {
    "adalora", "frozen", "full", "lora", "prefix",  # values of FINE_TUNING
    "diversity", "brand", "category", "type", "shop", "Product",  # settings, attributes, fields and models of a shop
    "events", "lists", "profile", "person",  # scopes of keys, and the source of a judgement
    "NDCG", "search", "view_item", "page",  # a measure, parts of message ids, and the source of a raw record
    "True", "False", "Search",  # Django's own icons are not translated
}  # fmt: skip
"""What has the same name in every language."""

IDENTIFIER = re.compile(r"\b[\da-f]{8,}\b(-[\da-f]{4,})*|/item/\w+/")
RAW_RECORDS = {"recommender_overview_change", "recommender_overview_history"}
"""The sums of one hour as they are stored; no page leads there."""

UNTRANSLATED = {"script", "style", "pre", "code", "kbd"}
"""What stands in them is not said in any language."""

SPOKEN = ("alt", "title", "aria-label", "placeholder")


def in_pseudo_language(text: str) -> str:
    return "".join(part if n % 2 else accented(part) for n, part in enumerate(PLACEHOLDER.split(text)))


@pytest.fixture
def pseudo_language(monkeypatch: pytest.MonkeyPatch) -> None:
    """gettext answers in accented letters, whatever the catalogues have."""
    catalogue: Any = translation._trans  # type: ignore[attr-defined]
    monkeypatch.setattr(catalogue, "gettext", in_pseudo_language)
    monkeypatch.setattr(catalogue, "pgettext", lambda context, text: in_pseudo_language(text))
    monkeypatch.setattr(catalogue, "ngettext", lambda one, many, n: in_pseudo_language(one if n == 1 else many))
    monkeypatch.setattr(
        catalogue, "npgettext", lambda context, one, many, n: in_pseudo_language(one if n == 1 else many)
    )


class Texts(HTMLParser):
    """Collects what a page shows and what a screen reader says."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in UNTRANSLATED:
            self._open.append(tag)
        values = dict(attrs)
        self.texts += [values[name] or "" for name in SPOKEN if name in values]
        if tag == "input" and values.get("type") in ("submit", "button"):
            self.texts.append(values.get("value") or "")

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._open:
            self.texts.append(data)


def plain_texts(html: str) -> list[str]:
    collected = Texts()
    collected.feed(html)
    return sorted({" ".join(text.split()) for text in collected.texts if _says_something(text)})


def _says_something(text: str) -> bool:
    return bool(set(PLAIN.findall(IDENTIFIER.sub("", text))) - NAMES)


def test_plain_text_is_found_wherever_a_person_meets_it() -> None:
    html = (
        '<p>not wrapped</p><img alt="one picture"><input type="submit" value="Save it"><pre>left out</pre><p>ñöþé</p>'
    )
    assert plain_texts(html) == ["Save it", "not wrapped", "one picture"]


def test_every_page_of_the_admin_is_wrapped(
    admin_client: Client,
    few_are_enough: None,
    demo_shop: DemoShop,
    pseudo_language: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admin.site, "enable_nav_sidebar", False)  # it names the shop's own models
    User.objects.filter(username="admin").update(username="1")
    plant()
    n_pages, plain = 0, list[str]()
    for name, url in addresses():
        response = admin_client.get(url)
        if response.status_code == 200 and name not in RAW_RECORDS:
            n_pages += 1
            texts = plain_texts(response.content.decode())
            plain += [f"{name} {url}: {text}" for text in texts]
        elif response.status_code != 200:
            assert response.status_code in (302, 403), (name, url, response.status_code)
    assert n_pages > 60
    assert not plain, "\n".join(plain)
