"""The loop in which every stage that trains a BERT takes its steps, and which keeps the weights that are best on
held-out data: AdamW with warm-up and decay, clipping, a time box, early stopping, checkpoints that resume exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recommender.ml import checkpoint
from recommender.ml.pace import PATIENCE, STEPS, STOP, Pace
from recommender.ml.progress import UNWATCHED, Progress

if TYPE_CHECKING:
    from accelerate import Accelerator

DECAY_FLOOR_DIM = 2
"""Weight decay applies to matrices, not to biases and norms (Devlin et al. 2019, appendix A.2)."""


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """`warmup` is a share of the run; `patience` counts checks of held-out data without a gain."""

    n_steps: int
    learning_rate: float
    weight_decay: float
    warmup: float
    dropout: float
    checkpoint_steps: int
    check_steps: int
    patience: int


class Schedule:
    """Reacts to the progress of a training. This one does nothing; an adapter may change its ranks, as AdaLoRA does."""

    @property
    def is_settled(self) -> bool:
        """Whether the weights from now on may be kept as the best."""
        return True

    def after_step(self, progress: float) -> None:
        """React to a step, whose gradients are still there; progress from 0 to 1."""

    def penalty(self) -> Tensor | None:
        """Return a term to add to the loss, or None."""
        return None

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold."""
        return {}

    def load_state(self, state: checkpoint.Tensors) -> None:
        """Restore what `state` returned."""


@dataclass(frozen=True, slots=True)
class Box:
    """The limits of one stage, who watches it and may stop it, and where its checkpoints lie."""

    minutes: float
    seed: int = 0
    progress: Progress = UNWATCHED
    checkpoint_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised: backward(step) back-propagates the loss of a step and returns it; check() returns the loss on
    held-out data."""

    backward: Callable[[int], float]
    check: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """Steps taken, including those before an interruption, and what ended them: a word of `pace`."""

    n_steps: int
    ended_by: str


@dataclass(slots=True)
class Best:
    """The weights with the lowest held-out loss so far; none where nothing is checked."""

    loss: float = math.inf
    n_worse: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def compare(self, loss: float, model: nn.Module) -> None:
        """Keep the weights if the loss fell."""
        if loss < self.loss:
            self.loss, self.n_worse = loss, 0
            self.weights = {name: value.clone() for name, value in checkpoint.trained(model).items()}
        else:
            self.n_worse += 1


def train(
    name: str,
    model: nn.Module,
    settings: LoopSettings,
    box: Box,
    objective: Objective,
    *,
    schedule: Schedule | None = None,
    accelerator: Accelerator | None = None,
) -> Ended:
    """Train the parameters that require gradients and leave the best of them in the model.

    Ends after `n_steps`, `minutes` or `patience` checks without a gain; the learning rate falls with whichever of the
    first two is nearer. Randomness depends on seed and step alone, so a resumed training equals one that was never
    interrupted.
    With an accelerator several processes share the steps: the first one decides, checks, reports and writes.
    """
    course = _Course(name, model, settings, box, objective, schedule or Schedule())
    if course.resume():
        return course.ended
    is_first = accelerator is None or accelerator.is_main_process
    with dropping(model, settings.dropout):
        while (share := _agreed(course.next_share() if is_first else None, accelerator)) is not None:
            course.take_step(share)
            if is_first:
                course.after_step()
        if is_first:
            course.end()
    return course.ended


def _agreed(share: float | None, accelerator: Accelerator | None) -> float | None:
    """Return what the first process has decided."""
    if accelerator is None:
        return share
    from accelerate.utils import broadcast_object_list

    decided: list[float | None] = broadcast_object_list([share])
    return decided[0]


@contextmanager
def dropping(model: nn.Module, dropout: float) -> Iterator[None]:
    """Use train mode with this dropout in every layer, and evaluation mode afterwards."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    model.train()
    try:
        yield
    finally:
        model.eval()


def count_trained(model: nn.Module) -> int:
    """Return how many numbers the training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def optimizer_of(model: nn.Module, settings: LoopSettings) -> torch.optim.AdamW:
    """Return AdamW with weight decay for matrices only."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= DECAY_FLOOR_DIM], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim < DECAY_FLOOR_DIM], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate)


