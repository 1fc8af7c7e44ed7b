"""Filters of a search: those a request asks for, which items pass them, and those that are offered beside the list."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from django.utils import formats
from django.utils.translation import gettext as _

from recommender.catalog import attribute_names
from recommender.retrieval.base import Mask
from recommender.retrieval.engine import Condition
from recommender.serving.attributes import column_of
from recommender.serving.shelf import Shelf
from recommender.text.intent import has_brand
from recommender.types import Filters, IntArray, Intent, OfferedFilter, Relaxation, Request, Role

FILTERS = ("category", "brand", "min_price", "max_price", "available")
"""What every item has; further filters are the attributes that the shop's Catalogs declare."""

FACETS = ("category", "brand", "price", "available")
RESERVED = frozenset(
    {*FILTERS, *FACETS, "q", "query", "limit", "offset", "page", "sort", "facets", "personal", "format"}
)
"""What the parameters of a search mean: an attribute of one of these names is no filter and no facet."""

PRICE_BOUNDS = (("min_price", np.greater_equal), ("max_price", np.less_equal))
NOT_NAMED = frozenset({"min_price", "max_price", "available"})
"""Filters whose value is no value of an attribute."""

LARGEST = 1e30
"""No price is larger. Single precision, in which prices are compared, ends at 3.4e38."""

MIN_CATEGORY_PROBABILITY = 0.2
"""A category that is less probable than this is not offered."""

CHEAP_QUANTILE = 0.25
"""The query word "cheap" offers the cheapest quarter of the matches."""


def filter_names() -> tuple[str, ...]:
    """Every filter of a search in this shop."""
    return (*FILTERS, *_attributes())


def facet_names() -> tuple[str, ...]:
    """Everything by which the matches of a search can be counted in this shop."""
    return (*FACETS, *_attributes())


def chosen(filters: Filters, name: str) -> tuple[str, ...]:
    """The values of one filter; none where it is not set."""
    values = filters.get(name, ())
    return tuple(value for value in ((values,) if isinstance(values, str) else values) if value)


def effective_filters(requested: Filters, intent: Intent) -> dict[str, tuple[str, ...]]:
    """The filters of a request, plus the price that the query names if the request sets no bound itself."""
    filters = {name: values for name in requested if (values := chosen(requested, name))}
    if "min_price" not in filters and "max_price" not in filters:
        filters |= {name: (f"{bound:.12g}",) for name, bound in _price_bounds(intent) if bound is not None}
    return filters


def in_shop_currency(intent: Intent, shelf: Shelf) -> Intent:
    """Return an understood query without the bounds of a price in a currency that no item of the shop has."""
    if not intent.currencies or not _are_foreign(intent.currencies, shelf):
        return intent
    price = " ".join(word.text for word in intent.words if word.role is Role.PRICE)
    return replace(intent, min_price=None, max_price=None, foreign_price=price)


def is_priced_in(intent: Intent, shelf: Shelf) -> Mask:
    """Return (n_items,) bool: which items have a currency that the bounds of a query may be in, or none at all."""
    has_bound = intent.min_price is not None or intent.max_price is not None
    if not has_bound or not intent.currencies:
        return np.ones(len(shelf.items), bool)
    return np.fromiter((not code or code in intent.currencies for code in shelf.currency), bool, len(shelf.items))


def _are_foreign(currencies: frozenset[str], shelf: Shelf) -> bool:
    """Whether every item has another currency; a shop that names none has that of the query."""
    own = set(shelf.currency)
    return bool(own) and "" not in own and not own & currencies


def filtered(shelf: Shelf, filters: Filters) -> Mask:
    """Return (n_items,) bool: which items pass. A bound of the price that cannot be read lets every item pass."""
    passes = np.ones(len(shelf.items), bool)
    for bound, compare in PRICE_BOUNDS:
        if (limit := bound_of(filters, bound)) is not None:
            passes &= compare(shelf.items.price, limit)  # an item without a price (NaN) passes no bound
    if is_only_available(filters):
        passes &= shelf.available
    for name in filters:
        if name not in NOT_NAMED and (values := chosen(filters, name)):
            column = column_of(shelf, name)
            passes &= np.isin(column.codes, [column.code(value) for value in values])
    return passes


def condition_of(shelf: Shelf, filters: Filters) -> Condition:
    """Return what a vector engine can compare of `filtered`: it lets at least the same items pass."""
    condition = Condition(
        min_price=bound_of(filters, "min_price"),
        max_price=bound_of(filters, "max_price"),
        only_available=is_only_available(filters),
    )
    names = {name: _existing(shelf, name, chosen(filters, name)) for name in ("category", "brand")}
    return replace(condition, categories=names["category"], brands=names["brand"])


def _existing(shelf: Shelf, name: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """The values that the shop has, or all of them where it has none: then nothing passes."""
    column = column_of(shelf, name)
    return tuple(value for value in values if value in column.names) or values


def bound_of(filters: Filters, name: str) -> float | None:
    """The number that bounds the price; None where there is none that can be read."""
    try:
        bound = float("".join(chosen(filters, name)[-1:]))
    except ValueError:
        return None
    return None if math.isnan(bound) else max(-LARGEST, min(bound, LARGEST))


def is_only_available(filters: Filters) -> bool:
    """Whether only what is in stock passes."""
    return chosen(filters, "available")[-1:] in (("1",), ("true",))


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


def _attributes() -> tuple[str, ...]:
    return tuple(name for name in attribute_names() if name not in RESERVED)


def _applied(intent: Intent, request: Request) -> Iterator[OfferedFilter]:
    filters, query = request.filters, request.query
    for name in (*("category", "brand"), *(name for name in filters if name not in FILTERS)):
        for value in chosen(filters, name):
            yield OfferedFilter(name, value, value, query, True)
    for value in chosen(filters, "available")[-1:]:
        yield OfferedFilter("available", value, _("In stock"), query, True)
    requested = {name: values[-1] for name, _compare in PRICE_BOUNDS if (values := chosen(filters, name))}
    for name, value in requested.items():
        yield OfferedFilter(name, value, price_text(name, value), query, True)
    for name, bound in _price_bounds(intent):
        if bound is not None and not requested:
            yield OfferedFilter(name, f"{bound:.12g}", price_text(name, f"{bound:.12g}"), intent.unpriced, True)


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
        yield OfferedFilter("max_price", value, price_text("max_price", value), intent.unpriced)


def _narrows(passes: Mask) -> bool:
    return bool(passes.any() and not passes.all())


def price_text(name: str, value: str) -> str:
    """A bound of the price in words; name: that of the filter."""
    return (_("From %(amount)s") if name == "min_price" else _("Up to %(amount)s")) % {"amount": amount_text(value)}


def amount_text(value: str) -> str:
    """An amount in the number format of the language; one that cannot be read stays as it is."""
    try:
        return formats.number_format(f"{float(value):.2f}".removesuffix(".00"), force_grouping=True)
    except ValueError:  # an unreadable bound lets every item pass
        return value
