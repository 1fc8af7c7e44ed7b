"""Several processes that share an encoder's training take the steps that one would take with their mean gradient."""

import os
from multiprocessing.util import Finalize

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from recommender.exceptions import RunError
from recommender.features.shop_state import build_state
from recommender.ml.encoder import multi_gpu
from recommender.ml.encoder.contrastive import TuneSettings, _PairTuning, fine_tune, freeze
from recommender.ml.encoder.model import Encoder, ScratchSize, build_scratch
from recommender.ml.encoder.pairs import build_pairs
from recommender.ml.loop import Box, Ended, optimizer_of
from tests import behaviour
from tests.progress import Recorder

ITEMS = behaviour.table()
EVENTS = behaviour.shop(n_visitors=60)
PAIRS = build_pairs(EVENTS, ITEMS, build_state(EVENTS, ITEMS, at=75 * behaviour.DAY))
SETTINGS = TuneSettings(n_steps=1, batch_pairs=8, held_out=0.0, dropout=0.0, frozen_layers=0, learning_rate=1e-3)
FOREVER = Box(1e9, seed=3)


def small() -> Encoder:
    return build_scratch(ITEMS.texts, size=ScratchSize(dimension=32, n_layers=1, n_heads=2, n_words=200), seed=1)


def weights(encoder: Encoder) -> np.ndarray:
    return np.concatenate([value.detach().numpy().ravel() for value in encoder.model.parameters()])


def gradients(encoder: Encoder) -> np.ndarray:
    """Return the gradient of each weight, in the order of `weights`; 0 where none was computed."""
    parameters = encoder.model.parameters()
    return np.concatenate(
        [np.zeros(one.numel()) if one.grad is None else one.grad.numpy().ravel() for one in parameters]
    )


def test_step_of_two_processes_follows_the_mean_of_both_gradients() -> None:
    together = small()
    recorder = Recorder()
    ended = fine_tune(together, PAIRS, Box(1e9, seed=3, progress=recorder), settings=SETTINGS, n_processes=2)
    assert ended.n_steps == len(recorder.losses) == 1
    alone = small()
    freeze(alone.model.bert, 0)
    tuning = _PairTuning(alone, PAIRS, PAIRS, SETTINGS, None)
    optimizer = optimizer_of(alone.model, SETTINGS.loop())
    alone.model.eval()  # without dropout the same
    for seed in ((3, 0), (3, 0, 1)):
        tuning.step(alone, np.random.default_rng(seed))  # gradients add up
    for parameter in alone.model.parameters():
        if parameter.grad is not None:
            parameter.grad /= 2
    torch.nn.utils.clip_grad_norm_(alone.model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = SETTINGS.learning_rate * 0.1  # the first tenth of a warm-up
    optimizer.step()
    # AdamW's first step is the learning rate times the sign of the gradient: where that is all but 0, rounding decides.
    is_clear = abs(gradients(alone)) > 1e-6
    is_still = gradients(alone) == 0
    assert (is_clear | is_still).mean() > 0.9
    for parts in (is_clear, is_still):
        np.testing.assert_allclose(weights(together)[parts], weights(alone)[parts], atol=1e-6)
    one = small()
    fine_tune(one, PAIRS, FOREVER, settings=SETTINGS, n_processes=1)
    assert np.abs(weights(one) - weights(alone)).max() > 1e-5


def test_every_gpu_is_used_where_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [multi_gpu.count_processes(minutes) for minutes in (0.5, 30)] == [1, 4]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert multi_gpu.count_processes(30) == 1


def test_encoder_on_the_processor_is_trained_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPUs of the machine may be in use by others: see `hardware.device`."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(multi_gpu, "train_in_processes", lambda *args, **options: pytest.fail("processes were started"))
    assert fine_tune(small(), PAIRS, FOREVER, settings=SETTINGS).n_steps == 1


def test_stop_ends_every_process_and_is_resumed_by_one(tmp_path) -> None:
    settings = TuneSettings(n_steps=5, batch_pairs=8, least_held_out=1, held_out=0.2, check_steps=2)
    box = Box(1e9, seed=3, progress=Recorder(stop_after=3), checkpoint_dir=tmp_path)
    ended = fine_tune(small(), PAIRS, box, settings=settings, n_processes=2)
    assert (ended.n_steps, ended.ended_by) == (3, "stop")
    assert not torch.multiprocessing.active_children()
    resumed = fine_tune(small(), PAIRS, Box(1e9, seed=3, checkpoint_dir=tmp_path), settings=settings)
    assert (resumed.n_steps, resumed.ended_by) == (5, "steps")


@pytest.mark.parametrize(("work", "message"), [("_fails", "ValueError: no memory"), ("_dies", "exit code 7")])
def test_process_that_fails_ends_the_others_with_its_message(work: str, message: str) -> None:
    with pytest.raises(RunError, match=f"One of 2 training processes failed: {message}"):
        multi_gpu.train_in_processes(globals()[work], torch.nn.Linear(1, 1), FOREVER, n_processes=2, on_gpu=False)
    assert not torch.multiprocessing.active_children()


def test_process_that_dies_after_the_training_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    model = torch.nn.Linear(1, 1)
    ended = multi_gpu.train_in_processes(_dies_at_its_end, model, FOREVER, n_processes=2, on_gpu=False)
    assert ended.n_steps == 4
    assert model.weight.item() == 7
    assert "a training process ended with exit code 9 after the training" in caplog.messages


def _dies_at_its_end(box: Box, accelerator: Accelerator) -> tuple[torch.nn.Module, Ended]:
    """The second process trains to the end and dies while it takes itself apart."""
    if accelerator.process_index == 1:
        Finalize(None, os._exit, args=(9,), exitpriority=1_000)
    model = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(model.weight, 7)
    return model, Ended(4, "steps")


def _fails(box: Box, accelerator: Accelerator) -> tuple[torch.nn.Module, Ended]:
    """The second process raises an error; the first one waits for it."""
    if accelerator.process_index == 1:
        raise ValueError("no memory")
    return _wait(accelerator)


def _dies(box: Box, accelerator: Accelerator) -> tuple[torch.nn.Module, Ended]:
    """The second process ends without a word."""
    if accelerator.process_index == 1:
        os._exit(7)
    return _wait(accelerator)


def _wait(accelerator: Accelerator) -> tuple[torch.nn.Module, Ended]:
    accelerator.wait_for_everyone()
    return torch.nn.Linear(1, 1), Ended(0, "steps")
