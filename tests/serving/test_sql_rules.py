"""Rules of merchandisers while a process loads its first catalogue: what they hide appears in no list from SQL."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from recommender import pipeline, serving
from recommender.catalog import sync
from recommender.models import Experiment, Item, ItemStatistics, Rule, Segment
from recommender.serving import Served, memory, rule_book
from recommender.serving.shelf import empty_shelf
from recommender.types import Ranking, Request, Rung
from shopreco.shop.models import Department, Product

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def shop(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five bags and a pot in SQL, the best seller first, and nothing in memory."""
    monkeypatch.setattr(memory, "_start", lambda work: memory._memory.lock.release())
    monkeypatch.setattr(rule_book, "HELD_OUT_SHARE", 0)
    bags, pots = (Department.objects.create(name=name, slug=name.lower()) for name in ("Bags", "Pots"))
    titles = ("Red bag", "Blue bag", "Green bag", "White bag", "Black bag", "Clay pot")
    for number, title in enumerate(titles):
        department = pots if "pot" in title else bags
        Product.objects.create(
            stock_code=f"P{number}", title=title, price=Decimal(5), stock=5, department=department, n_sold=9 - number
        )
    sync.sync()
    for number, item in enumerate(Item.objects.order_by("item_id")):
        ItemStatistics.objects.update_or_create(item=item, defaults={"n_30": 9 - number})


def rule(action: str, *item_ids: str, **fields: Any) -> Rule:
    return Rule.objects.create(name=action, action=action, item_ids=item_ids, state=Rule.State.LIVE, **fields)


def ids(ranking: Ranking) -> list[str]:
    return [entry.item_id for entry in ranking]


def n_queries(slot: str = "search") -> int:
    with CaptureQueriesContext(connection) as captured:
        pipeline.search("bag") if slot == "search" else pipeline.recommend(slot)
    frames = ("SAVEPOINT", "RELEASE SAVEPOINT")  # on PostgreSQL there are some, as a test stands in a transaction
    return len([query for query in captured if not query["sql"].startswith(frames)])


class TestSearch:
    def test_excluded_items_appear_in_no_list(self) -> None:
        rule("exclude", "P0")
        rule("exclude", attribute="category", values=["Pots"])
        assert ids(pipeline.search("bag")) == ["P1", "P2", "P3", "P4"]
        assert ids(pipeline.search("P0")) == []
        assert ids(pipeline.search("pot")) == []

    def test_filter_leads_and_leaves_no_list_short(self) -> None:
        rule("filter", "P3", "P2", match="contains", query="bags")
        assert ids(pipeline.search("bag")) == ["P2", "P3", "P0", "P1", "P4"]
        assert ids(pipeline.search("bag", limit=2)) == ["P2", "P3"]
        assert ids(pipeline.search("bag", limit=2, offset=2)) == ["P0", "P1"]

    def test_pins_stand_at_their_positions_and_say_which_rule(self) -> None:
        pins = rule("pin", "P5", "P4", position=2, match="exact", query="Bag")
        rule("exclude", "P1")
        ranking = pipeline.search("bag")
        assert ids(ranking) == ["P0", "P5", "P4", "P2", "P3"]
        assert [(entry.rules, entry.pinned) for entry in ranking][:3] == [((), 0), ((pins.pk,), 2), ((pins.pk,), 3)]
        assert pins.pk in ranking.rules

    def test_second_pin_of_a_position_takes_the_next(self) -> None:
        rule("pin", "P5", position=1, match="exact", query="bag")
        rule("pin", "P4", position=1, match="exact", query="bag")
        assert ids(pipeline.search("bag"))[:3] == ["P5", "P4", "P0"]

    def test_pin_that_is_excluded_hidden_or_sold_out_is_skipped(self) -> None:
        rule("pin", "P4", "P3", "P2", "P1", position=1, match="exact", query="bag")
        rule("exclude", "P4")
        Product.objects.filter(stock_code="P3").update(stock=0)
        Product.objects.filter(stock_code="P2").update(is_visible=False)
        sync.sync()
        assert ids(pipeline.search("bag")) == ["P1", "P0", "P3"]

    def test_pin_obeys_the_filters_and_the_order_of_the_shopper(self) -> None:
        rule("pin", "P5", position=1, match="exact", query="bag")
        assert "P5" not in ids(pipeline.search("bag", filters={"category": "Bags"}))
        assert "P5" not in ids(pipeline.search("bag", sort="name"))

    def test_redirect_and_banner_are_told(self) -> None:
        rule("redirect", url="/sale/", match="exact", query="bag")
        rule("banner", text="Bags!", match="exact", query="bag")
        ranking = pipeline.search("bag")
        assert (ranking.redirect, ranking.banners) == ("/sale/", ("Bags!",))

    def test_rules_of_others_do_not_hold(self) -> None:
        rule("exclude", "P0", match="exact", query="pot")
        rule("exclude", "P1", slot="home")
        rule("exclude", "P2", segment=Segment.objects.create(number=1, name="x"))
        rule("exclude", "P3", experiment=Experiment.objects.create(name="x", state="live"))
        assert ids(pipeline.search("bag")) == ["P0", "P1", "P2", "P3", "P4"]

    def test_who_is_held_out_sees_the_item_and_is_recorded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hidden = rule("exclude", "P0")
        monkeypatch.setattr(rule_book, "HELD_OUT_SHARE", 1)
        monkeypatch.setattr(pipeline, "of_shopper", lambda request, _shopper: _as_person(request))
        ranking = pipeline.search("bag")
        assert (ids(ranking)[0], ranking.rules, ranking.held_out) == ("P0", (), (hidden.pk,))


