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


@pytest.mark.parametrize(("position", "expected"), [(9, 1 / math.log2(11)), (10, 0)])
def test_ndcg_counts_the_first_ten(position, expected):
    gains = [0] * 11
    gains[position] = 1
    assert metrics.ndcg_at_k(range(11), {position}) == pytest.approx(expected)
    assert metrics.ndcg_of_scores(range(11, 0, -1), gains) == pytest.approx(expected)


def test_ndcg_of_equal_scores_keeps_their_order():
    assert metrics.ndcg_of_scores([0.5] * 100, [1] + [0] * 99) == 1
    assert metrics.ndcg_of_scores([0.5] * 100, [0, 1] + [0] * 98) == pytest.approx(1 / math.log2(3))


def test_recall_counts_the_first_twenty():
    assert metrics.recall_at_k(range(21), {19}) == 1
    assert metrics.recall_at_k(range(21), {20}) == 0


def test_recall_without_a_relevant_item_is_zero():
    assert metrics.recall_at_k([1, 2], set()) == 0


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


def test_coverage_and_popularity_share_of_the_smallest_catalogues():
    assert metrics.coverage([[7]], 1) == 1
    assert metrics.coverage([], 0) == 0
    assert metrics.popularity_share([], {2}) == 0


@pytest.mark.parametrize(("options", "expected"), [({}, 1.5 / 4), ({"least_gap": 0.3}, 0.5 / 2)])
def test_pair_accuracy_counts_ordered_pairs_within_groups(options, expected):
    """Group 1 has one pair, right; group 0 has three: equal scores and two wrong. A gap of .25 counts."""
    group, grades = np.array([1, 0, 1, 0, 0]), [1.0, 1.0, 0.75, 0.5, 0.25]
    scores = [0.2, 0.9, 0.1, 0.9, 0.95]
    assert metrics.pair_accuracy(group, grades, scores, **options) == pytest.approx(expected)


def test_pair_accuracy_without_a_pair_is_not_a_number():
    assert math.isnan(metrics.pair_accuracy(np.array([0, 1]), [0, 1], [0, 1]))


def test_bootstrap_of_a_constant_gain_is_that_gain():
    interval = metrics.paired_bootstrap([0.5, 0.75], [0.25, 0.5])
    assert (interval.mean, interval.lower, interval.upper) == pytest.approx((0.25, 0.25, 0.25))


def test_bootstrap_of_one_case_or_none_is_its_gain():
    assert metrics.paired_bootstrap([0.75], [0.5]) == metrics.Interval(0.25, 0.25, 0.25)
    assert metrics.paired_bootstrap([], []) == metrics.Interval(0, 0, 0)


def test_bootstrap_of_rare_gains_has_the_quantiles_of_the_binomial_distribution():
    """Of 10 cases one gains: P(X <= 2) = .930 and P(X <= 3) = .987, so that .3 is the upper bound."""
    assert metrics.paired_bootstrap([1] + [0] * 9, [0] * 10) == metrics.Interval(0.1, 0.0, 0.3)
    assert metrics.paired_bootstrap([1, 0], [0, 0]) == metrics.Interval(0.5, 0.0, 1.0)


def test_bootstrap_is_repeatable_and_draws_2000_times_from_seed_0():
    ours, theirs = np.random.default_rng(1).normal(size=(2, 50))
    interval = metrics.paired_bootstrap(ours, theirs)
    assert interval == metrics.paired_bootstrap(ours, theirs, seed=0, n_resamples=2_000)
    assert interval != metrics.paired_bootstrap(ours, theirs, seed=1)
    assert interval != metrics.paired_bootstrap(ours, theirs, n_resamples=2_001)


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
    assert scores.calibration_error == pytest.approx((0.1 + 0.6 + 0.6 + 0.2 + 0.1) / 5)


def test_best_threshold_gives_the_best_f1():
    assert metrics.best_threshold(LABELS, SCORES) == pytest.approx(0.4)
    assert metrics.score_probabilities(LABELS, SCORES, threshold=0.4).f1 == pytest.approx(4 / 5)


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([1, 0, 0, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.5], 0.9),  # F1 of 2 / 3 before 4 / 7
        ([1, 0.5], [0.9, 0.4], 0.9),  # a label of one half is no positive case
        ([1, 1, 0, 0, 0, 0, 0, 0, 0, 0], [0.9, *[0.6] * 9], 0.9),  # at .6 all ten pass: F1 of 1 / 3, at .9 of 2 / 3
        ([], [], 0.5),
    ],
)
def test_best_threshold_of(labels, scores, expected):
    assert metrics.best_threshold(labels, scores) == expected


def test_label_of_one_half_is_no_positive_case():
    scores = metrics.score_probabilities([1, 0.5], [0.9, 0.9], threshold=0.5)
    assert (scores.accuracy, scores.recall, scores.positive_share) == (0.5, 1, 0.5)


def test_log_loss_of_a_coin_is_log_two():
    assert metrics.score_probabilities([1, 0], [0.5, 0.5], threshold=0.5).log_loss == pytest.approx(math.log(2))


def test_probabilities_of_0_and_1_lose_as_one_in_ten_million_does():
    scores = metrics.score_probabilities([0, 0], np.array([0, 1], np.float32), threshold=0.5)
    assert scores.log_loss == pytest.approx(-math.log(1e-7) / 2, rel=1e-6)
    assert (scores.accuracy, scores.recall, scores.f1, scores.positive_share) == (0.5, 0, 0, 0)


def test_cases_without_a_positive_or_a_prediction_have_an_f1_of_0():
    assert metrics.score_probabilities([0, 0], [0.1, 0.2], threshold=0.5).f1 == 0


def test_calibration_error_weighs_bins_by_cases():
    # one bin: mean score .8, frequency .5; the other: mean score 0, frequency 0
    assert metrics.expected_calibration_error([1, 0, 0, 0], [0.8, 0.8, 0, 0], n_bins=10) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("labels", "probabilities", "n_bins", "expected"),
    [
        ([1, 0], [0.4, 0.6], 2, 0.6),  # two bins: their errors do not cancel
        ([0, 1], [1.0, 0.95], 10, 0.475),  # 1 falls into the last bin
        ([1, 0], [0.95, 0.85], 10, 0.45),  # which it does not share with the bin before
        ([1, 0], np.array([0.7, 0.65], np.float32), 10, 0.175),  # .7 in single precision is below .7
        ([1], [0.8], 10, 0.2),
        ([], [], 10, 0),
    ],
)
def test_calibration_error_of(labels, probabilities, n_bins, expected):
    assert metrics.expected_calibration_error(labels, probabilities, n_bins) == pytest.approx(expected)


def test_calibration_error_has_15_bins_unless_another_number_is_given():
    labels, probabilities = [1, 0], [0.935, 0.945]  # one bin of 15 from .9333, two of 16 around .9375
    assert metrics.expected_calibration_error(labels, probabilities) == pytest.approx(0.44)
