"""Trains the context model U and the item corrections δ on visits of the past, and finds which circumstances pay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from recommender.features.sequence import CIRCUMSTANCES
from recommender.ml.context.model import ContextSettings, ContextTransformer
from recommender.ml.context.visits import Batchable
from recommender.ml.hardware import device
from recommender.ml.pace import CLOCK, PATIENCE, STEPS, STOP, Pace
from recommender.ml.progress import UNWATCHED, Progress
from recommender.types import FloatArray

N_TARGETS = 6
"""Items of the next visit that one example is trained on, drawn anew each epoch."""

DIRECT_PACE = 5.0
"""How much faster what starts at 0 and stands alone may walk: at 1 it is not there within the minutes of a run."""

LEANING_DECAY = 4.0
"""Weight decay of the leanings: AdamW moves a rare hour as far as a common one, so what is not confirmed must fade. At
.01 a shop whose hours say little lost .007 NDCG@10 by them; at 4 planted dependences keep most of their worth."""

SURE = 1.64
"""Standard errors by which a circumstance must lower the loss to be told: one in twenty that says nothing slips in."""

WEIGHED = ("hour", "weekday", "device", "region")
"""Circumstances that are told only where they pay; slot, current item and query are the request itself."""


@dataclass(frozen=True, slots=True)
class Worth:
    """Mean fall of the loss in nats, and its standard error."""

    gain: float
    error: float

    @property
    def is_sure(self) -> bool:
        return self.gain > SURE * self.error


@dataclass(frozen=True, slots=True)
class Trained:
    """U, δ (n_items, d) with ‖δ‖ ≤ ε, how many epochs made them, and what ended the training.

    worth: by circumstance how much being told it lowers the loss of an example, in nats, and how sure that is; idle:
    those that do not surely lower it, which U no longer reads.
    """

    model: ContextTransformer
    delta: FloatArray
    n_epochs: int
    ended_by: str = STEPS
    worth: Mapping[str, Worth] = field(default_factory=dict)

    @property
    def idle(self) -> frozenset[str]:
        """Circumstances that are not worth being told."""
        return frozenset(name for name, worth in self.worth.items() if not worth.is_sure)


def train_context(
    data: Batchable,
    check: Batchable | None,
    text_vectors: FloatArray,
    popularity: FloatArray,
    *,
    minutes: float,
    query_vectors: FloatArray | None = None,
    seed: int = 0,
    settings: ContextSettings | None = None,
    progress: Progress = UNWATCHED,
) -> Trained:
    """Train U and δ, keep the epoch with the lowest loss on `check`, and tell U only the circumstances that lower it.

    Without a check the last epoch stays, and every circumstance that the settings allow.
    Sampled softmax with uniform and popularity negatives and logQ correction (Yi et al. 2019, equation 3), over
    cosine / τ + part of log popularity: the head knows that better and fresher than vectors.
    text_vectors (n_items, d); popularity (n_items,): weighted events, for the negatives; query_vectors (n_queries, d):
    what `Batchable.current` points to behind the items. Searches of the history enter as vectors only when served:
    their texts change with the encoder, not with U.
    """
    settings = settings or ContextSettings()
    torch.manual_seed(seed)
    task = _Task.of(text_vectors, query_vectors, popularity, settings)
    model, delta, optimizer = task.model, task.delta, _optimizer(task.model, task.delta, settings)
    generator = np.random.default_rng(seed)
    total, step, ended_by = settings.n_epochs * -(-len(data) // settings.batch), 0, STEPS
    pace = Pace(minutes, total)

    def judged() -> float:
        return float(task.judged(check).mean()) if check is not None else -step

    best, kept, best_epoch = judged(), _copy(model, delta), 0
    for epoch in range(1, settings.n_epochs + 1):
        model.train()
        for places in np.array_split(generator.permutation(len(data)), -(-len(data) // settings.batch)):
            done = pace.share(step)
            if done >= 1 or progress.should_stop():
                break
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * (1 - done)
            loss = task.losses(data, places, generator).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            progress.step(step, total, float(loss.detach()))
        now = judged()
        if now < best:
            best, kept, best_epoch = now, _copy(model, delta), epoch
        if step < total and (progress.should_stop() or pace.is_over or epoch - best_epoch >= settings.patience):
            ended_by = STOP if progress.should_stop() else CLOCK if pace.is_over else PATIENCE
            break
    task.take_up(kept)
    worth = task.worth(check) if check is not None and best_epoch else {}
    made = Trained(
        model.eval().cpu(), bounded(kept[1], settings.reach).cpu().numpy(), best_epoch, pace.ended_by(ended_by), worth
    )
    model.tell_without(settings.without | made.idle)
    return made


def bounded(delta: Tensor, reach: float) -> Tensor:
    """Shorten each row that is longer than `reach`."""
    return delta * (reach / delta.norm(dim=1, keepdim=True).clamp(min=reach))


@dataclass(frozen=True, slots=True)
class _Task:
    """What is trained, and against what: texts (n_items, d), asked (n_queries, d), popularity (n_items,)."""

    model: ContextTransformer
    delta: nn.Parameter
    texts: Tensor
    asked: Tensor
    popularity: FloatArray
    settings: ContextSettings

    @classmethod
    def of(
        cls, texts: FloatArray, queries: FloatArray | None, popularity: FloatArray, settings: ContextSettings
    ) -> _Task:
        place, dimension = device(), texts.shape[1]
        asked = np.zeros((1, dimension), np.float32) if queries is None else queries
        return cls(
            ContextTransformer(dimension, settings).to(place),
            nn.Parameter(torch.zeros(texts.shape, device=place)),
            torch.from_numpy(texts).to(place),
            torch.from_numpy(asked).to(place),
            popularity,
            settings,
        )

    def losses(self, data: Batchable, places: npt.NDArray[np.int64], generator: np.random.Generator) -> Tensor:
        """Return (b,): the loss of each example in nats."""
        settings = self.settings
        table = nn.functional.normalize(self.texts + bounded(self.delta, settings.reach), dim=1)
        item = self._there(data.item[places]).long()
        weight = self._there(data.weight[places]) * (item >= 0)
        ours = self.model(
            table.detach()[item.clamp(min=0)],  # δ learns as an answer only: half the time
            self._there(data.type[places]).long(),
            self._there(data.gap[places]),
            weight,
            _current(table, self.asked, self._there(data.current[places]).long()),
            self._there(data.circumstances[places]).long(),
        )
        target = np.full((len(places), N_TARGETS), -1)
        for row, place in enumerate(places):
            chance = data.target_weight[place] / data.target_weight[place].sum()
            target[row] = generator.choice(data.target[place], N_TARGETS, p=chance)
        negatives, log_q = _negatives(self.popularity, settings.n_negatives, generator)
        prior = settings.popularity * np.log(self.popularity + 1).astype(np.float32)
        logits = ours @ table[self._there(negatives)].T / settings.temperature
        logits = logits + self._there(prior[negatives]) - self._there(log_q)
        positive = (ours.unsqueeze(1) * table[self._there(target)]).sum(dim=-1) / settings.temperature
        positive = positive + self._there(prior[target])
        hit = self._there((target[:, :, None] == negatives[None, None, :]).any(axis=1))
        rest = logits.masked_fill(hit, -1e4).logsumexp(dim=1, keepdim=True)
        return (torch.logaddexp(positive, rest) - positive).mean(dim=1)

    def judged(self, check: Batchable) -> FloatArray:
        """Return (n,): the loss of each example, with the same draws each time."""
        self.model.eval()
        generator = np.random.default_rng(0)
        parts = np.array_split(np.arange(len(check)), max(len(check) // 256, 1))
        with torch.no_grad():
            found = [self.losses(check, places, generator).cpu().numpy() for places in parts if len(places)]
        return np.concatenate(found) if found else np.zeros(1, np.float32)

    def worth(self, check: Batchable) -> dict[str, Worth]:
        """Return what each of `WEIGHED` is worth: the loss with those of other examples, less that with its own.

        Shuffled, not silenced (Breiman 2001, section 10): what is common to all examples tells nothing about one.
        """
        own, found = self.judged(check), {}
        for name in WEIGHED:
            if name not in self.settings.without:
                column, told = list(CIRCUMSTANCES).index(name), check.circumstances.copy()
                told[:, column] = np.random.default_rng(0).permutation(told[:, column])
                gain = self.judged(replace(check, circumstances=told)) - own
                found[name] = Worth(float(gain.mean()), float(gain.std() / np.sqrt(len(gain))))
        return found

    def take_up(self, kept: tuple[dict[str, Tensor], Tensor]) -> None:
        """Put back weights that `_copy` kept."""
        self.model.load_state_dict(kept[0])
        with torch.no_grad():
            self.delta.copy_(kept[1])

    def _there(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.texts.device)


def _optimizer(model: ContextTransformer, delta: Tensor, settings: ContextSettings) -> torch.optim.AdamW:
    """α walks twice as fast: it is one number, starts at 0 and holds everything else back until it moves."""
    leaning, pull = list(model.leaning.parameters()), list(model.pull.parameters())
    apart = {id(parameter) for parameter in (model.alpha, *leaning, *pull)}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in apart]
    peak = settings.learning_rate
    groups = [
        {"params": rest, "weight_decay": settings.weight_decay, "peak": peak},
        {"params": [delta], "weight_decay": 0.0, "peak": peak},
        {"params": [model.alpha], "weight_decay": 0.0, "peak": 2 * peak},
        {"params": leaning, "weight_decay": LEANING_DECAY, "peak": DIRECT_PACE * peak},
        {"params": pull, "weight_decay": settings.weight_decay, "peak": DIRECT_PACE * peak},
    ]
    return torch.optim.AdamW(groups, lr=peak)


def _current(table: Tensor, asked: Tensor, current: Tensor) -> Tensor:
    """Return (b, d): the vector of each current item or query, zeros for neither."""
    known = torch.cat([table.detach(), asked, table.new_zeros(1, table.shape[1])])
    return known[current]  # -1 reads the last row


def _negatives(popularity: FloatArray, n: int, generator: np.random.Generator) -> tuple[np.ndarray, FloatArray]:
    """Draw half uniformly, half by popularity^0.75; return rows (m,) and log of the expected count of each (m,)."""
    chance = np.power(popularity + 1e-3, 0.75, dtype=np.float64)
    chance = 0.5 * chance / chance.sum() + 0.5 / len(chance)
    rows = np.unique(generator.choice(len(chance), n, p=chance))
    included = -np.expm1(n * np.log1p(-chance[rows]))  # chance to be drawn at least once
    return rows, np.log(np.maximum(included, 1e-12)).astype(np.float32)


def _copy(model: nn.Module, delta: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}, delta.detach().clone()
