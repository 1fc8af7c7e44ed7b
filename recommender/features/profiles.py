"""A request in, its profile in the rows of one catalogue out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recommender.features.returns import kept
from recommender.types import EVENT_CODES, EventType, PastEvent, Profile, Request


def profile_of(request: Request, row_of: Callable[[str], int]) -> Profile:
    """As `Shelf.profile`; row_of(item_id) is -1 for an item that is not known."""
    at = request.context.at
    rows = [row_of(event.item_id) if event.item_id else -1 for event in request.history]
    told = [
        (row, event)
        for row, event in zip(rows, request.history, strict=True)
        if event.at < at and (row >= 0 or (event.type is EventType.SEARCH and event.query))
    ]
    told, left = _without_returned(told)
    baskets: dict[str, int] = {}
    n = len(told)
    return Profile(
        item=np.fromiter((row for row, _ in told), np.int32, n),
        type=np.fromiter((EVENT_CODES[event.type] for _, event in told), np.int8, n),
        time=np.fromiter((event.at.timestamp() for _, event in told), np.float64, n),
        quantity=np.array(left, np.float32),
        basket=np.fromiter((_basket(event.order_id, baskets) for _, event in told), np.int32, n),
        queries=tuple(event.query if event.type is EventType.SEARCH else "" for _, event in told),
        now=at.timestamp(),
        slot=request.slot,
        query=request.query,
        current_item=row_of(request.item_id),
        cart=np.array([row for row in dict.fromkeys(map(row_of, request.cart_item_ids)) if row >= 0], np.int32),
        device=request.context.device,
        region=request.context.region,
    )


def _without_returned(told: list[tuple[int, PastEvent]]) -> tuple[list[tuple[int, PastEvent]], list[float]]:
    """Take what came back off the purchases before it, as cleaning does; return events and quantities."""
    quantity = [event.quantity for _, event in told]
    if all(event.type is not EventType.REFUND for _, event in told):
        return told, quantity
    left = kept(
        np.array([row for row, _ in told], np.int32),
        np.array([EVENT_CODES[event.type] for _, event in told], np.int8),
        np.array(quantity, np.float32),
    ).tolist()
    here = [place for place, (_, event) in enumerate(told) if left[place] > 0 or event.type is not EventType.PURCHASE]
    return [told[place] for place in here], [left[place] for place in here]


def _basket(order_id: str, baskets: dict[str, int]) -> int:
    return baskets.setdefault(order_id, len(baskets)) if order_id else -1
