"""Titles and past queries in, a tagger out that tells what each word of a query is about: brand, attribute, product."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from recommender.text.intent.quantities import UNITS
from recommender.text.intent.titles import COLOURS, MATERIALS, OTHER, PRODUCT, ROLES, SIZES, Counts, Names
from recommender.text.words import LINKING_WORDS
from recommender.types import FloatArray, IntArray

N_ROLES = len(ROLES)
N_DRAWN = 4_000
"""Queries made from titles: a few seconds of training, chosen, not tuned."""

MAX_DRAWN_WORDS = 4
REGULARISATION = 1e-3
N_STEPS = 80

_UNKNOWN = [0] * N_ROLES


@dataclass(frozen=True, slots=True)
class Example:
    """One query with the role of each word, -1 where it is not known.

    is_own: the query was made from a title that is among the counts, which must then not tell its own answer.
    """

    keys: tuple[str, ...]
    roles: tuple[int, ...]
    weight: float = 1.0
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class Tagger:
    """A multinomial logistic model over what the catalogue tells of a word and its neighbours.

    weights (n_features, 5): columns as `ROLES`; prior: how often each role is among the words of titles.
    """

    counts: Counts
    brands: Names
    categories: Names
    prior: tuple[float, ...]
    weights: npt.NDArray[np.float64]

    def probabilities(self, keys: Sequence[str]) -> FloatArray:
        """Return (n, 5): the probability of each role of `ROLES`, for each word of a query."""
        if not keys:
            return np.empty((0, N_ROLES), np.float32)
        rows = np.array(feature_rows(keys, self.counts, self.prior, self.brands, self.categories))
        logits = rows @ self.weights
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)

    def looked_up(self, keys: Sequence[str]) -> IntArray:
        """Return (n,) the commonest role of each word in titles: the dictionary that the model must beat."""
        commonest = int(np.argmax(self.prior))
        counts = [self.counts.word.get(key) for key in keys]
        return np.array([commonest if not count else int(np.argmax(count)) for count in counts], np.int32)


def fit_tagger(counts: Counts, brands: Names, categories: Names, examples: Sequence[Example]) -> Tagger:
    """Fit the weights by L-BFGS; without an example each word has the role that it has in titles."""
    total = np.array([list(count) for count in counts.word.values()] or [[1] * N_ROLES]).sum(axis=0) + 1.0
    prior = tuple((total / total.sum()).tolist())
    rows: list[list[float]] = []
    roles: list[int] = []
    weights: list[float] = []
    for example in examples:
        own = example.roles if example.is_own else None
        found = feature_rows(example.keys, counts, prior, brands, categories, own=own)
        for row, role in zip(found, example.roles, strict=True):
            if role >= 0:
                rows.append(row)
                roles.append(role)
                weights.append(example.weight)
    if not rows:
        return Tagger(counts, brands, categories, prior, _dictionary_weights())
    fitted = _fit(np.array(rows), np.array(roles), np.array(weights))
    return Tagger(counts, brands, categories, prior, fitted)


def drawn_examples(
    titles: Sequence[tuple[Sequence[str], Sequence[int]]], n: int, *, seed: int = 0
) -> Iterable[tuple[int, Example]]:
    """Make queries of one to four words of a title, mostly with the thing itself; each with the place of its title."""
    generator = np.random.default_rng(seed)
    for place in generator.permutation(len(titles))[:n].tolist():
        keys, roles = titles[place]
        usable = [i for i, key in enumerate(keys) if key not in LINKING_WORDS or generator.random() < 0.1]
        if not usable:
            continue
        chosen = set(generator.permutation(usable)[: int(generator.integers(1, MAX_DRAWN_WORDS + 1))].tolist())
        if generator.random() < 0.7:
            chosen |= {i for i in usable if roles[i] == PRODUCT}
        kept = sorted(chosen)
        yield place, Example(tuple(keys[i] for i in kept), tuple(roles[i] for i in kept), is_own=True)


def feature_rows(
    keys: Sequence[str],
    counts: Counts,
    prior: Sequence[float],
    brands: Names,
    categories: Names,
    *,
    own: Sequence[int] | None = None,
) -> list[list[float]]:
    """Return one row of features per word; `own`: roles to take off the counts, of the title they were drawn from."""
    n = len(keys)
    in_brand, in_category = _inside(keys, brands), _inside(keys, categories)
    words = [counts.word.get(key, _UNKNOWN) for key in keys]
    shares = [_shares(count, prior, -1 if own is None else own[place]) for place, count in enumerate(words)]
    nobody = [0.0] * N_ROLES
    rows = []
    for place, key in enumerate(keys):
        before, after = keys[place - 1] if place else "", keys[place + 1] if place + 1 < n else ""
        role = -1 if own is None else own[place]
        second = counts.second.get((before, key)) if before else None
        first = counts.first.get((key, after)) if after else None
        n_titles = sum(words[place]) - (role >= 0)
        has_digit = any(map(str.isdigit, key))
        rows.append(
            [
                *shares[place],
                *(shares[place] if second is None else _shares(second, shares[place], role)),
                *(shares[place] if first is None else _shares(first, shares[place], role)),
                *(shares[place - 1] if place else nobody),
                *(shares[place + 1] if place + 1 < n else nobody),
                1.0, float(second is not None), float(first is not None),
                float(np.log1p(n_titles)) / 5 if n_titles > 0 else 0.0, float(n_titles <= 0),
                float(has_digit), float(key.isdigit()),
                float(key in UNITS), float(bool(before) and before[-1:].isdigit()),
                float(bool(after) and after in UNITS),
                float(key in COLOURS), float(key in SIZES), float(key in MATERIALS), float(key in LINKING_WORDS),
                counts.leading[key] / max(n_titles, 1) if n_titles > 0 else 0.0,
                min(counts.varied[key] / max(n_titles, 1), 1.0),
                float(place == 0), float(place == n - 1), float(n == 1),
                in_brand[place], in_category[place], float(place > 0 and in_brand[place - 1] > 0),
            ]
        )  # fmt: skip
    return rows


def _shares(count: Sequence[int], prior: Sequence[float], own: int) -> list[float]:
    """Return how the occurrences are spread over the roles, one occurrence of the prior added, the own one left out."""
    total = sum(count) + 1
    if own >= 0 and count[own] > 0:
        total -= 1
        return [(n - (role == own) + p) / total for role, (n, p) in enumerate(zip(count, prior, strict=True))]
    return [(n + p) / total for n, p in zip(count, prior, strict=True)]


def _inside(keys: Sequence[str], names: Names) -> list[float]:
    inside = [0.0] * len(keys)
    if names.codes:
        for start, end, _ in names.spans(keys):
            inside[start:end] = [1.0] * (end - start)
    return inside


def _fit(
    rows: npt.NDArray[np.float64], roles: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return weights (n_features, 5) of least regularised cross-entropy."""
    shape = (rows.shape[1], N_ROLES)
    truth = np.eye(N_ROLES)[roles]
    share = weights / weights.sum()

    def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        matrix = flat.reshape(shape)
        logits = rows @ matrix
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        probability = odds / odds.sum(axis=1, keepdims=True)
        cost = -(share * np.log(np.maximum((probability * truth).sum(axis=1), 1e-12))).sum()
        gradient = rows.T @ ((probability - truth) * share[:, None]) + REGULARISATION * matrix
        return float(cost + REGULARISATION / 2 * (flat @ flat)), gradient.ravel()

    start = _dictionary_weights()[: shape[0]].ravel()
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": N_STEPS})
    return np.asarray(found.x, np.float64).reshape(shape)


def _dictionary_weights() -> npt.NDArray[np.float64]:
    """Return the weights by which each word has its commonest role in titles; no example is needed for them."""
    n_features = len(feature_rows(["a"], Counts(), [1 / N_ROLES] * N_ROLES, Names({}), Names({}))[0])
    weights = np.zeros((n_features, N_ROLES))
    weights[:N_ROLES] = 4 * np.eye(N_ROLES)
    weights[5 * N_ROLES + 4, OTHER] = 1.0
    return weights
