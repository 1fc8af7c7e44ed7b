"""How far a stage of training is: by its steps, or by the clock where the time box would end it sooner."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

STEPS, CLOCK, PATIENCE, STOP, EVIDENCE = "steps", "clock", "patience", "stop", "evidence"
"""What ended a stage: its steps; the clock, which also set its pace; no more gain; the run; too little evidence."""

FIRST_STEPS = 10
"""Steps before the clock may set the pace: the first ones wait for memory and say nothing about the rest."""


@dataclass(slots=True)
class Pace:
    """Steps of a stage within a time box. Only a stage whose pace the clock never set can be repeated exactly.

    first_step, spent_before: steps and seconds before an interruption.
    """

    minutes: float
    n_steps: int
    first_step: int = 0
    spent_before: float = 0.0
    is_clocked: bool = False
    started: float = field(default_factory=lambda: time.monotonic())

    def share(self, step: int) -> float:
        """Share done, 0 to 1: of the steps, or of the time where that is further."""
        by_steps, by_clock = step / max(self.n_steps, 1), self._spent()
        is_settled = self.is_clocked or step - self.first_step >= FIRST_STEPS
        if by_steps < 1 and by_clock > by_steps and (is_settled or by_clock >= 1):
            self.is_clocked = True
            return min(by_clock, 1.0)
        return min(by_steps, 1.0)

    @property
    def seconds(self) -> float:
        """Time spent, that before an interruption included."""
        return self.spent_before + time.monotonic() - self.started

    @property
    def is_over(self) -> bool:
        """The time box is used up."""
        return self._spent() >= 1

    def ended_by(self, otherwise: str = STEPS) -> str:
        """The clock where it set the pace, else what the caller saw."""
        return CLOCK if self.is_clocked else otherwise

    def _spent(self) -> float:
        return self.seconds / max(self.minutes * 60, 1e-9)
