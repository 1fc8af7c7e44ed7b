"""Interests that staff pinned lead "for you" and count in searches; muted ones count for nothing, at once."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from recommender.serving import corrections
from recommender.serving.ranking import rank
from recommender.types import Context, EventType, PastEvent, Ranking, Request, Slot
from tests.serving.small_shop import NOW, SmallShop

ITEMS = [
    ("Red mug", "Kitchen", "Acme", 1.0), ("Blue mug", "Kitchen", "Acme", 2.0), ("Green mug", "Kitchen", "Bolt", 3.0),
    ("White mug", "Kitchen", "Bolt", 4.0), ("Desk lamp", "Light", "Acme", 9.0), ("Oil lamp", "Light", "Bolt", 8.0),
    ("Tea tray", "Tray", "Bolt", 8.0), ("Cake tray", "Tray", "Bolt", 8.0), ("Fruit tray", "Tray", "Bolt", 8.0),
]  # fmt: skip


@pytest.fixture
def shop() -> SmallShop:
    shop = SmallShop(*ITEMS)
    shop.sales = np.arange(len(ITEMS), 0, -1).astype(np.float32)
    return shop


def did(kind: EventType, row: int, days: float = 2.0, query: str = "") -> PastEvent:
    return PastEvent(kind, NOW - dt.timedelta(days=days), "" if query else f"i{row}", query)


LOOKED = (did(EventType.VIEW_ITEM, 4, 3), did(EventType.VIEW_ITEM, 5, 2), did(EventType.PURCHASE, 0, 9))


def listed(shop: SmallShop, slot: Slot = Slot.HOME, *, pinned: str = "", muted: str = "") -> Ranking:
    corrected = {"pinned": (pinned,) if pinned else (), "muted": (muted,) if muted else ()}
    wanted = Request(slot, Context(NOW), history=LOOKED, is_composed=True, limit=6, **corrected)
    return rank(wanted, served=shop.served())


def test_muted_interest_has_no_item_in_for_you(shop: SmallShop) -> None:
    assert any("mug" in title for title in shop.titles(listed(shop)))
    titles = shop.titles(listed(shop, muted="Kitchen"))
    assert titles
    assert not any("mug" in title for title in titles)


def test_events_of_a_muted_interest_count_as_if_they_had_never_been(shop: SmallShop) -> None:
    wanted = Request(Slot.SEARCH, Context(NOW), query="lamp tray mug", history=LOOKED, limit=9)
    shelf = shop.served().shelf
    profile = corrections.without_muted(shelf.profile(wanted), shelf, ("Light",))
    assert profile.item.tolist() == [0]
    names = {row: ITEMS[row][1] for row in range(len(ITEMS))}
    assert all(names[row] != "Light" for row in profile.item.tolist())


def test_search_that_names_a_muted_interest_is_no_liking(shop: SmallShop) -> None:
    history = (did(EventType.SEARCH, -1, query="red mugs"), did(EventType.SEARCH, -1, query="trays"))
    shelf = shop.served().shelf
    profile = shelf.profile(Request(Slot.HOME, Context(NOW), history=history))
    assert corrections.without_muted(profile, shelf, ("mug",)).queries == ("trays",)


def test_muted_interest_is_still_found_and_stays_in_what_was_done(shop: SmallShop) -> None:
    muted = ("Kitchen", "Light")
    assert len(shop.search("mug", history=LOOKED, muted=muted)) == 4
    again = rank(Request(Slot.BUY_AGAIN, Context(NOW), history=LOOKED, muted=muted), served=shop.served())
    assert shop.titles(again) == ["Red mug"]


@pytest.mark.parametrize("pinned", ["Tray", "tray"])
def test_pinned_interest_takes_every_other_place_from_the_first_on(shop: SmallShop, pinned: str) -> None:
    assert "tray" not in shop.titles(listed(shop))[0]
    titles = shop.titles(listed(shop, pinned=pinned))
    assert [("tray" in title) for title in titles] == [True, False, True, False, True, False]
    assert len(set(titles)) == len(titles)


def test_item_of_a_pinned_interest_counts_like_what_is_liked_most() -> None:
    plain = SmallShop(*[("Red thing", "A", "", 1.0), ("Blue thing", "B", "", 1.0), ("Green thing", "C", "", 1.0)])
    ranking = plain.search("thing", history=(did(EventType.VIEW_ITEM, 0),))
    assert plain.titles(ranking)[0] == "Red thing"
    ranking = plain.search("thing", history=(did(EventType.VIEW_ITEM, 0, 30),), pinned=("C",), muted=("A",))
    assert plain.titles(ranking)[0] == "Green thing"
    ranking = plain.search("thing", history=(did(EventType.VIEW_ITEM, 0),), pinned=("C",))
    assert set(plain.titles(ranking)[:2]) == {"Red thing", "Green thing"}


def test_interest_that_no_item_has_changes_nothing(shop: SmallShop) -> None:
    plain = shop.titles(listed(shop))
    assert shop.titles(listed(shop, pinned="Boats")) == shop.titles(listed(shop, muted="Boats")) == plain


def test_items_of_an_interest_are_read_anew_with_another_catalogue(shop: SmallShop) -> None:
    before = corrections.items_of(shop.served().shelf, ("Light",))
    other = SmallShop(("Torch", "Light", "", 1.0), ("Bowl", "Kitchen", "", 1.0))
    assert corrections.items_of(other.served().shelf, ("Light",)).tolist() == [True, False]
    assert before.sum() == 2
