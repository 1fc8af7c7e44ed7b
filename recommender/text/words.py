"""Splits text into words and folds them: the one tokeniser of titles, queries, personas and intent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from recommender.text.letters import MARKS, UNSPACED, characters, fold, plain

MAX_WORD_LENGTH = 64
MAX_RUN_LENGTH = 8
"""Longest run of characters without spaces that counts as a word; longer runs are sentences."""

_JOINERS = "\u2010\u2011\u200c-"
"""Hyphens, and the zero-width non-joiner, which Persian uses like a hyphen."""

_LETTERS = rf"[^\W_{UNSPACED}](?:[^\W_{UNSPACED}]+|[{MARKS}]+)*"
_AMOUNT = r"\d+(?:[.,]\d+)?"
_RAW = re.compile(
    rf"(?P<run>[{UNSPACED}]+)"
    r"|(?P<mixed>(?<![\d.,/])\d+[ -]\d+/\d+(?![\d/]))"
    rf"|(?P<sides>{_AMOUNT}(?:\s*[x×*]\s*{_AMOUNT})+(?![^\W_]*\d|/\d|[ -]\d+/\d))"
    r"|(?P<number>\d+(?:[.,/\u066b\u066c]\d+)+(?:[a-z]+(?![^\W_]))?)"
    rf"|(?P<word>{_LETTERS}(?:['\u2019{_JOINERS}]{_LETTERS})*)"
)
"""`mixed`: 1-1/2 and 1 1/2; `sides`: 30x40 and 30 × 40, but not the 8 x 1 of 8 x 1/2; each is one word."""

_GROUPED = re.compile(
    r"[1-9]\d{0,2}(?:(?:,\d{3})+(?:\.\d+)?|(?:\.\d{3}){2,}(?:,\d+)?|(?:\.\d{3})+,\d+|(?:\.000)+)(?![\d.,/])"
)
"""A number with signs between its thousands; 1.500 may be one and a half, see `text.intent.quantities`."""

_APOSTROPHES = re.compile(r"['\u2019]")
_HYPHENS = re.compile(rf"[{_JOINERS}]")
LINKING_WORDS = frozenset(
    (
        "a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or", "per", "the",
        "to", "with", "without", "de", "la", "le", "der", "die", "das", "und", "et",
    )
)  # fmt: skip
"""Words that carry no meaning of their own: a title may lack them although the query has them."""

_UNIT_SPELLINGS = {
    "in": "inch inches", "ft": "foot feet", "yd": "yard yards", "mm": "millimetre millimetres millimeter millimeters",
    "cm": "centimetre centimetres centimeter centimeters センチ 厘米 公分", "m": "metre metres meter meters",
    "g": "gr gram grams 克", "kg": "kilo kilos kilogram kilograms 公斤", "ml": "毫升", "cl": "",
    "l": "litre litres liter liters 升", "oz": "ounce ounces", "lb": "lbs pound pounds", "gal": "gallon gallons",
    "qt": "quart quarts", "w": "watt watts", "v": "volt volts", "amp": "amps ampere", "gauge": "ga", "pack": "pk",
    "piece": "pieces pc pcs 個 个 개", "count": "ct", "hp": "", "btu": "", "psi": "", "gpm": "", "gpf": "", "mil": "",
    "gb": "", "tb": "", "mah": "", "k": "", "lumens": "",
}  # fmt: skip
UNITS = {spelling: unit for unit, others in _UNIT_SPELLINGS.items() for spelling in (unit, *others.split())}
"""Each spelling of a unit of measure, mapped to the short one."""

_FRACTION = re.compile(r"(\d)\s*-\s*(?=\d+/\d)")
_THREAD = re.compile(r"(?<!\w)(m\d{1,2})\s*[x×]\s*(?=\d)")
"""M8 x 20, the size of a screw."""

_TIMES = re.compile(r"(?<=\d)\s*[x×*]\s*(?=\d)")
_INCHES = re.compile(r"(?<=\d)\s?(?:''|[\"\u201d\u2033])")
_FEET = re.compile(r"(?<=\d)(?:\u2032|'(?!\w))")
FEET_SIGN = re.compile(r"\d['\u2019\u2032](?![\w'])")
_PRIMES = (("''", " in "), ('"', " in "), ("”", " in "), ("\u2033", " in "), ("\u2032", " ft "))
_FOOT = re.compile(r"(\d)'(?!\w)")
_DIGIT_EDGE = re.compile(r"(?<=\d)(?=[^\W\d_])|(?<=[^\W\d_])(?=\d)")


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a text.

    written: as in the text, in lower case. whole: folded; "" for a long run without spaces. parts: what else finds the
    word: the parts around a hyphen, or for Chinese, Japanese, Korean, Thai and Lao the pairs of characters and the
    single characters of `run`, the folded run, which is "" for a word of other scripts.
    """

    written: str
    whole: str
    parts: tuple[str, ...] = ()
    run: str = ""

    @property
    def is_unspaced(self) -> bool:
        """Whether the word is a run of a script without spaces."""
        return bool(self.run)

    @property
    def folded(self) -> str:
        """The whole word folded, however long."""
        return self.run or self.whole

    def indexed(self) -> tuple[str, ...]:
        """Return everything that the index stores for the word."""
        return (self.whole, *self.parts) if self.whole else self.parts

    def spelling(self, part: str) -> str:
        """Return how one of `indexed` is written."""
        if part == self.whole or not self.run:
            return self.written if part == self.whole else part
        written, alike = letters(self)
        return _parts_of(alike, written).get(part, part)


