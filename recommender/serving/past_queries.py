"""The words of shoppers in memory: tables of queries and synonyms in, what they tell of a query out."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from django.db import models
from django.db.models import Count, Max

from recommender.models import QueryStatistics, Synonym
from recommender.retrieval.lexical.index import LexicalIndex
from recommender.retrieval.lexical.lexicon import LAST
from recommender.retrieval.lexical.phrases import Phrases
from recommender.text.intent import IntentModel, LabelledTitles, fit
from recommender.text.past_queries import PastQuery
from recommender.text.words import folded, stem
from recommender.types import Intent

Stamp = tuple[tuple[int, dt.datetime | None], ...]
"""How many rows each table has and when the newest changed: equal where nothing did."""

MAX_TRIED = 60
STALE_SHARE = 0.1
"""Share of categories or queries that are others from which the intent model is learned anew."""

QUERY_COLUMNS = ("query", "n_visitors", "n_searches", "last_at", "items", "computed_at")


@dataclass(frozen=True, slots=True)
class Told:
    """What the two tables hold: `queries` in the rows of one shelf, pairs of synonyms, and the state of the tables."""

    queries: tuple[PastQuery, ...] = ()
    synonyms: tuple[tuple[str, str], ...] = ()
    stamp: Stamp = ()


class Understanding:
    """The intent model of one catalogue, learned when it is first asked for; `prepare` lets no shopper wait for it.

    `phrases` tells the lexical index that the same texts were built into.
    """

    def __init__(self, catalogue: LabelledTitles, queries: Sequence[PastQuery], phrases: Phrases) -> None:
        self.catalogue, self.queries, self.phrases = catalogue, tuple(queries), phrases

    @cached_property
    def model(self) -> IntentModel:
        """The fitted model."""
        return fit(self.catalogue, self.queries)

    def prepare(self) -> None:
        """Learn now."""
        self.model.understand("")

    def of(self, query: str) -> Intent:
        """Understand a query."""
        return self.model.understand(query)

    def is_stale(self, catalogue: LabelledTitles, queries: Sequence[PastQuery], phrases: Phrases) -> bool:
        """Whether so much is new that it must be learned anew: the words, the categories or the queries."""
        if phrases is not self.phrases:
            return True
        n = len(self.catalogue.titles)
        n_moved = int(np.count_nonzero(catalogue.category[:n] != self.catalogue.category))
        told, known = ({one.query for one in some} for some in (queries, self.queries))
        return n_moved > STALE_SHARE * n or len(told ^ known) > STALE_SHARE * max(len(known), 1)


@dataclass(frozen=True, slots=True)
class PastQueries:
    """Queries of several visitors by their folded words, ascending, with the number of visitors of each."""

    keys: Sequence[str] = ()
    shown: Sequence[str] = ()
    n_visitors: Sequence[int] = field(default_factory=tuple)

    @classmethod
    def of(cls, queries: Sequence[PastQuery]) -> PastQueries:
        """Arrange those that led to an item: completing to a query that finds nothing is no help."""
        found = sorted((folded(one.query), one.query, one.n_visitors) for one in queries if one.items)
        keys, shown, n_visitors = zip(*found, strict=True) if found else ((), (), ())
        return cls(keys, shown, n_visitors)

    def suggest(self, prefix: str, limit: int) -> list[str]:
        """Return the queries that go on from a prefix, those of most visitors first."""
        start = folded(prefix)
        if not start:
            return []
        first, last = bisect_left(self.keys, start), bisect_left(self.keys, start + LAST)
        order = sorted(range(first, last), key=lambda place: (-self.n_visitors[place], place))[:MAX_TRIED]
        return [self.shown[place] for place in order if self.keys[place] != start][:limit]


def stamp() -> Stamp:
    """How the tables stand. Two queries."""
    tables = ((QueryStatistics.objects, "computed_at"), (_active(), "updated_at"))
    found = [table.aggregate(n=Count("pk"), newest=Max(column)) for table, column in tables]
    return tuple((row["n"], row["newest"]) for row in found)


def read(index: Mapping[str, int]) -> Told:
    """Read both tables; index: item id to row of the shelf. Two queries."""
    queries = list(QueryStatistics.objects.order_by("pk").values_list(*QUERY_COLUMNS))
    synonyms = list(_active().order_by("pk"))
    newest = (max((row[-1] for row in queries), default=None), max((one.updated_at for one in synonyms), default=None))
    return Told(
        tuple(_asked(*row[:-1], index=index) for row in queries),
        tuple(pair for synonym in synonyms for pair in synonym.pairs()),
        ((len(queries), newest[0]), (len(synonyms), newest[1])),
    )


def _active() -> models.QuerySet[Synonym]:
    return Synonym.objects.filter(is_active=True)


def _asked(
    query: str,
    n_visitors: int,
    n_searches: int,
    last_at: dt.datetime,
    items: Sequence[tuple[str, int]],
    *,
    index: Mapping[str, int],
) -> PastQuery:
    led = tuple((index[item_id], n) for item_id, n in items if item_id in index)
    return PastQuery(query, n_visitors, n_searches, last_at.timestamp(), led)


def suggest(prefix: str, limit: int, past: PastQueries, lexical: LexicalIndex) -> list[str]:
    """Return up to `limit` queries that go on from a prefix: half of others, then phrases of titles, none twice."""
    phrases = lexical.suggest(prefix, limit)
    others = past.suggest(prefix, limit) or past.suggest(lexical.corrected(prefix), limit)
    found: dict[str, str] = {}
    for text in (*others[: max(1, limit // 2)], *phrases, *others):
        key = " ".join(stem(word) for word in folded(text).split())
        if key not in found and (text in phrases or lexical.search(f"{text} ", 1).n_whole):
            found[key] = text
    return list(found.values())[:limit]
