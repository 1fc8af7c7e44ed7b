"""Several processes that train one encoder take the steps that one would take with the mean of their gradients."""

import numpy as np
import pytest
import torch

from recommender.exceptions import RunError
from recommender.features.shop_state import build_state
from recommender.ml.encoder import crew
from recommender.ml.encoder.contrastive import TuneSettings, _Duty, fine_tune, freeze
from recommender.ml.encoder.model import Encoder, ScratchSize, build_scratch
from recommender.ml.encoder.pairs import build_pairs
from recommender.ml.loop import Box, optimizer_of
from tests import behaviour
from tests.progress import Recorder

ITEMS = behaviour.table()
EVENTS = behaviour.shop(n_visitors=60)
PAIRS = build_pairs(EVENTS, ITEMS, build_state(EVENTS, ITEMS, at=75 * behaviour.DAY))
SETTINGS = TuneSettings(n_steps=1, batch_pairs=8, held_out=0.0, dropout=0.0, frozen_layers=0, learning_rate=1e-3)


def small() -> Encoder:
    return build_scratch(ITEMS.texts, size=ScratchSize(dimension=32, n_layers=1, n_heads=2, n_words=200), seed=1)


def weights(encoder: Encoder) -> np.ndarray:
    return np.concatenate([value.detach().numpy().ravel() for value in encoder.model.parameters()])


def test_a_step_of_two_is_a_step_along_the_mean_of_both_gradients() -> None:
    together = small()
    ended = fine_tune(together, PAIRS, Box(1e9, seed=3), settings=SETTINGS, n_processes=2)
    assert ended.n_steps == 1
    alone = small()
    freeze(alone.model.bert, 0)
    duty = _Duty(alone, PAIRS, SETTINGS, 3, None)
    optimizer = optimizer_of(alone.model, SETTINGS.loop())
    alone.model.eval()  # without dropout the same
    for rank in range(2):
        duty.step(alone, 0, rank=rank)  # gradients add up
    for parameter in alone.model.parameters():
        if parameter.grad is not None:
            parameter.grad /= 2
    torch.nn.utils.clip_grad_norm_(alone.model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = SETTINGS.learning_rate * 0.1  # the first tenth of a warm-up
    optimizer.step()
    np.testing.assert_allclose(weights(together), weights(alone), atol=1e-6)
    one = small()
    fine_tune(one, PAIRS, Box(1e9, seed=3), settings=SETTINGS, n_processes=1)
    assert np.abs(weights(one) - weights(alone)).max() > 1e-5


def test_every_gpu_is_used_where_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [crew.n_worth(minutes) for minutes in (0.5, 30)] == [1, 4]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert crew.n_worth(30) == 1


def test_an_encoder_on_the_processor_gathers_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPUs of the machine may be other people's: see `hardware.device`."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(crew, "gathered", lambda *told, **options: pytest.fail("a crew was gathered"))
    assert fine_tune(small(), PAIRS, Box(1e9, seed=3), settings=SETTINGS).n_steps == 1


def test_helpers_follow_every_step_and_end_with_it() -> None:
    box = Box(1e9, seed=3, progress=Recorder(stop_after=3))
    ended = fine_tune(small(), PAIRS, box, settings=TuneSettings(n_steps=50, batch_pairs=8), n_processes=2)
    assert (ended.n_steps, ended.ended_by) == (3, "stop")
    assert not torch.multiprocessing.active_children()


def test_a_lost_helper_ends_the_run_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "PATIENCE", crew.timedelta(seconds=20))
    with pytest.raises(RunError, match="One of 2 training processes was lost"):
        _lead(n_steps=3)
    assert not torch.distributed.is_initialized()


def test_an_error_of_the_leaders_own_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="no memory"):
        _lead(n_steps=1, fault="no memory")


def _lead(*, n_steps: int, fault: str = "") -> None:
    """Take steps beside a helper that breaks off at its first one."""
    model = torch.nn.Linear(2, 2)

    def backward(step: int) -> float:
        if fault:
            raise RuntimeError(fault)
        loss = model(torch.ones(1, 2)).sum()
        loss.backward()
        return float(loss.detach())

    with crew.gathered(model, _lost, n_processes=2, backend="gloo") as gathered:
        step = gathered.together(backward)
        for number in range(n_steps):
            step(number)


def _lost(place: torch.device, rank: int) -> tuple[torch.nn.Module, crew.Backward]:
    """A helper whose first step ends its process."""

    def backward(step: int) -> float:
        raise SystemExit(1)

    return torch.nn.Linear(2, 2), backward
