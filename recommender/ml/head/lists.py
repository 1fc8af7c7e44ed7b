"""Candidate lists of past moments, labelled with what the visitors then bought: what the head learns from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from recommender.features import FEATURE_NAMES, RequestVectors, features
from recommender.features.cycles import repeat_cycles
from recommender.features.orders import purchases
from recommender.features.shop_state import ShopState, build_state
from recommender.features.weights import positive_events
from recommender.ml.histories import Histories
from recommender.ml.progress import UNWATCHED, Progress
from recommender.retrieval.base import Wanted
from recommender.retrieval.candidates import N_CANDIDATES, allowed_items, candidates
from recommender.retrieval.vector import ExactScan
from recommender.tables import ItemTable, Profile
from recommender.types import FloatArray, IntArray

COLD_SHARE = 0.15
"""Lists of visitors without a history, as a share of the others: a head that never saw any cannot rank for them."""


@dataclass(frozen=True, slots=True)
class Lists:
    """Candidate lists with labels, one row per request.

    rows (n_lists, n_candidates, n_features) float32; labels (n_lists, n_candidates) float32; mask (n_lists,
    n_candidates) bool: False where a list is shorter; is_new (n_lists, n_candidates) bool: new to a visitor who has a
    history, as in the evaluation (no look, cart or purchase of the item yet); is_due (n_lists, n_candidates) bool: due
    again by the visitor's own repeat cycle, by default nothing.
    """

    rows: FloatArray
    labels: FloatArray
    mask: npt.NDArray[np.bool_]
    is_new: npt.NDArray[np.bool_]
    is_due: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 0), bool))

    def __post_init__(self) -> None:
        if self.is_due.shape != self.labels.shape:
            object.__setattr__(self, "is_due", np.zeros(self.labels.shape, bool))

    def __len__(self) -> int:
        return len(self.rows)

    def flat(self) -> tuple[FloatArray, FloatArray]:
        """Return (n, n_features) rows and (n,) labels of all candidates."""
        return self.rows[self.mask], self.labels[self.mask]

    def new_only(self) -> Lists:
        """Return the same lists with only their new items."""
        return replace(self, mask=self.mask & self.is_new)


def joined(parts: Sequence[Lists]) -> Lists:
    """Put lists of several moments under each other."""
    columns = ("rows", "labels", "mask", "is_new", "is_due")
    return Lists(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors for the features: items (n_items, d) and the context vector (d,) of a profile; either may be missing."""

    items: FloatArray | None = None
    context: Callable[[Profile], FloatArray] | None = None

    def context_of(self, profile: Profile) -> FloatArray | None:
        """Return (d,), None without a context model."""
        return self.context(profile) if self.context else None


@dataclass(frozen=True, slots=True)
class ShopHistory:
    """Everything that a list of a past moment is computed from."""

    histories: Histories
    items: ItemTable
    vectors: Vectors = field(default_factory=Vectors)

    def state(self, at: float) -> ShopState:
        """Return the statistics of the shop just before `at`."""
        return build_state(self.histories.interactions, self.items, at=at)

    def candidates(self, profile: Profile, state: ShopState, context_vector: FloatArray | None) -> IntArray:
        """Return the rows that serving would score for this profile: active items that the shop had by then."""
        allowed = allowed_items(profile, self.items) & ~(self.items.first_seen > state.at)
        near = ExactScan.of(self.vectors.items)
        return candidates(Wanted(profile, allowed, context_vector), state, self.items, near).rows

    def rows(self, profile: Profile, rows: IntArray, state: ShopState, context_vector: FloatArray | None) -> FloatArray:
        """Return the features (n, n_features) of these items for this profile."""
        vectors = RequestVectors(self.vectors.items, context_vector)
        return features(profile, rows, state, self.items, vectors=vectors)


@dataclass(frozen=True, slots=True)
class Sample:
    """How many lists of one moment: of up to `n_visitors` buyers, drawn by `seed`.

    After `seconds` no list begins, but `least` are always computed.
    """

    n_visitors: int
    seed: int = 0
    seconds: float = math.inf
    least: int = 0


def lists_at(shop: ShopHistory, at: float, *, until: float, sample: Sample, progress: Progress = UNWATCHED) -> Lists:
    """Return lists as of `at` for buyers of [at, until), labelled with what they bought in that window.

    Up to a `COLD_SHARE` of as many more have no history.
    """
    started, state, histories = time.monotonic(), shop.state(at), shop.histories
    visitors = _drawn_visitors(histories, at, until, sample)
    rows = np.zeros((len(visitors), N_CANDIDATES, len(FEATURE_NAMES)), np.float32)
    labels = np.zeros(rows.shape[:2], np.float32)
    mask, is_new, is_due = np.zeros((3, *labels.shape), bool)
    n_lists = 0
    for visitor in visitors.tolist():
        if progress.should_stop() or (n_lists >= sample.least and time.monotonic() - started > sample.seconds):
            break
        profile = histories.profile(visitor, at=at)
        context = shop.vectors.context_of(histories.arrived(visitor, profile, until=until))
        chosen = shop.candidates(profile, state, context)
        n = len(chosen)
        rows[n_lists, :n] = shop.rows(profile, chosen, state, context)
        labels[n_lists, :n] = np.isin(chosen, histories.bought(visitor, since=at, until=until))
        mask[n_lists, :n] = True
        own = profile.item[positive_events(profile)]
        is_new[n_lists, :n] = len(own) > 0 and ~np.isin(chosen, own)
        cycles = repeat_cycles(purchases(profile))
        is_due[n_lists, :n] = np.isin(chosen, cycles.item[cycles.is_due])
        n_lists += 1
        progress.step(n_lists, len(visitors))
    return Lists(rows[:n_lists], labels[:n_lists], mask[:n_lists], is_new[:n_lists], is_due[:n_lists])


def _drawn_visitors(histories: Histories, at: float, until: float, sample: Sample) -> IntArray:
    generator = np.random.default_rng(sample.seed)
    buyers = generator.permutation(histories.buyers(at=at, until=until))[: sample.n_visitors]
    newcomers = generator.permutation(histories.newcomers(at=at, until=until))
    return generator.permutation(np.concatenate([buyers, newcomers[: int(len(buyers) * COLD_SHARE)]]))
