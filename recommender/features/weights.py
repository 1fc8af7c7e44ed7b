"""How much one event counts: by its type, as arrays in the order of `EVENT_CODES`, and by its age."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from recommender.durations import DAY_SECONDS
from recommender.tables import Profile
from recommender.types import EVENT_CODES, EventType, FloatArray, TimeArray


def _by_code(weights: Mapping[EventType, float]) -> FloatArray:
    return np.array([weights.get(event_type, 0.0) for event_type in EVENT_CODES], np.float32)


_LOOKS = {EventType.SELECT_ITEM: 0.1, EventType.VIEW_ITEM: 0.2, EventType.ADD_TO_CART: 0.5}

EVENT_WEIGHTS = _by_code(_LOOKS | {EventType.PURCHASE: 1.0})
"""In popularity, neighbours and features; a purchase counts 1."""

LOOK_WEIGHTS = _by_code(_LOOKS | {EventType.REMOVE_FROM_CART: -_LOOKS[EventType.ADD_TO_CART]})
"""In personas, where a purchase counts by the share that was kept (`returns.kept_evidence`)."""

SEARCH_WEIGHT = float(EVENT_WEIGHTS[EVENT_CODES[EventType.VIEW_ITEM]])
"""Of a query in personas: as much as a look at an item."""

CONTEXT_WEIGHTS = _by_code(
    {
        EventType.SELECT_ITEM: 0.3,
        EventType.VIEW_ITEM: 0.4,
        EventType.SEARCH: 1.0,
        EventType.ADD_TO_CART: 0.8,
        EventType.PURCHASE: 1.0,
    }
)
"""In the decayed mean of the context vector, where a query counts as much as a purchase."""


def positive_events(profile: Profile) -> npt.NDArray[np.bool_]:
    """Mark the events that speak for an item of the catalogue, (h,): looks, carts and purchases."""
    positive: npt.NDArray[np.bool_] = (profile.item >= 0) & (EVENT_WEIGHTS[profile.type] > 0)
    return positive


def age_days(time: npt.NDArray[np.floating], now: float) -> TimeArray:
    """Return the age of each event in days, at least 0."""
    return np.asarray(np.maximum(now - time, 0) / DAY_SECONDS, np.float64)


def decay(age_days: TimeArray, half_life_days: float) -> TimeArray:
    """Return the weight of each age, in (0, 1]: 0.5 after one half-life."""
    return np.asarray(0.5 ** (age_days / half_life_days))
