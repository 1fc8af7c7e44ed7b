"""A `Request` as a `Profile`: its items as rows of one catalogue, its refunds taken off its purchases."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recommender.features.returns import remaining_quantities
from recommender.tables import Profile
from recommender.types import EVENT_CODES, EventType, PastEvent, Request


def profile_of(request: Request, index: Mapping[str, int]) -> Profile:
    """Return the profile of a request; index holds the row of each item in the catalogue by its id."""
    at = request.context.at
    rows = [index.get(event.item_id, -1) for event in request.history]
    history = [
        (row, event)
        for row, event in zip(rows, request.history, strict=True)
        if event.at < at and (row >= 0 or (event.type is EventType.SEARCH and event.query))
    ]
    history, quantity = _without_refunded(history)
    baskets: dict[str, int] = {}
    n = len(history)
    return Profile(
        item=np.fromiter((row for row, _ in history), np.int32, n),
        type=np.fromiter((EVENT_CODES[event.type] for _, event in history), np.int8, n),
        time=np.fromiter((event.at.timestamp() for _, event in history), np.float64, n),
        quantity=np.array(quantity, np.float32),
        basket=np.fromiter((_basket(event.order_id, baskets) for _, event in history), np.int32, n),
        queries=tuple(event.query if event.type is EventType.SEARCH else "" for _, event in history),
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


def _without_refunded(history: list[tuple[int, PastEvent]]) -> tuple[list[tuple[int, PastEvent]], list[float]]:
    """Take refunds off the purchases, as cleaning does; return the events that are left and their quantities."""
    quantity = [event.quantity for _, event in history]
    if all(event.type is not EventType.REFUND for _, event in history):
        return history, quantity
    left = remaining_quantities(
        np.array([row for row, _ in history], np.int32),
        np.array([EVENT_CODES[event.type] for _, event in history], np.int8),
        np.array(quantity, np.float32),
    ).tolist()
    pairs = [
        (entry, amount)
        for entry, amount in zip(history, left, strict=True)
        if amount > 0 or entry[1].type is not EventType.PURCHASE
    ]
    return [entry for entry, _ in pairs], [amount for _, amount in pairs]


def _basket(order_id: str, baskets: dict[str, int]) -> int:
    return baskets.setdefault(order_id, len(baskets)) if order_id else -1
