"""Turns the titles of the source, in capitals with abbreviations, into readable titles."""

from __future__ import annotations

import re

_SMALL_WORDS = "a and as at by de des du en for from in n of on or the to with"
SMALL_WORDS = frozenset(_SMALL_WORDS.split())
KEPT_IN_CAPITALS = frozenset(
    ["CD", "DIY", "DVD", "LED", "LP", "M.O.P", "MOP", "NY", "TV", "UK", "USA", "USB", "VIP", "WC", "XL", "XXL"]
)

ABBREVIATIONS = {
    "ASS": "ASSORTED",
    "ASSTD": "ASSORTED",
    "ASST": "ASSORTED",
    "B'FLY": "BUTTERFLY",
    "BLK": "BLACK",
    "COL": "COLOUR",
    "DECO": "DECORATION",
    "IPOD": "iPod",
    "LT": "LIGHT",
    "NECKL": "NECKLACE",
    "P'WEIGHT": "PAPERWEIGHT",
    "W": "WITH",
}

_REPLACEMENTS = [
    (re.compile(r"^[*,\s]+"), ""),
    (re.compile(r"(?<=\w)\("), " ("),
    (re.compile(r"(?<=\")(?=NECKL)"), " "),
    (re.compile(r"\bS(?:ET)?/(\d+)\b", re.I), r"SET OF \1"),
    (re.compile(r"\b(PACK|BOX)/(\d+)\b", re.I), r"\1 OF \2"),
    (re.compile(r"\bSET(\d+)\b"), r"SET OF \1"),
    (re.compile(r"\bOF(\d+)\b"), r"OF \1"),
    (re.compile(r"\bW/"), "W "),
    (re.compile(r"\bNECKL\.?\s*(\d+\")\s*"), r"NECKLACE \1 "),
    (re.compile(r"\s*,\s*(?=\S)"), ", "),
    (re.compile(r"\s*\+\s*"), " + "),
    (re.compile(r"\b(NECKL|DECO|LT)\.\s*"), r"\1 "),
    (re.compile(r"[\s.,]+$"), ""),
]
_WORD = re.compile(r"[^\W_]+(?:['.][^\W_]+)*")
_MEASURE = re.compile(r"\d[\dX]*(?:CM|MM|PC|G|KG|ML)(?:X\d+(?:CM)?)*")


def readable(title: str) -> str:
    """Write a title in title case: `RED T-LIGHT S/3` becomes `Red T-Light Set of 3`. Mixed case words stay."""
    for pattern, replacement in _REPLACEMENTS:
        title = pattern.sub(replacement, title)
    title = " ".join(title.split())
    return _WORD.sub(lambda match: _cased(match, title), title)


def _cased(match: re.Match[str], title: str) -> str:
    word = match.group()
    if word != word.upper() or word in KEPT_IN_CAPITALS:
        return word
    if _MEASURE.fullmatch(word):
        return word.lower()
    word = ABBREVIATIONS.get(word, word)
    opens = match.start() == 0 or title[match.start() - 1] in '("'
    if word.lower() in SMALL_WORDS and not opens and title[match.start() - 1] == " ":
        return word.lower()
    if title[match.start() - 1 : match.start()] == "'":
        return word.lower()
    return word if word != word.upper() else _capitalised(word)


def _capitalised(word: str) -> str:
    first = next((index for index, letter in enumerate(word) if letter.isalpha()), 0)
    return word[: first + 1] + word[first + 1 :].lower() if first == 0 else word.lower() if "'" in word else word
