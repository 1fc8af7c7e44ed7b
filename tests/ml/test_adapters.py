"""Adapters on a small BERT: what learns, what stays, what is merged, written, read again and served."""

import dataclasses

import numpy as np
import pytest
import torch

from recommender.bundles.manifest import manifest_of
from recommender.exceptions import BundleError, RunError
from recommender.features.shop_state import build_state
from recommender.ml.context.model import ContextSettings
from recommender.ml.encoder import adapters, pairs
from recommender.ml.encoder import model as encoders
from recommender.ml.encoder.adapters import Adapter, AdapterSettings, AdapterWeights, put_on, settings_for, tune
from recommender.ml.encoder.contrastive import TuneSettings, fine_tune, hold_out
from recommender.ml.encoder.model import MAX_TOKENS, SCRATCH, ScratchSize, build_scratch
from recommender.ml.export import write
from recommender.ml.hardware import limit_threads
from recommender.ml.head.additive import HeadSettings
from recommender.ml.loop import Box, count_trained
from recommender.ml.pace import PATIENCE
from recommender.ml.plan import TrainingData, TrainingSettings
from recommender.ml.progress import Progress
from recommender.ml.train import fit
from recommender.serving.ranker import Ranker
from recommender.types import Adaptation, FineTuning
from tests import behaviour
from tests.progress import Recorder

ITEMS = behaviour.table()
EVENTS = behaviour.shop()
END = 75 * behaviour.DAY
PAIRS = pairs.build_pairs(EVENTS, ITEMS, build_state(EVENTS, ITEMS, at=END))
SIZE = ScratchSize(dimension=32, n_layers=3, n_heads=2, n_words=200)
SETTINGS = TuneSettings(
    n_steps=12, batch_pairs=12, frozen_layers=1, check_steps=3, checkpoint_steps=4, held_out=0.2, least_held_out=1,
    patience=99,
)  # fmt: skip
SIZES = AdapterSettings(rank=2, first_rank=5, alpha=8, n_virtual=4)
ADAPTERS = (FineTuning.LORA, FineTuning.ADALORA, FineTuning.PREFIX, FineTuning.IA3)
MERGED = (FineTuning.LORA, FineTuning.ADALORA, FineTuning.IA3)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    limit_threads(1)


def small(seed=0):
    return build_scratch(ITEMS.texts, size=SIZE, seed=seed)


def put(encoder, method):
    return Adapter(encoder, method, frozen_layers=1, settings=SIZES)


def trained(encoder, method, box=None, **changes):
    """Put an adapter on and train it; it is not merged."""
    adapter = put(encoder, method)
    settings = dataclasses.replace(settings_for(method, SETTINGS, SIZES), **changes)
    fine_tune(encoder, PAIRS, box or Box(1e9), settings=settings, schedule=adapter)
    return adapter


def weights_of(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("method", ADAPTERS)
def test_loss_falls(method):
    """Compared with an adapter that hardly learns, on the same batches."""
    curves = []
    for rate in (1e-12, 2e-2):
        recorder = Recorder()
        trained(small(), method, Box(1e9, progress=recorder), n_steps=40, dropout=0.0, learning_rate=rate)
        curves.append(recorder.losses)
    assert curves[0][0] == pytest.approx(curves[1][0], abs=1e-4)
    assert np.mean(curves[1][-10:]) < np.mean(curves[0][-10:]) - 0.005


@pytest.mark.parametrize("method", ADAPTERS)
def test_only_the_adapter_moves(method):
    encoder = small()
    bert = encoder.model.bert
    before = weights_of(bert)
    adapter = put(encoder, method)
    first = weights_of(adapter.peft)
    fine_tune(encoder, PAIRS, Box(1e9), settings=settings_for(method, SETTINGS, SIZES), schedule=adapter)
    # the adapter wraps a layer: its own weight then has another name, and the same numbers
    after = {name.replace(".base_layer", ""): value for name, value in weights_of(bert).items()}
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=0)
    learned = {name for name, value in adapter.peft.named_parameters() if value.requires_grad}
    assert learned
    now = weights_of(adapter.peft)
    moved = {name for name in learned if (now[name] != first[name]).any()}
    if method == FineTuning.ADALORA:
        learned = {name for name in learned if "lora_E" not in name}  # a singular value may be taken away
    assert learned <= moved


@pytest.mark.parametrize("method", ADAPTERS)
def test_adapter_learns_a_small_part_of_the_parameters(method):
    encoder = small()
    n_all = sum(parameter.numel() for parameter in encoder.model.parameters())
    put(encoder, method)
    assert 0 < count_trained(encoder.model) < n_all / 4


