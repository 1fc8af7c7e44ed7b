"""Converts what a shop's attribute holds into what a column takes: plain text, a price, a link, a time, a name."""

from __future__ import annotations

import datetime as dt
import hashlib
import html
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import GeneratorType
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.db import models
from django.utils import timezone, translation
from django.utils.html import strip_tags

MAX_LINK_LENGTH = 2_000
"""As long as every browser and every search engine takes; signed addresses of a storage have about a thousand."""

SCHEMES = frozenset({"http", "https"})
"""Links with other schemes are dropped: `javascript:` and `data:` would run on the page that shows the card."""

SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
IGNORED_IN_LINKS = dict.fromkeys([*range(0x20), 0x7F])
"""Control characters, which browsers remove before they read a scheme: "URL parsing" of the WHATWG."""

NOT_SHOWN = re.compile(r"<(script|style)\b.*?(</\1\s*>|$)", re.IGNORECASE | re.DOTALL)
PARTS_WORDS = re.compile(
    r"</?(?:br|p|div|li|ul|ol|dl|dt|dd|h[1-6]|hr|tr|td|th|table|section|article|blockquote)\b", re.IGNORECASE
)
"""Tags that begin or end a line: without a space there the words on both sides would become one."""

DIGITS: dict[str, int] = {
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0,
    "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0, "IRR": 0, "IRT": 0,
    "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
}  # fmt: skip
"""Decimals of a currency that has not two: ISO 4217, table A.1; the rial has two there, and none in any shop (CLDR)."""

DEFAULT_DIGITS = 2
MAX_PRICE = Decimal(10) ** 12
MAX_AMOUNT_LENGTH = 64
SYMBOLS = {
    "€": "EUR", "£": "GBP", "₹": "INR", "₽": "RUB", "₺": "TRY", "₩": "KRW", "₴": "UAH", "₪": "ILS", "₫": "VND",
    "₸": "KZT", "₦": "NGN", "₱": "PHP", "฿": "THB", "ZŁ": "PLN", "US$": "USD", "ریال": "IRR", "تومان": "IRT",
}  # fmt: skip
"""Signs that stand for one currency only: "$", "¥", "kr" and "﷼" do not."""

AMBIGUOUS = frozenset({"$", "¥", "KR", "KR.", "﷼", "FR", "FR.", "元", "円"})
AMOUNT = re.compile(
    r"(?P<before>\D*?)(?P<sign>[-+\u2212]?)\s*(?P<number>\d(?:[\d.,'\u2019\u066b\u066c\s]*\d)?)(?P<after>\D*)"
)
THOUSANDS = re.compile(r"[\s'\u2019\u066c]")
DECIMAL_MARK = "\u066b"
"""Arabic and Persian: U+066B before decimals, U+066C between thousands."""

NO_CENTS = re.compile(r"[.,]\s?[-\u2013\u2014]+")
"""As in "19,-"."""

_switched: ContextVar[list[tuple[Any, str]] | None] = ContextVar("recommender_switched", default=None)
"""Objects that are in another language within `in_language`, each with its language before."""


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """The values of one object, ready for an `Item` row."""

    item_id: str
    object_id: str
    title: str
    text: str
    category: str
    brand: str
    price: Decimal | None
    currency: str
    url: str
    image: str
    attributes: dict[str, Any]
    is_available: bool
    is_active: bool
    text_hash: str
    first_seen_at: dt.datetime | None
    margin: Decimal | None = None


def plain(value: Any, limit: int, *, between: str = ", ") -> str:
    """Text without tags, entities, control characters and repeated white space. Only the beginning of a long value is
    read. Several values are joined."""
    if value is None:
        return ""
    parts = several(value)
    if parts is not None:
        texts = (plain(name(part) if several(part) is None else part, limit, between=between) for part in parts)
        return between.join(dict.fromkeys(text for text in texts if text))[:limit].strip()
    text = str(value)[: limit * 4]
    if "<" in text or "&" in text:
        text = _without_tags(html.unescape(_without_tags(text)))
    text = text.replace("\x00", " ").encode("utf-8", "replace").decode()
    return " ".join(text.split())[:limit].strip()


