"""What becomes of a run whose process died: it is resumed, unless it keeps dying at the same point.

A kill is no verdict on the training: hosts restart, and another program may have taken the memory. So a run that got
further since its last death starts with a clean slate, and one that did not is given up only after several deaths over
a quarter of an hour.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from recommender.models import Run

MOST_DEATHS = 5
PATIENCE_SECONDS = 900.0
"""A run is given up after this many deaths at one point, the first of them at least this long ago."""

LEAST_GAIN = 0.001
"""Share of a run that counts as further than before."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
"""Before a run is resumed; each further death at the same point doubles the pause."""

DEATHS = "deaths"
"""Key in `Run.provenance`: how often the run died at its furthest point, and since when."""


def counted(run: Run, now: dt.datetime) -> dict[str, Any]:
    """The run's provenance with one death more."""
    before = run.provenance.get(DEATHS, {"n": 0, "progress": -1.0})
    is_further = run.progress > before["progress"] + LEAST_GAIN
    since = now.timestamp() if is_further else before["since"]
    furthest = max(run.progress, before["progress"])
    deaths = {"n": 1 if is_further else before["n"] + 1, "since": since, "progress": furthest}
    return {**run.provenance, DEATHS: deaths}


def is_hopeless(provenance: dict[str, Any], now: dt.datetime) -> bool:
    """Whether a run with this provenance is to be given up."""
    deaths = provenance[DEATHS]
    return bool(deaths["n"] >= MOST_DEATHS and now.timestamp() - deaths["since"] >= PATIENCE_SECONDS)


def pause_seconds(provenance: dict[str, Any]) -> float:
    """How long to wait before a run that waits again is resumed."""
    n = provenance.get(DEATHS, {"n": 1})["n"]
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(n - 1, 10), LONGEST_PAUSE_SECONDS)
