"""What visitors kept of their purchases: the one rule by which refunds are taken off purchases.

A refund cancels as many units of the same item as it names. `remaining_quantities` takes them off single purchases, the
newest before the refund first; `kept_shares` says what share of all units was kept, in whatever order they came. For
refunds that follow their purchases both give the same.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from recommender.features.weights import LOOK_WEIGHTS
from recommender.tables import Profile
from recommender.types import EVENT_CODES, EventType, FloatArray

PURCHASE, REFUND = EVENT_CODES[EventType.PURCHASE], EVENT_CODES[EventType.REFUND]


def remaining_quantities(key: npt.NDArray[np.integer], kind: npt.NDArray[np.int8], quantity: FloatArray) -> FloatArray:
    """Return (n,) the quantity of each event after refunds are taken off the newest earlier purchases of the same key.

    key (n,): one number per visitor and item, ascending by time. A purchase that was fully refunded has 0 left, and so
    has a refund whose purchases were all found: applying the function again changes nothing.
    """
    left = quantity.copy()
    refunds = np.flatnonzero(kind == REFUND)
    if not len(refunds):
        return left
    purchases: dict[int, deque[int]] = {number: deque() for number in key[refunds].tolist()}
    rows = np.flatnonzero(np.isin(kind, (PURCHASE, REFUND)) & np.isin(key, key[refunds]))
    for row, number in zip(rows.tolist(), key[rows].tolist(), strict=True):
        if kind[row] == PURCHASE:
            purchases[number].append(row)
        else:
            left[row] = _take_off(float(quantity[row]), purchases[number], left)
    return left


def _take_off(amount: float, purchases: deque[int], left: FloatArray) -> float:
    """Take an amount off the newest purchases and return what exceeds them."""
    while amount > 0 and purchases:
        newest = purchases[-1]
        taken = min(amount, float(left[newest]))
        left[newest] -= taken
        amount -= taken
        if left[newest] <= 0:
            purchases.pop()
    return amount


def kept_shares(
    key: npt.NDArray[np.integer], kind: npt.NDArray[np.int8], quantity: FloatArray, n: int
) -> npt.NDArray[np.float64]:
    """Return (n,), by key (m,) in [0, n): the share of the purchased units that was kept, 0 without a purchase."""
    bought = np.bincount(key, weights=(kind == PURCHASE) * quantity, minlength=n)
    returned = np.bincount(key, weights=(kind == REFUND) * quantity, minlength=n)
    return np.where(bought > 0, 1 - np.minimum(returned / np.maximum(bought, 1e-9), 1), 0.0)


def returned_items(profile: Profile) -> set[int]:
    """Return the rows of refunded items of which nothing is kept.

    It makes no difference whether refunds were already taken off the purchases of the profile.
    """
    of_item = profile.item >= 0
    item, kind = profile.item[of_item], profile.type[of_item]
    refunded = np.unique(item[kind == REFUND])
    if not len(refunded):
        return set()
    share = kept_shares(item, kind, profile.quantity[of_item], int(item.max()) + 1)
    return set(refunded[share[refunded] <= 0].tolist())


def kept_evidence(
    key: npt.NDArray[np.integer],
    kind: npt.NDArray[np.int8],
    quantity: FloatArray,
    fading: npt.NDArray[np.float64],
    n: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (n,) twice, by key (m,) in [0, n): the evidence of looks and carts, and that of purchases.

    Each event counts its type's weight times fading (m,); purchases count by the share that was kept: if one of ten was
    returned, nine tenths.
    """
    looks = np.bincount(key, weights=LOOK_WEIGHTS[kind] * fading, minlength=n)
    bought = np.bincount(key, weights=(kind == PURCHASE) * fading, minlength=n).astype(np.float64)
    if (kind == REFUND).any():
        bought = bought * kept_shares(key, kind, quantity, n)
    return np.maximum(looks, 0), bought
