"""A simple competitor that is surely better than both models serves its list; one that is not, changes nothing."""

import dataclasses

import numpy as np
import pytest

from recommender import bundles, datasets, pipeline, serving
from recommender.bundles.manifest import manifest_of
from recommender.features import FEATURE_NAMES, features
from recommender.features.shop_state import build_state
from recommender.ml.histories import Histories
from recommender.ml.rivals import baselines
from recommender.models import Run
from recommender.runs.comparisons import CHAMPION, RANKER, SCOPES
from recommender.serving import vectors
from recommender.training import stages
from recommender.training.judging import arms, evaluation
from recommender.training.judging.bench import Bench
from recommender.training.judging.gate import Decision
from recommender.training.judging.guardrails import Comparison
from recommender.training.judging.judge import JudgedRun
from recommender.training.split import split_in_time
from recommender.types import Request, Rung, Slot
from tests import planted


@pytest.fixture(scope="module")
def split():
    return split_in_time(planted.dataset())


@pytest.mark.parametrize(("name", "least"), [("own_frequency", 0.95), ("popularity", 0.95), ("item_knn", 0.7)])
def test_head_orders_as_the_competitor_whose_name_it_has(split, name, least):
    head = arms.simple_head(name, split)
    assert head is not None
    scorer = {
        "own_frequency": baselines.own_frequency, "item_knn": baselines.item_knn, "popularity": baselines.popularity(),
    }[name]  # fmt: skip
    state = build_state(split.past, split.items, at=split.test_start)
    everything, histories = np.arange(len(split.items), dtype=np.int32), Histories(split.past)
    agreed = []
    for visitor in range(20):
        profile = histories.profile(visitor, at=split.test_start)
        rows = features(profile, everything, state, split.items)
        ours, theirs = head.calibrate(head.logits(rows)), scorer(profile, state, split.items)
        agreed.append(len(set(np.argsort(-ours)[:5].tolist()) & set(np.argsort(-theirs)[:5].tolist())) / 5)
    assert np.mean(agreed) > least  # the past fades in the feature of item-kNN, and does not in the competitor
    used = {feature for feature, weight in zip(FEATURE_NAMES, head.linear.tolist(), strict=True) if weight}
    assert used == set(arms.HEADS[name]) == set(head.seen)


@pytest.fixture
def bench(live_demo_shop, settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}
    dataset = datasets.read_dataset()
    split = split_in_time(dataset)
    return Bench(dataset, split, split.state)


def comparison(bench, champion, *, champion_knows):
    """A comparison in which own frequency has its real lists, the champion knows everything or nothing, the new model
    nothing."""
    cases = evaluation.cases(bench.split, most=50, seed=0)
    make = evaluation.scored(baselines.own_frequency, bench.state, bench.split.items)
    results = evaluation.Results(
        {scope: [] for scope in SCOPES},
        {scope: {RANKER: [], CHAMPION: [], "own_frequency": []} for scope in SCOPES},
    )
    for case in cases:
        for scope in SCOPES:
            if truth := case.wanted(scope):
                results.truths[scope].append(truth)
                results.lists[scope][RANKER].append([])
                results.lists[scope][CHAMPION].append(sorted(truth) if champion_knows else [])
                results.lists[scope]["own_frequency"].append(make(case, scope))
    lists = evaluation.PipelineLists(champion)
    return Comparison(lists, lists, results, cases)


@pytest.fixture
def champion(bench):
    stored = bundles.ensure_champion()
    vectors.encode_missing(stored.name)
    return stored


def chosen(bench, champion, tmp_path, *, champion_knows=False, present=None):
    compared = comparison(bench, bench.of_bundle(champion), champion_knows=champion_knows)
    return arms.arms_for(bench, compared, present=present or {}, folder=tmp_path, seed=0)


@pytest.mark.django_db(transaction=True)
def test_competitor_that_beats_both_serves_its_list_and_no_other(bench, champion, tmp_path, monkeypatch):
    monkeypatch.setattr(arms, "LEAST_SURE", 10)
    winners = chosen(bench, champion, tmp_path)
    assert winners["all"].name == "own_frequency"
    only = {"all": winners["all"]}
    refused = Decision(Run.Verdict.REFUSED, CHAMPION, "Sentence.", "Figures.", {"all": "own_frequency"})
    result = stages._decided(champion, JudgedRun(None, refused, only), repeats=None)
    assert (result.verdict, result.reason) == (Run.Verdict.REFUSED, "Sentence. Figures.")
    bundles.promote(result.champion)
    stored = bundles.champion()
    assert stored.manifest["arms"] == {"all": "own_frequency"}
    assert stored.manifest["learned_until"] == 0.0  # that of bundle 0, which learned from nothing
    again = stages._decided(champion, JudgedRun(None, refused, only), repeats=None)
    assert again.champion is None  # what serves already is not written again
    now = serving.reload()
    assert now.rung == Rung.CHAMPION
    before = bench.of_bundle(champion)
    after = dataclasses.replace(before, ranker=now.ranker)
    case = max(evaluation.cases(bench.split, most=50, seed=0), key=lambda case: len(case.own))
    lists = {scope: [evaluation.PipelineLists(served)(case, scope) for served in (before, after)] for scope in SCOPES}
    assert set(lists["all"][1][:1]) <= set(case.own.tolist())
    assert lists["new"][0] == lists["new"][1]
    search = Request(Slot.SEARCH, case.request.context, query="bag", history=case.request.history)
    assert entries(search, before) == entries(search, after)
    newcomer = Request(Slot.HOME, case.request.context)
    assert entries(newcomer, before) == entries(newcomer, after)
    composed = dataclasses.replace(case.request, is_composed=True)
    new = [row for row in entries(composed, after) if row not in set(case.profile.item.tolist())]
    assert new == [row for row in entries(composed, before) if row in set(new)]


def entries(request, served):
    return [served.shelf.index[entry.item_id] for entry in pipeline.rank(request, served=served).entries]


@pytest.mark.django_db(transaction=True)
def test_competitor_serves_only_where_it_is_surely_better_than_both(bench, champion, tmp_path, monkeypatch):
    assert not chosen(bench, champion, tmp_path)  # of fewer than a hundred cases nothing is sure
    monkeypatch.setattr(arms, "LEAST_SURE", 10)
    assert not chosen(bench, champion, tmp_path, champion_knows=True)
    present = {"all": "own_frequency"}  # what serves the list already has to beat the new model only
    assert set(chosen(bench, champion, tmp_path, champion_knows=True, present=present)) == {"all"}


@pytest.mark.django_db(transaction=True)
def test_repetition_of_a_run_lets_nothing_serve(bench, champion):
    promoted = Decision(Run.Verdict.PROMOTED, RANKER, "Sentence.")
    result = stages._decided(champion, JudgedRun(None, promoted), repeats=1)
    assert result.reason.startswith("The previous model keeps serving, because this run repeats run 1.")
    assert bundles.champion() == bundles.untrained()


def test_arms_lie_beside_the_head_and_stay_where_no_other_takes_the_list(split, tmp_path):
    habit, near = (arms.Arm(name, arms.simple_head(name, split)) for name in ("own_frequency", "item_knn"))
    arms.write_arms(tmp_path, {})
    assert not list(tmp_path.iterdir())
    arms.write_arms(tmp_path, {"all": habit})
    arms.write_arms(tmp_path, {"new": near})
    assert manifest_of(tmp_path, encoder_hash="e", is_trained=True)["arms"] == {
        "all": "own_frequency", "new": "item_knn",
    }  # fmt: skip
