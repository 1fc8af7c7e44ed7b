"""Segments of visitors: a few stable groups made from behaviour, and the group of any one profile.

A persona is here a row of shares over the columns of `axes`, and a segment the mean of its members' rows, so that each
of its numbers reads as a share. Arrays only: `segmentation` reads and stores them.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2
from scipy.optimize import linear_sum_assignment

from recommender.features.credibility import person_weights
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
"""A smaller group could reveal a single person; it is divided among the others."""

MEMBERS_PER_SEGMENT = 50
MOST_SEGMENTS = 8

N_STARTS, N_ROUNDS = 8, 20
"""k-means runs and rounds of each; 20,000 visitors no longer move after 10 rounds (3.6 s for all runs)."""

LOYALTY = 1.05
"""The groups of last time stay unless a fresh start explains the visitors 5 % better."""

LEAST_OVERLAP = 0.2
"""Below this a new group is not an old one: share of common members, or nearness if no member was in both."""

N_COUNTED_ITEMS = 5_000
"""Most items per segment whose popularity is stored: beyond them the counts are single events."""


@dataclass(frozen=True, slots=True)
class Trait:
    """What distinguishes a segment: the share of its members' evidence on an axis beside that of all visitors."""

    axis: Axis
    share: float
    overall: float


@dataclass(frozen=True, slots=True)
class Segments:
    """Groups of visitors over `axes`; row k of every array is the segment `numbers[k]`.

    centroids (k, n_axes) float32: mean shares of the members; mean (n_axes,): of all visitors; sizes (k,) int64.
    """

    numbers: tuple[int, ...]
    axes: Axes
    centroids: FloatArray
    mean: FloatArray
    sizes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def of(self, profile: Profile) -> int:
        """Return the row of the segment nearest to a profile, -1 without a segment or any evidence of taste."""
        return int(self._nearest(masses_of(profile, self.axes))[0])

    def members(self, events: Interactions, *, at: float, n_visitors: int) -> npt.NDArray[np.int64]:
        """Return (n_visitors,): the row of the segment nearest to each visitor of the events before `at`, or -1."""
        rows = self._nearest(persona_masses(events, self.axes, at=at))
        return np.append(rows, np.full(n_visitors - len(rows), -1))

    def _nearest(self, masses: FloatArray) -> npt.NDArray[np.int64]:
        rows = np.full(len(masses), -1, np.int64)
        has_evidence = np.flatnonzero(has_taste(masses, self.axes))
        if len(self) and len(has_evidence):
            shares = persona_shares(masses[has_evidence], self.axes, self.mean)
            rows[has_evidence] = nearest(shares * self.axes.weight, self.centroids * self.axes.weight)
        return rows

    def traits(self, row: int, *, most: int = 8) -> tuple[Trait, ...]:
        """Return the axes on which a segment lies above all visitors, best first (see `distinctive`)."""
        centroid = self.centroids[row]
        return tuple(
            Trait(self.axes.names[column], float(centroid[column]), float(self.mean[column]))
            for column in distinctive(centroid, self.mean, most=most)
        )


@dataclass(frozen=True, slots=True)
class Previous:
    """What is known from last time.

    segments: None if there were none; members: number of the segment of each visitor that had one, by row of the
    visitor; highest: the highest number that was ever given.
    """

    segments: Segments | None = None
    members: Mapping[int, int] = field(default_factory=dict)
    highest: int = 0


def distinctive(centroid: FloatArray, mean: FloatArray, *, most: int = 8) -> list[int]:
    """The columns in which a segment (n_axes,) lies above all visitors (n_axes,), the most distinctive first.

    They are ordered by share times log of the ratio, their part of the Kullback-Leibler divergence. Less than a twelfth
    more, or a share below 3 %, does not count.
    """
    ratio = np.log(np.maximum(centroid, 1e-9) / np.maximum(mean, 1e-9))
    above = np.flatnonzero((ratio > np.log(13 / 12)) & (centroid >= 0.03))
    return [int(column) for column in above[np.argsort(-(centroid * ratio)[above], kind="stable")][:most]]


