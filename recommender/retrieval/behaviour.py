"""Candidates from behaviour: neighbours of what a shopper looked at or bought, and items of their own past."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from recommender.durations import CANDIDATE_HALF_LIFE_DAYS, DAY_SECONDS
from recommender.features.neighbours import SHRINKAGE, Neighbours
from recommender.features.returns import returned_items
from recommender.features.shop_state import ShopState
from recommender.features.weights import EVENT_WEIGHTS
from recommender.retrieval.base import Candidates, Mask, Wanted, permitted
from recommender.tables import Profile
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray

N_SEEDS = 100
"""Newest items of a history whose neighbours are looked up."""

HERE_WEIGHT = 2.0
"""The current item and the cart against one purchase of this moment: what is looked at now says most."""

BELIEVED = 20.0
"""With so many visitors who chose both items, their likeness counts a quarter; with fewer it is mostly chance."""

_REFUND = EVENT_CODES[EventType.REFUND]
_PURCHASE = EVENT_CODES[EventType.PURCHASE]
_DISMISS = EVENT_CODES[EventType.DISMISS_ITEM]


@dataclass(frozen=True, slots=True)
class OwnRetriever:
    """Items of the profile's own past; `types` narrows the events that count, such as purchases for "buy again"."""

    types: Collection[EventType] = (
        EventType.PURCHASE,
        EventType.ADD_TO_CART,
        EventType.VIEW_ITEM,
        EventType.SELECT_ITEM,
    )

    def retrieve(self, wanted: Wanted, *, limit: int) -> Candidates:
        """Return own items by decayed weight; what was sent back whole or dismissed later is left out."""
        return own_candidates(own_weights(wanted.profile, self.types), wanted.allowed, limit=limit)


def own_candidates(own: tuple[IntArray, FloatArray], allowed: Mask | None, *, limit: int) -> Candidates:
    """Return the items of `own_weights` that may be listed, without what was refused."""
    rows, weights = own
    usable = permitted(rows, allowed) & (weights > 0)
    return Candidates.best(rows[usable], weights[usable], limit)


def neighbours_of(
    neighbours: Neighbours,
    rows: IntArray,
    weights: FloatArray,
    *,
    limit: int,
    allowed: Mask | None = None,
    public_only: bool = False,
) -> Candidates:
    """Return the items nearest to weighted `rows` (n,), their similarities summed, without `rows` themselves."""
    if not len(rows):
        return Candidates.none()
    others, score = neighbours.spread(rows, weights, public_only=public_only)
    n_items = len(neighbours.start) - 1
    is_near = np.bincount(others, minlength=n_items) > 0
    is_near[rows] = False
    near = np.flatnonzero(is_near if allowed is None else is_near & allowed)
    total = np.bincount(others, weights=score, minlength=n_items)[near]
    return Candidates.best(near, total.astype(np.float32), limit)


def evidence(state: ShopState, row: int, candidates: Candidates) -> FloatArray:
    """Return (n,) in [0, 1): how far to trust the neighbours of an item by the number of visitors who chose both.

    The number n of shared visitors follows from the score of `neighbours`, whose norm is about the root of an item's
    count. It gives (n / (n + K))^2: less than .003 for one visitor, more than a half for sixty.
    """
    count = state.counts[:, 3]
    shared = candidates.scores * (np.sqrt(count[row] * count[candidates.rows]) + SHRINKAGE)
    shared = np.minimum(shared, np.minimum(count[row], count[candidates.rows]))
    return np.asarray((shared / (shared + BELIEVED)) ** 2, np.float32)


def seeds(profile: Profile, own: tuple[IntArray, FloatArray] | None = None) -> tuple[IntArray, FloatArray]:
    """Return the items that speak for a profile, each once, and their weights; both (n,).

    own: the `own_weights` of the profile, where they are known already.
    """
    rows, weights = own or own_weights(profile, OwnRetriever().types)
    newest = np.argsort(-weights, kind="stable")[:N_SEEDS]
    newest = newest[weights[newest] > 0]
    rows, weights = rows[newest], weights[newest]
    here = np.unique(np.append(profile.cart[profile.cart >= 0], [profile.current_item] * (profile.current_item >= 0)))
    rest = ~np.isin(rows, here)
    rows = np.concatenate([here, rows[rest]]).astype(np.int32)
    return rows, np.concatenate([np.full(len(here), HERE_WEIGHT), weights[rest]]).astype(np.float32)


def own_weights(profile: Profile, types: Collection[EventType]) -> tuple[IntArray, FloatArray]:
    """Return the items of the past, each once ascending, and their decayed weight; 0 where refused since."""
    codes = [EVENT_CODES[kind] for kind in types]
    is_item = profile.item >= 0
    used = is_item & np.isin(profile.type, codes)
    rows, index = np.unique(profile.item[used], return_inverse=True)
    age = np.maximum(profile.now - profile.time[used], 0) / DAY_SECONDS
    weight = np.bincount(
        index, weights=EVENT_WEIGHTS[profile.type[used]] * 0.5 ** (age / CANDIDATE_HALF_LIFE_DAYS), minlength=len(rows)
    )
    weight[np.isin(rows, refused_items(profile))] = 0
    return rows.astype(np.int32), weight.astype(np.float32)


def refused_items(profile: Profile) -> IntArray:
    """Return items whose newest purchase, refund or dismissal is a dismissal, or a refund that left nothing of them."""
    if not np.isin(profile.type, (_REFUND, _DISMISS)).any():
        return np.empty(0, np.int32)
    decided = (profile.item >= 0) & np.isin(profile.type, (_PURCHASE, _REFUND, _DISMISS))
    last = dict(zip(profile.item[decided].tolist(), profile.type[decided].tolist(), strict=True))
    returned = returned_items(profile)
    return np.array([row for row, code in last.items() if code == _DISMISS or row in returned], np.int32)
