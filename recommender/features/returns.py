"""Purchases and refunds in, what was kept of each purchase out: the one rule for trainer and server."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from recommender.features.state import EVENT_WEIGHTS
from recommender.types import EVENT_CODES, EventType, FloatArray, Profile

HALF_LIFE_DAYS = 60.0
"""As `features.HALF_LIFE_DAYS`: what the ranker forgets, the segment forgets."""

PURCHASE, REFUND = EVENT_CODES[EventType.PURCHASE], EVENT_CODES[EventType.REFUND]
_CART, _OUT_OF_CART = EVENT_CODES[EventType.ADD_TO_CART], EVENT_CODES[EventType.REMOVE_FROM_CART]

LOOK_WEIGHTS: FloatArray = EVENT_WEIGHTS.copy()
"""`EVENT_WEIGHTS` but for purchases, which count by what was kept of them; what left the cart is taken back."""
LOOK_WEIGHTS[PURCHASE], LOOK_WEIGHTS[_OUT_OF_CART] = 0, -EVENT_WEIGHTS[_CART]


def kept(key: npt.NDArray[np.integer], kind: npt.NDArray[np.int8], quantity: FloatArray) -> FloatArray:
    """Return (n,) quantities: what comes back is taken off the newest purchases of the same key before it.

    key (n,): who bought what, ascending by time. A purchase of which nothing is left has 0, so has a refund that was
    taken whole: to do it again changes nothing.
    """
    left = quantity.copy()
    refunds = np.flatnonzero(kind == REFUND)
    if not len(refunds):
        return left
    purchases: dict[int, deque[int]] = {one: deque() for one in key[refunds].tolist()}
    told = np.flatnonzero(np.isin(kind, (PURCHASE, REFUND)) & np.isin(key, key[refunds]))
    for row, one in zip(told.tolist(), key[told].tolist(), strict=True):
        if kind[row] == PURCHASE:
            purchases[one].append(row)
        else:
            left[row] = _take_back(float(quantity[row]), purchases[one], left)
    return left


def sent_back(profile: Profile) -> set[int]:
    """Return the rows of items that came back and of which nothing is kept: of three units of which one came back two
    are. Whether what came back was taken off its purchases already, as `kept` does, makes no difference."""
    goods = profile.item >= 0
    returned = np.unique(profile.item[goods & (profile.type == REFUND)])
    sign = np.select([profile.type == PURCHASE, profile.type == REFUND], [1.0, -1.0], 0.0)
    units = np.bincount(profile.item[goods], weights=(sign * profile.quantity)[goods], minlength=1)
    return {int(row) for row in returned if units[row] <= 0}


def kept_evidence(
    key: npt.NDArray[np.integer],
    kind: npt.NDArray[np.int8],
    quantity: FloatArray,
    fading: npt.NDArray[np.float64],
    n: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (n,) twice, by key (m,) in [0, n): evidence of looks and carts, and of purchases by the share that was
    kept. Goods that were all returned leave no trace of their purchase, one of ten returned leaves nine tenths."""
    is_bought, is_back = kind == PURCHASE, kind == REFUND
    looks = np.bincount(key, weights=LOOK_WEIGHTS[kind] * fading, minlength=n)
    bought = np.bincount(key, weights=is_bought * fading, minlength=n).astype(np.float64)
    if is_back.any():
        taken = np.bincount(key, weights=is_bought * quantity, minlength=n)
        returned = np.bincount(key, weights=is_back * quantity, minlength=n)
        bought *= 1 - np.minimum(returned / np.maximum(taken, 1e-9), 1)
    return np.maximum(looks, 0), bought


def _take_back(amount: float, purchases: deque[int], left: FloatArray) -> float:
    """Take what can be taken; return the rest."""
    while amount > 0 and purchases:
        newest = purchases[-1]
        taken = min(amount, float(left[newest]))
        left[newest] -= taken
        amount -= taken
        if left[newest] <= 0:
            purchases.pop()
    return amount
