"""Stage 0 on a small BERT: what is masked, what falls, what stays, and how it is taken up again."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from transformers import BertForMaskedLM, DistilBertConfig

from recommender.exceptions import RunError
from recommender.ml.context.model import ContextSettings
from recommender.ml.encoder import mlm
from recommender.ml.encoder.contrastive import TuneSettings
from recommender.ml.encoder.model import PACKAGE, SCRATCH, ScratchSize, build_scratch, load_encoder
from recommender.ml.hardware import limit_threads
from recommender.ml.head.additive import HeadSettings
from recommender.ml.loop import Box
from recommender.ml.pace import CLOCK
from recommender.ml.plan import TrainingData, TrainingSettings
from recommender.ml.progress import Progress
from recommender.ml.train import fit
from recommender.types import Adaptation, FineTuning
from tests import behaviour
from tests.progress import Recorder

COLOURS = ("red", "blue", "green", "white", "black", "pink", "gold", "grey")
SHAPES = ("round", "square", "tall", "flat", "small")
TEXTS = tuple(
    f"{colour} {shape} {thing}"
    for thing in ("tea cup", "tea pot", "garden fork", "garden hose")
    for colour, shape in itertools.product(COLOURS, SHAPES)
)
"""A grammar: after "tea" comes cup or pot, before it a shape; a model that learns it guesses better than chance."""

SIZE = ScratchSize(dimension=32, n_layers=2, n_heads=2, n_words=400)
LOOP = dataclasses.replace(mlm.LOOP, n_steps=60, learning_rate=3e-3, check_steps=20, checkpoint_steps=20)
SETTINGS = mlm.MaskSettings(loop=LOOP, batch_texts=32, least_texts=50)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    limit_threads(1)


def small(seed=0):
    return build_scratch(TEXTS, size=SIZE, seed=seed)


def with_loop(**changes):
    return dataclasses.replace(SETTINGS, loop=dataclasses.replace(LOOP, **changes))


def test_masking_takes_the_shares_of_the_paper_and_no_special_token():
    encoder = small()
    texts = ["red round tea cup blue square garden hose green tall fork"] * 2_000
    plain = encoder.tokens(texts)["input_ids"].cpu().numpy()
    batch, labels = mlm.mask(encoder, texts, SETTINGS, np.random.default_rng(0))
    shown, labels = batch["input_ids"].cpu().numpy(), labels.cpu().numpy()
    words = ~np.isin(plain, [encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id])
    guessed = labels != mlm.IGNORED
    assert not (guessed & ~words).any()
    assert guessed.sum() / words.sum() == pytest.approx(0.15, abs=0.01)
    np.testing.assert_array_equal(labels[guessed], plain[guessed])
    np.testing.assert_array_equal(shown[~guessed], plain[~guessed])
    is_mask = shown[guessed] == encoder.tokenizer.mask_token_id
    assert is_mask.mean() == pytest.approx(0.8, abs=0.03)
    assert (~is_mask & (shown[guessed] != plain[guessed])).mean() == pytest.approx(0.1, abs=0.03)


def test_every_text_has_a_word_to_guess():
    _, labels = mlm.mask(small(), ["red", "tea cup", "x"] * 20, SETTINGS, np.random.default_rng(0))
    assert ((labels != mlm.IGNORED).sum(dim=1) >= 1).all()


def test_held_out_loss_falls_far_below_that_of_guessing_blindly():
    encoder, recorder = small(), Recorder()
    adapted = mlm.adapt(encoder, TEXTS, Box(1e9, progress=recorder), SETTINGS)
    losses = recorder.losses
    assert adapted.n_steps == len(losses) == LOOP.n_steps
    assert adapted.loss_before == pytest.approx(np.log(len(encoder.tokenizer)), abs=0.5)
    assert adapted.loss_after < adapted.loss_before - 1.5
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 1.0
    figures = adapted.figures()
    assert figures["perplexity_after"] == pytest.approx(np.exp(adapted.loss_after))


def test_held_out_texts_are_never_trained_on(monkeypatch):
    seen, mask = [], mlm.mask
    monkeypatch.setattr(
        mlm, "mask", lambda encoder, texts, *rest: seen.append(set(texts)) or mask(encoder, texts, *rest)
    )
    mlm.adapt(small(), TEXTS * 2, Box(1e9), SETTINGS)
    n_checks = len(seen) - LOOP.n_steps
    checked, trained = set().union(*seen[:n_checks]), set().union(*seen[n_checks:])
    assert len(checked) == len(TEXTS) * 0.1
    assert not checked & trained


def test_head_is_tied_to_the_embeddings_and_left_behind():
    encoder = small()
    guesser = mlm._Guesser(encoder)
    assert guesser.head.predictions.decoder.weight is encoder.model.bert.embeddings.word_embeddings.weight
    assert guesser.bert is encoder.model.bert
    assert not any("predictions" in name for name, _ in encoder.model.named_parameters())


def test_head_of_a_checkpoint_is_used_where_it_has_one(tmp_path):
    encoder = small()
    whole = BertForMaskedLM(encoder.model.bert.config)
    whole.save_pretrained(tmp_path)
    encoder.tokenizer.save_pretrained(tmp_path)
    raw = load_encoder(str(tmp_path))
    assert mlm.is_wanted(raw, TEXTS, Adaptation.AUTO, SETTINGS)
    guesser = mlm._Guesser(raw)
    torch.testing.assert_close(
        guesser.head.predictions.transform.dense.weight.cpu(), whole.cls.predictions.transform.dense.weight
    )
    adapted = mlm.adapt(raw, TEXTS, Box(1e9), with_loop(n_steps=20))
    assert adapted.loss_after < adapted.loss_before


def test_weight_decay_shrinks_the_matrices():
    norms = []
    for decay in (0.0, 30.0):
        encoder = small()
        mlm.adapt(encoder, TEXTS, Box(1e9), with_loop(n_steps=10, weight_decay=decay, check_steps=1_000, patience=99))
        norms.append(float(encoder.model.bert.encoder.layer[0].attention.self.query.weight.detach().norm()))
    assert norms[1] < norms[0] * 0.8


def test_dropout_is_used_while_training_and_off_afterwards():
    vectors = []
    for dropout in (0.0, 0.5):
        encoder = small()
        mlm.adapt(encoder, TEXTS, Box(1e9), with_loop(n_steps=3, dropout=dropout))
        vectors.append(encoder.encode(TEXTS[:5]))
        np.testing.assert_array_equal(vectors[-1], encoder.encode(TEXTS[:5]))
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


def test_early_stop_keeps_the_weights_of_least_held_out_loss():
    few = TEXTS[:60]  # learned by heart, so that held-out texts become strange
    settings = with_loop(n_steps=2_000, learning_rate=3e-2, check_steps=5, patience=2, weight_decay=0.0, dropout=0.0)
    adapted = mlm.adapt(small(), few, Box(1e9), settings)
    assert adapted.n_steps < 2_000
    assert adapted.loss_after < adapted.loss_before


@pytest.mark.parametrize("stopped_after", [1, 20, 33])
def test_resumed_adaptation_equals_an_uninterrupted_one(tmp_path, stopped_after):
    whole = small()
    expected = mlm.adapt(whole, TEXTS, Box(1e9), SETTINGS)
    box = Box(1e9, progress=Recorder(stop_after=stopped_after), checkpoint_dir=tmp_path)
    assert mlm.adapt(small(), TEXTS, box, SETTINGS).n_steps == stopped_after
    resumed = small()
    assert mlm.adapt(resumed, TEXTS, Box(1e9, checkpoint_dir=tmp_path), SETTINGS) == expected
    np.testing.assert_array_equal(resumed.encode(TEXTS), whole.encode(TEXTS))


def test_finished_adaptation_is_taken_up_without_a_step(tmp_path):
    first = small()
    adapted = mlm.adapt(first, TEXTS, Box(1e9, checkpoint_dir=tmp_path), SETTINGS)
    again, recorder = small(), Recorder()
    box = Box(1e9, progress=recorder, checkpoint_dir=tmp_path)
    assert mlm.adapt(again, TEXTS, box, SETTINGS) == adapted
    assert not recorder.losses
    np.testing.assert_array_equal(again.encode(TEXTS), first.encode(TEXTS))


def test_time_box_ends_it_and_counts_the_seconds_before_an_interruption(tmp_path):
    never = mlm.adapt(small(), TEXTS, Box(0.0), SETTINGS)
    assert (never.n_steps, never.ended_by) == (0, CLOCK)
    mlm.adapt(small(), TEXTS, Box(1e9, progress=Recorder(stop_after=5), checkpoint_dir=tmp_path), SETTINGS)
    record = json.loads((tmp_path / "adaptation.json").read_text())
    (tmp_path / "adaptation.json").write_text(json.dumps({**record, "seconds": 61.0}))
    resumed = mlm.adapt(small(), TEXTS, Box(1.0, checkpoint_dir=tmp_path), SETTINGS)
    assert (resumed.n_steps, resumed.ended_by) == (5, CLOCK)


@pytest.mark.parametrize(
    ("name", "choice", "n_texts", "expected"),
    [
        (SCRATCH, Adaptation.AUTO, 160, True),
        (SCRATCH, Adaptation.NEVER, 160, False),
        (SCRATCH, Adaptation.AUTO, 10, False),
        (SCRATCH, Adaptation.ALWAYS, 10, False),
        (PACKAGE, Adaptation.AUTO, 160, False),
        (PACKAGE, Adaptation.ALWAYS, 160, True),
    ],
)
def test_raw_bert_with_texts_is_adapted_and_a_sentence_encoder_only_when_asked(name, choice, n_texts, expected):
    encoder = dataclasses.replace(small(), name=name)
    assert mlm.is_wanted(encoder, TEXTS[:n_texts], choice, SETTINGS) is expected


def test_folder_that_lists_modules_is_a_sentence_encoder(tmp_path):
    assert not mlm.is_sentence_encoder(str(tmp_path))
    (tmp_path / "modules.json").write_text("[]")
    assert mlm.is_sentence_encoder(str(tmp_path))


def test_adaptation_of_what_is_no_bert_is_refused_in_words():
    encoder = small()
    encoder.model.bert.config = DistilBertConfig()
    assert not mlm.is_wanted(encoder, TEXTS, Adaptation.AUTO, SETTINGS)
    with pytest.raises(RunError, match=r"'scratch' is 'distilbert'\. Set ADAPTATION to 'never'"):
        mlm.is_wanted(encoder, TEXTS, Adaptation.ALWAYS, SETTINGS)


class Noted(Progress):
    """Notes the stages, and stops at one."""

    def __init__(self, stop_at=""):
        self.stages, self.losses, self.stop_at = [], [], stop_at

    def stage(self, name):
        self.stages.append(name)

    def step(self, done, total, loss=None):
        if loss is not None:
            self.losses.append((self.stages[-1], loss))

    def should_stop(self):
        """The encoder's stage comes twice: it is loaded before it is adapted, and tuned afterwards."""
        return self.stages.count(self.stop_at) >= (2 if self.stop_at == "encoder" else 1)


