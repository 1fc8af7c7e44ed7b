"""What queries led to, and the synonyms that follow, from events whose answer is known by construction."""

from __future__ import annotations

import numpy as np

from recommender.tables import Interactions
from recommender.text.past_queries import AskedQuery, asked_queries, learned_synonyms
from recommender.types import EVENT_CODES, EventType


def interactions(*rows):
    """Rows of (visitor, verb, item or query, seconds)."""
    queries = tuple(dict.fromkeys(what for _, verb, what, _ in rows if verb == "search"))
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


def each(visitors, *rows):
    """The same rows for each visitor, one after the other."""
    return [(visitor, verb, what, visitor * 10_000 + at) for visitor in visitors for verb, what, at in rows]


def test_query_of_two_visitors_is_theirs_alone():
    rows = each(range(3), ("search", "red mug", 0), ("view_item", 7, 5)) + each((5, 6), ("search", "my secret", 0))
    assert [one.query for one in asked_queries(interactions(*rows))] == ["red mug"]


def test_one_visitor_who_searches_often_is_one():
    rows = [(1, "search", "red mug", at) for at in range(9)]
    assert asked_queries(interactions(*rows)) == []


def test_nobody_known_counts_for_nothing():
    rows = [(-1, "search", "red mug", at) for at in range(9)]
    assert asked_queries(interactions(*rows)) == []


def test_items_are_counted_by_visitors_until_the_next_search_or_half_an_hour():
    rows = each(
        range(3), ("search", "Red  MUG!", 0), ("view_item", 7, 5), ("add_to_cart", 7, 6), ("purchase", 8, 1_799),
        ("view_item", 9, 1_801), ("search", "lamp", 2_000), ("view_item", 4, 2_001),
    )  # fmt: skip
    found = {one.query: one for one in asked_queries(interactions(*rows))}
    assert found["red mug"].items == ((7, 3), (8, 3))
    assert found["red mug"].n_searches == 3
    assert found["lamp"].items == ((4, 3),)


def test_spellings_of_two_keyboards_are_one_query_as_most_write_it():
    written = ["کیف چرمی", "كيف چرمي", "کیف چرمی", "کیف  چَرمی"]
    rows = [(visitor, EventType.SEARCH, query, float(visitor)) for visitor, query in enumerate(written)]
    assert [(one.query, one.n_visitors) for one in asked_queries(interactions(*rows))] == [("کیف چرمی", 4)]


def asked(query, *items, n=6):
    return AskedQuery(query, n, n, 0.0, tuple((row, n) for row in items))


OTHERS = [asked(f"thing{letter}", *range(at, at + 3)) for letter, at in zip("abcdefgh", range(50, 90, 5), strict=True)]


def test_words_that_lead_to_the_same_items_are_synonyms():
    [found] = learned_synonyms([asked("sofa", 1, 2, 3), asked("couch", 1, 2, 3), *OTHERS])
    assert (found.words, found.meaning, found.is_two_way, found.evidence) == ("couch", "sofa", True, 18)


def test_common_words_around_them_are_left_out():
    [found] = learned_synonyms([asked("red sofa bed", 1, 2), asked("red couch bed", 1, 2), *OTHERS])
    assert (found.words, found.meaning) == ("couch", "sofa")


def test_narrower_word_finds_the_wider_but_not_the_reverse():
    [found] = learned_synonyms([asked("loveseat", 1, 2), asked("sofa", 1, 2, 3, 4, 5, 6, 7), *OTHERS])
    assert (found.words, found.meaning, found.is_two_way) == ("loveseat", "sofa", False)


def test_too_few_visitors_are_no_evidence():
    few = [asked("sofa", 1, 2, n=1), asked("couch", 1, 2, n=1)]
    assert learned_synonyms([*few, *OTHERS]) == []


def test_words_that_share_no_more_than_chance_are_none():
    everywhere = [asked(f"word{letter}", 1, 2, 3) for letter in "abcdef"]
    assert learned_synonyms(everywhere) == []


def test_words_that_are_said_together_are_none():
    said = [asked("bag", 1, 2), asked("jumbo", 1, 2), asked("jumbo bag", 1, 2), *OTHERS]
    assert learned_synonyms(said) == []


def test_plural_numbers_and_more_words_are_no_synonyms():
    said = [
        asked("mug", 1, 2), asked("mugs", 1, 2), asked("tin 3", 11, 12), asked("tin 6", 11, 12),
        asked("lamp", 21, 22), asked("desk lamp", 21, 22), *OTHERS,
    ]  # fmt: skip
    assert learned_synonyms(said) == []