def money(value: Any, currency_code: str = "") -> tuple[Decimal | None, str]:
    """The amount and the currency of a price: a number, a money type with an `amount`, or text such as
    "1.234,50 €" and "USD 19.99"; None if it makes no sense, "" without a currency. `currency_code` is the currency that
    is known from elsewhere."""
    gross = getattr(value, "gross", None)  # a taxed price of the package "prices"
    value = gross if hasattr(gross, "amount") else value
    if hasattr(value, "amount"):
        return number(value.amount), currency(getattr(value, "currency", ""))
    if not isinstance(value, str):
        return number(value), ""
    said = AMOUNT.fullmatch(NO_CENTS.sub("", value.strip()[:MAX_AMOUNT_LENGTH]))
    if said is None:
        return number(value, currency_code), ""
    signs = [sign for sign in (said["before"].strip(), said["after"].strip()) if sign]
    code = currency(signs[0]) if len(signs) == 1 else ""
    if len(signs) > 1 or (signs and not code and signs[0].upper() not in AMBIGUOUS):
        return None, ""
    return number(
        ("-" if said["sign"] in "-\u2212" and said["sign"] else "") + said["number"], code or currency_code
    ), code


def price(value: Any, currency_code: str = "") -> Decimal | None:
    """A price with the decimals of its currency; none where it makes no sense."""
    amount, own_code = money(value, currency_code)
    if amount is None or not 0 <= amount < MAX_PRICE:
        return None
    return rounded(amount, currency_code or own_code)


def margin(value: Any, currency_code: str = "") -> Decimal | None:
    """What the shop earns with one, below 0 where it loses; none where it makes no sense."""
    amount, own_code = money(value, currency_code)
    if amount is None or abs(amount) >= MAX_PRICE:
        return None
    return rounded(amount, currency_code or own_code)


def rounded(amount: Decimal, currency_code: str) -> Decimal:
    """An amount with the decimals of its currency."""
    return amount.quantize(Decimal(1).scaleb(-digits(currency_code)))


def digits(currency_code: str) -> int:
    """How many decimals prices in a currency have; two where it is not known."""
    return DIGITS.get(currency_code.upper(), DEFAULT_DIGITS)


def currency(value: Any) -> str:
    """The three letters of a currency: from a code, from a sign of only one currency, or from an object with a
    `code`."""
    text = str(getattr(value, "code", value) or "").strip().upper()
    is_code = len(text) == 3 and text.isascii() and text.isalpha()
    return text if is_code else SYMBOLS.get(text, "")


def number(value: Any, currency_code: str = "") -> Decimal | None:
    """A number, also one written with a decimal comma, separators of thousands or the digits of another script."""
    if isinstance(value, bool) or value is None:
        return None
    text = _plain_digits(value, currency_code) if isinstance(value, str) else str(value)
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if math.isfinite(amount) else None


def _plain_digits(text: str, currency_code: str) -> str:
    """ "1.234,50" as "1234.50": of two separators the last is that of the decimals, and one that comes twice separates
    thousands. So does a single one before three digits, where the currency has not three decimals: a comma, and beside
    a currency also a point, for "1.234" alone is how Python writes a number."""
    text = THOUSANDS.sub("", text).replace(DECIMAL_MARK, ".")
    last = max(text.rfind("."), text.rfind(","))
    if last < 0:
        return text
    mark, other = text[last], "." if text[last] == "," else ","
    whole, part = text[:last].lstrip("+-"), text[last + 1 :]
    has_three = len(part) == 3 and 0 < len(whole) <= 3 and unicodedata.digit(whole[0], 1) != 0
    is_grouped = has_three and digits(currency_code) != 3 and (mark == "," or bool(currency_code))
    if text.count(mark) > 1 or (other not in text and is_grouped):
        return text.replace(mark, "")
    return text.replace(other, "").replace(mark, ".")


