"""Splits the score of each item of a list into what words, meaning, behaviour, the shopper's past and the context add.

What is split is the score as it was served, so the parts of an item always sum to it. A model's share of a part is its
Shapley value against the mean candidate of the list: exact for every model, also for trees and calibrated ones.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
import numpy.typing as npt

from recommender.features import FEATURE_NAMES
from recommender.features.names import BERT, NEIGHBOUR, POPULARITY, PRODUCTS, TEXT, VISITOR, WORDS
from recommender.retrieval import fusion
from recommender.retrieval.base import Candidates
from recommender.retrieval.candidates import N_CANDIDATES, NEAR_WEIGHT, chosen_with, sources
from recommender.retrieval.matching import ABOUT, MATCH_FEATURES
from recommender.serving.lists import near_to, wanted_at_home
from recommender.serving.question import Listed, Question
from recommender.serving.search import described
from recommender.types import EventType, FloatArray, IntArray, Rung, Slot

Columns = npt.NDArray[np.int64]
Parts = npt.NDArray[np.float64]
"""(n, n_parts), columns in the order of `Part`."""


class Part(enum.StrEnum):
    """What adds to a score; `START` is what an average candidate of the list has, `OTHER` what no part explains."""

    START = "start"
    WORDS = "words"
    MEANING = "meaning"
    BEHAVIOUR = "behaviour"
    PAST = "past"
    CONTEXT = "context"
    OTHER = "other"


PARTS = tuple(Part)
COLUMN = {part: column for column, part in enumerate(PARTS)}

HEAD_PARTS: Mapping[Part, frozenset[str]] = {
    Part.WORDS: frozenset((*WORDS, *TEXT)),
    Part.MEANING: frozenset(BERT),
    Part.BEHAVIOUR: frozenset((*NEIGHBOUR, *POPULARITY)),
    Part.CONTEXT: frozenset((*VISITOR, "category_current", "price_level")),
}
"""Features of the head by part; those of no part are about the shopper's past: own orders, tastes, persona."""

MATCH_PARTS: Mapping[Part, frozenset[str]] = {
    Part.MEANING: frozenset(("meaning", "like_best", "best_meaning", *ABOUT)),
}
"""Features of a match by part; the others are about its words."""

OF_SOURCE: Mapping[str, Part] = {"own": Part.PAST, "vector": Part.MEANING, "latest": Part.MEANING}
"""The part that a source of candidates adds to; the others are about the behaviour of all."""

OF_SLOT: Mapping[Slot, Part] = {
    Slot.CART: Part.BEHAVIOUR, Slot.BOUGHT_TOGETHER: Part.BEHAVIOUR, Slot.TRENDING: Part.BEHAVIOUR,
    Slot.RECENTLY_VIEWED: Part.PAST, Slot.BUY_AGAIN: Part.PAST,
}  # fmt: skip
"""What orders the lists that no model scores."""


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The parts of the scores (n,) of rows (n,), which sum to them; graded (n,) bool: which of them a model or a
    retriever scored at all: the others stand where they do for another reason. is_chance: scores are probabilities."""

    rows: IntArray
    scores: npt.NDArray[np.float64]
    parts: Parts
    graded: npt.NDArray[np.bool_]
    is_chance: bool = False

    def of(self, row: int) -> dict[Part, float]:
        """What each part adds to the score of a row."""
        (index,) = np.flatnonzero(self.rows == row)
        return dict(zip(PARTS, self.parts[index].tolist(), strict=True))

    def difference(self, row: int, other: int) -> dict[Part, float]:
        """How much more each part adds to a row than to another, the most first; the sum is that of the scores."""
        own, others = self.of(row), self.of(other)
        gaps = {part: own[part] - others[part] for part in PARTS}
        return dict(sorted(gaps.items(), key=lambda gap: -abs(gap[1])))


@dataclass(frozen=True, slots=True)
class _Split:
    """The parts (n, n_parts) of some rows (n,), before they are completed to the scores."""

    rows: IntArray
    parts: Parts
    is_chance: bool = False


def breakdown(question: Question, listed: Listed, rows: IntArray) -> Breakdown:
    """Split the scores of `rows` (n,) of a list. As long as ranking it, and a few milliseconds more."""
    slot = listed.source or question.request.slot
    split = SPLITS.get(slot, _by_slot)(question, listed, rows)
    served = dict(zip(listed.rows.tolist(), listed.scores.astype(np.float64).tolist(), strict=True))
    scores = np.array([served.get(row, 0.0) for row in rows.tolist()])
    parts, graded = np.zeros((len(rows), len(PARTS))), np.isin(rows, split.rows)
    index = {row: position for position, row in enumerate(split.rows.tolist())}
    parts[graded] = split.parts[[index[row] for row in rows[graded].tolist()]]
    parts[:, COLUMN[Part.OTHER]] += scores - parts.sum(axis=1)
    return Breakdown(rows, scores, parts, graded, split.is_chance)


def shapley(
    score: Callable[[FloatArray], FloatArray], rows: FloatArray, mean: FloatArray, groups: Sequence[Columns]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the score of the mean for each row (n,), and what each group of columns adds to it (n, n_groups).

    score: of rows (m, f), each by itself, the same n in a row over and over. Baseline Shapley values (Sundararajan and
    Najmi 2020, "The many Shapley values for model explanation", section 3), computed over all subsets of the groups,
    which must have every column between them.
    """
    n, n_groups = len(rows), len(groups)
    inputs = np.broadcast_to(mean, (2**n_groups, *rows.shape)).astype(np.float32)
    for subset in range(2**n_groups):
        for group, columns in enumerate(groups):
            if subset >> group & 1:
                inputs[subset][:, columns] = rows[:, columns]
    values = np.asarray(score(inputs.reshape(-1, rows.shape[1])), np.float64).reshape(2**n_groups, n)
    added = np.zeros((n, n_groups))
    for group in range(n_groups):
        for subset in range(2**n_groups):
            if not subset >> group & 1:
                size = subset.bit_count()
                weight = factorial(size) * factorial(n_groups - size - 1) / factorial(n_groups)
                added[:, group] += weight * (values[subset | 1 << group] - values[subset])
    return values[0], added


