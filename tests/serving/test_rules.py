"""Rules of merchandisers in lists: who they are for, what they move, and that no list is short or broken by one."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from recommender import capture, pipeline, serving
from recommender.capture import ImpressionDraft
from recommender.experiments import conduct
from recommender.models import Experiment, Impression, Item, Rule, Segment, Visitor
from recommender.serving import Served, memory, policy, rule_book
from recommender.serving.live_entries import ReadsOfOneList, with_live
from recommender.serving.ranking import rank
from recommender.serving.rule_book import HELD_OUT_SHARE, compiled, person_number
from recommender.types import Context, Live, Ranking, Request, Slot, WhySkipped
from tests.conftest import DemoShop
from tests.serving.small_shop import NOW, SmallShop

MUGS = [(f"{colour} mug", "Kitchen", brand, price) for colour, brand, price in
        [("Red", "Acme", 1.0), ("Blue", "Acme", 2.0), ("Green", "Bolt", 3.0), ("White", "Bolt", 4.0)]]  # fmt: skip
LAMPS = [("Desk lamp", "Light", "Acme", 9.0), ("Oil lamp", "Light", "Bolt", 8.0)]


@pytest.fixture
def shop() -> SmallShop:
    shop = SmallShop(*MUGS, *LAMPS)
    shop.sales = np.array([9, 8, 7, 6, 5, 4], np.float32)
    return shop


def rule(action: str, *item_ids: str, pk: int = 1, **fields: Any) -> Rule:
    return Rule(pk=pk, name=action, action=action, item_ids=list(item_ids), state=Rule.State.LIVE, **fields)


def ruled(shop: SmallShop, *rules: Rule) -> Served:
    served = shop.served()
    return served.ruled_by(compiled(rules, served.shelf))


def listed(shop: SmallShop, *rules: Rule, slot: Slot = Slot.TRENDING, **request: Any) -> Ranking:
    wanted = Request(slot, request.pop("context", Context(NOW)), **{"limit": 6, **request})
    return rank(wanted, served=ruled(shop, *rules))


def ids(ranking: Ranking) -> list[str]:
    return [entry.item_id for entry in ranking]


class TestActions:
    def test_list_without_rules_is_as_before(self, shop: SmallShop) -> None:
        ranking = listed(shop)
        assert ids(ranking) == ["i0", "i1", "i2", "i3", "i4", "i5"]
        assert ranking.rules == ranking.held_out == ranking.banners == ranking.skipped == ()

    def test_pin_gives_each_item_its_position_and_says_which_rule(self, shop: SmallShop) -> None:
        ranking = listed(shop, rule("pin", "i5", "i4", pk=7, position=2))
        assert ids(ranking) == ["i0", "i5", "i4", "i1", "i2", "i3"]
        assert [entry.rules for entry in ranking] == [(), (7,), (7,), (), (), ()]
        assert [entry.pinned for entry in ranking] == [0, 2, 3, 0, 0, 0]
        assert ranking.rules == (7,)

    def test_pin_brings_an_item_into_a_search_that_would_not_find_it(self, shop: SmallShop) -> None:
        ranking = listed(shop, rule("pin", "i5", position=1, match="exact", query="Mug"), slot=Slot.SEARCH, query="mug")
        assert ids(ranking)[0] == "i5"
        assert ranking.n_found == 5
        assert ranking.entries[0].reasons[0].code == "chosen"

    def test_boost_and_bury_move_by_places(self, shop: SmallShop) -> None:
        moves = rule("boost", "i3", places=2, pk=1), rule("bury", "i0", places=3, pk=2)
        ranking = listed(shop, *moves)
        assert ids(ranking) == ["i3", "i1", "i2", "i0", "i4", "i5"]
        assert {entry.item_id: entry.rules for entry in ranking if entry.rules} == {"i3": (1,), "i0": (2,)}

    def test_boost_without_places_leads_to_the_front_and_bury_to_the_end(self, shop: SmallShop) -> None:
        boost = rule("boost", attribute="category", values=["Light"], pk=1)
        assert ids(listed(shop, boost)) == ["i4", "i5", "i0", "i1", "i2", "i3"]
        assert ids(listed(shop, rule("bury", "i0")))[-1] == "i0"

    def test_boost_lifts_nothing_that_is_sold_out_above_the_rest(self, shop: SmallShop) -> None:
        shop.available[4] = False
        assert ids(listed(shop, rule("boost", "i4", "i5")))[0] == "i5"
        assert ids(listed(shop, rule("boost", "i4", "i5")))[-1] == "i4"

    def test_exclude_never_shows_an_item(self, shop: SmallShop) -> None:
        assert ids(listed(shop, rule("exclude", "i0", "i4"))) == ["i1", "i2", "i3", "i5"]

    def test_filter_shows_only_these_while_they_fill_the_list(self, shop: SmallShop) -> None:
        only = rule("filter", attribute="brand", values=["Acme"])
        assert ids(listed(shop, only, limit=3)) == ["i0", "i1", "i4"]

    def test_filter_never_leaves_a_list_short(self, shop: SmallShop) -> None:
        only = rule("filter", attribute="category", values=["Light"])
        assert ids(listed(shop, only, limit=4)) == ["i4", "i5", "i0", "i1"]

    def test_filter_of_named_items_leads_a_search_that_does_not_match_them(self, shop: SmallShop) -> None:
        only = rule("filter", "i5", match="contains", query="mugs")
        ranking = listed(shop, only, slot=Slot.SEARCH, query="red mug")
        assert ids(ranking)[:2] == ["i5", "i0"]
        assert not ranking.relaxed

    def test_banner_and_redirect_are_told(self, shop: SmallShop) -> None:
        rules = (
            rule("banner", pk=1, text="Mugs are 10 % off", match="category", query="Kitchen"),
            rule("redirect", pk=2, url="/lamps/", match="exact", query="lamps"),
        )
        assert listed(shop, *rules, slot=Slot.SIMILAR, item_id="i0").banners == ("Mugs are 10 % off",)
        assert listed(shop, *rules, slot=Slot.SEARCH, query="LAMPS ".strip()).redirect == "/lamps/"
        assert listed(shop, *rules, slot=Slot.SEARCH, query="lamp").redirect == ""

    def test_exclude_wins_over_pin_and_says_so(self, shop: SmallShop) -> None:
        ranking = listed(shop, rule("exclude", "i5", pk=1), rule("pin", "i5", pk=2, position=1))
        assert "i5" not in ids(ranking)
        assert [(one.rule, one.item_id, one.why) for one in ranking.skipped] == [(2, "i5", WhySkipped.EXCLUDED)]

    def test_pin_of_what_cannot_be_shown_is_skipped_and_the_next_takes_its_position(self, shop: SmallShop) -> None:
        shop.available[5] = False
        ranking = listed(shop, rule("pin", "i5", "i99", "i3", position=1))
        assert ids(ranking)[0] == "i3"
        assert [(one.item_id, one.why) for one in ranking.skipped] == [
            ("i5", WhySkipped.SOLD_OUT), ("i99", WhySkipped.GONE),
        ]  # fmt: skip

    def test_two_pins_for_one_position_stand_one_after_the_other(self, shop: SmallShop) -> None:
        pins = rule("pin", "i5", pk=1, position=1), rule("pin", "i4", pk=2, position=1)
        assert ids(listed(shop, *pins))[:2] == ["i5", "i4"]

    def test_shopper_who_sorts_by_price_gets_that_order(self, shop: SmallShop) -> None:
        rules = rule("pin", "i3", pk=1, position=1), rule("boost", "i2", pk=2), rule("exclude", "i0", pk=3)
        ranking = listed(shop, *rules, slot=Slot.SEARCH, query="mug", sort="price")
        assert ids(ranking) == ["i1", "i2", "i3"]

    def test_pin_obeys_the_filters_of_the_shopper(self, shop: SmallShop) -> None:
        pin = rule("pin", "i5", position=1, slot="search")
        assert ids(listed(shop, pin, slot=Slot.SEARCH, query="mug", filters={"brand": "Acme"})) == ["i0", "i1"]

    def test_pin_holds_its_position_over_pages(self, shop: SmallShop) -> None:
        pin = rule("pin", "i5", position=3, match="exact", query="mug")
        pages = [listed(shop, pin, slot=Slot.SEARCH, query="mug", limit=2, offset=offset) for offset in (0, 2)]
        assert ids(pages[1])[0] == "i5"
        assert pages[1].entries[0].position == 3
        assert sorted(ids(pages[0]) + ids(pages[1]))[:3] == sorted({*ids(pages[0]), *ids(pages[1])})[:3]

    def test_limits_of_a_list_hold_but_for_what_is_pinned(self, shop: SmallShop) -> None:
        pins = rule("pin", "i0", "i1", position=1)
        assert ids(listed(shop, pins, limit=3, at_most={"brand": 1})) == ["i0", "i1", "i2"]


class TestConditions:
    def test_query_that_contains_the_words_in_singular_or_plural(self, shop: SmallShop) -> None:
        banner = rule("banner", text="Lamps!", match="contains", query="oil lamps")
        texts = {query: listed(shop, banner, slot=Slot.SEARCH, query=query).banners
                 for query in ("an oil lamp", "oil lamps", "lamp oil", "oil")}  # fmt: skip
        assert texts == {"an oil lamp": ("Lamps!",), "oil lamps": ("Lamps!",), "lamp oil": (), "oil": ()}

    def test_rule_of_a_slot_stays_there(self, shop: SmallShop) -> None:
        pin = rule("pin", "i5", position=1, slot="home")
        assert ids(listed(shop, pin, slot=Slot.HOME))[0] == "i5"
        assert ids(listed(shop, pin, slot=Slot.TRENDING))[0] == "i0"

    def test_rule_that_is_tried_is_for_the_variant_only_and_comes_first(self, shop: SmallShop) -> None:
        pins = [rule("pin", "i4", position=1), rule("pin", "i5", pk=2, position=1, experiment_id=7)]
        assert ids(listed(shop, *pins, variants=frozenset({7})))[:2] == ["i5", "i4"]
        for variants in (frozenset[int](), frozenset({8})):
            assert ids(listed(shop, *pins, variants=variants))[:2] == ["i4", "i0"]
        everybody = {
            ids(listed(shop, pins[1], variants=frozenset({7}), person_key=str(number)))[0] for number in range(100)
        }
        assert everybody == {"i5"}, "nobody is held out"

    def test_rule_of_a_segment_is_for_its_shoppers_only(self, shop: SmallShop) -> None:
        pin = rule("pin", "i5", position=1, segment_id=3)
        assert ids(listed(shop, pin, segment_id=3))[0] == "i5"
        assert ids(listed(shop, pin, segment_id=4))[0] == "i0"
        assert ids(listed(shop, pin))[0] == "i0"

    def test_rule_serves_within_its_window_only(self, shop: SmallShop) -> None:
        hour = dt.timedelta(hours=1)
        pin = rule("pin", "i5", position=1, starts_at=NOW, ends_at=NOW + hour)
        firsts = [ids(listed(shop, pin, context=Context(NOW + after)))[0] for after in (-hour, 0 * hour, hour)]
        assert firsts == ["i0", "i5", "i0"]

    def test_category_that_the_search_is_narrowed_to(self, shop: SmallShop) -> None:
        pin = rule("pin", "i5", position=1, match="category", query="light")
        narrowed = listed(shop, pin, slot=Slot.SEARCH, query="lamp", filters={"category": "Light"})
        assert ids(narrowed)[0] == "i5"

    def test_graded_items_are_under_no_rule(self, shop: SmallShop) -> None:
        among = listed(shop, rule("exclude", "i0"), slot=Slot.SEARCH, query="mug", among=("i0", "i1"))
        assert "i0" in ids(among)


class TestHoldout:
    def test_share_of_visitors_is_held_out_always_the_same(self, shop: SmallShop) -> None:
        served = ruled(shop, rule("pin", "i5", position=1, pk=1), rule("boost", "i4", pk=2))
        first, second = served.rules.by_slot["trending"]
        keys = [person_number(f"user {n}") for n in range(20_000)]
        out = [{rule.id for rule in (first, second) if rule.holds_out(key)} for key in keys]
        shares = [sum(number in ids for ids in out) / len(keys) for number in (1, 2)]
        assert shares == pytest.approx([HELD_OUT_SHARE] * 2, abs=0.006)
        both = sum(ids == {1, 2} for ids in out) / len(keys)
        assert both == pytest.approx(HELD_OUT_SHARE**2, abs=0.002), "independent of each other"

    def test_visitor_who_is_held_out_sees_the_list_without_the_rule(self, shop: SmallShop) -> None:
        pin = rule("pin", "i5", position=1)
        (live,) = ruled(shop, pin).rules.by_slot["trending"]
        key = next(key for key in map(str, range(10_000)) if live.holds_out(person_number(key)))
        ranking = listed(shop, pin, person_key=key)
        assert ids(ranking)[0] == "i0"
        assert (ranking.rules, ranking.held_out) == ((), (1,))

    def test_nobody_is_never_held_out(self, shop: SmallShop) -> None:
        assert listed(shop, rule("pin", "i5", position=1)).rules == (1,)


class TestLiveState:
    def test_pin_keeps_its_position_where_an_item_above_it_is_hidden_now(self, shop: SmallShop) -> None:
        ranking = listed(shop, rule("pin", "i5", position=3))
        page = ReadsOfOneList({entry.item_id: Live(entry.item_id) for entry in ranking} | {"i0": None})
        shown = with_live(ranking, shop.served().shelf, page=page, limit=4)
        assert ids(shown) == ["i1", "i2", "i5", "i3"]
        assert shown.skipped == ()

    def test_pin_that_the_shop_hides_now_is_skipped_and_said_so(self, shop: SmallShop) -> None:
        ranking = listed(shop, rule("pin", "i5", "i4", position=1))
        page = ReadsOfOneList({entry.item_id: Live(entry.item_id) for entry in ranking} | {"i5": None})
        page.live["i4"] = Live("i4", available=False)
        shown = with_live(ranking, shop.served().shelf, page=page, limit=4)
        assert ids(shown) == ["i0", "i1", "i2", "i3"]
        assert [(one.item_id, one.why) for one in shown.skipped] == [
            ("i5", WhySkipped.HIDDEN), ("i4", WhySkipped.SOLD_OUT),
        ]  # fmt: skip


class TestPolicy:
    def test_moves_share_a_position_as_documented(self) -> None:
        assert policy.moved(np.array([0, 0, 2, 0, -1])).tolist() == [2, 0, 1, 3, 4]

    def test_pin_behind_the_end_comes_last(self) -> None:
        rows = policy.seated(np.array([1, 2], np.int32), [(0, 8), (9, 9)])
        assert rows.tolist() == [8, 1, 2, 9]


SLOTS = [slot for slot in Slot if slot != Slot.SEARCH]


@pytest.mark.django_db
class TestServing:
    def publish(self, action: str, *item_ids: str, **fields: Any) -> Rule:
        return Rule.objects.create(name=action, action=action, item_ids=list(item_ids), state=Rule.State.LIVE, **fields)

    def view(self, demo_shop: DemoShop, *item_ids: str) -> None:
        user_key = str(demo_shop.customer().user.pk)
        views = [
            capture.EventDraft(uuid.uuid4().hex, "view_item", timezone.now(), item_id, user_key=user_key)
            for item_id in item_ids
        ]
        assert capture.ingest(views).n_accepted == len(item_ids)

    @pytest.mark.parametrize("slot", SLOTS)
    def test_every_slot_obeys_and_stays_whole(
        self, demo_shop: DemoShop, shopper: Any, slot: Slot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rule_book, "HELD_OUT_SHARE", 0)
        product = demo_shop.product()
        item_id = Item.objects.get(title=product.title).item_id
        self.view(demo_shop, *ids(pipeline.recommend("trending", limit=4)))
        plain = pipeline.recommend(slot, shopper=shopper, item_id=item_id)
        assert len(plain) >= 3
        gone, last = plain.entries[0].item_id, plain.entries[-1].item_id
        self.publish("exclude", gone)
        pin = self.publish("pin", last, position=1, slot=slot.value)
        serving.reload()
        shopper.shown_item_ids.clear()
        obeyed = pipeline.recommend(slot, shopper=shopper, item_id=item_id)
        assert gone not in ids(obeyed)
        assert ids(obeyed)[0] == last
        assert pin.pk in obeyed.entries[0].rules
        if slot not in (Slot.RECENTLY_VIEWED, Slot.BUY_AGAIN):
            assert len(obeyed) == len(plain)

    def test_published_rule_serves_at_the_next_refresh(self, demo_shop: DemoShop, settings: Any) -> None:
        settings.RECOMMENDER = settings.RECOMMENDER | {"REFRESH_SECONDS": 0}
        first = pipeline.recommend("trending")
        rule = self.publish("pin", ids(first)[3], position=1, slot="trending")
        assert ids(pipeline.recommend("trending"))[0] == ids(first)[3]
        Rule.objects.filter(pk=rule.pk).update(state=Rule.State.WITHDRAWN, version=2)
        assert ids(pipeline.recommend("trending")) == ids(first)

    def test_variant_of_an_experiment_is_under_its_rules(self, demo_shop: DemoShop, shopper: Any) -> None:
        experiment = Experiment.objects.create(name="mugs first", variant_share=0.5)
        first = pipeline.recommend("trending", shopper=shopper)
        self.publish("pin", ids(first)[3], position=1, slot="trending", experiment=experiment)
        serving.reload()
        assert ids(pipeline.recommend("trending", shopper=shopper)) == ids(first), "nobody, before it starts"
        conduct.start(experiment, at=timezone.now())
        arms = set()
        for salt in map(str, range(20)):
            Experiment.objects.update(salt=salt)
            serving.reload()
            shopper.shown_item_ids.clear()
            ranking = pipeline.recommend("trending", shopper=shopper)
            arm = ranking.arms.removeprefix(str(experiment.pk))
            arms.add(arm)
            assert ids(ranking)[0] == ids(first)[3 if arm == "b" else 0]
        assert arms == {"a", "b"}
        conduct.stop(experiment, at=timezone.now(), reason="enough")
        serving.reload()
        shopper.shown_item_ids.clear()
        assert ids(pipeline.recommend("trending", shopper=shopper)) == ids(first), "nobody, once it is over"

    def test_new_item_of_a_brand_is_under_the_rule_of_the_brand(self, demo_shop: DemoShop, settings: Any) -> None:
        settings.RECOMMENDER = settings.RECOMMENDER | {"REFRESH_SECONDS": 0}
        first, second = Item.objects.order_by("pk")[:2]
        self.publish("exclude", attribute="brand", values=["Acme"])
        assert pipeline.recommend("trending").rules
        for n_items, item in enumerate((first, second), 1):
            Item.objects.filter(pk=item.pk).update(brand="Acme", updated_at=timezone.now())
            (live,) = serving.current().rules.by_slot["trending"]
            assert len(live.rows) == n_items

    def test_rules_add_no_query_to_a_list_and_one_to_a_refresh(self, demo_shop: DemoShop, shopper: Any) -> None:
        serving.reload()

        def n_queries(work: Any) -> int:
            with CaptureQueriesContext(connection) as queries:
                work()
            return len(queries)

        before = n_queries(lambda: pipeline.search("bag", shopper=None))
        refresh_before = n_queries(lambda: memory._refresh())
        self.publish("exclude", attribute="category", values=["none"])
        self.publish("banner", text="Bags", match="exact", query="bag", segment=Segment.objects.create(number=1))
        assert n_queries(lambda: memory._refresh()) == refresh_before + 1, "the rows, once"
        assert n_queries(lambda: memory._refresh()) == refresh_before
        assert n_queries(lambda: pipeline.search("bag", shopper=None)) == before

    def test_segment_of_a_shopper_is_read_with_the_history(self, demo_shop: DemoShop, shopper: Any) -> None:
        segment = Segment.objects.create(number=1)
        assert shopper.visitor_key is not None
        Visitor.objects.update(segment=segment)
        assert shopper.segment_id is None
        with CaptureQueriesContext(connection) as queries:
            assert shopper.history()
        assert len(queries) == 1
        assert shopper.segment_id == segment.pk

    def test_impression_says_which_rules_applied_and_which_were_held_out(
        self, demo_shop: DemoShop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = uuid.uuid4()
        ranking = replace(pipeline.recommend("trending"), rules=(3, 8), held_out=(5,))
        capture.ingest([], [ImpressionDraft(ranking, timezone.now(), visitor_key=key)])
        plain = replace(ranking, id=uuid.uuid4(), rules=(), held_out=())
        capture.ingest([], [ImpressionDraft(plain, timezone.now(), visitor_key=key)])
        stored = dict(Impression.objects.values_list("ranking_id", "rules"))
        assert stored == {ranking.id: [3, 8, -5], plain.id: None}
        assert [row.pk for row in Impression.objects.filter(rules__isnull=False)] == [ranking.id]

    def test_broken_ranker_leaves_the_rules_in_force(
        self, demo_shop: DemoShop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        served = serving.reload()
        first = ids(pipeline.recommend("trending"))

        class Broken:
            head = arms = None

            def __getattr__(self, name: str) -> Any:
                raise RuntimeError("broken")

        book = compiled([rule("exclude", first[0], pk=5)], served.shelf)
        broken = replace(served, ranker=Broken(), bundle="broken").ruled_by(book)
        monkeypatch.setattr(memory._memory, "served", broken)
        assert first[0] not in ids(pipeline.recommend("home"))