@pytest.mark.parametrize("method", [FineTuning.LORA, FineTuning.ADALORA, FineTuning.IA3])
def test_lower_layers_have_no_adapter(method):
    encoder = small()
    put(encoder, method)
    learned = [name for name, value in encoder.model.named_parameters() if value.requires_grad]
    assert not [name for name in learned if ".layer.0." in name]
    assert {part for name in learned for part in (".layer.1.", ".layer.2.") if part in name} == {
        ".layer.1.",
        ".layer.2.",
    }


@pytest.mark.parametrize("method", MERGED)
def test_merged_vectors_equal_unmerged_ones(method):
    encoder = small()
    plain = encoder.encode(ITEMS.texts)
    adapter = trained(encoder, method, n_steps=40)
    unmerged = encoder.encode(ITEMS.texts)
    adapter.merge()
    assert not [name for name, _ in encoder.model.named_modules() if "lora" in name or "ia3" in name]
    np.testing.assert_allclose(encoder.encode(ITEMS.texts), unmerged, atol=1e-4)
    assert np.abs(unmerged - plain).max() > 3e-4


@pytest.mark.parametrize("method", ADAPTERS)
def test_adapter_read_again_gives_the_same_vectors(method, tmp_path):
    encoder = small()
    tuned = tune(encoder, PAIRS, Box(1e9), method=method, settings=SETTINGS, adapter_settings=SIZES)
    tuned.adapter.write(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == tuned.adapter.n_bytes
    again = small()
    plain = again.encode(ITEMS.texts)
    put_on(again, AdapterWeights.read(tmp_path))
    np.testing.assert_allclose(again.encode(ITEMS.texts), encoder.encode(ITEMS.texts), atol=1e-6)
    assert np.abs(again.encode(ITEMS.texts) - plain).max() > 1e-5


@pytest.mark.parametrize("method", ADAPTERS)
def test_files_may_be_in_a_bundle_and_name_no_path_of_this_machine(method, tmp_path):
    encoder = dataclasses.replace(small(), name="/somewhere/private/bert")
    adapter = put(encoder, method)
    adapter.weights().write(tmp_path)
    assert set(manifest_of(tmp_path, encoder_hash="", is_trained=True)["files"]) == {
        "adapter.json", "adapter.safetensors",
    }  # fmt: skip
    assert "private" not in (tmp_path / "adapter.json").read_text()


def test_adapter_is_refused_on_other_weights(tmp_path):
    tuned = tune(small(), PAIRS, Box(1e9), method=FineTuning.LORA, settings=SETTINGS, adapter_settings=SIZES)
    with pytest.raises(BundleError, match="Load the encoder that it was trained on"):
        put_on(small(seed=5), tuned.adapter)


def test_missing_or_foreign_files_are_refused_in_words(tmp_path):
    with pytest.raises(BundleError, match="holds no adapter"):
        AdapterWeights.read(tmp_path)
    put(small(), FineTuning.IA3).weights().write(tmp_path)
    (tmp_path / "adapter.json").write_text('{"format": 9}')
    with pytest.raises(BundleError, match="has format 9, expected 1"):
        AdapterWeights.read(tmp_path)


def test_unknown_method_names_the_known_ones():
    with pytest.raises(RunError, match="full, frozen, lora, adalora, prefix, ia3"):
        adapters.method_named("qlora")
    with pytest.raises(RunError, match="has no adapter"):
        put(small(), FineTuning.FULL)


def n_ranks(adapter):
    """Number of singular values that AdaLoRA has not removed."""
    pattern = adapter.peft.active_peft_config.rank_pattern
    if pattern:
        return sum(sum(is_left) for is_left in pattern.values())
    return sum(int(value.numel()) for name, value in adapter._lora("lora_E"))


def test_adalora_takes_ranks_away_until_its_budget_is_kept():
    class Ranks(Progress):
        def step(self, done, total, loss=None):
            seen.append(n_ranks(adapter))

    encoder, seen = small(), []
    adapter = put(encoder, FineTuning.ADALORA)
    n_matrices = 2 * 6  # two layers of query, key, value and three dense
    assert n_ranks(adapter) == n_matrices * SIZES.first_rank
    settings = settings_for(FineTuning.ADALORA, dataclasses.replace(SETTINGS, n_steps=40), SIZES)
    fine_tune(encoder, PAIRS, Box(1e9, progress=Ranks()), settings=settings, schedule=adapter)
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == n_matrices * SIZES.first_rank
    assert seen[-1] == n_matrices * SIZES.rank
    assert len(set(seen)) > 5
    n_nonzero = sum(int((value != 0).sum()) for name, value in adapter.peft.named_parameters() if "lora_E" in name)
    assert n_nonzero == n_matrices * SIZES.rank
    stored = sum(len(value) for name, value in adapter.weights().tensors.items() if "lora_E" in name)
    assert stored == n_nonzero


@pytest.mark.parametrize("progress", [(1.0,), (0.05, 1.0), (0.5, 0.71, 0.9)])
def test_adalora_reaches_its_budget_however_the_clock_jumps(progress):
    encoder = small()
    adapter = put(encoder, FineTuning.ADALORA)
    for at in progress:
        encoder.model(**encoder.tokens(ITEMS.texts)).pow(3).sum().backward()
        adapter.after_step(at)
    assert adapter.is_settled
    assert n_ranks(adapter) <= 12 * SIZES.rank


def test_regulariser_of_adalora_is_nothing_for_orthogonal_matrices():
    adapter = put(small(), FineTuning.ADALORA)
    assert float(adapter.penalty().detach()) > 0.1
    with torch.no_grad():
        for name, value in adapter.peft.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                torch.nn.init.orthogonal_(value)
    assert float(adapter.penalty().detach()) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("stopped_after", [1, 6, 10])
@pytest.mark.parametrize("method", [FineTuning.FULL, *ADAPTERS])
def test_resumed_tuning_equals_uninterrupted_tuning(method, stopped_after, tmp_path):
    ask = {"method": method, "settings": SETTINGS, "adapter_settings": SIZES}
    whole = small()
    expected = tune(whole, PAIRS, Box(1e9), **ask)
    box = Box(1e9, progress=Recorder(stop_after=stopped_after), checkpoint_dir=tmp_path)
    assert tune(small(), PAIRS, box, **ask).n_steps == stopped_after
    resumed = small()
    assert tune(resumed, PAIRS, Box(1e9, checkpoint_dir=tmp_path), **ask).figures() == expected.figures()
    np.testing.assert_array_equal(resumed.encode(ITEMS.texts), whole.encode(ITEMS.texts))


def test_checkpoint_of_an_adapter_is_small(tmp_path):
    for method in (FineTuning.FULL, FineTuning.IA3):
        box = Box(1e9, checkpoint_dir=tmp_path / method)
        tune(small(), PAIRS, box, method=method, settings=SETTINGS, adapter_settings=SIZES)
    full, ia3 = (
        next((tmp_path / method).glob("*.safetensors")).stat().st_size for method in (FineTuning.FULL, FineTuning.IA3)
    )
    assert ia3 < full / 20


def test_frozen_encoder_stays_as_it_is():
    encoder = small()
    plain = encoder.encode(ITEMS.texts)
    assert tune(encoder, PAIRS, Box(1e9), method=FineTuning.FROZEN, settings=SETTINGS).figures() == {
        "fine_tuning_steps": 0, "n_trained_parameters": 0,
    }  # fmt: skip
    np.testing.assert_array_equal(encoder.encode(ITEMS.texts), plain)


def test_full_tuning_freezes_embeddings_and_lower_layers():
    encoder = small()
    before = weights_of(encoder.model)
    tune(encoder, PAIRS, Box(1e9), method=FineTuning.FULL, settings=SETTINGS)
    moved = {name for name, value in encoder.model.state_dict().items() if (value != before[name]).any()}
    assert not [name for name in moved if "embeddings" in name or ".layer.0." in name]
    assert [name for name in moved if ".layer.2." in name]


def test_factors_of_ia3_do_not_decay():
    assert settings_for(FineTuning.IA3, SETTINGS, SIZES).weight_decay == 0
    assert settings_for(FineTuning.LORA, SETTINGS, SIZES).weight_decay == SETTINGS.weight_decay


@pytest.mark.parametrize("method", [FineTuning.FULL, FineTuning.LORA])
def test_weight_decay_and_dropout_reach_the_loop(method):
    vectors = []
    for changes in ({"dropout": 0.0}, {"dropout": 0.5}, {"dropout": 0.0, "weight_decay": 50.0}):
        encoder = small()
        settings = dataclasses.replace(SETTINGS, **changes)
        tune(encoder, PAIRS, Box(1e9), method=method, settings=settings, adapter_settings=SIZES)
        vectors.append(encoder.encode(ITEMS.texts))
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-5
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-5


def test_chunks_give_the_gradient_of_the_whole_batch(monkeypatch):
    monkeypatch.setattr(
        "recommender.ml.encoder.contrastive.low_precision", lambda device: torch.autocast("cpu", enabled=False)
    )
    gradients = []
    for n_chunks in (1, 4):
        encoder = small()
        settings = dataclasses.replace(SETTINGS, n_steps=1, n_chunks=n_chunks, dropout=0.0, learning_rate=0.0)
        fine_tune(encoder, PAIRS, Box(1e9), settings=settings)
        gradients.append({name: value.grad for name, value in encoder.model.named_parameters() if value.requires_grad})
    assert gradients[0]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", [FineTuning.FULL, FineTuning.LORA])
def test_resume_is_exact_with_chunks(method, tmp_path):
    settings = dataclasses.replace(SETTINGS, n_chunks=3)
    whole, resumed = small(), small()
    tune(whole, PAIRS, Box(1e9), method=method, settings=settings, adapter_settings=SIZES)
    box = Box(1e9, progress=Recorder(stop_after=5), checkpoint_dir=tmp_path)
    tune(small(), PAIRS, box, method=method, settings=settings, adapter_settings=SIZES)
    tune(resumed, PAIRS, Box(1e9, checkpoint_dir=tmp_path), method=method, settings=settings, adapter_settings=SIZES)
    np.testing.assert_array_equal(resumed.encode(ITEMS.texts), whole.encode(ITEMS.texts))


def test_both_directions_of_a_pair_are_held_out_together():
    learned, held_out = hold_out(PAIRS, 0.3, seed=0)
    sides = [
        {frozenset(pair) for pair in zip(part.anchor.tolist(), part.other.tolist(), strict=True)}
        for part in (learned, held_out)
    ]
    assert not sides[0] & sides[1]
    assert len(learned.anchor) + len(held_out.anchor) == len(PAIRS.anchor)
    assert len(held_out.anchor)


def test_tuning_stops_early_where_held_out_pairs_gain_nothing():
    settings = dataclasses.replace(SETTINGS, n_steps=500, learning_rate=1e-9, check_steps=1, patience=2)
    ended = fine_tune(small(), PAIRS, Box(1e9), settings=settings)
    assert ended.n_steps < 100
    assert ended.ended_by == PATIENCE


def test_prefix_leaves_positions_and_padding_alone():
    encoder = small()
    adapter = put(encoder, FineTuning.PREFIX)
    with torch.no_grad():
        adapter.peft.prompt_encoder["default"].embedding.weight.mul_(5)
    longest = "tea " * (2 * MAX_TOKENS)  # as many tokens as the BERT has positions: none is left for a prefix
    together = encoder.encode([longest, "red tea cup"])
    np.testing.assert_allclose(together[1], encoder.encode(["red tea cup"])[0], atol=1e-5)
    assert np.isfinite(together).all()
    assert np.abs(small().encode(["red tea cup"])[0] - together[1]).max() > 1e-3


@pytest.mark.parametrize("method", ADAPTERS)
def test_run_by_an_adapter_is_served_as_it_was_trained(method, tmp_path, monkeypatch):
    monkeypatch.setattr(encoders, "_half_pays", lambda kind: False)  # compared to the last digits
    data = TrainingData(EVENTS, ITEMS, train_end=END, test_start=END, test_end=90 * behaviour.DAY)
    settings = TrainingSettings(
        minutes=0.3, encoder=SCRATCH, n_cutoffs=1, lists_per_cutoff=5, least_pairs=10, least_examples=10,
        least_lists=10,
        adaptation=Adaptation.NEVER, fine_tuning=method, tune=SETTINGS, adapter=SIZES,
        context=ContextSettings(width=32, n_epochs=1, n_negatives=16), head=HeadSettings(n_epochs=1, batch_lists=16),
    )  # fmt: skip
    artifacts = fit(data, settings)
    write(artifacts, tmp_path)
    assert {"adapter.json", "adapter.safetensors"} <= {path.name for path in tmp_path.iterdir()}
    ranker = Ranker.load(tmp_path)
    np.testing.assert_allclose(ranker.encode(ITEMS.texts), artifacts.text_vectors, atol=1e-4)
    assert artifacts.metrics["encoder_n_trained_parameters"] > 0
    assert artifacts.metrics["encoder_adapter_bytes"] == artifacts.adapter.n_bytes
    assert artifacts.metrics["encoder_fine_tuning_steps"] == SETTINGS.n_steps
