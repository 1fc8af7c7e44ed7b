"""Intervals of figures, against textbook values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recommender.experiments.intervals import Estimate, difference, difference_of_means, mean, quantile, rate


def test_rate_has_wilsons_interval() -> None:
    """Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I: 81 of 263 and 15 of 148."""
    for hits, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        estimate = rate(hits, n)
        assert estimate is not None
        assert (round(estimate.low, 4), round(estimate.high, 4)) == (low, high)


def test_nothing_is_estimated_without_a_denominator() -> None:
    assert rate(0, 0) is None
    assert mean(5, 25, 1) is None
    assert difference(rate(1, 2), None) is None
    assert quantile([(5.0, 0)], 0.95) is None


def test_difference_of_rates_is_newcombes() -> None:
    """Newcombe 1998, "Interval estimation for the difference", table II: 56/70 - 48/80, method 10."""
    estimate = difference(rate(56, 70), rate(48, 80))
    assert estimate is not None
    assert (round(estimate.value, 4), round(estimate.low, 4), round(estimate.high, 4)) == (0.2, 0.0524, 0.3339)


def test_mean_of_amounts_spreads_as_they_do() -> None:
    amounts = [0.0] * 90 + [10.0] * 10
    estimate = mean(sum(amounts), sum(amount**2 for amount in amounts), len(amounts))
    assert estimate is not None
    assert estimate.value == pytest.approx(1.0)
    assert estimate.high - estimate.value == pytest.approx(1.96 * 3.0151 / 10, rel=1e-3)
    assert mean(30, 300, 3) == Estimate(10, 10, 10)


def test_quantile_lies_within_its_bound() -> None:
    bounds = [(5.0, 50), (15.0, 40), (40.0, 10), (math.inf, 0)]
    assert quantile(bounds, 0.5) == 5.0
    assert quantile(bounds, 0.95) == pytest.approx(27.5)
    assert quantile([(5.0, 1), (math.inf, 99)], 0.95) == math.inf


def test_shares_of_none_and_all_stay_in_bounds() -> None:
    estimate = difference(rate(0, 10), rate(0, 10))
    assert estimate is not None
    assert estimate.low < estimate.value == 0 < estimate.high


def test_welch_holds_the_true_difference_in_95_of_100() -> None:
    generator = np.random.default_rng(1)
    n_held = 0
    for _ in range(400):
        few, many = generator.exponential(3, 30), generator.normal(2, 1, 200)
        estimate = difference_of_means(few, many)
        assert estimate is not None
        n_held += estimate.low <= 1 <= estimate.high
    assert 0.9 <= n_held / 400 <= 0.99


def test_difference_of_means_without_any_spread_or_with_too_few() -> None:
    assert difference_of_means(np.ones(3), np.zeros(3)) == Estimate(1, 1, 1)
    assert difference_of_means(np.ones(1), np.zeros(3)) is None
