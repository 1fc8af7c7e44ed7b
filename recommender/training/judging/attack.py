"""Fake visitors who buy one item with bestsellers in, the places that it gains in real visitors' lists out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from recommender.durations import DAY_SECONDS
from recommender.features.shop_state import ShopState, build_state
from recommender.serving import Served
from recommender.tables import Interactions
from recommender.training.judging.evaluation import Case, K, Piped, bestsellers
from recommender.training.split import Split, joined
from recommender.types import EVENT_CODES, EventType

FAKE_SHARE = 0.01
"""Fake visitors for each known one: what one person can make up by hand in a day in a small shop."""

N_WITH = 5
"""Bestsellers in each fake order: they tie the item to what everybody buys, the bandwagon attack of Mobasher et al.
2007."""

N_LISTS = 100


def attacked(split: Split, state: ShopState, *, seed: int) -> tuple[ShopState, int]:
    """Return the state with fake orders on its last day, and the row of the item: one that hardly anybody bought."""
    past = split.past
    generator = np.random.default_rng(seed)
    sold = np.flatnonzero((state.counts[:, 3] > 0) & split.items.active)
    tail = sold[np.argsort(state.counts[sold, 3], kind="stable")][: max(1, len(sold) // 10)]
    target = int(generator.choice(tail))
    popular = np.sort(np.asarray(sorted(bestsellers(state, split.items) - {target}), np.int32))
    n_fakes = max(1, round(FAKE_SHARE * len(np.unique(past.visitor[past.visitor >= 0]))))
    orders = [np.r_[target, generator.permutation(popular)[:N_WITH]] for _ in range(n_fakes)]
    length = [len(order) for order in orders]
    times = np.sort(split.test_start - generator.random(n_fakes) * DAY_SECONDS)
    fakes = Interactions(
        visitor=np.repeat(int(past.visitor.max()) + 1 + np.arange(n_fakes), length).astype(np.int32),
        item=np.concatenate(orders).astype(np.int32),
        type=np.full(sum(length), EVENT_CODES[EventType.PURCHASE], np.int8),
        time=np.repeat(times, length),
        quantity=np.ones(sum(length), np.float32),
        basket=np.repeat(int(past.basket.max()) + 1 + np.arange(n_fakes), length).astype(np.int32),
        query=np.full(sum(length), -1, np.int32),
        queries=past.queries,
    )
    return build_state(_in_time(joined(past, fakes)), split.items, at=split.test_start), target


def lifts(
    served: Served, state: ShopState, target: int, some: Sequence[Case], before: Sequence[Sequence[int]]
) -> list[float]:
    """Return per list whether the item came into its first places by the attack: 1, 0, or -1 where it fell out.

    state: after the attack; before: the lists of the same cases from the state without it.
    """
    make = Piped(Served(dataclasses.replace(served.shelf, state=state), served.ranker))
    pairs = list(zip(some, before, strict=False))[:N_LISTS]
    return [float(target in make(case, "all")[:K]) - float(target in found[:K]) for case, found in pairs]


def _in_time(interactions: Interactions) -> Interactions:
    order = np.argsort(interactions.time, kind="stable")
    return interactions.take(order)