END = 75 * behaviour.DAY
DATA = TrainingData(behaviour.shop(), behaviour.table(), train_end=END, test_start=END, test_end=90 * behaviour.DAY)
RUN = TrainingSettings(
    minutes=0.3,
    encoder=SCRATCH,
    n_cutoffs=1,
    lists_per_cutoff=12,
    least_pairs=10,
    least_examples=10,
    least_lists=10,
    tune=TuneSettings(n_steps=4, batch_pairs=8),
    context=ContextSettings(width=32, n_epochs=1, n_negatives=16),
    head=HeadSettings(n_epochs=2, batch_lists=16),
    mask=dataclasses.replace(SETTINGS, least_texts=10, loop=dataclasses.replace(LOOP, n_steps=5)),
)

ENCODER_ONLY = dataclasses.replace(
    RUN, fine_tuning=FineTuning.FROZEN, least_examples=10**9, least_lists=10**9, lists_per_cutoff=1
)


def test_adaptation_is_a_stage_of_a_run_with_losses_seconds_and_figures():
    progress = Noted()
    artifacts = fit(DATA, RUN, progress)
    assert progress.stages[:3] == ["encoder", "adaptation", "encoder"]
    assert {stage for stage, _ in progress.losses} >= {"adaptation", "encoder"}
    assert "adaptation" in artifacts.seconds
    names = {
        "encoder_masked_loss_before",
        "encoder_masked_loss_after",
        "encoder_perplexity_after",
        "search_mrr_unadapted",
    }
    assert names <= set(artifacts.metrics)


