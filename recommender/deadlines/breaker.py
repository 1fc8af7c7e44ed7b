"""Leaves a part alone after it has failed several times in a row, and lets one attempt through now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

N_FAULTS = 3
"""Faults in a row that open a breaker: one may be the request's own, or a busy machine."""

FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 1.0, 60.0
"""How long a part is left alone at first; twice as long after each attempt that fails."""


class Breaker:
    """Whether to begin what may fail; safe to share between threads.

    Ask `permits` before each attempt, then say `succeed` or `fail`. While it is open, `permits` says no; once the rest
    is over it says yes to one caller, whose success closes it. An attempt that never reports counts as failed.
    """

    def __init__(
        self,
        *,
        n_faults: int = N_FAULTS,
        first_rest_seconds: float = FIRST_REST_SECONDS,
        longest_rest_seconds: float = LONGEST_REST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.n_faults, self.n_rests = 0, 0
        self._most_faults, self._clock = n_faults, clock
        self._first_rest, self._longest_rest = first_rest_seconds, longest_rest_seconds
        self._rests_until = 0.0
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the part is left alone until an attempt succeeds."""
        return self.n_rests > 0

    @property
    def rest_seconds(self) -> float:
        """How long until the next attempt is let through; 0 while it is closed."""
        return max(0.0, self._rests_until - self._clock()) if self.is_open else 0.0

    def permits(self) -> bool:
        """Whether to begin now."""
        if not self.n_rests:
            return True
        with self._lock:
            if self.n_rests and self._clock() < self._rests_until:
                return False
            self._rest()
            return True

    def succeed(self) -> bool:
        """Close it; whether it was open."""
        if not self.n_faults:
            return False
        with self._lock:
            was_open = self.is_open
            self.n_faults = self.n_rests = 0
            return was_open

    def fail(self) -> bool:
        """Count a fault; whether this one has opened it."""
        with self._lock:
            self.n_faults += 1
            if self.is_open or self.n_faults < self._most_faults:
                return False
            self.n_rests = 1
            self._rest()
            return True

    def _rest(self) -> None:
        rest = min(self._first_rest * 2.0 ** (self.n_rests - 1), self._longest_rest)
        self._rests_until = self._clock() + rest
        self.n_rests = min(self.n_rests + 1, 32)
