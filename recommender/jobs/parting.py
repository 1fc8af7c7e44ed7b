"""Lets the processes of a worker's pool notice that the worker stops: it tells only its own process."""

from __future__ import annotations

import os
import threading


class Parting:
    """A pipe from a worker to the processes that it forks: at its end, or the worker's, they find it closed.

    `stops` is set in every one of these processes as soon as the worker is told to stop.
    """

    def __init__(self) -> None:
        self.stops = threading.Event()
        self._ends: tuple[int, int] | None = None
        self._worker = 0

    def begin(self) -> None:
        """In the worker, before it forks."""
        self._ends, self._worker = os.pipe(), os.getpid()

    def follow(self) -> None:
        """In a process of the pool; in the worker itself, which needs no pipe, nothing."""
        if self._ends is None or self._worker == os.getpid():
            return
        reading, writing = self._ends
        os.close(writing)
        threading.Thread(target=self._wait, args=(reading,), name="recommender-parting", daemon=True).start()

    def end(self) -> None:
        """In the worker, as it is told to stop."""
        self.stops.set()
        if self._ends is not None and self._worker == os.getpid():
            os.close(self._ends[1])
            self._ends = None

    def _wait(self, reading: int) -> None:
        os.read(reading, 1)  # nothing is ever written: it returns when the last writer has closed
        self.stops.set()
