"""Fine-tunes the encoder on pairs of texts by contrastive learning: the two texts of a pair move together, and away
from the other texts of the batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from recommender.ml.encoder import multi_gpu
from recommender.ml.encoder.model import Encoder, low_precision
from recommender.ml.encoder.pairs import Drawn, Pairs, draw, false_negatives, hard_negatives
from recommender.ml.loop import Box, Ended, LoopSettings, Objective, Schedule, train
from recommender.types import FloatArray

NAME = "encoder"
DRAWS = 7
"""Pairs drawn for each item of the catalogue: 400 steps of 64 pairs in a shop of 3,700 items. With twelve times as
many, more of the items bought together were among the 20 nearest (.203 instead of .168), but fewer new items were in
the first ten."""

GPU_PAIRS = 256
"""Largest batch on a GPU, in pairs: a step takes a third longer than with 64 pairs (measured on an H200)."""


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """How the encoder is fine-tuned.

    n_steps, batch_pairs: lower limits; `of` raises them for a large catalogue, and batch_pairs also for a GPU.
    n_chunks: number of parts that a batch is computed in, to save memory; negatives still come from the whole batch.
    share_items: share of a batch that are pairs of items bought together, the rest being pairs of a search and an item.
    At .5, NDCG@10 of new items fell from .1041 to .0985 in one month of a gift shop, and that of other items did not
    rise: lists have these pairs from co-purchase anyway.
    hard_negatives: number of similar items that each left text is pushed away from besides those of the batch.
    keep: weight of the term that keeps titles close to the vectors they had before.
    held_out: share of the pairs that is held out for early stopping, which needs at least `least_held_out` pairs.
    """

    n_steps: int = 400
    batch_pairs: int = 64
    n_chunks: int = 1
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    warmup: float = 0.1
    temperature: float = 0.05
    share_items: float = 0.1
    hard_negatives: int = 0
    keep: float = 0.5
    dropout: float = 0.1
    frozen_layers: int = 2
    checkpoint_steps: int = 100
    held_out: float = 0.05
    least_held_out: int = 64
    n_checked: int = 256
    check_steps: int = 50
    patience: int = 3

    def of(self, n_items: int, device: torch.device) -> TuneSettings:
        """The settings for a catalogue of this size: enough steps for `DRAWS` pairs per item, with larger batches on a
        GPU."""
        drawn, size = DRAWS * n_items, self.batch_pairs
        if device.type == "cuda":
            size = max(size, min(GPU_PAIRS, drawn // self.n_steps))
        return replace(self, batch_pairs=size, n_steps=max(self.n_steps, drawn // size))

    def loop(self) -> LoopSettings:
        """The part of the settings that the training loop needs."""
        names = LoopSettings.__slots__
        return LoopSettings(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of n pairs. texts: the n left texts, then the n right ones; drawn: the pairs they belong to."""

    texts: list[str]
    drawn: Drawn


def fine_tune(
    encoder: Encoder,
    pairs: Pairs,
    box: Box,
    *,
    settings: TuneSettings | None = None,
    base_vectors: FloatArray | None = None,
    schedule: Schedule | None = None,
    n_processes: int | None = None,
) -> Ended:
    """Fine-tune the encoder in place with symmetric InfoNCE (van den Oord et al. 2018, equation 4).

    Stops after `n_steps`, after `box.minutes`, or after `patience` checks without a lower held-out loss.
    base_vectors (n_items, d) float32: vectors of the titles before fine-tuning; the loss keeps titles close to them, so
    that search does not forget. schedule: the adapter to train in place of the weights. n_processes: how many processes
    share each step, by default one per GPU; an adapter is trained by one.
    """
    settings = settings or TuneSettings()
    if schedule is None:
        freeze(encoder.model.bert, settings.frozen_layers)
    learned, held_out = hold_out(pairs, settings.held_out, seed=box.seed)
    tuning = _PairTuning(encoder, learned, held_out, settings, base_vectors)
    on_gpu = encoder.device.type == "cuda"
    n_processes = n_processes or (multi_gpu.count_processes(box.minutes) if on_gpu and not schedule else 1)
    if n_processes == 1:
        return tuning.train(box, schedule=schedule)
    return multi_gpu.train_in_processes(
        tuning.portable().train_with_others, encoder.model, box, n_processes=n_processes, on_gpu=on_gpu
    )


