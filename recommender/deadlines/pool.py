"""Runs what may hang in one of a few threads, so that who waits for it can go on without it."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

from recommender.deadlines.stopwatch import TooLate

N_THREADS = 8
"""At most so many jobs of a process run at once, beside those that hang."""

MOST_THREADS = 32
"""With those that hang: jobs that were given up and keep their thread until they end, if they ever do."""

MOST_WAITING = 64
"""Jobs that wait for a thread; one more is refused at once."""

EXIT_SECONDS = 2.0
"""How long a process that exits waits for running jobs: Python would end their threads inside native code."""

LOOK_SECONDS = 0.02

Result = TypeVar("Result")


class PoolFull(Exception):
    """Every thread is busy and too many jobs wait."""


class _Job:
    """Work with its result; `ended` is locked until the work has ended or was given up before it began."""

    __slots__ = ("ended", "error", "has_begun", "is_given_up", "result", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work, self.result = work, None
        self.error: BaseException | None = None
        self.has_begun = self.is_given_up = False
        self.ended = threading.Lock()
        self.ended.acquire()

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:  # it is raised again where the result is wanted
            self.error = error
        finally:
            self.ended.release()


class Pool:
    """A bounded number of threads, started when they are needed. One per process: threads do not survive a fork."""

    def __init__(
        self, *, n_threads: int = N_THREADS, most_threads: int = MOST_THREADS, most_waiting: int = MOST_WAITING
    ) -> None:
        self.n_threads, self.most_threads, self.most_waiting = n_threads, most_threads, most_waiting
        self.n_running = self.n_idle = self.n_hanging = 0
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition(threading.Lock())

    def run_within(self, work: Callable[[], Result], seconds: float) -> Result:
        """The result of the work, which runs in the caller's context; raises what it raises.

        Raises TooLate after `seconds`, when the work is left to end by itself, and PoolFull if it could not begin.
        """
        if seconds <= 0:
            raise TooLate
        context = copy_context()
        job = _Job(lambda: context.run(work))
        self._submit(job)
        if not job.ended.acquire(timeout=seconds) and self._give_up(job):
            raise TooLate
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]

    def close(self, seconds: float) -> None:
        """Let no other job begin, and wait until the running ones have ended, so long at most."""
        until = time.monotonic() + seconds
        with self._changed:
            self.most_waiting = -1
            self._waiting.clear()
            while self.n_running > self.n_idle and time.monotonic() < until:
                self._changed.wait(LOOK_SECONDS)

    def _submit(self, job: _Job) -> None:
        with self._changed:
            if len(self._waiting) >= self.most_waiting:
                raise PoolFull
            n_useful = self.n_running - self.n_hanging
            if self.n_idle <= len(self._waiting) and n_useful < self.n_threads and self.n_running < self.most_threads:
                self._start()
            if self.n_running == self.n_hanging:
                raise PoolFull
            self._waiting.append(job)
            self._changed.notify()

    def _start(self) -> None:
        """Start a thread; where the process may have no other, those that it has serve alone."""
        thread = threading.Thread(target=self._serve, name="recommender-answer", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return
        self.n_running += 1

    def _give_up(self, job: _Job) -> bool:
        """Wait no longer for a job; whether it has not ended by now."""
        with self._changed:
            if job.ended.acquire(blocking=False):
                return False
            job.is_given_up = True
            if job.has_begun:
                self.n_hanging += 1
            elif job in self._waiting:
                self._waiting.remove(job)
            return True

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            job.run()
            with self._changed:
                self.n_hanging -= job.is_given_up
            del job  # it holds the answer

    def _next(self) -> _Job | None:
        """Wait for a job; None for a thread that is no longer needed."""
        with self._changed:
            if self.n_running - self.n_hanging > self.n_threads:
                self.n_running -= 1
                return None
            self.n_idle += 1
            while not self._waiting:
                self._changed.wait()
            self.n_idle -= 1
            job = self._waiting.popleft()
            job.has_begun = True
            return job


_pool = Pool()


def run_within(work: Callable[[], Result], seconds: float) -> Result:
    """The result of the work by the pool of this process; see `Pool.run_within`."""
    return _pool.run_within(work, seconds)


def _close_at_exit() -> None:
    _pool.close(EXIT_SECONDS)


def _forget_after_fork() -> None:
    """A child process has none of the threads of its parent."""
    global _pool
    _pool = Pool()


atexit.register(_close_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
