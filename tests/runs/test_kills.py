"""Trainings and tunings whose processes are really killed, at the worst moments: they end as undisturbed ones do."""

import subprocess
import sys
from pathlib import Path

import pytest

from recommender import bundles, runs
from recommender.models import Run
from recommender.runs import deaths, supervision

TRAINER = Path(__file__).parent / "killed_training.py"
SETTINGS = {
    "minutes": 30, "encoder": "scratch", "seed": 1, "least_pairs": 20, "least_examples": 20, "least_lists": 10_000,
    "least_steps": 0, "least_tuning_steps": 0, "least_cases": 1,
}  # fmt: skip

TUNING = {**SETTINGS, "minutes": 5, "trial_minutes": 0.01, "least_lists": 5, "trials": 4}


def carried(monkeypatch, *points, kind=Run.Kind.TRAINING, settings=SETTINGS):
    """A run whose processes die at these points, one after the other; the next one lives."""
    left = iter(points)

    def start(command, **options):
        return subprocess.Popen([sys.executable, str(TRAINER), next(left, ""), *command[4:]], **options)

    monkeypatch.setattr(supervision, "start_process", start)
    run = runs.request_run(trigger="here", kind=kind, settings=settings)
    supervision.supervise(run.pk)
    run.refresh_from_db()
    return run


@pytest.mark.django_db(transaction=True)
def test_training_killed_at_the_worst_moments_makes_the_bundle_of_an_undisturbed_one(
    live_demo_shop, settings, monkeypatch
):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}
    monkeypatch.setattr(deaths, "LONGEST_PAUSE_SECONDS", 0.1)
    bundles.ensure_champion()  # the subprocess reads the settings of the project, not those of this test
    points = ("checkpoint", "end")
    killed = carried(monkeypatch, *points)
    assert (killed.state, killed.fencing_token) == (Run.State.SUCCEEDED, len(points) + 1), killed.reason
    undisturbed = carried(monkeypatch)
    assert (undisturbed.state, undisturbed.fencing_token) == (Run.State.SUCCEEDED, 1), undisturbed.reason
    assert undisturbed.provenance["ended_by"] == killed.provenance["ended_by"]
    assert undisturbed.bundle.manifest == killed.bundle.manifest  # names the file that differs
    assert undisturbed.bundle == killed.bundle
    assert undisturbed.verdict == killed.verdict


def completed(run):
    """The trials of a tuning that were scored; those of killed processes are shown as failed."""
    return [row for row in run.metrics["tuning"]["trials"] if row["state"] == "complete"]


@pytest.mark.django_db(transaction=True)
def test_tuning_that_is_killed_or_asked_to_stop_in_a_trial_ends_with_one_result(live_demo_shop, settings, monkeypatch):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}
    monkeypatch.setattr(deaths, "LONGEST_PAUSE_SECONDS", 0.1)
    points = ("trial", "asked to stop", "end")
    killed = carried(monkeypatch, *points, kind=Run.Kind.TUNING, settings=TUNING)
    assert (killed.state, killed.fencing_token) == (Run.State.SUCCEEDED, len(points) + 1), killed.reason
    assert Run.objects.filter(kind=Run.Kind.TUNING).count() == 1
    rows = completed(killed)
    assert len(rows) == TUNING["trials"]
    assert [row["is_present"] for row in rows].count(True) == 1
    best = max(rows, key=lambda row: row["score"])
    assert killed.metrics["tuning"]["best"]["score"] == best["score"]
    undisturbed = carried(monkeypatch, kind=Run.Kind.TUNING, settings=TUNING)
    assert (undisturbed.state, undisturbed.fencing_token) == (Run.State.SUCCEEDED, 1), undisturbed.reason
    assert [row["phase"] for row in completed(undisturbed)] == [row["phase"] for row in rows]
    assert completed(undisturbed)[0]["score"] == rows[0]["score"]
