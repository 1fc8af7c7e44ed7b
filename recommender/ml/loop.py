"""One loop for every stage that trains a BERT: a loss goes in, weights that are best on held-out data stay.

AdamW with warm-up and decay, clipping, a time box, early stop, and checkpoints that resume exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from recommender.ml import checkpoint
from recommender.ml.pace import PATIENCE, STEPS, STOP, Pace
from recommender.ml.progress import UNWATCHED, Progress

DECAY_FLOOR_DIM = 2
"""Matrices decay; biases and norms stay free (Devlin et al. 2019, appendix A.2)."""


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


class Steered(Protocol):
    """What changes with the progress of a training beside its weights, such as the budget of AdaLoRA."""

    @property
    def is_settled(self) -> bool:
        """Whether weights from now on may be kept as the best."""

    def after_step(self, progress: float) -> None:
        """A step was taken, gradients are still there; progress 0 to 1."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold."""

    def load_state(self, state: checkpoint.Tensors) -> None:
        """Put back what `state` returned."""


class Unsteered:
    """A `Steered` of which nothing changes."""

    is_settled = True

    def after_step(self, progress: float) -> None: ...

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, state: checkpoint.Tensors) -> None: ...


@dataclass(frozen=True, slots=True)
class Box:
    """The limits of one stage, who watches it and may stop it, and where its checkpoints lie."""

    minutes: float
    seed: int = 0
    progress: Progress = UNWATCHED
    checkpoint_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """Steps taken, those before a resumption included, and what ended them: a word of `pace`."""

    n_steps: int
    ended_by: str


@dataclass(slots=True)
class Best:
    """The weights of least held-out loss so far; without a check the newest."""

    loss: float = math.inf
    n_worse: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def look(self, loss: float, model: nn.Module) -> None:
        """Remember the weights where the loss fell."""
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
    *,
    backward: Callable[[int], float],
    check: Callable[[], float] | None = None,
    steered: Steered | None = None,
) -> Ended:
    """Train the parameters that require gradients and leave the best of them in the model.

    backward(step) back-propagates the loss of a step and returns it; check() returns the loss on held-out data. Ends
    after `n_steps`, `minutes` or `patience` checks without a gain; the rate falls with the nearer of the first two.
    Randomness depends on seed and step alone, so that a resumed training equals one that was never interrupted.
    """
    course = _Course(name, model, settings, box, steered or Unsteered())
    if course.resume():
        return course.ended
    with dropping(model, settings.dropout):
        while course.goes_on:
            course.take(backward)
            if check and course.step % settings.check_steps == 0 and course.steered.is_settled:
                course.best.look(_evaluated(model, check), model)
            if course.step % settings.checkpoint_steps == 0:
                course.save()
        if (
            check
            and not box.progress.should_stop()
            and course.step % settings.check_steps
            and course.steered.is_settled
        ):
            course.best.look(_evaluated(model, check), model)
    course.end()
    return course.ended


def _evaluated(model: nn.Module, check: Callable[[], float]) -> float:
    model.eval()
    with torch.inference_mode():
        loss = check()
    model.train()
    return loss


@contextmanager
def dropping(model: nn.Module, dropout: float) -> Iterator[None]:
    """Train mode with this dropout everywhere; evaluation mode afterwards."""
    set_dropout(model, dropout)
    model.train()
    try:
        yield
    finally:
        model.eval()


def set_dropout(model: nn.Module, dropout: float) -> None:
    """Give every layer of dropout this rate."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout


def count_trained(model: nn.Module) -> int:
    """The number of parameters that learn."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def optimizer_of(model: nn.Module, settings: LoopSettings) -> torch.optim.AdamW:
    """Return AdamW whose decay spares vectors."""
    learns = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in learns if p.ndim >= DECAY_FLOOR_DIM], "weight_decay": settings.weight_decay},
        {"params": [p for p in learns if p.ndim < DECAY_FLOOR_DIM], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate)


class _Course:
    """One training under way."""

    def __init__(self, name: str, model: nn.Module, settings: LoopSettings, box: Box, steered: Steered) -> None:
        self.name, self.model, self.settings, self.box, self.steered = name, model, settings, box, steered
        self.optimizer = optimizer_of(model, settings)
        self.best, self.step, self.ended_by = Best(), 0, STEPS
        self.pace = Pace(box.minutes, settings.n_steps)

    @property
    def progress(self) -> float:
        """Share of the steps or of the time box that is used up, whichever is more."""
        return self.pace.share(self.step)

    @property
    def ended(self) -> Ended:
        return Ended(self.step, self.ended_by)

    @property
    def goes_on(self) -> bool:
        return self.progress < 1 and self.best.n_worse < self.settings.patience and not self.box.progress.should_stop()

    def take(self, backward: Callable[[int], float]) -> None:
        """Take one step."""
        torch.manual_seed(self.box.seed * 1_000_003 + self.step)
        self._set_rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss = backward(self.step)
        nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], 1.0)
        self.optimizer.step()
        self.step += 1
        self.steered.after_step(min(self.progress, 1.0))
        self.box.progress.step(self.step, self.settings.n_steps, loss)

    def save(self, *, is_done: bool = False) -> None:
        if self.box.checkpoint_dir is None:
            return
        record = {
            "step": self.step, "seconds": self.pace.seconds, "is_clocked": self.pace.is_clocked,
            "best_loss": self.best.loss, "n_worse": self.best.n_worse, "is_done": is_done, "ended_by": self.ended_by,
        }  # fmt: skip
        tensors: dict[str, checkpoint.Tensors] = {
            "model": checkpoint.trained(self.model), "steered": self.steered.state(),
        }  # fmt: skip
        if not is_done:
            tensors |= {"moments": checkpoint.moments(self.optimizer), "best": self.best.weights}
        checkpoint.save(self.box.checkpoint_dir, self.name, record, tensors)

    def resume(self) -> bool:
        """Take up the last checkpoint; return whether it was the end."""
        found = checkpoint.load(self.box.checkpoint_dir, self.name)
        if found is None:
            return False
        self.step, self.ended_by = int(found.record["step"]), str(found.record["ended_by"])
        self.pace = Pace(
            self.box.minutes,
            self.settings.n_steps,
            first_step=self.step,
            spent_before=float(found.record["seconds"]),
            is_clocked=bool(found.record["is_clocked"]),
        )
        checkpoint.set_trained(self.model, found.tensors.get("model", {}))
        self.steered.load_state(found.tensors.get("steered", {}))
        if found.record["is_done"]:
            self.model.eval()
            return True
        checkpoint.set_moments(self.optimizer, found.tensors.get("moments", {}))
        self.best = Best(float(found.record["best_loss"]), int(found.record["n_worse"]), found.tensors.get("best", {}))
        return False

    def end(self) -> None:
        """Leave the best weights in the model; a training that was stopped keeps its state for who resumes it."""
        is_stopped, is_whole = self.box.progress.should_stop(), self.step >= self.settings.n_steps
        self.ended_by = self.pace.ended_by(STEPS if is_whole else STOP if is_stopped else PATIENCE)
        if is_stopped:
            self.save()
            return
        if self.best.weights:
            checkpoint.set_trained(self.model, self.best.weights)
        self.save(is_done=True)

    def _set_rate(self) -> None:
        """Warm up linearly, then fall as a half cosine; the rate never outruns the clock."""
        progress = min(self.progress, 1.0)
        warm = min(1.0, (self.step + 1) / 10) if progress < self.settings.warmup else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * progress))
