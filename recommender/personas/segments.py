"""Segments of visitors as arrays: behaviour in, a handful of stable groups out, and the group of any one profile.

Pure: no query, no clock, no Django. A persona is here a row of shares over the named axes of `axes`, a segment the
mean of its members' rows, so that every number of it reads as a share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from recommender.features.weights import EVENT_WEIGHTS
from recommender.personas.axes import (
    N_TASTE_BLOCKS,
    Axes,
    Axis,
    build_axes,
    masses_of,
    mean_shares,
    persona_masses,
    persona_shares,
)
from recommender.tables import Interactions, ItemTable, Profile
from recommender.types import FloatArray

FEWEST_MEMBERS = 5
"""A group of fewer could tell of one person, and is shared out among the others."""

MEMBERS_PER_SEGMENT = 50
MOST_SEGMENTS = 8
N_STARTS, N_ROUNDS = 8, 60
LOYALTY = 1.05
"""The groups of last time are kept while no fresh start explains the visitors 5 % better."""

LEAST_OVERLAP = 0.2
"""Below this a new group is not the old one: share of common members, or nearness where no member is known twice."""

N_COUNTED_ITEMS = 5_000
"""Most items per segment whose popularity is kept: beyond them the counts are single events."""

LIFT_PRIOR = 50.0
"""Weighted events of the whole shop added to a segment before its popularity is compared with the shop's."""


@dataclass(frozen=True, slots=True)
class Trait:
    """What parts a segment from the rest: the share of its members' evidence on an axis beside everybody's."""

    axis: Axis
    share: float
    overall: float


@dataclass(frozen=True, slots=True)
class Segments:
    """Groups of visitors over `axes`; row k of every array is the segment `numbers[k]`.

    centroids (k, n_axes) float32: mean shares; mean (n_axes,): everybody's; sizes (k,) int64: members; counts
    (k, n_items) float32: weighted events of the members with each item; lift (k, n_items) float32: log of the
    segment's popularity against the shop's, 0 where alike.
    """

    numbers: tuple[int, ...]
    axes: Axes
    centroids: FloatArray
    mean: FloatArray
    sizes: npt.NDArray[np.int64]
    counts: FloatArray
    lift: FloatArray

    def __len__(self) -> int:
        return len(self.numbers)

    def of(self, profile: Profile) -> int:
        """Return the row of the segment nearest to a profile, -1 without a segment or any evidence."""
        masses = masses_of(profile, self.axes)
        if not len(self) or not has_taste(masses, self.axes)[0]:
            return -1
        shares = persona_shares(masses, self.axes, self.mean)
        return int(nearest(shares, self.centroids, self.axes.weight)[0])

    def members(self, events: Interactions, *, at: float, n_visitors: int) -> npt.NDArray[np.int64]:
        """Return (n_visitors,): the row of the segment nearest to each visitor of the events before `at`, or -1."""
        member = np.full(n_visitors, -1, np.int64)
        masses = persona_masses(events, self.axes, at=at)
        known = np.flatnonzero(has_taste(masses, self.axes))
        if len(self) and len(known):
            shares = persona_shares(masses[known], self.axes, self.mean)
            member[known] = nearest(shares, self.centroids, self.axes.weight)
        return member

    def traits(self, row: int, *, most: int = 8) -> tuple[Trait, ...]:
        """Return what distinguishes a segment, the most telling first."""
        return traits(self.centroids[row], self.mean, self.axes.names, most=most)


def nearest(shares: FloatArray, centroids: FloatArray, weight: FloatArray) -> npt.NDArray[np.int64]:
    """Return (n,): the row of the nearest centroid, by Euclidean distance over weighted shares."""
    points, centres = shares * weight, centroids * weight
    distance = np.square(centres).sum(axis=1)[None, :] - 2 * points @ centres.T
    return distance.argmin(axis=1)


def has_taste(masses: FloatArray, axes: Axes) -> npt.NDArray[np.bool_]:
    """Return (n,): whether anything speaks for a kind, a word or a price."""
    return np.asarray(masses[:, axes.block < N_TASTE_BLOCKS].sum(axis=1) > 0)


