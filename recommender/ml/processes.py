"""Shares out computing over forked processes, which see all that this one holds: the answers are those of one process.

A child only computes: it has no database, writes no file, and ends without a clean-up of what it inherited.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch

from recommender.ml.progress import UNWATCHED, Progress

logger = logging.getLogger(__name__)

Part = TypeVar("Part")
Answer = TypeVar("Answer")
Work = Callable[[Part, Progress], Answer]

MOST_PROCESSES = 2
"""By default. A third gains a sixth of the time at most, and each holds a copy of what it touches."""

LOOK_SECONDS, REPORT_SECONDS = 0.5, 1.0

Share = tuple[BaseProcess, Connection, list[int]]
"""A child, the end of the pipe that it writes to, and the numbers of its parts."""


def n_processes(chosen: int | None = None) -> int:
    """Return how many processes may compute: the chosen number, by default two where there are two processors.

    It is one where this process uses CUDA, which does not survive a fork, and where the system cannot fork safely.
    """
    if sys.platform != "linux" or torch.cuda.is_initialized():
        return 1
    return max(1, chosen or min(len(os.sched_getaffinity(0)), MOST_PROCESSES))


def shared_out(
    work: Work[Part, Answer], parts: Sequence[Part], *, n: int = 1, progress: Progress = UNWATCHED
) -> list[Answer]:
    """Return `work(part, progress)` of each part, in their order, computed by `n` processes.

    This process takes the first part of every n, and what a child could not give. `work` must not train by autograd,
    nor change anything but its answer, which is pickled. Where the run is to end, `progress.check` raises its error and
    the children are ended.
    """
    answers: dict[int, Answer] = {}
    with _children(work, parts, n=min(n, len(parts)), progress=progress) as shares:
        for number in range(0, len(parts), max(1, min(n, len(parts)))):
            answers[number] = work(parts[number], progress)
        for share in shares:
            answers.update(_collected(share, progress))
    for number in set(range(len(parts))) - answers.keys():
        answers[number] = work(parts[number], progress)
    return [answers[number] for number in range(len(parts))]


@contextlib.contextmanager
def _children(work: Work[Any, Any], parts: Sequence[Any], *, n: int, progress: Progress) -> Iterator[list[Share]]:
    """Start a child for each share but the first, and end them with the block."""
    shares: list[Share] = []
    try:
        with progress.apart() if n > 1 else contextlib.nullcontext():
            for first in range(1, n):
                shares.append(_forked(work, parts, list(range(first, len(parts), n))))
        yield shares
    finally:
        for child, answers, _ in shares:
            child.kill()
            child.join()
            answers.close()


def _forked(work: Work[Any, Any], parts: Sequence[Any], numbers: list[int]) -> Share:
    context = multiprocessing.get_context("fork")
    mine, its = context.Pipe(duplex=False)
    child = context.Process(target=_compute, args=(work, parts, numbers, its), daemon=True)
    child.start()
    its.close()
    return child, mine, numbers


def _compute(work: Work[Any, Any], parts: Sequence[Any], numbers: list[int], answers: Connection) -> None:
    """The life of a child. It ends at once, so that no connection which it inherited is closed or written to."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    code = 0
    try:
        progress = _Reported(answers)
        answers.send(([work(parts[number], progress) for number in numbers], ""))
    except BaseException as error:  # the parent computes the part itself, and raises what there is to raise
        code = 1
        with contextlib.suppress(OSError):
            answers.send(([], f"{type(error).__name__}: {error}"))
    finally:
        os._exit(code)


class _Reported(Progress):
    """The steps of a child, written to its parent once a second: the parent reads them only when its own share is done,
    and the pipe holds 64 KB. A child whose parent has ended stops by the broken pipe."""

    def __init__(self, answers: Connection) -> None:
        self.answers, self.written_at = answers, time.monotonic()

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        """Write it, if the last one was written a second ago."""
        if time.monotonic() - self.written_at > REPORT_SECONDS:
            self.written_at = time.monotonic()
            self.answers.send((None, (done, total)))


def _collected(share: Share, progress: Progress) -> dict[int, Any]:
    """Return what a child computed, by the number of the part; nothing where it failed."""
    child, answers, numbers = share
    while True:
        if progress.should_stop():
            progress.check()
        if not wait([answers], timeout=LOOK_SECONDS):
            continue
        try:
            computed, remark = answers.recv()
        except EOFError:
            computed, remark = [], "it was ended"
        if computed is None:
            progress.step(*remark)
            continue
        if not computed:
            logger.warning("process %s did not compute its share (%s); it is computed here", child.pid, remark)
        return dict(zip(numbers, computed, strict=False))
