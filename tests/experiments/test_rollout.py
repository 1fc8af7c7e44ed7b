"""What a run promotes serves a share of the shoppers first, where the shop wants it, and everybody afterwards."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from recommender import bundles, runs
from recommender.checks import check_settings
from recommender.exceptions import ConfigurationError
from recommender.experiments import conduct
from recommender.experiments.rollout import Rollout, roll_out, rollout_of, try_out
from recommender.models import Bundle, Experiment, Run
from recommender.training import stages
from recommender.training.watch import Watch

pytestmark = pytest.mark.django_db

NOW = timezone.now()


@pytest.fixture(autouse=True)
def files_verify(monkeypatch):
    monkeypatch.setattr(bundles.store, "fetch", lambda name: None)


@pytest.fixture
def rolled(settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ROLLOUT": {"share": 0.1, "days": 7}}
    Bundle.objects.create(name="champion", encoder_hash="h", state=Bundle.State.CHAMPION)


def test_new_bundle_serves_a_share_and_then_everybody(rolled):
    new = Bundle.objects.create(name="new", encoder_hash="h")
    experiment, remark = try_out(new, at=NOW)
    assert remark == "It serves 10 % of the shoppers for 7 days first, and everybody then."
    assert (experiment.state, experiment.variant_share, experiment.share) == (Experiment.State.LIVE, 0.1, 1.0)
    conduct.advance(at=NOW + dt.timedelta(days=6))
    assert bundles.champion().name == "champion"
    conduct.advance(at=NOW + dt.timedelta(days=7))
    assert bundles.champion().name == "new"


def test_newer_bundle_takes_the_place_of_one_that_is_rolled_out(rolled):
    first, second = (Bundle.objects.create(name=name, encoder_hash="h") for name in ("first", "second"))
    older, newer = roll_out(first, at=NOW), roll_out(second, at=NOW)
    older.refresh_from_db()
    assert (older.state, older.reason) == (Experiment.State.STOPPED, "A newer bundle is rolled out.")
    assert newer.state == Experiment.State.LIVE


def test_bundle_that_cannot_be_rolled_out_serves_at_once_and_says_why(rolled):
    Experiment.objects.create(
        name="other", bundle=Bundle.objects.create(name="other", encoder_hash="h"), state=Experiment.State.LIVE
    )
    experiment, remark = try_out(Bundle.objects.create(name="new", encoder_hash="h"), at=NOW)
    assert experiment is None
    assert "It serves everybody at once" in remark
    assert "give both the same exclusion group" in remark


def test_by_default_and_in_an_empty_shop_nothing_is_rolled_out(settings):
    new = Bundle.objects.create(name="new", encoder_hash="h")
    assert try_out(new, at=NOW) == (None, "")
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ROLLOUT": {"share": 0.1, "days": 7}}
    assert try_out(new, at=NOW) == (None, "")


@pytest.mark.parametrize(
    "declared",
    [{"share": 0.1}, {"share": 0.7, "days": 7}, {"share": 0.1, "days": 1}, {"share": True, "days": 7}, [], 0.1],
)
def test_setting_that_cannot_be_meant_is_refused_with_an_example(declared, settings):
    with pytest.raises(ConfigurationError, match=r'Expected \{"share"'):
        rollout_of(declared)
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ROLLOUT": declared}
    assert "recommender.E004" in [message.id for message in check_settings(None)]


def test_rollout_is_read_from_its_setting():
    assert rollout_of({"share": 0.1, "days": 7}) == Rollout(0.1, 7)


@pytest.mark.parametrize(("rollout", "serves"), [({"share": 0.1, "days": 7}, "champion"), ({}, "new")])
def test_end_of_a_run_that_promotes(rolled, settings, rollout, serves):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ROLLOUT": rollout}
    run = runs.request_run(trigger="command")
    watch = Watch(run.pk, runs.lease(run.pk, worker="w"))
    new = Bundle.objects.create(name="new", encoder_hash="h")
    stages._finished(Run.State.SUCCEEDED, "It is better.", Run.Verdict.PROMOTED, new, new)(watch)
    run.refresh_from_db()
    assert bundles.champion().name == serves
    assert run.verdict == Run.Verdict.PROMOTED
    assert run.reason.startswith("It is better.")
    assert ("10 % of the shoppers for 7 days" in run.reason) == bool(rollout)