def text_hash(text: str) -> str:
    """The key under which the vector of a text is kept: 32 hex digits."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def moment(value: Any) -> dt.datetime | None:
    """A date or a naive time in the shop's time zone becomes aware."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time.min)
    if not isinstance(value, dt.datetime):
        return None
    return timezone.make_aware(value) if timezone.is_naive(value) else value


def link(value: Any) -> str:
    """A URL of the web or of this site that fits its column; empty for an image field without a file, for a longer URL
    and for another scheme such as `javascript:`."""
    if not value:
        return ""
    text = str(getattr(value, "url", value)).translate(IGNORED_IN_LINKS).strip()
    scheme = SCHEME.match(text)
    is_usable = len(text) <= MAX_LINK_LENGTH and (scheme is None or scheme[1].lower() in SCHEMES)
    return text if is_usable else ""


def name(value: Any) -> Any:
    """The name of a category or a brand: the `name` or `title` of an object; of several objects the leading one's."""
    nodes = several(value)
    if nodes is not None:
        value = leading(nodes)
    if isinstance(value, models.Model):
        speak(value)
        keys = [key for key in ("name", "title") if hasattr(type(value), key)]
        return next((text for key in keys if (text := getattr(value, key, None))), "" if keys else str(value))
    return value


def several(value: Any) -> list[Any] | None:
    """The members of a list, a set, a queryset or a relation to many, always in the same order; None for one value."""
    if isinstance(value, models.Manager | models.QuerySet):
        rows = value.all()
        return list(rows) if rows.ordered else sorted(rows, key=lambda row: row.pk)
    if isinstance(value, set | frozenset):
        return sorted(value, key=lambda one: str(getattr(one, "pk", one)))
    return list(value) if isinstance(value, list | tuple | GeneratorType) else None


def leading(nodes: Sequence[Any]) -> Any:
    """The deepest of several categories, the first of equally deep ones; None without any.

    Trees know the depth: `depth` of treebeard, `level` of mptt. Without it, each `parent` shows which category lies
    below another.
    """
    parents = {node.pk: getattr(node, "parent_id", None) for node in nodes if isinstance(node, models.Model)}

    def n_above(node: Any) -> int:
        above, key = set(), parents.get(getattr(node, "pk", None))
        while key in parents and key not in above:
            above.add(key)
            key = parents[key]
        return len(above)

    return max(nodes, key=lambda node: (_depth(node), n_above(node)), default=None)


@contextmanager
def in_language(obj: Any, language: str) -> Iterator[None]:
    """Read an object in a language: by the active one, as modeltranslation does, or by the object's own, as parler.

    The objects that it leads to, such as its category, are read in it too. Afterwards each has its former language.
    """
    if not language:
        yield
        return
    switched: list[tuple[Any, str]] = []
    token = _switched.set(switched)
    try:
        with translation.override(language):
            speak(obj)
            yield
    finally:
        _switched.reset(token)
        for one, before in reversed(switched):
            one.set_current_language(before)


def speak(obj: Any) -> None:
    """Within `in_language`: switch an object of parler that is read to the language too."""
    switched = _switched.get()
    choose = getattr(obj, "set_current_language", None)
    language = translation.get_language()
    if switched is None or choose is None or language is None:
        return
    before = obj.get_current_language()
    if before != language:
        switched.append((obj, before))
        choose(language)


def first_said(obj: Any, languages: Sequence[str], read: Callable[[Any], str]) -> str:
    """The value of `read` in the first of the languages in which the object has one; else empty."""
    for language in languages:
        with in_language(obj, language):
            if text := read(obj):
                return text
    return ""


def _depth(node: Any) -> int:
    depth = getattr(node, "depth", getattr(node, "level", 0))
    return depth if isinstance(depth, int) else 0


def _without_tags(text: str) -> str:
    if "<" not in text:
        return text
    text = PARTS_WORDS.sub(lambda tag: f" {tag[0]}", NOT_SHOWN.sub(" ", text))
    try:
        return strip_tags(text)
    except SuspiciousOperation:  # tags nested too deep for anybody to have meant them
        return text.replace("<", " ").replace(">", " ")
