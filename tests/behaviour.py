"""A tiny shop with a known answer: tea lovers buy tea, garden lovers buy tools, again and again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recommender.features.neighbours import Neighbours
from recommender.tables import Interactions, ItemTable, Profile
from recommender.types import EVENT_CODES, EventType

DAY = 86_400.0
PURCHASE = EVENT_CODES[EventType.PURCHASE]
TEXTS = tuple(
    f"{colour} {thing}"
    for thing in ("tea cup", "tea pot", "tea tin", "garden fork", "garden spade", "garden hose")
    for colour in ("red", "blue")
)


def table(texts: tuple[str, ...] = TEXTS) -> ItemTable:
    n = len(texts)
    return ItemTable(
        ids=tuple(f"item-{row}" for row in range(n)),
        texts=texts,
        price=np.linspace(1, 4, n, dtype=np.float32),
        category=np.asarray([0 if "tea" in text else 1 for text in texts], np.int32),
        category_names=("tea", "garden"),
        first_seen=np.zeros(n),
        active=np.ones(n, bool),
    )


def interactions(rows: list[tuple[int, int, float, int]], *, kinds: list[EventType] | None = None) -> Interactions:
    """Rows of (visitor, item, day, basket)."""
    visitor, item, day, basket = (np.asarray(column) for column in zip(*rows, strict=True))
    kind = [EVENT_CODES[one] for one in kinds] if kinds else [PURCHASE] * len(rows)
    return Interactions(
        visitor=visitor.astype(np.int32),
        item=item.astype(np.int32),
        type=np.asarray(kind, np.int8),
        time=day.astype(np.float64) * DAY,
        quantity=np.ones(len(rows), np.float32),
        basket=basket.astype(np.int32),
        query=np.full(len(rows), -1, np.int32),
    )


def shop(*, n_visitors: int = 60, n_visits: int = 9, seed: int = 0) -> Interactions:
    """Every ten days each visitor buys two or three items of the half of the shop that is theirs."""
    generator = np.random.default_rng(seed)
    rows = []
    for visit in range(n_visits):
        for visitor in range(n_visitors):
            theirs = np.arange(6) + 6 * (visitor % 2)
            favourite = theirs[visitor % 6]
            chosen = {int(favourite), *generator.choice(theirs, 2).tolist()}
            day = 10 * visit + visitor / n_visitors
            rows += [(visitor, item, day, visit * n_visitors + visitor) for item in sorted(chosen)]
    return interactions(rows)


def profile(rows: list[tuple[int, float, int]], *, now_day: float, **more: object) -> Profile:
    """Purchases as (item, day, basket)."""
    item, day, basket = (np.asarray(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    return Profile(
        item=np.asarray(item, np.int32),
        type=np.full(len(rows), PURCHASE, np.int8),
        time=np.asarray(day, np.float64) * DAY,
        quantity=np.ones(len(rows), np.float32),
        basket=np.asarray(basket, np.int32),
        queries=("",) * len(rows),
        now=now_day * DAY,
        **more,  # type: ignore[arg-type]
    )


def neighbours(lists: Sequence[Sequence[tuple[int, float]]]) -> Neighbours:
    """Neighbours from one list of (row of the neighbour, score) per item, in any order."""
    rows = (tuple(np.array(column) for column in zip(*row, strict=True)) if row else NOTHING for row in lists)
    return Neighbours.from_scores(rows)


NOTHING = (np.empty(0, np.int32), np.empty(0, np.float32))
