"""Adds up the exposure of groups over lists, and says what share each has and how sure that is. No Django, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from recommender.experiments.intervals import Estimate, rate
from recommender.exposure.groups import Groups
from recommender.types import FloatArray, IntArray

ShownList = tuple[IntArray, int]
"""The rows of the items that were shown, best first, -1 for one that is gone, and the position of the first."""


@dataclass(slots=True)
class GroupSums:
    """Over lists: exposure of a group, its squares, its product with the exposure of the whole list, and counts."""

    n_lists: int = 0
    n_places: int = 0
    exposure: float = 0.0
    squares: float = 0.0
    cross: float = 0.0

    def add(self, other: GroupSums) -> None:
        """Add what was summed up of other lists."""
        self.n_lists += other.n_lists
        self.n_places += other.n_places
        self.exposure += other.exposure
        self.squares += other.squares
        self.cross += other.cross


Key = tuple[str, str]
"""Attribute and value; both are empty for all items."""

ALL: Key = ("", "")


@dataclass(slots=True)
class ExposureSums:
    """The sums of every group, and of all items under `ALL`."""

    of: dict[Key, GroupSums] = field(default_factory=dict)

    def add(self, key: Key, sums: GroupSums) -> None:
        """Add the sums of one group."""
        self.of.setdefault(key, GroupSums()).add(sums)

    def share(self, key: Key) -> Estimate | None:
        """The share of a group in the exposure of all items; None without a list."""
        return share_of(self.of.get(key, GroupSums()), self.of.get(ALL, GroupSums()))


def discounts(positions: IntArray) -> FloatArray:
    """The attention that each position gets, 1 for the first. Source: Singh and Joachims 2018, "Fairness of exposure
    in rankings", section 4.1, which takes the discount of DCG, 1 / log2(1 + position)."""
    return np.asarray(1 / np.log2(1 + positions.astype(np.float64)), np.float32)


def summed(lists: Sequence[ShownList], groups: Mapping[str, Groups]) -> ExposureSums:
    """Sum up lists by group; an item that is gone counts for nobody."""
    sums = ExposureSums()
    row, number, weight = _entries(lists)
    if not len(row):
        return sums
    number = np.unique(number, return_inverse=True)[1].astype(np.int32)
    totals = np.bincount(number, weight).astype(np.float32)
    sums.add(ALL, GroupSums(len(totals), len(row), float(totals.sum()), float((totals.astype(np.float64) ** 2).sum())))
    for attribute, divided in groups.items():
        for value, group in _by_group(divided, row, number, weight, totals):
            sums.add((attribute, value), group)
    return sums


def share_of(group: GroupSums, whole: GroupSums) -> Estimate | None:
    """A ratio of two sums over lists that are taken as independent, with Wilson's interval at the effective number of
    cases.

    The variance of a ratio is that of Cochran 1977, "Sampling techniques", section 6.4; that number, the one at which
    a plain share would have this variance, is that of Korn and Graubard 1998, "Confidence intervals for proportions
    with small expected number of positive counts". It is at most the number of places.
    """
    if whole.exposure <= 0:
        return None
    share, n = min(group.exposure / whole.exposure, 1.0), whole.n_lists
    if n < 2:
        return rate(share, 1)
    squared = max(0.0, group.squares - 2 * share * group.cross + share**2 * whole.squares)
    variance = n / (n - 1) * squared / whole.exposure**2
    n_cases = float(n)
    if 0 < share < 1:
        n_cases = min(share * (1 - share) / variance, whole.n_places) if variance > 0 else whole.n_places
    return rate(share * n_cases, n_cases)


def _entries(lists: Iterable[ShownList]) -> tuple[IntArray, IntArray, FloatArray]:
    """Row, number of the list and discount of every item that exists, (m,) each."""
    rows, numbers, positions = [np.empty(0, np.int32)], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for number, (row, first) in enumerate(lists):
        rows.append(row)
        numbers.append(np.full(len(row), number, np.int32))
        positions.append(np.arange(first, first + len(row), dtype=np.int32))
    row = np.concatenate(rows)
    exists = row >= 0
    weight = discounts(np.maximum(np.concatenate(positions), 1))
    return row[exists], np.concatenate(numbers)[exists], weight[exists]


def _by_group(
    groups: Groups, row: IntArray, number: IntArray, weight: FloatArray, totals: FloatArray
) -> Iterable[tuple[str, GroupSums]]:
    code, n_groups = groups.codes[row].astype(np.int64), len(groups.names)
    pairs, which = np.unique(number * n_groups + code, return_inverse=True)
    exposure, n_places = np.bincount(which, weight), np.bincount(which)
    of_list, of_group = np.divmod(pairs, n_groups)
    columns = [
        np.bincount(of_group, values, n_groups)
        for values in (np.ones(len(pairs)), n_places, exposure, exposure**2, exposure * totals[of_list])
    ]
    for group in np.unique(of_group).tolist():
        n_lists, n_shown, *sums = (float(column[group]) for column in columns)
        yield groups.names[group], GroupSums(int(n_lists), int(n_shown), *sums)
