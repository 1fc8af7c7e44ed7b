"""The trials of a tuning as lines of a plain table, for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from django.utils.translation import gettext

from recommender.runs.figures import TrialFigures, TuningFigures


def trial_lines(tuning: TuningFigures) -> Iterator[str]:
    """Every trial in order, then the best settings beside the present ones."""
    yield from map(_line, tuning.trials)
    if tuning.changes:
        yield ""
        yield gettext("Best settings: %s") % ", ".join(
            gettext("%(name)s %(best).4g (now %(present).4g)") % {"name": name, "best": best, "present": present}
            for name, (present, best) in tuning.changes.items()
        )
    if tuning.importance:
        ranked = sorted(tuning.importance.items(), key=lambda pair: -pair[1])
        yield gettext("Share of the differences that each knob explains, within its phase: %s") % ", ".join(
            f"{name} {share:.0%}" for name, share in ranked
        )


def _line(trial: TrialFigures) -> str:
    score = "—" if math.isnan(trial.score) else f"{trial.score:.4f}"
    seconds = 0.0 if math.isnan(trial.seconds) else trial.seconds
    note = gettext("present settings") if trial.is_present else trial.why
    values = ", ".join(f"{name} {value:.4g}" for name, value in trial.values.items())
    columns = f"{trial.phase:<8}{trial.number + 1:>3}  {trial.state:<10}{score:>8}  {seconds:>6.1f} s"
    return f"{columns}  {values}  {note}".rstrip()
