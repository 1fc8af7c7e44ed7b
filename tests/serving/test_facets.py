"""The facets of a search: each count is what a search with that value finds, and nothing is counted unasked."""

from __future__ import annotations

import numpy as np
import pytest

from recommender.serving import facets
from recommender.types import Relaxation
from tests.serving.small_shop import SmallShop

ALL = ("category", "brand", "price", "available", "colour")
LAMPS = (
    ("red lamp", "Light", "Lux", 3.0),
    ("blue lamp", "Light", "Lux", 4.5),
    ("green lamp", "Light", "Sol", 12.0),
    ("white lamp", "Light", "Sol", 19.99),
    ("lamp of paper", "Paper", "Sol", 20.0),
    ("garden lamp", "Garden", "Ra", 49.0),
    ("lamp post", "Garden", "Ra", None),
    ("lantern", "Light", "Sol", 7.0),
    ("dog bowl", "Pets", "Rex", 5.0),
)
COLOURS = ("red", "blue", "green", "white", "white", "", "", "white", "red")


@pytest.fixture
def shop():
    shop = SmallShop(*LAMPS)
    shop.available[[1, 5]] = False
    shop.attributes = tuple({"colour": colour} if colour else {} for colour in COLOURS)
    return shop


def counts(ranking):
    return {facet.name: {value.text: value.n_items for value in facet.values} for facet in ranking.facets}


def test_values_are_counted_over_what_was_found_and_sorted_by_count(shop, ranker):
    ranking = shop.search("lamp", ranker=ranker, facets=ALL)
    assert ranking.n_found == 7
    assert list(counts(ranking)) == list(ALL)
    assert list(counts(ranking)["category"].items()) == [("Light", 4), ("Garden", 2), ("Paper", 1)]
    assert list(counts(ranking)["brand"].items()) == [("Sol", 3), ("Lux", 2), ("Ra", 2)]
    assert list(counts(ranking)["colour"].items()) == [("white", 2), ("blue", 1), ("green", 1), ("red", 1)]
    assert counts(ranking)["available"] == {"In stock": 5}
    assert sum(counts(ranking)["price"].values()) == 6, "an item without a price is in no range"


def test_names_are_for_shoppers(shop):
    assert [facet.text for facet in shop.search("lamp", facets=ALL).facets] == [
        "Category", "Brand", "Price", "Availability", "Colour",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"brand": "Sol"},
        {"category": ("Light", "Garden")},
        {"category": "Garden", "brand": "Ra"},
        {"max_price": "20", "colour": "white"},
        {"available": "1"},
        {"brand": "None such"},
        {"category": "Pets"},
    ],
)
@pytest.mark.parametrize("query", ["lamp", "lamps", "lampp", "lamp under 30", "under 30", "lamp without paper"])
def test_each_count_is_what_a_search_with_that_value_finds(shop, ranker, query, filters):
    ranking = shop.search(query, ranker=ranker, filters=filters, facets=ALL)
    n_counted = 0
    for facet in ranking.facets:
        own = ("min_price", "max_price") if facet.name == "price" else (facet.name,)
        others = {name: value for name, value in filters.items() if name not in own}
        for value in facet.values:
            narrowed = shop.search(query, ranker=ranker, filters={**others, **value.parameters})
            n_found = 0 if narrowed.relaxed is Relaxation.FILTERS else narrowed.n_found
            assert value.n_items == n_found, (facet.name, value.text)
            n_counted += value.n_items
    assert n_counted or filters


def test_facet_is_counted_without_its_own_filter_and_with_those_of_others(shop, ranker):
    ranking = shop.search("lamp", ranker=ranker, filters={"brand": ("Ra", "Lux"), "category": "Light"}, facets=ALL)
    assert ranking.n_found == 2
    assert counts(ranking)["brand"] == {"Lux": 2, "Sol": 2, "Ra": 0}
    assert counts(ranking)["category"] == {"Garden": 2, "Light": 2}
    by_name = {facet.name: facet for facet in ranking.facets}
    assert {value.text for value in by_name["brand"].values if value.is_applied} == {"Ra", "Lux"}
    assert {value.text for value in by_name["category"].values if value.is_applied} == {"Light"}


def test_several_values_of_one_filter_add_up(shop, ranker):
    ranking = shop.search("lamp", ranker=ranker, filters={"brand": ("Ra", "Lux")})
    assert ranking.n_found == 4
    assert [offered.value for offered in ranking.offered_filters if offered.is_applied] == ["Ra", "Lux"]


def test_what_is_only_near_is_not_counted(shop, untrained):
    ranking = shop.search("red lamp", ranker=untrained, facets=ALL)
    assert (ranking.n_found, ranking.n_near > 0) == (1, True)
    assert counts(ranking) == {}, "one item offers no choice"


def test_filters_that_nothing_passes_can_be_taken_back(shop, ranker):
    ranking = shop.search("lamp", ranker=ranker, filters={"category": "Pets"}, facets=ALL)
    assert counts(ranking) == {"category": {"Light": 4, "Garden": 2, "Paper": 1, "Pets": 0}}
    assert ranking.relaxed in (Relaxation.FILTERS, Relaxation.MEANING)


def test_nothing_is_computed_unless_asked_for(shop, ranker, monkeypatch):
    def fail(*_arguments):
        raise AssertionError("a facet was counted")

    monkeypatch.setattr(facets, "effective_filters", fail)
    assert shop.search("lamp", ranker=ranker).facets == ()
    with pytest.raises(AssertionError, match="counted"):
        shop.search("lamp", ranker=ranker, facets=("brand",))


