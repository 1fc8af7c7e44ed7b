"""Which words of a query are not wanted, and which texts only say that they lack something."""

import pytest

from recommender.text.intent.exclusions import Sought, lacks, wanted_in

PHRASES = {("polka", "dot"), ("battery", "operated")}


def wanted(query):
    return wanted_in(query, lambda first, second: (first, second) in PHRASES)


@pytest.mark.parametrize(
    ("query", "rest", "excluded"),
    [
        ("mug without handle", "mug", ["handle"]),
        ("mug without a handle", "mug", ["handle"]),
        ("lamp no battery", "lamp", ["battery"]),
        ("mug not white", "mug", ["white"]),
        ("not white mug", "mug", ["white"]),
        ("Mug WITHOUT Handle, red", "Mug red", ["handle"]),
        ("bag without polka dots", "bag", ["polka dots"]),
        ("lamp no battery red", "lamp red", ["battery"]),
        ("earrings without silver or gold for girls", "earrings for girls", ["silver", "gold"]),
        ("shampoo no tears", "shampoo", ["tears"]),
        ("Tasse ohne Henkel und Deckel", "Tasse", ["henkel", "deckel"]),
        ("tasse sans anse", "tasse", ["anse"]),
        ("taza sin asa", "taza", ["asa"]),
        ("لیوان بدون دسته", "لیوان", ["دسته"]),
    ],
)
def test_words_after_a_negation_are_excluded(query, rest, excluded):
    assert wanted(query) == Sought(rest, tuple(excluded))


@pytest.mark.parametrize(
    "query",
    [
        "", "no", "without", "without handle", "no no no", "mug without", "number tile no 7", "perfume no. 5",
        "do not disturb sign", "do not touch sign", "forget me not", "nothing", "t-light not",
        "no tears shampoo", "no entry sign board",
    ],
)  # fmt: skip
def test_negation_that_leaves_nothing_out_is_a_word_like_others(query):
    assert wanted(query) == Sought(query)


@pytest.mark.parametrize(
    ("text", "excluded"),
    [
        ("Sugar without additives", "additives"),
        ("Mug without a handle", "handles"),
        ("No Tears Shampoo", "tear"),
        ("Sugar-free cake", "sugar"),
        ("Tasse ohne Henkel", "henkel"),
    ],
)
def test_text_can_say_that_it_lacks_something(text, excluded):
    assert lacks(text, excluded)


@pytest.mark.parametrize(
    ("text", "excluded"),
    [
        ("Mug with handle", "handle"),
        ("Cake with sugar, not sugar free", "sugar"),
        ("Mug", "handle"),
        ("No lid, with handle", "handle"),
    ],
)
def test_text_that_has_it_anywhere_lacks_nothing(text, excluded):
    assert not lacks(text, excluded)
