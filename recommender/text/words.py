"""Splits text into words, folds and stems them: the one tokeniser of titles, queries, personas and intent."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

MAX_WORD_LENGTH = 64
MAX_RUN_LENGTH = 8
"""Longest run of characters without spaces that counts as a word; longer runs are sentences."""

_CJK = "\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
_THAI = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecd"
_THAI_MARKS = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd"
"""Vowel and tone signs of Thai and Lao; each belongs to the letter before it."""

_UNSPACED = _CJK + _THAI
_JOINERS = "\u2010\u2011\u200c-"
"""Hyphens, and the zero-width non-joiner, which Persian uses like a hyphen."""

_LETTERS = rf"[^\W_{_UNSPACED}][^\W_{_UNSPACED}\u0900-\u0dff]*(?:[\u0900-\u0dff]+[^\W_{_UNSPACED}]*)*"
_RAW = re.compile(
    rf"(?P<run>[{_UNSPACED}]+)"
    r"|(?P<number>\d+(?:[.,/\u066b\u066c]\d+)+[a-z]*)"
    rf"|(?P<word>{_LETTERS}(?:['\u2019{_JOINERS}]{_LETTERS})*)"
)
_CHARACTERS = re.compile(rf".[{_THAI_MARKS}]*", re.DOTALL)
_INVISIBLE = re.compile(
    r"[\u00ad\u200d-\u200f\u202a-\u202e\u2066-\u2069\ufeff\u0640"  # soft hyphens, directions, tatweel
    r"\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed]"
)
"""Never typed in a search: layout characters, and the vowel signs of Hebrew and Arabic."""

_FIRST_DIGITS = (
    "\u0660\u06f0\u0966\u09e6\u0a66\u0ae6\u0b66\u0be6\u0c66\u0ce6\u0d66\u0e50\u0ed0\u0f20\u1040\u17e0\u1810\uff10"
)
_DIGITS = {ord(zero) + value: str(value) for zero in _FIRST_DIGITS for value in range(10)}
_DIGITS |= {0x066B: ".", 0x066C: ","}
"""Digits of other scripts, and the Arabic decimal and thousands separators."""

_ALIKE = _DIGITS | str.maketrans(
    dict.fromkeys("\u0649\u06cc\u06d2", "\u064a")  # forms of yeh
    | dict.fromkeys("\u06a9\u06aa", "\u0643")  # of kaf
    | dict.fromkeys("\u0629\u06be\u06c1\u06c3\u06d5", "\u0647")  # of heh, teh marbuta among them
    | dict.fromkeys("\u0671\u0672\u0673", "\u0627")  # of alef; those with hamza and madda decompose
)
"""Letters that Arabic, Persian and Urdu keyboards give different codes, mapped to one."""

_THOUSANDS = re.compile(r",(?=\d{3}(?!\d))")
_APOSTROPHES = re.compile(r"['\u2019]")
_HYPHENS = re.compile(rf"[{_JOINERS}]")
_ACCENTS = re.compile(r"[\u0300-\u036f]")
_UNDECOMPOSED = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i"})
"""Letters that Unicode does not decompose, and their spelling on a plain keyboard."""

_IRREGULAR = {
    "buses": "bus", "calves": "calf", "children": "child", "elves": "elf", "feet": "foot", "geese": "goose",
    "halves": "half", "knives": "knife", "leaves": "leaf", "lenses": "lens", "loaves": "loaf", "men": "man",
    "mice": "mouse", "scarves": "scarf", "shelves": "shelf", "teeth": "tooth", "thieves": "thief", "wives": "wife",
    "wolves": "wolf", "women": "woman",
}  # fmt: skip
_SINGULAR = frozenset({"christmas", "lens", "canvas", "atlas", "gas", "series", "species", "always"})
"""Plurals that the rules of `stem` miss, and words in -s that are none."""

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
_TIMES = re.compile(r"(?<=\d)\s*[x×*]\s*(?=\d)")
_PRIMES = (("''", " in "), ('"', " in "), ("”", " in "), ("\u2033", " in "), ("\u2032", " ft "))
_FOOT = re.compile(r"(\d)'(?!\w)")
_DIGIT_EDGE = re.compile(r"(?<=\d)(?=[^\W\d_])|(?<=[^\W\d_])(?=\d)")
_COMMA = re.compile(r"(?<=\d),(?=\d{3}\b)")


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a text.

    written: as in the text, in lower case. whole: folded; "" for a long run without spaces. parts: what else finds the
    word: the parts around a hyphen, or for Chinese, Japanese, Korean, Thai and Lao (`is_unspaced`) the pairs of
    characters and the single characters.
    """

    written: str
    whole: str
    parts: tuple[str, ...] = ()
    is_unspaced: bool = False

    def indexed(self) -> tuple[str, ...]:
        """Return everything that the index stores for the word."""
        return (self.whole, *self.parts) if self.whole else self.parts


