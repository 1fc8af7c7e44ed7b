"""Reads numbers and measures off words, in one unit per dimension: 12 cm and 120mm are the same, as are 1/2 and ½."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from recommender.text.words import FEET_SIGN, UNITS, Word, words

_BASE_UNITS = {
    "ft": ("in", 12.0), "yd": ("in", 36.0), "cm": ("mm", 10.0), "m": ("mm", 1000.0), "kg": ("g", 1000.0),
    "cl": ("ml", 10.0), "l": ("ml", 1000.0), "pack": ("pc", 1.0), "piece": ("pc", 1.0), "count": ("pc", 1.0),
}  # fmt: skip
"""The unit that another is counted in, and how many of those it is; all others are counted in themselves."""

_NUMBER = re.compile(
    r"(?:(?P<whole>\d+)-)?(?P<number>(?:0|[1-9]\d*)(?:\.\d+)?)(?:/(?P<divisor>\d+))?(?P<unit>[a-z]*)", flags=re.ASCII
)
_MAYBE_THOUSANDS = re.compile(r"[1-9]\d{0,2}\.\d{3}", flags=re.ASCII)
"""1.500: one and a half in English, fifteen hundred in German."""

_FIRST_DIGITS = re.compile(r"[1-9]\d{0,2}", flags=re.ASCII)
_THREE_DIGITS = re.compile(r"\d{3}", flags=re.ASCII)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number in the words from `start` to before `end`; with `has_unit` a measure in the base unit ("120mm").

    readings: the ways to read it; each is one number, or one for each side of 30x40. unit_at: position of a unit that
    is a word of its own, -1 without one. is_guess: the sign of feet read as that of inches, see `guessed_inches`.
    """

    start: int
    end: int
    readings: tuple[tuple[str, ...], ...]
    has_unit: bool = False
    is_fraction: bool = False
    unit_at: int = -1
    is_guess: bool = False

    @property
    def is_joint(self) -> bool:
        """Whether it is more than its words or parts are alone."""
        return self.has_unit or self.is_fraction or self.end > self.start + 1


@dataclass(frozen=True, slots=True)
class Measures:
    """The numbers that have a unit, in the base unit ("120mm"), and all numbers, with a unit or without."""

    measures: frozenset[str]
    numbers: frozenset[str]


@lru_cache(maxsize=100_000)
def measures_of(text: str) -> Measures:
    """Read the numbers and measures of a title or a query."""
    by_kind: tuple[set[str], set[str]] = set(), set()
    for quantity in quantities(list(words(text))):
        by_kind[quantity.has_unit].update(number for reading in quantity.readings for number in reading)
    numbers, measures = map(frozenset, by_kind)
    return Measures(measures, numbers)


def quantities(every: Sequence[Word]) -> Iterator[Quantity]:
    """Give each number among the words of a text, and each number with the unit in it or behind it."""
    for start, word in enumerate(every):
        if not word.whole[:1].isdigit():
            continue
        end = _end_of_thousands(every, start)
        whole = word.whole if end == start + 1 else "".join(part.whole for part in every[start:end])
        yield from _read(whole, every, start, end)
        if end > start + 1:
            yield from _read(word.whole, every, start, start + 1)


def guessed_inches(query: str, every: Sequence[Word]) -> Iterator[Quantity]:
    """Give the measures of a query behind which the sign of feet stands, in inches: many type one quote mark for both.

    every: the words of the query.
    """
    if not FEET_SIGN.search(query):
        return
    for number in quantities(every):
        if not number.has_unit and _unit_behind(every, number.end) == "ft":
            inches = tuple(tuple(f"{value}in" for value in reading) for reading in number.readings)
            yield Quantity(number.start, number.end + 1, inches, has_unit=True, unit_at=number.end, is_guess=True)


def _read(whole: str, every: Sequence[Word], start: int, end: int) -> Iterator[Quantity]:
    """Give the number of one word, and the same with its unit."""
    readings, own_unit = _values_of(whole)
    if not readings:
        return
    numbers = tuple(tuple(f"{value:g}" for value in reading) for reading in readings)
    yield Quantity(start, end, numbers, is_fraction="/" in whole)
    unit = UNITS.get(own_unit or _unit_behind(every, end), "")
    if unit:
        base, factor = _BASE_UNITS.get(unit, (unit, 1.0))
        measures = tuple(tuple(f"{value * factor:g}{base}" for value in reading) for reading in readings)
        unit_at = -1 if own_unit else end
        yield Quantity(start, max(end, unit_at + 1), measures, has_unit=True, unit_at=unit_at)


@lru_cache(maxsize=16_384)
def _values_of(whole: str) -> tuple[tuple[tuple[float, ...], ...], str]:
    """Return the readings of a word and the unit in it; none for a word that is no number."""
    sides = [side for side in map(_NUMBER.fullmatch, whole.split("x")) if side is not None]
    is_number = len(sides) == whole.count("x") + 1 and all(not side["unit"] or side["unit"] in UNITS for side in sides)
    return (_readings(sides), sides[-1]["unit"]) if is_number else ((), "")


def _readings(sides: Sequence[re.Match[str]]) -> tuple[tuple[float, ...], ...]:
    """Return the values of all sides, and of a single one that may be thousands both; () for a fraction over 0."""
    values = []
    for side in sides:
        divisor = int(side["divisor"] or 1)
        if not divisor:
            return ()
        values.append(int(side["whole"] or 0) + float(side["number"]) / divisor)
    is_thousands = len(sides) == 1 and not sides[0]["divisor"] and _MAYBE_THOUSANDS.fullmatch(sides[0]["number"])
    return (tuple(values), (values[0] * 1000,)) if is_thousands else (tuple(values),) if values else ()


def _end_of_thousands(every: Sequence[Word], start: int) -> int:
    """Return where a number ends whose thousands are apart by spaces: 10 000."""
    end = start + 1
    if _FIRST_DIGITS.fullmatch(every[start].whole):
        while end < len(every) and _THREE_DIGITS.fullmatch(every[end].whole):
            end += 1
    return end


def _unit_behind(every: Sequence[Word], position: int) -> str:
    """Return the unit at a position, "" for another word and for the "in" of "2 in 1"."""
    unit = every[position].folded if position < len(every) else ""
    is_preposition = unit == "in" and position + 1 < len(every) and every[position + 1].whole[:1].isdigit()
    return "" if is_preposition else unit
