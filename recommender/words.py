"""Text in, its words out: folded, hyphens and sizes kept findable, Chinese and Japanese in pairs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

MAX_WORD_LENGTH = 64
MAX_RUN_LENGTH = 8
"""Longest run of Chinese or Japanese that is also a word of its own; longer ones are sentences."""

_CJK = "\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
_LETTERS = rf"[^\W_{_CJK}][^\W_{_CJK}\u0900-\u0dff]*(?:[\u0900-\u0dff]+[^\W_{_CJK}]*)*"
_RAW = re.compile(
    rf"(?P<cjk>[{_CJK}]+)"
    r"|(?P<number>\d+(?:[.,/]\d+)+[a-z]*)"
    rf"|(?P<word>{_LETTERS}(?:['\u2019\u2010\u2011-]{_LETTERS})*)"
)
_THOUSANDS = re.compile(r",(?=\d{3}(?!\d))")
_APOSTROPHES = re.compile(r"['\u2019]")
_HYPHENS = re.compile(r"[-\u2010\u2011]")
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

    whole: its folded form, "" for a long run of Chinese; parts: what else it is found by, the parts around a hyphen or
    the pairs and single characters of Chinese and Japanese.
    """

    shown: str
    whole: str
    parts: tuple[str, ...] = ()
    is_cjk: bool = False

    def indexed(self) -> tuple[str, ...]:
        """Everything that the index stores for the word."""
        return (self.whole, *self.parts) if self.whole else self.parts


def fold(text: str) -> str:
    """Lower case without accents; full-width and ligature forms as their plain ones (Unicode NFKD)."""
    if text.isascii():
        return text.lower()
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", text.casefold().translate(_UNDECOMPOSED)))
    return unicodedata.normalize("NFC", bare)


def words(text: str) -> Iterator[Word]:
    """Split a text; punctuation, operators and emoji are no words."""
    shown = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).lower()
    for found in _RAW.finditer(shown):
        if found.lastgroup == "cjk":
            yield _run(fold(found[0]))
        elif found.lastgroup == "number":
            yield _number(found[0][:MAX_WORD_LENGTH])
        else:
            yield _word(found[0][:MAX_WORD_LENGTH])


def _number(raw: str) -> Word:
    return Word(raw, _THOUSANDS.sub("", raw).replace(",", "."))


@lru_cache(maxsize=65_536)
def _word(raw: str) -> Word:
    plain = _APOSTROPHES.sub("", fold(raw))
    parts = tuple(part for part in _HYPHENS.split(plain) if part)
    whole = "".join(parts)
    return Word(raw, whole, parts if len(parts) > 1 else ())


def _run(run: str) -> Word:
    singles = tuple(dict.fromkeys(run))
    pairs = tuple(dict.fromkeys(run[start : start + 2] for start in range(len(run) - 1)))
    is_short = 2 < len(run) <= MAX_RUN_LENGTH
    whole = run if is_short or len(run) == 1 else pairs[0] if len(run) == 2 else ""
    return Word(run, whole, tuple(part for part in (*pairs, *singles) if part != whole), is_cjk=True)


def pairs(word: Word) -> tuple[str, ...]:
    """Return what a query looks up for a run of Chinese or Japanese: its pairs, or its only character."""
    if len(word.shown) == 1:
        return (word.shown,)
    return tuple(dict.fromkeys(word.shown[start : start + 2] for start in range(len(word.shown) - 1)))


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
