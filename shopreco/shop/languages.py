"""What the catalogue is called in other languages: Chinese titles of much-sold products, and words of departments."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_noop as _

DATA = Path(__file__).resolve().parent / "data"
TRANSLATED = {"zh-hans": DATA / "titles.zh-hans.csv"}
"""Our own translation of the titles; what is not in it keeps the title that the shop gave it."""

WORDS_OF_DEPARTMENTS = (
    _("Bags"), _("Lunch"), _("Charlottes"), _("Bottles"), _("Waters"), _("Candles"), _("Glass"), _("Cards"),
    _("Ribbons"), _("Cases"), _("Cakes"), _("Clocks"), _("Buntings"), _("Doormats"), _("Homes"), _("Parasols"),
    _("Frames"), _("Kits"), _("Papers"), _("Plasters"), _("Tins"), _("Signs"), _("Bathrooms"), _("Tea"), _("Mugs"),
    _("Warmers"), _("Necklaces"), _("Bracelets"), _("Earrings"), _("Jewellery"), _("Christmas"), _("Decorations"),
    _("Garden"), _("Kitchen"), _("Boxes"), _("Bowls"), _("Plates"), _("Toys"), _("Stickers"), _("Wraps"), _("Gifts"),
    _("Lights"), _("Cushions"), _("Hooks"), _("Party"), _("Birthday"), _("Incense"), _("Stationery"), _("Travel"),
    _("Food"), _("Easter"), _("Baskets"), _("Flowers"), _("Tissues"), _("Pencils"), _("Notebooks"), _("Magnets"),
)  # fmt: skip
"""Departments are named by words of their titles; these are the words that have a translation."""


def title_in_language(stock_code: str, title: str) -> str:
    """The title in the language of the page, or else as it is."""
    return _titles(get_language() or "").get(stock_code, title)


def title_in_english(title: str) -> str:
    """A translated title as the shop wrote it: a picture is drawn from English words."""
    return _english().get(title, title)


def department_in_language(name: str) -> str:
    """The words of a department's name in the language of the page; a word without a translation as it is."""
    return " & ".join(gettext(word) if word in WORDS_OF_DEPARTMENTS else word for word in name.split(" & "))


@cache
def _english() -> Mapping[str, str]:
    return {row["title"]: row["english"] for language in TRANSLATED for row in _rows(language)}


@cache
def _titles(language: str) -> Mapping[str, str]:
    return {row["stock_code"]: row["title"] for row in _rows(language)}


def _rows(language: str) -> list[dict[str, str]]:
    if language not in TRANSLATED:
        return []
    with TRANSLATED[language].open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