def part_of(name: str, parts: Mapping[Part, frozenset[str]], rest: Part) -> Part:
    """The part that a feature belongs to; a product belongs where its factor does."""
    factor = dict(PRODUCTS).get(name, name)
    return next((part for part, names in parts.items() if factor in names), rest)


def _split_model(
    score: Callable[[FloatArray], FloatArray], rows: FloatArray, mean: FloatArray, parts: Sequence[Part]
) -> Parts:
    """Split the scores of a model; parts: of each column."""
    present = [part for part in PARTS if part in parts]
    groups = [np.flatnonzero([other is part for other in parts]) for part in present]
    start, added = shapley(score, rows, mean, groups)
    split = np.zeros((len(rows), len(PARTS)))
    split[:, COLUMN[Part.START]] = start
    split[:, [COLUMN[part] for part in present]] = added
    return split


def _search(question: Question, listed: Listed, rows: IntArray) -> _Split:
    """Of a search: its grade by words and meaning, then what sales and likings add."""
    preference, attempt = listed.preference, listed.attempt
    if preference is None or attempt is None:
        return _by_slot(question, listed, rows)
    graded = preference.graded
    index = np.flatnonzero(np.isin(graded.rows, rows))
    rows, grades = graded.rows[index], graded.scores[index].astype(np.float64)
    ranker, shelf = question.served.ranker, question.served.shelf
    split = np.zeros((len(rows), len(PARTS)))
    if ranker is not None and shelf.vectors is not None and len(rows):
        vector = question.query_vector(attempt.intent.text)
        columns = described(question, graded.rows, attempt, vector)
        parts = [part_of(name, MATCH_PARTS, Part.WORDS) for name in MATCH_FEATURES]
        split = _split_model(ranker.grade, columns[index], columns.mean(axis=0), parts)
    split[:, COLUMN[Part.WORDS]] += grades - split.sum(axis=1)  # all of it without vectors, else what its text adds
    for part, added in ((Part.BEHAVIOUR, preference.by_sales), (Part.PAST, preference.by_liking)):
        if len(added):
            split[:, COLUMN[part]] += added[index]
    return _Split(rows, split)


def _home(question: Question, listed: Listed, rows: IntArray) -> _Split:
    """Of "for you": the head's probability, or without a head the ranks at the sources."""
    wanted, due = wanted_at_home(question)
    shelf = question.served.shelf
    retrieved = sources(wanted, shelf.state, question.near)
    fused = fusion.fuse_ranks(list(retrieved.values()), limit=N_CANDIDATES)
    candidates = np.concatenate([fused.rows, due.rows])
    by_head = _by_head(question, candidates, rows, wanted.vector)
    if by_head is not None:
        return by_head
    lists = [(OF_SOURCE.get(name, Part.BEHAVIOUR), one, 1.0) for name, one in retrieved.items()]
    by_ranks = _by_ranks(lists, rows[np.isin(rows, fused.rows)])
    by_cycle = _whole(Part.PAST, *due.pair(), rows)
    return _Split(np.concatenate([by_ranks.rows, by_cycle.rows]), np.concatenate([by_ranks.parts, by_cycle.parts]))


