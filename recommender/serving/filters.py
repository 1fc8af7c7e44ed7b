"""Filters of a search: those a request asks for, which items pass them, and those that are offered beside the list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from django.utils import formats
from django.utils.translation import gettext as _

from recommender.retrieval.base import Mask
from recommender.serving.shelf import Shelf
from recommender.text.intent import has_brand
from recommender.types import IntArray, Intent, OfferedFilter, Relaxation, Request, Role

FILTERS = ("category", "brand", "min_price", "max_price", "available")
PRICE_BOUNDS = (("min_price", np.greater_equal), ("max_price", np.less_equal))

MIN_CATEGORY_PROBABILITY = 0.2
"""A category that is less probable than this is not offered."""

CHEAP_QUANTILE = 0.25
"""The query word "cheap" offers the cheapest quarter of the matches."""


def effective_filters(requested: Mapping[str, str], intent: Intent) -> dict[str, str]:
    """The filters of a request, plus the price that the query names if the request sets no bound itself."""
    filters = {name: value for name, value in requested.items() if name in FILTERS and value}
    if "min_price" not in filters and "max_price" not in filters:
        filters |= {name: f"{bound:g}" for name, bound in _price_bounds(intent) if bound is not None}
    return filters


def filtered(shelf: Shelf, filters: Mapping[str, str]) -> Mask:
    """Return (n_items,) bool: which items pass. A filter with an unreadable value lets every item pass."""
    passes = np.ones(len(shelf.items), bool)
    if name := filters.get("category"):
        passes &= shelf.items.category == _code(name, shelf.items.category_names)
    if name := filters.get("brand"):
        passes &= shelf.brand == _code(name, shelf.brand_names)
    for bound, compare in PRICE_BOUNDS:
        if (limit := _number(filters.get(bound, ""))) is not None:
            passes &= compare(shelf.items.price, limit)  # an item without a price (NaN) passes no bound
    if filters.get("available") in ("1", "true"):
        passes &= shelf.available
    return passes


def offered_filters(
    intent: Intent, rows: IntArray, shelf: Shelf, request: Request, relaxed: Relaxation
) -> tuple[OfferedFilter, ...]:
    """Return the filters that are applied, then those that the query suggests and that would narrow `rows` (n,).

    A suggested filter is never applied by itself, except for a price that the query gives in figures.
    """
    if relaxed in (Relaxation.FILTERS, Relaxation.POPULAR):
        return ()
    applied = list(_applied(intent, request))
    names = {offered.name for offered in applied}
    suggested = [*_categories(intent, rows, shelf, request), *_brands(intent, rows, shelf, request)]
    if not names & {"min_price", "max_price"}:
        suggested += _cheap(intent, rows, shelf)
    return (*applied, *(offered for offered in suggested if offered.name not in names))


def _price_bounds(intent: Intent) -> tuple[tuple[str, float | None], ...]:
    return ("min_price", intent.min_price), ("max_price", intent.max_price)


def _code(name: str, names: tuple[str, ...]) -> int:
    """The code of a name in a column; -2, which no item has, for an unknown name."""
    return names.index(name) if name in names else -2


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _applied(intent: Intent, request: Request) -> Iterator[OfferedFilter]:
    filters, query = request.filters, request.query
    for name in ("category", "brand"):
        if filters.get(name):
            yield OfferedFilter(name, filters[name], filters[name], query, True)
    if filters.get("available"):
        yield OfferedFilter("available", filters["available"], _("In stock"), query, True)
    requested = {name: filters[name] for name in ("min_price", "max_price") if filters.get(name)}
    for name, value in requested.items():
        yield OfferedFilter(name, value, _price_text(name, value), query, True)
    for name, bound in _price_bounds(intent):
        if bound is not None and not requested:
            yield OfferedFilter(name, f"{bound:g}", _price_text(name, f"{bound:g}"), intent.text, True)


def _categories(intent: Intent, rows: IntArray, shelf: Shelf, request: Request) -> Iterator[OfferedFilter]:
    categories = shelf.items.category[rows]
    for name, probability in intent.categories:
        code = shelf.items.category_names.index(name)
        if probability >= MIN_CATEGORY_PROBABILITY and _narrows(categories == code):
            yield OfferedFilter("category", name, name, request.query)


def _brands(intent: Intent, rows: IntArray, shelf: Shelf, request: Request) -> Iterator[OfferedFilter]:
    for name in dict.fromkeys(word.value for word in intent.words if word.role is Role.BRAND and word.value):
        if _narrows(has_brand(name, rows, shelf)):
            yield OfferedFilter("brand", name, name, request.query)


def _cheap(intent: Intent, rows: IntArray, shelf: Shelf) -> Iterator[OfferedFilter]:
    """Offer the cheapest quarter of the matches if the query says "cheap"."""
    price = shelf.items.price[rows]
    price = price[np.isfinite(price)]
    if intent.is_cheap and len(price) and price.min() < price.max():
        value = f"{float(np.quantile(price, CHEAP_QUANTILE, method='higher')):.2f}"
        yield OfferedFilter("max_price", value, _price_text("max_price", value), intent.text)


def _narrows(passes: Mask) -> bool:
    return bool(passes.any() and not passes.all())


def _price_text(name: str, value: str) -> str:
    try:
        amount = formats.number_format(f"{float(value):.2f}".removesuffix(".00"), force_grouping=True)
    except ValueError:  # an unreadable bound lets every item pass
        amount = value
    return (_("From %(amount)s") if name == "min_price" else _("Up to %(amount)s")) % {"amount": amount}
