"""The candidates of a personal list: serving ranks them, and the head is trained on the same ones."""

from __future__ import annotations

import numpy as np

from recommender.features.shop_state import ShopState
from recommender.retrieval.base import Candidates, Mask, Wanted
from recommender.retrieval.behaviour import OwnRetriever, neighbours_of, seeds
from recommender.retrieval.fusion import fuse_ranks
from recommender.retrieval.popular import PopularRetriever, popularity
from recommender.retrieval.vector import LatestRetriever, VectorRetriever
from recommender.tables import ItemTable, Profile
from recommender.types import EVENT_CODES, EventType, FloatArray

N_CANDIDATES = 300
"""Candidates that the head scores: what its two milliseconds allow."""

DISMISSED = EVENT_CODES[EventType.DISMISS_ITEM]


def allowed_items(profile: Profile, items: ItemTable) -> Mask:
    """Return a new (n_items,) bool: active items that are not dismissed, in the cart or the current item."""
    allowed = items.active.copy()
    allowed[profile.item[(profile.item >= 0) & (profile.type == DISMISSED)]] = False
    allowed[profile.cart[profile.cart >= 0]] = False
    if profile.current_item >= 0:
        allowed[profile.current_item] = False
    return allowed


def candidates(wanted: Wanted, state: ShopState, items: ItemTable, vectors: FloatArray | None) -> Candidates:
    """Return up to `N_CANDIDATES` items, fused by rank: own items, neighbours, near in vector, popular.

    Without any, as in a shop without events, these are the newest items. vectors (n_items, d), None without an encoder.
    """
    rows, weights = seeds(wanted.profile)
    neighbours = (
        neighbours_of(table, rows, weights, limit=N_CANDIDATES, allowed=wanted.allowed)
        for table in (state.visitor, state.basket, state.regression, state.sequel)
    )
    retrievers = (
        OwnRetriever(), VectorRetriever(vectors), LatestRetriever(vectors), PopularRetriever(popularity(state)),
    )  # fmt: skip
    retrieved = (retriever.retrieve(wanted, limit=N_CANDIDATES) for retriever in retrievers)
    fused = fuse_ranks([*neighbours, *retrieved], limit=N_CANDIDATES)
    return fused if len(fused) else newest(wanted, items)


def newest(wanted: Wanted, items: ItemTable) -> Candidates:
    """Return the allowed items that the shop has had for the shortest time."""
    rows = np.arange(len(items)) if wanted.allowed is None else np.flatnonzero(wanted.allowed)
    return Candidates.best(rows, items.first_seen[rows], N_CANDIDATES)
