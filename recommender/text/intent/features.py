"""Grades how well items answer an understood query: one column each for brand, category, product, price and others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

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


class WordIndex(Protocol):
    """The part of the lexical index that is read."""

    def holds(self, word: str, rows: IntArray) -> npt.NDArray[np.bool_]: ...


class ItemShelf(Protocol):
    """The part of `serving.shelf.Shelf` that is read."""

    @property
    def items(self) -> ItemTable: ...
    @property
    def titles(self) -> Sequence[str]: ...
    @property
    def brands(self) -> Sequence[str]: ...
    @property
    def lexical(self) -> WordIndex: ...


Column = Callable[[Intent, IntArray, ItemShelf], FloatArray | None]
"""An understood query and rows (n,) to values (n,); None where the query names nothing of the kind."""


def intent_features(
    intent: Intent, rows: IntArray, shelf: ItemShelf, names: Sequence[str] = INTENT_FEATURE_NAMES
) -> FloatArray:
    """Return (n, n_names) float32 in [0, 1], columns as `names`; 0 where the query names nothing of the kind.

    Brand, product, attribute, number and measure: the share of those in the query that the item has; category: the
    probability of the item's own; price: 1 inside the bounds, falling to 0 beyond them.
    """
    table = np.zeros((len(rows), len(names)), np.float32)
    if not len(rows):
        return table
    for column, name in enumerate(names):
        values = _COLUMNS[name](intent, rows, shelf)
        if values is not None:
            table[:, column] = values
    return table


def has_brand(brand: str, rows: IntArray, shelf: ItemShelf) -> npt.NDArray[np.bool_]:
    """Return (n,) bool: which items are of a brand, by the shop's own name for it; none for an empty name."""
    if not brand:
        return np.zeros(len(rows), bool)
    return np.fromiter((shelf.brands[row] == brand for row in rows.tolist()), bool, len(rows))


def _brand(intent: Intent, rows: IntArray, shelf: ItemShelf) -> FloatArray | None:
    brands = [word for word in intent.words if word.role is Role.BRAND]
    if not brands:
        return None
    matches = [_holds_all(word.text, rows, shelf) | has_brand(word.value, rows, shelf) for word in brands]
    return np.mean(matches, axis=0, dtype=np.float32)


def _category(intent: Intent, rows: IntArray, shelf: ItemShelf) -> FloatArray | None:
    if not intent.categories:
        return None
    codes = {name: code for code, name in enumerate(shelf.items.category_names)}
    probability = np.zeros(len(codes) + 1, np.float32)  # the last is that of items without a category, code -1
    for name, share in intent.categories:
        if name in codes:
            probability[codes[name]] = share
    return probability[shelf.items.category[rows]]


def _words_of(*roles: Role) -> Column:
    """Return the column of the share of the query's words with these roles that an item has."""

    def column(intent: Intent, rows: IntArray, shelf: ItemShelf) -> FloatArray | None:
        texts = [word.text for word in intent.words if word.role in roles]
        if not texts:
            return None
        return np.mean([_holds_all(text, rows, shelf) for text in texts], axis=0, dtype=np.float32)

    return column


def _quantities(kind: Literal["numbers", "measures"]) -> Column:
    """Return the column of the share of the query's numbers or measures that a title has."""

    def column(intent: Intent, rows: IntArray, shelf: ItemShelf) -> FloatArray | None:
        wanted: frozenset[str] = getattr(measures_of(intent.text), kind)
        if not wanted:
            return None
        titles = (getattr(measures_of(shelf.titles[row]), kind) for row in rows.tolist())
        return np.array([len(wanted & quantities) / len(wanted) for quantities in titles], np.float32)

    return column


def _price(intent: Intent, rows: IntArray, shelf: ItemShelf) -> FloatArray | None:
    if intent.min_price is None and intent.max_price is None:
        return None
    price = shelf.items.price[rows]
    low = 0.0 if intent.min_price is None else intent.min_price
    high = np.inf if intent.max_price is None else intent.max_price
    beyond = np.maximum(low - price, 0) / max(low, 1e-6) + np.maximum(price - high, 0) / max(high, 1e-6)
    return np.nan_to_num(np.clip(1 - beyond / PRICE_SLACK, 0, 1), nan=0.0).astype(np.float32)


def _holds_all(text: str, rows: IntArray, shelf: ItemShelf) -> npt.NDArray[np.bool_]:
    return np.logical_and.reduce([shelf.lexical.holds(word, rows) for word in text.split()])


_COLUMNS: Mapping[str, Column] = dict(
    zip(
        INTENT_FEATURE_NAMES,
        (
            _brand, _category, _words_of(Role.PRODUCT, Role.CATEGORY), _words_of(Role.ATTRIBUTE),
            _quantities("numbers"), _quantities("measures"), _price,
        ),
        strict=True,
    )
)  # fmt: skip
