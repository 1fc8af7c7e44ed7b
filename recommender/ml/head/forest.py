"""Grows gradient-boosted trees on candidate lists and mixes them with the additive head where that ranks better."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.features.head import Head, Mixture
from recommender.ml.head import trees
from recommender.ml.head.additive import calibrator
from recommender.ml.head.lists import Lists, joined
from recommender.ml.head.trees import TreeSettings
from recommender.ml.metrics import ndcg_of_scores
from recommender.ml.processes import shared_out
from recommender.ml.progress import UNWATCHED, Progress
from recommender.types import FloatArray

MIXTURES = ((1.0, 0.0), (0.0, 1.0), (0.5, 1.0), (1.0, 1.0))
"""Weights of the additive head and of the forest to try on the validation window, the simplest first."""

LEAST_GAIN = 0.001
"""Gain on validation from which on a mixture is preferred to the additive head alone: trees cost two milliseconds of a
request. It is the gain in the mean of NDCG@10 of all items and of new items, because the gate judges both."""


@dataclass(frozen=True, slots=True)
class ForestSettings:
    """How the forest over candidate lists is grown, by LambdaRank (Burges 2010); `n_forests` seeds are averaged.

    Each list contributes every hit, the `n_hardest` misses that the head ranks first, and `n_random` other misses. On
    two months of the demo this took a third of the time of all 300 candidates at NDCG@10 within .002; 80 hardest
    misses lost .02 to .03.
    """

    trees: TreeSettings = field(
        default_factory=lambda: TreeSettings(n_trees=100, learning_rate=0.08, n_leaves=15, least_in_leaf=100)
    )
    n_forests: int = 1
    n_hardest: int = 120
    n_random: int = 30


@dataclass(frozen=True, slots=True)
class Forest:
    """LightGBM boosters, whose mean score is served, and how that is mixed with the additive head."""

    boosters: list[Any]
    mixture: Mixture

    def scores(self, head: Head, rows: FloatArray) -> FloatArray:
        """Return (n,) float32 before calibration; rows (n, f)."""
        return self.mixture.scores(head.logits(rows), trees.predict(self.boosters, rows))


def fit_forest(
    lists: Lists,
    check: Lists,
    head: Head,
    *,
    settings: ForestSettings,
    n: int = 1,
    progress: Progress = UNWATCHED,
) -> Forest | None:
    """Grow on `lists`, choose the mixture and calibrate on the later `check`, and grow again on both; by `n` processes.

    The served trees have learned from the newest moment too; mixture and calibration come from trees that had not seen
    it. None where the additive head alone is as good.
    """
    parts_of_past = [lists, joined([lists, check])]
    boosters, served = shared_out(lambda part, _: _grown(part, head, settings), parts_of_past, n=n, progress=progress)
    rows = check.rows.reshape(-1, check.rows.shape[-1])
    parts = head.logits(rows), trees.predict(boosters, rows)
    used = check.mask.ravel()
    shift = tuple(float(part[used].mean()) for part in parts)
    scale = tuple(max(float(part[used].std()), 1e-6) for part in parts)
    quality = {}
    for weights in MIXTURES:
        mixed = _uncalibrated(head, shift, scale, weights).scores(*parts).reshape(check.mask.shape)
        by_scope = {"": mean_ndcg(mixed, check), "new_": mean_ndcg(mixed, check.new_only())}
        for scope, value in by_scope.items():
            progress.figure(f"validation_ndcg_{scope}head_{weights[0]:g}_trees_{weights[1]:g}", value)
        quality[weights] = float(np.mean(list(by_scope.values())))
    best = max(MIXTURES, key=lambda weights: quality[weights])
    if best == MIXTURES[0] or quality[best] < quality[MIXTURES[0]] + LEAST_GAIN:
        return None
    mixture = _uncalibrated(head, shift, scale, best)
    raw, probability = calibrator(mixture.scores(parts[0][used], parts[1][used]), check.labels.ravel()[used])
    return Forest(served, replace(mixture, raw=raw, probability=probability))


def mean_ndcg(scores: FloatArray, lists: Lists) -> float:
    """Return the mean NDCG@10 of the lists with a hit; scores as `mask`."""
    cases = zip(scores, lists.labels, lists.mask, strict=True)
    values = [ndcg_of_scores(score[mask], labels[mask]) for score, labels, mask in cases if labels[mask].any()]
    return float(np.mean(values)) if values else 0.0


def _uncalibrated(
    head: Head, shift: tuple[float, ...], scale: tuple[float, ...], weights: tuple[float, float]
) -> Mixture:
    return Mixture((shift[0], shift[1]), (scale[0], scale[1]), weights, head.raw, head.probability)


def _grown(lists: Lists, head: Head, settings: ForestSettings) -> list[Any]:
    chosen = _training_candidates(lists, head, settings)
    rows, labels, size = lists.rows[chosen], lists.labels[chosen], chosen.sum(axis=1)
    boosters = []
    for number in range(settings.n_forests):
        tree = replace(settings.trees, seed=settings.trees.seed + number)
        boosters.append(trees.grow(rows, labels, objective="lambdarank", group=size[size > 0], settings=tree))
    return boosters


def _training_candidates(lists: Lists, head: Head, settings: ForestSettings) -> npt.NDArray[np.bool_]:
    """Return (n_lists, n_candidates) bool, which to learn from: hits, the hardest misses, and some random ones."""
    logits = head.logits(lists.rows.reshape(-1, lists.rows.shape[-1])).reshape(lists.mask.shape)
    is_miss = lists.mask & (lists.labels == 0)
    random = np.random.default_rng(settings.trees.seed).random(lists.mask.shape, np.float32)
    hardest = _largest(np.where(is_miss, logits, -np.inf), settings.n_hardest)
    drawn = _largest(np.where(is_miss, random, -np.inf), settings.n_random)
    return lists.mask & ((lists.labels > 0) | (is_miss & (hardest | drawn)))


def _largest(values: FloatArray, k: int) -> npt.NDArray[np.bool_]:
    """Return which of each row (n, m) are among its k largest, more than k where values are equal."""
    k = min(k, values.shape[1])
    threshold = np.partition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k]
    return values >= threshold[:, None]
