"""A persona as a row of numbers: behaviour in, each visitor's decayed evidence on named axes out.

The axes are kinds of goods, words of titles, thirds of the price range, parts of the week, rhythm of orders, and
device. Pure: no query, no clock, no Django. Trainer and server call the same functions with what was known before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from recommender.durations import DAY_SECONDS, PERSONA_HALF_LIFE_DAYS
from recommender.features.returns import kept_evidence
from recommender.features.weights import EVENT_WEIGHTS
from recommender.tables import Interactions, ItemTable, Profile
from recommender.text.vocabulary import terms, vocabulary_of
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, TimeArray

Axis = tuple[str, str]
"""A block and a name in it: ("word", "lunch bag"), ("price", "low")."""

BLOCK_WEIGHTS: Mapping[str, float] = {
    "category": 1.5, "word": 3.0, "price": 0.5, "time": 0.25, "orders": 0.25, "device": 0.25,
}  # fmt: skip
"""How much a difference in each block parts two visitors: what they like before how and when they buy."""

N_TASTE_BLOCKS = 3
"""Category, word and price: who has shown none of them is in no segment."""

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
"""Two words are one axis where they mostly come together: "hot water", but "bag" rather than "jumbo bag"."""

N_CATEGORIES = 60
OFTEN_DAYS = 45.0
"""Orders with a mean gap of at most this are often; it is the half-life of the context model's memory."""

SEARCH_WEIGHT = float(EVENT_WEIGHTS[EVENT_CODES[EventType.VIEW_ITEM]])
"""A query says as much as a look at an item."""

PRIOR = 0.1
"""Half a look at an item: with less evidence in a block a visitor reads as the average one."""

_SEARCH = EVENT_CODES[EventType.SEARCH]
_PURCHASE = EVENT_CODES[EventType.PURCHASE]


@dataclass(frozen=True, slots=True)
class Axes:
    """The named columns of a persona's row, and which of them each item counts for.

    of_item (n_items, 2 + N_WORDS_OF_ITEM) int32: columns of category, price and words, -1 for none; block (n_axes,)
    int64: number of the block of each column; weight (n_axes,) float32; column: place of each
    name; utc_offset_seconds: the shop's clock.
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
    """Name the columns: the categories and words that most behaviour is about, and the fixed ones.

    popularity (n_items,): weighted events. Axes of `keep` stay while the catalogue still has them, so that a shop's
    segments speak of the same things from one day to the next.
    """
    words = _words(items, popularity, [name for block, name in keep if block == "word"])
    chosen = _categories(items, popularity, [name for block, name in keep if block == "category"])
    names = (*(("category", name) for name in chosen), *(("word", word) for word in words), *FIXED)
    return axes_named(names, items, utc_offset_seconds=utc_offset_seconds)


def axes_named(names: Sequence[Axis], items: ItemTable, *, utc_offset_seconds: float = 0.0) -> Axes:
    """Return the axes of these names over a catalogue: as stored with segments, or as `build_axes` chose them."""
    column = {axis: place for place, axis in enumerate(names)}
    of_item = np.full((len(items), 2 + N_WORDS_OF_ITEM), -1, np.int32)
    code = np.asarray([*(column.get(("category", name), -1) for name in items.category_names), -1], np.int32)
    of_item[:, 0] = code[items.category]  # -1 reads the last place
    of_item[:, 1] = _price_columns(items, column[PRICES[0]])
    for row, text in enumerate(items.texts):
        places = [column["word", stem] for stem in terms(text) if ("word", stem) in column][:N_WORDS_OF_ITEM]
        of_item[row, 2 : 2 + len(places)] = places
    blocks = list(BLOCK_WEIGHTS)
    block = np.asarray([blocks.index(kind) for kind, _ in names], np.int64)
    weight = np.asarray([BLOCK_WEIGHTS[kind] for kind, _ in names], np.float32)
    return Axes(tuple(names), of_item, block, weight, column, utc_offset_seconds)


def persona_masses(events: Interactions, axes: Axes, *, at: float) -> FloatArray:
    """Return (n_visitors, n_axes): decayed evidence of every visitor on every axis before `at`; nobody's stays out."""
    n = int(np.searchsorted(events.time, at, side="left"))
    known = np.flatnonzero(events.visitor[:n] >= 0)
    acts = _Acts(
        visitor=events.visitor[known].astype(np.int64),
        item=events.item[known].astype(np.int64),
        type=events.type[known],
        time=events.time[known],
        quantity=events.quantity[known],
        words=_query_columns(events.queries, axes)[events.query[known]],
        device=_device_columns(events.devices, axes)[events.device[known]],
        n_visitors=int(events.visitor.max(initial=-1)) + 1,
    )
    return _masses(acts, axes, at=at)


