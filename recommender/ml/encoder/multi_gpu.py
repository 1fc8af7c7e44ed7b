"""Trains one encoder on every visible GPU: a process for each, whose gradients DistributedDataParallel averages.

Accelerate sets up the processes. The calling process trains nothing itself: it reports the steps, passes on a request
to stop, and takes over the weights at the end. If one process fails, the others are ended.
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
"""A process needs some ten seconds to import torch and meet the others: a shorter stage is faster on one GPU."""

PATIENCE = timedelta(minutes=3)
"""A process that lets the others wait for so long has failed; the longest wait is for the first step."""

END_SECONDS = 30.0
"""What the processes get to end by themselves once the weights have arrived."""

LOOK_SECONDS = 0.5
"""How often the calling process looks whether all others still run while it hears nothing."""

Work = Callable[[Box, Accelerator], tuple[nn.Module, Ended]]
"""Trains in one of the processes and returns the model. It is pickled: not a function within a function."""


@dataclass(frozen=True, slots=True)
class _Result:
    """What the first process sends at its end: the parameters that learned, by name."""

    ended: Ended
    parameters: dict[str, npt.NDArray[Any]]


def count_processes(minutes: float) -> int:
    """Return how many processes share a stage of so many minutes: one for each visible GPU, one if it is short."""
    return max(torch.cuda.device_count(), 1) if minutes >= LEAST_MINUTES else 1


def train_in_processes(work: Work, model: nn.Module, box: Box, *, n_processes: int, on_gpu: bool) -> Ended:
    """Run `work` in each process and copy what was learned into `model`.

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
    """End all processes, after up to so many seconds to end by themselves.

    Once the weights have arrived, a process that dies while it takes itself apart has done its part: it is logged.
    """
    until = time.monotonic() + seconds
    for process in processes.processes:
        process.join(max(until - time.monotonic(), 0))
        if seconds and process.exitcode != 0:
            logger.warning("a training process ended with exit code %s after the training", process.exitcode)
        process.kill()
        process.join()


def _cause(processes: ProcessContext, channel: _Channel) -> str:
    """Return how a process died, or the first error that one has sent: those of the others follow from it."""
    codes = [process.exitcode for process in processes.processes]
    died = [code for code in codes if code not in (0, 1, -signal.SIGTERM)]  # 1: by an error, -SIGTERM: ended from here
    return f"exit code {died[0]}" if died else channel.first_error()


def _train(work: Work, box: Box, channel: _Channel, on_gpu: bool) -> None:
    """Train in a process of its own; only the first one reports steps and sends its weights."""
    try:
        accelerator = Accelerator(cpu=not on_gpu, kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])
        limit_threads()
        is_first = accelerator.is_main_process
        model, ended = work(replace(box, progress=channel) if is_first else box, accelerator)
        if is_first:
            parameters = {name: value.cpu().numpy() for name, value in checkpoint.trained(model).items()}
            channel.send(_Result(ended, parameters))
        accelerator.wait_for_everyone()  # who leaves while another still speaks breaks its connection
        accelerator.end_training()
    except Exception as error:
        channel.send(f"{type(error).__name__}: {error}")
        raise


class _Channel(Progress):
    """Passes steps, errors and the result to the calling process, and its answers whether to stop back."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._messages, self._answers = context.Queue(), context.SimpleQueue()
        self._errors: list[str] = []

    def send(self, message: tuple[int, int, float | None] | str | _Result | None) -> None:
        """Send a step, an error, the result, or None: the question whether to stop."""
        self._messages.put(message)

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        self.send((done, total, loss))

    def should_stop(self) -> bool:
        self.send(None)
        return bool(self._answers.get())

    def receive(self, progress: Progress) -> _Result | None:
        """Handle one message of the other processes, if there is one; return the result when it comes."""
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
        """Return the first error that a process has sent."""
        while not self._messages.empty():
            self.receive(UNWATCHED)
        return self._errors[0] if self._errors else ""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
