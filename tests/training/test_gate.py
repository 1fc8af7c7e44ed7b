"""The gate on planted results: what it promotes, what it refuses and in which words."""

import numpy as np
import pytest

from recommender.ml.metrics import paired_bootstrap
from recommender.models import Run
from recommender.runs.comparisons import CHAMPION, SIMPLE
from recommender.runs.figures import Gain, Guardrail
from recommender.training.judging.gate import (
    TOLERANCE,
    Measurements,
    best_competitor,
    decide,
)

BETTER = Gain(0.01, 0.02, 0.03)
EVEN = Gain(-0.004, 0.001, 0.006)
WORSE = Gain(-0.015, -0.01, -0.005)
VAGUE = Gain(-0.03, 0.0, 0.03)
CLOSE = Gain(0.001, 0.015, 0.04)
BEYOND = Gain(-TOLERANCE - 0.0001, 0.01, 0.03)

HELD = Guardrail("coverage", 0.3, 0.32, bound=0.04, tolerance=0.1, n=900)
BROKEN = Guardrail("coverage", 0.1, 0.32, bound=0.23, tolerance=0.1, n=900)


def measured(*, n=1_000, guardrails=(HELD,), champion=BETTER, new_champion=EVEN, **gains):
    on_all = dict.fromkeys(SIMPLE, BETTER) | {
        name.removeprefix("all_"): gain for name, gain in gains.items() if name.startswith("all_")
    }
    on_new = dict.fromkeys(SIMPLE, EVEN) | {
        name.removeprefix("new_"): gain for name, gain in gains.items() if name.startswith("new_")
    }
    if champion is not None:
        on_all[CHAMPION], on_new[CHAMPION] = champion, new_champion
    return Measurements({"all": n, "new": n}, {"all": on_all, "new": on_new}, guardrails)


def test_surely_better_ranker_is_promoted():
    decision = decide(measured())
    assert decision.verdict == Run.Verdict.PROMOTED
    assert decision.served == "ranker"


def test_promotion_names_the_nearest_competitor_of_each_list_with_its_gain():
    measurements = Measurements(
        {"all": 1_000, "new": 2_345},
        {"all": {"ease": BETTER, "item_knn": CLOSE, "random": BETTER}, "new": {"blend": BETTER, CHAMPION: EVEN}},
    )
    assert decide(measurements).reason == (
        "Promoted: significantly better than the previous model and every simple competitor on all items, and no "
        "guardrail is broken; on all items (1,000 test cases) the nearest is bought by the same people: +0.0150, 95 % "
        "interval +0.0010 to +0.0400 NDCG@10; on items new to the shopper (2,345 test cases) the nearest is the "
        "previous model: +0.0010, 95 % interval -0.0040 to +0.0060 NDCG@10."
    )


def test_list_that_was_not_measured_is_neither_a_fault_nor_a_merit():
    decision = decide(Measurements({"all": 500}, {"all": {"ease": BETTER}}))
    assert decision.verdict == Run.Verdict.PROMOTED
    assert "new to the shopper" not in decision.reason


def test_refusal_lists_every_fault_of_a_list_with_the_greatest_loss_first():
    gains = {"all_ease": EVEN, "all_blend": WORSE, "new_random": VAGUE, "new_ease": BEYOND}
    assert decide(measured(**gains, guardrails=(BROKEN, HELD))).reason == (
        "Not promoted: on all items it is worse than the weighted blend (-0.0100, 95 % interval -0.0150 to -0.0050); "
        "on all items it is not significantly better than EASE (+0.0010, 95 % interval -0.0040 to +0.0060); on items "
        "new to the shopper it may lose more than 0.015 to random order (+0.0000, 95 % interval -0.0300 to +0.0300); "
        "on items new to the shopper it may lose more than 0.015 to EASE (+0.0100, 95 % interval -0.0151 to +0.0300); "
        "the guardrail “Catalogue coverage” is broken (0.1000 against 0.3200, worst case 0.2300, limit 0.1000). "
        "The previous model keeps serving."
    )


def test_gain_whose_interval_begins_at_0_is_not_significant():
    decision = decide(measured(all_ease=Gain(0.0, 0.01, 0.02)))
    assert decision.verdict == Run.Verdict.REFUSED
    assert "not significantly better than EASE" in decision.reason


def test_loss_whose_interval_ends_at_0_is_called_uncertain_and_not_worse():
    decision = decide(measured(all_ease=Gain(-0.02, -0.01, 0.0)))
    assert "not significantly better than EASE" in decision.reason
    assert "worse than" not in decision.reason


def test_broken_guardrail_without_a_baseline_is_compared_with_nothing():
    rail = Guardrail("parity", value=0.25, bound=0.25, tolerance=0.0001, n=900)
    assert decide(measured(guardrails=(rail,))).reason == (
        "Not promoted: the guardrail “Training and serving agree” is broken (0.2500, worst case 0.2500, limit 0.0001). "
        "The previous model keeps serving."
    )


