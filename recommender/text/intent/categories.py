"""Learns from titles and past queries how probable each category is for the words of a query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from recommender.text.words import LINKING_WORDS
from recommender.types import FloatArray, IntArray

SMOOTHING = 0.1
"""Added to the count of each word in each category (Lidstone 1920): a tenth of a title, chosen, not tuned."""

TEMPERATURES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
N_TUNED = 1_000
MAX_TUNED_CELLS = 2_000_000
"""Titles times categories that the temperature is fitted on: 8 MB. With 100,000 categories that is 20 titles."""

PAST_QUERY_PRIOR = 5.0
"""Visitors of a past query whose choices weigh as much as the words of the query."""

Shares = Mapping[int, float]
"""Code of a category to the number of titles, or of visitors, in it."""


@dataclass(frozen=True, slots=True)
class Categorizer:
    """Naive Bayes over words, with a temperature that calibrates its probabilities, and what past queries led to.

    prior, unseen (n_categories,): log share of each category, and log probability of a word that it never had; gains:
    for each word the categories that have it (m,) and what it adds there to the log-likelihood (m,); past: for the
    stems of a past query the categories that it led to (m,), the share of each (m,), and by how many visitors.
    """

    prior: FloatArray
    unseen: FloatArray
    gains: Mapping[str, tuple[IntArray, FloatArray]]
    temperature: float = 1.0
    past: Mapping[tuple[str, ...], tuple[IntArray, FloatArray, float]] = field(default_factory=dict)

    def probabilities(self, keys: Sequence[str]) -> FloatArray:
        """Return (n_categories,); the shares of the catalogue where no word is known."""
        if not len(self.prior):
            return self.prior
        evidence, n_known = self.evidence(keys)
        probability = _softmax(self.prior + self.temperature * evidence) if n_known else np.exp(self.prior)
        if self.past and (counted := self.past.get(_past_key(keys))) is not None:
            codes, share, n_visitors = counted
            probability = PAST_QUERY_PRIOR * probability / (PAST_QUERY_PRIOR + n_visitors)
            probability[codes] += n_visitors * share / (PAST_QUERY_PRIOR + n_visitors)
        return np.asarray(probability, np.float32)

    def evidence(self, keys: Sequence[str]) -> tuple[FloatArray, int]:
        """Return the log-likelihood (n_categories,) of the words that are known, and how many are."""
        total = np.zeros(len(self.prior), np.float32)
        gains = [self.gains[key] for key in keys if key in self.gains]
        for codes, gain in gains:
            total[codes] += gain
        return total + len(gains) * self.unseen, len(gains)


def fit_categorizer(
    titles: Sequence[Sequence[str]],
    category: IntArray,
    n_categories: int,
    past: Sequence[tuple[Sequence[str], Shares]] = (),
    *,
    seed: int = 0,
) -> Categorizer:
    """Count the words of titles (n,) by category (n,), -1 for none, and of past queries by what they led to."""
    counts: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    mass = np.zeros(n_categories)
    titled = [(keys, {code: 1.0}) for keys, code in zip(titles, category.tolist(), strict=True) if code >= 0]
    for keys, shares in [*titled, *past]:
        for key in keys:
            if key not in LINKING_WORDS:
                for code, weight in shares.items():
                    counts[key][code] += weight
                    mass[code] += weight
    share = np.bincount(category[category >= 0], minlength=n_categories) + 1.0
    unseen = np.log(SMOOTHING / (mass + SMOOTHING * max(len(counts), 1)))
    gains = {key: _gain(by_category) for key, by_category in counts.items()}
    plain = Categorizer(np.log(share / share.sum()).astype(np.float32), unseen.astype(np.float32), gains)
    temperature = _temperature(plain, titles, category, seed) if n_categories > 1 else 1.0
    return Categorizer(plain.prior, plain.unseen, gains, temperature, _by_past_query(past))


def _past_key(keys: Sequence[str]) -> tuple[str, ...]:
    """Return the key that two queries of the same words share."""
    return tuple(sorted(set(keys) - LINKING_WORDS))


def _columns(counts: Shares) -> tuple[IntArray, FloatArray]:
    return np.fromiter(counts, np.int32, len(counts)), np.fromiter(counts.values(), np.float32, len(counts))


def _gain(counts: Shares) -> tuple[IntArray, FloatArray]:
    codes, count = _columns(counts)
    return codes, np.log1p(count / SMOOTHING)


def _temperature(model: Categorizer, titles: Sequence[Sequence[str]], category: IntArray, seed: int) -> float:
    """Return the temperature of least log loss on two words of each title, its own count taken off."""
    generator = np.random.default_rng(seed)
    evidence, truth = [], []
    n_tuned = min(N_TUNED, MAX_TUNED_CELLS // len(model.prior) + 1)
    for row in generator.permutation(np.flatnonzero(category >= 0))[:n_tuned].tolist():
        code = int(category[row])
        keys = [key for key in titles[row] if key in model.gains]
        if not keys:
            continue
        drawn = [keys[position] for position in generator.permutation(len(keys))[:2].tolist()]
        likelihood = model.evidence(drawn)[0].copy()
        for key in drawn:
            codes, gain = model.gains[key]
            count = SMOOTHING * np.expm1(float(gain[np.flatnonzero(codes == code)[0]]))
            likelihood[code] += np.log((count - 1 + SMOOTHING) / (count + SMOOTHING)) if count >= 1 else 0.0
        evidence.append(likelihood)
        truth.append(code)
    if not evidence:
        return 1.0
    scores, rows = np.stack(evidence), np.arange(len(truth))

    def loss(temperature: float) -> float:
        probability = _softmax(model.prior + temperature * scores)
        return float(-np.log(np.maximum(probability[rows, truth], 1e-9)).mean())

    return min(TEMPERATURES, key=loss)


def _by_past_query(
    past: Sequence[tuple[Sequence[str], Shares]],
) -> dict[tuple[str, ...], tuple[IntArray, FloatArray, float]]:
    totals: dict[tuple[str, ...], dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for keys, shares in past:
        for code, weight in shares.items():
            totals[_past_key(keys)][code] += weight
    totals.pop((), None)
    by_query = {}
    for key, total in totals.items():
        codes, weights = _columns(total)
        by_query[key] = codes, weights / weights.sum(), float(weights.sum())
    return by_query


def _softmax(logits: FloatArray) -> FloatArray:
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True), np.float32)