def nearest(points: FloatArray, centroids: FloatArray) -> npt.NDArray[np.int64]:
    """Return (n,): the row of the nearest centroid, by Euclidean distance; points (n, d), centroids (k, d)."""
    distance = np.square(centroids).sum(axis=1)[None, :] - 2 * points @ centroids.T
    return distance.argmin(axis=1)


def has_taste(masses: FloatArray, axes: Axes) -> npt.NDArray[np.bool_]:
    """Return (n,): whether there is any evidence for a category, a word or a price."""
    return np.asarray(masses[:, axes.block < N_TASTE_BLOCKS].sum(axis=1) > 0)


def build_segments(
    events: Interactions,
    items: ItemTable,
    *,
    at: float,
    seed: int = 0,
    previous: Previous = Previous(),  # frozen
    utc_offset_seconds: float = 0.0,
) -> tuple[Segments, npt.NDArray[np.int64]]:
    """Group the visitors of the events with time < `at`; return the segments and (n_visitors,) rows, -1 for none.

    A group that continues an old one keeps its number (see `matched`); a new one gets the next after the highest.
    """
    before = previous.segments
    axes = build_axes(
        items,
        _item_weights(events, len(items), at=at)[0],
        keep=before.axes.names if before else (),
        utc_offset_seconds=utc_offset_seconds,
    )
    masses = persona_masses(events, axes, at=at)
    used = has_taste(masses, axes)
    mean = mean_shares(masses[used], axes)
    shares = persona_shares(masses[used], axes, mean)
    start = aligned(before, axes, mean) if before else None
    weighted = grouped(shares * axes.weight, seed=seed, start=start)
    member = np.full(len(masses), -1, np.int64)
    if not len(weighted):
        return Segments((), axes, np.zeros((0, len(axes)), np.float32), mean, np.zeros(0, np.int64)), member
    member[used] = nearest(shares * axes.weight, weighted)
    centroids = np.stack([shares[member[used] == row].mean(axis=0) for row in range(len(weighted))])
    numbers = matched(centroids * axes.weight, member, previous, start)
    sizes = np.bincount(member[member >= 0], minlength=len(numbers)).astype(np.int64)
    return Segments(numbers, axes, centroids, mean, sizes), member


def item_counts(
    events: Interactions, member: npt.NDArray[np.int64], *, n_segments: int, n_items: int, at: float
) -> FloatArray:
    """Return (n_segments, n_items): weighted events before `at` of the members with each item, rounded to 3 digits.

    member (n_visitors,): row of each visitor's segment. Of each segment the `N_COUNTED_ITEMS` largest counts are kept.
    """
    counts = _item_weights(events, n_items, at=at, member=member, n_segments=n_segments).round(3)
    if n_items > N_COUNTED_ITEMS:
        for row in counts:
            row[np.argsort(-row, kind="stable")[N_COUNTED_ITEMS:]] = 0
    return counts


def _item_weights(
    events: Interactions,
    n_items: int,
    *,
    at: float,
    member: npt.NDArray[np.int64] | None = None,
    n_segments: int = 1,
) -> FloatArray:
    """Return (n_segments, n_items): weighted events before `at` of identified visitors; without `member` in one row."""
    n = int(np.searchsorted(events.time, at, side="left"))
    visitor, item, kind = events.visitor[:n], events.item[:n], events.type[:n]
    row = np.zeros(n, np.int64) if member is None else np.append(member, -1)[visitor]
    used = (item >= 0) & (visitor >= 0) & (row >= 0)
    cell = row[used] * n_items + item[used]
    weight = EVENT_WEIGHTS[kind[used]] * person_weights(events)[:n][used]
    flat = np.bincount(cell, weights=weight, minlength=n_segments * n_items)
    return flat.reshape(n_segments, n_items).astype(np.float32)


