"""An understood query and what it found in, filters to offer beside the list and what was given up in words, out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from django.utils import formats
from django.utils.translation import gettext as _

from recommender.serving.shelf import Shelf
from recommender.text.intent import has_brand
from recommender.types import IntArray, Intent, OfferedFilter, Relaxation, Request, Role

LEAST_PROBABLE = 0.2
"""A category less probable than this is not offered."""

CHEAP_QUANTILE = 0.25
"""What "cheap" offers: the cheapest quarter of what was found."""


def offered_filters(
    intent: Intent, rows: IntArray, shelf: Shelf, request: Request, relaxed: Relaxation
) -> tuple[OfferedFilter, ...]:
    """Return the filters that are on, then those that the query suggests and that would narrow `rows` (n,).

    A suggested one is never applied by itself; a price that is named in figures is.
    """
    if relaxed in (Relaxation.FILTERS, Relaxation.POPULAR):
        return ()
    on = list(_applied(intent, request))
    taken = {one.name for one in on}
    offers = (*_categories(intent, rows, shelf, request), *_brands(intent, rows, shelf, request))
    cheap = _cheap(intent, rows, shelf) if not taken & {"min_price", "max_price"} else ()
    return (*on, *(one for one in (*offers, *cheap) if one.name not in taken))


def notice(relaxed: Relaxation, query: str, relaxed_query: str) -> str:
    """Say what was given up; nothing where nothing was."""
    texts = {
        Relaxation.NONE: "",
        Relaxation.WORDS: _("Nothing has all of “%(query)s”. These are for “%(fewer)s”."),
        Relaxation.FILTERS: _("Nothing for “%(query)s” passes the filters. These are without them."),
        Relaxation.MEANING: _("Nothing has the words “%(query)s”. These are close in meaning."),
        Relaxation.POPULAR: _("Nothing was found for “%(query)s”. This is what others buy now."),
    }
    return texts[relaxed] % {"query": query[:60], "fewer": relaxed_query[:60]} if texts[relaxed] else ""


def _applied(intent: Intent, request: Request) -> Iterator[OfferedFilter]:
    filters, query = request.filters, request.query
    for name in ("category", "brand"):
        if filters.get(name):
            yield OfferedFilter(name, filters[name], filters[name], query, True)
    if filters.get("available"):
        yield OfferedFilter("available", filters["available"], _("In stock"), query, True)
    asked = {name: filters[name] for name in ("min_price", "max_price") if filters.get(name)}
    for name, value in asked.items():
        yield OfferedFilter(name, value, _price_text(name, value), query, True)
    for name, bound in (("min_price", intent.min_price), ("max_price", intent.max_price)):
        if bound is not None and not asked:
            yield OfferedFilter(name, f"{bound:g}", _price_text(name, f"{bound:g}"), intent.text, True)


def _categories(intent: Intent, rows: IntArray, shelf: Shelf, request: Request) -> Iterator[OfferedFilter]:
    found = shelf.items.category[rows]
    for name, probability in intent.categories:
        code = shelf.items.category_names.index(name)
        if probability >= LEAST_PROBABLE and _narrows(found == code):
            yield OfferedFilter("category", name, name, request.query)


def _brands(intent: Intent, rows: IntArray, shelf: Shelf, request: Request) -> Iterator[OfferedFilter]:
    for name in dict.fromkeys(word.value for word in intent.words if word.role is Role.BRAND and word.value):
        if _narrows(has_brand(name, rows, shelf)):
            yield OfferedFilter("brand", name, name, request.query)


def _cheap(intent: Intent, rows: IntArray, shelf: Shelf) -> Iterator[OfferedFilter]:
    """Offer the cheapest quarter of what was found, where the query says "cheap"."""
    price = shelf.items.price[rows]
    price = price[np.isfinite(price)]
    if intent.is_cheap and len(price) and price.min() < price.max():
        value = f"{float(np.quantile(price, CHEAP_QUANTILE, method='higher')):.2f}"
        yield OfferedFilter("max_price", value, _price_text("max_price", value), intent.text)


def _narrows(passes: np.ndarray) -> bool:
    return bool(passes.any() and not passes.all())


def _price_text(name: str, value: str) -> str:
    try:
        amount = formats.number_format(f"{float(value):.2f}".removesuffix(".00"), force_grouping=True)
    except ValueError:  # a filter that cannot be read passes all
        amount = value
    return (_("From %(amount)s") if name == "min_price" else _("Up to %(amount)s")) % {"amount": amount}