def build_segments(
    events: Interactions,
    items: ItemTable,
    *,
    at: float,
    seed: int = 0,
    before: Segments | None = None,
    members_before: Mapping[int, int] | None = None,
    highest: int = 0,
    utc_offset_seconds: float = 0.0,
) -> tuple[Segments, npt.NDArray[np.int64]]:
    """Group the visitors of the events with time < `at`; return the segments and (n_visitors,) rows, -1 for none.

    `before` are the segments of last time; `members_before` tells the number of the segment of visitors that had one
    (by row in `events`). A group that is an old one keeps its number: see `matched`; a new one gets the next after
    `highest`, the highest that was ever given.
    """
    n = int(np.searchsorted(events.time, at, side="left"))
    used = (events.item[:n] >= 0) & (events.visitor[:n] >= 0)
    weight = EVENT_WEIGHTS[events.type[:n][used]]
    popularity = np.bincount(events.item[:n][used], weights=weight, minlength=len(items)).astype(np.float32)
    keep = before.axes.names if before else ()
    axes = build_axes(items, popularity, keep=keep, utc_offset_seconds=utc_offset_seconds)
    masses = persona_masses(events, axes, at=at)
    known = has_taste(masses, axes)
    mean = mean_shares(masses[known], axes)
    shares = persona_shares(masses[known], axes, mean)
    start = aligned(before, axes, mean) if before else None
    centroids = grouped(shares * axes.weight, seed=seed, start=start)
    member = np.full(len(masses), -1, np.int64)
    if not len(centroids):
        return _packed((), axes, np.zeros((0, len(axes)), np.float32), mean, member, events, items, at), member
    member[known] = nearest(shares * axes.weight, centroids, np.ones(len(axes), np.float32))
    means = np.stack([shares[member[known] == row].mean(axis=0) for row in range(len(centroids))])
    numbers = matched(means, member, before, start, members_before or {}, axes.weight, highest=highest)
    return _packed(numbers, axes, means, mean, member, events, items, at), member