@dataclass(frozen=True, slots=True)
class _PairTuning:
    """One fine-tuning on pairs, in the calling process or in several processes that share each step."""

    encoder: Encoder
    learned: Pairs
    held_out: Pairs
    settings: TuneSettings
    base: FloatArray | None

    def train(self, box: Box, *, schedule: Schedule | None = None, accelerator: Accelerator | None = None) -> Ended:
        """Train the encoder in place. With an accelerator, each process draws its own batches and its own dropout."""
        encoder, rank = self.encoder, 0
        if accelerator is not None:
            encoder = replace(encoder, model=accelerator.prepare_model(encoder.model))
            rank = accelerator.process_index

        def backward(step: int) -> float:
            if rank:
                torch.manual_seed((box.seed * 1_000_003 + step) * 1_009 + rank)
            generator = np.random.default_rng((box.seed, step, rank) if rank else (box.seed, step))
            return self.step(encoder, generator) + (_penalise(schedule) if schedule else 0.0)

        check = None
        if len(self.held_out) >= self.settings.least_held_out:
            loss = partial(_objective, settings=self.settings, base=self.base)
            check = _checker(self.encoder, self.held_out, self.settings, loss, seed=box.seed)
        objective = Objective(backward, check)
        return train(
            NAME, self.encoder.model, self.settings.loop(), box, objective, schedule=schedule, accelerator=accelerator
        )

    def train_with_others(self, box: Box, accelerator: Accelerator) -> tuple[nn.Module, Ended]:
        """Train as one of several processes."""
        self.encoder.model.to(accelerator.device)
        return self.encoder.model, self.train(box, accelerator=accelerator)

    def step(self, encoder: Encoder, generator: np.random.Generator) -> float:
        """Draw a batch, back-propagate its loss and return the loss."""
        batch = _drawn(self.learned, self.settings, generator)
        objective = partial(_objective, settings=self.settings, base=self.base, pairs=self.learned, batch=batch)
        return _back_propagate(encoder, batch, objective, self.settings.n_chunks)

    def portable(self) -> _PairTuning:
        """The same with a copy of the model on the CPU, which can be sent to another process."""
        return replace(
            self, encoder=replace(self.encoder, model=copy.deepcopy(self.encoder.model).cpu(), token_ids_of={})
        )


def hold_out(pairs: Pairs, share: float, *, seed: int) -> tuple[Pairs, Pairs]:
    """Split pairs at random into (learned, held out). Both directions of a pair go to one side; both sides keep all
    titles."""
    generator = np.random.default_rng((seed, 1))
    low, high = np.minimum(pairs.anchor, pairs.other), np.maximum(pairs.anchor, pairs.other)
    keys, pair_of_row = np.unique(low.astype(np.int64) * len(pairs.titles) + high, return_inverse=True)
    is_out = (generator.random(len(keys)) < share)[pair_of_row]
    is_search_out = generator.random(len(pairs.answered_searches)) < share

    def part(wanted: np.ndarray, answered: np.ndarray) -> Pairs:
        searches = tuple(pair for pair, is_kept in zip(pairs.answered_searches, answered, strict=True) if is_kept)
        columns = {name: getattr(pairs, name)[wanted] for name in ("anchor", "other", "weight")}
        return replace(pairs, answered_searches=searches, **columns)

    return part(~is_out, ~is_search_out), part(is_out, is_search_out)


def freeze(bert: Any, n_layers: int) -> None:
    """Freeze the embeddings and the lowest layers of a pre-trained BERT, which halves the training time on a CPU."""
    layers = getattr(getattr(bert, "encoder", None), "layer", [])
    if n_layers and len(layers) > n_layers:
        bert.embeddings.requires_grad_(False)
        for layer in layers[:n_layers]:
            layer.requires_grad_(False)
    if getattr(bert, "pooler", None) is not None:
        bert.pooler.requires_grad_(False)  # unused, because the tokens are averaged: it gets no gradient


def _drawn(pairs: Pairs, settings: TuneSettings, generator: np.random.Generator) -> Batch:
    drawn = draw(pairs, settings.batch_pairs, generator, share_items=settings.share_items)
    return Batch(drawn.left + [pairs.titles[row] for row in drawn.rows[:, 1]], drawn)


