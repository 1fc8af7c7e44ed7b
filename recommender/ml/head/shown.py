"""Lists that were shown and what is known of their visitors, features and labels of every place out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recommender.features import FEATURE_NAMES, RequestVectors, features
from recommender.features.head import EVENTS
from recommender.features.shop_state import ShopState, build_state
from recommender.ml.head.examples import Histories, Vectors
from recommender.ml.head.position import exploration_weights
from recommender.ml.progress import UNWATCHED, Progress
from recommender.tables import Impressions, Interactions, ItemTable, Profile
from recommender.types import SLOT_CODES, FloatArray, IntArray

N_STATES = 6
"""Moments at which the shop is summed up for a stretch of lists: a list reads the last one before it, as a server that
refreshes its statistics does."""

TRAIN_SHARE, CALIBRATION_SHARE = 0.7, 0.15
"""Shares of the lists, oldest first: to learn from and to calibrate on; the rest compares."""

_SLOTS = {code: slot for slot, code in SLOT_CODES.items()}


@dataclass(frozen=True, slots=True)
class Places:
    """Places of some lists, those of one list side by side, the top first.

    rows (m, f) float32; list (m,) int64, ascending; slot (m,) int8; position (m,) int32 from 1; weight (m,) float32:
    what an explored place stands for; labels (m,) float32 of each event: 1 where it followed.
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
    """Rows of lists to learn from, to calibrate on and to compare on, each over before the next begins."""

    train: npt.NDArray[np.int64]
    calibration: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]


def slices(shown: Impressions, *, since: float, until: float) -> Slices:
    """Cut the lists of [since, until) in time; what had not followed by the end of a slice is in none."""
    known = shown.between(since, until)
    if not len(known):
        return Slices(known, known, known)
    first, second = np.quantile(shown.time[known], [TRAIN_SHARE, TRAIN_SHARE + CALIBRATION_SHARE])
    return Slices(
        shown.between(since, float(first)), shown.between(float(first), float(second)), shown.between(second, until)
    )


def places_of(
    shown: Impressions,
    chosen: npt.NDArray[np.int64],
    histories: Histories,
    items: ItemTable,
    vectors: Vectors,
    *,
    most_lists: int,
    seed: int,
    progress: Progress = UNWATCHED,
) -> Places:
    """Compute each list as it could be known when it was shown: events and statistics of before that moment only.

    Of more than `most_lists` lists some are drawn. Items that are gone are left out; their places stay counted.
    """
    drawn = np.random.default_rng(seed).permutation(chosen)[:most_lists]
    drawn = drawn[np.argsort(shown.time[drawn], kind="stable")]
    states = _States(histories.interactions, items, shown.time[drawn])
    kept: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    rows = [np.empty((0, len(FEATURE_NAMES)), np.float32)]
    for one in drawn.tolist():
        if progress.should_stop():
            break
        places = np.arange(shown.start[one], shown.start[one + 1])
        places = places[np.unique(shown.item[places], return_index=True)[1]]  # each item once, where it stood first
        places = np.sort(places[shown.item[places] >= 0])
        kept.append(places)
        rows.append(_rows(_profile(shown, one, histories), shown.item[places], states, items, vectors))
    return _places(shown, np.concatenate(kept), np.concatenate(rows))


def _places(shown: Impressions, place: npt.NDArray[np.int64], rows: FloatArray) -> Places:
    listed = np.searchsorted(shown.start, place, side="right") - 1
    moments = dict(zip(EVENTS, (shown.clicked, shown.carted, shown.bought), strict=True))
    return Places(
        rows=rows,
        list=listed,
        slot=shown.slot[listed],
        position=shown.position[place],
        weight=exploration_weights(shown.propensity[place]),
        labels={name: np.isfinite(moment[place]).astype(np.float32) for name, moment in moments.items()},
    )


def _profile(shown: Impressions, one: int, histories: Histories) -> Profile:
    query = int(shown.query[one])
    visitor, at = int(shown.visitor[one]), float(shown.time[one])
    profile = histories.profile(visitor, at=at, slot=_SLOTS[int(shown.slot[one])])
    asked = shown.queries[query] if query >= 0 else ""
    return replace(profile, query=asked, current_item=int(shown.current[one]))


def _rows(profile: Profile, found: IntArray, states: _States, items: ItemTable, vectors: Vectors) -> FloatArray:
    """As the server scores them: the head is asked how an item is liked, never how well it answers the query."""
    context = vectors.context(profile) if vectors.context else None
    state = states.before(profile.now)
    return features(profile, found, state, items, vectors=RequestVectors(vectors.items, context))


class _States:
    """The shop at `N_STATES` moments of a stretch, each made when it is first read; times (n,) ascending."""

    def __init__(self, interactions: Interactions, items: ItemTable, times: npt.NDArray[np.float64]) -> None:
        self.interactions, self.items = interactions, items
        self.moments = np.unique(times[:: max(1, -(-len(times) // N_STATES))])
        self._last: tuple[int, ShopState] | None = None

    def before(self, at: float) -> ShopState:
        """Return the newest state of no later than `at`; ask in ascending order."""
        place = int(np.searchsorted(self.moments, at, side="right")) - 1
        if self._last is None or self._last[0] != place:
            self._last = place, build_state(self.interactions, self.items, at=float(self.moments[place]))
        return self._last[1]
