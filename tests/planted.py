"""A shop whose truth is planted: tastes, habits and bestsellers of known strength, and a future that follows them."""

from __future__ import annotations

import numpy as np

from recommender.datasets import Dataset
from recommender.datasets.cleaning import Recorded
from recommender.tables import Interactions, ItemTable
from recommender.types import EVENT_CODES, EventType
from tests.behaviour import DAY

KINDS = ("tea", "garden", "desk", "toy", "lamp")
PURCHASE, VIEW, SEARCH, REFUND = (
    EVENT_CODES[kind] for kind in (EventType.PURCHASE, EventType.VIEW_ITEM, EventType.SEARCH, EventType.REFUND)
)


def dataset(*, n_visitors: int = 240, n_items: int = 60, n_days: int = 120, seed: int = 0) -> Dataset:
    """Each visitor has one taste and two favourites: of what they take half is habit, a third taste, the rest popular.

    Everybody visits about every twelve days, views what they buy, now and then searches for it and gives some back.
    """
    generator = np.random.default_rng(seed)
    kind = np.arange(n_items) % len(KINDS)
    popular = 1 / (1 + np.arange(n_items))
    rows: list[tuple[int, int, int, float, int, int]] = []
    for visitor in range(n_visitors):
        theirs = np.flatnonzero(kind == visitor % len(KINDS))
        favourites = generator.choice(theirs, 2, replace=False)
        day = generator.uniform(0, 12)
        while day < n_days:
            basket = len(rows)
            for item in _taken(generator, favourites, theirs, popular):
                rows += _acts(generator, visitor, item, day, basket, query=int(kind[item]))
            day += generator.exponential(12) + 1
    rows.sort(key=lambda row: row[3])
    columns = [np.asarray(column) for column in zip(*rows, strict=True)]
    interactions = Interactions(
        visitor=columns[0].astype(np.int32),
        item=columns[1].astype(np.int32),
        type=columns[2].astype(np.int8),
        time=columns[3] * DAY,
        quantity=np.ones(len(rows), np.float32),
        basket=columns[4].astype(np.int32),
        query=columns[5].astype(np.int32),
        queries=KINDS,
    )
    taken_at = float(interactions.time[-1]) + 1
    items = _table(kind)
    return Dataset(items, items.texts, Recorded(interactions, np.zeros(len(rows), bool)), taken_at)


def _taken(generator: np.random.Generator, favourites: np.ndarray, theirs: np.ndarray, popular: np.ndarray) -> set[int]:
    sources = generator.choice(3, 3, p=(0.5, 0.33, 0.17))
    any_item = generator.choice(len(popular), p=popular / popular.sum())
    drawn = {0: lambda: generator.choice(favourites), 1: lambda: generator.choice(theirs), 2: lambda: any_item}
    return {int(drawn[int(source)]()) for source in sources}


def _acts(
    generator: np.random.Generator, visitor: int, item: int, day: float, basket: int, *, query: int
) -> list[tuple[int, int, int, float, int, int]]:
    minute = 1 / 1_440
    acts = [(visitor, item, VIEW, day + generator.uniform(1, 5) * minute, -1, -1)]
    acts.append((visitor, item, PURCHASE, day + 6 * minute, basket, -1))
    if generator.random() < 0.2:
        acts.append((visitor, -1, SEARCH, day, -1, query))
    if generator.random() < 0.05:
        acts.append((visitor, item, REFUND, day + 1, basket, -1))
    return acts


def _table(kind: np.ndarray) -> ItemTable:
    n = len(kind)
    return ItemTable(
        ids=tuple(f"item-{row}" for row in range(n)),
        texts=tuple(f"{KINDS[one]} thing {row}" for row, one in enumerate(kind.tolist())),
        price=np.linspace(1, 9, n, dtype=np.float32),
        category=kind.astype(np.int32),
        category_names=KINDS,
        first_seen=np.zeros(n),
        active=np.ones(n, bool),
    )
