"""What every retriever promises; each one's tests subclass `RetrieverContract`."""

import dataclasses

import numpy as np
import pytest

from recommender.retrieval.base import Candidates, Retriever, Wanted
from recommender.tables import Profile
from recommender.types import EVENT_CODES, EventType

DAY = 86_400.0
NOW = 1_700_000_000.0
N_ITEMS = 8


def profile(*events, **values):
    """A profile from (type, row, days ago), oldest first."""
    n = len(events)
    return Profile(
        item=np.array([row for _, row, _ in events], np.int32),
        type=np.array([EVENT_CODES[EventType(kind)] for kind, _, _ in events], np.int8),
        time=np.array([NOW - days * DAY for _, _, days in events], np.float64),
        quantity=np.ones(n, np.float32),
        basket=np.full(n, -1, np.int32),
        queries=("",) * n,
        now=NOW,
        **values,
    )


class RetrieverContract:
    """A subclass gives a retriever over `N_ITEMS` items and a question that it answers with at least two of them."""

    def retriever(self) -> Retriever:
        raise NotImplementedError

    def wanted(self) -> Wanted:
        raise NotImplementedError

    def retrieved(self, limit=N_ITEMS, **changes):
        return self.retriever().retrieve(dataclasses.replace(self.wanted(), **changes), limit=limit)

    def test_candidates_are_rows_of_the_catalogue_without_repeats(self):
        candidates = self.retrieved()
        assert len(candidates) >= 2
        assert candidates.rows.dtype == np.int32
        assert candidates.scores.dtype == np.float32
        assert len(candidates.rows) == len(candidates.scores) == len(set(candidates.rows.tolist()))
        assert candidates.rows.min() >= 0
        assert candidates.rows.max() < N_ITEMS

    def test_best_candidate_comes_first(self):
        scores = self.retrieved().scores
        assert np.isfinite(scores).all()
        assert (np.diff(scores) <= 0).all()

    def test_limit_keeps_the_best(self):
        assert self.retrieved(limit=1).rows.tolist() == self.retrieved().rows[:1].tolist()
        assert len(self.retrieved(limit=0)) == 0

    def test_what_is_not_allowed_is_left_out_and_the_next_follows(self):
        everything = self.retrieved()
        allowed = np.ones(N_ITEMS, bool)
        allowed[everything.rows[0]] = False
        assert self.retrieved(allowed=allowed).rows.tolist() == everything.rows[1:].tolist()

    def test_nothing_allowed_is_no_candidate(self):
        assert len(self.retrieved(allowed=np.zeros(N_ITEMS, bool))) == 0

    def test_same_question_gets_the_same_answer(self):
        first, second = self.retrieved(), self.retrieved()
        assert first.rows.tolist() == second.rows.tolist()
        assert first.scores.tolist() == second.scores.tolist()

    def test_question_about_nothing_is_answered(self):
        candidates = self.retriever().retrieve(Wanted(profile()), limit=3)
        assert isinstance(candidates, Candidates)


def test_equal_scores_keep_the_lower_row_also_at_the_cut():
    rows, scores = np.array([5, 1, 7, 3]), np.array([1, 1, 2, 1], np.float32)
    assert Candidates.best(rows, scores, 3).rows.tolist() == [7, 1, 3]
    assert Candidates.best(rows, scores, 10).rows.tolist() == [7, 1, 3, 5]


@pytest.mark.parametrize("limit", [1, 5, 50, 200])
def test_cut_equals_a_full_sort(limit):
    scores = np.random.default_rng(0).integers(0, 20, 100).astype(np.float32)
    expected = sorted(range(100), key=lambda row: (-scores[row], row))[:limit]
    assert Candidates.best(np.arange(100), scores, limit).rows.tolist() == expected
