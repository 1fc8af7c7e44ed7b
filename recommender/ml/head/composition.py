"""Chooses how much of "for you" is new to the shopper, on lists later than those that the head learned from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from recommender.features.head import DEFAULT_NEW_SHARE
from recommender.ml import metrics
from recommender.ml.head.lists import Lists
from recommender.retrieval.fusion import turns
from recommender.types import FloatArray

SHARES = (DEFAULT_NEW_SHARE, 0.6, 0.7, 0.8, 0.9, 1.0)
"""The shares that are tried; habit is easier to foresee than novelty, so a half is always new."""

LEAST_LISTS = 30
"""Lists with a purchase below which the default is better than a choice."""

TOP = 10


def new_share(lists: Lists, score: Callable[[FloatArray], FloatArray]) -> float:
    """Return the share with the largest sum of NDCG@10 on everything bought later and on what was new among it.

    score: rows (n, n_features) -> (n,), as it would be served. Only visitors with a history count; of equal shares the
    smallest is chosen, and below `LEAST_LISTS` the default.
    """
    chosen = np.flatnonzero(lists.is_new.any(axis=1) & lists.labels.any(axis=1))
    if len(chosen) < LEAST_LISTS:
        return DEFAULT_NEW_SHARE
    gains = np.array([_gains(lists, row, score) for row in chosen.tolist()])
    n_counted = np.maximum((~np.isnan(gains)).sum(axis=0), 1)
    return SHARES[int((np.nansum(gains, axis=0) / n_counted).sum(axis=1).argmax())]


def _gains(lists: Lists, row: int, score: Callable[[FloatArray], FloatArray]) -> list[tuple[float, float]]:
    """Return NDCG@10 by share, of everything and of what was new; NaN for the latter where nothing new was bought."""
    mask = lists.mask[row]
    is_bought, is_new, is_due = lists.labels[row][mask] > 0, lists.is_new[row][mask], lists.is_due[row][mask]
    scores = score(lists.rows[row][mask])
    new, due = _best_first(scores, is_new), _best_first(scores, is_due & ~is_new)
    wanted, wanted_new = (frozenset(np.flatnonzero(bought).tolist()) for bought in (is_bought, is_bought & is_new))
    gains = []
    for share in SHARES:
        ranked = np.concatenate([new, due])[turns(len(new), len(due), share=share)][:TOP].tolist()
        of_new = metrics.ndcg_at_k(ranked, wanted_new, TOP) if wanted_new else np.nan
        gains.append((metrics.ndcg_at_k(ranked, wanted, TOP), of_new))
    return gains


def _best_first(scores: FloatArray, is_used: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    rows = np.flatnonzero(is_used)
    return rows[np.argsort(-scores[rows], kind="stable")]
