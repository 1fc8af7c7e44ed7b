"""Items alike by what was done with them: groups of events in, for each item its nearest others out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recommender.types import FloatArray, IntArray

N_NEIGHBOURS = 50
"""Neighbours kept per item; item-kNN is flat in k from about 50 on (Deshpande and Karypis 2004, section 6.3)."""

SHRINKAGE = 5.0
"""Added to the denominator of the cosine, so that one shared order proves little (Bell and Koren 2007, 3.1)."""

LONGEST_HISTORY = 300
"""Newest items of one basket or visitor that enter co-occurrence: the cost grows with its square."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Items alike, in compressed rows: those of item i are `item[start[i]:start[i + 1]]`, best first.

    start (n_items + 1,) int64; item (n,) int32; score (n,) float32 in (0, 1].
    """

    start: npt.NDArray[np.int64]
    item: IntArray
    score: FloatArray

    @classmethod
    def from_lists(cls, rows: Sequence[Sequence[tuple[int, float]]]) -> Neighbours:
        """Build from one list of (row of the neighbour, score) per item."""
        start = np.zeros(len(rows) + 1, np.int64)
        start[1:] = np.cumsum([len(row) for row in rows])
        pairs = [pair for row in rows for pair in row]
        item = np.fromiter((pair[0] for pair in pairs), np.int32, len(pairs))
        return cls(start, item, np.fromiter((pair[1] for pair in pairs), np.float32, len(pairs)))

    @classmethod
    def none(cls, n_items: int) -> Neighbours:
        """No item is like another."""
        return cls(np.zeros(n_items + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))

    def of(self, row: int) -> list[tuple[int, float]]:
        """Return the neighbours of one item as (row, score), best first."""
        span = slice(self.start[row], self.start[row + 1])
        return list(zip(self.item[span].tolist(), self.score[span].tolist(), strict=True))

    def spread(self, rows: IntArray, weights: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return every neighbour of `rows` and its score times the weight of the row; both (n_found,)."""
        first, length = self.start[rows], self.start[rows + 1] - self.start[rows]
        offsets = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        index = np.repeat(first, length) + offsets
        return self.item[index], self.score[index] * np.repeat(weights, length)


def neighbours(
    group: IntArray, item: IntArray, weight: FloatArray, *, n_items: int, k: int = N_NEIGHBOURS
) -> Neighbours:
    """Return for each item the k items that share most groups (orders or visitors) with it; group -1 is nobody.

    score = sum_g w_gi w_gj / (|i| |j| + shrinkage): the cosine of item-kNN (Sarwar et al. 2001, section 3.1) with
    `SHRINKAGE`. Inputs are (n_events,), ascending by time.
    """
    matrix = incidence(group, item, weight, n_items)
    product = (matrix.T @ matrix).tocsr()
    norm = np.sqrt(product.diagonal()).astype(np.float32)
    start, columns, scores = np.zeros(n_items + 1, np.int64), [], []
    for row in range(n_items):
        span = slice(product.indptr[row], product.indptr[row + 1])
        column = product.indices[span]
        score = product.data[span] / (norm[row] * norm[column] + SHRINKAGE)
        score[column == row] = 0
        best = best_of(score, k)
        start[row + 1] = start[row] + len(best)
        columns.append(column[best])
        scores.append(score[best])
    if not columns:
        return Neighbours.from_lists([])
    return Neighbours(start, np.concatenate(columns).astype(np.int32), np.concatenate(scores).astype(np.float32))


def best_of(score: FloatArray, k: int) -> npt.NDArray[np.int64]:
    """Return the places of the k largest positive scores, best first."""
    place = np.argpartition(-score, k)[:k] if len(score) > k else np.arange(len(score))
    place = place[score[place] > 0]
    return place[np.argsort(-score[place], kind="stable")]


def incidence(group: IntArray, item: IntArray, weight: FloatArray, n_items: int) -> sparse.csr_matrix:
    """Return (n_groups, n_items): the strongest weight of the item in the group, newest items of long groups only."""
    known = group >= 0
    key = group[known].astype(np.int64) * n_items + item[known]
    newest = np.arange(len(key))
    order = np.lexsort((newest, key))
    last = np.ones(len(key), bool)
    last[:-1] = key[order][1:] != key[order][:-1]
    if not len(key):
        return sparse.csr_matrix((0, n_items), dtype=np.float32)
    strongest = np.maximum.reduceat(weight[known][order], np.flatnonzero(np.r_[True, last[:-1]]))
    rows, columns = key[order][last] // n_items, key[order][last] % n_items
    rank = _rank_from_newest(rows, newest[order][last])
    keep = rank < LONGEST_HISTORY
    data = strongest.astype(np.float32)[keep]
    return sparse.csr_matrix((data, (rows[keep], columns[keep])), shape=(int(rows.max()) + 1, n_items))


def _rank_from_newest(group: npt.NDArray[np.int64], position: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return for each entry how many of its group are newer; `group` is ascending."""
    order = np.lexsort((-position, group))
    start = np.searchsorted(group, group[order])
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - start
    return rank
