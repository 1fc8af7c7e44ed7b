"""Trains the context model U and the item corrections δ on past visits, and finds which circumstances are useful."""

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
"""Learning-rate multiplier of the leaning and the pull, which start at 0; at 1 they do not converge within a run."""

LEANING_DECAY = 4.0
"""Weight decay of the leanings. AdamW moves a rare hour as far as a common one, so strong decay must undo what few
examples support. At .01 a shop whose hours say little lost .007 NDCG@10; at 4 planted effects keep most of theirs."""

SURE = 1.64
"""Standard errors by which a circumstance must lower the loss to be used: a one-sided test at the 5 % level."""

WEIGHED = ("hour", "weekday", "device", "region")
"""Circumstances that are used only if they lower the loss; slot, current item and query are the request itself."""


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
    """U, δ (n_items, d) with ‖δ‖ ≤ ε, the number of epochs behind them, and what ended the training.

    worth: by circumstance, how much knowing it lowers the loss of an example, in nats, with its standard error.
    """

    model: ContextTransformer
    delta: FloatArray
    n_epochs: int
    ended_by: str = STEPS
    worth: Mapping[str, Worth] = field(default_factory=dict)

    @property
    def idle(self) -> frozenset[str]:
        """Circumstances that do not significantly lower the loss; U no longer reads them."""
        return frozenset(name for name, worth in self.worth.items() if not worth.is_sure)


@dataclass(frozen=True, slots=True)
class ContextData:
    """What U and δ are trained on and checked with.

    visits: the examples to learn from; check: later ones to measure on, if any. text_vectors (n_items, d); popularity
    (n_items,): weighted events, from which negatives are drawn; query_vectors (n_queries, d): the vectors to which
    `Batchable.current` points behind those of the items. Searches of the history enter as vectors only when served:
    their texts change with the encoder, not with U.
    """

    visits: Batchable
    check: Batchable | None
    text_vectors: FloatArray
    popularity: FloatArray
    query_vectors: FloatArray | None = None


def train_context(
    data: ContextData,
    *,
    minutes: float,
    seed: int = 0,
    settings: ContextSettings | None = None,
    progress: Progress = UNWATCHED,
) -> Trained:
    """Train U and δ, keep the epoch with the lowest held-out loss, and find the circumstances that lower that loss.

    Without `data.check` the last epoch is kept, and U reads every circumstance that the settings allow.
    The loss is a sampled softmax with uniform and popularity negatives and logQ correction (Yi et al. 2019, equation
    3) over cosine / τ plus a share of log popularity, which the head knows better and fresher than vectors do.
    """
    settings = settings or ContextSettings()
    torch.manual_seed(seed)
    task = _Task.of(data, settings)
    run = _ContextRun(task, data, minutes, progress, np.random.default_rng(seed))
    for epoch in range(1, settings.n_epochs + 1):
        run.take_epoch()
        run.check(epoch)
        if run.is_over(epoch):
            break
    task.restore(run.best_weights)
    worth = task.worth(data.check) if data.check is not None and run.best_epoch else {}
    delta = bounded(run.best_weights[1], settings.reach).cpu().numpy()
    trained = Trained(task.model.eval().cpu(), delta, run.best_epoch, run.pace.ended_by(run.ended_by), worth)
    task.model.leave_out(settings.without | trained.idle)
    return trained


