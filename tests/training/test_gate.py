"""The gate on planted results: what it promotes, what it refuses and in which words."""

import dataclasses

import numpy as np
import pytest

from recommender.ml.metrics import paired_bootstrap
from recommender.models import Run
from recommender.runs.comparisons import CHAMPION, SIMPLE
from recommender.runs.figures import Gain, Guardrail
from recommender.training.judging.gate import (
    LEAST_SURE,
    LEVEL,
    Measurements,
    best_competitor,
    decide,
    reconsider,
)

BETTER = Gain(0.01, 0.02, 0.03)
EVEN = Gain(-0.004, 0.001, 0.006)
WORSE = Gain(-0.015, -0.01, -0.005)
VAGUE = Gain(-0.03, 0.0, 0.03)
CLOSE = Gain(0.001, 0.015, 0.04)
NO_NUMBER = Gain(float("nan"), float("nan"), float("nan"))

HELD = Guardrail("coverage", 0.3, 0.32, bound=0.04, tolerance=0.1, n=900)
BROKEN = Guardrail("coverage", 0.1, 0.32, bound=0.23, tolerance=0.1, n=900)


def measured(*, n=1_000, guardrails=(HELD,), champion=BETTER, new_champion=EVEN, **gains):
    """Gains over the champion (better on all items) and over every simple competitor (even everywhere)."""
    by_scope = {}
    for scope in ("all", "new"):
        named = {name.removeprefix(f"{scope}_"): gain for name, gain in gains.items() if name.startswith(f"{scope}_")}
        by_scope[scope] = dict.fromkeys(SIMPLE, EVEN) | named
    by_scope["all"][CHAMPION], by_scope["new"][CHAMPION] = champion, new_champion
    return Measurements({"all": n, "new": n}, by_scope, guardrails)


@pytest.mark.parametrize(
    ("on_all", "on_new", "verdict"),
    [
        (BETTER, BETTER, Run.Verdict.PROMOTED),
        (BETTER, EVEN, Run.Verdict.PROMOTED),
        (EVEN, BETTER, Run.Verdict.PROMOTED),
        (EVEN, EVEN, Run.Verdict.REFUSED),
        (BETTER, WORSE, Run.Verdict.REFUSED),
        (WORSE, BETTER, Run.Verdict.REFUSED),
        (VAGUE, VAGUE, Run.Verdict.REFUSED),
    ],
)
def test_gain_on_either_list_promotes_unless_the_other_is_surely_worse(on_all, on_new, verdict):
    decision = decide(measured(champion=on_all, new_champion=on_new))
    assert decision.verdict == verdict
    assert decision.served == ("ranker" if verdict == Run.Verdict.PROMOTED else CHAMPION)


def test_promotion_says_first_what_serves_and_why_then_the_figures():
    measurements = Measurements(
        {"all": 1_000, "new": 2_345},
        {
            "all": {"ease": BETTER, "item_knn": CLOSE, "random": BETTER, CHAMPION: BETTER},
            "new": {"blend": BETTER, CHAMPION: EVEN},
        },
    )
    decision = decide(measurements)
    assert decision.sentence == (
        "The new model serves now, because it is surely better than the previous model on all items."
    )
    assert decision.reason == (
        "The new model serves now, because it is surely better than the previous model on all items. Gain in NDCG@10 "
        "over the previous model: on all items +0.0200, 97.5 % interval +0.0100 to +0.0300; on items new to the "
        "shopper +0.0010, 97.5 % interval -0.0040 to +0.0060. It is nowhere surely worse than a simple competitor, of "
        "which the nearest are bought by the same people on all items (+0.0150, 97.5 % interval +0.0010 to +0.0400); "
        "the weighted blend on items new to the shopper (+0.0200, 97.5 % interval +0.0100 to +0.0300), and no "
        "guardrail is broken. Test cases: 1,000 on all items, 2,345 on items new to the shopper."
    )


def test_promotion_for_both_lists_names_both():
    sentence = decide(measured(new_champion=BETTER)).sentence
    assert sentence.endswith("on all items and items new to the shopper.")


def test_list_that_was_not_measured_is_neither_a_fault_nor_a_merit():
    decision = decide(Measurements({"all": 500}, {"all": {"ease": EVEN, CHAMPION: BETTER}}))
    assert decision.verdict == Run.Verdict.PROMOTED
    assert "new to the shopper" not in decision.reason


