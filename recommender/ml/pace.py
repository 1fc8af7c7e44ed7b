"""Measures how much of a training stage is done: by its steps, or by its time box if that will end it sooner."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

STEPS, CLOCK, PATIENCE, STOP, EVIDENCE = "steps", "clock", "patience", "stop", "evidence"
"""Why a stage ended: all steps were taken; the time box was used up; the held-out loss fell no further; the run was
stopped; there was too little data."""

FIRST_STEPS = 10
"""Steps before the time box may set the pace: the first ones are slower than the rest, as memory is allocated."""


@dataclass(slots=True)
class Pace:
    """The progress of one stage. A stage that its time box cuts short cannot be repeated exactly.

    is_clocked: whether the time box has set the pace; first_step, spent_before: steps and seconds before an
    interruption.
    """

    minutes: float
    n_steps: int
    first_step: int = 0
    spent_before: float = 0.0
    is_clocked: bool = False
    started: float = field(default_factory=lambda: time.monotonic())

    def share(self, step: int) -> float:
        """The share that is done, 0 to 1: of the steps, or of the time box if that is larger."""
        by_steps, by_clock = step / max(self.n_steps, 1), self._spent()
        is_settled = self.is_clocked or step - self.first_step >= FIRST_STEPS
        if by_steps < 1 and by_clock > by_steps and (is_settled or by_clock >= 1):
            self.is_clocked = True
            return min(by_clock, 1.0)
        return min(by_steps, 1.0)

    @property
    def seconds(self) -> float:
        """Time spent, including that before an interruption."""
        return self.spent_before + time.monotonic() - self.started

    @property
    def is_over(self) -> bool:
        """Is the time box used up?"""
        return self._spent() >= 1

    def ended_by(self, otherwise: str = STEPS) -> str:
        """`CLOCK` if the time box has set the pace, else the reason that the caller gives."""
        return CLOCK if self.is_clocked else otherwise

    def _spent(self) -> float:
        return self.seconds / max(self.minutes * 60, 1e-9)
