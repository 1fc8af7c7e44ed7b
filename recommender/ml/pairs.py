"""Texts that belong together: bought together, or a query beside the title it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommender.neighbours import Neighbours
from recommender.state import State
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, Interactions, ItemTable

SEARCH_WINDOW_SECONDS = 1_800.0
"""A click or purchase within half an hour of a search answers it."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """What contrastive training draws from.

    anchor, other (n_pairs,) int32 rows of items, weight (n_pairs,) float32; titles: text of each item; found: (query,
    row of the item) pairs from the shop's own searches; alike: neighbours that are no false negatives.
    """

    titles: tuple[str, ...]
    anchor: IntArray
    other: IntArray
    weight: FloatArray
    found: tuple[tuple[str, int], ...]
    alike: Neighbours

    def __len__(self) -> int:
        return len(self.anchor) + len(self.found)


def build_pairs(interactions: Interactions, items: ItemTable, state: State) -> Pairs:
    """Take pairs of items from the neighbours of `state`, and of query and item from searches before `state.at`."""
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
        found=_answered_searches(interactions, state.at),
        alike=state.basket,
    )


def synthetic_query(title: str, generator: np.random.Generator) -> str:
    """Return what a shopper who looks for `title` might type: some of its words, a prefix, perhaps one typo."""
    words = title.lower().split()
    if len(words) > 1:
        n = int(generator.integers(1 if len(words) < 3 else 2, len(words) + 1))
        kept = np.sort(generator.permutation(len(words))[:n])
        words = [words[i] for i in kept]
    if words and len(words[-1]) > 4 and generator.random() < 0.3:
        words[-1] = words[-1][: int(generator.integers(3, len(words[-1])))]
    query = " ".join(words)
    return typo(query, generator) if len(query) > 4 and generator.random() < 0.3 else query


def typo(text: str, generator: np.random.Generator) -> str:
    """Drop, double or swap one letter."""
    place = int(generator.integers(1, len(text) - 1))
    kind = int(generator.integers(3))
    if kind == 0:
        return text[:place] + text[place + 1 :]
    if kind == 1:
        return text[:place] + text[place] + text[place:]
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


def _answered_searches(interactions: Interactions, at: float) -> tuple[tuple[str, int], ...]:
    """Pair each search with what the same visitor took up next, until the next search or for half an hour."""
    taken = {EVENT_CODES[kind] for kind in (EventType.SELECT_ITEM, EventType.VIEW_ITEM, EventType.ADD_TO_CART)}
    taken.add(EVENT_CODES[EventType.PURCHASE])
    search = EVENT_CODES[EventType.SEARCH]
    if not (interactions.type == search).any():
        return ()
    latest: dict[int, tuple[float, int]] = {}
    pairs: list[tuple[str, int]] = []
    known = np.flatnonzero((interactions.time < at) & (interactions.visitor >= 0))
    for row in known:
        visitor, kind, time = int(interactions.visitor[row]), int(interactions.type[row]), float(interactions.time[row])
        if kind == search and interactions.query[row] >= 0:
            latest[visitor] = (time, int(interactions.query[row]))
        elif kind in taken and visitor in latest and time - latest[visitor][0] <= SEARCH_WINDOW_SECONDS:
            pairs.append((interactions.queries[latest[visitor][1]], int(interactions.item[row])))
    return tuple(pairs)


def draw(pairs: Pairs, n: int, generator: np.random.Generator, *, share_items: float) -> tuple[list[str], IntArray]:
    """Return n left texts and (n, 2) rows of items: of the left text and of the right one, no right item twice."""
    n_items = round(n * share_items) if len(pairs.anchor) else 0
    left: list[str] = []
    rows: list[tuple[int, int]] = []
    if n_items:
        chance = pairs.weight / pairs.weight.sum(dtype=np.float64)
        for place in generator.choice(len(pairs.anchor), n_items, p=chance / chance.sum()):
            left.append(pairs.titles[pairs.anchor[place]])
            rows.append((int(pairs.anchor[place]), int(pairs.other[place])))
    n_found = min((n - n_items) // 2, len(pairs.found))
    for place in generator.integers(0, max(len(pairs.found), 1), n_found):
        query, row = pairs.found[int(place)]
        left.append(query)
        rows.append((row, row))
    for row in generator.integers(0, len(pairs.titles), n - len(left)):
        left.append(synthetic_query(pairs.titles[row], generator))
        rows.append((int(row), int(row)))
    return left, np.asarray(rows, np.int32)


def false_negatives(pairs: Pairs, rows: IntArray) -> np.ndarray:
    """Return (n, n) bool: right item j is alike or equal to item i of the left, so it must not be pushed away."""
    right = rows[:, 1]
    masked = (rows[:, :1] == right[None, :]) | (right[:, None] == right[None, :])
    texts = np.asarray([hash(pairs.titles[row]) for row in right])
    masked |= texts[:, None] == texts[None, :]
    for place, (row, _) in enumerate(rows):
        span = slice(pairs.alike.start[row], pairs.alike.start[row + 1])
        masked[place] |= np.isin(right, pairs.alike.item[span])
    np.fill_diagonal(masked, False)
    return masked


def known_items(texts: Sequence[str], n: int, *, seed: int) -> tuple[list[str], IntArray]:
    """Return n synthetic queries with the row of the title each was made from: the guard of search."""
    generator = np.random.default_rng(seed)
    rows = generator.permutation(len(texts))[:n].astype(np.int32)
    return [synthetic_query(texts[row], generator) for row in rows], rows
