"""The evidence of a run: its own window, earlier ones where it has few cases, and how they are put together."""

import numpy as np
import pytest

from recommender.exceptions import InsufficientData
from recommender.training.judging import evaluation, evidence, windows
from recommender.training.split import split_in_time
from tests import planted

SPLIT = split_in_time(planted.dataset(n_visitors=120))
N_CASES = len(evaluation.cases(SPLIT, most=1_000, seed=0))


def results(*names, n):
    truths = {scope: [frozenset({1})] * n for scope in ("all", "new")}
    return evaluation.Results(truths, {scope: {name: [[1]] * n for name in names} for scope in truths})


def gathered(**settings):
    return evidence.gather(SPLIT, **({"learned_until": 0.0, "seed": 0} | settings))


def test_window_with_enough_cases_needs_no_other():
    assert gathered(least_cases=N_CASES).earlier == ()
    assert len(gathered(least_cases=N_CASES).cases) == N_CASES


def test_earlier_windows_are_taken_the_newest_first_until_there_are_enough():
    one_more = gathered(least_cases=N_CASES + 1)
    assert len(one_more.earlier) == 1
    assert one_more.n_cases == N_CASES + len(one_more.earlier[0].cases)
    assert one_more.earlier[0].split.test_end == SPLIT.test_start
    assert len(gathered(least_cases=10_000).earlier) == len(windows.earlier(SPLIT)) > 1


def test_no_window_is_pooled_that_what_serves_has_learned_from():
    first = windows.earlier(SPLIT)[0]
    assert len(gathered(least_cases=10_000, learned_until=first.test_start).earlier) == 1
    assert gathered(least_cases=10_000, learned_until=first.test_start + 1).earlier == ()


def test_next_to_no_case_is_insufficient_data(monkeypatch):
    monkeypatch.setattr(evidence, "LEAST_CASES_TO_TRAIN", 100_000)
    with pytest.raises(InsufficientData, match="At least 100000 are needed to train"):
        gathered()


def test_rankers_that_answered_in_every_window_are_pooled_and_spread():
    some = [results("ranker", "ease", n=2), results("ranker", "linear_baseline", n=3)]
    pooled = evaluation.pooled(some)
    assert set(pooled.lists["all"]) == {"ranker"}
    assert len(pooled.truths["all"]) == len(pooled.lists["new"]["ranker"]) == 5
    spread = windows.spread(some)
    assert set(spread.lists["all"]) == {"ranker"}
    assert np.isclose(spread.lists["all"]["ranker"].mean, 1)
