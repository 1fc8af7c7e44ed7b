"""The columns of a persona: a visitor's decayed evidence on named axes, as the numbers that segments are made from.

The axes are categories, words of titles, thirds of the price range, parts of the week, the rhythm of orders and the
device. Events after a given moment are never read, so that the past can be computed as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from recommender.durations import CONTEXT_HALF_LIFE_DAYS, DAY_SECONDS, HOUR_SECONDS, PERSONA_HALF_LIFE_DAYS
from recommender.features.returns import PURCHASE, kept_evidence
from recommender.features.weights import SEARCH_WEIGHT, age_days, decay
from recommender.tables import Interactions, ItemTable, Profile
from recommender.text.vocabulary import terms, vocabulary_of
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, TimeArray

Axis = tuple[str, str]
"""A block and a name in it: ("word", "lunch bag"), ("price", "low")."""

BLOCK_WEIGHTS: Mapping[str, float] = {
    "category": 1.5, "word": 3.0, "price": 0.5, "time": 0.25, "orders": 0.25, "device": 0.25,
}  # fmt: skip
"""How far a difference in each block separates two visitors: what they like counts more than how and when they buy."""

N_TASTE_BLOCKS = 3
"""Category, word and price: visitors without evidence in any of them are in no segment."""

PRICES: tuple[Axis, ...] = (("price", "low"), ("price", "middle"), ("price", "high"))
TIMES: tuple[Axis, ...] = (
    ("time", "weekday morning"), ("time", "weekday afternoon"), ("time", "weekday evening"), ("time", "weekend"),
)  # fmt: skip
ORDERS: tuple[Axis, ...] = (("orders", "none"), ("orders", "one"), ("orders", "often"), ("orders", "seldom"))
DEVICES: tuple[Axis, ...] = (("device", "mobile"), ("device", "tablet"), ("device", "desktop"))
FIXED: tuple[Axis, ...] = (*PRICES, *TIMES, *ORDERS, *DEVICES)

N_WORDS = 40
N_WORDS_OF_ITEM = 4
PAIR_SHARE = 0.6
"""Two words form one axis if they mostly occur together: "hot water", but "bag" rather than "jumbo bag"."""

N_CATEGORIES = 60

OFTEN_DAYS = CONTEXT_HALF_LIFE_DAYS
"""Orders with a mean gap of at most this are often."""

PRIOR = 0.1
"""Half a look at an item: with less evidence than this in a block a visitor counts mostly as the average visitor."""


@dataclass(frozen=True, slots=True)
class Axes:
    """The columns of personas, and which of them each item counts for.

    of_item (n_items, 2 + N_WORDS_OF_ITEM) int32: columns of category, price and words, -1 for none; block (n_axes,)
    int64: number of the block of each column; weight (n_axes,) float32; column: number of each name;
    utc_offset_seconds: of the shop's clock.
    """

    names: tuple[Axis, ...]
    of_item: IntArray
    block: npt.NDArray[np.int64]
    weight: FloatArray
    column: Mapping[Axis, int]
    utc_offset_seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.names)


def build_axes(
    items: ItemTable,
    popularity: FloatArray,
    *,
    keep: Sequence[Axis] = (),
    utc_offset_seconds: float = 0.0,
) -> Axes:
    """Choose the columns: the categories and words with most behaviour, and the fixed ones.

    popularity (n_items,): weighted events. Axes of `keep` stay while the catalogue still has them, so that a shop's
    segments are compared on the same axes from one day to the next.
    """
    words = _words(items, popularity, [name for block, name in keep if block == "word"])
    categories = _categories(items, popularity, [name for block, name in keep if block == "category"])
    names = (*(("category", name) for name in categories), *(("word", word) for word in words), *FIXED)
    return axes_named(names, items, utc_offset_seconds=utc_offset_seconds)


def axes_named(names: Sequence[Axis], items: ItemTable, *, utc_offset_seconds: float = 0.0) -> Axes:
    """Return the axes of these names over a catalogue: as stored with segments, or as `build_axes` chose them."""
    column = {axis: number for number, axis in enumerate(names)}
    of_item = np.full((len(items), 2 + N_WORDS_OF_ITEM), -1, np.int32)
    of_category = [*(column.get(("category", name), -1) for name in items.category_names), -1]
    of_item[:, 0] = np.asarray(of_category, np.int32)[items.category]  # -1 reads the last place
    of_item[:, 1] = _price_columns(items, column[PRICES[0]])
    for row, text in enumerate(items.texts):
        _fill_words(of_item[row, 2:], terms(text), column)
    blocks = list(BLOCK_WEIGHTS)
    block = np.asarray([blocks.index(kind) for kind, _ in names], np.int64)
    weight = np.asarray([BLOCK_WEIGHTS[kind] for kind, _ in names], np.float32)
    return Axes(tuple(names), of_item, block, weight, column, utc_offset_seconds)


def persona_masses(events: Interactions, axes: Axes, *, at: float, n_visitors: int | None = None) -> FloatArray:
    """Return (n_visitors, n_axes): decayed evidence of every visitor on every axis before `at`."""
    n_visitors = int(events.visitor.max(initial=-1)) + 1 if n_visitors is None else n_visitors
    n = int(np.searchsorted(events.time, at, side="left"))
    events = events.take(np.flatnonzero(events.visitor[:n] >= 0))
    n_axes, visitor = len(axes), events.visitor.astype(np.int64)
    flat = np.zeros(n_visitors * n_axes)

    def add(visitor: npt.NDArray[np.int64], column: npt.NDArray[np.integer], weight: TimeArray) -> None:
        used = column >= 0
        cell = visitor[used] * n_axes + column[used]
        flat[:] += np.bincount(cell, weights=weight[used], minlength=len(flat))

    fading = decay(age_days(events.time, at), PERSONA_HALF_LIFE_DAYS)
    pair, mass, bought = _item_evidence(events, axes, fading)
    n_items = max(len(axes.of_item), 1)
    for columns in axes.of_item[pair[mass > 0] % n_items].T:
        add(pair[mass > 0] // n_items, columns, mass[mass > 0])
    searches = np.flatnonzero(events.type == EVENT_CODES[EventType.SEARCH])
    for columns in _query_columns(events.queries, axes)[events.query[searches]].T:
        add(visitor[searches], columns, SEARCH_WEIGHT * fading[searches])
    add(*_times(events, axes, at))
    add(*_order_rhythms(events, pair[bought > 0], n_visitors, axes))
    of_device = [*(axes.column.get(("device", name), -1) for name in events.devices), -1]
    add(visitor, np.asarray(of_device)[events.device], np.ones(len(events)))
    return flat.reshape(n_visitors, n_axes).astype(np.float32)


def masses_of(profile: Profile, axes: Axes) -> FloatArray:
    """Return (1, n_axes): the same of one profile, whose device counts once per event."""
    n = len(profile.time)
    zero = np.zeros(n, np.int32)
    events = Interactions(
        visitor=zero,
        item=profile.item,
        type=profile.type,
        time=profile.time,
        quantity=profile.quantity,
        basket=profile.basket,
        query=np.arange(n, dtype=np.int32),
        queries=profile.queries,
        device=zero,
        devices=(profile.device,),
    )
    return persona_masses(events, axes, at=profile.now, n_visitors=1)


def persona_shares(masses: FloatArray, axes: Axes, mean: FloatArray) -> FloatArray:
    """Return (n, n_axes) float32: in each block shares that sum to 1, drawn towards `mean` where evidence is thin."""
    n_blocks = len(BLOCK_WEIGHTS)
    total = np.stack([masses[:, axes.block == block].sum(axis=1) for block in range(n_blocks)], axis=1)
    return ((masses + PRIOR * mean) / (total[:, axes.block] + PRIOR)).astype(np.float32)


def mean_shares(masses: FloatArray, axes: Axes) -> FloatArray:
    """Return (n_axes,): the mean share over the visitors with evidence in the block, who count once each."""
    mean = np.zeros(len(axes), np.float32)
    for block in range(len(BLOCK_WEIGHTS)):
        columns = np.flatnonzero(axes.block == block)
        total = masses[:, columns].sum(axis=1)
        has_evidence = total > 0
        if has_evidence.any():
            mean[columns] = (masses[has_evidence][:, columns] / total[has_evidence, None]).mean(axis=0)
        elif len(columns):
            mean[columns] = 1 / len(columns)
    return mean


_Evidence = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], TimeArray]


def _item_evidence(
    events: Interactions, axes: Axes, fading: TimeArray
) -> tuple[npt.NDArray[np.int64], TimeArray, TimeArray]:
    """Return (n_pairs,) each: visitor times n_items plus item, the evidence, and its part from kept purchases."""
    of_item = np.flatnonzero(events.item >= 0)
    pairs = _pairs(events, of_item, axes)
    pair, key = np.unique(pairs, return_inverse=True)
    looks, bought = kept_evidence(key, events.type[of_item], events.quantity[of_item], fading[of_item], len(pair))
    return pair, looks + bought, bought


def _pairs(events: Interactions, rows: npt.NDArray[np.int64], axes: Axes) -> npt.NDArray[np.int64]:
    return events.visitor[rows].astype(np.int64) * max(len(axes.of_item), 1) + events.item[rows]


def _times(events: Interactions, axes: Axes, at: float) -> _Evidence:
    """Return visitor, column and decayed weight of each hour with an event, counted once whatever its events."""
    hour = ((events.time + axes.utc_offset_seconds) // HOUR_SECONDS).astype(np.int64)
    span = int(hour.max(initial=0)) + 1
    visitor, hour = np.divmod(np.unique(events.visitor.astype(np.int64) * span + hour), span)
    of_day, weekday = hour % 24, (hour // 24 + 3) % 7  # the epoch began on a Thursday
    part = np.where(weekday >= 5, 3, np.select([of_day < 5, of_day < 12, of_day < 17], [2, 0, 1], 2))
    age = age_days(hour * HOUR_SECONDS, at + axes.utc_offset_seconds)
    return visitor, axes.column[TIMES[0]] + part, decay(age, PERSONA_HALF_LIFE_DAYS)


def _order_rhythms(events: Interactions, kept_pairs: npt.NDArray[np.int64], n_visitors: int, axes: Axes) -> _Evidence:
    """Return each visitor, its column by the number of days with an order and the gap between them, and weight 1.

    Orders of which nothing was kept do not count.
    """
    bought = np.flatnonzero((events.type == PURCHASE) & (events.item >= 0))
    bought = bought[np.isin(_pairs(events, bought, axes), kept_pairs)]
    day = (events.time[bought] // DAY_SECONDS).astype(np.int64)
    span = int(day.max(initial=0)) + 1
    buyer, day = np.divmod(np.unique(events.visitor[bought].astype(np.int64) * span + day), span)
    n_days = np.bincount(buyer, minlength=n_visitors)
    first, last = np.full(n_visitors, np.inf), np.zeros(n_visitors)
    np.minimum.at(first, buyer, day)
    np.maximum.at(last, buyer, day)
    gap = np.where(n_days > 1, (last - first) / np.maximum(n_days - 1, 1), 0)
    rhythm = np.select([n_days == 0, n_days == 1, gap <= OFTEN_DAYS], [0, 1, 2], 3)
    visitor = np.unique(events.visitor).astype(np.int64)
    return visitor, axes.column[ORDERS[0]] + rhythm[visitor], np.ones(len(visitor))


def _categories(items: ItemTable, popularity: FloatArray, keep: Sequence[str]) -> list[str]:
    """Return the names of `keep` that still exist, then those with most behaviour."""
    used = items.category >= 0
    mass = np.bincount(items.category[used], weights=popularity[used], minlength=len(items.category_names))
    best = [items.category_names[row] for row in np.argsort(-mass, kind="stable").tolist() if mass[row] > 0]
    return list(dict.fromkeys([*(name for name in keep if name in items.category_names), *best]))[:N_CATEGORIES]


def _words(items: ItemTable, popularity: FloatArray, keep: Sequence[str]) -> list[str]:
    """Return the terms of `keep` that still exist, then those with most behaviour times weight; none shares a word."""
    vocabulary = vocabulary_of(items.texts)
    mass: Counter[str] = Counter()
    for text, weight in zip(items.texts, popularity.tolist(), strict=True):
        if weight > 0:
            for stem in terms(text):
                mass[stem] += weight
    whole = [stem for stem in mass if all(mass[stem] >= PAIR_SHARE * mass[part] for part in stem.split())]
    score = {stem: mass[stem] * vocabulary.weight(stem) for stem in whole}
    ranked = sorted((stem for stem in score if score[stem] > 0), key=lambda stem: (-score[stem], stem))
    chosen: list[str] = []
    taken: set[str] = set()
    for stem in [*(word for word in keep if vocabulary.counts[word]), *ranked]:
        if len(chosen) < N_WORDS and not taken & set(stem.split()):
            chosen.append(stem)
            taken |= set(stem.split())
    return chosen


def _price_columns(items: ItemTable, first: int) -> IntArray:
    """Return (n_items,): the column of the third of the catalogue's prices that each item lies in."""
    shop = items.price[np.isfinite(items.price) & items.active]
    if not len(shop):
        return np.full(len(items), -1, np.int32)
    third = np.searchsorted(np.quantile(shop, (1 / 3, 2 / 3)), items.price, side="left")
    return np.where(np.isfinite(items.price), first + third, -1).astype(np.int32)


def _query_columns(queries: Sequence[str], axes: Axes) -> npt.NDArray[np.int64]:
    """Return (n_queries + 1, N_WORDS_OF_ITEM): the columns that each query names; the last row, for -1, names none."""
    columns = np.full((len(queries) + 1, N_WORDS_OF_ITEM), -1, np.int64)
    for row, query in enumerate(queries):
        if query:
            _fill_words(columns[row], _stems(query), axes.column)
    return columns


def _fill_words(columns: npt.NDArray[np.integer], stems: Iterable[str], column: Mapping[Axis, int]) -> None:
    """Write the columns of the first `N_WORDS_OF_ITEM` stems that are an axis."""
    numbers = [column["word", stem] for stem in stems if ("word", stem) in column][:N_WORDS_OF_ITEM]
    columns[: len(numbers)] = numbers


@lru_cache(maxsize=2_048)
def _stems(query: str) -> tuple[str, ...]:
    return tuple(terms(query))
