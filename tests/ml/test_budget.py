"""How a run's minutes are shared out, and that what is cut short to keep them stays right."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recommender.ml.budget import (
    EXPORT_TEXTS,
    JUDGED_READING,
    LEAST_LEARNING,
    STEP_COST,
    Budget,
    seconds_per_text,
)
from recommender.ml.encoder import model as encoders
from recommender.ml.encoder.model import ScratchSize, build_scratch
from recommender.ml.head.lists import Sample, ShopHistory, lists_at
from recommender.ml.histories import Histories
from recommender.ml.plan import TrainingData, TrainingSettings, until
from recommender.tables import Judgements
from recommender.types import FineTuning
from tests import behaviour, planted

N_TEXTS = 1_000
DATA = planted.dataset()
NOTHING = until(DATA.recorded.interactions, 0.0)


def data(*, n_judged=0, n_texts=N_TEXTS):
    items = behaviour.table(tuple(f"item {row}" for row in range(n_texts)))
    row = np.zeros(n_judged, np.int32)
    judged = Judgements(("a",), row, row, np.ones(n_judged, np.float32)) if n_judged else None
    return TrainingData(NOTHING, items, 1.0, 1.0, 1.0, judgements=judged)


def test_what_is_not_learning_is_set_aside_and_stages_without_evidence_leave_their_share():
    settings = TrainingSettings(minutes=10.0)
    budget = Budget.of(settings, data(n_judged=600), NOTHING, 0.01)
    set_aside = 0.01 * (EXPORT_TEXTS + N_TEXTS + N_TEXTS)  # the catalogue, and once more for the judged queries
    shares = settings.graded_share
    assert budget.minutes * shares * 60 == pytest.approx(600 - set_aside)
    assert budget.shared(settings).minutes == budget.minutes
    assert budget.judged_texts == N_TEXTS


def test_all_shares_together_are_what_is_left():
    interactions = DATA.recorded.interactions
    settings = TrainingSettings(minutes=5.0, least_pairs=10, least_examples=10)
    unjudged = TrainingData(interactions, DATA.items, 1.0, 1.0, 1.0)
    budget = Budget.of(settings, unjudged, interactions, 0.0)
    used = settings.tune_share + 2 * settings.context_share + settings.head_share
    assert budget.minutes * used == pytest.approx(5.0)
    frozen = TrainingSettings(minutes=5.0, least_pairs=10, least_examples=10, fine_tuning=FineTuning.FROZEN)
    assert Budget.of(frozen, unjudged, interactions, 0.0).minutes > budget.minutes


def test_fine_tuning_that_has_no_time_for_its_least_steps_leaves_its_share_to_the_others():
    interactions = DATA.recorded.interactions
    settings = TrainingSettings(minutes=5.0, least_pairs=10, least_examples=10, least_tuning_steps=100)
    learned = TrainingData(interactions, DATA.items, 1.0, 1.0, 1.0)
    steps_seconds = 100 * 2 * settings.tune.batch_pairs * STEP_COST  # of one second a text
    slow, fast = (Budget.of(settings, learned, interactions, share * 60 / steps_seconds) for share in (5.0, 0.01))
    assert fast.fine_tuning is FineTuning.FULL
    assert fast.times_for_tuning == 0
    assert slow.shared(settings).fine_tuning is FineTuning.FROZEN
    assert slow.minutes * (2 * settings.context_share + settings.head_share) == pytest.approx(
        5.0 - (EXPORT_TEXTS + len(DATA.items)) * slow.seconds_per_text / 60
    )
    adapter = Budget.of(replace(settings, fine_tuning=FineTuning.LORA), learned, interactions, slow.seconds_per_text)
    assert adapter.fine_tuning is FineTuning.LORA
    enough = Budget.of(
        replace(settings, minutes=5.0 * slow.times_for_tuning), learned, interactions, slow.seconds_per_text
    )
    assert enough.fine_tuning is FineTuning.FULL


def test_a_catalogue_too_large_for_its_minutes_is_described_in_part_and_still_learned():
    settings = TrainingSettings(minutes=1.0)
    budget = Budget.of(settings, data(n_judged=600), NOTHING, 1.0)
    assert budget.judged_texts == int(60 * JUDGED_READING)
    assert budget.minutes * settings.graded_share == pytest.approx(LEAST_LEARNING)


def test_pace_of_an_encoder_is_the_time_of_one_text():
    calls = []
    assert seconds_per_text(calls.append, ["a", "b"], seed=0) > 0
    assert [len(texts) for texts in calls] == [96, 96]
    assert seconds_per_text(calls.append, [], seed=0) == 0


def test_rough_vectors_are_near_the_exact_ones(monkeypatch):
    monkeypatch.setattr(encoders, "_half_pays", lambda kind: True)
    texts = [f"{colour} cup with {n} handles" for colour in ("red", "blue") for n in range(20)]
    encoder = build_scratch(texts, size=ScratchSize(dimension=32, n_layers=2, n_heads=2, n_words=200))
    torch.manual_seed(0)
    exact, rough = encoder.encode(texts), encoder.encode(texts, exact=False)
    assert 0 < np.abs(exact - rough).max() < 0.02
    np.testing.assert_allclose(exact @ exact.T, rough @ exact.T, atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(rough, axis=1), 1, atol=1e-5)


def test_time_that_is_up_leaves_the_lists_that_were_made():
    interactions = DATA.recorded.interactions
    at = float(np.quantile(interactions.time, 0.6))
    until = float(interactions.time[-1])

    def lists(**limits):
        shop = ShopHistory(Histories(interactions), DATA.items)
        return lists_at(shop, at, until=until, sample=Sample(30, **limits))

    whole, few = lists(), lists(seconds=0.0, least=5)
    assert len(few) == 5 < len(whole)
    assert few.mask.any(axis=1).all()
    np.testing.assert_array_equal(few.rows, whole.rows[:5])
