"""The experiments that run, as whoever serves needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recommender.experiments.assignment import Allocation
from recommender.models import Experiment
from recommender.types import Request, Slot


@dataclass(frozen=True, slots=True)
class LiveExperiment:
    """One live experiment. bundle: whose ranker the variant uses, "" for the one that serves everybody. segment_id: the
    segment whose shoppers alone may come in, None for all."""

    number: int
    is_interleaved: bool
    allocation: Allocation
    slots: frozenset[Slot]
    bundle: str = ""
    segment_id: int | None = None
    changes: Mapping[str, float] = field(default_factory=dict)

    def covers(self, slot: Slot) -> bool:
        """Is the list of this slot part of the experiment?"""
        return not self.slots or slot in self.slots

    def admits(self, request: Request) -> bool:
        """May this shopper come in, being in the segment, or have they come in before?"""
        return self.segment_id in (None, request.segment_id) or self.number in request.entered


def live_experiments() -> tuple[LiveExperiment, ...]:
    """The live experiments in the order of their numbers, without those whose bundle is gone. One query."""
    rows = Experiment.objects.filter(state=Experiment.State.LIVE).select_related("bundle").order_by("pk")
    return tuple(_live(row) for row in rows if row.bundle is not None or not row.needs_bundle)


def allocation_of(experiment: Experiment) -> Allocation:
    """Who is in the experiment, and who tries the variant; of an interleaved one everybody sees both."""
    share = 1.0 if experiment.kind == Experiment.Kind.INTERLEAVED else experiment.variant_share
    return Allocation(experiment.group, experiment.salt, experiment.first, experiment.share, share)


def _live(row: Experiment) -> LiveExperiment:
    return LiveExperiment(
        row.pk,
        row.kind == Experiment.Kind.INTERLEAVED,
        allocation_of(row),
        frozenset(Slot(name) for name in row.slots if name in list(Slot)),
        row.bundle.name if row.bundle is not None else "",
        row.segment_id,
        row.changes,
    )
