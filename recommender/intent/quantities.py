"""Numbers of a text in, what they mean out: measures such as 12 cm, and prices such as "under 20" with the rest."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

_SPELLED: Mapping[str, tuple[str, float]] = {
    **dict.fromkeys(("in", "inch", "inches", '"'), ("in", 1.0)),
    **dict.fromkeys(("ft", "foot", "feet", "'"), ("in", 12.0)),
    **dict.fromkeys(("yd", "yard", "yards"), ("in", 36.0)),
    **dict.fromkeys(("mm", "millimetre", "millimeter"), ("mm", 1.0)),
    **dict.fromkeys(("cm", "centimetre", "centimeter", "センチ", "厘米", "公分"), ("mm", 10.0)),
    **dict.fromkeys(("m", "metre", "meter", "metres", "meters"), ("mm", 1000.0)),
    **dict.fromkeys(("g", "gr", "gram", "grams", "克"), ("g", 1.0)),
    **dict.fromkeys(("kg", "kilo", "kilos", "公斤"), ("g", 1000.0)),
    **dict.fromkeys(("ml", "毫升"), ("ml", 1.0)),
    **dict.fromkeys(("cl",), ("ml", 10.0)),
    **dict.fromkeys(("l", "litre", "liter", "litres", "liters", "升"), ("ml", 1000.0)),
    **dict.fromkeys(("oz", "ounce", "ounces"), ("oz", 1.0)),
    **dict.fromkeys(("lb", "lbs", "pound", "pounds"), ("lb", 1.0)),
    **dict.fromkeys(("gal", "gallon", "gallons"), ("gal", 1.0)),
    **dict.fromkeys(("qt", "quart", "quarts"), ("qt", 1.0)),
    **dict.fromkeys(("w", "watt", "watts"), ("w", 1.0)),
    **dict.fromkeys(("v", "volt", "volts"), ("v", 1.0)),
    **dict.fromkeys(("amp", "amps", "ampere"), ("a", 1.0)),
    **dict.fromkeys(("gauge", "ga"), ("gauge", 1.0)),
    **dict.fromkeys(("pack", "pk", "piece", "pieces", "pc", "pcs", "count", "ct", "個", "个", "개"), ("pc", 1.0)),
    **{name: (name, 1.0) for name in ("hp", "btu", "psi", "gpm", "gpf", "mil", "gb", "tb", "mah", "k", "lumens")},
}
"""Each spelling of a unit with the unit it is counted in, and how many of those it is."""

UNITS = frozenset(_SPELLED)

_NUMBER = r"\d+(?:[.,]\d+)?(?:[ -]\d+/\d+|/\d+)?"
_MEASURE = re.compile(
    rf"(?P<number>{_NUMBER})(?:\s*-?\s*(?P<unit>{'|'.join(sorted(map(re.escape, UNITS), key=len, reverse=True))})"
    r"(?![^\W\d_]))?"
)
_SIGN = r"[£$€¥￥₩]"
_MONEY = rf"(?:(?:{_SIGN}|(?:gbp|usd|eur)\s)\s*)?(\d+(?:[.,]\d{{1,2}})?)"
_CURRENCY = rf"\s*(?:{_SIGN}|pounds?|dollars?|euros?|quid|gbp|usd|eur|bucks)?"
_END = r"(?=\s*$|\s+(?:for|with|and)\b)"
"""A bare number is a price at the end of a query or before a linking word; "under 5 year olds" is none."""

_BELOW = (
    r"(?:under|below|less than|cheaper than|up to|max|maximum|at most|no more than|unter|bis|moins de|menos de|<=?)"
)
_ABOVE = r"(?:over|above|more than|from|min|minimum|at least|über|ab|plus de|más de|>=?)"
_PRICES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"(?:between\s+){_MONEY}{_CURRENCY}\s+(?:and|-|to)\s+{_MONEY}{_CURRENCY}{_END}"), "range"),
    (re.compile(rf"{_SIGN}\s*(\d+(?:[.,]\d{{1,2}})?)\s*(?:-|–|to)\s*{_SIGN}?\s*(\d+(?:[.,]\d{{1,2}})?)"), "range"),
    (
        re.compile(
            r"(\d+(?:[.,]\d{1,2})?)\s*(?:-|–|to)\s*(\d+(?:[.,]\d{1,2})?)\s*(?:[£$€]|pounds\b|dollars\b|euros?\b)"
        ),
        "range",
    ),
    (re.compile(rf"(?<!\w){_BELOW}\s*{_MONEY}{_CURRENCY}{_END}"), "max"),
    (re.compile(rf"(?<!\w){_ABOVE}\s*{_MONEY}{_CURRENCY}{_END}"), "min"),
    (re.compile(r"[¥₩]?\s*(\d+(?:\.\d+)?)\s*(?:元|円|块|원)?\s*(?:以下|以内|以內|まで|이하)"), "max"),
    (re.compile(r"[¥₩]?\s*(\d+(?:\.\d+)?)\s*(?:元|円|块|원)?\s*(?:以上|から|이상)"), "min"),
)
_NAMED_CURRENCY = re.compile(rf"{_SIGN}|pounds?\b|dollars?\b|euros?\b|quid\b|gbp|usd|eur\b|元|円|块|원")
_VAGUE = re.compile(
    r"(?<!\w)(?:cheap(?:est)?|inexpensive|low cost|budget|bargain|billig|günstig|pas cher|barato)(?!\w)"
    r"|便宜的?|安い|格安|저렴한"
)


@dataclass(frozen=True, slots=True)
class Price:
    """What a query says of the price: bounds, None where it sets none; `text` says it, `rest` is the query without."""

    low: float | None = None
    high: float | None = None
    is_vague: bool = False
    text: str = ""
    rest: str = ""

    @property
    def has_currency(self) -> bool:
        """Whether the words name a currency, and so can mean nothing but a price."""
        return _NAMED_CURRENCY.search(self.text.lower()) is not None

    @property
    def is_said(self) -> bool:
        """Whether a bound is named in figures."""
        return self.low is not None or self.high is not None


@dataclass(frozen=True, slots=True)
class Measures:
    """Numbers with a unit, in the unit's smallest form ("120mm"), and all numbers, with a unit or without."""

    measures: frozenset[str]
    numbers: frozenset[str]


