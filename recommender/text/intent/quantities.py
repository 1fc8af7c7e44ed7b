"""Reads numbers and measures off a text, in one unit per dimension: 12 cm and 120mm are the same."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from recommender.text.words import UNITS, ascii_digits

_BASE_UNITS = {
    "ft": ("in", 12.0), "yd": ("in", 36.0), "cm": ("mm", 10.0), "m": ("mm", 1000.0), "kg": ("g", 1000.0),
    "cl": ("ml", 10.0), "l": ("ml", 1000.0), "pack": ("pc", 1.0), "piece": ("pc", 1.0), "count": ("pc", 1.0),
}  # fmt: skip
"""The unit that another is counted in, and how many of those it is; all others are counted in themselves."""

_SPELLINGS = UNITS | {'"': "in", "'": "ft"}
_NUMBER = r"\d+(?:[.,]\d+)?(?:[ -]\d+/\d+|/\d+)?"
_MEASURE = re.compile(
    rf"(?P<number>{_NUMBER})(?:\s*-?\s*(?P<unit>{'|'.join(sorted(map(re.escape, _SPELLINGS), key=len, reverse=True))})"
    r"(?![^\W\d_]))?"
)


@dataclass(frozen=True, slots=True)
class Measures:
    """The numbers that have a unit, in the base unit ("120mm"), and all numbers, with a unit or without."""

    measures: frozenset[str]
    numbers: frozenset[str]


@lru_cache(maxsize=100_000)
def measures_of(text: str) -> Measures:
    """Read the numbers and measures of a title or a query."""
    measures, numbers = set(), set()
    for match in _MEASURE.finditer(ascii_digits(unicodedata.normalize("NFKC", text)).lower()):
        value = _value(match["number"])
        if value is None:
            continue
        numbers.add(f"{value:g}")
        if match["unit"]:
            unit = _SPELLINGS[match["unit"]]
            base, factor = _BASE_UNITS.get(unit, (unit, 1.0))
            measures.add(f"{value * factor:g}{base}")
    return Measures(frozenset(measures), frozenset(numbers))


def _value(number: str) -> float | None:
    """Return 1.5 for "1.5", "1,5", "3/2" and "1-1/2"; None for a fraction over 0."""
    whole, _, fraction = number.replace("-", " ").replace(",", ".").rpartition(" ")
    numerator, _, denominator = fraction.partition("/")
    divisor = float(denominator or 1)
    return float(whole or 0) + float(numerator) / divisor if divisor else None
