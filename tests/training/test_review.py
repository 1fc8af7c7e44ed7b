"""A model that serves provisionally is judged again on what came since, confirmed, or taken back."""

import datetime as dt
import json

import pytest

from recommender import bundles, datasets
from recommender.models import Bundle, Item, Run
from recommender.runs.comparisons import CHAMPION, SCOPES
from recommender.runs.figures import Figures, Gain
from recommender.serving import Served
from recommender.serving.shelf import build_shelf
from recommender.training.judging import evaluation, review
from recommender.training.judging.bench import Bench
from recommender.training.judging.gate import Measurements, Review
from recommender.training.split import split_in_time

DAY = 86_400


@pytest.fixture
def provisional(demo_shop, tmp_path, monkeypatch):
    """A provisional model in bundle 0's place; both rank by words and bestsellers."""
    Item.objects.update(is_active=False)
    written = {}
    for name, is_trained in (("untrained", False), ("provisional", True)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "head.json").write_text(json.dumps({"name": name}))
        written[name] = bundles.write_bundle(folder, is_trained=is_trained, encoder_hash="e1")
        bundles.promote(written[name], is_provisional=is_trained)
    Item.objects.update(is_active=True)
    monkeypatch.setattr(Bench, "of_bundle", lambda self, _: Served(build_shelf(self.split.items, state=self.state)))
    return written["provisional"]


def measured(n, mean, *, low=-1.0, high=1.0):
    return Measurements(dict.fromkeys(SCOPES, n), {scope: {CHAMPION: Gain(low, mean, high)} for scope in SCOPES})


def data(bundle, *, days_ago=20):
    dataset = datasets.read_dataset()
    split = split_in_time(dataset)
    moment = dt.datetime.fromtimestamp(split.test_end - days_ago * DAY, dt.UTC)
    Bundle.objects.filter(pk=bundle.pk).update(promoted_at=moment)
    return dataset, split


def test_cases_since_the_promotion_are_those_of_visitors_who_came_back_after_it(provisional):
    dataset, split = data(provisional)
    at = split.test_end - 20 * DAY
    since = review.cut_at(dataset, split, at)
    assert since.past.time.max() < at <= since.test_start < since.test_end
    cases = evaluation.cases(since, most=1_000, seed=0)
    assert len(cases) >= 10
    assert all(event.at.timestamp() < at for case in cases for event in case.request.history)


def test_model_that_is_as_good_as_the_one_before_goes_on_until_there_are_enough_cases(provisional):
    dataset, split = data(provisional)
    assert review.review(dataset, split, seed=0).outcome is Review.Result.CONTINUED
    assert bundles.champion().is_provisional
    assert review.review(dataset, split, seed=0, least_cases=10).outcome is Review.Result.CONFIRMED
    assert bundles.champion() == provisional
    assert not bundles.champion().is_provisional
    assert review.review(dataset, split, seed=0) is None  # it is not provisional any more


def test_model_that_turned_out_worse_is_taken_back_and_the_one_before_serves(provisional, monkeypatch):
    dataset, split = data(provisional)
    monkeypatch.setattr(review, "_since", lambda *_: measured(40, -0.02))
    assert review.review(dataset, split, seed=0).outcome is Review.Result.TAKEN_BACK
    champion = bundles.champion()
    assert (champion.is_trained, champion.is_provisional) == (False, False)
    assert bundles.previous() == provisional


def test_expectation_begins_with_what_the_run_that_promoted_it_had_measured(provisional, monkeypatch):
    dataset, split = data(provisional)
    promoted_on = measured(80, 0.05)
    figures = Figures(lists={"all": {}}, intervals=promoted_on.gains, n_cases=promoted_on.n_cases)
    Run.objects.create(bundle=provisional, verdict=Run.Verdict.PROVISIONAL, metrics=figures.as_json())
    monkeypatch.setattr(review, "_since", lambda *_: measured(40, -0.02))
    reviewed = review.review(dataset, split, seed=0)
    assert reviewed.outcome is Review.Result.CONTINUED
    assert f"{(80 * 0.05 - 40 * 0.02) / 120:+.4f}" in reviewed.sentence


def test_promotion_by_a_person_is_not_provisional(provisional):
    Item.objects.update(is_active=False)
    bundles.promote(bundles.previous())
    bundles.promote(Bundle.objects.get(pk=provisional.pk))
    assert not bundles.champion().is_provisional
