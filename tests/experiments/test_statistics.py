"""The arithmetic of experiments against answers that are known by construction or by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.experiments import covariates, exploring, off_policy
from recommender.experiments.assignment import CONTROL, VARIANT, Allocation, free_range, position
from recommender.experiments.balance import SURE, imbalance
from recommender.experiments.interleaving import preference, team_draft
from recommender.experiments.sequences import FEWEST_PER_ARM, Sums, difference, mean, sample_size

PEOPLE = [f"person {number}" for number in range(20_000)]


def sums_of(values):
    return covariates.sums(np.array(values, float))


def allocation(**changes):
    return Allocation(**{"group": "g", "salt": "s", "first": 0.0, "share": 1.0, "variant_share": 0.5, **changes})


def test_person_stays_in_one_arm_and_arms_have_their_shares():
    allocated = allocation(share=0.5, variant_share=0.2)
    arms = [allocated.arm(person) for person in PEOPLE]
    assert arms == [allocated.arm(person) for person in PEOPLE]
    inside = [arm for arm in arms if arm]
    assert len(inside) / len(PEOPLE) == pytest.approx(0.5, abs=0.02)
    assert inside.count(VARIANT) / len(inside) == pytest.approx(0.2, abs=0.02)


def test_ranges_of_one_group_have_nobody_in_common():
    first, second = allocation(share=0.5), allocation(salt="other", first=0.5, share=0.5)
    assert not [person for person in PEOPLE if first.arm(person) and second.arm(person)]
    assert all(first.arm(person) or second.arm(person) for person in PEOPLE)


def test_experiments_of_different_groups_are_independent():
    first, second = allocation(), allocation(group="h", salt="other")
    both = sum(first.arm(person) == second.arm(person) == VARIANT for person in PEOPLE)
    assert both / len(PEOPLE) == pytest.approx(0.25, abs=0.02)


def test_position_is_uniform():
    counts = np.histogram([position(person, "salt") for person in PEOPLE], bins=10, range=(0, 1))[0]
    assert abs(counts / len(PEOPLE) - 0.1).max() < 0.01


@pytest.mark.parametrize(
    ("taken", "share", "first"),
    [([], 1.0, 0.0), ([(0.0, 0.5)], 0.5, 0.5), ([(0.0, 0.5)], 0.6, None), ([(0.2, 0.3), (0.7, 0.3)], 0.2, 0.0),
     ([(0.0, 0.2), (0.5, 0.5)], 0.3, 0.2)],
)  # fmt: skip
def test_free_range_is_the_first_wide_enough_gap(taken, share, first):
    found_first = free_range(taken, share)
    assert found_first == first if first is None else found_first == pytest.approx(first)


def test_sums_are_mean_and_sample_variance():
    values = [1.0, 4.0, 7.0, 0.0]
    sums = sums_of(values)
    assert sums.mean == np.mean(values)
    assert sums.variance == pytest.approx(np.var(values, ddof=1))
    assert Sums().mean == Sums().variance == 0.0


def test_interval_at_the_planned_number_has_the_width_of_the_source():
    """x = 8.212 solves x = log((x + 1) / .05^2), so that the interval is sqrt(9.212) = 3.035 standard errors wide."""
    arm = Sums(5_000, 250.0, 250.0)
    interval = difference(arm, arm, planned=10_000)
    error = math.sqrt(2 * arm.variance / arm.n)
    assert interval.estimate == 0
    assert interval.high / error == pytest.approx(3.035, abs=0.001)


def test_interval_is_wider_before_and_after_the_planned_number():
    arm = Sums(5_000, 250.0, 250.0)
    at_plan = difference(arm, arm, planned=10_000).high
    assert difference(arm, arm, planned=1_000).high > at_plan
    assert difference(arm, arm, planned=100_000).high > at_plan


def test_few_people_prove_nothing():
    few = Sums(FEWEST_PER_ARM - 1, 99.0, 99.0)
    interval = difference(few, Sums(10_000, 0.0, 0.0), planned=100)
    assert (interval.low, interval.high) == (-math.inf, math.inf)
    assert not interval.is_loss
    assert mean(few, planned=100).low == -math.inf


def test_sure_difference_is_a_gain_or_a_loss():
    few, many = Sums(5_000, 250.0, 250.0), Sums(5_000, 500.0, 500.0)
    assert difference(few, many, planned=10_000).is_gain
    assert difference(many, few, planned=10_000).is_loss


def test_experiments_without_effect_are_rarely_decided_at_any_look():
    generator, n_decided = np.random.default_rng(1), 0
    for _run in range(200):
        orders = np.cumsum(generator.binomial(250, 0.05, (40, 2)), axis=0)
        looks = [(Sums(250 * look, a, a), Sums(250 * look, b, b)) for look, (a, b) in enumerate(orders.tolist(), 1)]
        intervals = [difference(*arms, planned=20_000) for arms in looks]
        n_decided += any(interval.is_gain or interval.is_loss for interval in intervals)
    assert n_decided <= 10


def test_stated_sample_finds_the_stated_lift():
    planned = sample_size(0.05, 0.05 * 0.95, lift=0.2, variant_share=0.5)
    generator, n_found, n = np.random.default_rng(2), 0, planned // 2
    for _run in range(200):
        control, variant = generator.binomial(n, (0.05, 0.06)).tolist()
        n_found += difference(Sums(n, control, control), Sums(n, variant, variant), planned=planned).is_gain
    assert n_found >= 150


def test_unequal_shares_need_more_people():
    even, uneven = (sample_size(0.05, 0.0475, lift=0.02, variant_share=share) for share in (0.5, 0.1))
    assert uneven / even == pytest.approx((1 / 0.9 + 1.02 / 0.1) / (2 + 2.04), rel=1e-3)


@pytest.mark.parametrize(("mean_", "lift", "share"), [(0, 0.1, 0.5), (1, 0, 0.5), (1, 0.1, 0), (1, 0.1, 1)])
def test_sample_size_refuses_what_has_no_answer(mean_, lift, share):
    with pytest.raises(ValueError, match=r"must lie between|needs a mean"):
        sample_size(mean_, 1.0, lift=lift, variant_share=share)


def test_balanced_arms_raise_no_alarm_and_lost_people_do():
    generator = np.random.default_rng(3)
    balanced = [imbalance(generator.multinomial(5_000, (0.9, 0.1)).tolist(), (0.9, 0.1)) for _run in range(300)]
    assert sum(chance < SURE for chance in balanced) <= 1
    assert imbalance([4_500, 350], (0.9, 0.1)) < SURE
    assert imbalance([0, 0], (0.5, 0.5)) == 1.0


def test_cuped_keeps_the_mean_and_removes_what_was_known_before():
    generator = np.random.default_rng(4)
    before = generator.gamma(2.0, size=4_000)
    after = 3 * before + generator.normal(size=4_000)
    adjusted = covariates.adjusted(after, before)
    assert adjusted.mean() == pytest.approx(after.mean())
    assert adjusted.var() == pytest.approx(1.0, rel=0.1)
    assert np.array_equal(covariates.adjusted(after, np.zeros(4_000)), after)


def test_team_draft_lets_each_side_choose_once_a_round():
    control, variant = list("abcdef"), list("uvwxyz")
    for seed in range(20):
        drafted = team_draft(control, variant, limit=6, seed=str(seed))
        for first in range(0, 6, 2):
            assert {team for _item, team in drafted[first : first + 2]} == {CONTROL, VARIANT}
        assert [item for item, team in drafted if team == CONTROL] == control[:3]


def test_team_draft_shows_an_item_once_and_continues_with_the_same_beginning():
    control, variant = list("abcd"), list("badc")
    short, long = (team_draft(control, variant, limit=limit, seed="s") for limit in (2, 9))
    assert long[:2] == short
    assert sorted(item for item, _team in long) == list("abcd")


def test_coin_is_fair():
    firsts = [team_draft(["a"], ["b"], limit=1, seed=str(seed))[0][1] for seed in range(2_000)]
    assert firsts.count(CONTROL) / 2_000 == pytest.approx(0.5, abs=0.04)


def test_random_clicks_prefer_neither_side():
    coins, scores = random.Random(5), []
    for seed in range(3_000):
        drafted = team_draft(list("abcdefgh"), list("hgfedcba"), limit=8, seed=str(seed))
        clicked = [team for position, (_item, team) in enumerate(drafted) if coins.random() < 1 / (2 + position)]
        scores.append(preference(clicked.count(CONTROL), clicked.count(VARIANT)))
    assert abs(np.mean(scores)) < 0.04


def test_epsilon_leaves_the_rankers_choice_most_of_the_chance():
    chances = exploring.epsilon_chances(5, 0.5)
    assert chances.tolist() == pytest.approx([0.6, 0.1, 0.1, 0.1, 0.1])


def test_thompson_explores_what_is_little_known():
    generator = np.random.default_rng(6)
    predicted, known_well = np.array([0.10, 0.09]), np.array([1e6, 1e6])
    certain = exploring.thompson_chances(predicted, known_well, generator=generator)
    uncertain = exploring.thompson_chances(predicted, np.array([1e6, 0.0]), generator=generator)
    assert certain.tolist() == [1.0, 0.0]
    assert 0.2 < uncertain[1] < 0.6
    assert uncertain.sum() == pytest.approx(1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_drawn_chances_are_a_distribution_over_the_pool(predicted, seed):
    generator = np.random.default_rng(seed)
    chances = exploring.thompson_chances(np.array(predicted), np.zeros(len(predicted)), generator=generator)
    assert chances.sum() == pytest.approx(1)
    assert chances[exploring.draw(chances, generator=generator)] > 0


def test_off_policy_estimates_of_a_log_by_hand():
    """Four places, each item with chance 1/2; the other ranker shows the first item always. Rewards of it: 1, 0."""
    reward, weight = np.array([1.0, 0.0, 1.0, 1.0]), np.array([2.0, 2.0, 0.0, 0.0])
    assert off_policy.ips(reward, weight).value == 0.5
    assert off_policy.snips(reward, weight).value == 0.5
    right = {"predicted": np.array([0.5, 0.5, 1.0, 1.0]), "expected": np.full(4, 0.5)}
    assert off_policy.doubly_robust(reward, weight, **right).value == 0.5
    assert off_policy.ips(reward, weight).n_effective == 2


def test_log_without_overlap_has_no_answer():
    nothing = off_policy.snips(np.ones(3), np.zeros(3))
    assert math.isnan(nothing.value)
    assert (nothing.low, nothing.high) == (-math.inf, math.inf)


def test_doubly_robust_is_narrower_with_a_good_prediction():
    generator, n = np.random.default_rng(7), 5_000
    rates = generator.beta(2, 8, (n, 2))
    shown = generator.integers(0, 2, n)
    reward = (generator.random(n) < rates[np.arange(n), shown]).astype(float)
    weight = np.where(shown == 0, 2.0, 0.0)
    plain = off_policy.ips(reward, weight)
    robust = off_policy.doubly_robust(reward, weight, predicted=rates[np.arange(n), shown], expected=rates[:, 0])
    assert robust.low <= rates[:, 0].mean() <= robust.high
    assert robust.high - robust.low < plain.high - plain.low
