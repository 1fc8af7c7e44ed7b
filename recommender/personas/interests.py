"""What a visitor is interested in: events gathered by item and query, then named by category or by shared words."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recommender.durations import DAY_SECONDS, PERSONA_HALF_LIFE_DAYS
from recommender.features.returns import kept_evidence
from recommender.features.weights import SEARCH_WEIGHT, decay
from recommender.personas.parts import ActionCounts, Interest
from recommender.tables import ItemTable
from recommender.text.vocabulary import Vocabulary, terms
from recommender.text.words import folded
from recommender.types import EVENT_CODES, EventType, PastEvent

N_INTERESTS = 6

COUNTED: Mapping[EventType, str] = {
    EventType.PURCHASE: "n_bought",
    EventType.ADD_TO_CART: "n_carted",
    EventType.VIEW_ITEM: "n_viewed",
    EventType.SEARCH: "n_searched",
    EventType.REFUND: "n_returned",
}
"""The field of `ActionCounts` that each type of event adds to."""


@dataclass(frozen=True, slots=True)
class Trace:
    """All that one visitor did with one item, or with one query (`row` -1).

    text: title or query; mass: decayed evidence; bought: its part from purchases that were kept.
    """

    row: int
    text: str
    item_id: str
    mass: float
    bought: float
    actions: Counter[str]
    last_at: dt.datetime


def count_actions(events: Iterable[PastEvent]) -> Counter[str]:
    """Count the events by field of `ActionCounts`."""
    return Counter(COUNTED[event.type] for event in events if event.type in COUNTED)


def traces_of(
    past: Sequence[PastEvent], index: Mapping[str, int], titles: Sequence[str], *, now: dt.datetime
) -> list[Trace]:
    """Gather events (oldest first) by item and by query, strongest first; what was all taken back leaves no trace.

    `index` has the row of each item id in `titles`.
    """
    groups: dict[tuple[str, str], list[PastEvent]] = defaultdict(list)
    for event in past:
        if event.item_id or event.query:
            groups[event.item_id, "" if event.item_id else folded(event.query)].append(event)
    traces, evidence = [], _evidence(list(groups.values()), now)
    for ((item_id, _), events), mass, bought in zip(groups.items(), *evidence, strict=True):
        row = index.get(item_id, -1) if item_id else -1
        text = titles[row] if row >= 0 else events[-1].query
        traces.append(Trace(row, text, item_id, mass, bought, count_actions(events), events[-1].at))
    return sorted((trace for trace in traces if trace.mass > 0), key=lambda trace: -trace.mass)


def _evidence(groups: Sequence[Sequence[PastEvent]], now: dt.datetime) -> tuple[list[float], list[float]]:
    """Return for each group of events its decayed evidence, and the part of it from purchases that were kept."""
    key = np.repeat(np.arange(len(groups)), [len(events) for events in groups])
    past = [event for events in groups for event in events]
    kind = np.array([EVENT_CODES[event.type] for event in past], np.int8)
    quantity = np.array([event.quantity for event in past], np.float32)
    age_days = np.array([(now - event.at).total_seconds() / DAY_SECONDS for event in past])
    fading = decay(age_days, PERSONA_HALF_LIFE_DAYS)
    looks, bought = kept_evidence(key, kind, quantity, fading, len(groups))
    is_search = kind == EVENT_CODES[EventType.SEARCH]
    searches = np.bincount(key, weights=SEARCH_WEIGHT * is_search * fading, minlength=len(groups))
    return (looks + searches + bought).tolist(), bought.tolist()


def category_interests(traces: Sequence[Trace], items: ItemTable) -> tuple[Interest, ...]:
    """Return the categories with most evidence."""
    groups: dict[str, list[Trace]] = defaultdict(list)
    for trace in traces:
        if trace.row >= 0 and items.category[trace.row] >= 0:
            groups[items.category_names[items.category[trace.row]]].append(trace)
    total = _total(traces)
    return _largest(_interest(name, group, total) for name, group in groups.items() if name)


def word_interests(traces: Sequence[Trace], vocabulary: Vocabulary) -> tuple[Interest, ...]:
    """Name the traces by the words that they share: the term with the largest mass times weight first, then the best of
    what it does not cover, and so on. An item that shares no such term stands alone under its title.

    Each trace counts for one term only, so that shares add up to at most 1. The greedy cover is that of Chvatal 1979.
    """
    left = {number: terms(trace.text) for number, trace in enumerate(traces)}
    total, interests = _total(traces), list[Interest]()
    while left and len(interests) < N_INTERESTS:
        mass: dict[str, float] = defaultdict(float)
        for number, stems in left.items():
            for stem in stems:
                mass[stem] += traces[number].mass
        scores = {stem: value * vocabulary.weight(stem) for stem, value in mass.items()}
        best = max(scores, key=lambda stem: (scores[stem], vocabulary.counts[stem], stem), default="")
        if not best or scores[best] <= 0:
            break
        covered = [number for number, stems in left.items() if best in stems]
        group = [traces[number] for number in covered]
        is_one_item = len(group) == 1 and group[0].row >= 0
        spelling = Counter(left[number][best] for number in covered).most_common(1)[0][0]
        interests.append(_interest(group[0].text if is_one_item else spelling, group, total))
        left = {number: stems for number, stems in left.items() if number not in covered}
    alone = [traces[number] for number in left if traces[number].row >= 0]
    return _largest([*interests, *(_interest(trace.text, [trace], total) for trace in alone)])


def _total(traces: Sequence[Trace]) -> float:
    return sum(trace.mass for trace in traces)


def _largest(interests: Iterable[Interest]) -> tuple[Interest, ...]:
    return tuple(sorted(interests, key=lambda interest: -interest.share)[:N_INTERESTS])


def _interest(name: str, traces: Sequence[Trace], total: float) -> Interest:
    return Interest(
        name=name,
        evidence=ActionCounts(**sum((trace.actions for trace in traces), Counter())),
        share=min(_total(traces) / total, 1.0),
        last_at=max(trace.last_at for trace in traces),
    )
