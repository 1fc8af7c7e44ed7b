"""One training on several GPUs: every process draws a batch of its own, and a step follows the mean of their gradients.

The training process leads, on the first device. For each step it sends its weights to the others, and each of them
sends back a gradient; optimizer, checkpoints and decisions are the leader's: a training resumes on any number of GPUs.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recommender.exceptions import RunError
from recommender.ml.hardware import limit_threads

LEADER = 0
LEAST_MINUTES = 2.0
"""A helper takes some ten seconds to import torch and meet the leader: in a short stage that is not worth it."""

PATIENCE = timedelta(minutes=3)
"""A process that has not answered for so long is taken for dead; the start of a helper is the longest wait."""

Backward = Callable[[int], float]
Duty = Callable[[torch.device, int], tuple[nn.Module, Backward]]
"""(device, rank) -> the model and what back-propagates a step of it. It is pickled: no function within a function."""


@dataclass(frozen=True, slots=True)
class Crew:
    """The leader's side: parameters that learn, in one order for all."""

    parameters: Sequence[nn.Parameter]
    n_processes: int

    def together(self, backward: Backward) -> Backward:
        """Return a backward that leaves the mean gradient of all processes, and returns the leader's own loss."""

        def step_together(step: int) -> float:
            with _answered(self.n_processes):
                _order(step)
                _send(self.parameters)
            loss = backward(step)
            with _answered(self.n_processes):
                _gather(self.parameters, self.n_processes)
            return loss

        return step_together


def n_worth(minutes: float) -> int:
    """How many processes are to train for so long: one for each GPU that torch may see, and one where it is short."""
    return max(torch.cuda.device_count(), 1) if minutes >= LEAST_MINUTES else 1


@contextmanager
def gathered(model: nn.Module, duty: Duty, *, n_processes: int, backend: str = "nccl") -> Iterator[Crew]:
    """Start the helpers and lead them; they end with the block. Raises RunError where one of them was lost."""
    context = torch.multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        helpers = [
            context.Process(target=_help, args=(duty, rank, n_processes, meeting, backend), daemon=True)
            for rank in range(LEADER + 1, n_processes)
        ]
        for helper in helpers:
            helper.start()
        try:
            dist.init_process_group(backend, init_method=meeting, rank=LEADER, world_size=n_processes, timeout=PATIENCE)
            yield Crew(_learning(model), n_processes)
            _order(None)
            for helper in helpers:
                helper.join(PATIENCE.total_seconds())
        finally:
            for helper in helpers:
                helper.terminate()
            if dist.is_initialized():
                dist.destroy_process_group()


@contextmanager
def _answered(n_processes: int) -> Iterator[None]:
    """What the leader says to the others, and hears from them; torch raises RuntimeError where one is gone."""
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            f"One of {n_processes} training processes was lost ({error}). CUDA_VISIBLE_DEVICES=0 trains on one GPU."
        ) from error


def _help(duty: Duty, rank: int, n_processes: int, meeting: str, backend: str) -> None:
    """A helper's life: weights in, gradient out, until the leader says that it is over."""
    limit_threads()
    place = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
    if backend == "nccl":
        torch.cuda.set_device(place)
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=n_processes, timeout=PATIENCE)
    model, backward = duty(place, rank)
    model.train()
    parameters = _learning(model)
    while (step := _ordered(place)) is not None:
        _send(parameters)
        model.zero_grad(set_to_none=True)
        backward(step)
        _gather(parameters, n_processes)
    dist.destroy_process_group()
    os._exit(0)  # what else the interpreter would tidy up is the leader's


def _learning(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _order(step: int | None) -> None:
    dist.broadcast(_word(torch.device("cuda", 0) if _on_gpu() else torch.device("cpu"), step), LEADER)


def _ordered(place: torch.device) -> int | None:
    word = _word(place, None)
    dist.broadcast(word, LEADER)
    step = int(word.item())
    return None if step < 0 else step


def _word(place: torch.device, step: int | None) -> Tensor:
    return torch.tensor(-1 if step is None else step, dtype=torch.int64, device=place)


def _on_gpu() -> bool:
    return str(dist.get_backend()) == "nccl"


def _send(parameters: Sequence[nn.Parameter]) -> None:
    """Give every process the leader's weights, in one piece."""
    flat = torch.cat([parameter.detach().flatten() for parameter in parameters])
    dist.broadcast(flat, LEADER)
    if dist.get_rank() == LEADER:
        return
    with torch.no_grad():
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.copy_(part.view_as(parameter))


def _gather(parameters: Sequence[nn.Parameter], n_processes: int) -> None:
    """Leave the mean of all gradients with the leader."""
    flat = torch.cat([_gradient(parameter).flatten() for parameter in parameters])
    dist.reduce(flat, LEADER)
    if dist.get_rank() == LEADER:
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = (part / n_processes).view_as(parameter).clone()


def _gradient(parameter: nn.Parameter) -> Any:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
