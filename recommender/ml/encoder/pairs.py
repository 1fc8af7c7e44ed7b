"""Makes the text pairs for contrastive training: items bought together, and queries with the item they led to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from recommender.durations import SESSION_SECONDS
from recommender.features.neighbours import Neighbours
from recommender.features.shop_state import ShopState
from recommender.packed import Texts
from recommender.tables import Interactions, ItemTable
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray

CATEGORY_SHARE = 0.1
"""Share of the synthetic queries that consist of a category name only."""

NOT_NEARER = 0.95


@dataclass(frozen=True, slots=True)
class Pairs:
    """What contrastive training draws from.

    anchor, other (n_pairs,) int32 rows of items; weight (n_pairs,) float32, and cumulated (n_pairs,) float64: its
    cumulative share, up to 1. titles: the text of each item; answered_searches: pairs of a query and the row of the
    item, from the shop's own searches; alike: neighbours, which are no negatives; category (n_items,) int32 positions
    in `category_names`, -1 where unknown.
    """

    titles: Texts
    anchor: IntArray
    other: IntArray
    weight: FloatArray
    answered_searches: tuple[tuple[str, int], ...]
    alike: Neighbours
    category: IntArray = field(default_factory=lambda: np.empty(0, np.int32))
    category_names: tuple[str, ...] = ()
    cumulated: npt.NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        total = np.cumsum(self.weight, dtype=np.float64)  # once: of a million pairs it takes as long as a step on a GPU
        object.__setattr__(self, "cumulated", total / total[-1] if len(total) else total)

    def __len__(self) -> int:
        return len(self.anchor) + len(self.answered_searches)


def build_pairs(interactions: Interactions, items: ItemTable, state: ShopState) -> Pairs:
    """Build pairs of items from the neighbours in `state`, and of query and item from searches before `state.at`."""
    anchor, other, score = [], [], []
    strength = np.sqrt(state.counts[:, 3] + 1)
    for source, share in ((state.basket, 0.6), (state.visitor, 0.4)):
        row = np.repeat(np.arange(len(items)), np.diff(source.start)).astype(np.int32)
        total = np.bincount(row, weights=source.score, minlength=len(items))
        anchor.append(row)
        other.append(source.item)
        score.append(share * strength[row] * source.score / np.maximum(total[row], 1e-9))
    return Pairs(
        titles=items.texts,
        anchor=np.concatenate(anchor),
        other=np.concatenate(other),
        weight=np.concatenate(score).astype(np.float32),
        answered_searches=_answered_searches(interactions, state.at),
        alike=state.basket,
        category=items.category,
        category_names=items.category_names,
    )


def synthetic_query(title: str, generator: np.random.Generator) -> str:
    """Return what a shopper who looks for `title` might type: some of its words, a prefix, perhaps one typo."""
    words = title.lower().split()
    if len(words) > 1:
        n = int(generator.integers(1 if len(words) < 3 else 2, len(words) + 1))
        positions = np.sort(generator.permutation(len(words))[:n])
        words = [words[i] for i in positions]
    if words and len(words[-1]) > 4 and generator.random() < 0.3:
        words[-1] = words[-1][: int(generator.integers(3, len(words[-1])))]
    query = " ".join(words)
    return typo(query, generator) if len(query) > 4 and generator.random() < 0.3 else query


def typo(text: str, generator: np.random.Generator) -> str:
    """Drop, double or swap one letter."""
    position = int(generator.integers(1, len(text) - 1))
    kind = int(generator.integers(3))
    if kind == 0:
        return text[:position] + text[position + 1 :]
    if kind == 1:
        return text[:position] + text[position] + text[position:]
    return text[:position] + text[position + 1] + text[position] + text[position + 2 :]


def _answered_searches(interactions: Interactions, at: float) -> tuple[tuple[str, int], ...]:
    """Pair each search with the items that the visitor took up next, until another search or for half an hour."""
    taken = {EVENT_CODES[kind] for kind in (EventType.SELECT_ITEM, EventType.VIEW_ITEM, EventType.ADD_TO_CART)}
    taken.add(EVENT_CODES[EventType.PURCHASE])
    search = EVENT_CODES[EventType.SEARCH]
    if not (interactions.type == search).any():
        return ()
    latest: dict[int, tuple[float, int]] = {}
    pairs: list[tuple[str, int]] = []
    rows = np.flatnonzero((interactions.time < at) & (interactions.visitor >= 0))
    for row in rows:
        visitor, kind, time = int(interactions.visitor[row]), int(interactions.type[row]), float(interactions.time[row])
        if kind == search and interactions.query[row] >= 0:
            latest[visitor] = (time, int(interactions.query[row]))
        elif kind in taken and visitor in latest and time - latest[visitor][0] <= SESSION_SECONDS:
            pairs.append((interactions.queries[latest[visitor][1]], int(interactions.item[row])))
    return tuple(pairs)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pairs of one batch: left (n,) texts; rows (n, 2) int32 of the items of the left and of the right text.

    category (n,) int32: the one that the left text asks for, -1 where it asks for none.
    """

    left: list[str]
    rows: IntArray
    category: IntArray


