"""Synonyms from queries whose answer is clear by construction."""

from recommender.text.learned_synonyms import learned_synonyms
from recommender.text.past_queries import PastQuery


def past(query, *items, n=6):
    return PastQuery(query, n, n, 0.0, tuple((row, n) for row in items))


OTHERS = [past(f"thing{letter}", *range(at, at + 3)) for letter, at in zip("abcdefgh", range(50, 90, 5), strict=True)]


def test_words_that_lead_to_the_same_items_are_synonyms():
    [synonym] = learned_synonyms([past("sofa", 1, 2, 3), past("couch", 1, 2, 3), *OTHERS])
    assert (synonym.words, synonym.meaning, synonym.is_two_way, synonym.evidence) == ("couch", "sofa", True, 18)


def test_common_words_around_them_are_left_out():
    [synonym] = learned_synonyms([past("red sofa bed", 1, 2), past("red couch bed", 1, 2), *OTHERS])
    assert (synonym.words, synonym.meaning) == ("couch", "sofa")


def test_narrower_word_finds_the_wider_but_not_the_reverse():
    [synonym] = learned_synonyms([past("loveseat", 1, 2), past("sofa", 1, 2, 3, 4, 5, 6, 7), *OTHERS])
    assert (synonym.words, synonym.meaning, synonym.is_two_way) == ("loveseat", "sofa", False)


def test_too_few_visitors_are_no_evidence():
    few = [past("sofa", 1, 2, n=1), past("couch", 1, 2, n=1)]
    assert learned_synonyms([*few, *OTHERS]) == []


def test_words_that_share_no_more_than_chance_are_none():
    everywhere = [past(f"word{letter}", 1, 2, 3) for letter in "abcdef"]
    assert learned_synonyms(everywhere) == []


def test_words_that_are_said_together_are_none():
    queries = [past("bag", 1, 2), past("jumbo", 1, 2), past("jumbo bag", 1, 2), *OTHERS]
    assert learned_synonyms(queries) == []


def test_plural_numbers_and_more_words_are_no_synonyms():
    queries = [
        past("mug", 1, 2), past("mugs", 1, 2), past("tin 3", 11, 12), past("tin 6", 11, 12),
        past("lamp", 21, 22), past("desk lamp", 21, 22), *OTHERS,
    ]  # fmt: skip
    assert learned_synonyms(queries) == []
