"""The settings of a run as typed values: `Run.settings` stores them, the training process reads them back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recommender.runs.conversion import as_json, read, stored_as

METHOD = ("adaptation", "fine_tuning", "horizon_days", "step_days", "n_threads", "n_processes")
"""Settings that say how the stages learn."""

EVIDENCE = ("least_pairs", "least_examples", "least_lists", "least_texts", "least_steps", "least_tuning_steps")
"""Settings that say how much evidence a stage needs."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The settings that a run was requested with; None leaves a value to the defaults of the training.

    minutes: time box of the run; trial_minutes and n_trials: of a tuning, per trial and in total. knobs: values that a
    tuning found. as_of: end of the data in Unix seconds; repeats: number of the run that this one repeats. study: name
    of a tuning's file of trials; start_from: values that its first new trial tries.
    """

    minutes: float = 0.0
    seed: int = 0
    encoder: str = "auto"
    adaptation: str | None = None
    fine_tuning: str | None = field(default=None, metadata=stored_as("fine_tuning", "tuning"))
    teacher: str | None = None
    horizon_days: float | None = None
    step_days: float | None = None
    n_threads: int | None = None
    n_processes: int | None = None
    least_pairs: int | None = None
    least_examples: int | None = None
    least_lists: int | None = None
    least_texts: int | None = None
    least_steps: int | None = None
    least_tuning_steps: int | None = None
    least_judgements_for_teacher: int | None = None
    least_impressions: int | None = None
    least_cases: int | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)
    as_of: float | None = None
    repeats: int | None = field(default=None, metadata=stored_as("like"))
    trial_minutes: float = 0.0
    n_trials: int | None = field(default=None, metadata=stored_as("trials"))
    study: str = ""
    start_from: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Any) -> RunSettings:
        """Read `Run.settings`, of whatever age."""
        return read(cls, settings)

    def as_json(self) -> dict[str, Any]:
        """What `Run.settings` stores; the knobs always, so that a repetition takes none that were accepted later."""
        stored: dict[str, Any] = as_json(self)
        tuning = ("trial_minutes", "study")
        return {key: value for key, value in stored.items() if value or key not in tuning} | {"knobs": dict(self.knobs)}
