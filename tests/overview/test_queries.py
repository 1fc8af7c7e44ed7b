"""Queries keep their text only if several people typed them often enough; all others are one row."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from recommender.capture import encrypting, erasure, retention
from recommender.jobs import work
from recommender.models import QueryFigures, Visitor
from recommender.models.encryption import StoredValue
from recommender.overview import roll_up_queries
from recommender.overview.queries import N_QUERIES, Tally, folded, start_of
from tests.overview.shop import DAY, HOUR, NOON, searched, visitor

pytestmark = pytest.mark.django_db


def crowd(query: str, *, n_people: int = 5, n_each: int = 2, at: dt.datetime = NOON, **fields: Any) -> list[Visitor]:
    people = [visitor() for _ in range(n_people)]
    for person in people:
        for number in range(n_each):
            searched(person, query, at=at - number * HOUR, **fields)
    return people


def counted(n_days: int = 1) -> dict[str, tuple[int, int, int]]:
    rows = QueryFigures.objects.filter(n_days=n_days)
    return {row.query: (row.n_people, row.n_searches, row.n_unmatched) for row in rows}


def test_query_of_five_people_and_ten_searches_keeps_its_text() -> None:
    crowd("Teapot", n_found=0)
    roll_up_queries(at=NOON + HOUR)
    assert counted() == {"teapot": (5, 10, 10)}


@pytest.mark.parametrize(("n_people", "n_each"), [(4, 5), (5, 1), (1, 12)])
def test_rare_queries_are_folded_into_one_row_without_text(n_people: int, n_each: int) -> None:
    crowd("my own secret", n_people=n_people, n_each=n_each)
    searched(visitor(), "another secret", n_found=0)
    roll_up_queries(at=NOON + HOUR)
    rest = QueryFigures.objects.get(n_days=1)
    assert (rest.query, rest.n_queries) == ("", 2)
    assert (rest.n_searches, rest.n_unmatched) == (n_people * n_each + 1, 1)


def test_each_span_counts_people_of_its_own_days() -> None:
    crowd("teapot", n_each=1)
    crowd("teapot", n_each=1, at=NOON - 3 * DAY)
    crowd("teapot", n_each=1, at=NOON - 20 * DAY)
    crowd("teapot", at=NOON - 40 * DAY)
    roll_up_queries(at=NOON + HOUR)
    assert counted(1) == {"": (5, 5, 0)}
    assert counted(7) == {"teapot": (10, 10, 0)}
    assert counted(28) == {"teapot": (15, 15, 0)}


def test_second_time_changes_nothing() -> None:
    crowd("teapot")
    roll_up_queries(at=NOON + HOUR)
    before = counted()
    roll_up_queries(at=NOON + HOUR)
    assert counted() == before
    assert QueryFigures.objects.count() == 3


def test_query_disappears_with_a_person_who_is_erased() -> None:
    people = crowd("teapot", at=timezone.now() - HOUR)
    roll_up_queries()
    assert "teapot" in counted(7)
    erasure.erase(visitor_key=people[0].key)
    work.WORK["erase"]()
    assert counted(7) == {"": (4, 8, 0)}


def test_text_is_encrypted_where_there_are_keys(settings: Any) -> None:
    fernet = pytest.importorskip("cryptography.fernet")
    keys = [fernet.Fernet.generate_key(), fernet.Fernet.generate_key()]
    settings.RECOMMENDER = settings.RECOMMENDER | {"ENCRYPTION_KEYS": keys[:1]}
    crowd("teapot")
    roll_up_queries(at=NOON + HOUR)
    stored = QueryFigures.objects.annotate(stored=StoredValue("query")).values_list("stored", flat=True)
    assert not [text for text in stored if "teapot" in text]
    assert "teapot" in counted()
    settings.RECOMMENDER = settings.RECOMMENDER | {"ENCRYPTION_KEYS": keys[::-1]}
    encrypting.encrypt_stored()
    settings.RECOMMENDER = settings.RECOMMENDER | {"ENCRYPTION_KEYS": keys[1:]}
    assert "teapot" in counted()


def test_text_goes_with_the_searches_that_are_too_old() -> None:
    crowd("teapot", at=timezone.now() - HOUR)
    roll_up_queries()
    assert QueryFigures.objects.exclude(query="").exists()
    retention.purge(at=timezone.now() + 91 * DAY)
    assert not QueryFigures.objects.exists()


def test_most_searched_and_most_unanswered_are_listed_and_the_others_folded() -> None:
    people = set(range(9))
    often = [Tally(f"often {n}", people, 1000 - n, 1000 - n, 0) for n in range(N_QUERIES + 5)]
    lacking = Tally("lacking", people, 20, 20, 19)
    shown = folded([*often, lacking])
    assert [tally.query for tally in shown[:2]] == ["often 0", "often 1"]
    assert lacking in shown
    assert shown[-1].query == ""
    assert sum(tally.n_searches for tally in shown) == sum(tally.n_searches for tally in [*often, lacking])
    assert sum(tally.n_queries for tally in shown) == N_QUERIES + 6


def test_days_begin_at_midnight_of_the_shop() -> None:
    with timezone.override("Asia/Tokyo"):
        assert start_of(1, NOON) == dt.datetime(2026, 3, 9, 15, tzinfo=dt.UTC)
        assert start_of(7, NOON) == dt.datetime(2026, 3, 3, 15, tzinfo=dt.UTC)
