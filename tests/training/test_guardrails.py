"""Guardrails on lists and shops with a known answer: what each measures, and that it can break."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from recommender.features.shop_state import build_state
from recommender.ml.progress import UNWATCHED, Progress
from recommender.ml.rivals import baselines
from recommender.runs.comparisons import CHAMPION, RANKER, SCOPES
from recommender.runs.figures import Gain, SearchFigures, SearchQuality
from recommender.serving import Served
from recommender.serving.shelf import build_shelf
from recommender.training.judging import attack, evaluation, guardrails, slices
from recommender.training.judging.evaluation import PipelineLists, Results
from recommender.training.judging.guardrails import Comparison
from recommender.training.judging.search_guard import search_figures
from recommender.training.split import split_in_time
from recommender.training.watch import RunCancelled
from recommender.types import Slot
from tests import planted

SPLIT = split_in_time(planted.dataset(n_visitors=120))
STATE = build_state(SPLIT.past, SPLIT.items, at=SPLIT.test_start)
SERVED = Served(build_shelf(SPLIT.items, state=STATE))
CASES = evaluation.cases(SPLIT, most=40, seed=0)


def comparison(ours, theirs, truths, *, seconds=(0.01, 0.01), scores=()):
    """What a comparison leaves of two rankers with these lists; both have a head and take `seconds` for each list."""
    makers = [PipelineLists(SERVED), PipelineLists(SERVED)]
    for make, taken in zip(makers, seconds, strict=True):
        make.seconds = [taken] * 200
        make.scores["all"] = [list(row) for row in scores]
    lists = {"all": {RANKER: ours, CHAMPION: theirs}}
    return Comparison(*makers, Results({"all": truths}, lists), CASES)


def test_coverage_counts_items_and_a_ranker_that_hides_the_shop_breaks_it():
    wide = [[case * 10 + n for n in range(10)] for case in range(30)]
    narrow = [list(range(10))] * 30
    same = guardrails._coverage(comparison(wide, wide, []), 300, seed=0)
    assert (same.value, same.baseline, same.verdict) == (1.0, 1.0, "held")
    hidden = guardrails._coverage(comparison(narrow, wide, []), 300, seed=0)
    assert hidden.value == pytest.approx(1 / 30)
    assert hidden.tolerance == pytest.approx(1 / 3)
    assert hidden.verdict == "broken"


def test_popularity_share_counts_places_of_bestsellers():
    few, many = [[1, 8, 9, 7]] * 200, [[1, 2, 3, 4]] * 200
    popular = frozenset({1, 2, 3, 4})
    rail = guardrails._popularity(comparison(many, few, []), popular, seed=0)
    assert (rail.value, rail.baseline, rail.bound) == pytest.approx((1.0, 0.25, 0.75))
    assert rail.verdict == "broken"
    assert guardrails._popularity(comparison(few, few, []), popular, seed=0).verdict == "held"


def test_slower_ranker_breaks_latency_beyond_half_as_long_again():
    verdicts = [
        [rail.verdict for rail in guardrails._latency(comparison([], [], [], seconds=(ours, 0.02)), seed=0)]
        for ours in (0.02, 0.029, 0.031, 0.041)
    ]
    assert verdicts == [["held", "held"], ["held", "held"], ["broken", "held"], ["broken", "broken"]]


def test_calibration_error_is_the_distance_of_probability_and_frequency():
    lists, truths = [[1, 2]] * 50, [frozenset({1})] * 50
    table = guardrails._calibrated(comparison(lists, lists, truths, scores=[(0.9, 0.1)] * 50), RANKER, *piped(0.9, 0.1))
    assert guardrails._error(table) == pytest.approx(0.1)


def test_calibration_far_from_perfect_is_held_where_the_champion_was_further_off():
    """Every probability is off by .1, twice the tolerance, and the champion's by .4."""
    lists, truths = [[1, 2]] * 50, [frozenset({1})] * 50

    def judged(ours, theirs):
        compared = comparison(lists, lists, truths)
        compared.ranker.served = SimpleNamespace(ranker=SimpleNamespace(head=True))
        compared.ranker.scores["all"] = [list(ours)] * 50
        compared.champion.scores["all"] = [list(theirs)] * 50
        return guardrails._calibration(compared, seed=0)

    better = judged((0.9, 0.1), (0.6, 0.4))
    assert (better.value, better.baseline, better.bound) == pytest.approx((0.1, 0.4, -0.3))
    assert (better.tolerance, better.verdict) == (0.05, "held")
    assert judged((0.6, 0.4), (0.9, 0.1)).verdict == "broken"


@pytest.mark.parametrize(("champion", "baseline"), [(None, 0.8), (SearchQuality(0.7, 0.9), 0.7)])
def test_search_for_known_items_is_compared_with_what_serves(champion, baseline):
    search = SearchFigures(
        n_queries=600, tuned=SearchQuality(0.75, 0.9), untuned=SearchQuality(0.8, 0.9), champion=champion,
        interval=Gain(-0.01, 0.0, 0.01), encoder_of_bundle="tuned",
    )  # fmt: skip
    rail = guardrails._known_items(search)
    assert (rail.value, rail.baseline, rail.bound, rail.verdict) == (0.75, baseline, 0.01, "held")


def test_two_processes_find_what_one_finds():
    searchers = {"tuned": SERVED, "untuned": SERVED}
    alone, shared = (search_figures(searchers, SPLIT.items, at=SPLIT.test_start, seed=0, n=n) for n in (1, 2))
    assert shared == alone
    assert alone.tuned.mrr > 0


