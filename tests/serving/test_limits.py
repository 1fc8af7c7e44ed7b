"""Limits per brand, category and attribute: how they are written, where they apply, and what they do to a list."""

import dataclasses

import numpy as np
import pytest

from recommender import pipeline, serving
from recommender.catalog import sync
from recommender.catalog.limits import limits_for, limits_of
from recommender.exceptions import ConfigurationError
from recommender.serving import memory
from recommender.types import Slot
from tests.test_pipeline import ask, ids, served

BRANDS = {"bag1": "Ann", "bag2": "Ann", "bag3": "Ann", "mug1": "Bob", "mug2": "Bob", "lamp": ""}
BOUGHT = [[item_id] for n, item_id in enumerate(reversed(BRANDS), 1) for _ in range(n)]
"""The first item was bought most often and last, and so on."""


def shop(**columns):
    """A shop in which the three bags sell best, all of one brand."""
    some = served(*BOUGHT)
    names = [*dict.fromkeys(filter(None, BRANDS.values()))]
    brand = np.array([names.index(name) if name else -1 for name in BRANDS.values()], np.int32)
    shelf = dataclasses.replace(some.shelf, brand=brand, brand_names=tuple(names), **columns)
    return dataclasses.replace(some, shelf=shelf)


def test_brand_is_limited_among_the_first_and_the_rest_follows():
    assert ids(ask("trending", shop(), at_most={"brand": 1}, limit=3)) == ["bag1", "mug1", "lamp"]
    assert ids(ask("trending", shop(), limit=3)) == ["bag1", "bag2", "bag3"]


def test_limit_gives_way_where_the_list_would_be_short():
    assert ids(ask("trending", shop(), at_most={"brand": 1}, limit=5)) == ["bag1", "mug1", "lamp", "bag2", "bag3"]


def test_attribute_of_the_shop_is_limited_like_a_column():
    colours = ("red", "blue", "red", "red", "", "blue")
    some = shop(attributes=tuple({"colour": colour} if colour else {} for colour in colours))
    assert ids(ask("trending", some, at_most={"colour": 1}, limit=3)) == ["bag1", "bag2", "mug2"]
    assert ids(ask("trending", some, at_most={"colour": 1, "brand": 1}, limit=2)) == ["bag1", "mug2"]


@pytest.mark.parametrize("written", ["brand:2, category: 4", {"brand": 2, "category": 4}, "brand:2,category:4,"])
def test_limits_are_written_as_text_or_as_a_mapping(written):
    assert limits_of(written) == {"brand": 2, "category": 4}


def test_no_limit_is_written_as_nothing():
    assert limits_of("") == limits_of({}) == {}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("brnad:2", "'brand'"),
        ({"brnad": 2}, "'brand'"),
        ("brand", "whole number"),
        ("brand:many", "whole number"),
        ({"brand": 0}, "whole number"),
        ({"brand": -1}, "whole number"),
        ({"brand": 1.5}, "whole number"),
        ({"brand": True}, "whole number"),
        (2, "mapping"),
    ],
)
def test_limit_without_effect_is_refused_with_the_repair(written, words):
    with pytest.raises(ConfigurationError, match=words):
        limits_of(written)


def test_setting_limits_the_lists_that_mix_sources(settings):
    settings.RECOMMENDER = settings.RECOMMENDER | {"AT_MOST": {"brand": 1}}
    assert limits_for(Slot.HOME, None) == limits_for(Slot.CART, None) == {"brand": 1}
    for slot in (Slot.SEARCH, Slot.RECENTLY_VIEWED, Slot.BUY_AGAIN):
        assert limits_for(slot, None) == {}
    assert limits_for(Slot.BUY_AGAIN, "brand:2") == {"brand": 2}
    assert limits_for(Slot.HOME, "") == {}


@pytest.mark.django_db
def test_recommend_obeys_the_setting_and_the_page_replaces_it(demo_shop, settings, monkeypatch):
    settings.RECOMMENDER = settings.RECOMMENDER | {"REFRESH_SECONDS": 60, "AT_MOST": {"brand": 2}}
    sync.sync()
    shelf = serving.reload().shelf
    brand = np.arange(len(shelf), dtype=np.int32) % 5
    monkeypatch.setattr(
        memory._memory, "served", dataclasses.replace(serving.current(), shelf=dataclasses.replace(shelf, brand=brand))
    )

    def most_of_a_brand(**options):
        rows = [shelf.index[item_id] for item_id in ids(pipeline.recommend("trending", limit=8, **options))]
        assert len(rows) == 8
        return int(np.bincount(brand[rows]).max())

    assert most_of_a_brand() == 2
    assert most_of_a_brand(at_most={"brand": 1}) > 1  # five brands cannot fill eight places
    assert most_of_a_brand(at_most="") > 2
