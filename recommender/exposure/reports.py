"""The exposure of a new bundle as its run reports it, and back as the admin shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from recommender.experiments.intervals import Estimate
from recommender.exposure.reading import GroupStanding
from recommender.runs.figures import NO_FIGURE, GroupShare, ShareInterval

Reported = Mapping[str, Sequence[GroupShare]]
"""Groups by attribute, as `Figures.exposure`."""


def reported(standings: Mapping[str, Sequence[GroupStanding]]) -> dict[str, tuple[GroupShare, ...]]:
    """The standings of a bundle as figures of its run."""
    return {attribute: tuple(map(_share, own)) for attribute, own in standings.items()}


def standings_of(figures: Reported) -> dict[str, tuple[GroupStanding, ...]]:
    """What a run has reported as standings."""
    return {attribute: tuple(_standing(attribute, share) for share in own) for attribute, own in figures.items()}


def _share(one: GroupStanding) -> GroupShare:
    exposure = one.exposure
    interval = None if exposure is None else ShareInterval(exposure.low, exposure.value, exposure.high)
    before = NO_FIGURE if one.before is None else one.before
    return GroupShare(one.value, interval, before, one.catalogue, one.demand, one.floor)


def _standing(attribute: str, share: GroupShare) -> GroupStanding:
    interval = share.exposure
    exposure = None if interval is None else Estimate(interval.value, interval.low, interval.high)
    before = share.champion if math.isfinite(share.champion) else None
    return GroupStanding(attribute, share.value, exposure, share.catalogue, share.demand, share.floor, before)