class TestShopOrder:
    @pytest.mark.parametrize("slot", ["home", "trending"])
    def test_excluded_items_appear_in_no_list_and_leave_none_short(self, slot: str) -> None:
        natural = ids(pipeline.recommend(slot, limit=3))
        rule("exclude", natural[0])
        rule("exclude", attribute="category", values=["Pots"])
        ranking = pipeline.recommend(slot, limit=3)
        assert (len(ranking), ranking.rung) == (3, Rung.SHOP_ORDER)
        assert not {natural[0], "P5"} & set(ids(ranking))

    def test_list_of_which_a_rule_hides_the_first_chunk_reads_on(self) -> None:
        everything = ids(pipeline.recommend("home", limit=6))
        rule("exclude", *everything[:4])
        assert ids(pipeline.recommend("home", limit=2)) == everything[4:]

    def test_filter_leads_by_what_sells_most(self) -> None:
        rule("filter", "P4", "P3", slot="home")
        assert ids(pipeline.recommend("home", limit=3))[:2] == ["P3", "P4"]
        assert len(pipeline.recommend("home", limit=3)) == 3

    def test_pin_stands_at_its_position(self) -> None:
        natural = ids(pipeline.recommend("home", limit=6))
        pins = rule("pin", natural[5], position=2, slot="home")
        ranking = pipeline.recommend("home", limit=3)
        assert ids(ranking) == [natural[0], natural[5], natural[1]]
        assert ranking.entries[1].rules == (pins.pk,)

    def test_list_beside_an_item_stays_empty(self) -> None:
        rule("pin", "P1", position=1, slot="similar")
        assert len(pipeline.recommend("similar", item_id="P0")) == 0


class TestQueries:
    def test_rules_cost_one_query(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with_rules = n_queries(), n_queries("home")
        monkeypatch.setattr("recommender.serving.sql_rules.live_rules", lambda: ())
        assert (n_queries() + 1, n_queries("home") + 1) == with_rules

    def test_hiding_items_of_a_search_costs_no_other(self) -> None:
        before = n_queries()
        rule("exclude", "P0")
        rule("exclude", attribute="category", values=["Pots"])
        rule("filter", "P2")
        assert n_queries() == before

    def test_list_beside_an_item_asks_nothing(self) -> None:
        rule("exclude", "P0")
        assert n_queries("similar") == 0


def test_process_that_has_loaded_no_item_takes_its_rules_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rule("exclude", "P0")
    rows = rule_book.live_rules()
    shelf = empty_shelf()
    served = Served(shelf, rules=rule_book.compiled(rows, shelf))
    monkeypatch.setattr(serving, "current", lambda: served)
    with CaptureQueriesContext(connection) as captured:
        ranking = pipeline.recommend("home", limit=6)
    assert "P0" not in ids(ranking)
    assert not [query for query in captured if "recommender_rule" in query["sql"]]


def _as_person(request: Request) -> Request:
    return replace(request, person_key="ann")
