"""Past moments as examples: who was asked, what could be shown, what was bought afterwards."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recommender.durations import DAY_SECONDS
from recommender.features import FEATURE_NAMES, HISTORY_LIMIT, RequestVectors, features, purchases
from recommender.features.sequence import newest_items
from recommender.features.shop_state import ShopState
from recommender.ml.progress import UNWATCHED, Progress
from recommender.tables import Interactions, ItemTable, Profile
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, Slot

N_CANDIDATES = 300
SHARES = {"own": 110, "knn": 60, "regression": 50, "sequel": 50, "popular": 50, "interest": 40, "latest": 40}
"""Most candidates of each source; the rest of `N_CANDIDATES` is drawn at random: the head must see easy ones too."""

COLD_SHARE = 0.15
ITSELF = 1 - 1e-6

_PURCHASE = EVENT_CODES[EventType.PURCHASE]


class Histories:
    """Interactions sorted by visitor and time, for one profile at a time."""

    def __init__(self, interactions: Interactions) -> None:
        known = np.flatnonzero(interactions.visitor >= 0)
        self.rows = known[np.argsort(interactions.visitor[known], kind="stable")]
        self.n_visitors = int(interactions.visitor.max(initial=-1)) + 1
        self.start = np.searchsorted(interactions.visitor[self.rows], np.arange(self.n_visitors + 1))
        self.interactions = interactions

    def between(self, visitor: int, since: float, until: float) -> npt.NDArray[np.int64]:
        """Return the rows of a visitor's events with since <= time < until, oldest first; none of who came later."""
        if visitor >= self.n_visitors:
            return self.rows[:0]
        rows = self.rows[self.start[visitor] : self.start[visitor + 1]]
        time = self.interactions.time[rows]
        return rows[np.searchsorted(time, since) : np.searchsorted(time, until)]

    def profile(self, visitor: int, *, at: float, limit: int = HISTORY_LIMIT, slot: Slot = Slot.HOME) -> Profile:
        """Return what was known of a visitor just before `at`; device and region are those seen last."""
        rows, source = self.between(visitor, -np.inf, at)[-limit:], self.interactions
        queries = tuple(source.queries[i] if i >= 0 else "" for i in source.query[rows])
        return Profile(
            item=source.item[rows],
            type=source.type[rows],
            time=source.time[rows],
            quantity=source.quantity[rows],
            basket=source.basket[rows],
            queries=queries,
            now=at,
            slot=slot,
            device=_last(source.device[rows], source.devices),
            region=_last(source.region[rows], source.regions),
        )

    def arrived(self, visitor: int, profile: Profile, *, until: float) -> Profile:
        """Return the profile with the moment, device and region of the first event in [now, until): the circumstances
        that a request tells before anything else is known of the visit."""
        rows, source = self.between(visitor, profile.now, until), self.interactions
        return replace(
            profile,
            now=float(source.time[rows[0]]) if len(rows) else profile.now,
            device=_first(source.device[rows], source.devices) or profile.device,
            region=_first(source.region[rows], source.regions) or profile.region,
        )

    def newcomers(self, *, at: float, until: float) -> IntArray:
        """Return the visitors without an event before `at` and with a purchase in [at, until), ascending."""
        source = self.interactions
        known = source.visitor >= 0
        before = np.unique(source.visitor[known & (source.time < at)])
        window = (source.time >= at) & (source.time < until) & (source.type == _PURCHASE)
        return np.setdiff1d(source.visitor[known & window], before).astype(np.int32)

    def bought(self, visitor: int, *, since: float, until: float) -> IntArray:
        """Return the distinct items bought in the window, ascending."""
        rows = self.between(visitor, since, until)
        rows = rows[self.interactions.type[rows] == _PURCHASE]
        return np.unique(self.interactions.item[rows]).astype(np.int32)

    def buyers(self, *, at: float, until: float) -> IntArray:
        """Return the visitors with an event before `at` and a purchase in [at, until), ascending."""
        source = self.interactions
        known = source.visitor >= 0
        before = np.unique(source.visitor[known & (source.time < at)])
        window = (source.time >= at) & (source.time < until) & (source.type == _PURCHASE)
        return np.intersect1d(before, source.visitor[known & window]).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Lists:
    """Candidate lists with labels, one row per request.

    rows (n_lists, n_candidates, n_features) float32; labels (n_lists, n_candidates) float32; mask (n_lists,
    n_candidates) bool: False where a list is shorter.
    """

    rows: FloatArray
    labels: FloatArray
    mask: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)

    def flat(self) -> tuple[FloatArray, FloatArray]:
        """Return (n, n_features) rows and (n,) labels of the places that are filled."""
        return self.rows[self.mask], self.labels[self.mask]


