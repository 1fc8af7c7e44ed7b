"""The position that explores: its chances are those that are logged, and nothing is explored that nobody can buy."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import replace

import pytest

from recommender import pipeline
from recommender.checks import check_settings
from recommender.exceptions import ConfigurationError
from recommender.serving.exploring import Exploration, declared_explorations, explorations_of, explored
from recommender.types import Entry, Live, Ranking, Rung, Slot
from tests.serving.small_shop import SmallShop

N_LISTS = 3_000


@pytest.fixture
def shelf():
    return SmallShop(*[(f"thing {number}", "c", "", 1.0) for number in range(12)]).served().shelf


def ranking(n=12, *, sold_out=()):
    entries = [
        Entry(f"i{row}", row + 1, 0.5 - row / 100, live=Live(f"thing {row}", available=row not in sold_out))
        for row in range(n)
    ]
    return Ranking(uuid.uuid4(), Slot.HOME, tuple(entries), Rung.CHAMPION)


@pytest.mark.parametrize("how", ["epsilon", "thompson"])
def test_items_come_as_often_as_their_logged_chance_says(shelf, how):
    shown, chance = Counter(), {}
    for _list in range(N_LISTS):
        entry = explored(ranking(), shelf, Exploration(how, 1.0), limit=10).entries[-1]
        shown[entry.item_id] += 1 / entry.propensity
        chance[entry.item_id] = entry.propensity
    assert set(shown) == {"i9", "i10", "i11"}
    for total in shown.values():  # by inverse propensity each item was shown in every list
        assert total / N_LISTS == pytest.approx(1, abs=0.15)


def test_rest_of_the_list_stays_and_the_pool_is_named(shelf):
    listed = explored(ranking(), shelf, Exploration("epsilon", 1.0), limit=10)
    assert [entry.item_id for entry in listed.entries[:9]] == [f"i{row}" for row in range(9)]
    assert {entry.propensity for entry in listed.entries[:9]} == {1.0}
    assert listed.entries[-1].position == 10
    assert listed.pool == ("i9", "i10", "i11")


def test_shorter_list_explores_less_often(shelf):
    chances = [
        explored(ranking(), shelf, Exploration("epsilon", 1.0), limit=limit).entries[-1].propensity
        for limit in [5] * 200
    ]
    assert {round(chance, 4) for chance in chances} == {round(0.5 + 0.5 / 8, 4), round(0.5 / 8, 4)}


def test_sold_out_items_are_never_drawn(shelf):
    for _list in range(200):
        listed = explored(ranking(sold_out={10}), shelf, Exploration("epsilon", 1.0), limit=10)
        assert listed.pool == ("i9", "i11")
        assert listed.entries[-1].item_id != "i10"


def test_list_without_anything_further_is_left_alone(shelf):
    listed = explored(ranking(10), shelf, Exploration("epsilon", 1.0), limit=10)
    assert listed.pool == ()
    assert listed.entries[-1].propensity == 1.0


def test_nothing_explores_by_default(demo_shop):
    assert declared_explorations() == {}
    assert pipeline.recommend("home", limit=8).pool == ()


def test_explored_list_has_its_length_and_live_prices(demo_shop, settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "EXPLORE": {"trending": {"how": "epsilon", "rate": 1.0}}}
    plain = pipeline.recommend("trending", limit=8)
    assert len(plain) == 8
    assert plain.pool[0] not in [entry.item_id for entry in plain.entries[:7]]
    assert all(entry.live is not None for entry in plain)


@pytest.mark.parametrize(
    "declared",
    [{"search": {"how": "epsilon"}}, {"hme": {}}, {"home": {"how": "greedy"}}, {"home": {"rate": 0}},
     {"home": {"rate": 1.5}}, {"home": {"rate": True}}, {"home": {"often": 1}}, ["home"]],
)  # fmt: skip
def test_setting_that_cannot_be_meant_is_refused_with_an_example(declared, settings):
    with pytest.raises(ConfigurationError, match=r"Expected a slot other than search"):
        explorations_of(declared)
    settings.RECOMMENDER = {**settings.RECOMMENDER, "EXPLORE": declared}
    assert "recommender.E004" in [message.id for message in check_settings(None)]


def test_default_of_a_slot_that_explores_is_a_tenth_by_epsilon():
    assert explorations_of({"home": {}}) == {Slot.HOME: Exploration("epsilon", 0.1)}
    assert replace(Exploration("epsilon", 0.1), rate=0.2).rate == 0.2


def test_wrong_setting_is_logged_once_and_breaks_no_page(demo_shop, settings, caplog):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "EXPLORE": {"home": {"how": "by luck"}}, "REFRESH_SECONDS": 0}
    for _list in range(2):
        assert len(pipeline.recommend("trending", limit=8)) == 8
    assert caplog.text.count("no list explores") == 1