def test_two_processes_compare_as_one():
    def compared(n):
        ours, theirs = PipelineLists(SERVED), PipelineLists(SERVED)
        simple = {"popularity": evaluation.scored(baselines.popularity(), STATE, SPLIT.items)}
        pipelines = {CHAMPION: theirs, RANKER: ours}
        return evaluation.compare_shared(pipelines, simple, CASES, n=n, progress=UNWATCHED), ours, theirs

    (alone, ours, _), (shared, ours_too, theirs_too) = compared(1), compared(2)
    assert shared.truths == alone.truths
    assert {scope: list(lists) for scope, lists in shared.lists.items()} == {
        scope: list(lists) for scope, lists in alone.lists.items()
    }
    assert all(shared.ndcg(scope, name) == alone.ndcg(scope, name) for scope in SCOPES for name in alone.lists[scope])
    assert ours_too.scores == ours.scores
    assert len(ours_too.seconds) == len(theirs_too.seconds) == len(ours.seconds) > len(CASES)


def test_run_that_is_cancelled_is_compared_no_further():
    class Cancelled(Progress):
        def should_stop(self):
            return True

        def check(self):
            raise RunCancelled

    with pytest.raises(RunCancelled):
        evaluation.compare_shared({RANKER: PipelineLists(SERVED)}, {}, CASES, n=2, progress=Cancelled())


def test_search_guard_measures_the_gain_over_what_serves_where_that_is_trained():
    worse = Served(build_shelf(dataclasses.replace(SPLIT.items, texts=("x",) * len(SPLIT.items)), state=STATE))
    alone = search_figures({"tuned": SERVED, "untuned": SERVED}, SPLIT.items, at=SPLIT.test_start, seed=0)
    assert alone.interval.mean == 0
    beside = {"tuned": SERVED, "untuned": SERVED, "champion": worse}
    figures = search_figures(beside, SPLIT.items, at=SPLIT.test_start, seed=0)
    assert figures.interval.mean == pytest.approx(figures.tuned.mrr - figures.champion.mrr)
    assert figures.champion.mrr < figures.tuned.mrr


def piped(*scores):
    make = PipelineLists(SERVED)
    make.scores["all"] = [list(scores)] * 50
    return (make,)


@pytest.mark.parametrize(("n", "verdict"), [(99, "unmeasured"), (100, "broken")])
def test_slice_needs_a_hundred_cases_to_break(n, verdict):
    rail = guardrails.compared("cold_visitor", slices.Paired([0.0] * n, [0.1] * n), seed=0)
    assert rail.verdict == verdict
    assert ("99 cases, 100 are needed" in rail.note) == (n == 99)


def test_slice_within_its_tolerance_is_held():
    rail = guardrails.compared("cold_visitor", slices.Paired([0.09] * 100, [0.1] * 100), seed=0)
    assert (rail.bound, rail.verdict) == (pytest.approx(0.01), "held")


def test_fake_visitors_are_in_the_past_only_and_buy_a_tail_item():
    state, target = attack.attacked(SPLIT, STATE, seed=0)
    n_known = len(np.unique(SPLIT.past.visitor[SPLIT.past.visitor >= 0]))
    assert state.counts[target, 3] - STATE.counts[target, 3] == round(0.01 * n_known)
    assert STATE.counts[target, 3] <= np.quantile(STATE.counts[:, 3], 0.2)
    assert state.at == STATE.at


def test_list_of_what_sells_is_lifted_by_an_attack_that_is_large_enough(monkeypatch):
    """The measure can fail: a popularity list shows what enough fake visitors buy."""
    monkeypatch.setattr(attack, "FAKE_SHARE", 5.0)
    state, target = attack.attacked(SPLIT, STATE, seed=0)
    some = [dataclasses.replace(case, request=dataclasses.replace(case.request, slot=Slot.TRENDING)) for case in CASES]
    before = [PipelineLists(SERVED)(case, "all") for case in some]
    assert attack.lifts(SERVED, state, target, some, before) == [1.0] * len(some)
    assert attack.lifts(SERVED, STATE, target, some, before) == [0.0] * len(some)


def test_cold_visitors_are_those_without_an_event_before_the_test():
    first = SPLIT.past.visitor == 0
    past = dataclasses.replace(SPLIT.past, visitor=np.where(first, -1, SPLIT.past.visitor).astype(np.int32))
    assert not slices.cold_visitors(SPLIT, SERVED, SERVED).ours
    pair = slices.cold_visitors(dataclasses.replace(SPLIT, past=past), SERVED, SERVED)
    assert len(pair.ours) == 1
    assert pair.ours == pair.theirs


def test_queries_are_sliced_by_how_often_they_were_asked_before():
    some = slices.search_cases(SPLIT, seed=0)
    assert {case.part for case in some} == {"head", "torso", "tail"}
    counted = {kind: sum(SPLIT.past.query == n) for n, kind in enumerate(planted.KINDS)}
    mean = {name: np.mean([counted[case.query] for case in some if case.part == name]) for name in ("head", "tail")}
    assert mean["head"] > mean["tail"]
    quality, is_empty = slices.answers(some, SERVED, at=SPLIT.test_start)
    assert np.mean(quality) > 0.2
    assert not any(is_empty)
    strange = [dataclasses.replace(some[0], query="qwxz")]
    assert slices.answers(strange, SERVED, at=SPLIT.test_start) == ([0.0], [1.0])