def grouped(points: FloatArray, *, seed: int, start: FloatArray | None = None) -> FloatArray:
    """Return centroids (k, d) of points (n, d): the best of several runs of k-means, each without small groups.

    `start` (k, d) are the centroids of last time: what grows out of them stays unless a fresh run is better by
    `LOYALTY`.
    """
    if len(points) < 2 * FEWEST_MEMBERS:
        return points[:0]
    generator = np.random.default_rng(seed)
    k = int(np.clip(len(points) // MEMBERS_PER_SEGMENT, 2, MOST_SEGMENTS))
    if start is not None and abs(len(start) - k) <= 1 and len(start) >= 2:
        k = len(start)
    best, best_loss = min((_k_means(points, k, generator) for _ in range(N_STARTS)), key=lambda run: run[1])
    if start is not None and len(start) == k:
        warm, loss = _k_means(points, start, generator)
        if loss <= LOYALTY * best_loss and len(warm) >= len(best) - 1:
            return warm
    return best


def _k_means(points: FloatArray, start: int | FloatArray, generator: np.random.Generator) -> tuple[FloatArray, float]:
    """Return centroids and the mean squared distance to them, from k-means++ (a number of groups) or from centroids.

    While a group is smaller than `FEWEST_MEMBERS`, the smallest is dissolved.
    """
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an empty group, which is dissolved below
            how = "++" if isinstance(start, int) else "matrix"
            centroids, member = kmeans2(points, start, iter=N_ROUNDS, minit=how, seed=generator)
        sizes = np.bincount(member, minlength=len(centroids))
        if sizes.min() >= FEWEST_MEMBERS or len(centroids) == 1:
            return centroids, float(np.square(points - centroids[member]).sum(axis=1).mean())
        start = np.delete(centroids, int(sizes.argmin()), axis=0)


def matched(
    centroids: FloatArray, member: npt.NDArray[np.int64], previous: Previous, start: FloatArray | None
) -> tuple[int, ...]:
    """Return the number of each new group: that of the old group it continues, or a new one.

    centroids (k, d) and start (n_before, d): new and old centroids as weighted points over the same axes. Groups are
    paired by the Hungarian assignment (Kuhn 1955) with the largest overlap: the Jaccard index of the members that were
    in both, or the nearness of the centroids if none was.
    """
    numbers: list[int] = [0] * len(centroids)
    old_numbers = previous.segments.numbers if previous.segments else ()
    if start is not None and old_numbers:
        overlap = _shared_members(member, old_numbers, previous.members, len(centroids))
        if overlap is None:
            gap = np.linalg.norm(centroids[:, None, :] - start[None, :, :], axis=2)
            scale = float(np.linalg.norm(centroids - centroids.mean(axis=0), axis=1).mean()) + 1e-9
            overlap = np.exp(-gap / scale)
        rows, columns = linear_sum_assignment(-overlap)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if overlap[row, column] >= LEAST_OVERLAP:
                numbers[row] = old_numbers[column]
    highest = max([*old_numbers, previous.highest])
    for row in np.argsort(-np.bincount(member[member >= 0], minlength=len(centroids)), kind="stable").tolist():
        if not numbers[row]:
            highest += 1
            numbers[row] = highest
    return tuple(numbers)


def _shared_members(
    member: npt.NDArray[np.int64], old_numbers: Sequence[int], old_members: Mapping[int, int], k: int
) -> npt.NDArray[np.float64] | None:
    """Return (k, n_before) Jaccard indices over the visitors that were in both runs; None if nobody was."""
    column = {number: index for index, number in enumerate(old_numbers)}
    pairs = Counter(
        (int(member[visitor]), column[number])
        for visitor, number in old_members.items()
        if visitor < len(member) and member[visitor] >= 0 and number in column
    )
    if not pairs:
        return None
    shared = np.zeros((k, len(old_numbers)))
    for pair, n in pairs.items():
        shared[pair] = n
    union = shared.sum(axis=1)[:, None] + shared.sum(axis=0)[None, :] - shared
    return shared / np.maximum(union, 1)


def aligned(before: Segments, axes: Axes, mean: FloatArray) -> FloatArray:
    """Return the old centroids (k, n_axes) as weighted points over the new axes; new axes have the mean share."""
    old_column = before.axes.column
    shares = np.tile(mean, (len(before), 1)).astype(np.float32)
    for column, axis in enumerate(axes.names):
        if axis in old_column:
            shares[:, column] = before.centroids[:, old_column[axis]]
    return (shares * axes.weight).astype(np.float32)
