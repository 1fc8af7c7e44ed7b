"""What a query excludes leaves the list, by words alone and with the packaged encoder, and the shopper is told."""

from __future__ import annotations

import dataclasses

import pytest

from recommender import pipeline
from recommender.catalog import sync
from recommender.retrieval.lexical.synonyms import Synonyms
from recommender.serving import Served
from recommender.serving.ranking import rank
from recommender.types import Context, Relaxation, Request, Slot
from shopreco.shop.models import Product
from tests.serving.small_shop import NOW, SmallShop

ITEMS = (
    ("Red mug", "Mugs", 4),
    ("Blue mug with handle", "Mugs", 5),
    ("Travel mug, two handles", "Mugs", 9),
    ("White mug without handle", "Mugs", 6),
    ("Desk lamp, battery operated", "Lamps", 20),
    ("Desk lamp with plug", "Lamps", 30),
    ("Sugar without additives", "Food", 2),
    ("Sugar with additives", "Food", 1),
    ("No tears shampoo", "Bath", 3),
    ("Shampoo for tears of joy", "Bath", 3),
    ("Do not disturb sign", "Signs", 3),
    ("Rose incense", "Candles & Incense", 3),
    ("Incense candle", "Candles & Incense", 3),
    ("Polkadot bag", "Bags", 3),
    ("Polka dot bag", "Bags", 3),
    ("Striped bag", "Bags", 3),
)
SHOP = SmallShop(*((title, category, "", float(price)) for title, category, price in ITEMS))
SHOP.sales[:] = 1
SHOP.texts = [f"{title} . {category}" for title, category, _ in ITEMS]


def search(ranker, query, **options):
    return SHOP.search(query, ranker=ranker, limit=50, **options)


@pytest.mark.parametrize(
    ("query", "leading", "absent"),
    [
        ("mug without handle", {0, 3}, {1, 2}),
        ("mug without handlle", {0, 3}, {1, 2}),
        ("mug no handles", {0, 3}, {1, 2}),
        ("lamp no battery", {5}, {4}),
        ("mug not white or blue", {0, 2}, {1, 3}),
        ("bag without polka dots", {15}, {13, 14}),
        ("mug ohne handle", {0, 3}, {1, 2}),
        ("mug sans handle", {0, 3}, {1, 2}),
        ("mug sin handle", {0, 3}, {1, 2}),
    ],
)
def test_item_with_an_excluded_word_leaves_the_list(ranker, query, leading, absent):
    ranking = search(ranker, query)
    rows = [int(entry.item_id[1:]) for entry in ranking]
    assert leading <= set(rows[:2])
    assert not absent & set(rows)
    assert ranking.relaxed == Relaxation.NONE
    assert "are left out" in ranking.notice


@pytest.mark.parametrize(
    ("query", "first", "absent"),
    [
        ("sugar without additives", "Sugar without additives", "Sugar with additives"),
        ("mug no handle", "White mug without handle", "Blue mug with handle"),
        ("shampoo no tears", "No tears shampoo", "Shampoo for tears of joy"),
    ],
)
def test_title_that_says_what_it_lacks_is_found_by_its_words(ranker, query, first, absent):
    ranking = search(ranker, query)
    assert SHOP.titles(ranking)[0] == first
    assert absent not in SHOP.titles(ranking)


def test_notice_names_what_is_excluded_and_price_and_exclusion_go_together(ranker):
    ranking = search(ranker, "mug without handle under 5")
    assert SHOP.titles(ranking) == ["Red mug"]
    assert ranking.notice == "Items with “handle” are left out."
    [price] = [offered for offered in ranking.offered_filters if offered.is_applied]
    assert price.query == "mug without handle"
    assert (ranking.intent.text, ranking.intent.excluded) == ("mug", ("handle",))


def test_negation_at_the_beginning_belongs_to_a_name(ranker):
    ranking = search(ranker, "no tears shampoo")
    assert (SHOP.titles(ranking)[0], ranking.intent.excluded) == ("No tears shampoo", ())


def test_saying_is_no_exclusion(ranker):
    ranking = search(ranker, "do not disturb sign")
    assert (SHOP.titles(ranking)[0], ranking.notice) == ("Do not disturb sign", "")


def test_name_of_the_category_is_no_reason_to_leave_an_item_out(ranker):
    ranking = search(ranker, "incense no candle")
    assert SHOP.titles(ranking)[0] == "Rose incense"
    assert "Incense candle" not in SHOP.titles(ranking)


def test_synonym_of_an_excluded_word_is_excluded(ranker):
    served = SHOP.served(ranker)
    lexical = served.shelf.lexical.with_synonyms(Synonyms.of([("grip", "handle")]), frozenset())
    wordy = dataclasses.replace(served, shelf=dataclasses.replace(served.shelf, lexical=lexical))
    wanted = Request(Slot.SEARCH, Context(NOW), query="mug without grip", limit=50)
    assert "Blue mug with handle" not in SHOP.titles(rank(wanted, served=wordy))


def test_what_is_excluded_is_not_listed_where_nothing_matches(ranker):
    ranking = search(ranker, "zzyzx without handle")
    assert ranking.relaxed == Relaxation.POPULAR
    assert not {"Blue mug with handle", "Travel mug, two handles"} & set(SHOP.titles(ranking))
    graded = search(ranker, "mug without handle", among=("i0", "i1", "i3"))
    assert set(SHOP.titles(graded)) == {"Red mug", "White mug without handle"}


def test_query_for_nothing_but_what_it_excludes_lists_none_of_it(ranker):
    assert not any("mug" in title.lower() for title in SHOP.titles(search(ranker, "mug not mug")))


def test_exclusion_holds_while_the_catalogue_is_loading(db, monkeypatch):
    for row, title in enumerate(("Red mug", "Mug with handle", "Mug without handle", "Mug of glass")):
        Product.objects.create(stock_code=f"P{row}", title=title, price=1, stock=1, is_visible=True)
    sync.sync()
    monkeypatch.setattr("recommender.serving.current", lambda: Served(SHOP.served().shelf, is_loaded=False))
    titles = [entry.live.title for entry in pipeline.search("mug not glass without handle")]
    assert sorted(titles) == ["Mug without handle", "Red mug"]
