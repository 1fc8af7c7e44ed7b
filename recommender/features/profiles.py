"""A `Request` as a `Profile`: its items as rows of one catalogue, its refunds taken off its purchases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import compress

import numpy as np
import numpy.typing as npt

from recommender.features.returns import remaining_quantities
from recommender.tables import Profile
from recommender.types import EVENT_CODES, EventType, PastEvent, Request

REFUND, PURCHASE, SEARCH = EventType.REFUND, EventType.PURCHASE, EventType.SEARCH
"""Looking a name up in an enumeration takes longer than comparing with it, and a history has hundreds of events."""


def profile_of(request: Request, index: Mapping[str, int]) -> Profile:
    """Return the profile of a request; index holds the row of each item in the catalogue by its id."""
    at = request.context.at
    history = [
        (row, event)
        for event in request.history
        if event.at < at and ((row := index.get(event.item_id, -1)) >= 0 or (event.query and event.type is SEARCH))
    ]
    history, quantity = _without_refunded(history)
    baskets: dict[str, int] = {}
    types = [event.type for _, event in history]
    return Profile(
        item=np.array([row for row, _ in history], np.int32),
        type=np.array([EVENT_CODES[kind] for kind in types], np.int8),
        time=np.array([event.at.timestamp() for _, event in history], np.float64),
        quantity=np.array(quantity, np.float32),
        basket=np.array([_basket(event.order_id, baskets) for _, event in history], np.int32),
        queries=tuple(event.query if event.type is SEARCH else "" for _, event in history),
        now=at.timestamp(),
        slot=request.slot,
        query=request.query,
        current_item=index.get(request.item_id, -1),
        cart=np.array(
            [index[item_id] for item_id in dict.fromkeys(request.cart_item_ids) if item_id in index], np.int32
        ),
        device=request.context.device,
        region=request.context.region,
    )


def without_past(profile: Profile) -> Profile:
    """Return the same request by somebody of whom nothing is known: no event and no cart."""
    return replace(_narrowed(profile, np.zeros(len(profile.item), bool)), cart=np.empty(0, np.int32))


def without_item(profile: Profile, row: int) -> Profile:
    """Return the same request by somebody who has done nothing with the item of one row of the catalogue."""
    return replace(_narrowed(profile, profile.item != row), cart=profile.cart[profile.cart != row])


def without_events(profile: Profile, is_out: npt.NDArray[np.bool_]) -> Profile:
    """Return the same request by somebody who has not done these events, is_out (h,)."""
    return _narrowed(profile, ~is_out) if is_out.any() else profile


def _narrowed(profile: Profile, is_used: npt.NDArray[np.bool_]) -> Profile:
    """Return the profile with the events is_used (h,) alone."""
    return replace(
        profile,
        item=profile.item[is_used],
        type=profile.type[is_used],
        time=profile.time[is_used],
        quantity=profile.quantity[is_used],
        basket=profile.basket[is_used],
        queries=tuple(compress(profile.queries, is_used.tolist())),
    )


def _without_refunded(history: list[tuple[int, PastEvent]]) -> tuple[list[tuple[int, PastEvent]], list[float]]:
    """Take refunds off the purchases, as cleaning does; return the events that are left and their quantities."""
    quantity = [event.quantity for _, event in history]
    if all(event.type is not REFUND for _, event in history):
        return history, quantity
    left = remaining_quantities(
        np.array([row for row, _ in history], np.int32),
        np.array([EVENT_CODES[event.type] for _, event in history], np.int8),
        np.array(quantity, np.float32),
    ).tolist()
    pairs = [
        (entry, amount)
        for entry, amount in zip(history, left, strict=True)
        if amount > 0 or entry[1].type is not PURCHASE
    ]
    return [entry for entry, _ in pairs], [amount for _, amount in pairs]


def _basket(order_id: str, baskets: dict[str, int]) -> int:
    return baskets.setdefault(order_id, len(baskets)) if order_id else -1
