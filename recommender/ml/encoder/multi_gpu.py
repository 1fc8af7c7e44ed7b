"""Trains one encoder on every visible GPU: a process for each, whose gradients DistributedDataParallel averages.

Accelerate sets up the processes. The calling process does not train: it reports the progress, passes on a request to
stop, and copies the weights at the end. If one process fails, the others are ended.
"""

from __future__ import annotations

import logging
import queue
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy.typing as npt
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, PrepareForLaunch, patch_environment
from torch import multiprocessing, nn
from torch.multiprocessing.spawn import ProcessContext, ProcessException

from recommender.exceptions import RunError
from recommender.ml import checkpoint
from recommender.ml.hardware import limit_threads
from recommender.ml.loop import Box, Ended
from recommender.ml.progress import UNWATCHED, Progress

logger = logging.getLogger(__name__)

LEAST_MINUTES = 2.0
"""Shorter stages use one GPU: a process needs about ten seconds to import torch and connect to the others."""

PATIENCE = timedelta(minutes=3)
"""A process that keeps the others waiting for so long counts as failed; the longest wait is for the first step."""

END_SECONDS = 30.0
"""How long the processes may take to end by themselves once the weights have arrived."""

LOOK_SECONDS = 0.5
"""How often the calling process checks, while no message comes, that all others still run."""

Work = Callable[[Box, Accelerator], tuple[nn.Module, Ended]]
"""Trains in one of the processes and returns the model. It is pickled, so it cannot be a nested function."""


@dataclass(frozen=True, slots=True)
class _Result:
    """The message of the first process at the end of the training, with the trained parameters by name."""

    ended: Ended
    parameters: dict[str, npt.NDArray[Any]]


def count_processes(minutes: float) -> int:
    """The number of processes for a stage of this length: one for each visible GPU, or just one for a short stage."""
    return max(torch.cuda.device_count(), 1) if minutes >= LEAST_MINUTES else 1


def train_in_processes(work: Work, model: nn.Module, box: Box, *, n_processes: int, on_gpu: bool) -> Ended:
    """Run `work` in each process and copy the trained parameters into `model`.

    Raises RunError with the message of the process that failed first.
    """
    channel = _Channel()
    launcher = PrepareForLaunch(_train, distributed_type="MULTI_GPU" if on_gpu else "MULTI_CPU")
    arguments = (work, replace(box, progress=UNWATCHED), channel, on_gpu)
    with patch_environment(
        world_size=n_processes, master_addr="127.0.0.1", master_port=_free_port(),
        accelerate_use_cpu="no" if on_gpu else "yes",
    ):  # fmt: skip
        processes = multiprocessing.start_processes(launcher, arguments, n_processes, join=False, start_method="spawn")
    result = None
    try:
        while (result := channel.receive(box.progress)) is None:
            processes.join(timeout=0)  # raises where one has failed
    except ProcessException as error:
        raise RunError(
            f"One of {n_processes} training processes failed: {_cause(processes, channel)}. "
            "CUDA_VISIBLE_DEVICES=0 trains on one GPU."
        ) from error
    finally:
        _end(processes, seconds=END_SECONDS if result is not None else 0)
    checkpoint.set_trained(model, {name: torch.from_numpy(value) for name, value in result.parameters.items()})
    return result.ended


def _end(processes: ProcessContext, *, seconds: float) -> None:
    """Wait up to `seconds` for all processes to end, then kill those that have not.

    A process that fails after the weights have arrived is only logged: its work is done.
    """
    until = time.monotonic() + seconds
    for process in processes.processes:
        process.join(max(until - time.monotonic(), 0))
        if seconds and process.exitcode != 0:
            logger.warning("a training process ended with exit code %s after the training", process.exitcode)
        process.kill()
        process.join()


def _cause(processes: ProcessContext, channel: _Channel) -> str:
    """How a process died, or the first error that a process sent; errors of other processes only follow from it."""
    codes = [process.exitcode for process in processes.processes]
    died = [code for code in codes if code not in (0, 1, -signal.SIGTERM)]  # 1: an error; -SIGTERM: ended by us
    return f"exit code {died[0]}" if died else channel.first_error()


def _train(work: Work, box: Box, channel: _Channel, on_gpu: bool) -> None:
    """What each process runs; only the first one reports its progress and sends its weights."""
    try:
        accelerator = Accelerator(cpu=not on_gpu, kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])
        limit_threads()
        is_first = accelerator.is_main_process
        model, ended = work(replace(box, progress=channel) if is_first else box, accelerator)
        if is_first:
            parameters = {name: value.cpu().numpy() for name, value in checkpoint.trained(model).items()}
            channel.send(_Result(ended, parameters))
        accelerator.wait_for_everyone()  # a process that ends earlier would break the connections of the others
        accelerator.end_training()
    except Exception as error:
        channel.send(f"{type(error).__name__}: {error}")
        raise


class _Channel(Progress):
    """Sends progress, errors and the result to the calling process, and receives its answer whether to stop."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._messages, self._answers = context.Queue(), context.SimpleQueue()
        self._errors: list[str] = []

    def send(self, message: tuple[int, int, float | None] | str | _Result | None) -> None:
        """Send a step, an error, the result, or None, which asks whether to stop."""
        self._messages.put(message)

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        self.send((done, total, loss))

    def should_stop(self) -> bool:
        self.send(None)
        return bool(self._answers.get())

    def receive(self, progress: Progress) -> _Result | None:
        """Handle one message of the other processes, if there is one. Return the result if it was the result."""
        try:
            message = self._messages.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            return None
        if message is None:
            self._answers.put(progress.should_stop())
        elif isinstance(message, str):
            self._errors.append(message)
        elif isinstance(message, tuple):
            progress.step(*message)
        return message if isinstance(message, _Result) else None

    def first_error(self) -> str:
        """The first error that a process has sent; empty if there is none."""
        while not self._messages.empty():
            self.receive(UNWATCHED)
        return self._errors[0] if self._errors else ""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
