"""Applies live experiments to a request: which ranker and settings answer it, alone or in turns with another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

from recommender.experiments.assignment import CONTROL, VARIANT
from recommender.experiments.interleaving import team_draft
from recommender.experiments.live import Trial
from recommender.serving.memory import Served
from recommender.types import Ranking, Request

BOTH = CONTROL + VARIANT
"""The arm of a list that takes items of both in turns."""

Rank = Callable[[Request, Served], Ranking]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a request is answered. arms: what is logged of it; trial: the interleaved experiment and its variant."""

    served: Served
    trials: tuple[tuple[Trial, str], ...] = ()

    @property
    def arms(self) -> str:
        """The experiments of the list with its arm in each, such as "7b 9ab"."""
        return " ".join(f"{trial.number}{BOTH if trial.is_interleaved else arm}" for trial, arm in self.trials)

    def rank(self, request: Request, rank: Rank) -> Ranking:
        """Rank as the arms say; an interleaved list draws on both rankers."""
        served, interleaved = self.served, None
        for trial, arm in self.trials:
            if trial.is_interleaved:
                interleaved = trial
            elif arm == VARIANT:
                request, served = _changed(request, trial), _served(served, trial)
        if interleaved is None:
            return rank(request, served)
        return _drafted(request, served, interleaved, rank)


def plan(request: Request, served: Served) -> Plan:
    """The experiments that this shopper and slot belong to; none for nobody. No query."""
    if not served.trials or not request.person_key:
        return Plan(served)
    trials = [
        (trial, arm)
        for trial in served.trials
        if trial.covers(request.slot) and (arm := trial.allocation.arm(request.person_key))
    ]
    return Plan(served, tuple(trials))


def _changed(request: Request, trial: Trial) -> Request:
    changes = trial.changes
    weight = changes.get("personal_search")
    return replace(
        request,
        diversity=changes.get("diversity", request.diversity),
        new_share=changes.get("new_share", request.new_share),
        personal_weight=request.personal_weight if weight is None or not request.personal_weight else weight,
    )


def _served(served: Served, trial: Trial) -> Served:
    return served.challengers[trial.bundle] if trial.bundle and trial.bundle != served.bundle else served


def _drafted(request: Request, served: Served, trial: Trial, rank: Rank) -> Ranking:
    """Merge the lists of both arms, from the first position on, so that later pages continue the same draft."""
    whole = replace(request, offset=0, limit=request.offset + request.limit)
    control = rank(whole, served)
    variant = rank(_changed(whole, trial), _served(served, trial))
    sides = {
        side: {entry.item_id: entry for entry in ranking} for side, ranking in ((CONTROL, control), (VARIANT, variant))
    }
    seed = ":".join([str(trial.number), request.person_key, str(request.context.at.date()), *_subject(request)])
    drafted = team_draft(list(sides[CONTROL]), list(sides[VARIANT]), limit=whole.limit, seed=seed)
    entries = (
        replace(sides[team][item_id], position=position, team=team)
        for position, (item_id, team) in enumerate(drafted, 1)
    )
    return replace(control, entries=tuple(islice(entries, request.offset, None)))


def _subject(request: Request) -> tuple[str, ...]:
    return (request.slot.value, request.query, request.item_id)
