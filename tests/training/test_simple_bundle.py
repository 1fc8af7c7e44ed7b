"""A simple competitor that wins serves as a bundle of its own; one that does not, changes nothing."""

import datetime as dt

import numpy as np
import pytest

from recommender import bundles, datasets, pipeline, serving
from recommender.features import FEATURE_NAMES, features
from recommender.features.shop_state import build_state
from recommender.ml.histories import Histories
from recommender.ml.rivals import baselines
from recommender.models import Run
from recommender.runs.comparisons import CHAMPION, SCOPES
from recommender.serving import vectors
from recommender.training import stages
from recommender.training.judging import evaluation, simple_bundle
from recommender.training.judging.bench import Bench
from recommender.training.judging.gate import Decision, champion_stays
from recommender.training.judging.guardrails import Comparison
from recommender.training.split import split_in_time
from recommender.types import Context, Request, Rung, Slot
from tests import planted


@pytest.fixture(scope="module")
def split():
    return split_in_time(planted.dataset())


@pytest.mark.parametrize(("name", "least"), [("own_frequency", 0.95), ("popularity", 0.95), ("item_knn", 0.7)])
def test_head_orders_as_the_competitor_whose_name_it_has(split, name, least):
    head = simple_bundle.simple_head(name, split)
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
    assert used == set(simple_bundle.HEADS[name]) == set(head.seen)


@pytest.fixture
def bench(live_demo_shop, settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}
    dataset = datasets.read_dataset()
    split = split_in_time(dataset)
    return Bench(dataset, split, split.state)


def comparison(bench, champion, *, champion_knows):
    """A comparison in which own frequency has its real lists, and the champion knows everything or nothing."""
    cases = evaluation.cases(bench.split, most=50, seed=0)
    make = evaluation.scored(baselines.own_frequency, bench.state, bench.split.items)
    results = evaluation.Results(
        {scope: [] for scope in SCOPES},
        {scope: {CHAMPION: [], "own_frequency": []} for scope in SCOPES},
    )
    for case in cases:
        for scope in SCOPES:
            if truth := case.wanted(scope):
                results.truths[scope].append(truth)
                results.lists[scope][CHAMPION].append(sorted(truth) if champion_knows else [])
                results.lists[scope]["own_frequency"].append(make(case, scope))
    lists = evaluation.PipelineLists(champion)
    return Comparison(lists, lists, results, cases)


def served(bench, tmp_path, *, champion_knows):
    champion = bundles.ensure_champion()
    vectors.encode_missing(champion.name)
    compared = comparison(bench, bench.of_bundle(champion), champion_knows=champion_knows)
    return simple_bundle.served_instead(bench, champion, compared, folder=tmp_path, seed=0)


@pytest.mark.django_db(transaction=True)
def test_winner_is_judged_as_it_will_serve_and_serves(bench, tmp_path):
    winner = served(bench, tmp_path, champion_knows=False)
    assert winner is not None
    assert winner.name == "own_frequency"
    assert "a simple ranker now serves: what the shopper buys most" in winner.reason
    refused = Decision(Run.Verdict.REFUSED, f"Not promoted: so. {champion_stays()}", CHAMPION)
    result = stages._decided(bundles.untrained(), refused, winner, repeats=None)
    assert result.verdict == Run.Verdict.REFUSED
    assert champion_stays() not in result.reason
    assert bundles.champion() == winner.bundle
    now = serving.reload()
    assert now.rung == Rung.CHAMPION
    case = max(evaluation.cases(bench.split, most=50, seed=0), key=lambda case: len(case.own))
    request = Request(Slot.HOME, Context(dt.datetime.now(dt.UTC)), history=case.request.history, limit=5)
    first = [now.shelf.index[entry.item_id] for entry in pipeline.rank(request, served=now).entries]
    assert set(first[:1]) <= set(case.own.tolist())


@pytest.mark.django_db(transaction=True)
def test_champion_that_nothing_simple_beats_stays(bench, tmp_path):
    assert served(bench, tmp_path, champion_knows=True) is None
    assert bundles.champion() == bundles.untrained()


@pytest.mark.django_db(transaction=True)
def test_repetition_of_a_run_lets_nothing_serve(bench, tmp_path):
    winner = served(bench, tmp_path, champion_knows=False)
    refused = Decision(Run.Verdict.REFUSED, f"Not promoted: so. {champion_stays()}", CHAMPION)
    stages._decided(bundles.untrained(), refused, winner, repeats=1)
    assert bundles.champion() == bundles.untrained()
