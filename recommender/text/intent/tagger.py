"""Tells what each word of a query is about (brand, category, attribute, product), learned from titles and queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from recommender.text.intent.titles import COLOURS, MATERIALS, N_ROLES, OTHER, PRODUCT, SIZES, UNIT_STEMS, Counts, Names
from recommender.text.words import LINKING_WORDS
from recommender.types import FloatArray

N_DRAWN = 4_000
"""Queries made from titles: a few seconds of training, chosen, not tuned."""

MAX_DRAWN_WORDS = 4
REGULARISATION = 1e-3
N_STEPS = 80

_UNKNOWN = [0] * N_ROLES


@dataclass(frozen=True, slots=True)
class Example:
    """One query with the role of each word, -1 where it is not known.

    is_own: the query was made from a title that is among the counts; its own role is taken off them again.
    """

    keys: tuple[str, ...]
    roles: tuple[int, ...]
    is_own: bool = False


class RoleCounts(Protocol):
    """What is read of `Counts`, which may also be packed."""

    @property
    def word(self) -> Mapping[str, list[int]]: ...
    @property
    def second(self) -> Mapping[tuple[str, str], list[int]]: ...
    @property
    def first(self) -> Mapping[tuple[str, str], list[int]]: ...
    @property
    def leading(self) -> Mapping[str, int]: ...
    @property
    def varied(self) -> Mapping[str, int]: ...


@dataclass(frozen=True, slots=True)
class Tagger:
    """A multinomial logistic model over what the catalogue tells of a word and its neighbours.

    weights (n_features, 5): columns as `ROLES`; prior: how often each role is among the words of titles.
    """

    counts: RoleCounts
    brands: Names
    categories: Names
    prior: tuple[float, ...]
    weights: npt.NDArray[np.float64]

    def probabilities(self, keys: Sequence[str]) -> FloatArray:
        """Return (n, 5): the probability of each role of `ROLES`, for each word of a query."""
        if not keys:
            return np.empty((0, N_ROLES), np.float32)
        return _softmax(self.features(keys) @ self.weights).astype(np.float32)

    def features(self, keys: Sequence[str], own: Sequence[int] | None = None) -> npt.NDArray[np.float64]:
        """Return (n, n_features), a row per word; own: roles to take off the counts, of the title they come from."""
        in_brand, in_category = _inside(keys, self.brands), _inside(keys, self.categories)
        roles = [-1] * len(keys) if own is None else own
        words = [self.counts.word.get(key, _UNKNOWN) for key in keys]
        shares = [_shares(count, self.prior, role) for count, role in zip(words, roles, strict=True)]
        rows = []
        for position, (key, role) in enumerate(zip(keys, roles, strict=True)):
            before = keys[position - 1] if position else ""
            after = keys[position + 1] if position + 1 < len(keys) else ""
            n_titles = sum(words[position]) - (role >= 0)
            rows.append(
                [
                    *self._neighbours(position, shares, (before, key, after), role),
                    *self._counted(key, n_titles),
                    *_appearance(before, key, after),
                    float(not before), float(not after), float(len(keys) == 1),
                    in_brand[position], in_category[position], float(position > 0 and in_brand[position - 1] > 0),
                ]
            )  # fmt: skip
        return np.array(rows)

    def _neighbours(
        self, position: int, shares: Sequence[Sequence[float]], words: tuple[str, str, str], role: int
    ) -> list[float]:
        """Return the spread over the roles of a word, of it after the one before and before the next, and of both."""
        own, (before, key, after) = shares[position], words
        second = self.counts.second.get((before, key)) if before else None
        first = self.counts.first.get((key, after)) if after else None
        nobody = [0.0] * N_ROLES
        return [
            *own,
            *(own if second is None else _shares(second, own, role)),
            *(own if first is None else _shares(first, own, role)),
            *(shares[position - 1] if before else nobody),
            *(shares[position + 1] if after else nobody),
            1.0, float(second is not None), float(first is not None),
        ]  # fmt: skip

    def _counted(self, key: str, n_titles: int) -> list[float]:
        """Return how often titles have the word, and how often it leads them or varies in them."""
        if n_titles <= 0:
            return [0.0, 1.0, 0.0, min(float(self.counts.varied[key]), 1.0)]
        leading, varied = self.counts.leading[key] / n_titles, self.counts.varied[key] / n_titles
        return [float(np.log1p(n_titles)) / 5, 0.0, leading, min(varied, 1.0)]


def fit_tagger(counts: Counts, brands: Names, categories: Names, examples: Sequence[Example]) -> Tagger:
    """Fit the weights by L-BFGS; without an example each word has the role that it has in titles."""
    total = np.array(list(counts.word.values()) or [[1] * N_ROLES]).sum(axis=0) + 1.0
    prior = tuple((total / total.sum()).tolist())
    untrained = Tagger(counts, brands, categories, prior, np.empty(0))
    start = _dictionary_weights(untrained.features(["a"]).shape[1])
    if not examples:
        return Tagger(counts, brands, categories, prior, start)
    rows = np.concatenate([untrained.features(query.keys, query.roles if query.is_own else None) for query in examples])
    roles = np.concatenate([query.roles for query in examples])
    return Tagger(counts, brands, categories, prior, _fit(rows[roles >= 0], roles[roles >= 0], start))


def drawn_examples(
    titles: Sequence[tuple[Sequence[str], Sequence[int]]], n: int, *, seed: int = 0
) -> Iterator[tuple[int, Example]]:
    """Make queries of one to four words of a title, mostly with the thing itself; each with the number of its title."""
    generator = np.random.default_rng(seed)
    for number in generator.permutation(len(titles))[:n].tolist():
        keys, roles = titles[number]
        usable = [i for i, key in enumerate(keys) if key not in LINKING_WORDS or generator.random() < 0.1]
        if not usable:
            continue
        chosen = set(generator.permutation(usable)[: int(generator.integers(1, MAX_DRAWN_WORDS + 1))].tolist())
        if generator.random() < 0.7:
            chosen |= {i for i in usable if roles[i] == PRODUCT}
        in_order = sorted(chosen)
        yield number, Example(tuple(keys[i] for i in in_order), tuple(roles[i] for i in in_order), is_own=True)


def _shares(count: Sequence[int], prior: Sequence[float], own: int) -> list[float]:
    """Return how the occurrences are spread over the roles, one occurrence of the prior added, the own one left out."""
    total = sum(count) + 1
    if own >= 0 and count[own] > 0:
        total -= 1
        return [(n - (role == own) + p) / total for role, (n, p) in enumerate(zip(count, prior, strict=True))]
    return [(n + p) / total for n, p in zip(count, prior, strict=True)]


def _inside(keys: Sequence[str], names: Names) -> list[float]:
    """Return 1 for each word that is part of a name, else 0."""
    inside = [0.0] * len(keys)
    if names.codes:
        for start, end, _ in names.spans(keys):
            inside[start:end] = [1.0] * (end - start)
    return inside


def _appearance(before: str, key: str, after: str) -> list[float]:
    """Return what the word is by itself: a number, a unit, a colour, a size, a material or a linking word."""
    claims = (
        any(map(str.isdigit, key)), key.isdigit(), key in UNIT_STEMS, before[-1:].isdigit(), after in UNIT_STEMS,
        key in COLOURS, key in SIZES, key in MATERIALS, key in LINKING_WORDS,
    )  # fmt: skip
    return [float(claim) for claim in claims]


def _fit(
    rows: npt.NDArray[np.float64], roles: npt.NDArray[np.int64], start: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the weights (n_features, 5) of least regularised cross-entropy, from those to start with."""
    truth = np.eye(N_ROLES)[roles]

    def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        matrix = flat.reshape(start.shape)
        probability = _softmax(rows @ matrix)
        cost = -np.log(np.maximum((probability * truth).sum(axis=1), 1e-12)).mean()
        gradient = rows.T @ (probability - truth) / len(rows) + REGULARISATION * matrix
        return float(cost + REGULARISATION / 2 * (flat @ flat)), gradient.ravel()

    fitted = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": N_STEPS})
    return np.asarray(fitted.x, np.float64).reshape(start.shape)


def _dictionary_weights(n_features: int) -> npt.NDArray[np.float64]:
    """Return the weights by which each word has its commonest role in titles; no example is needed for them."""
    weights = np.zeros((n_features, N_ROLES))
    weights[:N_ROLES] = 4 * np.eye(N_ROLES)
    weights[5 * N_ROLES + 4, OTHER] = 1.0  # the feature "no title has the word"
    return weights


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
