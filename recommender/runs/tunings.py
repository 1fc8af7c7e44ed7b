"""What became of a tuning: its best knobs are the defaults of the next run once a person accepts them. SQL only."""

from __future__ import annotations

import logging
from typing import Any

from django.utils import timezone

from recommender import conf
from recommender.exceptions import RunError
from recommender.models import Run
from recommender.runs import knobs

logger = logging.getLogger(__name__)

EVIDENCE = ("least_pairs", "least_examples", "least_lists", "least_texts")
"""Settings of a run that say how much evidence a stage needs."""

METHOD = ("adaptation", "fine_tuning", "horizon_days", "step_days", "n_threads")
"""Settings of a run that say how its stages learn."""

N_TRIALS_IN_BOX = 10
"""A trial is cut short so that at least about so many fit, but it never takes longer than a training would."""


def accepted() -> Run | None:
    """The tuning whose knobs the next run uses. One query."""
    return Run.objects.filter(kind=Run.Kind.TUNING, accepted_at__isnull=False).order_by("-accepted_at").first()


def accepted_knobs() -> knobs.Values:
    """The knobs of the accepted tuning; one that does not exist any more is left out with a line in the log."""
    run = accepted()
    if run is None:
        return {}
    kept, faults = knobs.usable(_best(run).get("values"))
    for fault in faults:
        logger.warning("of the settings of run %s: %s", run.pk, fault)
    return kept


def accept(run: Run) -> None:
    """Let later runs use the best knobs of a tuning. Raises RunError for a run without any, ConfigurationError for bad.

    The champion and runs that are active stay as they are.
    """
    values = _best(run).get("values")
    if run.kind != Run.Kind.TUNING or not values:
        raise RunError(f"Run {run.pk} has found no settings to use: it is no tuning, or no trial of it ended.")
    knobs.validated(values)
    Run.objects.filter(accepted_at__isnull=False).exclude(pk=run.pk).update(accepted_at=None)
    run.accepted_at = timezone.now()
    run.save(update_fields=["accepted_at"])
    logger.info("later runs use the settings of run %s", run.pk)


def withdraw() -> Run:
    """Go back to the defaults; return the tuning that counted until now. Raises RunError where none did."""
    run = accepted()
    if run is None:
        raise RunError("No settings of a tuning are used: runs have the defaults already.")
    Run.objects.filter(accepted_at__isnull=False).update(accepted_at=None)
    return run


def is_better(run: Run) -> bool:
    """A trial beat the settings that the tuning began with."""
    found = _tuning(run)
    best, present = _best(run).get("score"), found.get("present")
    return best is not None and present is not None and best > present


def going_on_from(run: Run) -> dict[str, Any]:
    """Settings of a run that goes on with the study of another. Raises RunError for one that is no tuning."""
    if run.kind != Run.Kind.TUNING:
        raise RunError(f"Run {run.pk} is no tuning: there is no study to go on with.")
    kept, _ = knobs.usable(_best(run).get("values") or {})
    names = ("study", "seed", "encoder", "knobs", "trial_minutes", *METHOD, *EVIDENCE)
    told = {name: run.settings[name] for name in names if name in run.settings}
    return {**told, "start_from": kept}


def trial_minutes(minutes: float) -> float:
    """The time box of one trial in a tuning of so many minutes; a study goes on with the one that it began with."""
    return min(float(conf.get("TRAINING_MINUTES")), minutes / N_TRIALS_IN_BOX)


def latest() -> Run | None:
    """The newest tuning. One query."""
    return Run.objects.filter(kind=Run.Kind.TUNING).order_by("-pk").first()


def _tuning(run: Run) -> dict[str, Any]:
    found = run.metrics.get("tuning") if isinstance(run.metrics, dict) else None
    return found if isinstance(found, dict) else {}


def _best(run: Run) -> dict[str, Any]:
    best = _tuning(run).get("best")
    return best if isinstance(best, dict) else {}
