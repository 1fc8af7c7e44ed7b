"""What a search counts as found, what only follows it, and what the notice says the list is about."""

from __future__ import annotations

import pytest

from recommender.types import Relaxation
from tests.serving.small_shop import SmallShop

COLOURS = ("red", "blue", "green", "white", "black", "pink")
ITEMS = (
    *((f"{colour} umbrella", "Rain") for colour in COLOURS),
    *((f"{colour} paper parasol", "Rain") for colour in COLOURS),
    *((f"{colour} lamp", "Light") for colour in COLOURS),
    *((f"dog bowl {colour}", "Pets") for colour in COLOURS),
    *((f"set of 6 {colour} plates", "Kitchen") for colour in COLOURS),
    ("school desk and chair", "Office"),
    ("tray, breakfast in bed", "Kitchen"),
    ("car toy", "Toys"),
    *((f"birthday card {colour}", "Cards") for colour in COLOURS),
    ("do not touch door hanger", "Office"),
    ("christmas tree", "Christmas"),
)
TITLES = tuple(title for title, _ in ITEMS)
SHOP = SmallShop(*((title, category, "", float(price)) for price, (title, category) in enumerate(ITEMS, 1)))
SHOP.sales[:] = 1


def search(ranker, query, **options):
    return SHOP.search(query, ranker=ranker, limit=100, **options)


@pytest.mark.parametrize(
    ("query", "n_found"),
    [
        ("umbrella", 6),
        ("umbrellas", 6),
        ("red umbrella", 1),
        ("umbrela", 6),
        ("lamp", 6),
        ("car", 1),
        ("red lamp", 1),
        ("umb", 6),
    ],
)
def test_what_has_all_words_is_counted_and_leads(ranker, query, n_found):
    ranking = search(ranker, query)
    assert (ranking.n_found, ranking.n_found + ranking.n_near) == (n_found, len(ranking))
    assert [entry.is_near for entry in ranking] == [False] * n_found + [True] * ranking.n_near
    assert "christmas tree" not in SHOP.titles(ranking)


def test_item_that_is_only_near_in_meaning_is_not_found(untrained):
    ranking = search(untrained, "lighting")
    assert (ranking.relaxed, ranking.n_found) == (Relaxation.MEANING, 0)
    assert {entry.reasons[0].code for entry in ranking} == {"near_query"}
    assert all("lamp" in title for title in SHOP.titles(ranking))


def test_item_with_some_of_the_words_does_not_claim_to_match(ranker):
    ranking = search(ranker, "red umbrella")
    code_of = dict(zip(SHOP.titles(ranking), (entry.reasons[0].code for entry in ranking), strict=True))
    assert code_of.pop("red umbrella") == "matches_query"
    assert code_of["blue umbrella"] == "some_words"
    assert "matches_query" not in code_of.values()


@pytest.mark.parametrize(
    ("query", "about", "word"),
    [
        ("desk lamp", "lamp", "lamp"),
        ("blue desk lamp", "blue lamp", "lamp"),
        ("dog bed", "dog", "dog"),
        ("garden umbrella", "umbrella", "umbrella"),
        ("do not touch sign", "do not touch", "touch"),
    ],
)
def test_list_is_about_what_the_words_name_and_the_notice_says_so(ranker, query, about, word):
    ranking = search(ranker, query)
    assert (ranking.relaxed, ranking.relaxed_query) == (Relaxation.WORDS, about)
    assert about in ranking.notice
    assert all(word in title for title in SHOP.titles(ranking)[: min(ranking.n_found, 3)])
    assert ranking.n_found == sum(all(part in title for part in about.split()) for title in TITLES)


@pytest.mark.parametrize("query", ["train set", "set of trains", "zzyzx set"])
def test_general_words_alone_are_no_match(ranker, query):
    ranking = search(ranker, query)
    assert ranking.relaxed in (Relaxation.POPULAR, Relaxation.MEANING)
    assert ranking.n_found == 0


def test_every_page_is_reached_and_none_is_promised_beyond(ranker):
    whole = search(ranker, "red umbrella")
    beyond = search(ranker, "red umbrella", offset=whole.n_listed)
    assert (len(beyond), beyond.n_found, beyond.n_near) == (0, whole.n_found, whole.n_near)


def test_what_is_near_is_limited_and_graded_items_are_not():
    titles_of_many = [*(f"lamp {n}" for n in range(150)), *(f"red {n}" for n in range(150)), "red lamp"]
    shop = SmallShop(*((title, "", "", 1.0) for title in titles_of_many))
    ranking = shop.search("red lamp", limit=100)
    assert (ranking.n_found, ranking.n_near) == (1, 100)
    ranking = shop.search("red lamp", limit=100, among=tuple(f"i{row}" for row in range(len(titles_of_many))))
    assert ranking.n_listed == len(titles_of_many)
