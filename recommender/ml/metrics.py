"""Quality of lists and of probabilities, as numbers with a known definition."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating] | Sequence[float]


def ndcg_at_k(ranked: Sequence[int], relevant: Collection[int], k: int = 10) -> float:
    """Discounted gain of binary relevance over that of the ideal list of min(k, n_relevant) hits.

    Source: Järvelin and Kekäläinen 2002, equation 2 with log2(position + 1).
    """
    if not relevant:
        return 0.0
    gain = sum(1 / np.log2(place + 2) for place, item in enumerate(ranked[:k]) if item in relevant)
    return float(gain / sum(1 / np.log2(place + 2) for place in range(min(k, len(relevant)))))


def recall_at_k(ranked: Sequence[int], relevant: Collection[int], k: int = 20) -> float:
    """Hits in the first k over min(k, n_relevant), so that 1 can be reached."""
    if not relevant:
        return 0.0
    return sum(item in relevant for item in ranked[:k]) / min(k, len(relevant))


def reciprocal_rank(ranked: Sequence[int], relevant: Collection[int]) -> float:
    """1 / position of the first hit, 0 without one; its mean is MRR."""
    return next((1 / (place + 1) for place, item in enumerate(ranked) if item in relevant), 0.0)


def coverage(lists: Sequence[Sequence[int]], n_items: int) -> float:
    """Share of the catalogue that appears in any list."""
    return len({int(item) for ranked in lists for item in ranked}) / max(n_items, 1)


def popularity_share(lists: Sequence[Sequence[int]], popular: Collection[int]) -> float:
    """Share of all places that hold one of the `popular` items."""
    places = [int(item) in popular for ranked in lists for item in ranked]
    return float(np.mean(places)) if places else 0.0


def pair_accuracy(group: npt.NDArray[np.integer], grades: Values, scores: Values, *, least_gap: float = 0.25) -> float:
    """Share of the pairs within a group that scores order as grades do; equal scores count half, NaN without a pair.

    Pairs whose grades differ by less than `least_gap` are left out: people disagree about them.
    """
    order = np.argsort(group, kind="stable")
    grade, score = np.asarray(grades)[order], np.asarray(scores)[order]
    right = total = 0.0
    for part in np.split(np.arange(len(order)), np.flatnonzero(np.diff(group[order])) + 1):
        above = grade[part, None] - grade[None, part] >= least_gap
        margin = score[part, None] - score[None, part]
        right += float((margin[above] > 0).sum() + 0.5 * (margin[above] == 0).sum())
        total += float(above.sum())
    return right / total if total else float("nan")


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean difference with the bounds of its 95 % interval."""

    mean: float
    lower: float
    upper: float


def paired_bootstrap(ours: Values, theirs: Values, *, seed: int = 0, n_resamples: int = 2_000) -> Interval:
    """Percentile interval of mean(ours - theirs) over resampled cases (Efron and Tibshirani 1993, chapter 13)."""
    difference = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    if not len(difference):
        return Interval(0.0, 0.0, 0.0)
    generator = np.random.default_rng(seed)
    means = np.asarray(
        [difference[generator.integers(0, len(difference), len(difference))].mean() for _ in range(n_resamples)]
    )
    lower, upper = np.quantile(means, [0.025, 0.975])
    return Interval(float(difference.mean()), float(lower), float(upper))


def accuracy(labels: Values, probabilities: Values, threshold: float = 0.5) -> float:
    """Share of cases on the right side of the threshold."""
    predicted = np.asarray(probabilities) >= threshold
    return float(np.mean(predicted == (np.asarray(labels) > 0.5)))


def recall(labels: Values, probabilities: Values, threshold: float = 0.5) -> float:
    """Share of the positives that are found; 0 without a positive."""
    truth = np.asarray(labels) > 0.5
    hits = np.sum(truth & (np.asarray(probabilities) >= threshold))
    return float(hits / max(truth.sum(), 1))


def f1(labels: Values, probabilities: Values, threshold: float = 0.5) -> float:
    """Harmonic mean of precision and recall; 0 without a hit."""
    truth, predicted = np.asarray(labels) > 0.5, np.asarray(probabilities) >= threshold
    return float(2 * np.sum(truth & predicted) / max(truth.sum() + predicted.sum(), 1))


def best_threshold(labels: Values, probabilities: Values) -> float:
    """The probability from which on calling a case positive gives the best F1."""
    truth, score = np.asarray(labels) > 0.5, np.asarray(probabilities, np.float64)
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(truth[order])
    quality = 2 * hits / (np.arange(1, len(score) + 1) + max(int(truth.sum()), 1))
    return float(score[order][int(np.argmax(quality))]) if len(score) else 0.5


def log_loss(labels: Values, probabilities: Values) -> float:
    """Mean negative log-likelihood in nats."""
    truth = np.asarray(labels, np.float64)
    score = np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(truth * np.log(score) + (1 - truth) * np.log1p(-score)))


def expected_calibration_error(labels: Values, probabilities: Values, n_bins: int = 15) -> float:
    """Mean |frequency - confidence| over bins of equal width, weighted by cases (Guo et al. 2017, equation 3)."""
    truth, score = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    place = np.minimum((score * n_bins).astype(int), n_bins - 1)
    gaps = [abs(truth[place == i].sum() - score[place == i].sum()) for i in np.unique(place)]
    return float(sum(gaps) / max(len(score), 1))