def _vectors(encoder: Encoder, texts: list[str]) -> Tensor:
    with low_precision(encoder.device):
        return encoder.model(**encoder.tokens(texts)).float()


def _back_propagate(encoder: Encoder, batch: Batch, objective: Callable[[Tensor], Tensor], n_chunks: int) -> float:
    """Back-propagate the loss of a batch and return it; in chunks if there are several (Gao et al. 2021, section 3).

    Adding up the gradients of smaller batches would lose most negatives. Instead all vectors are computed without a
    graph, the loss gives the gradient of each vector, and then each chunk is computed again with a graph, and with the
    same dropout, to back-propagate the gradients of its vectors.
    """
    if n_chunks <= 1:
        loss = objective(_vectors(encoder, batch.texts))
        loss.backward()
        return float(loss.detach())
    chunks = [batch.texts[part[0] : part[-1] + 1] for part in np.array_split(np.arange(len(batch.texts)), n_chunks)]
    seeds = [int(torch.randint(2**31, ()).item()) for _ in chunks]
    with torch.no_grad():
        vectors = torch.cat([_seeded(encoder, chunk, seed) for chunk, seed in zip(chunks, seeds, strict=True)])
    vectors.requires_grad_()
    loss = objective(vectors)
    loss.backward()
    assert vectors.grad is not None  # noqa: S101  for the type: backward has just filled it
    gradients = vectors.grad.split([len(chunk) for chunk in chunks])
    for chunk, seed, gradient in zip(chunks, seeds, gradients, strict=True):
        _seeded(encoder, chunk, seed).backward(gradient)
    return float(loss.detach())


def _seeded(encoder: Encoder, texts: list[str], seed: int) -> Tensor:
    torch.manual_seed(seed)
    return _vectors(encoder, texts)


def _penalise(schedule: Schedule) -> float:
    term = schedule.penalty()
    if term is None:
        return 0.0
    term.backward()
    return float(term.detach())


def _checker(
    encoder: Encoder, held_out: Pairs, settings: TuneSettings, objective: Callable[..., Tensor], *, seed: int
) -> Callable[[], float]:
    """Return a function that computes the loss on held-out pairs, always on the same batches."""
    n_batches = max(round(min(settings.n_checked, len(held_out)) / settings.batch_pairs), 1)
    batches = [_drawn(held_out, settings, np.random.default_rng((seed, i, 2))) for i in range(n_batches)]

    def check() -> float:
        losses = [objective(_vectors(encoder, batch.texts), pairs=held_out, batch=batch) for batch in batches]
        return float(torch.stack(losses).mean())

    return check


def _objective(
    vectors: Tensor, *, pairs: Pairs, batch: Batch, settings: TuneSettings, base: FloatArray | None
) -> Tensor:
    """The loss of a batch; vectors (2 n, d): the n left texts, then the n right ones."""
    drawn = batch.drawn
    ours, theirs = vectors.split(len(drawn.left))
    logits = ours @ theirs.T / settings.temperature
    masked = torch.from_numpy(false_negatives(pairs, drawn)).to(logits.device)
    target = torch.arange(len(logits), device=logits.device)
    shown = logits.masked_fill(masked, -1e4)
    if base is not None and settings.hard_negatives:
        shown = torch.cat([shown, _against_mined(ours, pairs, drawn, base, settings)], dim=1)
    forward = nn.functional.cross_entropy(shown, target)
    backward = nn.functional.cross_entropy(logits.T.masked_fill(masked.T, -1e4), target)
    loss = (forward + backward) / 2
    if base is not None and settings.keep:
        anchor = torch.from_numpy(base[drawn.rows[:, 1]]).to(theirs.device)
        loss = loss + settings.keep * (1 - (theirs * anchor).sum(dim=1)).mean()
    return loss


def _against_mined(ours: Tensor, pairs: Pairs, drawn: Drawn, base: FloatArray, settings: TuneSettings) -> Tensor:
    """The logits (n, k) of the hard negatives. Their vectors are those from before fine-tuning: to encode them would
    double the time of a step."""
    rows, used = hard_negatives(pairs, drawn, base, settings.hard_negatives)
    mined = torch.from_numpy(base[rows]).to(ours.device)
    logits = (ours.unsqueeze(1) * mined).sum(dim=2) / settings.temperature
    return logits.masked_fill(~torch.from_numpy(used).to(ours.device), -1e4)