def test_refusal_names_the_first_fault_in_its_sentence_and_every_fault_with_its_figures():
    gains = {"all_ease": VAGUE, "all_blend": WORSE, "new_random": Gain(-0.05, -0.03, -0.01)}
    decision = decide(measured(**gains, champion=EVEN, guardrails=(BROKEN, HELD)))
    assert decision.sentence == (
        "The previous model keeps serving, because the new model is surely worse than the weighted blend on all items."
    )
    assert decision.figures == (
        "Gain in NDCG@10 or harm: -0.0100, 97.5 % interval -0.0150 to -0.0050; the new model is surely worse than "
        "random order on items new to the shopper (-0.0300, 97.5 % interval -0.0500 to -0.0100); the new model breaks "
        "the guardrail “Catalogue coverage” (0.1000 against 0.3200 of the previous model, at worst 0.2300 worse, at "
        "most 0.1000 is tolerated); the new model is surely better on neither list (on all items +0.0010, 97.5 % "
        "interval -0.0040 to +0.0060; on items new to the shopper +0.0010, 97.5 % interval -0.0040 to +0.0060). Test "
        "cases: 1,000 on all items, 1,000 on items new to the shopper."
    )


def test_tie_is_refused_because_it_is_better_on_neither_list():
    decision = decide(measured(champion=EVEN))
    assert decision.verdict == Run.Verdict.REFUSED
    assert decision.sentence == (
        "The previous model keeps serving, because the new model is surely better on neither list."
    )


def test_gain_whose_interval_begins_at_0_is_not_sure_and_loss_whose_interval_ends_at_0_is_not_either():
    assert decide(measured(champion=Gain(0.0, 0.01, 0.02))).verdict == Run.Verdict.REFUSED
    assert decide(measured(new_champion=Gain(-0.02, -0.01, 0.0))).verdict == Run.Verdict.PROMOTED


@pytest.mark.parametrize("name", SIMPLE)
@pytest.mark.parametrize("scope", ["all", "new"])
def test_simple_competitor_refuses_a_model_that_is_surely_worse_and_no_model_that_ties(scope, name):
    assert decide(measured(**{f"{scope}_{name}": VAGUE})).verdict == Run.Verdict.PROMOTED
    decision = decide(measured(**{f"{scope}_{name}": WORSE}))
    assert decision.verdict == Run.Verdict.REFUSED
    assert "surely worse than" in decision.sentence


@pytest.mark.parametrize("column", ["champion", "new_champion", "all_popularity", "new_ease"])
def test_figure_that_is_no_number_is_refused(column):
    assert decide(measured(**{column: NO_NUMBER})).verdict == Run.Verdict.REFUSED


def test_broken_guardrail_refuses_whatever_was_gained():
    decision = decide(measured(new_champion=BETTER, guardrails=(HELD, BROKEN)))
    assert decision.verdict == Run.Verdict.REFUSED
    assert decision.sentence.endswith("because the new model breaks the guardrail “Catalogue coverage”.")


def test_value_over_the_tolerance_that_is_better_than_before_breaks_nothing():
    """A calibration error of .0461 is more than .05 allows at worst, and far better than the .3506 of what serves."""
    rail = Guardrail("calibration", value=0.0461, baseline=0.3506, bound=-0.28, tolerance=0.05, n=900)
    assert decide(measured(guardrails=(rail,))).verdict == Run.Verdict.PROMOTED


def test_absolute_limit_is_called_so():
    rail = Guardrail("parity", value=0.25, bound=0.25, tolerance=0.0001, n=900)
    decision = decide(measured(guardrails=(rail,)))
    assert "“Training and serving agree (absolute limit)”" in decision.sentence
    assert "0.2500, at worst 0.2500, the absolute limit is 0.0001" in decision.figures


def test_guardrail_without_cases_breaks_nothing_and_says_why():
    rail = Guardrail("cold_item", n=3, note="3 cases, 100 are needed")
    assert rail.verdict == "unmeasured"
    assert decide(measured(guardrails=(rail,))).verdict == Run.Verdict.PROMOTED


def test_guardrail_whose_bound_is_no_number_is_broken():
    assert Guardrail("coverage", bound=float("nan"), tolerance=1.0).verdict == "broken"


