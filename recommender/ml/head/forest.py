"""Candidate lists and an additive head in, a forest of trees and its mixture with the head out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.features.head import Head, Mixture
from recommender.ml.head import trees
from recommender.ml.head.additive import calibrator
from recommender.ml.head.examples import Lists, joined
from recommender.ml.head.trees import TreeSettings
from recommender.ml.progress import UNWATCHED, Progress
from recommender.types import FloatArray

TOP = 10
MIXTURES = ((1.0, 0.0), (0.0, 1.0), (0.5, 1.0), (1.0, 1.0))
"""Weights of the additive head and of the forest that are tried on the validation window, the simplest first."""

LEAST_GAIN = 0.001
"""NDCG@10 that a mixture has to bring on validation before the additive head alone is left: trees cost two
milliseconds of a request."""


@dataclass(frozen=True, slots=True)
class ForestSettings:
    """How the forest over candidate lists is grown, by LambdaRank (Burges 2010); `n_forests` seeds are averaged.

    Of each list it sees every hit, the `n_hardest` others that the head puts first, and `n_random` more. On two months
    of the demo that took a third of the time of all 300 at NDCG@10 within .002; with 80 hardest it lost .02 to .03.
    """

    trees: TreeSettings = field(
        default_factory=lambda: TreeSettings(n_trees=100, learning_rate=0.08, n_leaves=15, least_in_leaf=100)
    )
    n_forests: int = 1
    n_hardest: int = 120
    n_random: int = 30


@dataclass(frozen=True, slots=True)
class Forest:
    """LightGBM boosters whose mean score is served, and how it is mixed with the additive head."""

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
    progress: Progress = UNWATCHED,
) -> Forest | None:
    """Grow on `lists`, choose the mixture and calibrate on the later `check`, then grow again on both.

    What is served has learned from the newest moment too; the mixture and its calibration come from trees that had not
    seen it. None where the additive head alone is as good.
    """
    boosters = _grown(lists, head, settings)
    rows = check.rows.reshape(-1, check.rows.shape[-1])
    parts = head.logits(rows), trees.predict(boosters, rows)
    used = check.mask.ravel()
    shift = tuple(float(part[used].mean()) for part in parts)
    scale = tuple(max(float(part[used].std()), 1e-6) for part in parts)
    quality = {}
    for weight in MIXTURES:
        total = sum(w * (part - m) / s for w, part, m, s in zip(weight, parts, shift, scale, strict=True))
        quality[weight] = mean_ndcg(np.asarray(total).reshape(check.mask.shape), check)
        progress.figure(f"validation_ndcg_head_{weight[0]:g}_trees_{weight[1]:g}", quality[weight])
    best = max(MIXTURES, key=lambda weight: quality[weight])
    if best == MIXTURES[0] or quality[best] < quality[MIXTURES[0]] + LEAST_GAIN:
        return None
    blank = Mixture((shift[0], shift[1]), (scale[0], scale[1]), best, head.raw, head.probability)
    raw, probability = calibrator(blank.scores(parts[0][used], parts[1][used]), check.labels.ravel()[used])
    again = _grown(joined([lists, check]), head, settings)
    return Forest(again, Mixture(blank.shift, blank.scale, best, raw, probability))


def mean_ndcg(scores: FloatArray, lists: Lists) -> float:
    """Return the mean NDCG@10 over the lists with a hit, of the hits among the candidates; scores as `mask`."""
    order = np.argsort(np.where(lists.mask, -scores, np.inf), axis=1, kind="stable")[:, :TOP]
    discount = 1 / np.log2(np.arange(TOP) + 2)
    gained = (np.take_along_axis(lists.labels, order, axis=1) * discount[: order.shape[1]]).sum(axis=1)
    n_hits = lists.labels.sum(axis=1).astype(int)
    ideal = np.concatenate(([0.0], np.cumsum(discount)))[np.minimum(n_hits, TOP)]
    return float((gained[n_hits > 0] / ideal[n_hits > 0]).mean()) if (n_hits > 0).any() else 0.0


def _grown(lists: Lists, head: Head, settings: ForestSettings) -> list[Any]:
    chosen = _telling(lists, head, settings)
    rows, labels, size = lists.rows[chosen], lists.labels[chosen], chosen.sum(axis=1)
    boosters = []
    for number in range(settings.n_forests):
        tree = replace(settings.trees, seed=settings.trees.seed + number)
        boosters.append(trees.grow(rows, labels, objective="lambdarank", group=size[size > 0], settings=tree))
    return boosters


def _telling(lists: Lists, head: Head, settings: ForestSettings) -> npt.NDArray[np.bool_]:
    """Return which places are grown on, (n_lists, n_candidates): hits, the hardest misses, and some at random."""
    logits = head.logits(lists.rows.reshape(-1, lists.rows.shape[-1])).reshape(lists.mask.shape)
    is_miss = lists.mask & (lists.labels == 0)
    lot = np.random.default_rng(settings.trees.seed).random(lists.mask.shape, np.float32)
    hardest = _largest(np.where(is_miss, logits, -np.inf), settings.n_hardest)
    drawn = _largest(np.where(is_miss, lot, -np.inf), settings.n_random)
    return lists.mask & ((lists.labels > 0) | (is_miss & (hardest | drawn)))


def _largest(values: FloatArray, k: int) -> npt.NDArray[np.bool_]:
    """Return which of each row (n, m) are among its k largest; equal ones may be more."""
    k = min(k, values.shape[1])
    threshold = np.partition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k]
    return values >= threshold[:, None]
