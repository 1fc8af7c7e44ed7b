"""Counts of this process as plain numbers; with the extra `metrics` installed they are Prometheus metrics too."""

from __future__ import annotations

import enum
import threading
import time
from collections import Counter
from importlib import import_module
from typing import Any

prometheus_client: Any
try:
    prometheus_client = import_module("prometheus_client")
except ImportError:
    prometheus_client = None

LIST_SECONDS = (0.005, 0.015, 0.04, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Bounds of the histogram: a list should take 15 ms, and 40 ms at most."""


class OutcomeCounts(Counter[str]):
    """How often each outcome occurred in this process since its start.

    The usual outcomes are exposed before the first of them: Prometheus sees no increase in what was not there before.
    """

    def __init__(self, name: str, description: str, *outcomes: str) -> None:
        super().__init__()
        self._metric = _metric("Counter", name, description, ["outcome"])
        for outcome in outcomes if self._metric is not None else ():
            self._metric.labels(outcome)

    def __setitem__(self, outcome: str, n: int) -> None:
        if self._metric is not None:  # two threads may count at once: a metric never goes down
            self._metric.labels(outcome).inc(max(0, n - self[outcome]))
        super().__setitem__(outcome, n)


Answers = Counter[tuple[int, str, str, int]]
"""Numbers of lists by hour since 1970, slot, rung and the bound in milliseconds that they kept, 0 beyond the last."""

answers: Answers = Counter()
"""The lists that this process has made and that are not in the table yet."""

_lock = threading.Lock()


class StageFault(enum.StrEnum):
    """What went wrong in a stage of a list: a lower rung answered, or the same one without the stage."""

    LATE = "late"
    RAISED = "raised"
    NO_NUMBERS = "no_numbers"
    RESTED = "rested"
    FULL = "full"

    @property
    def in_words(self) -> str:
        return {StageFault.LATE: "was late", StageFault.NO_NUMBERS: "gave no numbers"}.get(self, self.value)


faults: Counter[tuple[str, StageFault]] = Counter()
"""The faults of this process by stage, since its start."""


def count_fault(stage: str, fault: StageFault) -> None:
    """Count a fault of a stage."""
    with _lock:
        faults[stage, fault] += 1
    if _faults is not None:
        _faults.labels(stage, fault.value).inc()


def observe_list(slot: str, rung: str, seconds: float) -> None:
    """Count a list that was made, by what served it and how long it took."""
    within = next((round(bound * 1000) for bound in LIST_SECONDS if seconds <= bound), 0)
    with _lock:
        answers[int(time.time()) // 3600, slot, rung, within] += 1
    if _lists is not None:
        _lists.labels(slot, rung).observe(seconds)


def take_answers() -> Answers:
    """Return what was counted since this was called before, and begin anew."""
    with _lock:
        taken = Counter(answers)
        answers.clear()
    return taken


def _metric(kind: str, name: str, description: str, labels: list[str], **options: Any) -> Any:
    if prometheus_client is None:
        return None
    return getattr(prometheus_client, kind)(f"recommender_{name}", description, labels, **options)


_lists = _metric(
    "Histogram", "list_seconds", "Seconds that a list or a search took.", ["slot", "rung"], buckets=LIST_SECONDS
)
_faults = _metric("Counter", "faults", "Stages of lists that were late, failed or were left alone.", ["stage", "fault"])
