"""What an unknown word is corrected to, and what stays as it was typed: with a vocabulary of the language, or none."""

from __future__ import annotations

import pytest

from recommender.retrieval.lexical.index import LexicalIndex
from recommender.retrieval.lexical.synonyms import Synonyms

TITLES = (
    "Kids rain mac", "Rain hat polka dot", "Rain poncho",
    *(f"Scented candle {kind}" for kind in ("rose", "lavender", "vanilla", "ocean", "coffee", "cherry")),
    *(f"Pillar candles {kind}" for kind in ("gold", "silver", "cream", "amber", "white", "green")),
    "Black candelabra", "Basket with handle", "Cut out paper doll",
    "Garden path notebook", "Garden marker", "Home sweet home sign", "Home key holder",
    "Rocket balloons", "Set of pencils", "Coffee mug apples", "Ceramic mug", "Phone charm star",
    "Brown umbrella", "Pink umbrella", "Chocolate calculator",
)  # fmt: skip
LANGUAGE = frozenset({"train", "hose", "home", "tennis", "brolly", "iphone"})


@pytest.fixture(params=[False, True], ids=["words alone", "with a vocabulary"])
def index(request):
    words_alone = LexicalIndex.build(TITLES)
    return words_alone.with_vocabulary(LANGUAGE.__contains__) if request.param else words_alone


def corrected(index, query):
    return index.search(query, 5).corrected_query


@pytest.mark.parametrize(
    "query",
    ["train", "train ", "train set", "garden hose", "tennis racket", "mug without candle", "without", "without handle"],
)
def test_other_word_of_the_language_is_no_typing_error(index, query):
    assert corrected(index, query) == ""


@pytest.mark.parametrize(
    ("query", "meant"),
    [
        ("cerammic mug", "ceramic mug"),
        ("cofee mug", "coffee mug"),
        ("mgu coffee", "mgu coffee"),
        ("umbrela", "umbrella"),
        ("pink umberlla", "pink umbrella"),
        ("claculator", "calculator"),
        ("yellow noteboook", "yellow notebook"),
        ("ubmrella", "umbrella"),
    ],
)
def test_misspelt_word_is_corrected(index, query, meant):
    assert corrected(index, query) == (meant if meant != query else "")


@pytest.mark.parametrize("query", ["candel", "candel ", "candels"])
def test_frequent_word_is_meant_rather_than_the_start_of_a_rare_one(index, query):
    hits = index.search(query, 20)
    assert hits.corrected_query in ("candle", "candles")
    assert {TITLES[row] for row in hits.rows[:12]} == {title for title in TITLES if "candle" in title.split()[1]}


@pytest.mark.parametrize("query", ["candela", "candelab", "calc", "umb", "choc"])
def test_start_of_a_word_is_no_typing_error(index, query):
    assert corrected(index, query) == ""
    assert len(index.search(query, 5).rows)


@pytest.mark.parametrize(
    ("query", "meant"), [("calcua", "calculator"), ("candelbr", "candelabra"), ("umbrll", "umbrella")]
)
def test_misspelt_start_of_a_rare_word_is_corrected(index, query, meant):
    assert corrected(index, query) == meant
    assert meant in index.suggest(query, 5)


def test_suggestions_continue_what_was_typed_and_then_what_was_meant(index):
    assert index.suggest("candel", 5)[:2] == ["candelabra", "candle"]


def test_vocabulary_of_the_language_keeps_a_word_that_has_a_frequent_neighbour_here():
    assert corrected(LexicalIndex.build(TITLES), "hose ") == "home"
    assert corrected(LexicalIndex.build(TITLES).with_vocabulary(LANGUAGE.__contains__), "hose ") == ""


def test_synonym_comes_before_a_correction():
    pairs = Synonyms.of([("brolly", "umbrella"), ("candel", "candelabra"), ("rocker", "mug")])
    index = LexicalIndex.build(TITLES).with_synonyms(pairs, frozenset())
    for query, first in (("brolly", "umbrella"), ("candel ", "candelabra"), ("rocker ", "mug")):
        hits = index.search(query, 5)
        assert hits.corrected_query == ""
        assert first in TITLES[hits.rows[0]]
    assert index.suggest("brolly ", 3) == []  # no guess at the spelling of a word that has a meaning


def test_words_that_few_items_have_are_corrected_beside_words_that_occur_with_them():
    titles = (*TITLES, "Tennis ball", "Tennis rocket launcher")
    assert corrected(LexicalIndex.build(titles), "tennis racket") == "tennis rocket"


def test_second_guesses_are_listed_and_not_counted():
    index = LexicalIndex.build(["heart one", "heart two", "heard three", "car toy", "card", "cards"])
    hits = index.search("hearz ", 5)
    assert (hits.corrected_query, len(hits.rows), hits.n_whole) == ("heart", 3, 2)
    hits = index.search("car", 5)
    assert (len(hits.rows), hits.n_whole) == (3, 1)
    assert index.search("ca", 5).n_whole == 3


def test_other_form_of_a_word_counts_as_occurring_beside():
    titles = (*TITLES, "Backsplash panel", "Wall panels", "Floor panels")
    assert corrected(LexicalIndex.build(titles), "backsplash paneks") == "backsplash panels"
