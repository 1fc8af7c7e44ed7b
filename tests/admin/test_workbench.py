"""The workbench: the list as it is served, its parts in words, two items compared, and clear refusals."""

from __future__ import annotations

import datetime as dt
import html
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from recommender import pipeline, serving
from recommender.admin.workbench_words import amounts, hundredths_text, total
from recommender.identity import shopper_of
from recommender.models import Bundle, Event, Impression, Item, Segment, Visitor
from recommender.serving.contributions import PARTS, Part
from recommender.types import Slot
from tests.admin.test_rules import live_rule, person
from tests.conftest import DemoShop, request_of

pytestmark = pytest.mark.django_db

URL = "/admin/recommender/workbench/"


@pytest.fixture
def analyst(demo_shop: DemoShop) -> Client:
    return person("analyst", "view_workbench")


@pytest.fixture
def seer(demo_shop: DemoShop) -> Client:
    return person("seer", "view_workbench", "view_persona")


def page(client: Client, **parameters: Any) -> str:
    response = client.get(URL, parameters)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", html.unescape(response.content.decode()))


def listed(text: str) -> list[str]:
    """The ids of the items of the first column, in order."""
    return re.findall(r'<li data-item="([^"]*)"', text.partition("rec-explained")[2].partition("</ol>")[0])


class TestWhoMayLook:
    def test_page_needs_its_own_permission(self, demo_shop: DemoShop) -> None:
        assert person("stranger", "view_rule", "view_persona").get(URL).status_code == 403
        assert Client().get(URL).status_code == 302
        assert person("may", "view_workbench").get(URL).status_code == 200

    def test_index_links_it_only_for_who_may(self, demo_shop: DemoShop) -> None:
        link = f'href="{URL}"'
        assert link in person("may", "view_workbench").get("/admin/recommender/").content.decode()
        assert link not in person("not", "view_rule").get("/admin/recommender/").content.decode()

    def test_shopper_is_shown_to_who_may_see_personas_alone(self, demo_shop: DemoShop, analyst: Client) -> None:
        name = demo_shop.customer().user.username
        text = page(analyst, slot="home", person=name)
        assert "you need the permission recommender.view_persona" in text
        assert not listed(text), "not even as nobody: the list would be taken for the shopper's"

    def test_nothing_is_recorded_and_nothing_can_be_changed(self, seer: Client, demo_shop: DemoShop) -> None:
        n_events = Event.objects.count()
        page(seer, slot="home", person=demo_shop.customer().user.username)
        page(seer, slot="search", query="bag")
        assert not Impression.objects.exists()
        assert Event.objects.count() == n_events
        assert seer.get(f"{URL}add/").status_code == 403


SLOTS = [slot for slot in Slot if slot is not Slot.SEARCH]