def _buy_again(question: Question, listed: Listed, rows: IntArray) -> _Split:
    bought = question.own_items(len(question.served.shelf), (EventType.PURCHASE,))
    by_head = _by_head(question, bought.rows, rows, question.context_vector())
    return by_head if by_head is not None else _by_slot(question, listed, rows)


def _by_head(
    question: Question, candidates: IntArray, rows: IntArray, context_vector: FloatArray | None
) -> _Split | None:
    """Split the head's probabilities of those of `rows` that are candidates (m,), beside their mean; None without."""
    ranker, shelf = question.served.ranker, question.served.shelf
    if ranker is None or shelf.vectors is None:
        return None
    rows = rows[np.isin(rows, candidates)]
    if not len(rows):
        return _Split(rows, np.zeros((0, len(PARTS))), is_chance=True)
    scored = ranker.score(
        question.profile, candidates, shelf.state, shelf.items, shelf.vectors, context_vector=context_vector
    )
    index = {row: position for position, row in enumerate(candidates.tolist())}
    columns = scored.features[[index[row] for row in rows.tolist()]]

    def score(inputs: FloatArray) -> FloatArray:
        repeated = np.tile(rows, len(inputs) // len(rows))
        return question.scores_of(ranker.scored(inputs), repeated, ranker)

    parts = [part_of(name, HEAD_PARTS, Part.PAST) for name in FEATURE_NAMES]
    return _Split(rows, _split_model(score, columns, scored.features.mean(axis=0), parts), is_chance=True)


def _similar(question: Question, listed: Listed, rows: IntArray) -> _Split:
    """Of what is similar: the ranks by text and by what the same visitors chose."""
    shelf, allowed, here = question.served.shelf, question.allowed(), question.here()
    chosen_too, believed = chosen_with(here, shelf.state, allowed)
    by_text = Part.MEANING if shelf.vectors is not None else Part.WORDS
    return _by_ranks([(by_text, near_to(question, allowed), NEAR_WEIGHT), (Part.BEHAVIOUR, chosen_too, believed)], rows)


def _by_ranks(retrieved: Sequence[tuple[Part, Candidates, float | FloatArray]], rows: IntArray) -> _Split:
    """Split scores of reciprocal rank fusion: each list adds its weight by the rank in it."""
    rows = rows[np.isin(rows, np.concatenate([candidates.rows for _part, candidates, _weight in retrieved]))]
    index = {row: position for position, row in enumerate(rows.tolist())}
    split = np.zeros((len(rows), len(PARTS)))
    for part, candidates, weight in retrieved:
        ranks = np.arange(1, len(candidates) + 1, dtype=np.float32)
        added = np.broadcast_to(weight / (fusion.RANK_CONSTANT + ranks), ranks.shape)
        for row, value in zip(candidates.rows.tolist(), added.tolist(), strict=True):
            if row in index:
                split[index[row], COLUMN[part]] += value
    return _Split(rows, split)


def _by_slot(question: Question, listed: Listed, rows: IntArray) -> _Split:
    """Of lists that no model scores: the whole score is of one part; the age of the newest items is of none."""
    part = OF_SLOT.get(listed.source or question.request.slot, Part.BEHAVIOUR)
    if listed.rung is Rung.EMPTY:
        return _whole(part, rows[:0], listed.scores[:0], rows)
    return _whole(part, listed.rows, listed.scores, rows)


def _whole(part: Part, listed: IntArray, scores: FloatArray, rows: IntArray) -> _Split:
    """Those of `rows` that have a score, which is of one part; listed (m,), scores (m,)."""
    score = {row: value for row, value in zip(listed.tolist(), scores.tolist(), strict=True) if value}
    rows = rows[np.isin(rows, list(score))]
    split = np.zeros((len(rows), len(PARTS)))
    split[:, COLUMN[part]] = [score[row] for row in rows.tolist()]
    return _Split(rows, split)


SPLITS: Mapping[Slot, Callable[[Question, Listed, IntArray], _Split]] = {
    Slot.SEARCH: _search,
    Slot.HOME: _home,
    Slot.BUY_AGAIN: _buy_again,
    Slot.SIMILAR: _similar,
}
