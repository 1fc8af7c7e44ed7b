"""The newest events of a profile as the arrays that the context model reads, the same in training and serving."""

from __future__ import annotations

import datetime as dt
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.durations import (
    CONTEXT_HALF_LIFE_DAYS,
    CONTEXT_HALF_LIFE_SESSIONS,
    DAY_SECONDS,
    HOUR_SECONDS,
    SESSION_SECONDS,
)
from recommender.features.weights import CONTEXT_WEIGHTS, positive_events
from recommender.tables import Profile
from recommender.types import SLOT_CODES, FloatArray, IntArray

LENGTH = 50
"""Newest events that the context model reads."""

N_READ_QUERIES = 3
"""Newest searches of a history that enter the context vector: each has to be encoded."""

N_LATEST = 3
"""Newest items whose own nearest vectors are candidates, beside those of the mean, which may be close to none."""

DEVICE_CODES: dict[str, int] = {"": 0, "mobile": 1, "tablet": 2, "desktop": 3}
N_DEVICES, N_REGIONS = 8, 128
"""Codes of devices and regions, 0 for unknown. Regions, and devices that are not in `DEVICE_CODES`, are hashed."""

CIRCUMSTANCES: dict[str, int] = {
    "slot": len(SLOT_CODES), "device": N_DEVICES, "hour": 24, "weekday": 7, "region": N_REGIONS,
}  # fmt: skip
"""Number of values of each, in the order of `Sequence.circumstances`. Append only: bundles depend on the order."""

NEUTRAL = frozenset({"slot", "device", "region"})
"""Circumstances whose code 0 (the home page, unknown) adds nothing."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """The newest events of a profile, oldest first.

    item (h,) int32, -1 for a query; type (h,) int64; gap (h,) float32: log1p of hours before now; weight (h,) float32:
    share in the decayed mean, which sum to 1, or 0 without events; circumstances (5,) int64, as `CIRCUMSTANCES`; row
    (h,) int64: row of the event in the profile.
    """

    item: IntArray
    type: npt.NDArray[np.int64]
    gap: FloatArray
    weight: FloatArray
    circumstances: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]


def sequence(profile: Profile) -> Sequence:
    """Return the newest `LENGTH` events of a profile that have an item or a query and a weight.

    Weights halve with each `CONTEXT_HALF_LIFE_DAYS` and with each `CONTEXT_HALF_LIFE_SESSIONS` later half hours that
    have an event; events of one half hour weigh the same but for their type.
    """
    has_subject = (profile.item >= 0) | np.asarray([bool(query) for query in profile.queries], bool)
    row = np.flatnonzero(has_subject & (CONTEXT_WEIGHTS[profile.type] > 0))[-LENGTH:]
    time, kind = profile.time[row], profile.type[row].astype(np.int64)
    age = np.maximum(profile.now - time, 0)
    session = np.unique(time // SESSION_SECONDS, return_inverse=True)[1] if len(time) else np.zeros(0, np.int64)
    n_later = session.max(initial=0) - session
    n_half_lives = age / DAY_SECONDS / CONTEXT_HALF_LIFE_DAYS + n_later / CONTEXT_HALF_LIFE_SESSIONS
    weight = CONTEXT_WEIGHTS[kind] * 0.5**n_half_lives
    weight = weight / max(float(weight.sum()), 1e-12)
    return Sequence(
        item=profile.item[row],
        type=kind,
        gap=np.log1p(age / HOUR_SECONDS).astype(np.float32),
        weight=weight.astype(np.float32),
        circumstances=circumstances(profile),
        row=row,
    )


def read_events(events: Sequence) -> npt.NDArray[np.bool_]:
    """Return (h,) bool: which events enter the context vector, all items and the newest `N_READ_QUERIES` queries."""
    used = events.item >= 0
    used[np.flatnonzero(~used)[-N_READ_QUERIES:]] = True
    return used


def newest_items(profile: Profile) -> IntArray:
    """Return the distinct items (n,) of the newest looks, carts and purchases, at most `N_LATEST`, newest first."""
    item = profile.item[positive_events(profile)]
    return np.array(list(dict.fromkeys(item[::-1].tolist()))[:N_LATEST], np.int32)


def circumstances(profile: Profile) -> npt.NDArray[np.int64]:
    """Return (5,): slot, device code, hour and weekday of the request in UTC, region code."""
    at = dt.datetime.fromtimestamp(profile.now, dt.UTC)
    device = DEVICE_CODES.get(profile.device, 0) or _bucket(profile.device, first=len(DEVICE_CODES), n=N_DEVICES)
    region = _bucket(profile.region, first=1, n=N_REGIONS)
    return np.asarray([SLOT_CODES[profile.slot], device, at.hour, at.weekday(), region], np.int64)


def _bucket(name: str, *, first: int, n: int) -> int:
    """Return a bucket in [first, n) by hash, 0 for no name."""
    return first + zlib.crc32(name.encode()) % (n - first) if name else 0


def decayed_mean(vectors: FloatArray, weight: FloatArray) -> FloatArray:
    """Return (d,) of unit length, or zeros without an event; vectors (h, d), weight (h,)."""
    mean = weight @ vectors
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
