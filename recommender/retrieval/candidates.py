"""The candidates of a personal list: serving ranks them, and the head is trained on the same ones."""

from __future__ import annotations

import numpy as np

from recommender.features.shop_state import ShopState
from recommender.retrieval.base import Candidates, Mask, Retriever, Wanted
from recommender.retrieval.behaviour import OwnRetriever, evidence, neighbours_of, own_candidates, own_weights, seeds
from recommender.retrieval.fusion import fuse_ranks
from recommender.retrieval.popular import PopularRetriever, popularity
from recommender.retrieval.vector import LatestRetriever, NearItems, VectorRetriever
from recommender.tables import ItemTable, Profile
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray

N_CANDIDATES = 300
"""Candidates that the head scores: what its two milliseconds allow."""

NEAR_WEIGHT = 2.0
"""Of what is near in text, beside what the same visitors chose, in the list of similar items."""

DISMISSED = EVENT_CODES[EventType.DISMISS_ITEM]


def allowed_items(profile: Profile, items: ItemTable) -> Mask:
    """Return a new (n_items,) bool: active items that are not dismissed, in the cart or the current item."""
    allowed = items.active.copy()
    allowed[profile.item[(profile.item >= 0) & (profile.type == DISMISSED)]] = False
    allowed[profile.cart[profile.cart >= 0]] = False
    if profile.current_item >= 0:
        allowed[profile.current_item] = False
    return allowed


def candidates(wanted: Wanted, state: ShopState, items: ItemTable, near: NearItems | None) -> Candidates:
    """Return up to `N_CANDIDATES` items of all `sources`, fused by rank.

    Without any, as in a shop without events, these are the newest items. near: None without an encoder.
    """
    fused = fuse_ranks(list(sources(wanted, state, near).values()), limit=N_CANDIDATES)
    return fused if len(fused) else newest(wanted, items)


def sources(wanted: Wanted, state: ShopState, near: NearItems | None) -> dict[str, Candidates]:
    """Return by source what it retrieves: neighbours by four tables, own items, near in vector, popular."""
    own = own_weights(wanted.profile, OwnRetriever().types)
    rows, weights = seeds(wanted.profile, own)
    tables = {"visitor": state.visitor, "basket": state.basket, "regression": state.regression, "sequel": state.sequel}
    neighbours = {
        name: neighbours_of(table, rows, weights, limit=N_CANDIDATES, allowed=wanted.allowed)
        for name, table in tables.items()
    }
    retrievers: dict[str, Retriever] = {
        "vector": VectorRetriever(near),
        "latest": LatestRetriever(near),
        "popular": PopularRetriever(popularity(state)),
    }
    by_habit = own_candidates(own, wanted.allowed, limit=N_CANDIDATES)
    retrieved = {name: retriever.retrieve(wanted, limit=N_CANDIDATES) for name, retriever in retrievers.items()}
    return {**neighbours, "own": by_habit, **retrieved}


def similar_items(here: IntArray, near: Candidates, state: ShopState, allowed: Mask) -> Candidates:
    """Return items near in text to the current one, fused with those that the same visitors chose by their evidence.

    here (1,): the current item; near: what is near to it in text.
    """
    chosen_too, believed = chosen_with(here, state, allowed)
    return fuse_ranks([near, chosen_too], limit=N_CANDIDATES, weights=[NEAR_WEIGHT, believed])


def chosen_with(here: IntArray, state: ShopState, allowed: Mask) -> tuple[Candidates, FloatArray]:
    """Return what the visitors of an item (1,) chose too, and how far each of that is believed."""
    weight = np.ones(1, np.float32)
    chosen_too = neighbours_of(state.visitor, here, weight, limit=N_CANDIDATES, allowed=allowed, public_only=True)
    return chosen_too, evidence(state, int(here[0]), chosen_too)


def newest(wanted: Wanted, items: ItemTable) -> Candidates:
    """Return the allowed items that the shop has had for the shortest time."""
    rows = np.arange(len(items)) if wanted.allowed is None else np.flatnonzero(wanted.allowed)
    return Candidates.best(rows, items.first_seen[rows], N_CANDIDATES)
