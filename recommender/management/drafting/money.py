"""Finds the currency of a shop's prices: in a column, in the settings, or as a sign in its templates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import models
from django.template import engines

from recommender.management.drafting import words
from recommender.management.drafting.facts import columns, numbers

Model = type[models.Model]

SETTINGS = (
    "DEFAULT_CURRENCY", "CURRENCY", "CURRENCY_CODE", "SHOP_CURRENCY", "SHOP_DEFAULT_CURRENCY", "STORE_CURRENCY",
    "OSCAR_DEFAULT_CURRENCY",
)  # fmt: skip
SIGNS = {
    "€": "EUR", "£": "GBP", "₹": "INR", "₽": "RUB", "₴": "UAH", "₺": "TRY", "zł": "PLN", "Kč": "CZK", "₩": "KRW",
    "₪": "ILS", "₫": "VND", "฿": "THB", "₦": "NGN", "R$": "BRL", "元": "CNY", "円": "JPY", "$": "USD",
    "تومان": "IRT", "ریال": "IRR",
}  # fmt: skip
"""Each sign and the currency that it usually means. ISO 4217 has no toman: Persian payment gateways write `IRT`."""

WORDS = {
    "euro": "EUR", "euros": "EUR", "eur": "EUR", "pound": "GBP", "pounds": "GBP", "gbp": "GBP", "sterling": "GBP",
    "usd": "USD", "dollars": "USD", "rial": "IRR", "rials": "IRR", "toman": "IRT", "tomans": "IRT", "yen": "JPY",
    "yuan": "CNY", "rmb": "CNY", "rupees": "INR", "inr": "INR", "chf": "CHF", "francs": "CHF", "zloty": "PLN",
    "pln": "PLN", "rubles": "RUB", "lira": "TRY",
}  # fmt: skip
"""Words in the name or help text of a column, and the currency that they mean."""

MAX_FILES = 400


def currency_column(model: type[models.Model], price: str) -> str:
    """The column with the currency of a model's price; empty if there is none."""
    names = {field.name for field in columns(model, models.CharField)}
    wanted = (f"{price}_currency", "currency", "currency_code", "price_currency")
    return next((name for name in wanted if name in names), "")


def currency_in_words(price: models.Field) -> tuple[str, str]:
    """The currency in a column's name or help text, as in "price in rial", and the reason; two empty texts if none."""
    text = f"{price.name} {price.verbose_name} {price.help_text}"
    word = next((word for word in words.parts(text) if word in WORDS), "")
    return (WORDS[word], f"the price column says {word}") if word else ("", "")


def currency_of_shop(products: Sequence[Model], orders: Sequence[Model]) -> tuple[str, str]:
    """The currency of the shop and where it was found; two empty texts if it was not found."""
    for name in SETTINGS:
        code = getattr(settings, name, None)
        if isinstance(code, str) and re.fullmatch("[A-Za-z]{3}", code):
            return code.upper(), f"settings.{name}"
    for model in (*orders, *products):
        column = currency_column(model, "price")
        field: Any = model._meta.get_field(column) if column else None
        default = field.get_default() if field is not None else None
        if isinstance(default, str) and re.fullmatch("[A-Z]{3}", default):
            return default, f"the default of {model.__name__}.{column}"
    for model in products:
        for price in numbers(model):
            if words.has(price.name, words.PRICE) and (in_words := currency_in_words(price))[0]:
                return in_words
    signs = {sign for label in {model._meta.app_label for model in products} for sign in _signs(label)}
    if len(signs) == 1:
        (sign,) = signs
        return SIGNS[sign], f"the shop writes {sign}"
    return "", ""


def _signs(app_label: str) -> set[str]:
    counted = {sign for text in _texts(app_label) for sign in SIGNS if _is_price(text, sign)}
    return counted - {"$"} if "R$" in counted else counted


def _is_price(text: str, sign: str) -> bool:
    """Is the sign beside a number or a template variable?"""
    quoted = re.escape(sign)
    return bool(re.search(rf"{quoted}\s?(\{{\{{|\{{|%|\d)|(\}}\}}|\}}|\d)\s?(<[^>]*>\s?)*{quoted}", text))


def _texts(app_label: str) -> list[str]:
    """The sources of the project's templates, and of the app's templates and code."""
    folders = [Path(apps.get_app_config(app_label).path)]
    for engine in engines.all():
        folders += [Path(folder) for folder in engine.dirs]
    files = [
        file
        for folder in folders
        if folder.is_dir()
        for pattern in ("**/*.html", "**/*.jinja*", "*.py", "templatetags/*.py")
        for file in sorted(folder.glob(pattern))
        if "migrations" not in file.parts and not words.has(file.stem, ("test", "tests", "recommendations"))
    ]
    return [file.read_text(errors="replace") for file in files[:MAX_FILES]]
