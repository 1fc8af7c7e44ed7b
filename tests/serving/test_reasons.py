"""Reasons belong to their slot, and an item that is named decides: without it the entry stands lower or leaves."""

import dataclasses
import datetime as dt

import pytest

from recommender import pipeline, serving
from recommender.identity import shopper_of
from recommender.types import Context, EventType, PastEvent, Request, Slot
from tests.conftest import request_of
from tests.test_pipeline import ask, bought, by_time, event, ids, served

BASKETS = (["bag1", "lamp"], ["bag1", "lamp"], ["bag1", "mug1"], ["mug2", "bag2"])


def codes(ranking):
    return {reason.code for entry in ranking for reason in entry.reasons}


def texts(ranking):
    return " ".join(reason.text for entry in ranking for reason in entry.reasons)


def test_often_bought_together_never_speaks_of_similarity():
    history = [event("view_item", "lamp", 5), event("view_item", "mug1", 4)]
    ranking = ask("bought_together", served(*BASKETS), *history, item_id="bag1")
    assert {entry.reasons[0].text for entry in ranking} == {"Often bought with Red lunch bag"}
    assert "similar" not in codes(ranking)


def test_cart_never_says_that_what_lies_in_it_was_looked_at():
    history = [event("view_item", "bag1", 5), event("add_to_cart", "bag1", 4)]
    for slot in ("cart", "home"):
        ranking = ask(slot, served(*BASKETS), *history, cart_item_ids=("bag1",), is_composed=True)
        assert ranking.entries
        assert "looked at" not in texts(ranking)


def test_list_that_is_the_same_for_everybody_names_nobodys_past():
    history = [event("view_item", "lamp", 5), *bought("bag1", 3)]
    ranking = ask("trending", served(*BASKETS), *history)
    assert codes(ranking) <= {"trending", "popular", "catalogue"}


def test_buy_again_says_when_it_is_due():
    ranking = ask("buy_again", served(*BASKETS), *by_time(bought("lamp", 40, 20), bought("mug1", 3)))
    assert ids(ranking) == ["lamp", "mug1"]
    assert ranking.entries[0].reasons[0].text == "You buy this about every 20 days"
    assert ranking.entries[1].reasons[0].text == "You bought this before"


def test_recently_viewed_says_that_it_was_looked_at():
    ranking = ask("recently_viewed", served(*BASKETS), *bought("lamp", 3), event("view_item", "lamp", 5))
    assert ranking.entries[0].reasons[0].code == "own_view"


def test_item_that_alone_brings_an_entry_is_named_and_one_of_two_is_not():
    shop = served(*BASKETS)
    named = {entry.item_id: entry.reasons[0].item_id for entry in ask("cart", shop, cart_item_ids=("bag1", "mug2"))}
    assert named == {"lamp": "bag1", "mug1": "bag1", "bag2": "mug2"}
    both = served(["bag1", "lamp"], ["bag2", "lamp"], ["bag1", "lamp"], ["bag2", "lamp"])
    [entry] = ask("cart", both, cart_item_ids=("bag1", "bag2"))
    assert entry.reasons[0].text == "Often bought with what is in your cart"
    assert entry.reasons[0].item_id == ""


@pytest.mark.django_db
@pytest.mark.parametrize("n_looks", [0, 1, 3])
def test_entry_falls_without_the_item_that_its_reason_names(few_are_enough, demo_shop, settings, n_looks):
    """Real histories of the demo, whole and cut short, with and without a session."""
    settings.RECOMMENDER = settings.RECOMMENDER | {"REFRESH_SECONDS": 60}
    shop = serving.reload()
    n_named = 0
    for rank in range(8):
        history = shopper_of(request_of(demo_shop.customer(rank).user)).history()
        at = max(past.at for past in history) + dt.timedelta(days=2)
        looks = tuple(
            PastEvent(EventType.VIEW_ITEM, at - dt.timedelta(minutes=9 - n), item_id=shop.shelf.items.ids[7 * rank + n])
            for n in range(n_looks)
        )
        for n_kept in (2, 8, 500):
            past = (*history[-n_kept:], *looks)
            cart = tuple(dict.fromkeys(one.item_id for one in past[-2:]))
            for slot, in_cart in ((Slot.HOME, ()), (Slot.HOME, cart[:1]), (Slot.CART, cart), (Slot.CART, cart[:1])):
                request = Request(slot, Context(at), history=past, cart_item_ids=in_cart, limit=8, is_composed=True)
                n_named += falling(request, shop)
    assert n_named > 50


def falling(request, shop):
    """The number of entries whose reason names an item; each must fall without it."""
    n_named, listed = 0, pipeline.rank(request, served=shop)
    for entry in listed:
        for reason in entry.reasons:
            if not reason.item_id:
                continue
            n_named += 1
            without = dataclasses.replace(
                request,
                history=tuple(past for past in request.history if past.item_id != reason.item_id),
                cart_item_ids=tuple(item_id for item_id in request.cart_item_ids if item_id != reason.item_id),
            )
            lists = (listed, pipeline.rank(without, served=shop))
            before, after = (others(ranking, reason.item_id) for ranking in lists)
            is_lower = entry.item_id not in after or after.index(entry.item_id) > before.index(entry.item_id)
            assert is_lower, (request.slot, reason.text)
    return n_named


def others(ranking, item_id):
    """The list without one item, which may take a place in it once it is new to the shopper."""
    return [entry.item_id for entry in ranking if entry.item_id != item_id]


@pytest.mark.django_db
def test_look_is_not_named_for_what_leads_the_list_without_it(few_are_enough, demo_shop, settings):
    """Short histories and one look each: what is near to it may be what the history leads to anyway."""
    settings.RECOMMENDER = settings.RECOMMENDER | {"REFRESH_SECONDS": 60}
    shop = serving.reload()
    n_named = 0
    for rank in range(8):
        history = shopper_of(request_of(demo_shop.customer(rank).user)).history()[-18:]
        at = max(past.at for past in history) + dt.timedelta(days=2)
        for item_id in shop.shelf.items.ids[rank::20]:
            look = PastEvent(EventType.VIEW_ITEM, at - dt.timedelta(minutes=3), item_id=item_id)
            request = Request(Slot.HOME, Context(at), history=(*history, look), limit=8, is_composed=True)
            n_named += falling(request, shop)
    assert n_named > 40
