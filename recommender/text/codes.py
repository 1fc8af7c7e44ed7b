"""Recognises stock codes, GTINs and model numbers, however they are cut: 978-3-16-148410-0 is 9783161484100."""

from __future__ import annotations

import re
from collections.abc import Iterator

from recommender.text.letters import fold
from recommender.text.words import UNITS

SHORTEST_CODE = 4
SHORTEST_NUMBER = 5
"""A shorter id, or one of so few digits, is no code: a search for 2024 is for the year."""

_LEAST_IN_TEXT, _LEAST_DIGITS_IN_TEXT = 5, 7
"""A text has sizes too: a code in it is longer."""

_CUTS = re.compile(r"[\W_]+")
_LABEL = re.compile(
    r"^\W*(?:sku|ean|upc|gtin|isbn|asin|mpn|ref|item|model|code|art(?:ikel)?)?"
    r"(?:[\W_]*(?:nr|no|number|code))?[\W_]+(?=\S*\d)"
)
"""What is written before a code: "SKU: ", "Art. no. ", "#"."""

_SIZE = re.compile(
    rf"[\d.,/x×*°'\"\u2032\u2033-]+(?:{'|'.join(sorted(UNITS, key=len, reverse=True))}|s|\d*[a-z]{{3,}})?"
)
"""Sizes, decades and counted things: 50x70cm, 1970s, 4-burner."""

_DIGIT = re.compile(r"\d")
_WITH_DIGIT = re.compile(r"[^\s\d]*\d\S*")
_GTIN = re.compile(r"(?<!\d)\d(?:[ -]?\d){7,13}(?!\d)")
GTIN_LENGTHS = (8, 12, 13, 14)


def code_of(text: str) -> str:
    """Return what all spellings of a code share: no sign, no space, no leading zero of a number; "" for no code."""
    code = _CUTS.sub("", fold(text))
    if code.isdigit():
        code = code.lstrip("0")
        return code if len(code) >= SHORTEST_NUMBER else ""
    return code if len(code) >= SHORTEST_CODE and any(map(str.isdigit, code)) else ""


def queried_codes(query: str) -> Iterator[str]:
    """Give the codes that a whole query may be: as it stands, and without the word before it that says so."""
    for text in dict.fromkeys((query, _LABEL.sub("", fold(query)))):
        if code := code_of(text):
            yield code


def codes_in(text: str) -> Iterator[str]:
    """Give the codes among the words of a text: model numbers, long numbers, and GTINs with spaces or hyphens."""
    if not _DIGIT.search(text):
        return
    for part in _WITH_DIGIT.findall(fold(text)):
        written = part.strip("()[]{},;:.!?\"'")
        code = code_of(written) if len(written) >= _LEAST_IN_TEXT else ""
        is_number = code.isdigit() and len(code) < _LEAST_DIGITS_IN_TEXT
        if len(code) >= _LEAST_IN_TEXT and not is_number and (code.isdigit() or not _SIZE.fullmatch(written)):
            yield code
    yield from gtins_in(text)


def gtins_in(text: str) -> Iterator[str]:
    """Give the GTINs in a text, also with spaces or hyphens; their check digit is right."""
    for match in _GTIN.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if len(digits) in GTIN_LENGTHS and _has_check_digit(digits):
            yield code_of(digits)


def _has_check_digit(digits: str) -> bool:
    """GS1 General Specifications, section 7.9: weights 3 and 1 from the right, the sum a multiple of ten."""
    return sum(int(digit) * (3 if position % 2 else 1) for position, digit in enumerate(reversed(digits))) % 10 == 0