def grouped(points: FloatArray, *, seed: int, start: FloatArray | None = None) -> FloatArray:
    """Return centroids (k, d) of points (n, d): k-means (Lloyd 1982) from k-means++ (Arthur and Vassilvitskii 2007).

    Groups below `FEWEST_MEMBERS` are dissolved. `start` (k, d) are the centroids of last time: what grows out of them
    stays unless a fresh start is better by `LOYALTY`.
    """
    if len(points) < 2 * FEWEST_MEMBERS:
        return points[:0]
    generator = np.random.default_rng(seed)
    k = int(np.clip(len(points) // MEMBERS_PER_SEGMENT, 2, MOST_SEGMENTS))
    if start is not None and abs(len(start) - k) <= 1 and len(start) >= 2:
        k = len(start)
    fresh = [_settled(points, _seeds(points, k, generator)) for _ in range(N_STARTS)]
    best = min(fresh, key=lambda found: found[1])
    if start is not None and len(start) == k:
        warm = _settled(points, start)
        if warm[1] <= LOYALTY * best[1] and len(warm[0]) >= len(best[0]) - 1:
            best = warm
    return best[0]


def matched(
    centroids: FloatArray,
    member: npt.NDArray[np.int64],
    before: Segments | None,
    start: FloatArray | None,
    members_before: Mapping[int, int],
    weight: FloatArray,
    *,
    highest: int = 0,
) -> tuple[int, ...]:
    """Return the number of each new group: that of the old one it is, by the assignment of most overlap, or a new one.

    Overlap is the Jaccard index of the members that are known from both runs, and nearness of the centroids where
    there are none. The assignment is the Hungarian one (Kuhn 1955).
    """
    numbers: list[int] = [0] * len(centroids)
    if before is not None and start is not None and len(before):
        overlap = _overlap(member, before.numbers, members_before, len(centroids))
        if overlap is None:
            gap = np.linalg.norm((centroids * weight)[:, None, :] - start[None, :, :], axis=2)
            scale = float(np.linalg.norm((centroids - centroids.mean(axis=0)) * weight, axis=1).mean()) + 1e-9
            overlap = np.exp(-gap / scale)
        rows, columns = linear_sum_assignment(-overlap)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if overlap[row, column] >= LEAST_OVERLAP:
                numbers[row] = before.numbers[column]
    highest = max([*(before.numbers if before else ()), highest])
    for row in np.argsort(-np.bincount(member[member >= 0], minlength=len(centroids)), kind="stable").tolist():
        if not numbers[row]:
            highest += 1
            numbers[row] = highest
    return tuple(numbers)


def aligned(before: Segments, axes: Axes, mean: FloatArray) -> FloatArray:
    """Return the old centroids (k, n_axes) as points over the new axes; what was no axis then reads as the mean."""
    place = {axis: column for column, axis in enumerate(before.axes.names)}
    old = np.tile(mean, (len(before), 1)).astype(np.float32)
    for column, axis in enumerate(axes.names):
        if axis in place:
            old[:, column] = before.centroids[:, place[axis]]
    return (old * axes.weight).astype(np.float32)


def traits(centroid: FloatArray, mean: FloatArray, names: Sequence[Axis], *, most: int = 8) -> tuple[Trait, ...]:
    """Return the axes on which a segment lies above everybody, by share times log of the ratio (its part of the
    Kullback-Leibler divergence); below a twelfth more and 3 % nothing is told."""
    ratio = np.log(np.maximum(centroid, 1e-9) / np.maximum(mean, 1e-9))
    told = np.flatnonzero((ratio > np.log(13 / 12)) & (centroid >= 0.03))
    best = told[np.argsort(-(centroid * ratio)[told], kind="stable")][:most]
    return tuple(Trait(names[place], float(centroid[place]), float(mean[place])) for place in best)


def lifts(counts: FloatArray, overall: FloatArray) -> FloatArray:
    """Return (k, n_items): log of each item's share in the segment, shrunk by `LIFT_PRIOR`, against the shop's."""
    share = (overall + 1e-9) / max(float(overall.sum()), 1e-9)
    own = (counts + LIFT_PRIOR * share) / (counts.sum(axis=1, keepdims=True) + LIFT_PRIOR)
    return np.log(own / np.maximum(share, 1e-12)).astype(np.float32) * (overall > 0)


def _packed(
    numbers: tuple[int, ...], axes: Axes, centroids: FloatArray, mean: FloatArray, member: npt.NDArray[np.int64],
    events: Interactions, items: ItemTable, at: float,
) -> Segments:  # fmt: skip
    n = int(np.searchsorted(events.time, at, side="left"))
    used = (events.item[:n] >= 0) & (events.visitor[:n] >= 0)
    visitor, item = events.visitor[:n][used], events.item[:n][used].astype(np.int64)
    weight = EVENT_WEIGHTS[events.type[:n][used]]
    counts = np.zeros((len(numbers), len(items)), np.float32)
    for row in range(len(numbers)):
        own = member[visitor] == row
        counts[row] = np.bincount(item[own], weights=weight[own], minlength=len(items))
    counts = strongest(counts)
    sizes = np.bincount(member[member >= 0], minlength=len(numbers)).astype(np.int64)
    return Segments(numbers, axes, centroids, mean, sizes, counts, lifts(counts, counts.sum(axis=0)))


def strongest(counts: FloatArray) -> FloatArray:
    """Keep the `N_COUNTED_ITEMS` largest counts of each segment, rounded as they are stored."""
    kept = counts.round(3)
    if counts.shape[1] > N_COUNTED_ITEMS:
        for row in kept:
            row[np.argsort(-row, kind="stable")[N_COUNTED_ITEMS:]] = 0
    return kept


def _seeds(points: FloatArray, k: int, generator: np.random.Generator) -> FloatArray:
    chosen = [points[generator.integers(len(points))]]
    gap = np.square(points - chosen[0]).sum(axis=1)
    while len(chosen) < k and gap.sum() > 0:
        chosen.append(points[generator.choice(len(points), p=gap / gap.sum())])
        gap = np.minimum(gap, np.square(points - chosen[-1]).sum(axis=1))
    return np.stack(chosen)


def _settled(points: FloatArray, centroids: FloatArray) -> tuple[FloatArray, float]:
    """Move centroids until they rest, dissolving groups that stay too small; return them and the mean square gap."""
    one = np.ones(points.shape[1], np.float32)
    member = nearest(points, centroids, one)
    for _ in range(N_ROUNDS):
        sizes = np.bincount(member, minlength=len(centroids))
        if (sizes < FEWEST_MEMBERS).any() and len(centroids) > 1:
            centroids = np.delete(centroids, int(sizes.argmin()), axis=0)
            member = nearest(points, centroids, one)
            continue
        centroids = np.stack([points[member == row].mean(axis=0) for row in range(len(centroids))])
        moved = nearest(points, centroids, one)
        if np.array_equal(moved, member):
            break
        member = moved
    sizes = np.bincount(member, minlength=len(centroids))
    centroids = centroids[sizes >= FEWEST_MEMBERS]
    member = nearest(points, centroids, one)
    return centroids, float(np.square(points - centroids[member]).sum(axis=1).mean())


def _overlap(
    member: npt.NDArray[np.int64], numbers: tuple[int, ...], members_before: Mapping[int, int], k: int
) -> npt.NDArray[np.float64] | None:
    """Return (k, n_before) Jaccard indices over the visitors that were in both runs; None where nobody was."""
    column = {number: place for place, number in enumerate(numbers)}
    both = [
        (int(member[visitor]), column[number])
        for visitor, number in members_before.items()
        if visitor < len(member) and member[visitor] >= 0 and number in column
    ]
    if not both:
        return None
    shared = np.zeros((k, len(numbers)))
    for pair, n in Counter(both).items():
        shared[pair] = n
    union = shared.sum(axis=1)[:, None] + shared.sum(axis=0)[None, :] - shared
    return shared / np.maximum(union, 1)
