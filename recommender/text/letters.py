"""Folds letters: one form for what differs only by keyboard, script, accent or typography."""

from __future__ import annotations

import re
import unicodedata

CJK = "\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
THAI = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecd"
UNSPACED = CJK + THAI
"""Scripts without spaces between words, as a class of `re`; Korean has some, but not between all."""

_THAI_MARKS = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd"
"""Vowel and tone signs of Thai and Lao; each belongs to the letter before it."""

MARKS = "".join(
    mark
    for mark in map(chr, (*range(0x300, 0xE01), *range(0xF00, 0x3000), *range(0xA000, 0xFB20)))
    if unicodedata.category(mark) in ("Mn", "Mc")
)
"""Accents, vowel signs and points of all other scripts: part of a word, although `re` counts them to no letter."""

_UNSPACED_LETTER = re.compile(f"[{UNSPACED}]")
_CHARACTERS = re.compile(rf".[{_THAI_MARKS}]*", re.DOTALL)
_INVISIBLE = re.compile(
    r"[\u00ad\u034f\u061c\u180e\u200b\u200d-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\u0640"  # also tatweel
    r"\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed]"
)
"""Never typed in a search: layout characters, and the vowel signs of Hebrew and Arabic."""

_TRADE_MARKS = re.compile("[\u2122\u2120\u00ae\u00a9\u2117]")
_FRACTION_SIGN = re.compile("(?<=\\d)(?=[\u00bc-\u00be\u2150-\u215e\u2189])")
"""Between a whole number and the sign of a fraction."""

_FIRST_DIGITS = (
    "\u0660\u06f0\u0966\u09e6\u0a66\u0ae6\u0b66\u0be6\u0c66\u0ce6\u0d66\u0e50\u0ed0\u0f20\u1040\u17e0\u1810\uff10"
)
_DIGITS = {ord(zero) + value: str(value) for zero in _FIRST_DIGITS for value in range(10)}
_DIGITS |= {0x066B: ".", 0x066C: ","}
"""Digits of other scripts, and the Arabic decimal and thousands separators."""

_KANA = {chr(kana): chr(kana + 0x60) for kana in (*range(0x3041, 0x3097), 0x309D, 0x309E)}
"""Hiragana to katakana."""

_ALIKE = _DIGITS | str.maketrans(
    dict.fromkeys("\u0649\u06cc\u06d2", "\u064a")  # forms of yeh
    | dict.fromkeys("\u06a9\u06aa", "\u0643")  # of kaf
    | dict.fromkeys("\u0629\u06be\u06c1\u06c3\u06d5", "\u0647")  # of heh, teh marbuta among them
    | dict.fromkeys("\u0671\u0672\u0673", "\u0627")  # of alef; those with hamza and madda decompose
    | {"\u093c": "", "\u0901": "\u0902"}  # nukta and chandrabindu
    | _KANA
)
"""Letters that Arabic, Persian and Urdu keyboards give different codes, those of Hindi that many leave out, and the two
kinds of kana, each mapped to one. Hindi: two rules of Lucene's HindiNormalizer."""

_ACCENTS = re.compile(r"[\u0300-\u036f]")
_UNDECOMPOSED = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i"})
"""Letters that Unicode does not decompose, and their spelling on a plain keyboard."""


def plain(text: str) -> str:
    """Return the text in compatibility forms (Unicode NFKC) without what nobody types; letters keep case and accents.

    A fraction of one character is written out, so "1\u00bd" is "1 1/2".
    """
    if text.isascii():
        return text
    apart = _FRACTION_SIGN.sub(" ", _TRADE_MARKS.sub(" ", text))
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", apart)).replace("\u2044", "/")


def fold(text: str) -> str:
    """Return the text in lower case without accents, with one form for letters and digits that mean the same.

    Compatibility forms (full width, ligatures) become plain ones (Unicode NFKD), digits of every script 0 to 9,
    hiragana katakana. Indexed text and typed text are folded alike.
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", plain(text).casefold().translate(_UNDECOMPOSED))
    bare = _INVISIBLE.sub("", _ACCENTS.sub("", decomposed)).translate(_ALIKE)
    return unicodedata.normalize("NFC", bare)


def is_unspaced(text: str) -> bool:
    """Whether the text has a letter of a script that writes no spaces between words."""
    return _UNSPACED_LETTER.search(text) is not None


def ascii_digits(text: str) -> str:
    """Return the text with the digits of every script as 0 to 9; its length stays the same."""
    return text if text.isascii() else text.translate(_DIGITS)


def characters(run: str) -> list[str]:
    """Return the characters of a run without spaces, each with the marks that belong to it."""
    return _CHARACTERS.findall(run)
