"""Starts, reads and ends experiments: what may start, when one must stop, and what happens to the variant then."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from django.db import router
from django.utils.translation import gettext

from recommender import bundles
from recommender.exceptions import RecommenderError, RunError
from recommender.experiments.assignment import free_range
from recommender.experiments.balance import SURE
from recommender.experiments.entering import keep_entered
from recommender.experiments.measuring import forecast, measure
from recommender.models import Bundle, Experiment, Item, Rule, Segment
from recommender.models.connections import writing
from recommender.types import Slot

logger = logging.getLogger(__name__)

CHANGES: dict[str, tuple[float, float]] = {
    "diversity": (0.0, 1.0),
    "personal_search": (0.0, 4.0),
    "new_share": (0.0, 1.0),
    "profit": (0.0, 2.0),
}
"""The settings that a variant may change, with the least and the greatest value."""


def start(experiment: Experiment, *, at: dt.datetime) -> None:
    """Let a draft run from now on. Raises RunError, with the repair, for one that cannot."""
    require_startable(experiment)
    planned = forecast(experiment, at=at).planned
    with writing(using=router.db_for_write(Experiment)):
        others = list(
            Experiment.objects.select_for_update().filter(state=Experiment.State.LIVE).exclude(pk=experiment.pk)
        )
        _require_alone(experiment, others)
        taken = [(other.first, other.share) for other in others if other.group == experiment.group]
        first = free_range(taken, experiment.share)
        if first is None:
            raise RunError(
                gettext("The group %(group)s has no room for %(share)d %% of the shoppers: stop another of its "
                        "experiments, take fewer shoppers, or name another group.")
                % {"group": experiment.group, "share": round(100 * experiment.share)}
            )  # fmt: skip
        experiment.first, experiment.planned_people, experiment.started_at = first, planned, at
        experiment.state, experiment.needs_bundle = Experiment.State.LIVE, experiment.bundle is not None
        experiment.save()


def require_startable(experiment: Experiment) -> None:
    """Raise RunError for an experiment that has begun, has no variant, or whose variant cannot be served."""
    if experiment.state != Experiment.State.DRAFT:
        raise RunError(gettext("This experiment has already been started: copy it into a new one."))
    _require_changes(experiment.changes)
    if unknown := [name for name in experiment.slots if name not in list(Slot)]:
        raise RunError(gettext("There is no slot %(name)s.") % {"name": unknown[0]})
    if experiment.needs_bundle and experiment.bundle is None:
        raise RunError(gettext("The bundle of the variant was deleted: choose another one."))
    _require_margins(experiment)
    if fault := fault_of_segment(experiment.segment):
        raise RunError(fault)
    has_rules = _has_rules(experiment)
    if experiment.bundle is None:
        if not experiment.changes and not has_rules:
            raise RunError(
                gettext("Both arms are the same: choose a bundle or a setting for the variant, or write a rule for it.")
            )
        return
    if experiment.bundle.state == Bundle.State.CHAMPION and not experiment.changes and not has_rules:
        raise RunError(gettext("The bundle of the variant serves everybody already: choose another one."))
    bundles.require_promotable(experiment.bundle)


def fault_of_segment(segment: Segment | None) -> str:
    """Why nobody new can come into an experiment for this segment, with the repair; "" where somebody can."""
    if segment is None:
        return ""
    if segment.merged_into is not None:
        words = gettext("The segment “%(part)s” is part of “%(whole)s” now: choose that one.")
        return words % {"part": segment, "whole": segment.merged_into}
    if segment.retired_at is not None or not segment.n_people:
        return gettext("Nobody is in the segment “%s” any more: choose another, or all shoppers.") % segment
    return ""


def closed_to_newcomers(experiment: Experiment) -> str:
    """Why a live experiment takes no new shoppers, with the repair; "" where it does."""
    if experiment.state != Experiment.State.LIVE or not fault_of_segment(experiment.segment):
        return ""
    words = gettext(
        "Nobody is in its segment “%s” any more, so no new shoppers come in. Those who are in it stay in their arm. "
        "Stop it, copy it, and choose another segment for the copy."
    )
    return words % experiment.segment


def _require_margins(experiment: Experiment) -> None:
    if experiment.metric == Experiment.Metric.MARGIN and not Item.objects.filter(margin__isnull=False).exists():
        raise RunError(
            gettext("No item has a margin, so that margins cannot decide: give your Catalog a margin and run "
                    "recommender_sync, or choose another metric.")
        )  # fmt: skip


def _has_rules(experiment: Experiment) -> bool:
    """Whether the variant has rules of its own. Raises RunError for one that is not live: its figures would be about
    less than was planned."""
    rules = list(Rule.objects.filter(experiment_id=experiment.pk or 0).exclude(state=Rule.State.WITHDRAWN))
    if waiting := [rule for rule in rules if rule.state != Rule.State.LIVE]:
        raise RunError(gettext("The rule “%s” of the variant is not live: publish or withdraw it first.") % waiting[0])
    return bool(rules)


def _require_changes(changes: Any) -> None:
    expected = ", ".join(f"{name} ({low:g}-{high:g})" for name, (low, high) in CHANGES.items())
    for name, value in changes.items() if isinstance(changes, dict) else [(changes, None)]:
        low, high = CHANGES.get(name, (1.0, 0.0)) if isinstance(name, str) else (1.0, 0.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise RunError(
                gettext("A variant cannot have %(name)s = %(value)s. It may change: %(expected)s.")
                % {"name": name, "value": value, "expected": expected}
            )


def _require_alone(experiment: Experiment, others: list[Experiment]) -> None:
    """Raise RunError where another live experiment of another group decides over the ranker of the same list."""
    for other in others:
        is_apart = other.group == experiment.group or bool(
            experiment.slots and other.slots and not set(experiment.slots) & set(other.slots)
        )
        if experiment.bundle is not None and other.bundle is not None and not is_apart:
            raise RunError(
                gettext("%(other)s tries another bundle on the same lists: give both the same exclusion group.")
                % {"other": other}
            )


def stop(experiment: Experiment, *, at: dt.datetime, reason: str) -> None:
    """Serve everybody as before. Raises RunError for an experiment that is not live."""
    _end(experiment, Experiment.State.STOPPED, at=at, reason=reason)


def advance(*, at: dt.datetime) -> None:
    """Measure every live experiment, stop those that must not go on, and end those whose time is over."""
    keep_entered()
    for experiment in Experiment.objects.filter(state=Experiment.State.LIVE).select_related("bundle"):
        experiment.results, experiment.measured_at = measure(experiment, at=at), at
        Experiment.objects.filter(pk=experiment.pk, state=Experiment.State.LIVE).update(
            results=experiment.results, measured_at=at
        )
        if reason := must_stop(experiment):
            stop(experiment, at=at, reason=reason)
        elif at >= ends_at(experiment):
            _finish(experiment, at=at)


def ends_at(experiment: Experiment) -> dt.datetime:
    """When a live experiment ends at the latest: the days of the last person who came in are over then."""
    started = experiment.started_at
    if started is None:
        raise RunError(gettext("This experiment has not been started."))
    return started + dt.timedelta(days=experiment.days)


def must_stop(experiment: Experiment) -> str:
    """Why a live experiment must not go on: "" where nothing is wrong.

    A metric in which the variant surely loses, whichever decides; arms that are not as large as they should be; a
    bundle that is gone.
    """
    if experiment.needs_bundle and experiment.bundle is None:
        return gettext("The bundle of the variant was deleted.")
    results = experiment.results
    if results.get("balance", 1.0) < SURE:
        return gettext(
            "The arms are not as large as they should be: people are missing on one side, and no figure holds."
        )
    for name, figures in results.get("metrics", {}).items():
        if figures["high"] is not None and figures["high"] < 0:
            return gettext("The variant surely loses in %(metric)s.") % {"metric": metric_name(name)}
    return ""


def has_won(experiment: Experiment) -> bool:
    """Is the variant surely better in the metric that decides?"""
    low = experiment.results.get("metrics", {}).get(deciding_metric(experiment), {}).get("low")
    return low is not None and low > 0


def deciding_metric(experiment: Experiment) -> str:
    """The name of the metric that decides: of an interleaved experiment which side's choices were clicked more."""
    return "preference" if experiment.kind == Experiment.Kind.INTERLEAVED else experiment.metric


