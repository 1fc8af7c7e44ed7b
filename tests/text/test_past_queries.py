"""What queries led to, from events whose answer is clear by construction."""

from __future__ import annotations

import numpy as np

from recommender.tables import Interactions
from recommender.text.past_queries import past_queries
from recommender.types import EVENT_CODES, EventType


def interactions(*rows):
    """Rows of (visitor, verb, item or query, seconds)."""
    queries = tuple(dict.fromkeys(text for _, verb, text, _ in rows if verb == "search"))
    is_search = [verb == "search" for _, verb, _, _ in rows]
    n = len(rows)
    return Interactions(
        visitor=np.array([row[0] for row in rows], np.int32),
        item=np.array([-1 if search else row[2] for row, search in zip(rows, is_search, strict=True)], np.int32),
        type=np.array([EVENT_CODES[EventType(row[1])] for row in rows], np.int8),
        time=np.array([row[3] for row in rows], np.float64),
        quantity=np.ones(n, np.float32),
        basket=np.full(n, -1, np.int32),
        query=np.array(
            [queries.index(row[2]) if search else -1 for row, search in zip(rows, is_search, strict=True)], np.int32
        ),
        queries=queries,
    )


SMALL = {"fewest": 3, "fewest_searches": 3}
"""A shop so small that three people are several."""


def each(visitors, *rows):
    """The same rows for each visitor, one after the other."""
    return [(visitor, verb, subject, visitor * 10_000 + at) for visitor in visitors for verb, subject, at in rows]


def test_query_of_two_visitors_is_theirs_alone():
    rows = each(range(3), ("search", "red mug", 0), ("view_item", 7, 5)) + each((5, 6), ("search", "my secret", 0))
    assert [past.query for past in past_queries(interactions(*rows), **SMALL)] == ["red mug"]


def test_one_visitor_who_searches_often_is_one():
    rows = [(1, "search", "red mug", at) for at in range(9)]
    assert past_queries(interactions(*rows), **SMALL) == []


def test_nobody_known_counts_for_nothing():
    rows = [(-1, "search", "red mug", at) for at in range(9)]
    assert past_queries(interactions(*rows), **SMALL) == []


def test_items_are_counted_by_visitors_until_the_next_search_or_half_an_hour():
    rows = each(
        range(3), ("search", "Red  MUG!", 0), ("view_item", 7, 5), ("add_to_cart", 7, 6), ("purchase", 8, 1_799),
        ("view_item", 9, 1_801), ("search", "lamp", 2_000), ("view_item", 4, 2_001),
    )  # fmt: skip
    counted = {past.query: past for past in past_queries(interactions(*rows), **SMALL)}
    assert counted["red mug"].items == ((7, 3), (8, 3))
    assert counted["red mug"].n_searches == 3
    assert counted["lamp"].items == ((4, 3),)


def test_spellings_of_two_keyboards_are_one_query_as_most_write_it():
    written = ["کیف چرمی", "كيف چرمي", "کیف چرمی", "کیف  چَرمی"]
    rows = [(visitor, EventType.SEARCH, query, float(visitor)) for visitor, query in enumerate(written)]
    assert [(past.query, past.n_visitors) for past in past_queries(interactions(*rows), **SMALL)] == [("کیف چرمی", 4)]


def test_query_needs_five_people_and_ten_searches():
    four = each(range(4), *(("search", "of four", at) for at in range(3)))
    nine = each(range(5), ("search", "nine times", 0)) + each(range(4), ("search", "nine times", 1))
    ten = each(range(5), ("search", "ten times", 0), ("search", "ten times", 1))
    assert [past.query for past in past_queries(interactions(*four, *nine, *ten))] == ["ten times"]
