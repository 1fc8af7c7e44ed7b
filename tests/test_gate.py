"""The gate on planted results: what it promotes, what it refuses and in which words."""

import numpy as np
import pytest

from recommender.ml.metrics import paired_bootstrap
from recommender.models import Run
from recommender.training.gate import CHAMPION, SIMPLE, Evidence, Gain, best_competitor, decide

BETTER = Gain(0.01, 0.02, 0.03)
EVEN = Gain(-0.004, 0.001, 0.006)
WORSE = Gain(-0.015, -0.01, -0.005)
VAGUE = Gain(-0.03, 0.0, 0.03)


def evidence(*, n=1_000, search_gain=0.0, champion=BETTER, new_champion=EVEN, **gains):
    on_all = dict.fromkeys(SIMPLE, BETTER) | {
        name.removeprefix("all_"): gain for name, gain in gains.items() if name.startswith("all_")
    }
    on_new = dict.fromkeys(SIMPLE, EVEN) | {
        name.removeprefix("new_"): gain for name, gain in gains.items() if name.startswith("new_")
    }
    if champion is not None:
        on_all[CHAMPION], on_new[CHAMPION] = champion, new_champion
    return Evidence({"all": n, "new": n}, {"all": on_all, "new": on_new}, search_gain)


def test_surely_better_ranker_is_promoted():
    decision = decide(evidence())
    assert decision.verdict == Run.Verdict.PROMOTED
    assert decision.served == "ranker"
    assert "1,000 test cases" in decision.reason


@pytest.mark.parametrize("name", SIMPLE)
def test_tie_on_one_list_is_allowed_where_the_other_is_surely_better(name):
    assert decide(evidence(**{f"all_{name}": EVEN, f"new_{name}": BETTER})).verdict == Run.Verdict.PROMOTED
    assert decide(evidence(**{f"all_{name}": BETTER, f"new_{name}": EVEN})).verdict == Run.Verdict.PROMOTED


@pytest.mark.parametrize("name", SIMPLE)
def test_tie_on_both_lists_is_refused(name):
    decision = decide(evidence(**{f"all_{name}": EVEN, f"new_{name}": EVEN}))
    assert decision.verdict == Run.Verdict.REFUSED
    assert "not surely better" in decision.reason


@pytest.mark.parametrize("scope", ["all", "new"])
@pytest.mark.parametrize("gain", [WORSE, VAGUE])
@pytest.mark.parametrize("name", SIMPLE)
def test_ranker_below_any_simple_competitor_is_refused(scope, name, gain):
    other = {"all": "new", "new": "all"}[scope]
    decision = decide(evidence(**{f"{scope}_{name}": gain, f"{other}_{name}": BETTER}))
    assert decision.verdict == Run.Verdict.REFUSED
    assert decision.served == CHAMPION
    assert f"{gain.mean:+.4f}" in decision.reason


def test_gain_over_the_champion_must_be_sure():
    decision = decide(evidence(champion=EVEN))
    assert decision.verdict == Run.Verdict.REFUSED
    assert "not surely better than the champion" in decision.reason


@pytest.mark.parametrize("gain", [WORSE, VAGUE])
def test_loss_to_the_champion_on_new_items_is_refused(gain):
    assert decide(evidence(new_champion=gain)).verdict == Run.Verdict.REFUSED


def test_worse_search_is_refused():
    decision = decide(evidence(search_gain=-0.02))
    assert decision.verdict == Run.Verdict.REFUSED
    assert "known items" in decision.reason


def test_few_cases_are_insufficient_data_however_good_the_figures():
    decision = decide(evidence(n=499))
    assert decision.verdict == Run.Verdict.INSUFFICIENT
    assert decision.reason.startswith("Insufficient data: 499 test cases")
    assert decision.served == CHAMPION


def test_no_champion_needs_only_the_simple_competitors():
    assert decide(evidence(champion=None)).verdict == Run.Verdict.PROMOTED
    refused = decide(evidence(champion=None, all_item_knn=WORSE))
    assert refused.served == "lexical"
    assert "untrained rungs keep serving" in refused.reason


def test_figure_that_is_no_number_is_refused():
    broken = Gain(float("nan"), float("nan"), float("nan"))
    assert decide(evidence(champion=broken)).verdict == Run.Verdict.REFUSED
    assert decide(evidence(all_popularity=broken)).verdict == Run.Verdict.REFUSED


def planted(*, n=1_000, lift=0.0, seed=0):
    """Gains of a ranker over a champion with the same quality plus `lift`, by the bootstrap that runs use."""
    generator = np.random.default_rng(seed)
    theirs = generator.beta(2, 5, n)
    ours = theirs + generator.normal(lift, 0.1, n)
    interval = paired_bootstrap(ours, theirs, seed=seed, n_resamples=500)
    return Gain(interval.lower, interval.mean, interval.upper)


def test_identical_model_is_not_promoted():
    interval = paired_bootstrap([0.3, 0.5] * 400, [0.3, 0.5] * 400)
    decision = decide(evidence(champion=Gain(interval.lower, interval.mean, interval.upper)))
    assert decision.verdict == Run.Verdict.REFUSED


def test_equal_models_are_promoted_about_as_often_as_the_interval_allows():
    n_promoted = sum(decide(evidence(champion=planted(seed=seed))).verdict == "promoted" for seed in range(60))
    assert n_promoted <= 6  # 2.5 % of 60 is 1.5; more than 6 has a chance below one in a thousand


def test_planted_gain_is_found():
    n_promoted = sum(decide(evidence(champion=planted(lift=0.02, seed=s))).verdict == "promoted" for s in range(20))
    assert n_promoted >= 19


def test_best_competitor_has_the_highest_ndcg_and_is_simple():
    assert best_competitor({"random": 0.1, "item_knn": 0.3, "own_frequency": 0.2, "champion": 0.9}) == "item_knn"
    assert best_competitor({}) == ""
