"""Numbers as the language of the page writes them."""

from __future__ import annotations

from django.utils.formats import get_format
from django.utils.translation import gettext


def local(value: float, spec: str) -> str:
    """Return `format(value, spec)` with the language's separators: 1,234.5 is 1.234,5 in German."""
    separators = {",": get_format("THOUSAND_SEPARATOR"), ".": get_format("DECIMAL_SEPARATOR")}
    return format(value, spec).translate(str.maketrans(separators))


def interval(low: float, high: float, spec: str) -> str:
    """Return "[1.5, 2.5]"; where a comma stands in the numbers, the language puts something else between them."""
    return gettext("[%(low)s, %(high)s]") % {"low": local(low, spec), "high": local(high, spec)}