def test_few_cases_promote_provisionally_what_is_expected_to_be_better():
    decision = decide(measured(n=31, champion=Gain(-0.03, 0.03, 0.09), new_champion=Gain(-0.06, -0.01, 0.04)))
    assert (decision.verdict, decision.served) == (Run.Verdict.PROVISIONAL, "ranker")
    assert decision.reason == (
        "The new model serves provisionally, because it is expected to be better than the previous model (+0.0100 "
        "NDCG@10), and 31 test cases are too few to be sure (500 would do). Gain in NDCG@10 over the previous model: "
        "on all items +0.0300, 97.5 % interval -0.0300 to +0.0900; on items new to the shopper -0.0100, 97.5 % "
        "interval -0.0600 to +0.0400. The next run judges it again on what came since, and takes it back if it was "
        "worse. Test cases: 31 on all items, 31 on items new to the shopper."
    )


@pytest.mark.parametrize("gain", [0.0, -0.001, float("nan")])
def test_few_cases_without_an_expected_gain_change_nothing(gain):
    few = Gain(-0.03, gain, 0.09)
    decision = decide(measured(n=31, champion=few, new_champion=few))
    assert (decision.verdict, decision.served) == (Run.Verdict.REFUSED, CHAMPION)
    assert "is not expected to be better on the 31 test cases, fewer than the 500 that are sure" in decision.sentence


def test_five_hundred_cases_are_enough_to_be_sure_and_no_gain_is_provisional_then():
    assert decide(measured(n=499)).verdict == Run.Verdict.PROVISIONAL
    assert decide(measured(n=500)).verdict == Run.Verdict.PROMOTED
    assert decide(measured(n=500, champion=Gain(-0.03, 0.03, 0.09))).verdict == Run.Verdict.REFUSED
    assert decide(measured(n=1_999), least_cases=2_000).verdict == Run.Verdict.PROVISIONAL


def test_few_cases_promote_nothing_that_is_surely_worse_or_breaks_a_guardrail():
    assert decide(measured(n=200, new_champion=WORSE, champion=BETTER)).verdict == Run.Verdict.REFUSED
    assert decide(measured(n=200, all_own_frequency=WORSE)).verdict == Run.Verdict.REFUSED
    assert decide(measured(n=31, guardrails=(BROKEN,))).verdict == Run.Verdict.REFUSED


def test_test_without_any_case_is_insufficient_data():
    decision = decide(Measurements({}, {}))
    assert (decision.verdict, decision.served) == (Run.Verdict.INSUFFICIENT, CHAMPION)
    assert decision.reason.startswith("The previous model keeps serving, because there was no test case")


def test_competitor_that_is_surely_better_than_both_serves_its_list_and_the_new_model_the_other():
    figures = measured(champion=WORSE, all_own_frequency=WORSE, new_champion=BETTER)
    assert decide(figures).verdict == Run.Verdict.REFUSED  # without the arm it loses on all items
    decision = decide(dataclasses.replace(figures, arms={"all": "own_frequency"}))
    assert (decision.verdict, decision.served, decision.arms) == (
        Run.Verdict.PROMOTED, "ranker", {"all": "own_frequency"},
    )  # fmt: skip
    assert decision.sentence == (
        "The new model serves now, because it is surely better than the previous model on items new to the shopper; on "
        "all items a simple ranker serves, what the shopper buys most, because it is surely better than both models."
    )


def test_competitor_may_serve_new_items_and_the_new_model_the_list_of_all():
    figures = dataclasses.replace(measured(new_champion=WORSE, new_item_knn=WORSE), arms={"new": "item_knn"})
    decision = decide(figures)
    assert (decision.verdict, decision.served, decision.arms) == (Run.Verdict.PROMOTED, "ranker", {"new": "item_knn"})


def test_gain_on_a_list_that_a_competitor_serves_promotes_nothing():
    decision = decide(dataclasses.replace(measured(), arms={"all": "own_frequency"}))
    assert (decision.verdict, decision.served) == (Run.Verdict.REFUSED, CHAMPION)
    assert decision.arms == {"all": "own_frequency"}
    assert decision.sentence == (
        "The previous model keeps serving, because the new model is surely better on neither list; on all items a "
        "simple ranker serves, what the shopper buys most, because it is surely better than both models."
    )


