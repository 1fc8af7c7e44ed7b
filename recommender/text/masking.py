"""Hides e-mail addresses, card numbers and phone numbers in a query before it is stored.

The search itself uses what was typed. Article numbers, GTINs, ISBNs and model numbers stay: a number is a card only by
its length, first digit and check digit, and a phone only if it is written as one.
"""

from __future__ import annotations

import re

from recommender.text.codes import gtins_in

MASK = "•••"
"""No letter and no digit, so that it is no word of a query, and is neither suggested nor learned."""

_EMAIL = re.compile(r"[^\s@<>()\[\],;:]+@[^\s@<>()\[\],;:]+\.\w{2,}")
_CARD = re.compile(r"(?<![\d+-])[2-6](?:[ -]?\d){12,18}(?![\d-])")
"""ISO/IEC 7812: card numbers of 13 to 19 digits; those of banks begin with 2 to 6."""

_PHONE = re.compile(
    r"(?<![\w+])(?:"
    r"\+[1-9](?:[ ./()-]*\d){7,14}"  # international: ITU-T E.123, at most 15 digits
    r"|00[1-9]\d{0,2}(?:[ ./()-]+\d+){2,}"  # international with the prefix of most countries
    r"|\(?0\d{1,4}\)?(?:[ ./-]+\d{2,}){2,}"  # national, in groups
    r"|\(\d{3}\)[ .-]?\d{3}[ .-]?\d{4}"  # North America
    r"|\d{3}([.-])\d{3}\1\d{4}"
    r")(?![\w-])"
)
_CALLED_PHONE = re.compile(
    r"\b(?:tel|phone|mobile|cell|whatsapp)\b[ .:]*(\(?\d(?:[ ./()-]*\d){6,14})(?!\w)", re.IGNORECASE
)
_FEWEST_DIGITS, _MOST_DIGITS = 9, 15


def masked(query: str) -> str:
    """Return the query with `MASK` in place of whatever identifies or charges a person."""
    if "@" in query:
        query = _EMAIL.sub(MASK, query)
    if sum(map(str.isdigit, query)) < 7:
        return query
    query = _CARD.sub(lambda match: MASK if _is_card(match[0]) else match[0], query)
    query = _CALLED_PHONE.sub(lambda match: match[0].replace(match[1], MASK), query)
    return _PHONE.sub(lambda match: MASK if _is_phone(match[0]) else match[0], query)


def _is_card(text: str) -> bool:
    """By the Luhn formula, ISO/IEC 7812-1, annex B; a number that is a GTIN by its own check digit is an article."""
    digits = [int(character) for character in text if character.isdigit()]
    doubled = (2 * digit - 9 * (digit > 4) if index % 2 else digit for index, digit in enumerate(reversed(digits)))
    return sum(doubled) % 10 == 0 and not _is_gtin(text)


def _is_phone(text: str) -> bool:
    n_digits = sum(map(str.isdigit, text))
    least = 8 if text.startswith("+") else _FEWEST_DIGITS
    return least <= n_digits <= _MOST_DIGITS and not _is_gtin(text)


def _is_gtin(text: str) -> bool:
    return any(gtins_in("".join(filter(str.isdigit, text))))
