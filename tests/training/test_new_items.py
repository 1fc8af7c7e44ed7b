"""A shop in its first month, of which only the orders say what goes together, gets an order of new items from a run."""

import dataclasses
import datetime as dt

import numpy as np
import pytest
from django.utils import timezone

from recommender import bundles, datasets, pipeline, runs
from recommender.features import FEATURE_NAMES
from recommender.ml.plan import TrainingSettings
from recommender.ml.progress import UNWATCHED
from recommender.ml.train import fit
from recommender.models import Event, Item, Run, Visitor
from recommender.runs.comparisons import CHAMPION, SCOPES
from recommender.runs.figures import Figures
from recommender.serving import vectors
from recommender.serving.ranker import FALLBACK
from recommender.training import run
from recommender.training.fitting import training_data
from recommender.training.judging import evaluation, review
from recommender.training.judging.bench import Bench
from recommender.training.judging.gate import Review
from recommender.training.new_items import NAME, new_items_arm
from recommender.training.split import split_in_time
from tests import planted
from tests.behaviour import DAY

SETTINGS = {"minutes": 0.2, "encoder": "scratch", "fine_tuning": "frozen", "seed": 0, "least_steps": 0}
SPLIT = split_in_time(planted.dataset(n_days=60))
DAYS = 30
N_SETS, SET_SIZE, N_VISITORS = 20, 6, 140


@pytest.fixture
def month(settings):
    """200 orders of two or three items out of one set of six; no title says which items are a set."""
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}
    generator, now = np.random.default_rng(0), timezone.now()
    words = generator.permutation(np.arange(N_SETS * SET_SIZE))
    names = [f"item-{row}" for row in range(N_SETS * SET_SIZE)]
    begun = now - dt.timedelta(days=DAYS + 1)
    Item.objects.bulk_create(
        Item(
            item_id=name, label="shop.Product", object_id=name, title=f"piece {word}", text=f"piece {word}",
            text_hash=name, first_seen_at=begun,
        )
        for name, word in zip(names, words.tolist(), strict=True)
    )  # fmt: skip
    visitors = Visitor.objects.bulk_create(Visitor(first_seen_at=begun) for _ in range(N_VISITORS))
    lines = []
    for order in range(200):
        owner = order % N_VISITORS
        theirs = np.arange(SET_SIZE) + SET_SIZE * (owner % N_SETS)
        at = begun + dt.timedelta(days=1 + DAYS * order / 200, minutes=float(generator.uniform(0, 60)))
        lines += [(order, at, visitors[owner], names[item]) for item in generator.permutation(theirs)[:3].tolist()]
    Event.objects.bulk_create(
        Event(
            message_id=f"m{number}", type="purchase", item_id=item_id, visitor=visitor, order_id=f"o{order}",
            occurred_at=min(at, now - dt.timedelta(minutes=1)), source="order",
        )
        for number, (order, at, visitor, item_id) in enumerate(lines)
    )  # fmt: skip


def trained(**settings):
    requested = runs.request_run(trigger="command", settings={**SETTINGS, **settings})
    run(requested.pk, runs.lease(requested.pk, worker="test"))
    requested.refresh_from_db()
    return requested


def lists_of(bench, bundle, cases, scope):
    make = evaluation.PipelineLists(bench.of_bundle(bundle))
    return [make(case, scope) for case in cases]


@pytest.mark.django_db(transaction=True)
def test_small_shop_gets_an_order_of_new_items_provisionally_and_the_next_run_confirms_it(month):
    ended = trained()
    assert (ended.state, ended.verdict) == (Run.State.SUCCEEDED, Run.Verdict.PROVISIONAL), ended.reason
    champion, figures = bundles.champion(), Figures.of(ended.metrics)
    assert (champion, champion.is_provisional) == (ended.bundle, True)
    assert champion.manifest["arms"] == {"new": NAME}
    assert not figures.heads  # too few next orders for a head
    assert figures.intervals["new"][CHAMPION].mean > 0.02
    assert figures.intervals["all"][CHAMPION] == (0, 0, 0)
    dataset = datasets.read_dataset()
    split = split_in_time(dataset)
    bench, cases = Bench(dataset, split, split.state), evaluation.cases(split, most=30, seed=0)
    both = {
        scope: [lists_of(bench, bundle, cases, scope) for bundle in (bundles.untrained(), champion)] for scope in SCOPES
    }
    assert both["all"][0] == both["all"][1]
    assert both["new"][0] != both["new"][1]
    served = bench.of_bundle(champion)
    composed = dataclasses.replace(cases[0].request, is_composed=True)
    ranking = pipeline.rank(composed, served=served)
    assert len(ranking.entries) == composed.limit
    assert all(entry.reasons for entry in ranking.entries)
    assert vectors.load_ranker(champion.name).arms.keys() == {"new"}

    champion.promoted_at = dt.datetime.fromtimestamp(split.test_start, dt.UTC)
    champion.save(update_fields=["promoted_at"])
    assert review.review(dataset, split, seed=0).outcome is Review.Result.CONTINUED
    assert review.review(dataset, split, seed=0, least_cases=20).outcome is Review.Result.CONFIRMED


@pytest.fixture(scope="module")
def artifacts():
    """What a training leaves that has too little of everything."""
    none = 10**9
    settings = TrainingSettings(minutes=0.1, encoder="scratch", least_pairs=none, least_examples=none, least_lists=none)
    return fit(training_data(SPLIT), settings)


def test_only_a_shop_without_a_head_and_with_enough_orders_gets_the_arm(artifacts):
    arm = new_items_arm(artifacts, SPLIT, seed=0, progress=UNWATCHED)
    assert {"knn_mean", "interest_match"} <= arm.head.seen
    headed = dataclasses.replace(artifacts, head=arm.head)
    assert new_items_arm(headed, SPLIT, seed=0, progress=UNWATCHED) is None
    young = dataclasses.replace(SPLIT, test_start=float(SPLIT.past.time[0]) + 5 * DAY)
    assert new_items_arm(artifacts, young, seed=0, progress=UNWATCHED) is None


def test_vectors_that_learned_from_the_same_orders_are_not_weighed_on_them(artifacts):
    tuned = dataclasses.replace(artifacts, base_encoder="another")
    plain, careful = (new_items_arm(one, SPLIT, seed=0, progress=UNWATCHED).head for one in (artifacts, tuned))
    rows = [FEATURE_NAMES.index(name) for name in ("interest_match", "history_match")]
    assert (careful.linear / careful.scale)[rows].tolist() == [FALLBACK["interest_match"], 0]
    assert (plain.linear / plain.scale)[rows].tolist() != [FALLBACK["interest_match"], 0]
