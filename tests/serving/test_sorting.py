"""The order of a search: by price, age, sales or name over all that was found, and by relevance among equals."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from recommender.types import Relaxation, Sort
from tests.serving.small_shop import SmallShop

LAMPS = (
    ("red lamp", "Light", "Lux", 20.0),
    ("Blue lamp", "Light", "Lux", 5.0),
    ("“green lamp”", "Light", "Sol", None),
    ("Éclair lamp", "Light", "Sol", 5.0),
    ("white lamp", "Light", "Sol", 12.5),
    ("lantern of paper", "Light", "Sol", 1.0),
    ("dog bowl", "Pets", "Rex", 3.0),
)
ORDERS = {
    Sort.CHEAPEST: ["Blue lamp", "Éclair lamp", "white lamp", "red lamp", "“green lamp”"],
    Sort.DEAREST: ["red lamp", "white lamp", "Blue lamp", "Éclair lamp", "“green lamp”"],
    Sort.NEWEST: ["white lamp", "“green lamp”", "red lamp", "Blue lamp", "Éclair lamp"],
    Sort.POPULAR: ["“green lamp”", "Blue lamp", "Éclair lamp", "red lamp", "white lamp"],
    Sort.NAME: ["Blue lamp", "Éclair lamp", "“green lamp”", "red lamp", "white lamp"],
}


@pytest.fixture
def shop():
    shop = SmallShop(*LAMPS)
    shop.sales[:] = [2, 7, 9, 3, 1, 50, 60]
    shop.first_seen[:] = [300, 200, 400, 100, 500, 900, 900]
    return shop


@pytest.mark.parametrize("sort", list(ORDERS))
def test_what_was_found_is_in_the_chosen_order(shop, ranker, sort):
    by_relevance, ordered = (shop.search("lamp", ranker=ranker, sort=order) for order in (Sort.RELEVANCE, sort))
    assert ordered.n_found == by_relevance.n_found == 5
    assert shop.titles(ordered)[:5] == ORDERS[sort]
    assert ordered.sort is sort
    assert by_relevance.sort is Sort.RELEVANCE


def test_what_is_only_near_stays_behind_and_in_its_own_order(shop, untrained):
    by_relevance, by_price = (
        shop.search("red lamp", ranker=untrained, sort=sort) for sort in (Sort.RELEVANCE, Sort.CHEAPEST)
    )
    assert by_price.n_near == by_relevance.n_near > 1
    assert shop.titles(by_price)[0] == "red lamp"
    assert [entry.is_near for entry in by_price] == [False] + [True] * by_price.n_near
    assert shop.titles(by_price) == shop.titles(by_relevance)


def test_equals_keep_the_order_of_relevance(ranker):
    shop = SmallShop(
        *((" ".join(("lamp", *("tall", "brass")[: 2 - row % 3], str(row))), "Light", "Lux", 5.0) for row in range(12))
    )
    by_relevance, by_price = (shop.search("lamp", ranker=ranker, sort=sort) for sort in (Sort.RELEVANCE, Sort.CHEAPEST))
    assert shop.titles(by_price) == shop.titles(by_relevance)
    assert shop.titles(by_price) != [title for title, *_rest in shop.items]


def test_all_that_was_found_is_ordered_not_only_the_first_candidates(ranker):
    prices = np.random.default_rng(0).permutation(1_500).astype(float) + 1
    shop = SmallShop(*((f"lamp {row}", "Light", "Lux", price) for row, price in enumerate(prices)))
    first = shop.search("lamp", ranker=ranker, sort=Sort.CHEAPEST)
    assert first.n_found == 1_500
    listed = [shop.items[int(entry.item_id[1:])][3] for entry in first]
    assert listed == [float(price) for price in range(1, 25)]
    later = shop.search("lamp", ranker=ranker, sort=Sort.CHEAPEST, offset=1_000, limit=100)
    assert [shop.items[int(entry.item_id[1:])][3] for entry in later] == [float(price) for price in range(1_001, 1_101)]
    assert later.entries[0].position == 1_001


def test_pages_follow_one_another_without_gap_or_repetition(shop, ranker):
    whole = shop.search("lamp", ranker=ranker, sort=Sort.DEAREST)
    pages = [shop.search("lamp", ranker=ranker, sort=Sort.DEAREST, limit=2, offset=offset) for offset in (0, 2, 4, 6)]
    assert [entry.item_id for page in pages for entry in page] == [entry.item_id for entry in whole]


@pytest.mark.parametrize("sort", list(Sort))
def test_what_cannot_be_bought_comes_last_in_every_order(shop, ranker, sort):
    shop.available[[1, 4]] = False
    ranking = shop.search("lamp", ranker=ranker, sort=sort)
    in_stock = [bool(shop.available[int(entry.item_id[1:])]) for entry in ranking]
    assert in_stock == sorted(in_stock, reverse=True)
    assert in_stock.count(False) == 2


@pytest.mark.parametrize("sort", [Sort.CHEAPEST, Sort.DEAREST])
def test_amounts_in_two_currencies_are_not_compared(shop, ranker, sort):
    shop.currency = ("GBP", "USD", "GBP", "GBP", "GBP", "GBP", "GBP")
    ranking = shop.search("lamp", ranker=ranker, sort=sort)
    assert shop.titles(ranking)[4] == "Blue lamp"


def test_filters_and_the_order_work_together(shop, ranker):
    ranking = shop.search("lamp", ranker=ranker, sort=Sort.CHEAPEST, filters={"max_price": "15", "brand": "Sol"})
    assert shop.titles(ranking)[:2] == ["Éclair lamp", "white lamp"]
    assert ranking.n_found == 2


def test_query_that_is_only_a_price_is_ordered(shop, ranker):
    ranking = shop.search("under £6", ranker=ranker, sort=Sort.DEAREST)
    prices = [shop.items[int(entry.item_id[1:])][3] for entry in ranking]
    assert prices == [5.0, 5.0, 3.0, 1.0]


def test_where_nothing_was_found_what_is_listed_instead_is_ordered(shop):
    ranking = shop.search("zzzz", sort=Sort.CHEAPEST)
    assert ranking.relaxed is Relaxation.POPULAR
    prices = [shop.items[int(entry.item_id[1:])][3] for entry in ranking]
    assert all(low <= high for low, high in pairwise(price for price in prices if price is not None))
    assert prices[-1] is None


def test_code_lists_its_item_in_every_order():
    shop = SmallShop(("Drill DX-500 black", "Tools", "Max", 90.0), ("Drill DX-600", "Tools", "Max", 10.0))
    for sort in Sort:
        assert shop.titles(shop.search("DX-500", sort=sort))[0] == "Drill DX-500 black"


@pytest.mark.parametrize("sort", list(Sort))
def test_query_of_ten_thousand_characters_is_ordered_too(shop, ranker, sort):
    assert len(shop.search("lamp " * 2_000, ranker=ranker, sort=sort)) >= 5