def masses_of(profile: Profile, axes: Axes) -> FloatArray:
    """Return (1, n_axes): the same of one profile, whose device counts once per event."""
    n = len(profile.time)
    acts = _Acts(
        visitor=np.zeros(n, np.int64),
        item=profile.item.astype(np.int64),
        type=profile.type,
        time=profile.time,
        quantity=profile.quantity,
        words=_query_columns(profile.queries, axes)[:n],
        device=np.full(n, _device_column(profile.device, axes), np.int64),
        n_visitors=1,
    )
    return _masses(acts, axes, at=profile.now)


def persona_shares(masses: FloatArray, axes: Axes, mean: FloatArray) -> FloatArray:
    """Return (n, n_axes) float32: in each block shares that add up to 1, pulled towards `mean` on thin evidence."""
    n_blocks = len(BLOCK_WEIGHTS)
    total = np.stack([masses[:, axes.block == block].sum(axis=1) for block in range(n_blocks)], axis=1)
    return ((masses + PRIOR * mean) / (total[:, axes.block] + PRIOR)).astype(np.float32)


def mean_shares(masses: FloatArray, axes: Axes) -> FloatArray:
    """Return everybody's mean share: each visitor counts once in every block of which something is known."""
    mean = np.zeros(len(axes), np.float32)
    for block in range(len(BLOCK_WEIGHTS)):
        columns = np.flatnonzero(axes.block == block)
        total = masses[:, columns].sum(axis=1)
        known = total > 0
        if known.any():
            mean[columns] = (masses[known][:, columns] / total[known, None]).mean(axis=0)
        elif len(columns):
            mean[columns] = 1 / len(columns)
    return mean


@dataclass(frozen=True, slots=True)
class _Acts:
    """Events of known visitors, (n,) each; words (n, N_WORDS_OF_ITEM): columns that a search names, -1 for none."""

    visitor: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    type: npt.NDArray[np.int8]
    time: TimeArray
    quantity: FloatArray
    words: npt.NDArray[np.int64]
    device: npt.NDArray[np.int64]
    n_visitors: int


