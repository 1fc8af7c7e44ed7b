"""Applies live experiments to a request: which ranker and settings answer it, alone or in turns with another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

from recommender.experiments.assignment import CONTROL, VARIANT
from recommender.experiments.interleaving import team_draft
from recommender.experiments.live import LiveExperiment
from recommender.serving.memory import Served
from recommender.types import Ranking, Request

BOTH = CONTROL + VARIANT
"""The arm of a list that takes items of both in turns."""

Rank = Callable[[Request, Served], Ranking]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a request is answered. arms: what is logged of it; experiment: the interleaved experiment and its variant."""

    served: Served
    experiments: tuple[tuple[LiveExperiment, str], ...] = ()

    @property
    def arms(self) -> str:
        """The experiments of the list with its arm in each, such as "7b 9ab"."""
        return " ".join(
            f"{experiment.number}{BOTH if experiment.is_interleaved else arm}" for experiment, arm in self.experiments
        )

    def rank(self, request: Request, rank: Rank) -> Ranking:
        """Rank as the arms say; an interleaved list draws on both rankers."""
        served, interleaved = self.served, None
        for experiment, arm in self.experiments:
            if experiment.is_interleaved:
                interleaved = experiment
            elif arm == VARIANT:
                request, served = _changed(request, experiment), _served(served, experiment)
        if interleaved is None:
            return rank(request, served)
        return _drafted(request, served, interleaved, rank)


def plan(request: Request, served: Served) -> Plan:
    """The experiments that this shopper and slot belong to; none for nobody. No query."""
    if not served.experiments or not request.person_key:
        return Plan(served)
    experiments = [
        (experiment, arm)
        for experiment in served.experiments
        if experiment.covers(request.slot)
        and experiment.admits(request)
        and (arm := experiment.allocation.arm(request.person_key))
    ]
    return Plan(served, tuple(experiments))


def _changed(request: Request, experiment: LiveExperiment) -> Request:
    changes = experiment.changes
    weight = changes.get("personal_search")
    return replace(
        request,
        diversity=changes.get("diversity", request.diversity),
        new_share=changes.get("new_share", request.new_share),
        profit=changes.get("profit", request.profit),
        personal_weight=request.personal_weight if weight is None or not request.personal_weight else weight,
        variants=request.variants | {experiment.number},
    )


def _served(served: Served, experiment: LiveExperiment) -> Served:
    return served.challengers[experiment.bundle] if experiment.bundle and experiment.bundle != served.bundle else served


def _drafted(request: Request, served: Served, experiment: LiveExperiment, rank: Rank) -> Ranking:
    """Merge the lists of both arms, from the first position on, so that later pages continue the same draft."""
    whole = replace(request, offset=0, limit=request.offset + request.limit)
    control = rank(whole, served)
    variant = rank(_changed(whole, experiment), _served(served, experiment))
    sides = {
        side: {entry.item_id: entry for entry in ranking} for side, ranking in ((CONTROL, control), (VARIANT, variant))
    }
    seed = ":".join([str(experiment.number), request.person_key, str(request.context.at.date()), *_subject(request)])
    drafted = team_draft(list(sides[CONTROL]), list(sides[VARIANT]), limit=whole.limit, seed=seed)
    entries = (
        replace(sides[team][item_id], position=position, team=team)
        for position, (item_id, team) in enumerate(drafted, 1)
    )
    return replace(control, entries=tuple(islice(entries, request.offset, None)))


def _subject(request: Request) -> tuple[str, ...]:
    return (request.slot.value, request.query, request.item_id)