def test_both_lists_may_be_served_by_competitors_and_search_stays_with_the_previous_model():
    arms = {"all": "own_frequency", "new": "item_knn"}
    decision = decide(dataclasses.replace(measured(new_champion=BETTER), arms=arms))
    assert (decision.verdict, decision.served, decision.arms) == (Run.Verdict.REFUSED, CHAMPION, arms)


def evidence(n, mean, *, low=-0.1, high=0.1):
    return Measurements({"all": n, "new": n}, {scope: {CHAMPION: Gain(low, mean, high)} for scope in ("all", "new")})


@pytest.mark.parametrize(
    ("since", "outcome"),
    [
        (evidence(9, -0.5), "continued"),  # too few to look at
        (evidence(40, 0.02), "continued"),
        (evidence(40, -0.01), "continued"),  # with the 40 of its promotion the expectation is still positive
        (evidence(40, -0.03), "taken back"),  # and here it turned
        (evidence(150, -0.005, low=-0.009, high=-0.001), "taken back"),  # surely worse, whatever is expected
        (evidence(40, -0.005, low=-0.009, high=-0.001), "continued"),  # of so few cases nothing is sure
        (evidence(150, 0.005, low=0.001, high=0.009), "confirmed"),
        (evidence(460, 0.0), "confirmed"),  # 500 together, and not worse
        (evidence(40, float("nan")), "taken back"),
    ],
)
def test_provisional_model_is_judged_again_on_what_came_since(since, outcome):
    assert reconsider(evidence(40, 0.02), since).outcome.value == outcome


def test_model_that_is_taken_back_says_why():
    before, worse = evidence(40, 0.01), evidence(120, -0.02, low=-0.03, high=-0.01)
    assert reconsider(before, worse).sentence == (
        "The model that served provisionally was taken back, because on the 120 test cases since it is surely worse "
        "than the model before it: on all items -0.0200, 97.5 % interval -0.0300 to -0.0100; on items new to the "
        "shopper -0.0200, 97.5 % interval -0.0300 to -0.0100."
    )
    turned = reconsider(before, evidence(40, -0.02)).sentence
    assert turned.endswith("with the 40 test cases since its expected gain turned negative: -0.0050 NDCG@10.")


def test_figures_of_a_promotion_that_are_gone_leave_what_came_since_to_decide():
    assert reconsider(Measurements({}, {}), evidence(40, 0.01)).outcome.value == "continued"
    assert reconsider(Measurements({}, {}), evidence(40, -0.01)).outcome.value == "taken back"


def test_nothing_is_sure_about_a_list_of_a_few_cases():
    """A single case gives an interval without width."""
    few = Measurements({"all": 1_000, "new": LEAST_SURE - 1}, measured(champion=EVEN, new_champion=BETTER).gains)
    assert decide(few).verdict == Run.Verdict.REFUSED
    harmless = Measurements({"all": 1_000, "new": LEAST_SURE - 1}, measured(new_champion=WORSE).gains)
    assert decide(harmless).verdict == Run.Verdict.PROMOTED
    enough = Measurements({"all": 1_000, "new": LEAST_SURE}, measured(new_champion=WORSE).gains)
    assert decide(enough).verdict == Run.Verdict.REFUSED


NOISE = {"all": 0.10, "new": 0.15}
"""Standard deviation of the difference in NDCG@10 per case between two trained rankers of the demo, by list."""


def planted(*, n=886, lift=0.0, seed=0):
    """Gains of a ranker over a champion of the same quality plus `lift`, with the noise of real cases."""
    generator = np.random.default_rng(seed)
    gains = {}
    for scope, noise in NOISE.items():
        theirs = generator.beta(2, 5, n)
        interval = paired_bootstrap(
            theirs + generator.normal(lift, noise, n), theirs, seed=seed, n_resamples=500, level=LEVEL
        )
        gains[scope] = Gain(interval.lower, interval.mean, interval.upper)
    return measured(champion=gains["all"], new_champion=gains["new"])


def test_identical_model_is_not_promoted():
    interval = paired_bootstrap([0.3, 0.5] * 400, [0.3, 0.5] * 400)
    gain = Gain(interval.lower, interval.mean, interval.upper)
    decision = decide(measured(champion=gain, new_champion=gain))
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
