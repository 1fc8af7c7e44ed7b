"""Which items go with which: item-kNN over orders and visitors, regression over visitors, and the next order.

`Neighbours` keeps its own compressed rows rather than a `scipy.sparse` matrix because a page adds up selected rows many
times: `spread` takes 0.02 ms for 100 rows, indexing a matrix 0.06 ms (`benchmarks.personas` prints both).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse

from recommender.features.orders import order_keys
from recommender.types import FloatArray, IntArray, TimeArray

N_NEIGHBOURS = 50
"""Neighbours per item; item-kNN hardly gains from more than about 50 (Deshpande and Karypis 2004, section 6.3)."""

SHRINKAGE = 5.0
"""Added to the denominator of the cosine, so that one shared order proves little (Bell and Koren 2007, 3.1)."""

LONGEST_HISTORY = 300
"""Newest items of one order or visitor that count for co-occurrence: its cost grows with their square."""

MOST_ITEMS = 6_000
"""Items that enter the regression, the most bought first: its time grows with the cube of their number, its memory with
the square; 6,000 take about 10 seconds and 300 MB in the worker that computes statistics."""

RIDGE = 300.0
"""L2 penalty of the regression: Steck 2019, section 4, finds 200 to 1,000 for data of this size, hardly different."""

GAPS, GAP_DECAY = (1, 2, 3), 0.5
"""A step to the next order counts whole, one over an order in between half, over two a quarter: in short histories the
very next order alone says little."""

RECENT_ORDERS = 60
"""Newest orders of one visitor that count for what is bought next: a wholesaler is not a hundred shoppers."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The neighbours of item i are `item[start[i]:start[i + 1]]`, best first.

    start (n_items + 1,) int64; item (n,) int32; score (n,) float32 in (0, 1]; is_public (n,): enough people stand
    behind the pair to show it to others, None for all. What is not public is only computed with.
    """

    start: npt.NDArray[np.int64]
    item: IntArray
    score: FloatArray
    is_public: npt.NDArray[np.bool_] | None = None

    @classmethod
    def from_scores(
        cls, rows: Iterable[tuple[npt.NDArray[np.integer], FloatArray]], *, k: int = N_NEIGHBOURS
    ) -> Neighbours:
        """Take the k largest positive scores of each row, given as the other items and their scores, both (n,)."""
        items: list[npt.NDArray[np.integer]] = [np.empty(0, np.int32)]
        scores = [np.empty(0, np.float32)]
        for item, score in rows:
            best = np.argpartition(-score, k)[:k] if len(score) > k else np.arange(len(score))
            best = best[score[best] > 0]
            best = best[np.argsort(-score[best], kind="stable")]
            items.append(item[best])
            scores.append(score[best])
        start = np.cumsum([len(item) for item in items], dtype=np.int64)
        return cls(start, np.concatenate(items).astype(np.int32), np.concatenate(scores).astype(np.float32))

    @classmethod
    def none(cls, n_items: int) -> Neighbours:
        """Return no neighbour for any item."""
        return cls(np.zeros(n_items + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))

    def of(self, row: int) -> list[tuple[int, float]]:
        """Return the neighbours of one item as (row, score), best first."""
        span = slice(self.start[row], self.start[row + 1])
        return list(zip(self.item[span].tolist(), self.score[span].tolist(), strict=True))

    def spread(self, rows: IntArray, weights: FloatArray, *, public_only: bool = False) -> tuple[IntArray, FloatArray]:
        """Return every neighbour of `rows`, and its score times the weight of its row; both (n_neighbours,)."""
        entry, index = row_entries(self.start, rows)
        if public_only and self.is_public is not None:
            entry, index = entry[self.is_public[entry]], index[self.is_public[entry]]
        return self.item[entry], self.score[entry] * weights[index]


def row_entries(start: npt.NDArray[np.int64], rows: IntArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the entries that compressed rows hold for `rows`, and for each entry the index of its row in `rows`."""
    return entries(start[rows], start[rows + 1] - start[rows])


