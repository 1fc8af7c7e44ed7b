"""The behaviour of every visitor, sorted once, so that training can look at any visitor as of any past moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from recommender.tables import Interactions, Profile
from recommender.types import EVENT_CODES, HISTORY_LIMIT, EventType, IntArray, Slot

_PURCHASE = EVENT_CODES[EventType.PURCHASE]


class Histories:
    """Interactions sorted by visitor and time."""

    def __init__(self, interactions: Interactions) -> None:
        of_visitors = np.flatnonzero(interactions.visitor >= 0)
        self.rows = of_visitors[np.argsort(interactions.visitor[of_visitors], kind="stable")]
        self.n_visitors = int(interactions.visitor.max(initial=-1)) + 1
        self.start = np.searchsorted(interactions.visitor[self.rows], np.arange(self.n_visitors + 1))
        self.interactions = interactions

    def between(self, visitor: int, since: float, until: float) -> npt.NDArray[np.int64]:
        """Return the rows of a visitor's events with since <= time < until, oldest first; none if unknown."""
        if visitor >= self.n_visitors:
            return self.rows[:0]
        rows = self.rows[self.start[visitor] : self.start[visitor + 1]]
        time = self.interactions.time[rows]
        return rows[np.searchsorted(time, since) : np.searchsorted(time, until)]

    def profile(self, visitor: int, *, at: float, limit: int = HISTORY_LIMIT, slot: Slot = Slot.HOME) -> Profile:
        """Return the profile just before `at`, as serving would build it; device and region are the last ones seen."""
        rows, source = self.between(visitor, -np.inf, at)[-limit:], self.interactions
        return Profile(
            item=source.item[rows],
            type=source.type[rows],
            time=source.time[rows],
            quantity=source.quantity[rows],
            basket=source.basket[rows],
            queries=tuple(source.queries[i] if i >= 0 else "" for i in source.query[rows]),
            now=at,
            slot=slot,
            device=_first(source.device[rows][::-1], source.devices),
            region=_first(source.region[rows][::-1], source.regions),
        )

    def arrived(self, visitor: int, profile: Profile, *, until: float) -> Profile:
        """Return the profile with the time, device and region of the first event in [now, until).

        A request carries these circumstances even before anything else of the visit is known.
        """
        rows, source = self.between(visitor, profile.now, until), self.interactions
        return replace(
            profile,
            now=float(source.time[rows[0]]) if len(rows) else profile.now,
            device=_first(source.device[rows], source.devices) or profile.device,
            region=_first(source.region[rows], source.regions) or profile.region,
        )

    def newcomers(self, *, at: float, until: float) -> IntArray:
        """Return the visitors without an event before `at` and with a purchase in [at, until), ascending."""
        return np.setdiff1d(self._buying(at, until), self._seen_before(at)).astype(np.int32)

    def buyers(self, *, at: float, until: float) -> IntArray:
        """Return the visitors with an event before `at` and a purchase in [at, until), ascending."""
        return np.intersect1d(self._buying(at, until), self._seen_before(at)).astype(np.int32)

    def bought(self, visitor: int, *, since: float, until: float) -> IntArray:
        """Return the distinct items bought in [since, until), ascending."""
        rows = self.between(visitor, since, until)
        return np.unique(self.interactions.item[rows[self.interactions.type[rows] == _PURCHASE]]).astype(np.int32)

    def _seen_before(self, at: float) -> IntArray:
        source = self.interactions
        return source.visitor[(source.visitor >= 0) & (source.time < at)]

    def _buying(self, at: float, until: float) -> IntArray:
        source = self.interactions
        is_purchase = (source.type == _PURCHASE) & (source.visitor >= 0)
        return source.visitor[is_purchase & (source.time >= at) & (source.time < until)]


def _first(codes: IntArray, names: Sequence[str]) -> str:
    present = codes[codes >= 0]
    return names[present[0]] if len(present) else ""
