"""Events in, the words of shoppers in SQL out: queries of several visitors with what they led to, proposed synonyms."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from recommender import datasets
from recommender.models import QueryStatistics, Synonym
from recommender.tables import ItemTable
from recommender.text.learned_synonyms import LearnedSynonym, learned_synonyms
from recommender.text.past_queries import PastQuery, past_queries
from recommender.text.query import MAX_QUERY_LENGTH

CHUNK_SIZE = 500
MAX_QUERIES = 5_000
"""Queries kept, those of most visitors: what a process reads into memory."""

FIELDS = ("n_visitors", "n_searches", "items", "last_at", "computed_at")


@dataclass(frozen=True, slots=True)
class LearningReport:
    """What `learn_queries` wrote."""

    n_queries: int
    n_synonyms: int
    n_proposed: int


def learn_queries(*, at: dt.datetime | None = None) -> LearningReport:
    """Recompute the queries from the events before `at` (default now), and propose the synonyms that they show.

    Synonyms that somebody wrote, approved or rejected stay as they are; a proposal without evidence any more goes.
    """
    at = at or timezone.now()
    items = datasets.read_items()
    interactions, _ = datasets.clean(datasets.read_interactions(items, until=at))
    asked = past_queries(interactions)
    found = learned_synonyms(asked)
    with transaction.atomic():
        write_queries(asked[:MAX_QUERIES], items, at=at)
        n_proposed = propose(found)
    return LearningReport(min(len(asked), MAX_QUERIES), len(found), n_proposed)


def write_queries(asked: Sequence[PastQuery], items: ItemTable, *, at: dt.datetime) -> None:
    """Store the queries, a chunk per statement, and forget those that are no longer of several visitors."""
    for start in range(0, len(asked), CHUNK_SIZE):
        QueryStatistics.objects.bulk_create(
            [_statistics(one, items, at) for one in asked[start : start + CHUNK_SIZE]],
            update_conflicts=True,
            unique_fields=["query"],
            update_fields=FIELDS,
        )
    QueryStatistics.objects.exclude(computed_at=at).delete()


def propose(found: Sequence[LearnedSynonym]) -> int:
    """Write learned synonyms that nobody has decided on; return how many are new."""
    waiting = Synonym.objects.filter(source=Synonym.Source.LEARNED, reviewed_at=None, is_active=False)
    decided = Synonym.objects.exclude(pk__in=waiting.values("pk"))
    settled = {frozenset(pair) for pair in decided.values_list("words", "meaning")}
    before = set(waiting.values_list("words", "meaning"))
    fresh = [one for one in found if frozenset((one.words, one.meaning)) not in settled]
    waiting.delete()
    Synonym.objects.bulk_create(
        [
            Synonym(
                words=one.words,
                meaning=one.meaning,
                kind=Synonym.Kind.TWO_WAY if one.is_two_way else Synonym.Kind.ONE_WAY,
                source=Synonym.Source.LEARNED,
                is_active=False,
                n_evidence=one.evidence,
            )
            for one in fresh
            if max(len(one.words), len(one.meaning)) <= 100
        ],
        batch_size=CHUNK_SIZE,
    )
    return sum((one.words, one.meaning) not in before for one in fresh)


def _statistics(one: PastQuery, items: ItemTable, at: dt.datetime) -> QueryStatistics:
    return QueryStatistics(
        query=one.query[:MAX_QUERY_LENGTH],
        n_visitors=one.n_visitors,
        n_searches=one.n_searches,
        items=[(items.ids[row], n_visitors) for row, n_visitors in one.items],
        last_at=dt.datetime.fromtimestamp(one.last_at, dt.UTC),
        computed_at=at,
    )