def words(text: str) -> Iterator[Word]:
    """Split a text into its words; punctuation, operators and emoji are dropped."""
    lower = plain(text).lower()
    if "'" in lower or '"' in lower or not lower.isascii():
        lower = _FEET.sub(" ft ", _INCHES.sub(" in ", lower))
    if "m" in lower:
        lower = _THREAD.sub(r"\1x", lower)
    if "/" in lower:
        lower = _FRACTION.sub(r"\1 ", lower)
    for match in _RAW.finditer(lower):
        if match.lastgroup == "run":
            yield _run(match[0])
        elif match.lastgroup == "word":
            yield _word(match[0][:MAX_WORD_LENGTH])
        else:
            yield _number(match[0][:MAX_WORD_LENGTH])


def tokens(text: str) -> Iterator[str]:
    """Give folded words with sizes written one way: `1-1/2"x 8ft.` as 1 1/2 in x 8 ft; unspaced scripts as pairs."""
    sizes = plain(text).lower()
    for sign, unit in _PRIMES:
        sizes = sizes.replace(sign, unit)
    for word in words(_FOOT.sub(r"\1 ft ", sizes)):
        for part in word.parts or (word.whole,):
            if word.is_unspaced:
                yield part
            else:
                yield from (UNITS.get(piece, piece) for piece in _DIGIT_EDGE.sub(" ", part).split())


def folded(text: str) -> str:
    """Return the folded words of a text: equal for queries that differ only in case, accents or keyboard."""
    return " ".join(word.folded for word in words(text))


def pieces(word: Word) -> list[tuple[str, str]]:
    """Return (as written, folded) for a word, or for each part around its hyphens, or each pair of characters."""
    if word.is_unspaced:
        written, alike = letters(word)
        return list(zip(_pairs(written) or written, _pairs(alike) or alike, strict=True))
    parts = _HYPHENS.split(word.written)
    return list(zip(parts, word.parts, strict=True)) if len(parts) == len(word.parts) else [(word.written, word.whole)]


def letters(word: Word) -> tuple[list[str], list[str]]:
    """Return the characters of a run without spaces as written and folded, as many of each."""
    written, alike = characters(word.written), characters(word.run)
    return (written, alike) if len(written) == len(alike) else (alike, alike)


def pairs(word: Word) -> tuple[str, ...]:
    """Return the folded pairs of neighbouring characters of a run without spaces, or its only character."""
    alike = characters(word.run)
    return tuple(dict.fromkeys(_pairs(alike) or alike))


def written_pairs(word: Word) -> tuple[str, ...]:
    """Return the same pairs as they are written."""
    written = characters(word.written)
    return tuple(dict.fromkeys(_pairs(written) or written))


def _pairs(run: list[str]) -> list[str]:
    return [first + second for first, second in pairwise(run)]


def _number(raw: str) -> Word:
    alike = _TIMES.sub("x", fold(raw))
    parts = tuple(alike.replace("-", " ").split()) if "/" in alike else ()
    return Word(
        raw, _GROUPED.sub(_ungrouped, alike).replace(",", ".").replace(" ", "-"), parts if len(parts) > 1 else ()
    )


def _ungrouped(match: re.Match[str]) -> str:
    """Return 1234.56 for 1,234.56 and for 1.234,56."""
    number = match[0]
    is_english = "," in number and ("." not in number or number.index(",") < number.index("."))
    return number.replace(",", "") if is_english else number.replace(".", "").replace(",", ".")


@lru_cache(maxsize=65_536)
def _word(raw: str) -> Word:
    parts = tuple(part for part in _HYPHENS.split(_APOSTROPHES.sub("", fold(raw))) if part)
    return Word(raw, "".join(parts), parts if len(parts) > 1 else ())


@lru_cache(maxsize=65_536)
def _run(written: str) -> Word:
    run = fold(written)
    alike = characters(run)
    whole = run if len(alike) <= MAX_RUN_LENGTH else ""
    return Word(written, whole, tuple(part for part in _parts_of(alike, alike) if part != whole), run)


def _parts_of(alike: list[str], written: list[str]) -> dict[str, str]:
    """Return the pairs and the characters of a run, folded, each with how it is written."""
    return dict(zip((*_pairs(alike), *alike), (*_pairs(written), *written), strict=True))
