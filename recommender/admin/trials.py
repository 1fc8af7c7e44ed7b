"""The trials of a tuning as a table in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.charts import Bar, bar_chart
from recommender.admin.figures import decimal, duration
from recommender.admin.numbers import local
from recommender.runs.figures import Figures, Gain, TrialFigures

STATES: Mapping[str, Any] = {
    "complete": _("complete"),
    "pruned": _("stopped early"),
    "failed": _("failed"),
    "running": _("running"),
    "waiting": _("waiting"),
}
PHASES: Mapping[str, Any] = {
    "encoder": _("encoder and training dates"),
    "context": _("context model"),
    "head": _("head"),
}


@dataclass(frozen=True, slots=True)
class TrialRow:
    name: str
    values: tuple[tuple[str, str], ...]
    score: str
    state: str
    took: str
    note: str
    is_best: bool


@dataclass(frozen=True, slots=True)
class TuningTable:
    """All trials; `changes` are the knobs in which the best values differ from the present settings."""

    rows: tuple[TrialRow, ...]
    changes: tuple[tuple[str, str, str], ...]
    best: str
    present: str
    gain: str
    n_cases: str
    importance: SafeString | str


def tuning_table(figures: Figures) -> TuningTable | None:
    """Return the trials of a tuning; None before the first."""
    tuning = figures.tuning
    if tuning is None or not tuning.trials:
        return None
    gain = _gain(tuning.gain) if tuning.gain else ""
    return TuningTable(
        rows=tuple(_row(trial, tuning.best.score) for trial in tuning.trials),
        changes=tuple((name, _text(present), _text(best)) for name, (present, best) in tuning.changes.items()),
        best=decimal(tuning.best.score),
        present=decimal(tuning.present),
        gain=gain,
        n_cases=local(tuning.n_cases, ","),
        importance=_importance(tuning.importance),
    )


def _gain(gain: Gain) -> str:
    bounds = {bound: local(value, "+.4f") for bound, value in gain._asdict().items()}
    return gettext("%(mean)s (%(low)s to %(high)s)") % bounds


def _row(trial: TrialFigures, best: float) -> TrialRow:
    return TrialRow(
        name=f"{capfirst(PHASES.get(trial.phase, trial.phase))} {trial.number + 1}",
        values=tuple((name, _text(value)) for name, value in trial.values.items()),
        score=decimal(trial.score),
        state=str(STATES.get(trial.state, trial.state)),
        took=duration(trial.seconds),
        note=gettext("present settings") if trial.is_present else trial.why,
        is_best=math.isfinite(trial.score) and trial.score == best,
    )


def _importance(shares: Mapping[str, float]) -> SafeString | str:
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])
    bars = [Bar(name, share, local(share, ".0%")) for name, share in ranked]
    return bar_chart(bars, title=gettext("What the score depends on, within each phase")) if bars else ""


def _text(value: Any) -> str:
    return local(value, ".4g") if isinstance(value, int | float) else "—"
