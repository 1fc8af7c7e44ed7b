"""What becomes of a tuning: once a person accepts it, its best knobs are the defaults of later runs."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext

from recommender import conf
from recommender.exceptions import RunError
from recommender.models import Run
from recommender.runs import knobs
from recommender.runs.figures import Figures, TuningFigures
from recommender.runs.settings import EVIDENCE, METHOD, RunSettings

logger = logging.getLogger(__name__)

N_TRIALS_IN_BOX = 10
"""A trial gets this share of a tuning's minutes, so that about as many fit, but never longer than a training."""


def accepted() -> Run | None:
    """The tuning whose knobs the next run uses. One query."""
    return Run.objects.filter(kind=Run.Kind.TUNING, accepted_at__isnull=False).order_by("-accepted_at").first()


def accepted_knobs() -> knobs.Values:
    """The knobs of the accepted tuning; one that does not exist any more is left out, with a line in the log."""
    run = accepted()
    if run is None:
        return {}
    values, faults = knobs.usable(trials_of(run).best.values)
    for fault in faults:
        logger.warning("of the settings of run %s: %s", run.pk, fault)
    return values


def accept(run: Run) -> None:
    """Let later runs use the best knobs of a tuning; the champion and active runs stay as they are.

    Raises RunError for a run without such knobs, ConfigurationError for knobs that cannot be used any more.
    """
    values = trials_of(run).best.values
    if run.kind != Run.Kind.TUNING or not values:
        raise RunError(gettext("Run %d found no settings to use: it is no tuning, or no trial of it ended.") % run.pk)
    knobs.validated(values)
    Run.objects.filter(accepted_at__isnull=False).exclude(pk=run.pk).update(accepted_at=None)
    run.accepted_at = timezone.now()
    run.save(update_fields=["accepted_at"])
    logger.info("later runs use the settings of run %s", run.pk)


def withdraw() -> Run:
    """Go back to the defaults; return the tuning that was accepted until now. Raises RunError if none was."""
    run = accepted()
    if run is None:
        raise RunError(gettext("No settings of a tuning are in use: runs have the defaults already."))
    Run.objects.filter(accepted_at__isnull=False).update(accepted_at=None)
    return run


def is_better(run: Run) -> bool:
    """A trial beat the settings that the tuning began with."""
    return trials_of(run).is_better


def continued(run: Run) -> dict[str, Any]:
    """Settings of a run that continues the study of another. Raises RunError for one that is no tuning."""
    if run.kind != Run.Kind.TUNING:
        raise RunError(gettext("Run %d is no tuning: there is no study to continue.") % run.pk)
    values, _ = knobs.usable(trials_of(run).best.values)
    stored = dataclasses.replace(RunSettings.of(run.settings), start_from=values).as_json()
    names = ("study", "seed", "encoder", "knobs", "trial_minutes", "start_from", *METHOD, *EVIDENCE)
    return {name: stored[name] for name in names if name in stored}


def trial_minutes(minutes: float) -> float:
    """The time box of one trial in a tuning of so many minutes; a continued study keeps the one that it began with."""
    return min(float(conf.get("TRAINING_MINUTES")), minutes / N_TRIALS_IN_BOX)


def latest() -> Run | None:
    """The newest tuning. One query."""
    return Run.objects.filter(kind=Run.Kind.TUNING).order_by("-pk").first()


def trials_of(run: Run) -> TuningFigures:
    """The trials that a run stored; empty for a training."""
    return Figures.of(run.metrics).tuning or TuningFigures()