@pytest.mark.parametrize("name", SIMPLE)
@pytest.mark.parametrize("gain", [EVEN, WORSE, VAGUE])
def test_tie_with_any_simple_competitor_on_all_items_is_refused_whatever_is_won_on_new_ones(name, gain):
    decision = decide(measured(**{f"all_{name}": gain, f"new_{name}": BETTER}))
    assert decision.verdict == Run.Verdict.REFUSED
    assert decision.served == CHAMPION
    assert f"{gain.mean:+.4f}" in decision.reason
    assert ("worse than" if gain is WORSE else "not significantly better") in decision.reason


@pytest.mark.parametrize("name", [*SIMPLE, CHAMPION])
def test_loss_on_new_items_within_the_tolerance_is_allowed_and_beyond_it_refused(name):
    within = Gain(-TOLERANCE, -0.01, 0.0)
    assert decide(measured(**{f"new_{name}": within})).verdict == Run.Verdict.PROMOTED
    decision = decide(measured(**{f"new_{name}": BEYOND}))
    assert decision.verdict == Run.Verdict.REFUSED
    assert "new to the shopper it may lose more than 0.015" in decision.reason


def test_gain_over_the_champion_must_be_sure():
    decision = decide(measured(champion=EVEN, new_champion=BETTER))
    assert decision.verdict == Run.Verdict.REFUSED
    assert "not significantly better than the previous model" in decision.reason


def test_guardrail_without_cases_breaks_nothing_and_says_why():
    rail = Guardrail("cold_item", n=3, note="3 cases, 100 are needed")
    assert rail.verdict == "unmeasured"
    assert decide(measured(guardrails=(rail,))).verdict == Run.Verdict.PROMOTED


def test_guardrail_whose_bound_is_no_number_is_broken():
    assert Guardrail("coverage", bound=float("nan"), tolerance=1.0).verdict == "broken"


def test_few_cases_are_insufficient_data_however_good_the_figures():
    decision = decide(measured(n=499))
    assert decision.verdict == Run.Verdict.INSUFFICIENT
    assert decision.reason == (
        "Insufficient data: 499 test cases, 500 are needed to tell a gain from chance. The previous model keeps "
        "serving."
    )
    assert decision.served == CHAMPION
    assert decide(measured(n=500)).verdict == Run.Verdict.PROMOTED


def test_number_of_cases_that_are_needed_can_be_given():
    assert decide(measured(n=1_999), least_cases=2_000).reason.startswith(
        "Insufficient data: 1,999 test cases, 2,000 are needed"
    )


def test_test_without_any_figure_is_insufficient_data_and_the_untrained_search_goes_on():
    decision = decide(Measurements({}, {}))
    assert decision.verdict == Run.Verdict.INSUFFICIENT
    assert decision.reason == (
        "Insufficient data: 0 test cases, 500 are needed to tell a gain from chance. The untrained search and lists "
        "keep serving."
    )
    assert decision.served == "lexical"


def test_no_champion_needs_only_the_simple_competitors():
    assert decide(measured(champion=None)).verdict == Run.Verdict.PROMOTED
    refused = decide(measured(champion=None, all_item_knn=WORSE))
    assert refused.served == "lexical"
    assert refused.reason.endswith("-0.0050). The untrained search and lists keep serving.")


def test_figure_that_is_no_number_is_refused():
    broken = Gain(float("nan"), float("nan"), float("nan"))
    assert decide(measured(champion=broken)).verdict == Run.Verdict.REFUSED
    assert decide(measured(all_popularity=broken)).verdict == Run.Verdict.REFUSED


NOISE = {"all": 0.10, "new": 0.15}
"""Standard deviation of the difference in NDCG@10 per case between two trained rankers of the demo, by list."""


def planted(*, n=886, lift=0.0, seed=0):
    """Gains of a ranker over a champion of the same quality plus `lift`, with the noise of real cases."""
    generator = np.random.default_rng(seed)
    gains = {}
    for scope, noise in NOISE.items():
        theirs = generator.beta(2, 5, n)
        interval = paired_bootstrap(theirs + generator.normal(lift, noise, n), theirs, seed=seed, n_resamples=500)
        gains[scope] = Gain(interval.lower, interval.mean, interval.upper)
    return measured(champion=gains["all"], new_champion=gains["new"])


def test_identical_model_is_not_promoted():
    interval = paired_bootstrap([0.3, 0.5] * 400, [0.3, 0.5] * 400)
    decision = decide(measured(champion=Gain(interval.lower, interval.mean, interval.upper)))
    assert decision.verdict == Run.Verdict.REFUSED


def test_of_forty_comparisons_of_equal_models_at_most_two_are_promoted():
    assert sum(decide(planted(seed=seed)).verdict == Run.Verdict.PROMOTED for seed in range(40)) <= 2


def test_planted_gain_is_found():
    assert sum(decide(planted(lift=0.02, seed=seed)).verdict == Run.Verdict.PROMOTED for seed in range(20)) >= 19


def test_best_competitor_has_the_highest_ndcg_and_is_simple():
    assert best_competitor({"random": 0.1, "item_knn": 0.3, "own_frequency": 0.2, "champion": 0.9}) == "item_knn"
    assert best_competitor({}) == ""


def test_of_two_competitors_with_the_same_ndcg_the_one_named_first_is_the_best():
    assert SIMPLE.index("own_frequency") < SIMPLE.index("ease")
    assert best_competitor({"ease": 0.3, "own_frequency": 0.3, "random": 0.1}) == "own_frequency"