def _masses(acts: _Acts, axes: Axes, *, at: float) -> FloatArray:
    n_axes, n_items = len(axes), max(len(axes.of_item), 1)
    flat = np.zeros(acts.n_visitors * n_axes)
    faded = 0.5 ** (np.maximum(at - acts.time, 0) / DAY_SECONDS / PERSONA_HALF_LIFE_DAYS)
    goods = acts.item >= 0
    pair, where = np.unique(acts.visitor[goods] * n_items + acts.item[goods], return_inverse=True)
    looks, bought = kept_evidence(where, acts.type[goods], acts.quantity[goods], faded[goods], len(pair))
    kept, mass = pair[bought > 0], (looks + bought)
    pair, mass = pair[mass > 0], mass[mass > 0]
    searches = np.flatnonzero(acts.type == _SEARCH)
    for owner, columns, weight in (
        (pair // n_items, axes.of_item[pair % n_items].T, mass),
        (acts.visitor[searches], acts.words[searches].T, SEARCH_WEIGHT * faded[searches]),
    ):
        for column in columns:
            told = column >= 0
            flat += np.bincount(owner[told] * n_axes + column[told], weights=weight[told], minlength=len(flat))
    flat += _time_masses(acts, axes, at, len(flat))
    flat += _order_masses(acts, kept, n_items, axes)
    seen = acts.device >= 0
    flat += np.bincount(acts.visitor[seen] * n_axes + acts.device[seen], minlength=len(flat))
    return flat.reshape(acts.n_visitors, n_axes).astype(np.float32)


def _time_masses(acts: _Acts, axes: Axes, at: float, n: int) -> npt.NDArray[np.float64]:
    """Count each hour with an event once, so that a long order is no rhythm."""
    hour = ((acts.time + axes.utc_offset_seconds) // 3600).astype(np.int64)
    span = int(hour.max(initial=0)) + 1
    visitor, hour = np.divmod(np.unique(acts.visitor * span + hour), span)
    of_day, day = hour % 24, (hour // 24 + 3) % 7  # the epoch began on a Thursday
    part = np.where(day >= 5, 3, np.select([of_day < 5, of_day < 12, of_day < 17], [2, 0, 1], 2))
    age = np.maximum(at + axes.utc_offset_seconds - hour * 3600.0, 0) / DAY_SECONDS
    place = visitor * len(axes) + axes.names.index(TIMES[0]) + part
    return np.bincount(place, weights=0.5 ** (age / PERSONA_HALF_LIFE_DAYS), minlength=n).astype(np.float64)


def _order_masses(acts: _Acts, kept: npt.NDArray[np.int64], n_items: int, axes: Axes) -> npt.NDArray[np.float64]:
    """Sort each visitor by days with an order of which something was kept, and by the mean gap between them."""
    bought = np.flatnonzero((acts.type == _PURCHASE) & (acts.item >= 0))
    bought = bought[np.isin(acts.visitor[bought] * n_items + acts.item[bought], kept)]
    day = (acts.time[bought] // DAY_SECONDS).astype(np.int64)
    span = int(day.max(initial=0)) + 1
    visitor, day = np.divmod(np.unique(acts.visitor[bought] * span + day), span)
    n_days = np.bincount(visitor, minlength=acts.n_visitors)
    first, last = np.full(acts.n_visitors, np.inf), np.zeros(acts.n_visitors)
    np.minimum.at(first, visitor, day)
    np.maximum.at(last, visitor, day)
    gap = np.where(n_days > 1, (last - first) / np.maximum(n_days - 1, 1), 0)
    sort = np.select([n_days == 0, n_days == 1, gap <= OFTEN_DAYS], [0, 1, 2], 3)
    there = np.unique(acts.visitor)
    flat = np.zeros(acts.n_visitors * len(axes))
    flat[there * len(axes) + axes.names.index(ORDERS[0]) + sort[there]] = 1
    return flat


def _categories(items: ItemTable, popularity: FloatArray, keep: Sequence[str]) -> list[str]:
    known = items.category >= 0
    mass = np.bincount(items.category[known], weights=popularity[known], minlength=len(items.category_names))
    best = [items.category_names[row] for row in np.argsort(-mass, kind="stable").tolist() if mass[row] > 0]
    kept = [name for name in keep if name in set(items.category_names)]
    return list(dict.fromkeys([*kept, *best]))[:N_CATEGORIES]


def _words(items: ItemTable, popularity: FloatArray, keep: Sequence[str]) -> list[str]:
    """Return the terms that most behaviour is about, by how much each tells; none shares a word with another."""
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
        if len(chosen) >= N_WORDS:
            break
        if stem not in chosen and not taken & set(stem.split()):
            chosen.append(stem)
            taken |= set(stem.split())
    return chosen


def _price_columns(items: ItemTable, first: int) -> IntArray:
    """Return (n_items,): the column of the third of the catalogue's prices that each item lies in."""
    shop = items.price[np.isfinite(items.price) & items.active]
    if not len(shop):
        return np.full(len(items), -1, np.int32)
    edges = np.quantile(shop, (1 / 3, 2 / 3))
    third = np.searchsorted(edges, items.price, side="left")
    return np.where(np.isfinite(items.price), first + third, -1).astype(np.int32)


def _query_columns(queries: Sequence[str], axes: Axes) -> npt.NDArray[np.int64]:
    """Return (n_queries + 1, N_WORDS_OF_ITEM): the columns that each query names; the last row, for -1, names none."""
    table = np.full((len(queries) + 1, N_WORDS_OF_ITEM), -1, np.int64)
    for row, query in enumerate(queries if any(queries) else ()):
        if query:
            places = [place for stem in _stems(query) if (place := axes.column.get(("word", stem), -1)) >= 0]
            table[row, : len(places[:N_WORDS_OF_ITEM])] = places[:N_WORDS_OF_ITEM]
    return table


@lru_cache(maxsize=2_048)
def _stems(query: str) -> tuple[str, ...]:
    return tuple(terms(query))


def _device_columns(devices: Sequence[str], axes: Axes) -> npt.NDArray[np.int64]:
    """Return (n_devices + 1,): the column of each; the last, for -1, is none."""
    return np.asarray([*(_device_column(name, axes) for name in devices), -1], np.int64)


def _device_column(name: str, axes: Axes) -> int:
    return axes.column.get(("device", name), -1)
