"""Words of titles and past queries in, the probability of each category of a query out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from recommender.text.words import LINKING_WORDS
from recommender.types import FloatArray, IntArray

ADDED = 0.1
"""Added to the count of each word in each category (Lidstone 1920): a tenth of a title, chosen, not tuned."""

TEMPERATURES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
N_TUNED = 1_000
MAX_TUNED_CELLS = 2_000_000
"""Titles times categories that the tempering looks at: 8 MB. A shop of 100,000 categories is tempered on 20 titles."""

ASKED_PRIOR = 5.0
"""Visitors of a query whose choices weigh as much as what its words say."""


@dataclass(frozen=True, slots=True)
class Categorizer:
    """Naive Bayes over words, tempered so that its probabilities are honest, and what the very query led to.

    prior, empty (n_categories,): log share of each category, and the log probability of a word not seen in it; gains:
    for each word the categories that have it (m,) and the log-odds it adds there (m,); asked: for the stems of a past
    query the categories of what it led to (m,), the share of each (m,), and by how many visitors.
    """

    prior: FloatArray
    empty: FloatArray
    gains: Mapping[str, tuple[IntArray, FloatArray]]
    temperature: float = 1.0
    asked: Mapping[tuple[str, ...], tuple[IntArray, FloatArray, float]] = field(default_factory=dict)

    def probabilities(self, keys: Sequence[str]) -> FloatArray:
        """Return (n_categories,); the shares of the catalogue where no word is known."""
        if not len(self.prior):
            return self.prior
        evidence, n_known = self.evidence(keys)
        found = _softmax(self.prior + self.temperature * evidence) if n_known else np.exp(self.prior)
        led = self.asked.get(asked_key(keys)) if self.asked else None
        if led is not None:
            codes, share, n_visitors = led
            found = ASKED_PRIOR * found / (ASKED_PRIOR + n_visitors)
            found[codes] += n_visitors * share / (ASKED_PRIOR + n_visitors)
        return np.asarray(found, np.float32)

    def evidence(self, keys: Sequence[str]) -> tuple[FloatArray, int]:
        """Return the log-likelihood (n_categories,) of the words that are known, and how many are."""
        total = np.zeros(len(self.prior), np.float32)
        known = [self.gains[key] for key in keys if key in self.gains]
        for codes, gain in known:
            total[codes] += gain
        return total + len(known) * self.empty, len(known)


def fit_categorizer(
    titles: Sequence[Sequence[str]],
    category: IntArray,
    n_categories: int,
    led: Sequence[tuple[Sequence[str], Mapping[int, float]]] = (),
    *,
    seed: int = 0,
) -> Categorizer:
    """Count words of titles (n,) by their category (n,), -1 for none, and of past queries by what they led to."""
    counts: dict[str, dict[int, float]] = {}
    mass = np.zeros(n_categories)
    share = np.bincount(category[category >= 0], minlength=n_categories) + 1.0
    for keys, code in zip(titles, category.tolist(), strict=True):
        if code >= 0:
            _count(keys, {code: 1.0}, counts, mass)
    for keys, shares in led:
        _count(keys, shares, counts, mass)
    empty = np.log(ADDED / (mass + ADDED * max(len(counts), 1)))
    gains = {key: _gain(found) for key, found in counts.items()}
    plain = Categorizer(np.log(share / share.sum()).astype(np.float32), empty.astype(np.float32), gains)
    tuned = _temperature(plain, titles, category, seed) if n_categories > 1 else 1.0
    return Categorizer(plain.prior, plain.empty, gains, tuned, _asked(led))


def asked_key(keys: Sequence[str]) -> tuple[str, ...]:
    """Return what two queries of the same words have in common."""
    return tuple(sorted(set(keys) - LINKING_WORDS))


def _count(
    keys: Sequence[str], shares: Mapping[int, float], counts: dict[str, dict[int, float]], mass: npt.NDArray[np.float64]
) -> None:
    for key in keys:
        if key in LINKING_WORDS:
            continue
        found = counts.setdefault(key, {})
        for code, weight in shares.items():
            found[code] = found.get(code, 0.0) + weight
            mass[code] += weight


def _gain(found: Mapping[int, float]) -> tuple[IntArray, FloatArray]:
    codes = np.fromiter(found, np.int32, len(found))
    return codes, np.log1p(np.fromiter(found.values(), np.float32, len(found)) / ADDED)


def _temperature(model: Categorizer, titles: Sequence[Sequence[str]], category: IntArray, seed: int) -> float:
    """Return the temperature of least log-loss on two words of titles, the title's own count left out."""
    generator = np.random.default_rng(seed)
    evidence, truth = [], []
    n_tuned = min(N_TUNED, MAX_TUNED_CELLS // len(model.prior) + 1)
    for row in generator.permutation(np.flatnonzero(category >= 0))[:n_tuned].tolist():
        code = int(category[row])
        keys = [key for key in titles[row] if key in model.gains]
        if not keys:
            continue
        drawn = [keys[place] for place in generator.permutation(len(keys))[:2].tolist()]
        found, _ = model.evidence(drawn)
        found = found.copy()
        for key in drawn:
            codes, gain = model.gains[key]
            count = ADDED * np.expm1(float(gain[np.flatnonzero(codes == code)[0]]))
            found[code] += np.log((count - 1 + ADDED) / (count + ADDED)) if count >= 1 else 0.0
        evidence.append(found)
        truth.append(code)
    if not evidence:
        return 1.0
    scores, rows = np.stack(evidence), np.arange(len(truth))

    def loss(temperature: float) -> float:
        probability = _softmax(model.prior + temperature * scores)
        return float(-np.log(np.maximum(probability[rows, truth], 1e-9)).mean())

    return min(TEMPERATURES, key=loss)


def _asked(
    led: Sequence[tuple[Sequence[str], Mapping[int, float]]],
) -> dict[tuple[str, ...], tuple[IntArray, FloatArray, float]]:
    total: dict[tuple[str, ...], dict[int, float]] = {}
    for keys, shares in led:
        if shares and (key := asked_key(keys)):
            counted = total.setdefault(key, {})
            for code, weight in shares.items():
                counted[code] = counted.get(code, 0.0) + weight
    return {key: _shares(counted) for key, counted in total.items()}


def _shares(counted: Mapping[int, float]) -> tuple[IntArray, FloatArray, float]:
    codes = np.fromiter(counted, np.int32, len(counted))
    weights = np.fromiter(counted.values(), np.float32, len(counted))
    return codes, weights / weights.sum(), float(weights.sum())


def _softmax(logits: FloatArray) -> FloatArray:
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True), np.float32)
