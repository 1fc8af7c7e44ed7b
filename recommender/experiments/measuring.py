"""Computes what an experiment has shown so far, and whether it must end: its figures are sums over people."""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.experiments import covariates
from recommender.experiments.assignment import CONTROL, VARIANT
from recommender.experiments.balance import imbalance
from recommender.experiments.exposures import Exposures, anybody, exposures, lists_of
from recommender.experiments.interleaving import preference
from recommender.experiments.outcomes import METRICS, outcomes
from recommender.experiments.sequences import Effect, Sums, difference, mean, sample_size
from recommender.models import Event, Experiment
from recommender.types import EventType

Mask = npt.NDArray[np.bool_]

FEWEST_PLANNED = 2_000
"""People planned for where the shop has too little behaviour to compute how many are needed."""

LEAST_PRICED = 0.8
"""Of the value of the orders, how much must have a margin before margins are compared. Below it an arm that sells more
of the items without one would seem to lose. A choice, not a measurement."""

UNKNOWN = dict.fromkeys((CONTROL, VARIANT, "difference", "low", "high"))
"""The figures of a metric of which too little is known."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """How many people of both arms an experiment needs, and how many it will have a day; 0 where nobody came lately."""

    planned: int
    n_people_a_day: float

    @property
    def days(self) -> int | None:
        """Days until so many people have come; None where nobody comes."""
        return math.ceil(self.planned / self.n_people_a_day) if self.n_people_a_day else None


def forecast(experiment: Experiment, *, at: dt.datetime) -> Forecast:
    """How many people find the smallest lift worth finding with a power of 80 %.

    By what everybody did, of its segment if it has one, who was shown a list in the last days whose outcome is
    complete.
    """
    days = dt.timedelta(days=experiment.outcome_days)
    people = anybody(at - 3 * days, at - days, segment=experiment.segment).people
    n_a_day = experiment.share * len(people) / (2 * experiment.outcome_days)
    values = outcomes(people, days=experiment.outcome_days).after[experiment.metric]
    sums = covariates.sums(values)
    if sums.mean <= 0 or experiment.kind == Experiment.Kind.INTERLEAVED:
        return Forecast(FEWEST_PLANNED, n_a_day)
    share = experiment.variant_share
    return Forecast(sample_size(sums.mean, sums.variance, lift=experiment.lift, variant_share=share), n_a_day)


def measure(experiment: Experiment, *, at: dt.datetime) -> dict[str, Any]:
    """The figures by `at`, as they are stored; intervals that are not known yet are None."""
    if experiment.kind == Experiment.Kind.INTERLEAVED:
        return _interleaved(experiment)
    exposed = exposures(experiment, at=at)
    is_variant = np.array([VARIANT in person.arms for person in exposed.people], bool)
    seen = outcomes(exposed.people, days=experiment.outcome_days)
    planned = experiment.planned_people or FEWEST_PLANNED
    metrics = {name: _compared(seen.after[name], seen.before[name], is_variant, planned=planned) for name in METRICS}
    if (seen.priced_share or 0.0) < LEAST_PRICED:
        metrics["margin"] = dict(UNKNOWN)
    return {
        **_numbers(exposed, is_variant, experiment),
        "currency": seen.currency,
        "n_other_currency": seen.n_other_currency,
        "priced_share": seen.priced_share,
        "metrics": metrics,
    }


def _numbers(exposed: Exposures, is_variant: Mask, experiment: Experiment) -> dict[str, Any]:
    counts = [int((~is_variant).sum()), int(is_variant.sum())]
    shares = (1 - experiment.variant_share, experiment.variant_share)
    return {
        "people": dict(zip((CONTROL, VARIANT), counts, strict=True)),
        "n_waiting": exposed.n_waiting,
        "n_mixed": exposed.n_mixed,
        "balance": imbalance(counts, shares),
    }


def _compared(after: covariates.Values, before: covariates.Values, is_variant: Mask, *, planned: int) -> dict[str, Any]:
    """Means per person, and the difference with what was known before taken out (CUPED)."""
    adjusted = covariates.adjusted(after, before)
    plain = [covariates.sums(after[side]) for side in (~is_variant, is_variant)]
    effect = difference(covariates.sums(adjusted[~is_variant]), covariates.sums(adjusted[is_variant]), planned=planned)
    return {CONTROL: plain[0].mean, VARIANT: plain[1].mean, **_interval(effect)}


def _interval(effect: Effect) -> dict[str, float | None]:
    bounds = {"difference": effect.estimate, "low": effect.low, "high": effect.high}
    return {name: value if math.isfinite(value) else None for name, value in bounds.items()}


def _interleaved(experiment: Experiment) -> dict[str, Any]:
    """By person and day, whose choices were clicked more often; a tie says nothing."""
    lists = {
        ranking_id: (visitor_pk, user_key, at.date(), first, teams)
        for ranking_id, visitor_pk, user_key, at, first, teams in lists_of(experiment)
        .exclude(teams="")
        .values_list("pk", "visitor_id", "visitor__user_key", "occurred_at", "first_position", "teams")
        .iterator(chunk_size=5_000)
    }
    credits: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0])
    sessions = {(user_key or visitor, day) for visitor, user_key, day, _first, _teams in lists.values()}
    for ranking_id, position in _clicks(experiment):
        if ranking_id not in lists or position is None:
            continue
        visitor, user_key, day, first, teams = lists[ranking_id]
        if first <= position < first + len(teams):
            credits[user_key or visitor, day][teams[position - first] == VARIANT] += 1
    signs = np.array([preference(*pair) for pair in credits.values()], float)
    decided = covariates.sums(signs[signs != 0])
    effect = mean(decided, planned=experiment.planned_people or FEWEST_PLANNED)
    return {
        "people": {"sessions": len(sessions), "decided": decided.n},
        "metrics": {"preference": {CONTROL: None, VARIANT: _share(decided), **_interval(effect)}},
    }


def _share(decided: Sums) -> float | None:
    """The share of the decided sessions that preferred the variant."""
    return (1 + decided.mean) / 2 if decided.n else None


def _clicks(experiment: Experiment) -> Any:
    clicks = Event.objects.filter(type=EventType.SELECT_ITEM, ranking_id__isnull=False, is_bot=False)
    if experiment.started_at is not None:
        clicks = clicks.filter(occurred_at__gte=experiment.started_at)
    return clicks.order_by().values_list("ranking_id", "position").iterator(chunk_size=5_000)