@dataclass(slots=True)
class _Course:
    """The state of one training."""

    name: str
    model: nn.Module
    settings: LoopSettings
    box: Box
    objective: Objective
    schedule: Schedule
    best: Best = field(default_factory=Best)
    step: int = 0
    ended_by: str = STEPS
    optimizer: torch.optim.AdamW = field(init=False)
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = optimizer_of(self.model, self.settings)
        self.pace = Pace(self.box.minutes, self.settings.n_steps)

    @property
    def ended(self) -> Ended:
        return Ended(self.step, self.ended_by)

    def next_share(self) -> float | None:
        """Return the share that is done of the steps or the time box, whichever is more; None if no step follows."""
        share = self.pace.share(self.step)
        is_over = share >= 1 or self.best.n_worse >= self.settings.patience
        return None if is_over or self.box.progress.should_stop() else share

    def take_step(self, share: float) -> None:
        torch.manual_seed(self.box.seed * 1_000_003 + self.step)
        self._set_rate(share)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.objective.backward(self.step)
        nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], 1.0)
        self.optimizer.step()
        self.step += 1
        self.schedule.after_step(self.pace.share(self.step))
        self.box.progress.step(self.step, self.settings.n_steps, loss)

    def after_step(self) -> None:
        """Check held-out data and write a checkpoint when they are due."""
        if self.step % self.settings.check_steps == 0:
            self._check()
        if self.step % self.settings.checkpoint_steps == 0:
            self.save()

    def _check(self) -> None:
        if self.objective.check is None or not self.schedule.is_settled:
            return
        self.model.eval()
        with torch.inference_mode():
            loss = self.objective.check()
        self.model.train()
        self.best.compare(loss, self.model)

    def save(self, *, is_done: bool = False) -> None:
        if self.box.checkpoint_dir is None:
            return
        record = {
            "step": self.step, "seconds": self.pace.seconds, "is_clocked": self.pace.is_clocked,
            "best_loss": self.best.loss, "n_worse": self.best.n_worse, "is_done": is_done, "ended_by": self.ended_by,
        }  # fmt: skip
        tensors: dict[str, checkpoint.Tensors] = {
            "model": checkpoint.trained(self.model), "schedule": self.schedule.state(),
        }  # fmt: skip
        if not is_done:
            tensors |= {"moments": checkpoint.moments(self.optimizer), "best": self.best.weights}
        checkpoint.save(self.box.checkpoint_dir, self.name, record, tensors)

    def resume(self) -> bool:
        """Continue from the last checkpoint; return whether the training had ended there."""
        saved = checkpoint.load(self.box.checkpoint_dir, self.name)
        if saved is None:
            return False
        self.step, self.ended_by = int(saved.record["step"]), str(saved.record["ended_by"])
        self.pace = Pace(
            self.box.minutes,
            self.settings.n_steps,
            first_step=self.step,
            spent_before=float(saved.record["seconds"]),
            is_clocked=bool(saved.record["is_clocked"]),
        )
        checkpoint.set_trained(self.model, saved.tensors.get("model", {}))
        self.schedule.load_state(saved.tensors.get("schedule", {}))
        if saved.record["is_done"]:
            self.model.eval()
            return True
        checkpoint.set_moments(self.optimizer, saved.tensors.get("moments", {}))
        self.best = Best(float(saved.record["best_loss"]), int(saved.record["n_worse"]), saved.tensors.get("best", {}))
        return False

    def end(self) -> None:
        """Leave the best weights in the model; a training that was stopped saves its state to be resumed."""
        is_stopped, is_complete = self.box.progress.should_stop(), self.step >= self.settings.n_steps
        if not is_stopped and self.step % self.settings.check_steps:
            self._check()
        self.ended_by = self.pace.ended_by(STEPS if is_complete else STOP if is_stopped else PATIENCE)
        if not is_stopped and self.best.weights:
            checkpoint.set_trained(self.model, self.best.weights)
        self.save(is_done=not is_stopped)

    def _set_rate(self, share: float) -> None:
        """Warm up linearly, then decay as a half cosine over the share of the training that is done."""
        warm = min(1.0, (self.step + 1) / 10) if share < self.settings.warmup else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * share))