class TestListAsServed:
    @pytest.mark.parametrize("slot", SLOTS)
    def test_slot_has_the_order_of_the_page_as_nobody_and_as_a_shopper(
        self, slot: Slot, seer: Client, demo_shop: DemoShop
    ) -> None:
        user = demo_shop.customer().user
        item_id = Item.objects.order_by("pk")[3].item_id if slot in (Slot.SIMILAR, Slot.BOUGHT_TOGETHER) else ""
        cart = Item.objects.order_by("pk")[5].item_id if slot is Slot.CART else ""
        parameters = {"slot": slot.value, "item_id": item_id, "cart": cart, "k": 8}
        options: Any = {"item_id": item_id, "cart_item_ids": (cart,) if cart else (), "limit": 8}
        expected = pipeline.recommend(slot, shopper=shopper_of(request_of(user)), **options)
        assert listed(page(seer, **parameters, person=user.username)) == [entry.item_id for entry in expected]
        expected = pipeline.recommend(slot, **options)
        assert listed(page(seer, **parameters)) == [entry.item_id for entry in expected]

    @pytest.mark.parametrize("query", ["bag", "red bag under 5", "lunch bgas", "zzzz qqqq"])
    def test_search_has_the_order_of_the_page(self, query: str, seer: Client, demo_shop: DemoShop) -> None:
        user = demo_shop.customer().user
        expected = pipeline.search(query, shopper=shopper_of(request_of(user)), limit=10)
        assert len(expected)
        shown = listed(page(seer, slot="search", query=query, person=user.username))
        assert shown == [entry.item_id for entry in expected]

    def test_moment_cuts_the_history_and_the_future_is_refused(self, seer: Client, demo_shop: DemoShop) -> None:
        user = demo_shop.customer().user
        visitors = Visitor.objects.filter(user_key=str(user.pk))
        events = Event.objects.filter(visitor__in=visitors).order_by("occurred_at")
        middle = timezone.localtime(events[events.count() // 2].occurred_at).replace(second=59, microsecond=999999)
        n_before = events.filter(occurred_at__lte=middle.replace(second=0, microsecond=0)).count()
        assert 0 < n_before < events.count()
        text = page(seer, slot="buy_again", person=user.username, at=f"{middle:%Y-%m-%dT%H:%M}")
        assert re.search(rf"Known of the shopper at [^:]*:[^:]*: {n_before} event", text)
        later = timezone.localtime() + dt.timedelta(days=1)
        text = page(seer, slot="home", at=f"{later:%Y-%m-%dT%H:%M}")
        assert "This moment lies in the future. Choose one up to now, or leave it empty." in text

    def test_rule_of_a_segment_serves_who_is_looked_at_in_it(self, analyst: Client, demo_shop: DemoShop) -> None:
        last = pipeline.recommend("trending", limit=10).entries[-1].item_id
        segment = Segment.objects.create(number=1, n_people=3, own_name="Bakers")
        live_rule(last, segment=segment)
        serving.reload()
        assert listed(page(analyst, slot="trending", segment=segment.pk))[0] == last
        assert listed(page(analyst, slot="trending"))[0] != last


class TestRefusals:
    def test_each_names_its_repair(self, seer: Client, demo_shop: DemoShop) -> None:
        cases = [
            ({"slot": "search"}, "Type a query, or choose another list."),
            ({"slot": "search", "query": "\x07 "}, "Type a query, or choose another list."),
            ({"slot": "search", "query": "x" * 10_000}, "at most 255 characters (it has 10000)"),
            ({"slot": "similar"}, "write the item's id"),
            ({"slot": "similar", "item_id": "gone"}, "There is no item “gone” any more. Copy the id"),
            ({"slot": "cart", "cart": "gone, away"}, "There is no item “gone”, “away” any more"),
            ({"slot": "home", "person": "nobody-here"}, "There is no such shopper with consent. Copy a name or key"),
            ({"slot": "home", "k": 500}, "less than or equal to 50"),
            ({"slot": "home", "at": "yesterday"}, "Write the moment as 2026-03-31 14:05"),
            ({"slot": "home", "bundle": 999}, "This bundle is gone, or quarantined because it is broken."),
            ({"slot": "home", "rule": 999}, "This rule is gone. Choose one of the list."),
            ({"slot": "nowhere"}, "is not one of the available choices"),
        ]  # fmt: skip
        for parameters, message in cases:
            text = page(seer, **parameters)
            assert message in text, parameters
            assert not listed(text)

    def test_deleted_bundle_is_said_and_nothing_is_shown(self, seer: Client, demo_shop: DemoShop) -> None:
        bundle = Bundle.objects.create(name="f" * 64, encoder_hash="e")
        text = page(seer, slot="home", bundle=bundle.pk)
        assert "Nothing is shown." in text
        assert "ffffffffffff" in text
        bundle.refresh_from_db()
        assert bundle.state == Bundle.State.CANDIDATE, "to look at it quarantines nothing"

    def test_words_that_mean_several_shoppers_show_none(self, seer: Client, demo_shop: DemoShop) -> None:
        for number, name in enumerate(("Maria Bell", "Maria Stone"), 1):
            first, last = name.split()
            user = User.objects.create_user(f"maria{number}", first_name=first, last_name=last)
            Visitor.objects.create(user_key=str(user.pk), has_consented=True)
        text = page(seer, slot="home", person="maria")
        assert "Several shoppers match. Write one key:" in text
        assert "Maria Bell" in text
        assert not listed(text)
        assert listed(page(seer, slot="home", person="maria1")), "a whole user name means one"


class TestWords:
    def test_parts_that_are_shown_sum_to_the_score_that_is_shown(self, analyst: Client) -> None:
        text = page(analyst, slot="search", query="red bag")
        lines = re.findall(r"<p class=\"rec-parts\"><strong>([^<]*)</strong> points = (.*?)</p>", text)
        assert lines
        for score, parts in lines:
            numbers = re.findall(r"([−+]?[\d.,]+)</span>", parts)
            assert numbers
            assert sum(map(hundredths_of, numbers)) == hundredths_of(score)

    def test_rounding_never_loses_a_hundredth(self) -> None:
        parts = dict.fromkeys(PARTS, 0.0) | {Part.WORDS: 0.000149, Part.MEANING: 0.000149, Part.PAST: 0.000149}
        shown = amounts(parts)
        assert total(shown) == round(sum(parts.values()) * 10_000) == 4
        assert hundredths_text(-250, signed=True) == "−2.50"

    def test_correction_dropped_word_and_price_are_said(self, analyst: Client) -> None:
        text = page(analyst, slot="search", query="alram clock")
        assert "corrected to “alarm”" in text
        assert "Searched for “alarm clock” instead of what was typed." in text
        text = page(analyst, slot="search", query="bag xylophonist")
        assert "unknown to the catalogue" in text
        text = page(analyst, slot="search", query="bag under £5")
        assert "Up to a price of" in text
        assert "5.00" in text

    def test_why_third_and_not_tenth_sums_to_the_difference(self, analyst: Client) -> None:
        ids = listed(page(analyst, slot="search", query="red bag"))
        text = page(analyst, slot="search", query="red bag", first=ids[-1], second=ids[2])
        assert f"Why one is at 3 and the other at {len(ids)}" in text, "the higher one first"
        table = text.partition('id="why"')[2].partition("</table>")[0]
        rows = re.findall(r"<tr[^>]*><th scope=\"row\">(.*?)</th>(.*?)</tr>", table)
        values = {name: [hundredths_of(cell) for cell in re.findall(r"[−+]?\d[\d,]*\.\d\d", row)] for name, row in rows}
        score = values.pop("Score")
        assert [sum(column) for column in zip(*values.values(), strict=True)] == score
        assert score[0] - score[1] == score[2]
        gaps = [abs(row[2]) for row in values.values()]
        assert gaps == sorted(gaps, reverse=True)

    def test_same_item_twice_and_one_that_is_not_listed_are_refused(self, analyst: Client) -> None:
        ids = listed(page(analyst, slot="trending"))
        for first, second in ((ids[0], ids[0]), (ids[0], "gone")):
            assert "Choose two different items" in page(analyst, slot="trending", first=first, second=second)


class TestCompared:
    def test_rule_moves_are_in_the_second_column(self, analyst: Client) -> None:
        ids = listed(page(analyst, slot="trending", k=5))
        rule = live_rule(ids[-1])
        text = page(analyst, slot="trending", k=5, rule=rule.pk)
        without, under = text.partition("With “ours”")[0], text.partition("With “ours”")[2]
        assert "place" in without
        assert "places up" not in without
        first = under.partition("</li>")[0]
        assert "▲ 4 places up" in first
        assert "pinned to place 1 by “ours”: ▲ 4 places up" in first
        assert "▼ 1 place down" in under

    def test_item_of_one_column_alone_is_marked_in_it(self, analyst: Client) -> None:
        ids = listed(page(analyst, slot="trending", k=3))
        rule = live_rule(ids[0], action="exclude", position=None)
        text = page(analyst, slot="trending", k=3, rule=rule.pk)
        without, under = text.partition("With “ours”")[0], text.partition("With “ours”")[2]
        assert "● only here" in without.partition("</li>")[0]
        assert under.count("● only here") == 1

    def test_rule_for_another_list_is_said(self, analyst: Client) -> None:
        rule = live_rule(action="banner", text="x", slot="home", position=None)
        assert "The rule is not for this list" in page(analyst, slot="trending", rule=rule.pk)

    def test_bundle_and_rule_at_once_are_refused(self, analyst: Client) -> None:
        rule = live_rule(action="banner", text="x", slot="home", position=None)
        bundle = Bundle.objects.create(name="f" * 64, encoder_hash="e")
        text = page(analyst, slot="home", rule=rule.pk, against=bundle.pk)
        assert "Compare with a bundle or with a rule, not with both" in text


def test_held_out_shopper_is_said(seer: Client, demo_shop: DemoShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommender.serving.rule_book.HELD_OUT_SHARE", 1.0)
    live_rule(action="banner", text="Hello", slot="home", position=None)
    serving.reload()
    text = page(seer, slot="home", person=demo_shop.customer().user.username)
    assert "This shopper is held out of “ours”" in text
    assert "“Hello”" in text, "the list itself holds nobody out"


class TestLinks:
    def test_rule_page_leads_to_its_own_list(self, demo_shop: DemoShop) -> None:
        rule = live_rule(pipeline.recommend("trending").entries[-1].item_id)
        path = f"/admin/recommender/rule/{rule.pk}/look/"
        both = person("both", "view_rule", "view_workbench")
        (address,) = re.findall(r'href="(/admin/recommender/workbench/[?][^"]*)"', both.get(path).content.decode())
        text = html.unescape(address)
        assert text == f"{URL}?slot=trending&rule={rule.pk}"
        assert "With “ours”" in html.unescape(both.get(text).content.decode())
        assert "workbench/?" not in person("one", "view_rule").get(path).content.decode()


def hundredths_of(text: str) -> int:
    return round(float(text.replace("−", "-").replace(",", "")) * 100)