def metric_name(name: str) -> str:
    """A metric in words."""
    if name == "preference":
        return gettext("sessions that prefer it")
    return str(Experiment.Metric(name).label)


def _finish(experiment: Experiment, *, at: dt.datetime) -> None:
    """End an experiment whose time is over; promote the variant where that was asked for."""
    won = has_won(experiment)
    reason = gettext("The variant surely won.") if won else gettext("Its time is over; neither arm surely won.")
    if experiment.promotes and experiment.bundle is not None:
        try:
            bundles.promote(experiment.bundle)
            reason += " " + gettext("Its bundle serves everybody now.")
        except RecommenderError as error:
            logger.exception("the bundle of experiment %d cannot be promoted", experiment.pk)
            reason += " " + gettext("Its bundle could not be promoted: %s") % error
    _end(experiment, Experiment.State.FINISHED, at=at, reason=reason)


def _end(experiment: Experiment, state: str, *, at: dt.datetime, reason: str) -> None:
    live = Experiment.objects.filter(pk=experiment.pk, state=Experiment.State.LIVE)
    if not live.update(state=state, ended_at=at, reason=reason):
        raise RunError(gettext("This experiment is not live: there is nothing to stop."))
    experiment.state, experiment.ended_at, experiment.reason = state, at, reason
    logger.info("experiment %d ended: %s", experiment.pk, state)