def draw(pairs: Pairs, n: int, generator: np.random.Generator, *, share_items: float) -> Drawn:
    """Draw n pairs: items bought together, searches with the item they led to, and synthetic queries."""
    n_items = round(n * share_items) if len(pairs.anchor) else 0
    left: list[str] = []
    rows: list[tuple[int, int]] = []
    if n_items:
        for pair in np.searchsorted(pairs.cumulated, generator.random(n_items), side="right"):
            left.append(pairs.titles[pairs.anchor[pair]])
            rows.append((int(pairs.anchor[pair]), int(pairs.other[pair])))
    n_searches = min((n - n_items) // 2, len(pairs.answered_searches))
    for number in generator.integers(0, max(len(pairs.answered_searches), 1), n_searches):
        query, row = pairs.answered_searches[int(number)]
        left.append(query)
        rows.append((row, row))
    category = np.full(n, -1, np.int32)
    for row in generator.integers(0, len(pairs.titles), n - len(left)):
        if len(pairs.category) and pairs.category[row] >= 0 and generator.random() < CATEGORY_SHARE:
            category[len(left)] = pairs.category[row]
            left.append(pairs.category_names[pairs.category[row]].lower())
        else:
            left.append(synthetic_query(pairs.titles[row], generator))
        rows.append((int(row), int(row)))
    return Drawn(left, np.asarray(rows, np.int32), category)


def false_negatives(pairs: Pairs, drawn: Drawn) -> npt.NDArray[np.bool_]:
    """Return (n, n): whether right item j also answers left text i (alike, equal, of its category): no negative."""
    rows = drawn.rows
    right = rows[:, 1]
    masked = (rows[:, :1] == right[None, :]) | (right[:, None] == right[None, :])
    texts = np.asarray([hash(pairs.titles[row]) for row in right])
    masked |= texts[:, None] == texts[None, :]
    masked |= _near(pairs.alike, rows[:, 0], right)
    asks = drawn.category >= 0
    if asks.any():
        masked |= asks[:, None] & (drawn.category[:, None] == pairs.category[right][None, :])
    np.fill_diagonal(masked, False)
    return masked


def hard_negatives(pairs: Pairs, drawn: Drawn, base: FloatArray, k: int) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Mine the k items nearest to each left one: rows (n, k) int32, and which of them (n, k) are used as negatives.

    base (n_items, d): vectors before tuning. Not used are items that are alike or the same, items nearer than
    `NOT_NEARER` times the right item, which may be answers too (Moreira et al. 2024, "NV-Retriever", section 3.2), and
    all items for a left text that names a category.
    """
    left, right = drawn.rows[:, 0], drawn.rows[:, 1]
    similar = base[left] @ base.T
    k = min(k, similar.shape[1])
    rows = np.argpartition(-similar, k - 1, axis=1)[:, :k].astype(np.int32)
    similarity = np.take_along_axis(similar, rows, axis=1)
    used = similarity < NOT_NEARER * np.take_along_axis(similar, right[:, None], axis=1)
    used &= (drawn.category < 0)[:, None] & (rows != left[:, None]) & (rows != right[:, None])
    for position, (one, other) in enumerate(drawn.rows.tolist()):
        used[position] &= ~np.isin(rows[position], np.concatenate([_alike(pairs, one), _alike(pairs, other)]))
    return rows, used


def _near(alike: Neighbours, rows: IntArray, others: IntArray) -> npt.NDArray[np.bool_]:
    """Return (n_rows, n_others): whether the other item is among the neighbours of the row."""
    names, column = np.unique(others, return_inverse=True)
    item, _ = alike.spread(rows, np.ones(len(rows), np.float32))
    owner = np.repeat(np.arange(len(rows)), alike.start[rows + 1] - alike.start[rows])
    column_of_item = np.minimum(np.searchsorted(names, item), len(names) - 1)
    is_there = names[column_of_item] == item
    is_near = np.zeros((len(rows), len(names)), np.bool_)
    is_near[owner[is_there], column_of_item[is_there]] = True
    return is_near[:, column]


def _alike(pairs: Pairs, row: int) -> IntArray:
    return pairs.alike.item[pairs.alike.start[row] : pairs.alike.start[row + 1]]


def known_items(texts: Sequence[str], n: int, *, seed: int) -> tuple[list[str], IntArray]:
    """Return n synthetic queries, and the row of the title that each was made from."""
    generator = np.random.default_rng(seed)
    rows = generator.permutation(len(texts))[:n].astype(np.int32)
    return [synthetic_query(texts[row], generator) for row in rows], rows
