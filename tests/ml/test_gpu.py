"""What learns on a GPU, against the same on the processor; skipped where there is no GPU."""

import numpy as np
import pytest
import torch

from recommender.features.shop_state import build_state
from recommender.ml.encoder import model as encoders
from recommender.ml.encoder.adapters import AdapterSettings, tune
from recommender.ml.encoder.contrastive import TuneSettings
from recommender.ml.encoder.model import build_scratch, on_processor
from recommender.ml.encoder.pairs import build_pairs
from recommender.ml.export import write
from recommender.ml.hardware import device, hardware
from recommender.ml.loop import Box
from recommender.ml.train import fit
from recommender.serving.ranker import Ranker
from recommender.types import FineTuning
from tests.ml.test_train import DATA, END, EVENTS, ITEMS, SETTINGS
from tests.progress import Recorder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
TUNE = TuneSettings(n_steps=6, batch_pairs=12, learning_rate=5e-4, checkpoint_steps=3, held_out=0.0)


def test_the_gpu_is_taken_and_named():
    assert device().type == "cuda"
    assert hardware()["gpu"] == torch.cuda.get_device_name(0)
    assert build_scratch(ITEMS.texts).device.type == "cuda"


def test_gpu_and_processor_encode_alike():
    encoder = build_scratch(ITEMS.texts)
    there, half = encoder.encode(ITEMS.texts), encoder.encode(ITEMS.texts, exact=False)
    with on_processor(encoder):
        here = encoder.encode(ITEMS.texts)
    assert encoder.device.type == "cuda"  # given back
    np.testing.assert_allclose(there, here, atol=1e-4)
    assert (half * here).sum(axis=1).min() > 0.999


@pytest.mark.parametrize(
    "method", [FineTuning.FULL, FineTuning.LORA, FineTuning.ADALORA, FineTuning.PREFIX, FineTuning.IA3]
)
def test_every_method_learns_and_resumes_on_the_gpu(method, tmp_path):
    pairs = build_pairs(EVENTS, ITEMS, build_state(EVENTS, ITEMS, at=END))
    encoder = build_scratch(ITEMS.texts, seed=1)
    before = encoder.encode(ITEMS.texts)

    def tuned(encoder, **box):
        return tune(
            encoder, pairs, Box(1e9, seed=1, checkpoint_dir=tmp_path, **box),
            method=method, settings=TUNE, adapter_settings=AdapterSettings(), base_vectors=before,
        )  # fmt: skip

    tuned(build_scratch(ITEMS.texts, seed=1), progress=Recorder(stop_after=4))
    assert tuned(encoder).n_steps == TUNE.n_steps
    assert np.abs(encoder.encode(ITEMS.texts) - before).max() > 1e-5


def test_a_bundle_trained_on_the_gpu_answers_alike_on_the_processor(monkeypatch, tmp_path):
    monkeypatch.setattr(encoders, "_half_pays", lambda kind: False)
    artifacts = fit(DATA, SETTINGS)
    write(artifacts, tmp_path)
    ranker = Ranker.load(tmp_path)
    np.testing.assert_allclose(ranker.encode(ITEMS.texts), artifacts.text_vectors, atol=1e-3)
    assert artifacts.context is not None
    assert {weight.device.type for weight in artifacts.context.parameters()} == {"cpu"}
