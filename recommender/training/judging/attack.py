"""How far fake visitors, who buy one item together with bestsellers, can push it into real visitors' lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from recommender.durations import DAY_SECONDS
from recommender.features.shop_state import ShopState, build_state
from recommender.serving import Served
from recommender.tables import Interactions
from recommender.training.judging.evaluation import Case, K, PipelineLists, bestsellers
from recommender.training.split import Split, joined
from recommender.types import EVENT_CODES, EventType

FAKE_SHARE = 0.01
"""Fake visitors per real one: what one person can make up by hand in a day in a small shop."""

N_WITH = 5
"""Bestsellers in each fake order, which tie the item to what everybody buys: the bandwagon attack (Mobasher et al.
2007)."""

N_LISTS = 100


def attacked(split: Split, state: ShopState, *, seed: int) -> tuple[ShopState, int]:
    """Return the state with fake orders on its last day, and the row of the item that they push: one seldom bought."""
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
    served: Served, state: ShopState, target: int, cases: Sequence[Case], before: Sequence[Sequence[int]]
) -> list[float]:
    """Return per list 1 where the attack brought the item into its first places, -1 where the item fell out, else 0.

    state: after the attack; before: the lists of the same cases from the state without it.
    """
    make = PipelineLists(Served(dataclasses.replace(served.shelf, state=state), served.ranker))
    pairs = list(zip(cases, before, strict=False))[:N_LISTS]
    return [float(target in make(case, "all")[:K]) - float(target in ranked[:K]) for case, ranked in pairs]


def _in_time(interactions: Interactions) -> Interactions:
    order = np.argsort(interactions.time, kind="stable")
    return interactions.take(order)
