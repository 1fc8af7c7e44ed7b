"""Keeps who came into an experiment while they were in its segment: they stay in their arm when they leave it."""

from __future__ import annotations

from collections import defaultdict

from recommender.experiments.exposures import lists_of
from recommender.models import Experiment, Visitor

MAX_PARAMETERS = 900
"""Of one statement: below the 999 that the oldest SQLite takes."""


def keep_entered(*, between: tuple[int, int] | None = None) -> int:
    """Write on each visitor which live experiments of a segment showed them a list; return how many rows changed.

    To be called before visitors are assigned to other segments. between: the first and the last primary key to look at.
    One query where no such experiment runs and nobody was in one, else one for each of them and one for each set of
    experiments.
    """
    visitors = Visitor.objects.all() if between is None else Visitor.objects.filter(pk__range=between)
    entered: defaultdict[int, set[int]] = defaultdict(set)
    for experiment in Experiment.objects.filter(state=Experiment.State.LIVE, segment__isnull=False):
        lists = lists_of(experiment)
        lists = lists if between is None else lists.filter(visitor__pk__range=between)
        for pk in lists.order_by().values_list("visitor_id", flat=True).distinct():
            entered[pk or 0].add(experiment.pk)
    stored = {pk: tuple(numbers or ()) for pk, numbers in visitors.exclude(entered=None).values_list("pk", "entered")}
    changed: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for pk in {*entered, *stored}:
        numbers = tuple(sorted(entered.get(pk, ())))
        if numbers != stored.get(pk, ()):
            changed[numbers].append(pk)
    return sum(
        Visitor.objects.filter(pk__in=pks).update(entered=list(numbers) or None)
        for numbers, everybody in changed.items()
        for pks in (everybody[at : at + MAX_PARAMETERS] for at in range(0, len(everybody), MAX_PARAMETERS))
    )
