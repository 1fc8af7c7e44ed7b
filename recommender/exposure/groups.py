"""Divides the items of a catalogue into groups by brand, category, price band, newness and further attributes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.durations import DAY_SECONDS
from recommender.types import FloatArray, IntArray, TimeArray

NO_VALUE, OTHERS = "", "*"
"""The group of the items without a value, and that of all groups that are too small to be counted apart."""

N_GROUPS = 100
"""Groups of an attribute that are counted apart, those with most items; all others are one."""

N_BANDS = 4
"""Price bands have as many items each, within their currency."""

NEW_DAYS = 30
NEW, OLDER = "new", "older"

PRICE, NEWNESS = "price", "newness"


@dataclass(frozen=True, slots=True)
class Columns:
    """What items are divided by. values: by attribute the text of each item; price (n,) NaN for none; currency (n,);
    first_seen (n,) in seconds; listed (n,) bool: what can be shown and bought."""

    ids: tuple[str, ...]
    values: Mapping[str, Sequence[str]]
    price: FloatArray
    currency: Sequence[str]
    first_seen: TimeArray
    listed: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one attribute: codes (n_items,) int32, the place of each item's group in `names`."""

    codes: IntArray
    names: tuple[str, ...]

    def counts(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> dict[str, int]:
        """How many of the rows are of each group that has any."""
        counts = np.bincount(self.codes[rows], minlength=len(self.names))
        return {name: int(n) for name, n in zip(self.names, counts, strict=True) if n}


def divided(columns: Columns, *, at: float, apart: Collection[tuple[str, str]] = ()) -> dict[str, Groups]:
    """The groups of every attribute that any item has, at a moment.

    apart: (attribute, value) of groups that never count as others.
    """
    n = len(columns.ids)
    by_value = {
        name: grouped(values, columns.listed, apart=[value for attribute, value in apart if attribute == name])
        for name, values in columns.values.items()
        if any(values)
    }
    is_new = columns.first_seen > at - NEW_DAYS * DAY_SECONDS
    newness = Groups(np.where(is_new, 0, 1).astype(np.int32), (NEW, OLDER))
    bands = Groups(
        price_bands(columns.price, columns.currency, columns.listed),
        (NO_VALUE, *(str(number) for number in range(1, N_BANDS + 1))),
    )
    return {**by_value, PRICE: bands, NEWNESS: newness} if n else {}


def grouped(values: Sequence[str], listed: npt.NDArray[np.bool_], *, apart: Collection[str] = ()) -> Groups:
    """Group by text: the `N_GROUPS` values with most items, listed ones first, and those in `apart`, then `OTHERS`."""
    n_items = Counter(values)
    n_listed = Counter(value for value, is_listed in zip(values, listed.tolist(), strict=True) if is_listed)
    ranked = sorted(n_items, key=lambda value: (-n_listed[value], -n_items[value], value))
    names = tuple(dict.fromkeys([*ranked[:N_GROUPS], *apart, OTHERS]))
    code = {name: number for number, name in enumerate(names)}
    return Groups(np.array([code.get(value, code[OTHERS]) for value in values], np.int32), names)


def price_bands(price: FloatArray, currency: Sequence[str], listed: npt.NDArray[np.bool_]) -> IntArray:
    """The band of each item (n,), from 1, the cheapest, to `N_BANDS`; 0 without a price.

    Its bounds are quantiles of the listed items with the same currency.
    """
    bands, currencies = np.zeros(len(price), np.int32), np.array(currency, object)
    priced = np.isfinite(price)
    for name in dict.fromkeys(currency):
        own = priced & (currencies == name)
        basis = price[own & listed] if (own & listed).any() else price[own]
        if len(basis):
            bounds = np.quantile(basis, np.arange(1, N_BANDS) / N_BANDS)
            bands[own] = 1 + np.searchsorted(bounds, price[own], side="left")
    return bands