def joined(parts: Sequence[Lists]) -> Lists:
    """Put lists of several moments under each other."""
    return Lists(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.mask for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class Vectors:
    """What the encoder and the context model give to the features; either may be missing."""

    items: FloatArray | None = None
    context: Callable[[Profile], FloatArray] | None = None


def lists_at(
    histories: Histories,
    state: ShopState,
    items: ItemTable,
    vectors: Vectors,
    *,
    until: float,
    n_visitors: int,
    seed: int,
    seconds: float = math.inf,
    least: int = 0,
    progress: Progress = UNWATCHED,
) -> Lists:
    """Ask for a list at `state.at` for buyers of [at, until), label it with what they bought in that window.

    Up to a `COLD_SHARE` of as many more have no history: a head that never saw that ranks for nobody in particular.
    After `seconds` no list begins, but `least` are always made.
    """
    started = time.monotonic()
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(histories.buyers(at=state.at, until=until))[:n_visitors]
    cold = generator.permutation(histories.newcomers(at=state.at, until=until))
    chosen = generator.permutation(np.concatenate([chosen, cold[: int(len(chosen) * COLD_SHARE)]]))
    rows = np.zeros((len(chosen), N_CANDIDATES, len(FEATURE_NAMES)), np.float32)
    labels, mask = np.zeros(rows.shape[:2], np.float32), np.zeros(rows.shape[:2], bool)
    n_made = 0
    for place, visitor in enumerate(chosen):
        if progress.should_stop() or (place >= least and time.monotonic() - started > seconds):
            break
        profile = histories.profile(int(visitor), at=state.at)
        context = vectors.context(histories.arrived(int(visitor), profile, until=until)) if vectors.context else None
        found = candidates(profile, state, items, vectors.items, context, generator)
        n = len(found)
        rows[place, :n] = features(profile, found, state, items, vectors=RequestVectors(vectors.items, context))
        labels[place, :n] = np.isin(found, histories.bought(int(visitor), since=state.at, until=until))
        mask[place, :n] = True
        n_made += 1
    return Lists(rows[:n_made], labels[:n_made], mask[:n_made])


def candidates(
    profile: Profile,
    state: ShopState,
    items: ItemTable,
    item_vectors: FloatArray | None,
    context_vector: FloatArray | None,
    generator: np.random.Generator,
) -> IntArray:
    """Return up to `N_CANDIDATES` distinct items: own, neighbours of own, popular, near the context, some at random."""
    n_items = len(items)
    shown = items.active & ~(items.first_seen > state.at)
    orders = purchases(profile)
    frequency = np.bincount(orders.item, weights=np.exp(-orders.age_days / 60), minlength=n_items)
    own = np.unique(profile.item[profile.item >= 0])
    found = [_top(frequency, SHARES["own"], frequency > 0)]
    for kind, alike in (("knn", state.visitor), ("regression", state.regression), ("sequel", state.sequel)):
        neighbour, score = alike.spread(own, np.ones(len(own), np.float32))
        total = np.bincount(neighbour, weights=score, minlength=n_items)
        found.append(_top(total, SHARES[kind], (total > 0) & shown))
    found += [
        _top(state.counts[:, 1], SHARES["popular"] // 2, shown),
        _top(state.counts[:, 2], SHARES["popular"] // 2, shown),
    ]
    if item_vectors is not None and context_vector is not None:
        found.append(_top(item_vectors @ context_vector, SHARES["interest"], shown))
        latest = newest_items(profile)
        if len(latest):
            near = (item_vectors @ item_vectors[latest].T).max(axis=1)
            found.append(_top(near, SHARES["latest"], shown & (near < ITSELF)))
    chosen = np.unique(np.concatenate(found))
    rest = np.setdiff1d(np.flatnonzero(shown), chosen)
    drawn = generator.permutation(rest)[: max(N_CANDIDATES - len(chosen), 0)]
    return np.concatenate([chosen, drawn])[:N_CANDIDATES].astype(np.int32)


def days(count: float) -> float:
    """Return the seconds of so many days."""
    return count * DAY_SECONDS


def _first(codes: IntArray, names: Sequence[str]) -> str:
    known = codes[codes >= 0]
    return names[known[0]] if len(known) else ""


def _last(codes: IntArray, names: Sequence[str]) -> str:
    return _first(codes[::-1], names)


def _top(score: npt.NDArray[np.number], k: int, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    places = np.flatnonzero(allowed)
    if len(places) > k:
        places = places[np.argpartition(-score[places], k)[:k]]
    return places