def test_only_the_facets_that_were_asked_for_are_counted(shop):
    assert list(counts(shop.search("lamp", facets=("price", "brand")))) == ["price", "brand"]


def test_long_tail_is_cut_and_the_number_left_out_is_told():
    shop = SmallShop(*((f"lamp {row}", "Light", f"Brand {row % 33:02}", 5.0) for row in range(100)))
    (brand,) = shop.search("lamp", facets=("brand",)).facets
    assert (len(brand.values), brand.n_more) == (20, 13)
    assert brand.values[0].text == "Brand 00", "four lamps, the others have three"
    (brand,) = shop.search("lamp", facets=("brand",), filters={"brand": "Brand 32"}).facets
    assert (len(brand.values), brand.n_more) == (21, 12)
    assert [value.text for value in brand.values if value.is_applied] == ["Brand 32"]


@pytest.mark.parametrize(
    ("prices", "texts"),
    [
        ([1, 2, 3, 4, 5, 8, 12, 20, 40, 90], ["Up to 4", "5 to 19", "From 20"]),
        ([0.85, 1.25, 1.65, 2.1, 2.95, 4.95, 7.95, 12.75], ["Up to 1.99", "2 to 4.99", "From 5"]),
        ([101, 104, 109, 112, 118, 123, 127, 130], ["Up to 109", "110 to 119", "From 120"]),
        ([1_200_000, 2_500_000, 5_100_000, 9_900_000], ["Up to 1,999,999", "2,000,000 to 4,999,999", "From 5,000,000"]),
        ([0.125, 0.25, 0.375, 0.5], None),
        ([0, 0, 0, 10], ["Up to 1", "From 2"]),
        ([5, 5, 5], []),
        ([None, None, 5], []),
        ([None, None], []),
    ],
)
def test_ranges_of_prices_come_from_the_data(prices, texts):
    shop = SmallShop(*((f"lamp {row}", "Light", "Lux", price) for row, price in enumerate(prices)))
    ranking = shop.search("lamp", facets=("price",))
    ranges = counts(ranking).get("price", {})
    assert sum(ranges.values()) in (0, sum(price is not None for price in prices))
    if texts is None:
        assert len(ranges) > 1
    else:
        assert list(ranges) == texts


def test_range_that_is_applied_is_marked_and_the_others_stay(shop, ranker):
    (price,) = shop.search("lamp", ranker=ranker, facets=("price",)).facets
    chosen = price.values[1]
    (again,) = shop.search("lamp", ranker=ranker, facets=("price",), filters=dict(chosen.parameters)).facets
    assert [value.text for value in again.values] == [value.text for value in price.values]
    assert [value.is_applied for value in again.values] == [value is chosen for value in price.values]


def test_price_of_the_query_narrows_the_other_facets_but_not_the_ranges(shop, ranker):
    ranking = shop.search("lamp under £15", ranker=ranker, facets=ALL)
    assert counts(ranking)["brand"] == {"Lux": 2, "Sol": 1}
    assert sum(counts(ranking)["price"].values()) == 6


def test_price_in_a_currency_that_the_shop_has_not_changes_no_count(shop, ranker):
    foreign, plain = (shop.search(query, ranker=ranker, facets=ALL) for query in ("lamp under 15 zł", "lamp"))
    assert counts(foreign) == counts(plain)


def test_prices_in_several_currencies_have_no_ranges(shop, ranker):
    shop.currency = ("GBP", "USD", *("GBP",) * 7)
    assert "price" not in counts(shop.search("lamp", ranker=ranker, facets=ALL))


@pytest.mark.parametrize(
    "filters",
    [
        {"min_price": "50", "max_price": "10"},
        {"min_price": "x" * 10_000},
        {"brand": "x" * 10_000},
        {"brand": ()},
        {"brand": ("", "")},
        {"available": "maybe"},
        {"max_price": "nan"},
        {"max_price": "9" * 400, "min_price": "-inf"},
        {"max_price": "-1"},
    ],
)
def test_odd_filters_are_no_failure(shop, ranker, filters):
    ranking = shop.search("lamp", ranker=ranker, filters=filters, facets=ALL)
    assert len(ranking.entries) >= 6, "what has no price passes no bound"
    assert counts(ranking).get("category", {"Light": 4})["Light"] in (0, 4)


@pytest.mark.parametrize("query", ["", "zzzz", "x" * 10_000, "🧵"])
def test_query_that_finds_nothing_has_no_facets(shop, query):
    assert shop.search(query, facets=ALL).facets == ()


def test_code_counts_its_item_alone():
    shop = SmallShop(("Drill DX-500", "Tools", "Max", 90.0), ("Case for DX-500", "Cases", "Max", 10.0))
    ranking = shop.search("i0", facets=ALL)
    assert ranking.n_found <= 1
    assert counts(ranking) == {}


def test_counts_of_a_large_catalogue_are_whole():
    rng = np.random.default_rng(0)
    brands = rng.integers(0, 50, 20_000)
    shop = SmallShop(*((f"lamp {row}", "Light", f"Brand {brand}", 5.0) for row, brand in enumerate(brands.tolist())))
    (brand,) = shop.search("lamp", facets=("brand",)).facets
    expected = np.bincount(brands)
    assert {value.text: value.n_items for value in brand.values} == {
        value.text: expected[int(value.text.split()[1])] for value in brand.values
    }
    assert brand.values[0].n_items == expected.max()
