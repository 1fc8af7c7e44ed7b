"""Counts the queries of the last days; only those that several people typed keep their text."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db import router, transaction
from django.utils import timezone

from recommender import conf
from recommender.models import QueryFigures
from recommender.overview.searches import Person, Search, searches_between

SPANS = (1, 7, 28)
"""The periods of the overview, in days that end with today."""

N_QUERIES = 50
"""Queries of a span that keep their row: those searched most, and those that most often had no result."""


@dataclass(slots=True)
class Tally:
    """What was counted of one query, or of all the rest."""

    query: str
    people: set[Person] = field(default_factory=set)
    n_searches: int = 0
    n_answered: int = 0
    n_unmatched: int = 0
    n_queries: int = 1

    def add(self, search: Search) -> None:
        """Count one search."""
        self.n_searches += 1
        self.n_answered += search.n_found is not None
        self.n_unmatched += search.n_found == 0
        if search.person is not None:
            self.people.add(search.person)


def roll_up_queries(*, at: dt.datetime | None = None) -> int:
    """Count the queries of each of `SPANS` until `at` (default now) anew; return how many keep their text.

    Nothing older than the days of `RETENTION["queries"]` is left to be read. Four queries to read, two to write.
    """
    at = at or timezone.now()
    searches = searches_between(start_of(max(SPANS), at), at)
    rows = [
        _row(tally, n_days, at)
        for n_days in SPANS
        for tally in folded(tallied(search for search in searches if search.hour >= start_of(n_days, at)))
    ]
    with transaction.atomic(using=router.db_for_write(QueryFigures)):
        QueryFigures.objects.all().delete()
        QueryFigures.objects.bulk_create(rows)
    return sum(bool(row.query) for row in rows)


def start_of(n_days: int, at: dt.datetime) -> dt.datetime:
    """Midnight, by the current time zone, of the first of `n_days` days that end with that of `at`."""
    local = timezone.localtime(at)
    day = local.date() - dt.timedelta(days=n_days - 1)
    return dt.datetime.combine(day, dt.time(), tzinfo=local.tzinfo).astimezone(dt.UTC)


def tallied(searches: Iterable[Search]) -> list[Tally]:
    """Count by query."""
    tallies: dict[str, Tally] = {}
    for search in searches:
        tallies.setdefault(search.query, Tally(search.query)).add(search)
    return list(tallies.values())


def folded(tallies: Iterable[Tally]) -> list[Tally]:
    """The queries that may be shown, most searched first, then one row for all others, if there are any."""
    fewest_people, fewest_searches = conf.get("FEWEST_PEOPLE"), conf.get("FEWEST_EVENTS")
    public: defaultdict[bool, list[Tally]] = defaultdict(list)
    for tally in tallies:
        public[len(tally.people) >= fewest_people and tally.n_searches >= fewest_searches].append(tally)
    ranked = sorted(public[True], key=lambda tally: (-tally.n_searches, tally.query))
    unmatched = sorted(public[True], key=lambda tally: (-tally.n_unmatched, tally.query))
    shown = {tally.query for tally in [*ranked[:N_QUERIES], *unmatched[:N_QUERIES]]}
    others = [*public[False], *(tally for tally in ranked if tally.query not in shown)]
    return [*(tally for tally in ranked if tally.query in shown), *([_united(others)] if others else [])]


def _united(tallies: Iterable[Tally]) -> Tally:
    rest = Tally("", n_queries=0)
    for tally in tallies:
        rest.people |= tally.people
        rest.n_queries += 1
        rest.n_searches += tally.n_searches
        rest.n_answered += tally.n_answered
        rest.n_unmatched += tally.n_unmatched
    return rest


def _row(tally: Tally, n_days: int, at: dt.datetime) -> QueryFigures:
    return QueryFigures(
        n_days=n_days,
        query=tally.query,
        n_queries=tally.n_queries,
        n_people=len(tally.people),
        n_searches=tally.n_searches,
        n_answered=tally.n_answered,
        n_unmatched=tally.n_unmatched,
        computed_at=at,
    )
