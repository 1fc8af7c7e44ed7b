"""An understood query and rows of a shelf in, how well each item answers it out, in columns of 0 to 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from recommender.tables import ItemTable
from recommender.text.intent.quantities import measures_of
from recommender.types import FloatArray, IntArray, Intent, Role

INTENT_FEATURE_NAMES = (
    "intent_brand", "intent_category", "intent_product", "intent_attribute", "intent_number", "intent_measure",
    "intent_price",
)  # fmt: skip

PRICE_SLACK = 0.25
"""A price this share beyond a bound, and more, does not agree at all."""


class Words(Protocol):
    """The part of the lexical index that is read."""

    def holds(self, word: str, rows: IntArray) -> npt.NDArray[np.bool_]: ...


class Items(Protocol):
    """The part of `retrieval.shelf.Shelf` that is read."""

    @property
    def items(self) -> ItemTable: ...
    @property
    def titles(self) -> tuple[str, ...]: ...
    @property
    def brands(self) -> tuple[str, ...]: ...
    @property
    def lexical(self) -> Words: ...


def intent_features(
    intent: Intent, rows: IntArray, shelf: Items, names: Sequence[str] = INTENT_FEATURE_NAMES
) -> FloatArray:
    """Return (n, n_names) float32 in [0, 1], columns as `names`; a column of which nothing is said is 0.

    Brand, product, attribute, number and measure are the share of what the query says that the item has; category is
    the probability of the item's own; price is 1 inside the bounds and falls to 0 beyond them.
    """
    table = np.zeros((len(rows), len(names)), np.float32)
    if not len(rows):
        return table
    for place, name in enumerate(names):
        values = _COLUMNS[name](intent, rows, shelf)
        if values is not None:
            table[:, place] = values
    return table


def has_brand(brand: str, rows: IntArray, shelf: Items) -> npt.NDArray[np.bool_]:
    """Return (n,): which items are of a brand, by the shop's own name of it; none of a brand without a name."""
    if not brand:
        return np.zeros(len(rows), bool)
    return np.fromiter((shelf.brands[row] == brand for row in rows.tolist()), bool, len(rows))


def _brand(intent: Intent, rows: IntArray, shelf: Items) -> FloatArray | None:
    said = [word for word in intent.words if word.role is Role.BRAND]
    if not said:
        return None
    found = [_holds_all(word.text, rows, shelf) | has_brand(word.value, rows, shelf) for word in said]
    return np.mean(found, axis=0, dtype=np.float32)


def _category(intent: Intent, rows: IntArray, shelf: Items) -> FloatArray | None:
    if not intent.categories:
        return None
    known = {name: code for code, name in enumerate(shelf.items.category_names)}
    likely = np.zeros(len(known) + 1, np.float32)  # the last place is that of items without a category, code -1
    for name, probability in intent.categories:
        if name in known:
            likely[known[name]] = probability
    return likely[shelf.items.category[rows]]


def _product(intent: Intent, rows: IntArray, shelf: Items) -> FloatArray | None:
    return _share_held((Role.PRODUCT, Role.CATEGORY), intent, rows, shelf)


def _attribute(intent: Intent, rows: IntArray, shelf: Items) -> FloatArray | None:
    return _share_held((Role.ATTRIBUTE,), intent, rows, shelf)


def _number(intent: Intent, rows: IntArray, shelf: Items) -> FloatArray | None:
    said = measures_of(intent.text).numbers
    if not said:
        return None
    shares = [len(said & measures_of(shelf.titles[row]).numbers) / len(said) for row in rows.tolist()]
    return np.array(shares, np.float32)


def _measure(intent: Intent, rows: IntArray, shelf: Items) -> FloatArray | None:
    said = measures_of(intent.text).measures
    if not said:
        return None
    shares = [len(said & measures_of(shelf.titles[row]).measures) / len(said) for row in rows.tolist()]
    return np.array(shares, np.float32)


def _price(intent: Intent, rows: IntArray, shelf: Items) -> FloatArray | None:
    if intent.min_price is None and intent.max_price is None:
        return None
    price = shelf.items.price[rows]
    low = 0.0 if intent.min_price is None else intent.min_price
    high = np.inf if intent.max_price is None else intent.max_price
    beyond = np.maximum(low - price, 0) / max(low, 1e-6) + np.maximum(price - high, 0) / max(high, 1e-6)
    return np.nan_to_num(np.clip(1 - beyond / PRICE_SLACK, 0, 1), nan=0.0).astype(np.float32)


def _share_held(roles: Sequence[Role], intent: Intent, rows: IntArray, shelf: Items) -> FloatArray | None:
    said = [word.text for word in intent.words if word.role in roles]
    if not said:
        return None
    return np.mean([_holds_all(text, rows, shelf) for text in said], axis=0, dtype=np.float32)


def _holds_all(text: str, rows: IntArray, shelf: Items) -> npt.NDArray[np.bool_]:
    return np.logical_and.reduce([shelf.lexical.holds(word, rows) for word in text.split()])


_COLUMNS: Mapping[str, Callable[[Intent, IntArray, Items], FloatArray | None]] = dict(
    zip(
        INTENT_FEATURE_NAMES,
        (_brand, _category, _product, _attribute, _number, _measure, _price),
        strict=True,
    )
)
