"""Counts what shoppers searched and which items each query led to, from queries of several visitors only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from math import ceil

import numpy as np

from recommender.durations import SESSION_SECONDS
from recommender.tables import Interactions
from recommender.text.words import folded, words
from recommender.types import EVENT_CODES, EventType, FloatArray

FEWEST_PEOPLE = 5
FEWEST_SEARCHES = 10
"""A query of fewer could identify a person: it is neither stored nor shown to anybody."""

MAX_ITEMS = 20
ROUNDING = 1e-4

ANSWER_TYPES = frozenset(
    EVENT_CODES[kind]
    for kind in (EventType.SELECT_ITEM, EventType.VIEW_ITEM, EventType.ADD_TO_CART, EventType.PURCHASE)
)


@dataclass(frozen=True, slots=True)
class PastQuery:
    """A query of several visitors. items: (row, number of visitors that it led there), most first.

    Visitors are counted as far as they are credible, rounded up.
    """

    query: str
    n_visitors: int
    n_searches: int
    last_at: float
    items: tuple[tuple[int, int], ...] = ()


def past_queries(
    interactions: Interactions,
    *,
    weights: FloatArray | None = None,
    fewest: int = FEWEST_PEOPLE,
    fewest_searches: int = FEWEST_SEARCHES,
) -> list[PastQuery]:
    """Count the queries that at least `fewest` people searched, `fewest_searches` times in all, and the items they led
    to; most visitors first. The visitors of one user are one person.

    weights (n,): how far the visitor of each event counts, 1 by default; `fewest` are people, whatever they weigh.
    """
    visitors: dict[str, set[int]] = defaultdict(set)
    visitors_by_item: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    n_searches: Counter[str] = Counter()
    last_at: dict[str, float] = {}
    for query, visitor, time, rows in _searches(interactions):
        visitors[query].add(visitor)
        n_searches[query] += 1
        last_at[query] = max(time, last_at.get(query, 0.0))
        for row in rows:
            visitors_by_item[query][row].add(visitor)
    weight = _weight_of_visitor(interactions, weights)
    counted = [
        PastQuery(
            query, _counted(several, weight), n_searches[query], last_at[query],
            _most_visited(visitors_by_item[query], weight),
        )
        for query, several in visitors.items()
        if len(several) >= fewest and n_searches[query] >= fewest_searches
    ]  # fmt: skip
    return sorted(counted, key=lambda past: (-past.n_visitors, past.query))


def _weight_of_visitor(interactions: Interactions, weights: FloatArray | None) -> FloatArray:
    """Return (n_visitors,): the largest weight of an event of each visitor."""
    of_visitor = np.zeros(int(interactions.visitor.max(initial=-1)) + 1, np.float32)
    identified = interactions.visitor >= 0
    weights = np.ones(len(interactions), np.float32) if weights is None else weights
    np.maximum.at(of_visitor, interactions.visitor[identified], weights[identified])
    return of_visitor


def _counted(visitors: Set[int], weight: FloatArray) -> int:
    return ceil(float(weight[list(visitors)].sum()) - ROUNDING)


def _searches(interactions: Interactions) -> Iterator[tuple[str, int, float, list[int]]]:
    """Give each search of an identified visitor as (query, visitor, time, rows of the items it led to).

    Items count that the visitor opens or takes within the session, before the next search.
    """
    search = EVENT_CODES[EventType.SEARCH]
    spellings = _commonest_spellings(interactions)
    latest: dict[int, tuple[str, int, float, list[int]]] = {}
    columns = (interactions.visitor, interactions.type, interactions.time, interactions.item, interactions.query)
    for visitor, kind, time, item, query in zip(*(column.tolist() for column in columns), strict=True):
        if visitor < 0:
            continue
        if kind == search and query >= 0 and spellings[query]:
            if visitor in latest:
                yield latest[visitor]
            latest[visitor] = (spellings[query], visitor, time, [])
        elif kind in ANSWER_TYPES and item >= 0 and visitor in latest:
            _, _, searched_at, rows = latest[visitor]
            if time - searched_at <= SESSION_SECONDS:
                rows.append(item)
    yield from latest.values()


def _commonest_spellings(interactions: Interactions) -> list[str]:
    """Return each query as most visitors write it; spellings may differ in accents, keyboard letters or hyphens."""
    written = [" ".join(word.written for word in words(query)) for query in interactions.queries]
    keys = [folded(query) for query in interactions.queries]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for number in interactions.query[interactions.query >= 0].tolist():
        counts[keys[number]][written[number]] += 1
    commonest = {key: min(forms, key=lambda form: (-forms[form], form)) for key, forms in counts.items()}
    return [commonest.get(key, form) for key, form in zip(keys, written, strict=True)]


def _most_visited(visitors_by_item: Mapping[int, Set[int]], weight: FloatArray) -> tuple[tuple[int, int], ...]:
    counts = ((row, _counted(visitors, weight)) for row, visitors in visitors_by_item.items())
    return tuple(sorted(counts, key=lambda pair: (-pair[1], pair[0]))[:MAX_ITEMS])