@dataclass(slots=True)
class _ContextRun:
    """The state of one training: how many steps were taken, and the epoch with the lowest held-out loss so far."""

    task: _Task
    data: ContextData
    minutes: float
    progress: Progress
    generator: np.random.Generator
    step: int = 0
    ended_by: str = STEPS
    best_epoch: int = 0
    best_loss: float = field(init=False)
    best_weights: tuple[dict[str, Tensor], Tensor] = field(init=False)
    optimizer: torch.optim.AdamW = field(init=False)
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        task = self.task
        self.optimizer = _optimizer(task.model, task.delta, task.settings)
        self.pace = Pace(self.minutes, task.settings.n_epochs * self.n_batches)
        self.best_loss, self.best_weights = self._held_out_loss(), task.weights()

    @property
    def n_batches(self) -> int:
        return -(-len(self.data.visits) // self.task.settings.batch)

    def take_epoch(self) -> None:
        """Take a step for each batch of the visits in random order, until the pace or the user ends it."""
        self.task.model.train()
        for rows in np.array_split(self.generator.permutation(len(self.data.visits)), self.n_batches):
            share = self.pace.share(self.step)
            if share >= 1 or self.progress.should_stop():
                break
            self._take_step(rows, share)

    def _take_step(self, rows: npt.NDArray[np.int64], share: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * (1 - share)
        loss = self.task.losses(self.data.visits, rows, self.generator).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        self.progress.step(self.step, self.pace.n_steps, float(loss.detach()))

    def check(self, epoch: int) -> None:
        """Remember the weights of this epoch if the held-out loss fell."""
        loss = self._held_out_loss()
        if loss < self.best_loss:
            self.best_loss, self.best_weights, self.best_epoch = loss, self.task.weights(), epoch

    def is_over(self, epoch: int) -> bool:
        """Whether the training ends before its last epoch; `ended_by` then says why."""
        if self.step >= self.pace.n_steps:
            return False
        if self.progress.should_stop():
            self.ended_by = STOP
        elif self.pace.is_over:
            self.ended_by = CLOCK
        elif epoch - self.best_epoch >= self.task.settings.patience:
            self.ended_by = PATIENCE
        return self.ended_by != STEPS

    def _held_out_loss(self) -> float:
        """Without held-out visits every further step counts as better."""
        return -self.step if self.data.check is None else float(self.task.check_losses(self.data.check).mean())


def bounded(delta: Tensor, reach: float) -> Tensor:
    """Shorten each row that is longer than `reach`."""
    return delta * (reach / delta.norm(dim=1, keepdim=True).clamp(min=reach))


@dataclass(frozen=True, slots=True)
class _Task:
    """U, δ and what their loss needs: texts (n_items, d), queries (n_queries, d), popularity (n_items,)."""

    model: ContextTransformer
    delta: nn.Parameter
    texts: Tensor
    queries: Tensor
    popularity: FloatArray
    settings: ContextSettings

    @classmethod
    def of(cls, data: ContextData, settings: ContextSettings) -> _Task:
        target, (n_items, dimension) = device(), data.text_vectors.shape
        queries = np.zeros((1, dimension), np.float32) if data.query_vectors is None else data.query_vectors
        return cls(
            ContextTransformer(dimension, settings).to(target),
            nn.Parameter(torch.zeros((n_items, dimension), device=target)),
            torch.from_numpy(data.text_vectors).to(target),
            torch.from_numpy(queries).to(target),
            data.popularity,
            settings,
        )

    def losses(self, data: Batchable, rows: npt.NDArray[np.int64], generator: np.random.Generator) -> Tensor:
        """Return (b,): the loss of each example in nats."""
        settings = self.settings
        table = nn.functional.normalize(self.texts + bounded(self.delta, settings.reach), dim=1)
        item = self._there(data.item[rows]).long()
        weight = self._there(data.weight[rows]) * (item >= 0)
        ours = self.model(
            table.detach()[item.clamp(min=0)],  # δ learns as an answer only: half the time
            self._there(data.type[rows]).long(),
            self._there(data.gap[rows]),
            weight,
            _current(table, self.queries, self._there(data.current[rows]).long()),
            self._there(data.circumstances[rows]).long(),
        )
        target = np.full((len(rows), N_TARGETS), -1)
        for position, row in enumerate(rows):
            chance = data.target_weight[row] / data.target_weight[row].sum()
            target[position] = generator.choice(data.target[row], N_TARGETS, p=chance)
        negatives, log_q = _negatives(self.popularity, settings.n_negatives, generator)
        prior = settings.popularity * np.log(self.popularity + 1).astype(np.float32)
        logits = ours @ table[self._there(negatives)].T / settings.temperature
        logits = logits + self._there(prior[negatives]) - self._there(log_q)
        positive = (ours.unsqueeze(1) * table[self._there(target)]).sum(dim=-1) / settings.temperature
        positive = positive + self._there(prior[target])
        hit = self._there((target[:, :, None] == negatives[None, None, :]).any(axis=1))
        rest = logits.masked_fill(hit, -1e4).logsumexp(dim=1, keepdim=True)
        return (torch.logaddexp(positive, rest) - positive).mean(dim=1)

    def check_losses(self, check: Batchable) -> FloatArray:
        """Return (n,): the loss of each example, with the same random draws each time."""
        self.model.eval()
        generator = np.random.default_rng(0)
        parts = np.array_split(np.arange(len(check)), max(len(check) // 256, 1))
        with torch.no_grad():
            losses = [self.losses(check, rows, generator).cpu().numpy() for rows in parts if len(rows)]
        return np.concatenate(losses) if losses else np.zeros(1, np.float32)

    def worth(self, check: Batchable) -> dict[str, Worth]:
        """Return the permutation importance of each of `WEIGHED` (Breiman 2001, section 10).

        This is the loss with the circumstance shuffled over the examples, less the loss with the true one. It is
        shuffled rather than removed, because a value that all examples share says nothing about one of them.
        """
        own, worth = self.check_losses(check), {}
        for name in WEIGHED:
            if name not in self.settings.without:
                column, circumstances = list(CIRCUMSTANCES).index(name), check.circumstances.copy()
                circumstances[:, column] = np.random.default_rng(0).permutation(circumstances[:, column])
                gain = self.check_losses(replace(check, circumstances=circumstances)) - own
                worth[name] = Worth(float(gain.mean()), float(gain.std() / np.sqrt(len(gain))))
        return worth

    def weights(self) -> tuple[dict[str, Tensor], Tensor]:
        """Return a copy of U's weights by name, and of δ."""
        return {name: value.clone() for name, value in self.model.state_dict().items()}, self.delta.detach().clone()

    def restore(self, weights: tuple[dict[str, Tensor], Tensor]) -> None:
        """Put back what `weights` returned."""
        self.model.load_state_dict(weights[0])
        with torch.no_grad():
            self.delta.copy_(weights[1])

    def _there(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.texts.device)


def _optimizer(model: ContextTransformer, delta: Tensor, settings: ContextSettings) -> torch.optim.AdamW:
    """α learns twice as fast: it starts at 0, and the transformer has no effect until it moves."""
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


def _current(table: Tensor, queries: Tensor, current: Tensor) -> Tensor:
    """Return (b, d): the vector of each current item or query, zeros for neither."""
    vectors = torch.cat([table.detach(), queries, table.new_zeros(1, table.shape[1])])
    return vectors[current]  # -1 reads the last row


def _negatives(popularity: FloatArray, n: int, generator: np.random.Generator) -> tuple[np.ndarray, FloatArray]:
    """Draw half uniformly, half by popularity^0.75; return rows (m,) and log of the expected count of each (m,)."""
    chance = np.power(popularity + 1e-3, 0.75, dtype=np.float64)
    chance = 0.5 * chance / chance.sum() + 0.5 / len(chance)
    rows = np.unique(generator.choice(len(chance), n, p=chance))
    included = -np.expm1(n * np.log1p(-chance[rows]))  # chance to be drawn at least once
    return rows, np.log(np.maximum(included, 1e-12)).astype(np.float32)
