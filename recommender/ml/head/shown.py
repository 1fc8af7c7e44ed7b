"""Rebuilds the lists that visitors were shown: the features of each entry at that moment, and what it led to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recommender.features import FEATURE_NAMES
from recommender.features.head import EVENTS
from recommender.features.shop_state import ShopState
from recommender.ml.head.lists import ShopHistory
from recommender.ml.head.position import exploration_weights
from recommender.ml.progress import UNWATCHED, Progress
from recommender.tables import Impressions, Profile
from recommender.types import SLOT_CODES, FloatArray, IntArray

N_STATES = 6
"""Moments at which the statistics of the shop are computed. A list reads the newest ones before it, as on a server that
refreshes its statistics now and then."""

TRAIN_SHARE, CALIBRATION_SHARE = 0.7, 0.15
"""Shares of the lists, oldest first, to learn from and to calibrate on; the rest compares two orders."""

_SLOTS = {code: slot for slot, code in SLOT_CODES.items()}


@dataclass(frozen=True, slots=True)
class ShownItems:
    """The entries of lists that were shown: those of one list side by side, in the order of the page.

    rows (m, f) float32; list (m,) int64, ascending; slot (m,) int8; position (m,) int32 from 1; weight (m,) float32,
    above 1 for an explored item; labels (m,) float32 of each event: 1 where it followed.
    """

    rows: FloatArray
    list: npt.NDArray[np.int64]
    slot: npt.NDArray[np.int8]
    position: IntArray
    weight: FloatArray
    labels: dict[str, FloatArray]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Slices:
    """Indices of lists to learn from, to calibrate on and to compare on, in order of time."""

    train: npt.NDArray[np.int64]
    calibration: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]


def slices(impressions: Impressions, *, since: float, until: float) -> Slices:
    """Cut the lists of [since, until) in time; a list whose outcome window reaches past its slice is left out."""
    complete = impressions.between(since, until)
    if not len(complete):
        return Slices(complete, complete, complete)
    first, second = np.quantile(impressions.time[complete], [TRAIN_SHARE, TRAIN_SHARE + CALIBRATION_SHARE]).tolist()
    return Slices(
        impressions.between(since, first), impressions.between(first, second), impressions.between(second, until)
    )


def shown_items(
    shop: ShopHistory,
    impressions: Impressions,
    lists: npt.NDArray[np.int64],
    *,
    most_lists: int,
    seed: int,
    progress: Progress = UNWATCHED,
) -> ShownItems:
    """Compute the entries of `lists`, from events and statistics of before each list only.

    Of more than `most_lists` some are drawn. Items that have left the catalogue are left out; their positions count.
    """
    drawn = np.random.default_rng(seed).permutation(lists)[:most_lists]
    drawn = drawn[np.argsort(impressions.time[drawn], kind="stable")]
    states = States(shop, impressions.time[drawn])
    entries: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    rows = [np.empty((0, len(FEATURE_NAMES)), np.float32)]
    for index in drawn.tolist():
        if progress.should_stop():
            break
        entry = np.arange(impressions.start[index], impressions.start[index + 1])
        entry = entry[np.unique(impressions.item[entry], return_index=True)[1]]  # each item once, where it stood first
        entries.append(np.sort(entry[impressions.item[entry] >= 0]))
        profile = _profile(impressions, index, shop)
        # The head estimates how much an item is liked, never how well it answers the query, so it gets no query vector.
        context = shop.vectors.context_of(profile)
        rows.append(shop.rows(profile, impressions.item[entries[-1]], states.before(profile.now), context))
    return _labelled(impressions, np.concatenate(entries), np.concatenate(rows))


def _labelled(impressions: Impressions, entry: npt.NDArray[np.int64], rows: FloatArray) -> ShownItems:
    of_list = np.searchsorted(impressions.start, entry, side="right") - 1
    moments = dict(zip(EVENTS, (impressions.clicked, impressions.carted, impressions.bought), strict=True))
    return ShownItems(
        rows=rows,
        list=of_list,
        slot=impressions.slot[of_list],
        position=impressions.position[entry],
        weight=exploration_weights(impressions.propensity[entry]),
        labels={name: np.isfinite(moment[entry]).astype(np.float32) for name, moment in moments.items()},
    )


def _profile(impressions: Impressions, index: int, shop: ShopHistory) -> Profile:
    profile = shop.histories.profile(
        int(impressions.visitor[index]), at=float(impressions.time[index]), slot=_SLOTS[int(impressions.slot[index])]
    )
    query = impressions.queries[impressions.query[index]] if impressions.query[index] >= 0 else ""
    return replace(profile, query=query, current_item=int(impressions.current[index]))


class States:
    """The statistics of the shop at `N_STATES` of some times (n,), ascending; each is computed when first read."""

    def __init__(self, shop: ShopHistory, times: npt.NDArray[np.float64]) -> None:
        self.shop = shop
        self.moments = np.unique(times[:: max(1, -(-len(times) // N_STATES))])
        self._latest: ShopState | None = None

    def before(self, at: float) -> ShopState:
        """Return the newest state of no later than `at`; ask in ascending order."""
        moment = float(self.moments[np.searchsorted(self.moments, at, side="right") - 1])
        if self._latest is None or self._latest.at != moment:
            self._latest = self.shop.state(moment)
        return self._latest
