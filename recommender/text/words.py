"""Text in, its words out: folded, hyphens and sizes kept findable, scripts without spaces in pairs of characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

MAX_WORD_LENGTH = 64
MAX_RUN_LENGTH = 8
"""Longest run without spaces that is also a word of its own; longer ones are sentences."""

_CJK = "\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
_THAI = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecd"
_THAI_MARKS = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd"
"""Vowels and tones above and below a letter, of Thai and Lao: they go with the letter."""

_UNSPACED = _CJK + _THAI
_JOINERS = "\u2010\u2011\u200c-"
"""Hyphens, and the half space of Persian."""

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
"""What no reader types: signs for the layout, and the vowel signs of Hebrew and Arabic."""

_FIRST_DIGITS = (
    "\u0660\u06f0\u0966\u09e6\u0a66\u0ae6\u0b66\u0be6\u0c66\u0ce6\u0d66\u0e50\u0ed0\u0f20\u1040\u17e0\u1810\uff10"
)
_DIGITS = {ord(zero) + value: str(value) for zero in _FIRST_DIGITS for value in range(10)}
_DIGITS |= {0x066B: ".", 0x066C: ","}
"""Digits of other scripts, and the decimal and thousands signs of Arabic."""

_ALIKE = _DIGITS | str.maketrans(
    dict.fromkeys("\u0649\u06cc\u06d2", "\u064a")  # forms of yeh
    | dict.fromkeys("\u06a9\u06aa", "\u0643")  # of kaf
    | dict.fromkeys("\u0629\u06be\u06c1\u06c3\u06d5", "\u0647")  # of heh, teh marbuta among them
    | dict.fromkeys("\u0671\u0672\u0673", "\u0627")  # of alef; those with hamza and madda decompose
)
"""One letter for those that keyboards of Arabic, Persian and Urdu give for the same."""

_THOUSANDS = re.compile(r",(?=\d{3}(?!\d))")
_APOSTROPHES = re.compile(r"['\u2019]")
_HYPHENS = re.compile(rf"[{_JOINERS}]")
_ACCENTS = re.compile(r"[\u0300-\u036f]")
_UNDECOMPOSED = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i"})
"""Letters that Unicode gives no decomposition, as they are typed without them."""

_IRREGULAR = {
    "buses": "bus", "calves": "calf", "children": "child", "elves": "elf", "feet": "foot", "geese": "goose",
    "halves": "half", "knives": "knife", "leaves": "leaf", "lenses": "lens", "loaves": "loaf", "men": "man",
    "mice": "mouse", "scarves": "scarf", "shelves": "shelf", "teeth": "tooth", "thieves": "thief", "wives": "wife",
    "wolves": "wolf", "women": "woman",
}  # fmt: skip
_NO_PLURAL = frozenset({"christmas", "lens", "canvas", "atlas", "gas", "series", "species", "always"})

LINKING_WORDS = frozenset(
    (
        "a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or", "per", "the",
        "to", "with", "without", "de", "la", "le", "der", "die", "das", "und", "et",
    )
)  # fmt: skip
"""Words that a title may lack although the query has them."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word as written (`shown`, lower case) and as indexed.

    whole: its folded form, "" for a long run without spaces; parts: what else it is found by, the parts around a
    hyphen, or the pairs and single characters of Chinese, Japanese, Korean, Thai and Lao, which `is_unspaced` tells.
    """

    shown: str
    whole: str
    parts: tuple[str, ...] = ()
    is_unspaced: bool = False

    def indexed(self) -> tuple[str, ...]:
        """Everything that the index stores for the word."""
        return (self.whole, *self.parts) if self.whole else self.parts


def fold(text: str) -> str:
    """Lower case without accents and vowel signs; of letters and digits that look or mean the same, one.

    Full-width and ligature forms as their plain ones (Unicode NFKD), digits of every script as 0 to 9, and the letters
    that Arabic and Persian keyboards give for one another as one. What is indexed and what is typed both come here.
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_UNDECOMPOSED))
    bare = _INVISIBLE.sub("", _ACCENTS.sub("", decomposed)).translate(_ALIKE)
    return unicodedata.normalize("NFC", bare)


def ascii_digits(text: str) -> str:
    """Return the text, as long as before, with the digits of every script as 0 to 9."""
    return text if text.isascii() else text.translate(_DIGITS)


def as_shown(text: str) -> str:
    """Return the text in lower case with its accents, without what nobody types: vowel signs, tatweel, soft hyphens."""
    return text.lower() if text.isascii() else _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).lower()


def words(text: str) -> Iterator[Word]:
    """Split a text; punctuation, operators and emoji are no words."""
    for match in _RAW.finditer(as_shown(text)):
        if match.lastgroup == "run":
            yield _run(fold(match[0]))
        elif match.lastgroup == "number":
            yield _number(match[0][:MAX_WORD_LENGTH])
        else:
            yield _word(match[0][:MAX_WORD_LENGTH])


def folded(text: str) -> str:
    """Return the folded words of a text: equal for two queries that are one but for case, accents and keyboards."""
    return " ".join(word.whole or word.shown for word in words(text))


def _number(raw: str) -> Word:
    return Word(raw, _THOUSANDS.sub("", fold(raw)).replace(",", "."))


@lru_cache(maxsize=65_536)
def _word(raw: str) -> Word:
    plain = _APOSTROPHES.sub("", fold(raw))
    parts = tuple(part for part in _HYPHENS.split(plain) if part)
    whole = "".join(parts)
    return Word(raw, whole, parts if len(parts) > 1 else ())


def _run(run: str) -> Word:
    one_by_one = characters(run)
    singles = tuple(dict.fromkeys(one_by_one))
    both = _pairs(one_by_one)
    is_short = 2 < len(one_by_one) <= MAX_RUN_LENGTH
    whole = run if is_short or len(one_by_one) == 1 else both[0] if len(one_by_one) == 2 else ""
    return Word(run, whole, tuple(part for part in (*both, *singles) if part != whole), is_unspaced=True)


def characters(run: str) -> list[str]:
    """Return the characters of a run without spaces, each with the marks that belong to it."""
    return _CHARACTERS.findall(run)


def pairs(word: Word) -> tuple[str, ...]:
    """Return the pairs of characters of a run without spaces, or its only character."""
    one_by_one = characters(word.shown)
    return _pairs(one_by_one) or tuple(one_by_one)


def _pairs(one_by_one: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(first + second for first, second in pairwise(one_by_one)))


def stem(word: str) -> str:
    """Drop an English plural: the S-stemmer of Harman 1991, "How effective is suffixing?", with -es and -ie.

    A stem is never shown; it only has to be the same for singular and plural.
    """
    if len(word) <= 3 or not word.isascii() or not word.isalpha():
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _NO_PLURAL or word.endswith(("ss", "us", "is")):
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
