"""Names of currencies in queries: signs, codes and words, each with the ISO 4217 codes that it may stand for."""

from __future__ import annotations

import re

_DOLLARS = ("USD", "CAD", "AUD", "NZD", "HKD", "SGD", "TWD", "MXN", "ARS", "CLP", "COP")
_CROWNS = ("SEK", "NOK", "DKK", "ISK")
_PESOS = ("MXN", "ARS", "CLP", "COP", "PHP", "UYU", "DOP")
_RUPEES = ("INR", "PKR", "LKR", "NPR")
_RIALS = ("IRR", "OMR", "YER", "SAR", "QAR")

_SIGNS = {
    "£": ("GBP", "EGP"), "$": _DOLLARS, "€": ("EUR",), "¥": ("JPY", "CNY"), "₩": ("KRW",), "₹": ("INR",), "₺": ("TRY",),
    "₪": ("ILS",), "฿": ("THB",), "﷼": _RIALS, "₽": ("RUB",), "₴": ("UAH",), "₫": ("VND",), "₱": ("PHP",),
    "₦": ("NGN",),
}  # fmt: skip
_CODES = (
    "aed", "ars", "aud", "brl", "cad", "chf", "clp", "cny", "cop", "czk", "dkk", "eur", "gbp", "hkd", "huf", "inr",
    "jpy", "krw", "mxn", "nok", "nzd", "pln", "ron", "rub", "sek", "sgd", "thb", "try", "twd", "uah", "usd", "zar",
)  # fmt: skip
_BEFORE = {
    **{code: (code.upper(),) for code in _CODES}, "rmb": ("CNY",), "rs.": _RUPEES, "rs": _RUPEES, "r$": ("BRL",),
    "us$": ("USD",), "fr.": ("CHF",), "sfr": ("CHF",), "kr.": _CROWNS, "kr": _CROWNS,
}  # fmt: skip
_AFTER = {
    **_BEFORE, "pound": ("GBP",), "pounds": ("GBP",), "quid": ("GBP",), "dollar": _DOLLARS, "dollars": _DOLLARS,
    "bucks": _DOLLARS, "euro": ("EUR",), "euros": ("EUR",), "yen": ("JPY",), "yuan": ("CNY",), "franken": ("CHF",),
    "franc": ("CHF",), "francs": ("CHF",), "fr": ("CHF",), "peso": _PESOS, "pesos": _PESOS, "reais": ("BRL",),
    "rupee": _RUPEES, "rupees": _RUPEES, "रुपये": ("INR",), "kronor": ("SEK",), "kroner": ("NOK", "DKK"),
    "kronen": _CROWNS, "zł": ("PLN",), "zl": ("PLN",), "złotych": ("PLN",), "kč": ("CZK",), "lei": ("RON",),
    "tl": ("TRY",), "lira": ("TRY",), "\u0440\u0443\u0431": ("RUB",), "\u0433\u0440\u043d": ("UAH",), "تومان": ("IRR",),
    "تومن": ("IRR",), "ریال": _RIALS, "ريال": _RIALS, "دلار": _DOLLARS, "یورو": ("EUR",), "درهم": ("AED", "MAD"),
    "دينار": ("KWD", "JOD", "BHD", "IQD"), "جنيه": ("EGP", "GBP"),
}  # fmt: skip
_GLUED = {
    "元": ("CNY", "TWD", "HKD"), "块钱": ("CNY",), "块": ("CNY",), "塊": ("TWD", "HKD"), "人民币": ("CNY",),
    "円": ("JPY",), "엔": ("JPY",), "원": ("KRW",), "บาท": ("THB",), "ポンド": ("GBP",), "ドル": _DOLLARS,
    "ユーロ": ("EUR",), "欧元": ("EUR",), "美元": ("USD",), "英镑": ("GBP",),
}  # fmt: skip
_NAMES = {**_SIGNS, **_AFTER, **_GLUED}


def _any_of(names: dict[str, tuple[str, ...]]) -> str:
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True))


BEFORE = rf"(?:{_any_of(_SIGNS)}|(?:{_any_of(_BEFORE)})(?=[\s\d]))"
AFTER = rf"(?:{_any_of(_SIGNS)}|(?:{_any_of(_AFTER)})(?!\w)|{_any_of(_GLUED)})"
"""What may stand before a number, and after it, in lower case."""


def currencies_of(name: str) -> frozenset[str]:
    """Return the codes that a name may stand for; none for a name that is no currency."""
    return frozenset(_NAMES.get(name, ()))
