"""Which neighbours may be published: only pairs of items behind which several people stand.

A pair that one person bought, shown as such, would publish an order of theirs. The others are marked, not dropped: a
personal list is ranked with the same neighbours that its ranker was trained on.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recommender.features.neighbours import Neighbours
from recommender.features.shop_state import ShopState
from recommender.features.weights import EVENT_WEIGHTS
from recommender.tables import Interactions
from recommender.types import IntArray

FEWEST_BUYERS = 3
FEWEST_PEOPLE = 5
"""Five people who chose both items also stand for ten events: each has one of either item."""

PAIRS_PER_STEP = 20_000


def published(
    state: ShopState, interactions: Interactions, *, fewest_buyers: int = FEWEST_BUYERS, fewest: int = FEWEST_PEOPLE
) -> ShopState:
    """Return the state with those neighbours marked as public that at least `fewest_buyers` people bought in one order,
    or that at least `fewest` visitors chose.

    An order without a visitor counts as a person of its own: nothing tells who bought.
    """
    n_items = len(state.counts)
    used = (interactions.time < state.at) & (interactions.item >= 0) & (EVENT_WEIGHTS[interactions.type] > 0)
    visitor, basket, item = interactions.visitor[used], interactions.basket[used], interactions.item[used]
    in_order, by_visitor = basket >= 0, visitor >= 0
    return dataclasses.replace(
        state,
        basket=_of_several(
            state.basket, basket[in_order], item[in_order], _people(visitor, basket)[in_order], n_items, fewest_buyers
        ),
        visitor=_of_several(state.visitor, visitor[by_visitor], item[by_visitor], visitor[by_visitor], n_items, fewest),
    )


def _people(visitor: IntArray, basket: IntArray) -> npt.NDArray[np.int64]:
    """Return (n,): the visitor of each event, and for an event of nobody a number of its order."""
    return np.where(visitor >= 0, visitor, int(visitor.max(initial=-1)) + 1 + basket.astype(np.int64))


def _of_several(
    neighbours: Neighbours,
    group: IntArray,
    item: IntArray,
    person: npt.NDArray[np.integer],
    n_items: int,
    fewest: int,
) -> Neighbours:
    """Return the neighbours, of which those are public that at least `fewest` people have in a group (an order, or all
    of one visitor) with the item; group, item and person are (n_events,)."""
    owner = np.repeat(np.arange(n_items), np.diff(neighbours.start))
    if not len(owner) or not len(group):
        return dataclasses.replace(neighbours, is_public=np.zeros(len(owner), np.bool_))
    groups, column = np.unique(group, return_inverse=True)
    of_group = np.zeros(len(groups), np.int64)
    of_group[column] = person
    cells = (np.ones(len(item), np.int8), (item, column))
    groups_of_item = sparse.csr_matrix(cells, shape=(n_items, len(groups)), dtype=np.int32)
    groups_of_item.data[:] = 1
    n_people = np.concatenate(
        [
            _n_people(groups_of_item, of_group, owner[start : start + PAIRS_PER_STEP], neighbours.item[start:])
            for start in range(0, len(owner), PAIRS_PER_STEP)
        ]
    )
    return dataclasses.replace(neighbours, is_public=n_people >= fewest)


def _n_people(
    groups_of_item: sparse.csr_matrix, of_group: npt.NDArray[np.int64], first: npt.NDArray[np.integer], second: IntArray
) -> npt.NDArray[np.int64]:
    """Return (n_pairs,): how many people have both items of each pair in one group."""
    shared = groups_of_item[first].multiply(groups_of_item[second[: len(first)]]).tocoo()
    pairs = np.unique(np.stack([shared.row.astype(np.int64), of_group[shared.col]]), axis=1)
    return np.bincount(pairs[0], minlength=len(first))
