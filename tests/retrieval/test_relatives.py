"""What counts as a word besides itself: forms, compounds and model numbers, only where the catalogue speaks for it."""

import numpy as np
import pytest

from recommender.retrieval.lexical.index import LexicalIndex

GERMAN = [
    "Jonglierkeulen mit Tasche",
    "Fußball rot",
    "Ball aus Leder",
    "Bälle klein",
    "Keulenhalter",
    "Kap Hoorn",
    "Kapern",
]
ENGLISH = ["vegetable peeler", "cap for the garden", "cape of wool", "armchair", "tap", "tape", "pine table", "pin"]


def rows(index, query):
    return set(index.search(query, 10).rows.tolist())


@pytest.fixture(scope="module")
def german():
    return LexicalIndex.build(GERMAN)


@pytest.fixture(scope="module")
def english():
    return LexicalIndex.build(ENGLISH)


@pytest.mark.parametrize(
    ("query", "expected"),
    [("keule ", {0}), ("keulen ", {0}), ("ball ", {1, 2, 3}), ("bälle ", {1, 2, 3}), ("fussbälle ", {1})],
)
def test_forms_and_compounds_of_a_german_word_are_found(german, query, expected):
    assert rows(german, query) == expected
    assert german.search(query, 10).corrected_query == ""


def test_word_itself_leads_its_forms_and_these_its_compounds(german):
    assert german.search("ball ", 10).rows.tolist() == [2, 3, 1]


@pytest.mark.parametrize(("query", "expected"), [("cap ", {1}), ("tap ", {4}), ("pin ", {7}), ("table ", {6})])
def test_english_words_that_differ_by_an_ending_stay_apart(english, query, expected):
    assert rows(english, query) == expected


def test_unknown_word_is_found_in_a_compound_of_any_language(english):
    assert rows(english, "chair ") == {3}
    assert rows(english, "able ") == set()


def test_part_of_a_model_number_ends_where_digits_and_letters_change():
    index = LexicalIndex.build(["Sony WH-1000XM5", "Sony WH-1000XM4", "Bulb XM55"])
    assert rows(index, "xm5 ") == {0}
    assert rows(index, "1000xm4 ") == {1}
    assert rows(index, "m5 ") == set()


def test_code_is_found_whole_and_alone_and_leads_what_only_mentions_its_parts():
    index = LexicalIndex.build(["White heart", "Heart 85123 of brass", ""], codes=["85123A", "H-1", "99999X"])
    hits = index.search("85123-a", 5)
    assert (hits.rows.tolist(), hits.n_whole, hits.is_code) == ([0], 1, True)
    assert index.score("85123-a", np.array([0, 1])).tolist() == [
        2.0,
        pytest.approx(index.score("85123-a", np.array([1]))[0]),
    ]
    assert not index.search("85123A", 5, allowed=np.array([False, True, True])).is_code
    assert not index.search("99999x", 5).is_code  # a row without a text is not for sale


def test_part_of_a_code_behind_a_hyphen_finds_it():
    index = LexicalIndex.build(["Phone", "Case"], codes=["SM-S921B", "red-case"])
    assert rows(index, "s921b ") == {0}
    assert rows(index, "red ") == set()


def test_code_among_other_words_is_found_with_them():
    index = LexicalIndex.build(["Paper tissues", "Paper towels"], codes=["036000291452", "T1"])
    hits = index.search("0036000291452 tissues ", 5)
    assert (hits.rows.tolist(), hits.n_whole, hits.is_code) == ([0], 1, False)


def test_code_follows_an_update():
    index = LexicalIndex.build(["mug", "cup"], codes=["85123A", "85123B"])
    updated = index.updated(np.array([0], np.int32), ["jug"], codes=["77777C"])
    assert updated.search("85123A", 5).is_code is False
    assert updated.search("77777 c", 5).rows.tolist() == [0]


def test_numbers_and_codes_make_no_text_longer():
    assert LexicalIndex.build(["mug 500ml WH-1000XM5"], codes=["85123A"]).length.tolist() == [2.0 * 5]


def test_quantities_and_codes_are_no_suggestions():
    index = LexicalIndex.build(["mug 500ml", "mug 1/2 in"], codes=["85123A", "85123B"])
    assert index.suggest("#", 5) == index.suggest("=", 5) == []
