"""Recomputes from events which queries several visitors searched and what they led to, and proposes synonyms."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from recommender import conf, datasets
from recommender.features.credibility import person_weights
from recommender.models import QueryStatistics, Synonym
from recommender.tables import ItemTable
from recommender.text.learned_synonyms import LearnedSynonym, learned_synonyms
from recommender.text.past_queries import PastQuery, past_queries
from recommender.text.query import MAX_QUERY_LENGTH

CHUNK_SIZE = 500
MAX_QUERIES = 5_000
"""Queries of most visitors that are stored: every web process reads them into memory."""

MAX_SYNONYM_LENGTH = 100
"""The width of the columns of `Synonym`."""

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
    queries = past_queries(
        interactions,
        weights=person_weights(interactions),
        fewest=conf.get("FEWEST_PEOPLE"),
        fewest_searches=conf.get("FEWEST_EVENTS"),
    )
    synonyms = learned_synonyms(queries)
    with transaction.atomic():
        write_queries(queries[:MAX_QUERIES], items, at=at)
        n_proposed = propose(synonyms)
    return LearningReport(min(len(queries), MAX_QUERIES), len(synonyms), n_proposed)


def write_queries(queries: Sequence[PastQuery], items: ItemTable, *, at: dt.datetime) -> None:
    """Store the queries and delete those that are no longer of several visitors."""
    QueryStatistics.objects.bulk_create(
        [
            QueryStatistics(
                query=past.query[:MAX_QUERY_LENGTH],
                n_visitors=past.n_visitors,
                n_searches=past.n_searches,
                items=[(items.ids[row], n_visitors) for row, n_visitors in past.items],
                last_at=dt.datetime.fromtimestamp(past.last_at, dt.UTC),
                computed_at=at,
            )
            for past in queries
        ],
        batch_size=CHUNK_SIZE,
        update_conflicts=True,
        unique_fields=["query"],
        update_fields=FIELDS,
    )
    QueryStatistics.objects.exclude(computed_at=at).delete()


def propose(synonyms: Sequence[LearnedSynonym]) -> int:
    """Write learned synonyms that nobody has decided on; return how many are new."""
    waiting = Synonym.objects.filter(source=Synonym.Source.LEARNED, reviewed_at=None, is_active=False)
    decided = Synonym.objects.exclude(pk__in=waiting.values("pk"))
    settled = {frozenset(pair) for pair in decided.values_list("words", "meaning")}
    before = set(waiting.values_list("words", "meaning"))
    fresh = [synonym for synonym in synonyms if frozenset((synonym.words, synonym.meaning)) not in settled]
    waiting.delete()
    Synonym.objects.bulk_create(
        [
            Synonym(
                words=synonym.words,
                meaning=synonym.meaning,
                kind=Synonym.Kind.TWO_WAY if synonym.is_two_way else Synonym.Kind.ONE_WAY,
                source=Synonym.Source.LEARNED,
                is_active=False,
                n_evidence=synonym.evidence,
            )
            for synonym in fresh
            if max(len(synonym.words), len(synonym.meaning)) <= MAX_SYNONYM_LENGTH
        ],
        batch_size=CHUNK_SIZE,
    )
    return sum((synonym.words, synonym.meaning) not in before for synonym in fresh)


def delete_unsupported_synonyms() -> int:
    """Delete the rejected synonyms whose wordings no published query has any more; return how many.

    What an editor approved is the shop's own wording by then, and stays.
    """
    rejected = Synonym.objects.filter(source=Synonym.Source.LEARNED, is_active=False, reviewed_at__isnull=False)
    texts = [f" {query} " for query in QueryStatistics.objects.values_list("query", flat=True)] if rejected else []
    unsupported = [
        synonym.pk
        for synonym in rejected
        if not all(any(f" {wording} " in text for text in texts) for wording in (synonym.words, synonym.meaning))
    ]
    return Synonym.objects.filter(pk__in=unsupported).delete()[0]