def test_adaptation_that_harms_search_is_taken_back():
    never = fit(DATA, dataclasses.replace(ENCODER_ONLY, adaptation=Adaptation.NEVER))
    rejected = fit(
        DATA, dataclasses.replace(ENCODER_ONLY, adaptation_tolerance=-2.0)
    )  # whatever it finds, it is too little
    assert rejected.metrics["encoder_adaptation_kept"] == 0
    np.testing.assert_array_equal(rejected.text_vectors, never.text_vectors)
    accepted = fit(DATA, dataclasses.replace(ENCODER_ONLY, adaptation_tolerance=2.0))
    assert accepted.metrics["encoder_adaptation_kept"] == 1
    assert np.abs(accepted.text_vectors - never.text_vectors).max() > 1e-3


def test_run_that_never_adapts_has_no_such_stage():
    progress = Noted()
    artifacts = fit(DATA, dataclasses.replace(RUN, adaptation=Adaptation.NEVER), progress)
    assert "adaptation" not in progress.stages
    assert "adaptation" not in artifacts.seconds


@pytest.mark.parametrize("stage", ["adaptation", "encoder", "context", "head", "refresh"])
def test_run_stops_at_each_stage_and_is_resumed(tmp_path, stage):
    settings = dataclasses.replace(RUN, checkpoint_dir=tmp_path)
    stopped = fit(DATA, settings, Noted(stop_at=stage))
    assert (stopped.head is None) == (stage != "refresh")
    progress = Noted()
    assert fit(DATA, settings, progress).head is not None
    assert sum(name == "adaptation" for name, _ in progress.losses) == (5 if stage == "adaptation" else 0)
