"""Reads the price bounds of a query off its words: "mug under 10" has one, "books from 1984" has none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from recommender.text import letters
from recommender.text.intent.currencies import AFTER, BEFORE, currencies_of

_NUMBER = (
    r"\d{1,3}(?:[ ,.'\u2019]\d{3})+(?:[.,]\d{1,2})?(?!\d)|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d+(?:[.,]\d{1,2})?(?!\d)"
)
_SCALES = {"هزار": 1e3, "میلیون": 1e6, "ميليون": 1e6, "万": 1e4, "萬": 1e4, "만": 1e4, "千": 1e3, "천": 1e3}

_BELOW = (
    r"under|below|less than|cheaper than|up to|at most|no more than|not more than|not over|<=?|≤|"
    r"unter|weniger als|günstiger als|billiger als|höchstens|hoechstens|nicht über|bis zu|"
    r"moins de|moins cher que|jusqu['\u2019]à|jusqu['\u2019]a|pas plus de|menos de|no más de|hasta|"
    r"meno di|fino a|sotto i|até|abaixo de|onder|minder dan|goedkoper dan|mindre än|mindre end|mindre enn|"
    r"poniżej|زیر|زير|کمتر از|كمتر از|حداکثر|حداكثر|أقل من|اقل من"
)
_ABOVE = (
    r"over|above|more than|at least|>=?|≥|über|ueber|mehr als|mindestens|plus de|au moins|más de|al menos|"
    r"più di|mais de|acima de|boven|meer dan|minstens|över|minst|powyżej|"
    r"بالای|بالاي|بیشتر از|بيشتر از|حداقل|أكثر من|اكثر من"
)
_BELOW_WITH_CURRENCY = r"max\.?|maximum|within|bis|maximal|maximaal|hoogstens|upp till|opp til|op til|do|تا|tot"
_ABOVE_WITH_CURRENCY = (
    r"from|starting at|min\.?|minimum|ab|minimal|à partir de|a partir de|dès|desde|vanaf|från|fra|od|از|من"
)
"""Words that also stand before sizes, years and models ("pro max 256", "from 1984"): a price only with a currency."""

_OR_LESS = (
    r"(?:or|and) (?:less|under|below|cheaper)|max(?:imum|imal)?\.?|(?:oder|und) (?:weniger|billiger|darunter)|"
    r"ou moins|o menos|o meno|ou menos|of minder|eller mindre|lub mniej|से कम|alt\u0131|alt\u0131nda"
)
_OR_MORE = (
    r"(?:or|and) (?:more|up|over|above)|\+|oder mehr|und mehr|ou plus|o más|o mas|o più|ou mais|of meer|eller mer|"
    r"lub więcej|से अधिक|üstü|üzeri"
)
"""What follows a price that is a bound; a number without a currency is none: "set of 4 or more"."""

_AROUND = r"between|zwischen|entre|tra|tussen|بین|بين"
_FROM = r"from|von|de|da|desde|از|من"
_TO = r"and|to|und|bis|et|à|y|a|hasta|e|en|و|تا|إلى|الى|-|–|—|~|〜|到|至|から"
_END = re.compile(r"\s*$|\s+(?:for|with|and|für|mit|pour|avec|para|con|برای)(?!\w)")
"""A bare number is a price only at the end of a query or before a linking word, so not in "under 5 year olds"."""

_VAGUE = re.compile(
    r"(?<!\w)(?:cheap(?:est)?|inexpensive|low cost|budget|bargain|billig|günstig|pas cher|barato|ارزان|رخيص)(?!\w)"
    r"|便宜的?|安い|格安|저렴한"
)


@dataclass(frozen=True, slots=True)
class Price:
    """The price bounds of a query, None where it sets none.

    text: the price words; rest: the query without them; is_vague: "cheap" and the like; has_currency: the words name a
    currency, so they can only be a price; currencies: the codes (ISO 4217) that the name may stand for.
    """

    low: float | None = None
    high: float | None = None
    is_vague: bool = False
    text: str = ""
    rest: str = ""
    has_currency: bool = False
    currencies: frozenset[str] = frozenset()


class _Phrase(NamedTuple):
    """One way to say a price. sets: "min", "max" or "range"; where not `is_sure`, it needs a currency to be a price."""

    pattern: re.Pattern[str]
    sets: str
    is_sure: bool = True


def _money(name: str) -> str:
    scale = "|".join(_SCALES)
    return (
        rf"(?P<before{name}>{BEFORE})?\s*(?P<number{name}>{_NUMBER})"
        rf"(?:\s*(?P<scale{name}>{scale}))?(?:\s*(?P<after{name}>{AFTER}))?"
    )


_ONE, _OTHER = _money("1"), _money("2")
_PHRASES = (
    _Phrase(re.compile(rf"(?<![0-9a-z.,]){_ONE}\s*(?:{_OR_LESS})(?!\w)"), "max", is_sure=False),
    _Phrase(re.compile(rf"(?<![0-9a-z.,]){_ONE}\s*(?:{_OR_MORE})(?!\w)"), "min", is_sure=False),
    _Phrase(re.compile(rf"(?<!\w)(?:{_AROUND})\s+{_ONE}\s*(?:{_TO})\s*{_OTHER}"), "range"),
    _Phrase(
        re.compile(rf"(?:(?<!\w)(?:{_FROM})\s+)?(?<![0-9a-z.,]){_ONE}\s*(?:{_TO})\s*{_OTHER}"), "range", is_sure=False
    ),
    _Phrase(re.compile(rf"(?<!\w)(?:{_BELOW})\s*{_ONE}"), "max"),
    _Phrase(re.compile(rf"(?<!\w)(?:{_ABOVE})\s*{_ONE}"), "min"),
    _Phrase(re.compile(rf"(?<!\w)(?:{_BELOW_WITH_CURRENCY})\s*{_ONE}"), "max", is_sure=False),
    _Phrase(re.compile(rf"(?<!\w)(?:{_ABOVE_WITH_CURRENCY})\s*{_ONE}"), "min", is_sure=False),
    _Phrase(re.compile(rf"(?<![0-9a-z.,]){_ONE}\s*(?:以下|以内|以內|未満|未满|まで|이하|미만|까지)(?P<end>)"), "max"),
    _Phrase(re.compile(rf"(?<![0-9a-z.,]){_ONE}\s*(?:以上|から|이상|초과)(?P<end>)"), "min"),
    _Phrase(re.compile(rf"(?:低于|低於|少于|少於|不到|不超过|不超過){_ONE}(?P<end>)"), "max"),
    _Phrase(re.compile(rf"(?:高于|高於|超过|超過|大于|大於){_ONE}(?P<end>)"), "min"),
)
"""The first match counts. A group `end` marks phrases whose own words already make a bare number a bound."""


def price_in(query: str) -> Price:
    """Read the price words of a query; the first phrase that sets a bound counts; "cheap" sets none."""
    plain = " ".join(letters.plain(query).split())
    folded = letters.ascii_digits(plain).lower()
    if len(folded) != len(plain):
        return Price(rest=plain)
    for phrase in _PHRASES:
        for match in phrase.pattern.finditer(folded):
            if _is_price(match, folded, is_sure=phrase.is_sure):
                return _read(match, phrase.sets, plain)
    vague = _VAGUE.search(folded)
    if vague and (rest := _without(plain, vague)):
        return Price(is_vague=True, text=vague[0].strip(), rest=rest)
    return Price(rest=plain)


def _is_price(match: re.Match[str], text: str, *, is_sure: bool) -> bool:
    """Whether a phrase names a currency, or needs none and ends where a price can end."""
    if _has_currency(match):
        ends_in_currency = match.groupdict().get("after2") or match["after1"]
        return bool(ends_in_currency) or not re.match(r"[^\W\d_]|[.,]?\d", text[match.end() :])
    return is_sure and ("end" in match.re.groupindex or bool(_END.match(text, match.end())))


def _has_currency(match: re.Match[str]) -> bool:
    return any(value for name, value in match.groupdict().items() if name.startswith(("before", "after")))


def _currencies(match: re.Match[str]) -> frozenset[str]:
    names = (name for group, name in match.groupdict().items() if name and group.startswith(("before", "after")))
    return frozenset().union(*map(currencies_of, names))


def _read(match: re.Match[str], sets: str, plain: str) -> Price:
    groups = match.groupdict()
    scale = _SCALES.get(groups.get("scale2") or groups["scale1"] or "", 1.0)  # "50 to 100 thousand" scales both
    bounds = sorted(amount * scale for amount in _amounts((groups["number1"], groups.get("number2"))))
    return Price(
        low=bounds[0] if sets in ("range", "min") else None,
        high=bounds[-1] if sets in ("range", "max") else None,
        text=match[0].strip(),
        rest=_without(plain, match),
        has_currency=_has_currency(match),
        currencies=_currencies(match),
    )


def _amounts(numbers: Iterable[str | None]) -> list[float]:
    """Read numbers: 1,000 and 1.000 are a thousand, 19,99 and 19.99 less than twenty."""
    amounts = []
    for number in numbers:
        if number is not None:
            whole, sign, cents = re.sub(r"[ '\u2019]", "", number).replace(",", ".").rpartition(".")
            decimal = sign if len(cents) < 3 else ""
            amounts.append(float(f"{whole.replace('.', '')}{decimal}{cents}"))
    return amounts


def _without(text: str, match: re.Match[str]) -> str:
    return " ".join(f"{text[: match.start()]} {text[match.end() :]}".split())
