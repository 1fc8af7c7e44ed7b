"""Which items speak for which others: by regression over shoppers, and by the order of their visits. Arrays only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse

from recommender.features.neighbours import Neighbours, best_of, incidence
from recommender.types import FloatArray, IntArray, TimeArray

MOST_ITEMS = 6_000
"""Items that enter the regression, the most bought first: its time grows with the cube, its memory with the square of
their number; 6,000 take about 10 seconds and 300 MB in the worker that computes statistics."""

RIDGE = 300.0
"""L2 of the regression: Steck 2019, section 4, finds 200 to 1,000 for data sets of this size; flat in between."""

N_KEPT = 50
RECENT_ORDERS = 60
"""Newest orders of one visitor whose steps are counted: a wholesaler is not a hundred shoppers."""


def regression_neighbours(visitor: IntArray, item: IntArray, weight: FloatArray, *, n_items: int) -> Neighbours:
    """Return for each item the items that its buyers take beside it, all else being equal, best first.

    The `N_KEPT` largest positive entries of each row of EASE (`ease_weights`) over visitors and items are kept. Inputs
    (n_events,), ascending by time; visitor -1 is nobody.
    """
    matrix = incidence(visitor, item, np.minimum(weight, 1.0), n_items)
    popular = np.argsort(-np.asarray(matrix.sum(axis=0)).ravel(), kind="stable")[:MOST_ITEMS]
    popular = np.sort(popular[np.asarray(matrix[:, popular].sum(axis=0)).ravel() > 0])
    if not len(popular):
        return Neighbours.none(n_items)
    return _kept(ease_weights(matrix[:, popular], penalty=RIDGE), popular, n_items)


def ease_weights(matrix: sparse.csr_matrix, *, penalty: float) -> FloatArray:
    """Return B (n_items, n_items) float32 with a diagonal of 0, for a user-item matrix X (n_users, n_items).

    P = (XᵀX + λI)⁻¹, B = I - P / diag(P) by columns (Steck 2019, equation 8): the linear model from a user's other
    items to each item.
    """
    gram = (matrix.T @ matrix).toarray().astype(np.float32)
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
    visitor: IntArray, basket: IntArray, item: IntArray, time: TimeArray, *, n_items: int
) -> Neighbours:
    """Return for each item what the same visitors took in their next order, best first: a Markov chain of orders.

    score = n(i, then j) / sqrt((n(i) + 1) (n(j) + 1)), n counting orders. Inputs (n_events,), ascending by time; events
    outside an order share one with those of the same minute.
    """
    known = visitor >= 0
    visitor, basket, item, time = visitor[known], basket[known], item[known], time[known]
    if not len(item):
        return Neighbours.none(n_items)
    place = np.where(basket >= 0, basket.astype(np.int64), -1 - (time // 60).astype(np.int64))
    order = np.lexsort((np.arange(len(item)), visitor))
    visitor, place, item = visitor[order], place[order], item[order]
    starts = np.r_[True, (visitor[1:] != visitor[:-1]) | (place[1:] != place[:-1])]
    number = np.cumsum(starts) - 1
    owner = visitor[starts]
    orders = sparse.csr_matrix((np.ones(len(item), np.float32), (number, item)), shape=(len(owner), n_items))
    orders.data[:] = 1
    first = np.flatnonzero((owner[1:] == owner[:-1]) & (_from_newest(owner)[:-1] <= RECENT_ORDERS))
    count = 1 / np.sqrt(np.asarray(orders.sum(axis=0)).ravel() + 1)
    steps = sparse.diags(count) @ (orders[first].T @ orders[first + 1]) @ sparse.diags(count)
    return _kept_sparse(steps.tocsr(), n_items)


def _from_newest(owner: IntArray) -> IntArray:
    """Return how many orders of the same visitor are newer; `owner` is in runs."""
    last = np.r_[np.flatnonzero(owner[1:] != owner[:-1]), len(owner) - 1]
    sizes = np.diff(np.r_[-1, last])
    return (np.repeat(last, sizes) - np.arange(len(owner))).astype(np.int32)


def _kept(table: FloatArray, rows: npt.NDArray[np.integer], n_items: int) -> Neighbours:
    lists: list[list[tuple[int, float]]] = [[] for _ in range(n_items)]
    for place, row in enumerate(rows.tolist()):
        best = best_of(table[place], N_KEPT)
        lists[row] = list(zip(rows[best].tolist(), table[place][best].tolist(), strict=True))
    return Neighbours.from_lists(lists)


def _kept_sparse(table: sparse.csr_matrix, n_items: int) -> Neighbours:
    start, columns, scores = np.zeros(n_items + 1, np.int64), [], []
    for row in range(n_items):
        span = slice(table.indptr[row], table.indptr[row + 1])
        best = best_of(table.data[span], N_KEPT)
        start[row + 1] = start[row] + len(best)
        columns.append(table.indices[span][best])
        scores.append(table.data[span][best])
    return Neighbours(start, np.concatenate(columns).astype(np.int32), np.concatenate(scores).astype(np.float32))
