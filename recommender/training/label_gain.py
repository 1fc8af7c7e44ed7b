"""What graded answers bring to the order of a search: the same queries with the trees that learned from grades, and
without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from recommender.ml import metrics
from recommender.ml.head import trees
from recommender.ml.head.trees import TreeSettings
from recommender.serving.ranker import blended_grade, formula_grade
from recommender.types import FloatArray, IntArray

N_FOLDS = 2
FORMAT = ("labels_n_labels", "labels_n_queries", "labels_ndcg_without", "labels_ndcg", "labels_low", "labels_high")
"""The names of what is reported."""


def label_gain(
    features: FloatArray,
    target: FloatArray,
    query: IntArray,
    n_labels: int,
    *,
    settings: TreeSettings,
    rising: list[int],
    should_stop: Callable[[], bool],
) -> dict[str, float]:
    """NDCG@10 of half of the queries, by trees that learned from the other half, and by the fixed formula alone; both
    ways, so that each query counts once. Empty where it should stop.

    features (n, f) of `MATCH_FEATURES`, target (n,) grades, query (n,) ascending. The gain is that of `n_labels` / 2
    grades, with its 95 % interval by a paired bootstrap of queries.
    """
    rows, start = np.unique(query, return_index=True)
    fold = np.random.default_rng(settings.seed).permutation(len(rows)) % N_FOLDS
    fold_of_row = np.repeat(fold, np.diff(np.append(start, len(query))))
    graded = np.zeros(len(query), np.float32)
    for number in range(N_FOLDS):
        if should_stop():
            return {}
        is_held_out = fold_of_row == number
        forest = trees.grow(
            features[~is_held_out], target[~is_held_out], settings=replace(settings, seed=settings.seed + number),
            rising=rising,
        )  # fmt: skip
        graded[is_held_out] = trees.predict([forest], features[is_held_out])
    with_labels = _ndcg(blended_grade(features, graded), target, start)
    without = _ndcg(formula_grade(features), target, start)
    gain = metrics.paired_bootstrap(with_labels, without, seed=settings.seed)
    means = float(np.mean(without)), float(np.mean(with_labels))
    return dict(zip(FORMAT, (float(n_labels), float(len(without)), *means, gain.lower, gain.upper), strict=True))


def _ndcg(scores: FloatArray, target: FloatArray, start: npt.NDArray[np.intp]) -> list[float]:
    """Of each query with an answer; a grade below 0 is that of an item which answers nothing."""
    gains = np.maximum(target, 0)
    lists = zip(np.split(scores, start[1:]), np.split(gains, start[1:]), strict=True)
    return [metrics.ndcg_of_scores(own, gain) for own, gain in lists if gain.any()]
