"""No search ends in an empty page: what is given up, in which order, and how it is said. Offered filters beside it."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import pytest
from django.test import Client

from recommender import pipeline, serving
from recommender.catalog import sync
from recommender.features.neighbours import Neighbours
from recommender.features.shop_state import ShopState
from recommender.serving import Served
from recommender.serving.ranker import formula_grade
from recommender.serving.shelf import build_shelf
from recommender.tables import ItemTable
from recommender.types import Context, Relaxation, Request, Rung, Slot
from shopreco.shop.models import Department, Product

NOW = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
TITLES = ("Red lunch bag", "Blue lunch bag", "Acme white mug", "Acme black mug", "Bolt black mug", "Desk lamp")
BRANDS = ("", "", "Acme", "Acme", "Bolt", "")
CATEGORIES = ("Bags", "Kitchen", "Light")
CODES = (0, 0, 1, 1, 1, 2)
PRICES = (2.0, 3.0, 4.0, 6.0, 8.0, 30.0)


def served(*, best_seller=5):
    n = len(TITLES)
    items = ItemTable(
        ids=tuple(f"i{row}" for row in range(n)),
        texts=TITLES,
        price=np.array(PRICES, np.float32),
        category=np.array(CODES, np.int32),
        category_names=CATEGORIES,
        first_seen=np.zeros(n),
        active=np.ones(n, bool),
    )
    counts = np.zeros((n, 4), np.float32)
    counts[best_seller] = 9
    nobody = Neighbours.none(n)
    state = ShopState.from_columns(
        at=NOW.timestamp(), counts=counts, last_event_at=np.full(n, -np.inf), basket=nobody, visitor=nobody
    )
    return Served(build_shelf(items, state=state, brands=BRANDS))


def search(query, **options):
    return pipeline.rank(Request(Slot.SEARCH, Context(NOW), query=query, **options), served=served())


def ids(ranking):
    return [entry.item_id for entry in ranking]


def offers(ranking):
    return {(offered.name, offered.value): offered.is_applied for offered in ranking.offered_filters}


def test_query_that_an_item_has_whole_gives_nothing_up():
    ranking = search("black mug")
    assert (ranking.relaxed, ranking.relaxed_query, ranking.notice) == (Relaxation.NONE, "", "")
    assert ids(ranking)[:2] == ["i3", "i4"]


def test_unknown_word_is_dropped_first_and_it_is_said():
    ranking = search("black mug zzyzx")
    assert (ranking.relaxed, ranking.relaxed_query) == (Relaxation.WORDS, "black mug")
    assert ids(ranking)[:2] == ["i3", "i4"]
    assert ranking.notice == "Nothing has all of “black mug zzyzx”. These are for “black mug”."


def test_as_few_words_as_possible_are_dropped_however_rare():
    ranking = search("acme black mug lamp")
    assert (ranking.relaxed_query, ids(ranking)[0]) == ("acme black mug", "i3")


def test_word_that_links_what_is_left_stays():
    assert search("bag of lunch zzyzx of").relaxed_query == "bag of lunch"


def test_commonest_word_is_dropped_before_a_rare_one():
    ranking = search("lamp mug")
    assert (ranking.relaxed, ranking.relaxed_query) == (Relaxation.WORDS, "lamp")
    assert ids(ranking)[0] == "i5"
    assert len(ids(ranking)) == 4


def test_words_that_nobody_sells_show_what_others_buy():
    ranking = search("zzyzx qwxzy")
    assert (ranking.relaxed, ranking.rung, ranking.n_found) == (Relaxation.POPULAR, Rung.POPULARITY, 0)
    assert ids(ranking)[0] == "i5"
    assert ranking.notice == "Nothing was found for “zzyzx qwxzy”. This is what others buy now."
    assert not any(reason.code == "matches_query" for entry in ranking for reason in entry.reasons)


def test_linking_words_alone_are_no_find():
    assert search("of the zzyzx").relaxed == Relaxation.POPULAR


def test_query_near_in_meaning_is_said_to_be_no_more():
    shop = served()
    vectors = np.eye(6, dtype=np.float32)

    class Near:
        head, knows_matches, arms = None, False, {}

        def encode_query(self, query):
            return vectors[2]

        def context_vector(self, profile, item_vectors):
            return vectors[2]

        def grade(self, rows):
            return formula_grade(rows)

    near = Served(dataclasses.replace(shop.shelf, vectors=vectors), Near(), "near")
    ranking = pipeline.rank(Request(Slot.SEARCH, Context(NOW), query="zzyzx"), served=near)
    assert (ranking.relaxed, ids(ranking)) == (Relaxation.MEANING, ["i2"])
    assert "close in meaning" in ranking.notice


def test_filters_that_nothing_passes_are_given_up_and_it_is_said():
    ranking = search("mug", filters={"category": "Light"})
    assert (ranking.relaxed, set(ids(ranking))) == (Relaxation.FILTERS, {"i2", "i3", "i4"})
    assert "without them" in ranking.notice
    assert ranking.offered_filters == ()


def test_empty_query_lists_nothing():
    assert ids(search("")) == []


def test_price_in_the_query_narrows_and_can_be_taken_off():
    ranking = search("mug under 5")
    assert ids(ranking) == ["i2"]
    [price] = [offered for offered in ranking.offered_filters if offered.name == "max_price"]
    assert (price.value, price.text, price.query, price.is_applied) == ("5", "Up to 5", "mug", True)
    assert ranking.intent.max_price == 5


def test_price_filter_of_the_page_outranks_the_words():
    ranking = search("mug under 5", filters={"max_price": "7"})
    assert set(ids(ranking)) == {"i2", "i3"}
    assert offers(ranking)["max_price", "7"] is True


def test_price_that_nothing_has_is_given_up():
    ranking = search("mug under 1")
    assert (ranking.relaxed, len(ids(ranking))) == (Relaxation.FILTERS, 3)


def in_currency(query, *codes):
    shop = served()
    shelf = dataclasses.replace(shop.shelf, currency=codes * (len(TITLES) // len(codes)))
    return pipeline.rank(Request(Slot.SEARCH, Context(NOW), query=query), served=Served(shelf))


@pytest.mark.parametrize("query", ["mug under £5", "mug under 5", "mug 5 gbp or less"])
def test_price_in_the_currency_of_the_shop_or_in_none_is_a_bound(query):
    ranking = in_currency(query, "GBP")
    assert (ids(ranking), ranking.intent.max_price, ranking.notice) == (["i2"], 5, "")


def test_price_in_another_currency_is_no_bound_and_it_is_said():
    ranking = in_currency("mug under 5 €", "GBP")
    assert (set(ids(ranking)), ranking.intent.max_price) == ({"i2", "i3", "i4"}, None)
    assert ranking.offered_filters == ()
    assert ranking.notice == "Prices here are in another currency than “under 5 €”, which was not applied."


def test_sign_of_several_currencies_is_that_of_the_shop():
    assert ids(in_currency("mug under $5", "CAD")) == ["i2"]
    assert ids(in_currency("mug under 5 kr", "DKK")) == ["i2"]


def test_price_narrows_to_the_items_in_its_currency():
    assert ids(in_currency("mug under 7 €", "GBP", "EUR")) == ["i3"]
    assert set(ids(in_currency("mug under 7", "GBP", "EUR"))) == {"i2", "i3"}


def test_brand_and_category_are_offered_and_not_applied():
    ranking = search("acme mug")
    assert "i4" in ids(ranking)
    assert offers(ranking)["brand", "Acme"] is False
    assert offers(search("black lunch mug"))["category", "Kitchen"] is False


def test_offered_filter_narrows_when_it_is_taken():
    ranking = search("acme mug", filters={"brand": "Acme"})
    assert set(ids(ranking)) == {"i2", "i3"}
    assert offers(ranking)["brand", "Acme"] is True


def test_filter_that_would_change_nothing_is_not_offered():
    assert ("category", "Kitchen") not in offers(search("mug"))


def test_cheap_offers_the_cheapest_quarter():
    ranking = search("cheap mug")
    assert len(ids(ranking)) == 3
    assert offers(ranking) == {("max_price", "6.00"): False}


def test_reasons_name_brand_and_category():
    first = search("acme mug").entries[0]
    assert [reason.code for reason in first.reasons] == ["matches_query", "matches_brand"]
    assert first.reasons[1].text == "Of the brand Acme"
    codes = {reason.code for entry in search("white mug") for reason in entry.reasons}
    assert "matches_category" in codes


def test_name_of_a_brand_is_not_corrected():
    shop = served()
    brands = (*BRANDS[:5], "Lampe")
    shelf = build_shelf(shop.shelf.items, state=shop.shelf.state, brands=brands)
    ranking = pipeline.rank(Request(Slot.SEARCH, Context(NOW), query="lampe mug "), served=Served(shelf))
    assert ranking.corrected_query == ""
    plain = pipeline.rank(Request(Slot.SEARCH, Context(NOW), query="lampe mug "), served=shop)
    assert plain.corrected_query == "lamp mug"


def test_word_with_a_digit_is_not_corrected():
    assert search("mug sc145").corrected_query == ""


@pytest.fixture
def shop(db):
    kitchen = Department.objects.create(name="Kitchen", slug="kitchen")
    garden = Department.objects.create(name="Garden", slug="garden")
    for number, (title, department) in enumerate(
        [("Red mug", kitchen), ("Blue mug", kitchen), ("White mug", kitchen), ("Red mug planter", garden)]
    ):
        Product.objects.create(
            stock_code=f"P{number}", title=title, price=number + 1, stock=1, is_visible=True, department=department
        )
    sync.sync()
    serving.reload()


def test_page_links_to_the_offered_filter_and_back(shop, client: Client):
    page = client.get("/search/", {"q": "red mug", "page": "1"}).content.decode()
    assert '<a class="chip" href="?q=red+mug&amp;category=Kitchen" data-filter="category">Kitchen</a>' in page
    narrowed = client.get("/search/", {"q": "red mug", "category": "Kitchen"}).content.decode()
    assert "Red mug planter" not in narrowed
    assert 'href="?q=red+mug" data-filter="category" data-applied' in narrowed


def test_page_without_results_says_so_and_shows_what_sells(shop, client: Client):
    page = client.get("/search/", {"q": "zzyzx"}).content.decode()
    assert "Nothing found for “zzyzx”" in page
    assert 'data-relaxed="popular"' in page
    assert "Red mug" in page


def test_api_takes_filters_and_answers_what_the_query_is_about(shop, client: Client):
    answer = client.get("/recommender/api/v1/search", {"q": "mug under 3", "category": "Kitchen"}).json()
    assert {item["item_id"] for item in answer["items"]} == {"P0", "P1", "P2"}
    assert answer["intent"]["max_price"] == 3.0
    assert answer["intent"]["words"][-1] == {"text": "under 3", "role": "price", "probability": 1.0, "value": ""}
    assert [one["name"] for one in answer["offered_filters"] if one["is_applied"]] == ["category", "max_price"]
    assert (answer["relaxed"], answer["notice"]) == ("", "")


def test_api_refuses_a_price_that_is_none(shop, client: Client):
    assert client.get("/recommender/api/v1/search", {"q": "mug", "max_price": "cheap"}).status_code == 400
