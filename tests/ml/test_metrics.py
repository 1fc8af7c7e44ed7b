"""Metrics against answers computed by hand."""

import math

import numpy as np
import pytest

from recommender.ml import metrics


def test_ndcg_of_a_perfect_list_is_one():
    assert metrics.ndcg_at_k([3, 1, 2], {1, 3}, k=2) == pytest.approx(1)


def test_ndcg_discounts_by_position():
    ideal = 1 + 1 / math.log2(3)
    assert metrics.ndcg_at_k([9, 1, 8, 3], {1, 3}, k=4) == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal)


def test_ndcg_without_a_relevant_item_is_zero():
    assert metrics.ndcg_at_k([1, 2], set()) == 0


def test_ndcg_of_scores_weighs_hits_by_their_gain():
    ideal = 3 + 1 / math.log2(3)
    assert metrics.ndcg_of_scores([0.9, 0.8, 0.7], [1, 0, 3]) == pytest.approx((1 + 3 / 2) / ideal)
    assert metrics.ndcg_of_scores([0.1, 0.9], [1, 0], k=1) == 0


def test_recall_is_capped_by_the_length_of_the_list():
    assert metrics.recall_at_k([1, 2], {1, 2, 3, 4}, k=2) == 1
    assert metrics.recall_at_k([1, 9, 8, 7], {1, 2}, k=4) == 0.5


def test_reciprocal_rank_is_of_the_first_hit():
    assert metrics.reciprocal_rank([5, 4, 1, 2], {1, 2}) == pytest.approx(1 / 3)
    assert metrics.reciprocal_rank([5], {1}) == 0


def test_coverage_and_popularity_share_count_entries():
    lists = [[1, 2], [2, 3]]
    assert metrics.coverage(lists, 6) == 0.5
    assert metrics.popularity_share(lists, {2}) == 0.5


def test_bootstrap_of_a_constant_gain_is_that_gain():
    interval = metrics.paired_bootstrap([0.5, 0.75], [0.25, 0.5])
    assert (interval.mean, interval.lower, interval.upper) == pytest.approx((0.25, 0.25, 0.25))


def test_bootstrap_of_one_case_or_none_is_its_gain():
    assert metrics.paired_bootstrap([0.75], [0.5]) == metrics.Interval(0.25, 0.25, 0.25)
    assert metrics.paired_bootstrap([], []) == metrics.Interval(0, 0, 0)


def test_bootstrap_of_noise_holds_zero():
    noise = np.random.default_rng(0).normal(size=400)
    interval = metrics.paired_bootstrap(noise - noise.mean(), np.zeros(400))
    assert interval.lower < 0 < interval.upper
    assert interval.upper == pytest.approx(1.96 * noise.std() / 20, rel=0.15)


LABELS, SCORES = [1, 1, 0, 0, 0], [0.9, 0.4, 0.6, 0.2, 0.1]


def test_scores_at_a_threshold_are_those_counted_by_hand():
    scores = metrics.score_probabilities(LABELS, SCORES, threshold=0.5)
    assert scores.accuracy == pytest.approx(3 / 5)
    assert scores.recall == pytest.approx(1 / 2)
    assert scores.f1 == pytest.approx(1 / 2)
    assert scores.positive_share == pytest.approx(2 / 5)


def test_best_threshold_gives_the_best_f1():
    assert metrics.best_threshold(LABELS, SCORES) == pytest.approx(0.4)
    assert metrics.score_probabilities(LABELS, SCORES, threshold=0.4).f1 == pytest.approx(4 / 5)


def test_log_loss_of_a_coin_is_log_two():
    assert metrics.score_probabilities([1, 0], [0.5, 0.5], threshold=0.5).log_loss == pytest.approx(math.log(2))


def test_probabilities_of_0_and_1_have_a_finite_loss_and_a_slice_without_positives_a_recall_of_0():
    scores = metrics.score_probabilities([0, 0], [0.0, 1.0], threshold=0.5)
    assert math.isfinite(scores.log_loss)
    assert (scores.recall, scores.f1) == (0, 0)


def test_calibration_error_weighs_bins_by_cases():
    # one bin: mean score .8, frequency .5; the other: mean score 0, frequency 0
    assert metrics.expected_calibration_error([1, 0, 0, 0], [0.8, 0.8, 0, 0], n_bins=10) == pytest.approx(0.15)
