"""Whom the lists of a new bundle show: the exposure of groups, beside the champion's lists of the same cases."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from recommender.exposure.catalogue import groups_with_floor, read_columns
from recommender.exposure.groups import Groups, divided
from recommender.exposure.reading import GroupStanding, all_standings, folded
from recommender.exposure.reports import reported
from recommender.exposure.sums import ExposureSums, Key, summed
from recommender.models import ExposureFloor
from recommender.models.connections import persistently
from recommender.runs.comparisons import CHAMPION, RANKER
from recommender.runs.figures import GroupShare
from recommender.training.judging.evaluation import K, Results
from recommender.training.split import Split
from recommender.types import IntArray


def exposure_figures(results: Results, split: Split) -> dict[str, tuple[GroupShare, ...]]:
    """By attribute, whom the first places of "for you" show; empty without a case. Three queries.

    Of items that are sold out now nothing is left in the catalogue, as nobody knows what was in stock then.
    """
    lists = results.lists["all"]
    if not lists.get(RANKER):
        return {}
    columns = persistently(lambda: read_columns(at=dt.datetime.fromtimestamp(split.test_start, dt.UTC)))
    groups = divided(columns, at=split.test_start, apart=persistently(groups_with_floor))
    index = {item_id: row for row, item_id in enumerate(columns.ids)}
    rows = np.array([index.get(item_id, -1) for item_id in split.items.ids], np.int32)
    ours, theirs = (_summed(lists[name], rows, groups) for name in (RANKER, CHAMPION))
    wanted = rows[[row for truth in results.truths["all"] for row in truth]]
    catalogue, demand = _counts(groups, columns.listed), _counts(groups, wanted[wanted >= 0])
    floors = persistently(lambda: list(ExposureFloor.objects.all()))
    standings = _compared(all_standings(ours, catalogue, demand, floors), theirs)
    return reported(folded(ours, standings))


def _summed(lists: Iterable[Sequence[int]], rows: IntArray, groups: Mapping[str, Groups]) -> ExposureSums:
    return summed([(rows[np.array(ranked[:K], np.int64)], 1) for ranked in lists], groups)


def _counts(groups: Mapping[str, Groups], rows: np.ndarray) -> dict[Key, float]:
    counts: Counter[Key] = Counter()
    for attribute, own in groups.items():
        counts.update({(attribute, value): n for value, n in own.counts(rows).items()})
    return dict(counts)


def _compared(standings: Iterable[GroupStanding], theirs: ExposureSums) -> list[GroupStanding]:
    """The standings with the share that each group has in the other lists."""
    shares = ((one, theirs.share((one.attribute, one.value))) for one in standings)
    return [dataclasses.replace(one, before=None if share is None else share.value) for one, share in shares]