def entries(
    first: npt.NDArray[np.int64], length: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the entries of runs (n,) given by where each begins and its length, and for each entry its run."""
    index = np.repeat(np.arange(len(first)), length)
    offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    return np.repeat(first, length) + offset, index


def cosine_neighbours(
    group: IntArray, item: IntArray, weight: FloatArray, *, n_items: int, k: int = N_NEIGHBOURS
) -> Neighbours:
    """Return for each item the k items that share most groups (orders or visitors) with it; group -1 is ignored.

    score = sum_g w_gi w_gj / (|i| |j| + shrinkage): the cosine of item-kNN (Sarwar et al. 2001, section 3.1) with
    `SHRINKAGE`. Inputs are (n_events,), ascending by time.
    """
    matrix = incidence(group, item, weight, n_items)
    shared = (matrix.T @ matrix).tocsr()
    norm = np.sqrt(shared.diagonal()).astype(np.float32)

    def scored(row: int) -> tuple[IntArray, FloatArray]:
        span = slice(shared.indptr[row], shared.indptr[row + 1])
        other = shared.indices[span]
        score = shared.data[span] / (norm[row] * norm[other] + SHRINKAGE)
        score[other == row] = 0
        return other, score

    return Neighbours.from_scores(map(scored, range(n_items)), k=k)


def incidence(group: IntArray, item: IntArray, weight: FloatArray, n_items: int) -> sparse.csr_matrix:
    """Return (n_groups, n_items): the largest weight of each item in each group.

    Of each group only the `LONGEST_HISTORY` items with the newest events count. Inputs (n_events,), ascending by time.
    """
    is_grouped = np.flatnonzero(group >= 0)
    if not len(is_grouped):
        return sparse.csr_matrix((0, n_items), dtype=np.float32)
    key = group[is_grouped].astype(np.int64) * n_items + item[is_grouped]
    order = np.argsort(key, kind="stable")
    cells, first = np.unique(key[order], return_index=True)
    largest = np.maximum.reduceat(weight[is_grouped][order], first).astype(np.float32)
    newest_event = np.append(order[first[1:] - 1], order[-1])
    rows, columns = cells // n_items, cells % n_items
    by_age = np.lexsort((-newest_event, rows))
    rank = np.empty(len(rows), np.int64)
    rank[by_age] = np.arange(len(rows)) - np.searchsorted(rows, rows[by_age])
    is_new = rank < LONGEST_HISTORY
    shape = (int(rows.max()) + 1, n_items)
    return sparse.csr_matrix((largest[is_new], (rows[is_new], columns[is_new])), shape=shape)


def regression_neighbours(visitor: IntArray, item: IntArray, weight: FloatArray, *, n_items: int) -> Neighbours:
    """Return for each item what its buyers also buy once all their other items are accounted for, best first.

    These are the largest positive weights of EASE (`ease_weights`) over visitors and items. Inputs (n_events,),
    ascending by time; visitor -1 is ignored.
    """
    matrix = incidence(visitor, item, np.minimum(weight, 1.0), n_items)
    n_buyers = np.asarray(matrix.sum(axis=0)).ravel()
    popular = np.sort(np.argsort(-n_buyers, kind="stable")[:MOST_ITEMS])
    popular = popular[n_buyers[popular] > 0].astype(np.int32)
    if not len(popular):
        return Neighbours.none(n_items)
    chosen = matrix[:, popular]
    return regression_of((chosen.T @ chosen).toarray().astype(np.float32), popular, n_items=n_items)


def regression_of(gram: FloatArray, popular: npt.NDArray[np.integer], *, n_items: int) -> Neighbours:
    """Return the neighbours by regression from the matrix XᵀX (n_popular, n_popular) of the popular items, which is
    overwritten."""
    weights = weights_of_gram(gram, penalty=RIDGE)
    best = Neighbours.from_scores((popular, row) for row in weights)
    n_neighbours = np.zeros(n_items + 1, np.int64)
    n_neighbours[popular + 1] = np.diff(best.start)
    return Neighbours(np.cumsum(n_neighbours), best.item, best.score)


def ease_weights(matrix: sparse.csr_matrix, *, penalty: float) -> FloatArray:
    """Return B (n_items, n_items) float32 with a diagonal of 0, for a user-item matrix X (n_users, n_items).

    P = (XᵀX + λI)⁻¹, B = I - P / diag(P) by columns (Steck 2019, equation 8): the linear model from a user's other
    items to each item.
    """
    return weights_of_gram((matrix.T @ matrix).toarray().astype(np.float32), penalty=penalty)


def weights_of_gram(gram: FloatArray, *, penalty: float) -> FloatArray:
    """The same from XᵀX (n_items, n_items) float32, which is overwritten."""
    gram[np.diag_indices_from(gram)] += penalty
    factor, failed = linalg.lapack.spotrf(gram, lower=1, overwrite_a=1)
    inverse, not_inverted = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed or not_inverted:
        raise np.linalg.LinAlgError(f"XᵀX + {penalty} I of {len(gram)} items is not positive definite.")
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    weights = -inverse / np.diag(inverse)
    weights[np.diag_indices_from(weights)] = 0
    return np.asarray(weights, np.float32)


def sequel_neighbours(
    visitor: IntArray,
    basket: IntArray,
    item: IntArray,
    time: TimeArray,
    *,
    n_items: int,
    person: FloatArray | None = None,
) -> Neighbours:
    """Return for each item what the same visitors bought in their next orders, best first: a Markov chain of orders.

    score = Σ_g d^(g - 1) n_g(i, then j) / sqrt((n(i) + 1) (n(j) + 1)) with the gaps g in `GAPS` and d = `GAP_DECAY`, n
    counting orders, each as much as the person (see `credibility`; default 1). Inputs (n_events,), ascending by time;
    events outside an order form one order per minute.
    """
    order = np.argsort(visitor, kind="stable")
    order = order[visitor[order] >= 0]
    if not len(order):
        return Neighbours.none(n_items)
    visitor, item, key = visitor[order], item[order], order_keys(basket, time)[order]
    is_first = np.r_[True, (visitor[1:] != visitor[:-1]) | (key[1:] != key[:-1])]
    buyer = visitor[is_first]
    number = np.cumsum(is_first) - 1
    orders = sparse.csr_matrix((np.ones(len(item), np.float32), (number, item)), shape=(len(buyer), n_items))
    weight = np.ones(len(buyer), np.float32) if person is None else person[order][is_first]
    orders.data = np.repeat(weight, np.diff(orders.indptr))
    n_newer = np.searchsorted(buyer, buyer, side="right") - 1 - np.arange(len(buyer))
    steps = sparse.csr_matrix((n_items, n_items), dtype=np.float32)
    for gap in GAPS:
        earlier = np.flatnonzero((n_newer >= gap) & (n_newer <= RECENT_ORDERS))
        steps = steps + GAP_DECAY ** (gap - 1) * (orders[earlier].T @ orders[earlier + gap])
    scale = sparse.diags(1 / np.sqrt(np.asarray(orders.sum(axis=0)).ravel() + 1))
    steps = (scale @ steps @ scale).tocsr()
    spans = (slice(*span) for span in pairwise(steps.indptr))
    return Neighbours.from_scores((steps.indices[span], steps.data[span]) for span in spans)
