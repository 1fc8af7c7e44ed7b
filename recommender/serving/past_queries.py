"""Reads past queries and synonyms into memory: for suggestions, and for the model of what a query is about."""

from __future__ import annotations

import datetime as dt
import hashlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from django.db import models
from django.db.models import Count, Max

from recommender.models import Erasure, QueryStatistics, Synonym
from recommender.retrieval.lexical.index import LexicalIndex
from recommender.retrieval.lexical.lexicon import LAST
from recommender.retrieval.lexical.phrases import Phrases
from recommender.text.intent import IntentModel, LabelledTitles, fit
from recommender.text.past_queries import PastQuery
from recommender.text.stems import stem
from recommender.text.words import folded
from recommender.types import Intent

Stamp = tuple[tuple[int, dt.datetime | None], ...]
"""For each table the number of rows and the time of the newest change, and last when a person was erased; equal where
nothing changed."""

MAX_TRIED = 60
STALE_SHARE = 0.1
"""Share of changed categories or queries from which the intent model is fitted again."""

QUERY_COLUMNS = ("query", "n_visitors", "n_searches", "last_at", "items", "computed_at")


@dataclass(frozen=True, slots=True)
class QueryTables:
    """What both tables hold: past queries by rows of one shelf, pairs of synonyms, and the state of the tables."""

    queries: tuple[PastQuery, ...] = ()
    synonyms: tuple[tuple[str, str], ...] = ()
    stamp: Stamp = ()

    def was_erased_since(self, before: QueryTables) -> bool:
        """Was a person erased since the earlier state was read? Then nothing fitted on its queries may stay."""
        return bool(before.stamp) and bool(self.stamp) and self.stamp[-1] != before.stamp[-1]


class Understanding:
    """The intent model of one catalogue, fitted at its first use; `prepare` fits it before a shopper has to wait.

    phrases: those of the lexical index, which are replaced when it is built again from other texts; fitted: a model
    that was fitted before, and the `hashes_of` its queries.
    """

    def __init__(
        self,
        titles: LabelledTitles,
        queries: Sequence[PastQuery],
        phrases: Phrases,
        fitted: tuple[IntentModel, frozenset[int]] | None = None,
    ) -> None:
        self.titles, self.queries, self.phrases = titles, tuple(queries), phrases
        self.query_hashes = hashes_of(self.queries) if fitted is None else fitted[1]
        if fitted is not None:
            self.model = fitted[0]

    @cached_property
    def model(self) -> IntentModel:
        """The fitted model."""
        return fit(self.titles, self.queries)

    def prepare(self) -> None:
        """Fit the model now."""
        self.model.understand("")

    def of(self, query: str) -> Intent:
        """Understand a query."""
        return self.model.understand(query)

    def naming(self, query: str) -> Mapping[str, float]:
        """How surely each word of a query, by stem, names the goods."""
        return self.model.naming(query)

    def is_stale(self, titles: LabelledTitles, queries: Sequence[PastQuery], phrases: Phrases) -> bool:
        """Whether so many words, categories or queries changed that the model must be fitted again."""
        if phrases is not self.phrases:
            return True
        n = len(self.titles.category)
        n_moved = int(np.count_nonzero(titles.category[:n] != self.titles.category))
        if n_moved > STALE_SHARE * n or queries is self.queries:
            return n_moved > STALE_SHARE * n
        return len(hashes_of(queries) ^ self.query_hashes) > STALE_SHARE * max(len(self.query_hashes), 1)


def hashes_of(queries: Sequence[PastQuery]) -> frozenset[int]:
    """A hash of each query, by which those of an earlier fit are recognised without keeping them."""
    return frozenset(
        int.from_bytes(hashlib.blake2b(past.query.encode("utf-8", "replace"), digest_size=7).digest(), "little")
        for past in queries
    )


@dataclass(frozen=True, slots=True)
class PastQueries:
    """Queries of several visitors by their folded words, ascending, with the number of visitors of each."""

    keys: Sequence[str] = ()
    queries: Sequence[str] = ()
    n_visitors: Sequence[int] = field(default_factory=tuple)

    @classmethod
    def of(cls, queries: Sequence[PastQuery]) -> PastQueries:
        """Sort the queries that led to an item: a completion that finds nothing is no help."""
        ordered = sorted((folded(past.query), past.query, past.n_visitors) for past in queries if past.items)
        return cls(*zip(*ordered, strict=True)) if ordered else cls()

    def suggest(self, prefix: str, limit: int) -> list[str]:
        """Return the queries that go on from a prefix, those of most visitors first."""
        start = folded(prefix)
        if not start:
            return []
        first, last = bisect_left(self.keys, start), bisect_left(self.keys, start + LAST)
        order = sorted(range(first, last), key=lambda row: (-self.n_visitors[row], row))[:MAX_TRIED]
        return [self.queries[row] for row in order if self.keys[row] != start][:limit]


def stamp() -> Stamp:
    """The state of both tables. Two queries."""
    queries = QueryStatistics.objects.annotate(erased_at=_erased_at())
    counted = queries.aggregate(n=Count("pk"), newest=Max("computed_at"), erased=Max("erased_at"))
    synonyms = _active().aggregate(n=Count("pk"), newest=Max("updated_at"))
    return (
        (counted["n"], counted["newest"]),
        (synonyms["n"], synonyms["newest"]),
        (0, counted["erased"]),
    )


def read(index: Mapping[str, int]) -> QueryTables:
    """Read both tables; index: item id to row of the shelf. Two queries."""
    queries = list(QueryStatistics.objects.order_by("pk").values_list(*QUERY_COLUMNS, _erased_at()))
    synonyms = list(_active().order_by("pk"))
    newest = (
        max((row[-2] for row in queries), default=None),
        max((synonym.updated_at for synonym in synonyms), default=None),
    )
    return QueryTables(
        tuple(_past_query(*row[:-2], index=index) for row in queries),
        tuple(pair for synonym in synonyms for pair in synonym.pairs()),
        ((len(queries), newest[0]), (len(synonyms), newest[1]), (0, queries[0][-1] if queries else None)),
    )


def _erased_at() -> models.Subquery:
    """When the last erasure was finished."""
    finished = Erasure.objects.filter(finished_at__isnull=False).order_by("-finished_at")
    return models.Subquery(finished.values("finished_at")[:1])


def _active() -> models.QuerySet[Synonym]:
    return Synonym.objects.filter(is_active=True)


def _past_query(
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
    """Return up to `limit` queries that go on from a prefix: half past queries, then phrases of titles, none twice."""
    phrases = lexical.suggest(prefix, limit)
    others = past.suggest(prefix, limit) or past.suggest(lexical.corrected(prefix), limit)
    suggestions: dict[str, str] = {}
    for text in (*others[: max(1, limit // 2)], *phrases, *others):
        key = " ".join(stem(word) for word in folded(text).split())
        if key not in suggestions and (text in phrases or lexical.search(f"{text} ", 1).n_whole):
            suggestions[key] = text
    return list(suggestions.values())[:limit]
