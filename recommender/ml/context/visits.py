"""Makes training examples for the context model from past visits: history, circumstances and the items taken up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommender.durations import SESSION_SECONDS
from recommender.features.sequence import CIRCUMSTANCES, LENGTH, Sequence, sequence
from recommender.features.weights import EVENT_WEIGHTS
from recommender.ml.histories import Histories
from recommender.tables import Interactions
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, Slot

_LOOKS = (EVENT_CODES[EventType.VIEW_ITEM], EVENT_CODES[EventType.SELECT_ITEM])


@dataclass(frozen=True, slots=True)
class Batchable:
    """Examples as arrays padded on the left, newest event last; `target` holds the items taken up afterwards.

    current (n,) int32: row of the item that is looked at, n_items + row of the query that is asked, -1 for neither.
    """

    item: IntArray
    type: IntArray
    gap: FloatArray
    weight: FloatArray
    circumstances: IntArray
    current: IntArray
    target: tuple[IntArray, ...]
    target_weight: tuple[FloatArray, ...]

    def __len__(self) -> int:
        return len(self.item)


def examples(
    histories: Histories, *, since: float, until: float, new_weight: float, most: int, seed: int, n_items: int
) -> Batchable:
    """Cut histories at the start of each visit in [since, until), and at one random view and one random search in it.

    The events before the cut are the history, and the items taken up after it are the targets. At the start of a visit
    the slot is the home page. At a view or a search `current` holds the item or query, and the visitor may be new.
    """
    generator = np.random.default_rng(seed)
    moments: list[_Moment] = []
    for visitor in range(histories.n_visitors):
        moments += _moments(histories, visitor, since, until, n_items, generator)
    moments = [moments[i] for i in generator.permutation(len(moments))[:most]]
    built = [_example(histories, moment, new_weight=new_weight) for moment in moments]
    current = [moment.current for moment, one in zip(moments, built, strict=True) if len(one[1])]
    built = [one for one in built if len(one[1])]
    sequences = [one[0] for one in built]
    return Batchable(
        item=_padded([s.item for s in sequences], -1),
        type=_padded([s.type for s in sequences], 0),
        gap=_padded([s.gap for s in sequences], 0).astype(np.float32),
        weight=_padded([s.weight for s in sequences], 0).astype(np.float32),
        circumstances=np.asarray([s.circumstances for s in sequences], np.int32).reshape(-1, len(CIRCUMSTANCES)),
        current=np.asarray(current, np.int32),
        target=tuple(one[1] for one in built),
        target_weight=tuple(one[2] for one in built),
    )


@dataclass(frozen=True, slots=True)
class _Moment:
    """A visitor asks for a list at `start`; `end` is when the visit ends."""

    visitor: int
    start: float
    end: float
    slot: Slot = Slot.HOME
    current: int = -1


def _moments(
    histories: Histories, visitor: int, since: float, until: float, n_items: int, generator: np.random.Generator
) -> list[_Moment]:
    source, rows = histories.interactions, histories.between(visitor, -np.inf, until)
    time = source.time[rows]
    starts = np.append(0, np.flatnonzero(np.diff(time) > SESSION_SECONDS) + 1)
    moments = []
    for number, (first, last) in enumerate(zip(starts, [*starts[1:], len(rows)], strict=True)):
        if not len(rows) or time[first] < since:
            continue
        end = float(time[last]) if last < len(rows) else until
        if number:  # of a first visit there is no history
            moments.append(_Moment(visitor, float(time[first]), end))
        for slot, current in ((Slot.SIMILAR, _looked_at(source, rows[first:last])),
                              (Slot.SEARCH, _asked_for(source, rows[first:last], n_items))):  # fmt: skip
            here = np.flatnonzero(current >= 0)
            if len(here):
                drawn = int(generator.choice(here))
                moments.append(_Moment(visitor, float(time[first + drawn]), end, slot, int(current[drawn])))
    return moments


def _looked_at(source: Interactions, rows: np.ndarray) -> np.ndarray:
    return np.where(np.isin(source.type[rows], _LOOKS), source.item[rows], -1)


def _asked_for(source: Interactions, rows: np.ndarray, n_items: int) -> np.ndarray:
    is_search = (source.type[rows] == EVENT_CODES[EventType.SEARCH]) & (source.query[rows] >= 0)
    return np.where(is_search, n_items + source.query[rows], -1)


def _example(histories: Histories, moment: _Moment, *, new_weight: float) -> tuple[Sequence, IntArray, FloatArray]:
    source = histories.interactions
    profile = histories.profile(moment.visitor, at=moment.start, slot=moment.slot)
    profile = histories.arrived(moment.visitor, profile, until=moment.end)
    rows = histories.between(moment.visitor, moment.start, moment.end)
    taken = (source.item[rows] >= 0) & (EVENT_WEIGHTS[source.type[rows]] > 0)  # nothing put back or dismissed
    target = np.unique(source.item[rows][taken]).astype(np.int32)
    target = target[target != moment.current]
    weight = np.where(np.isin(target, profile.item), 1.0, new_weight).astype(np.float32)
    return sequence(profile), target, weight


def _padded(rows: list[np.ndarray], blank: int) -> np.ndarray:
    table = np.full((len(rows), LENGTH), blank, rows[0].dtype if rows else np.float32)
    for position, row in enumerate(rows):
        if len(row):
            table[position, -len(row) :] = row
    return table
