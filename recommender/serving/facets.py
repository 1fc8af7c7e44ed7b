"""Counts what a search found by category, brand, price, stock and attributes, for the choices beside its list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from django.utils.translation import gettext as _

from recommender.serving.attributes import column_of, currency_of
from recommender.serving.filters import (
    amount_text,
    bound_of,
    chosen,
    effective_filters,
    filtered,
    is_only_available,
    is_priced_in,
    price_text,
)
from recommender.serving.question import Listed, Question, no_rows
from recommender.serving.search import matches_among
from recommender.serving.shelf import Shelf
from recommender.types import Facet, FacetValue, Filters, IntArray, Intent, Relaxation

Amounts = npt.NDArray[np.float64]

N_VALUES = 20
"""Of one facet: the most frequent ones, and what is chosen."""

QUARTILES = (0.25, 0.5, 0.75)
PLAIN_STEPS = np.array([1.0, 2.0, 5.0, 10.0])
"""Prices between two ranges are one of these times a power of ten."""

N_DIGITS = (2, 3, 9)
"""Where plain steps do not part the prices, the bounds have this many digits."""

PRICE_BOUNDS = ("min_price", "max_price")


def facets(question: Question, listed: Listed) -> tuple[Facet, ...]:
    """Return how many items would be found with each value, over all pages, for the facets that the request names.

    Each facet is counted under all filters but its own, so that a second value can be chosen beside the first. What is
    only near is not counted. A facet that offers no choice is left out.
    """
    request, shelf = question.request, question.served.shelf
    if not request.facets or listed.intent is None:
        return ()
    matches = _Matches(shelf, listed, listed.intent, effective_filters(request.filters, listed.intent))
    counted = []
    for name in request.facets:
        rows = matches.without(PRICE_BOUNDS if name == "price" else (name,))
        if name == "price":
            counted.append(Facet(name, _("Price"), tuple(_prices(rows, shelf, request.filters))))
        elif name == "available":
            counted.append(Facet(name, _("Availability"), tuple(_stock(rows, shelf, request.filters))))
        else:
            counted.append(_named(name, rows, shelf, chosen(request.filters, name)))
    return tuple(facet for facet in counted if _offers_choice(facet))


@dataclass(frozen=True, slots=True)
class _Matches:
    """What a search finds under some of its filters."""

    shelf: Shelf
    listed: Listed
    intent: Intent
    filters: Filters

    def without(self, own: Sequence[str]) -> IntArray:
        """Return the rows (n,) that are found without these filters."""
        others = {name: values for name, values in self.filters.items() if name not in own}
        if others == self.filters:
            return no_rows() if self.listed.relaxed is Relaxation.FILTERS else self.listed.matches
        passes = filtered(self.shelf, others) & is_priced_in(self.intent, self.shelf)
        return matches_among(self.intent, self.shelf, self.listed.allowed & passes)


def _offers_choice(facet: Facet) -> bool:
    n_least = 1 if facet.name == "available" else 2
    return len(facet.values) >= n_least or any(value.is_applied for value in facet.values)


def _named(name: str, rows: IntArray, shelf: Shelf, applied: Sequence[str]) -> Facet:
    """Return the most frequent values of an attribute, and those applied, by how many of `rows` (n,) have each."""
    column = column_of(shelf, name)
    counts = np.bincount(column.codes[rows] + 1, minlength=1)[1:]  # the first are those without a value
    n_items = dict.fromkeys(applied, 0)
    n_items |= {column.names[code]: int(counts[code]) for code in np.flatnonzero(counts).tolist()}
    ordered = sorted(n_items, key=lambda value: (-n_items[value], value))
    listed = [value for index, value in enumerate(ordered) if index < N_VALUES or value in applied]
    values = tuple(FacetValue(value, n_items[value], {name: value}, value in applied) for value in listed)
    return Facet(name, _text_of(name), values, n_more=len(ordered) - len(listed))


def _text_of(name: str) -> str:
    """The name of a facet for the shopper; that of a shop's own attribute may be translated by the shop."""
    texts = {"category": _("Category"), "brand": _("Brand")}
    own = name.replace("_", " ").capitalize()
    return texts.get(name) or _(own)


def _stock(rows: IntArray, shelf: Shelf, filters: Filters) -> Iterator[FacetValue]:
    """Give what is in stock, where not everything is."""
    n_items, is_applied = int(np.count_nonzero(shelf.available[rows])), is_only_available(filters)
    if 0 < n_items < len(rows) or is_applied:
        yield FacetValue(_("In stock"), n_items, {"available": "1"}, is_applied)


def _prices(rows: IntArray, shelf: Shelf, filters: Filters) -> Iterator[FacetValue]:
    """Give ranges between plain numbers near the quartiles of the prices, with how many of `rows` (n,) are in each.

    None where prices are in several currencies: a filter compares only amounts.
    """
    rows = rows[np.isfinite(shelf.items.price[rows])]
    if len(np.unique(currency_of(shelf).codes[rows])) != 1:
        return
    price = shelf.items.price[rows].astype(np.float64)
    bounds, step = _bounds(price), _step(price)
    requested = {name: bound for name in PRICE_BOUNDS if (bound := bound_of(filters, name)) is not None}
    for low, high in zip([None, *bounds], [*bounds, None], strict=True):
        ends = {"min_price": low, "max_price": None if high is None else round(high - step, 3)}
        parameters = {name: f"{end:.12g}" for name, end in ends.items() if end is not None}
        is_applied = requested == {name: float(end) for name, end in parameters.items()}
        n_items = int(np.count_nonzero(filtered(shelf, parameters)[rows]))
        if parameters and (n_items or is_applied):
            yield FacetValue(_range_text(parameters), n_items, parameters, is_applied)


def _bounds(price: Amounts) -> list[float]:
    """Return the numbers between ranges of prices (n,), ascending: as plain as leaves at least three ranges."""
    quartiles = [bound for bound in np.quantile(price, QUARTILES).tolist() if bound > 0]
    most: list[float] = []
    for bounds in (map(_plain, quartiles), *([float(f"{one:.{n}g}") for one in quartiles] for n in N_DIGITS)):
        between = sorted({bound for bound in bounds if price.min() < bound <= price.max()})
        between = [b for low, b in zip([0.0, *between], between, strict=False) if ((price >= low) & (price < b)).any()]
        most = max(most, between, key=len)
        if len(most) > 1:
            break
    return most


def _plain(bound: float) -> float:
    """Return the plain number that is nearest in proportion."""
    steps = PLAIN_STEPS * 10.0 ** np.floor(np.log10(bound))
    return float(f"{steps[np.abs(np.log(steps / bound)).argmin()]:.12g}")


def _step(price: Amounts) -> float:
    """Return the smallest amount of a currency as prices (n,) show it, which single precision holds inexactly."""
    exact = [n for n in (0, 2) if np.allclose(price, price.round(n), rtol=1e-6, atol=1e-4)]
    return 10.0 ** -(exact[0] if exact else 3)


def _range_text(parameters: Mapping[str, str]) -> str:
    if len(parameters) == 1:
        [(name, value)] = parameters.items()
        return price_text(name, value)
    amounts = {name: amount_text(value) for name, value in parameters.items()}
    return _("%(min_price)s to %(max_price)s") % amounts
