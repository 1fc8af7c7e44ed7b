"""The purchases of a profile, grouped into orders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.features.weights import age_days
from recommender.tables import Profile
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, TimeArray

ORDER_DECAY = 0.9
"""Weight per later order: the within-group decay of TIFU-KNN (Hu et al. 2020, section 3.2, r_b = .9)."""


@dataclass(frozen=True, slots=True)
class Orders:
    """One row per (order, item), oldest order first; age_days (n,) is at least 0."""

    item: IntArray
    order: npt.NDArray[np.int64]
    age_days: TimeArray
    quantity: FloatArray
    n_orders: int

    def last(self) -> IntArray:
        """Return the items of the newest order."""
        return self.item[self.order == self.n_orders - 1] if self.n_orders else self.item[:0]


def purchases(profile: Profile) -> Orders:
    """Group the purchases of a profile; those without an order number form one order per minute."""
    bought = (profile.type == EVENT_CODES[EventType.PURCHASE]) & (profile.item >= 0)
    item, time = profile.item[bought], profile.time[bought]
    _, first, inverse = np.unique(order_keys(profile.basket[bought], time), return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    order = rank[inverse]
    base = int(item.max()) + 1 if len(item) else 1
    _, line, same = np.unique(order * base + item, return_index=True, return_inverse=True)
    quantity = np.bincount(same, weights=profile.quantity[bought], minlength=len(line)).astype(np.float32)
    return Orders(item[line], order[line], age_days(time[line], profile.now), quantity, len(first))


def order_keys(basket: IntArray, time: TimeArray) -> npt.NDArray[np.int64]:
    """Return one number per order: its basket, or the minute, below 0, of events outside an order."""
    return np.where(basket >= 0, basket.astype(np.int64), -1 - (time // 60).astype(np.int64))