def price_in(query: str) -> Price:
    """Read the price words of a query; the first phrase that sets a bound counts, and "cheap" sets none by itself."""
    plain = " ".join(unicodedata.normalize("NFKC", query).split())
    folded = plain.lower()
    if len(folded) != len(plain):
        return Price(rest=plain)
    for pattern, kind in _PRICES:
        if found := pattern.search(folded):
            rest = _without(plain, found)
            bounds = sorted(float(value.replace(",", ".")) for value in found.groups())
            low = bounds[0] if kind in ("range", "min") else None
            high = bounds[-1] if kind in ("range", "max") else None
            if rest:
                return Price(low, high, text=found[0].strip(), rest=rest)
    found = _VAGUE.search(folded)
    if found and (rest := _without(plain, found)):
        return Price(is_vague=True, text=found[0].strip(), rest=rest)
    return Price(rest=plain)


@lru_cache(maxsize=100_000)
def measures_of(text: str) -> Measures:
    """Read the numbers and measures of a title or a query; kept for the titles that were asked for last."""
    measures, numbers = set(), set()
    for found in _MEASURE.finditer(unicodedata.normalize("NFKC", text).lower()):
        value = _value(found["number"])
        if value is None:
            continue
        numbers.add(f"{value:g}")
        if found["unit"]:
            unit, factor = _SPELLED[found["unit"]]
            measures.add(f"{value * factor:g}{unit}")
    return Measures(frozenset(measures), frozenset(numbers))


def _without(text: str, found: re.Match[str]) -> str:
    return " ".join(f"{text[: found.start()]} {text[found.end() :]}".split())


def _value(number: str) -> float | None:
    """Return 1.5 for "1.5", "1,5", "3/2" and "1-1/2"; None for what is no number, as 1/0."""
    whole, _, fraction = number.replace("-", " ").rpartition(" ")
    total = float(whole.replace(",", ".")) if whole else 0.0
    over, _, under = fraction.partition("/")
    if not under:
        return total + float(over.replace(",", "."))
    return total + float(over.replace(",", ".")) / float(under) if float(under) else None
