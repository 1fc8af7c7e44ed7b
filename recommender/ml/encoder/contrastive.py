"""Fine-tunes the encoder on pairs: what belongs together comes near, what else is in the batch goes away."""

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
"""Pairs drawn for each item of the catalogue: 400 steps of 64 where there are 3,700 items. With twelve times as many,
more of what was bought together was among the 20 nearest there (.203, .168), and less that was new in the first ten."""

GPU_PAIRS = 256
"""Most pairs of a step on a GPU: four times as many as 64 in a third more time (one H200)."""


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """How the encoder is tuned. `keep` weighs the pull back to the base vectors.

    share_items: of a batch that are items bought together. Lists know these from co-purchase; at half, new items in the
    first ten fell in one month of a gift shop (.1041 to .0985 NDCG@10) and known items were found no better.
    n_steps, batch_pairs: at least; `of` has them grow with the catalogue, and where a GPU computes.
    hard_negatives: items near each left one that are pushed away beside those of the batch, 0 for none.
    n_chunks: parts of a batch that lie in memory at a time; negatives still come from the whole batch. held_out: share
    of the pairs that is only looked at, to stop early; with fewer than `least_held_out` there is no early stop.
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
        """Return what draws `DRAWS` pairs for each item, where the time allows; on a GPU in larger steps."""
        drawn, size = DRAWS * n_items, self.batch_pairs
        if device.type == "cuda":
            size = max(size, min(GPU_PAIRS, drawn // self.n_steps))
        return replace(self, batch_pairs=size, n_steps=max(self.n_steps, drawn // size))

    def loop(self) -> LoopSettings:
        """What the loop is told."""
        names = LoopSettings.__slots__
        return LoopSettings(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class Batch:
    """texts: n left ones, then n right ones; drawn: what they came from."""

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
    """Tune in place with symmetric InfoNCE (van den Oord et al. 2018, equation 4).

    Stops after `n_steps`, `box.minutes` or `patience` checks without a gain on held-out pairs. base_vectors (n_items,
    d): vectors of the untuned encoder, to which titles are pulled back so that search keeps what it knew. With
    `schedule` the parameters that learn are those of an adapter. n_processes: how many share each step, by default
    one per GPU; an adapter is tuned by one.
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
    """The steps of one tuning: in the calling process, or in each of several that share every step."""

    encoder: Encoder
    learned: Pairs
    held_out: Pairs
    settings: TuneSettings
    base: FloatArray | None

    def train(self, box: Box, *, schedule: Schedule | None = None, accelerator: Accelerator | None = None) -> Ended:
        """Train the encoder in place; with an accelerator each process draws its own batches and dropout."""
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
        """Train in one of several processes."""
        self.encoder.model.to(accelerator.device)
        return self.encoder.model, self.train(box, accelerator=accelerator)

    def step(self, encoder: Encoder, generator: np.random.Generator) -> float:
        """Draw a batch, back-propagate its loss and return it."""
        batch = _drawn(self.learned, self.settings, generator)
        objective = partial(_objective, settings=self.settings, base=self.base, pairs=self.learned, batch=batch)
        return _back_propagate(encoder, batch, objective, self.settings.n_chunks)

    def portable(self) -> _PairTuning:
        """The same with a copy of the model in the processor's memory, as another process can read it."""
        return replace(
            self, encoder=replace(self.encoder, model=copy.deepcopy(self.encoder.model).cpu(), token_ids_of={})
        )


def hold_out(pairs: Pairs, share: float, *, seed: int) -> tuple[Pairs, Pairs]:
    """Split at random, both directions of a pair to one side: (learned, held out). Titles stay known to both."""
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
    """Freeze embeddings and lower layers of a pre-trained BERT: half the time on a CPU."""
    layers = getattr(getattr(bert, "encoder", None), "layer", [])
    if n_layers and len(layers) > n_layers:
        bert.embeddings.requires_grad_(False)
        for layer in layers[:n_layers]:
            layer.requires_grad_(False)
    if getattr(bert, "pooler", None) is not None:
        bert.pooler.requires_grad_(False)  # the mean is pooled instead: it never gets a gradient


def _drawn(pairs: Pairs, settings: TuneSettings, generator: np.random.Generator) -> Batch:
    drawn = draw(pairs, settings.batch_pairs, generator, share_items=settings.share_items)
    return Batch(drawn.left + [pairs.titles[row] for row in drawn.rows[:, 1]], drawn)


def _vectors(encoder: Encoder, texts: list[str]) -> Tensor:
    with low_precision(encoder.device):
        return encoder.model(**encoder.tokens(texts)).float()


def _back_propagate(encoder: Encoder, batch: Batch, objective: Callable[[Tensor], Tensor], n_chunks: int) -> float:
    """Back-propagate the loss of a batch, in chunks that give the gradient of the whole (Gao et al. 2021, section 3).

    Adding up the gradients of small batches would take their negatives away; so the vectors are computed first
    without a graph, then chunk by chunk with one, under the same dropout.
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
    """Return what tells the loss on fixed batches of held-out pairs."""
    n_batches = max(round(min(settings.n_checked, len(held_out)) / settings.batch_pairs), 1)
    batches = [_drawn(held_out, settings, np.random.default_rng((seed, i, 2))) for i in range(n_batches)]

    def check() -> float:
        losses = [objective(_vectors(encoder, batch.texts), pairs=held_out, batch=batch) for batch in batches]
        return float(torch.stack(losses).mean())

    return check


def _objective(
    vectors: Tensor, *, pairs: Pairs, batch: Batch, settings: TuneSettings, base: FloatArray | None
) -> Tensor:
    """vectors (2 n, d): left, then right."""
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
    """Return (n, k) logits of the mined negatives, by their vectors before tuning: encoding would double a step."""
    rows, used = hard_negatives(pairs, drawn, base, settings.hard_negatives)
    mined = torch.from_numpy(base[rows]).to(ours.device)
    logits = (ours.unsqueeze(1) * mined).sum(dim=2) / settings.temperature
    return logits.masked_fill(~torch.from_numpy(used).to(ours.device), -1e4)
