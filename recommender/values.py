"""Whatever a shop's attribute holds in, what a column takes out: plain text, a price, a link, a time, a name."""

from __future__ import annotations

import datetime as dt
import html
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.db import models
from django.utils import timezone, translation
from django.utils.html import strip_tags

MAX_LINK_LENGTH = 500


def plain(value: Any, limit: int) -> str:
    """Text without tags, control characters and runs of white space. Of a long value only the beginning is read."""
    if value is None:
        return ""
    text = str(value)[: limit * 4]
    text = _without_tags(text) if "<" in text else text
    text = text.replace("\x00", " ").encode("utf-8", "replace").decode()
    return " ".join(text.split())[:limit].strip()


def price(value: Any) -> Decimal | None:
    """A price, also one of a money type with an `amount`; none where it makes no sense."""
    value = getattr(value, "amount", value)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    try:
        amount = Decimal(str(value)).quantize(Decimal("0.01"))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount < Decimal(10) ** 12 else None


def moment(value: Any) -> dt.datetime | None:
    """A date or a naive time in the shop's time zone becomes aware."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time.min)
    if not isinstance(value, dt.datetime):
        return None
    return timezone.make_aware(value) if timezone.is_naive(value) else value


def link(value: Any) -> str:
    """A URL that fits its column; an image field without a file and an over-long URL are none."""
    if not value:
        return ""
    text = str(getattr(value, "url", value))
    return text if len(text) <= MAX_LINK_LENGTH else ""


def name(value: Any) -> Any:
    """The name of a category or a brand: of an object its `name` or `title`, of several the deepest's.

    Trees tell the depth themselves: `depth` of treebeard, `level` of mptt. Without it the first counts.
    """
    if isinstance(value, models.Manager | models.QuerySet):
        value = list(value.all())
    if isinstance(value, list | tuple | set | frozenset):
        value = max(value, key=_depth, default=None)
    if isinstance(value, models.Model):
        return next((found for key in ("name", "title") if (found := getattr(value, key, None))), str(value))
    return value


@contextmanager
def in_language(obj: Any, language: str) -> Iterator[None]:
    """Read an object in a language: by the active one, as modeltranslation does, or by the object's own, as parler."""
    if not language:
        yield
        return
    choose = getattr(obj, "set_current_language", None)
    before = obj.get_current_language() if choose is not None else ""
    with translation.override(language):
        if choose is not None:
            choose(language)
        try:
            yield
        finally:
            if choose is not None:
                choose(before)


def first_said(obj: Any, languages: Sequence[str], read: Callable[[Any], str]) -> str:
    """What `read` tells of an object in the first of the languages that has it, else nothing."""
    for language in languages:
        with in_language(obj, language):
            if text := read(obj):
                return text
    return ""


def _depth(node: Any) -> int:
    depth = getattr(node, "depth", getattr(node, "level", 0))
    return depth if isinstance(depth, int) else 0


def _without_tags(text: str) -> str:
    try:
        return html.unescape(strip_tags(text))
    except SuspiciousOperation:  # tags nested too deep for anybody to have meant them
        return text.replace("<", " ").replace(">", " ")
