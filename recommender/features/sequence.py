"""A profile as the arrays that the context model reads, the same for trainer and server."""

from __future__ import annotations

import datetime as dt
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.features.state import DAY_SECONDS, EVENT_WEIGHTS
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, Profile, Slot

LENGTH = 50
"""Newest events that the context model reads."""

N_READ_QUERIES = 3
"""Newest searches of a history that enter the context vector: each has to be encoded."""

N_LATEST = 3
"""Newest items whose own neighbours in vector are candidates, beside those of the mean, which may lie near none."""

SLOT_CODES: dict[Slot, int] = {slot: code for code, slot in enumerate(Slot)}
DEVICE_CODES: dict[str, int] = {"": 0, "mobile": 1, "tablet": 2, "desktop": 3}
N_DEVICES, N_REGIONS = 8, 128
"""Buckets, 0 for unknown; a device that `identity` does not tell, and every region, get theirs by hash."""

CIRCUMSTANCES: dict[str, int] = {
    "slot": len(SLOT_CODES), "device": N_DEVICES, "hour": 24, "weekday": 7, "region": N_REGIONS,
}  # fmt: skip
"""How many values each has, in the order of `Sequence.circumstances`; append only, a bundle depends on the order."""

NEUTRAL = frozenset({"slot", "device", "region"})
"""Circumstances whose code 0 (the home page, unknown) adds nothing."""

READ_WEIGHTS: FloatArray = np.zeros(len(EventType), np.float32)
"""Weight of one event in the decayed mean, ordered as `EVENT_CODES`; a query says as much as a purchase."""
for _type, _weight in {
    EventType.SELECT_ITEM: 0.3,
    EventType.VIEW_ITEM: 0.4,
    EventType.SEARCH: 1.0,
    EventType.ADD_TO_CART: 0.8,
    EventType.PURCHASE: 1.0,
}.items():
    READ_WEIGHTS[EVENT_CODES[_type]] = _weight

HALF_LIFE_DAYS = 45.0
HALF_LIFE_MOMENTS = 4.0
"""The mean halves every 45 days and every 4 visits, whichever is sooner felt; a session's events weigh alike."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """The last events of a profile, oldest first.

    item (h,) int32, -1 for a query; type (h,) int64; gap (h,) float32: log1p of hours before now; weight (h,) float32:
    share in the decayed mean, sum 1 or 0; circumstances (5,) int64, as `CIRCUMSTANCES`; place (h,) int64: row of the
    event in the profile.
    """

    item: IntArray
    type: npt.NDArray[np.int64]
    gap: FloatArray
    weight: FloatArray
    circumstances: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]


def sequence(profile: Profile) -> Sequence:
    """Read the last `LENGTH` telling events of a profile."""
    told = (profile.item >= 0) | np.asarray([bool(query) for query in profile.queries], bool)
    place = np.flatnonzero(told & (READ_WEIGHTS[profile.type] > 0))[-LENGTH:]
    time, kind = profile.time[place], profile.type[place].astype(np.int64)
    age = np.maximum(profile.now - time, 0)
    moment = np.unique(time // 1800, return_inverse=True)[1] if len(time) else np.zeros(0, np.int64)
    later = moment.max(initial=0) - moment
    weight = READ_WEIGHTS[kind] * 0.5 ** (age / DAY_SECONDS / HALF_LIFE_DAYS + later / HALF_LIFE_MOMENTS)
    weight = weight / max(float(weight.sum()), 1e-12)
    return Sequence(
        item=profile.item[place],
        type=kind,
        gap=np.log1p(age / 3600).astype(np.float32),
        weight=weight.astype(np.float32),
        circumstances=circumstances(profile),
        place=place,
    )


def read_events(told: Sequence) -> npt.NDArray[np.bool_]:
    """Return (h,) bool: what enters the context vector, every item and the newest `N_READ_QUERIES` queries."""
    used = told.item >= 0
    used[np.flatnonzero(~used)[-N_READ_QUERIES:]] = True
    return used


def newest_items(profile: Profile) -> IntArray:
    """Return the `N_LATEST` items (n,) of the newest telling events, newest first, each once."""
    told = profile.item[(profile.item >= 0) & (EVENT_WEIGHTS[profile.type] > 0)]
    return np.array(list(dict.fromkeys(told[::-1].tolist()))[:N_LATEST], np.int32)


def circumstances(profile: Profile) -> npt.NDArray[np.int64]:
    """Return (5,): slot, device bucket, hour and weekday of the request in UTC, region bucket."""
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