def fold(text: str) -> str:
    """Return the text in lower case without accents, with one form for letters and digits that mean the same.

    Compatibility forms (full width, ligatures) become plain ones (Unicode NFKD), digits of every script 0 to 9.
    Indexed text and typed text are folded alike.
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_UNDECOMPOSED))
    bare = _INVISIBLE.sub("", _ACCENTS.sub("", decomposed)).translate(_ALIKE)
    return unicodedata.normalize("NFC", bare)


def ascii_digits(text: str) -> str:
    """Return the text with the digits of every script as 0 to 9; its length stays the same."""
    return text if text.isascii() else text.translate(_DIGITS)


def words(text: str) -> Iterator[Word]:
    """Split a text into its words; punctuation, operators and emoji are dropped."""
    lower = text.lower() if text.isascii() else _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).lower()
    for match in _RAW.finditer(lower):
        if match.lastgroup == "run":
            yield _run(fold(match[0]))
        elif match.lastgroup == "number":
            yield _number(match[0][:MAX_WORD_LENGTH])
        else:
            yield _word(match[0][:MAX_WORD_LENGTH])


def tokens(text: str) -> Iterator[str]:
    """Give folded words with sizes written one way: `1-1/2"x 8ft.` as 1 1/2 in x 8 ft; unspaced scripts as pairs."""
    plain = _COMMA.sub("", text.lower())
    for sign, unit in _PRIMES:
        plain = plain.replace(sign, unit)
    plain = _TIMES.sub(" x ", _FRACTION.sub(r"\1 ", _FOOT.sub(r"\1 ft ", plain)))
    for word in words(plain):
        for part in word.parts or (word.whole,):
            if word.is_unspaced:
                yield part
            else:
                yield from (UNITS.get(piece, piece) for piece in _DIGIT_EDGE.sub(" ", part).split())


def folded(text: str) -> str:
    """Return the folded words of a text: equal for queries that differ only in case, accents or keyboard."""
    return " ".join(word.whole or word.written for word in words(text))


def pieces(word: Word) -> list[tuple[str, str]]:
    """Return (as written, folded) for a word, or for each part around its hyphens, or each pair of characters."""
    if word.is_unspaced:
        return [(pair, pair) for pair in pairs(word)]
    parts = _HYPHENS.split(word.written)
    return list(zip(parts, word.parts, strict=True)) if len(parts) == len(word.parts) else [(word.written, word.whole)]


def characters(run: str) -> list[str]:
    """Return the characters of a run without spaces, each with the marks that belong to it."""
    return _CHARACTERS.findall(run)


def pairs(word: Word) -> tuple[str, ...]:
    """Return the pairs of neighbouring characters of a run without spaces, or its only character."""
    letters = characters(word.written)
    return _pairs(letters) or tuple(letters)


def _pairs(letters: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(first + second for first, second in pairwise(letters)))


def _number(raw: str) -> Word:
    return Word(raw, _THOUSANDS.sub("", fold(raw)).replace(",", "."))


@lru_cache(maxsize=65_536)
def _word(raw: str) -> Word:
    parts = tuple(part for part in _HYPHENS.split(_APOSTROPHES.sub("", fold(raw))) if part)
    return Word(raw, "".join(parts), parts if len(parts) > 1 else ())


def _run(run: str) -> Word:
    letters = characters(run)
    doubles = _pairs(letters)
    is_short = 2 < len(letters) <= MAX_RUN_LENGTH
    whole = run if is_short or len(letters) == 1 else doubles[0] if len(letters) == 2 else ""
    return Word(run, whole, tuple(part for part in dict.fromkeys((*doubles, *letters)) if part != whole), True)


def stem(word: str) -> str:
    """Drop an English plural: the S-stemmer of Harman 1991, "How effective is suffixing?", with -es and -ie.

    A stem is never shown; it only has to be the same for singular and plural. Porter's algorithm would take "lampe" for
    a form of "lamp", so that spelling mistakes at the end of a word were no longer corrected.
    """
    if len(word) <= 3 or not word.isascii() or not word.isalpha():
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _SINGULAR or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ie"):
        return f"{word[:-2]}y" if len(word) > 4 else word
    if not word.endswith("s"):
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y" if len(word) > 5 else word[:-1]
    if word.endswith(("sses", "xes", "shes", "ches", "zzes")) and len(word) > 4:
        return word[:-2]
    if word.endswith("oes") and len(word) > 5:
        return word[:-2]
    return word[:-1]
