"""A tuning from its request to its acceptance: real trials on a real study, on the validation window only."""

import dataclasses

import numpy as np
import pytest

from recommender import datasets, knobs, runs
from recommender.ml import head
from recommender.ml.train import TrainingSettings
from recommender.models import Bundle, Run
from recommender.training import run as carry
from recommender.training import tuning
from recommender.training.fitting import knob_values
from recommender.training.split import split_in_time
from recommender.training.watch import Watch

SETTINGS = {
    "minutes": 5, "trial_minutes": 0.01, "encoder": "scratch", "seed": 1, "least_pairs": 20, "least_examples": 20,
    "least_lists": 5, "trials": 6,
}  # fmt: skip
PRESENT = knob_values(TrainingSettings())


@pytest.fixture(autouse=True)
def _small(settings, monkeypatch):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}
    monkeypatch.setattr(tuning, "LEAST_CASES", 5)
    monkeypatch.setattr(tuning, "MOST_CASES", 20)
    monkeypatch.setattr(head, "LEAST_STEPS", 10)


def asked(**settings):
    return runs.request_run(trigger="command", kind=Run.Kind.TUNING, settings={**SETTINGS, **settings})


def carried(run, watch=None):
    token = runs.lease(run.pk, worker="test")
    carry(run.pk, token, watch=watch or Watch(run.pk, token))
    run.refresh_from_db()
    return run


@pytest.mark.django_db(transaction=True)
def test_tuning_tries_the_knobs_of_each_phase_and_begins_with_the_present_ones(live_demo_shop):
    ended = carried(asked())
    assert ended.state == Run.State.SUCCEEDED, ended.reason
    assert (ended.verdict, ended.bundle) == ("", None)
    assert not Bundle.objects.filter(is_trained=True).exists()
    found = ended.metrics["tuning"]
    assert [row["phase"] for row in found["trials"]] == ["encoder", "encoder", "context", "context", "head", "head"]
    first = found["trials"][0]
    assert first["is_present"]
    assert first["state"] == "complete"
    assert first["score"] == found["present"]
    for name, value in first["values"].items():
        assert value == pytest.approx(PRESENT[name])
    scores = [row["score"] for row in found["trials"] if row["state"] == "complete"]
    assert found["best"]["score"] == max(scores) >= found["present"]
    assert set(found["best"]["values"]) == set(PRESENT)
    assert all(0 <= score <= 1 for score in scores)
    assert all(row["seconds"] > 0 for row in found["trials"])
    assert knobs.validated(found["best"]["values"])


@pytest.mark.django_db(transaction=True)
def test_test_window_changes_no_trial(live_demo_shop):
    dataset = datasets.read_dataset()
    test_start = split_in_time(dataset).test_start
    before = tuning.validation_split(dataset)
    assert before.whole.time.max() < test_start
    assert before.test_end <= test_start
    later = dataset.recorded.interactions.time >= test_start
    scrambled = dataclasses.replace(
        dataset.recorded.interactions,
        item=np.where(later, 0, dataset.recorded.interactions.item).astype(np.int32),
        quantity=np.where(later, 1e6, dataset.recorded.interactions.quantity).astype(np.float32),
    )
    recorded = dataclasses.replace(dataset.recorded, interactions=scrambled)
    after = tuning.validation_split(dataclasses.replace(dataset, recorded=recorded))
    assert datasets.data_hash(after.whole, after.items) == datasets.data_hash(before.whole, before.items)
    assert (after.test_start, after.test_end) == (before.test_start, before.test_end)
