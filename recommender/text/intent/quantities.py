"""Numbers of a text in, what they measure out: 12 cm and 120mm are the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from recommender.text.words import ascii_digits

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


@dataclass(frozen=True, slots=True)
class Measures:
    """Numbers with a unit, in the unit's smallest form ("120mm"), and all numbers, with a unit or without."""

    measures: frozenset[str]
    numbers: frozenset[str]


@lru_cache(maxsize=100_000)
def measures_of(text: str) -> Measures:
    """Read the numbers and measures of a title or a query; kept for the titles that were asked for last."""
    measures, numbers = set(), set()
    for found in _MEASURE.finditer(ascii_digits(unicodedata.normalize("NFKC", text)).lower()):
        value = _value(found["number"])
        if value is None:
            continue
        numbers.add(f"{value:g}")
        if found["unit"]:
            unit, factor = _SPELLED[found["unit"]]
            measures.add(f"{value * factor:g}{unit}")
    return Measures(frozenset(measures), frozenset(numbers))


def _value(number: str) -> float | None:
    """Return 1.5 for "1.5", "1,5", "3/2" and "1-1/2"; None for what is no number, as 1/0."""
    whole, _, fraction = number.replace("-", " ").rpartition(" ")
    total = float(whole.replace(",", ".")) if whole else 0.0
    over, _, under = fraction.partition("/")
    if not under:
        return total + float(over.replace(",", "."))
    return total + float(over.replace(",", ".")) / float(under) if float(under) else None
