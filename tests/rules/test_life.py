"""A rule from draft to live: bad ones are refused with the repair, two editors lose nothing, collisions are named."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from recommender.exceptions import RuleError, StaleRule
from recommender.models import Experiment, Item, Rule, Segment
from recommender.rules import life, redirects
from recommender.rules.checking import faults_of
from recommender.rules.conflicts import conflicts_of
from recommender.tracking import page

pytestmark = pytest.mark.django_db

HOST = "shop.example"
HOUR = dt.timedelta(hours=1)


@pytest.fixture(autouse=True)
def items() -> None:
    Item.objects.bulk_create(
        Item(item_id=item_id, label="", object_id=item_id, title=item_id, text=item_id, text_hash="", brand="Acme",
             category="Mugs", is_active=item_id != "hidden")
        for item_id in ("a", "b", "c", "hidden")
    )  # fmt: skip


@pytest.fixture
def anna() -> User:
    return User.objects.create_user("anna")


@pytest.fixture
def ben() -> User:
    return User.objects.create_user("ben")


def draft(action: str = "pin", *item_ids: str, **fields: Any) -> Rule:
    own = {"position": 1, "slot": "home"} if action == "pin" else {}
    return Rule(**{"name": "ours", "action": action, "item_ids": list(item_ids), **own, **fields})


def live(user: User, *positional: Any, **fields: Any) -> Rule:
    rule = life.create(draft(*positional, **fields), user=user, host=HOST)
    rule = life.submit(rule, host=HOST, version=1)
    return life.publish(rule, user=user, host=HOST, version=2)


class TestFaults:
    @pytest.mark.parametrize(
        ("rule", "field", "words"),
        [
            (draft("pin", "a", name=" "), "name", "Give it a name"),
            (draft("pin", "a", "gone"), "item_ids", "no item “gone” any more"),
            (draft("pin", "hidden"), "item_ids", "hides “hidden”"),
            (draft("pin", "a", "a"), "item_ids", "named twice"),
            (draft("pin"), "item_ids", "Name the items to pin"),
            (draft("pin", "a", position=None), "position", "from 1 to 100"),
            (draft("pin", "a", slot=""), "slot", "would stand everywhere"),
            (draft("boost"), "item_ids", "Name the items, or an attribute"),
            (draft("boost", "a", attribute="brand", values=["Acme"]), "attribute", "not both"),
            (draft("boost", attribute="brnad", values=["Acme"]), "attribute", "Did you mean 'brand'"),
            (draft("boost", attribute="brand"), "values", "at least one value"),
            (draft("boost", attribute="brand", values=["Acme", "Akme"]), "values", "No item has the value “Akme”"),
            (draft("banner"), "text", "Write the text"),
            (draft("banner", text="x", match="exact"), "query", "Write the query"),
            (draft("banner", text="x", query="mug"), "match", "Choose how the query must match"),
            (draft("banner", text="x", match="exact", query="mug", slot="home"), "slot", "is for the search"),
            (draft("redirect", url="/sale/"), "match", "needs the query"),
        ],
    )
    def test_fault_names_its_field_and_the_repair(self, rule: Rule, field: str, words: str) -> None:
        faults = faults_of(rule, host=HOST)
        assert words in faults.get(field, ""), faults

    @pytest.mark.parametrize(
        ("url", "is_refused"),
        [
            ("/sale/", False), ("https://shop.example/sale/", False), ("https://evil.example/", True),
            ("//evil.example/", True), ("javascript:alert(1)", True), ("sale", True), ("/\\evil.example", True),
            ("https://shop.example@evil.example/", True), ("", True),
        ],
    )  # fmt: skip
    def test_redirect_leads_to_no_other_host(self, url: str, is_refused: bool) -> None:
        rule = draft("redirect", url=url, match="exact", query="sale")
        assert ("url" in faults_of(rule, host=HOST)) is is_refused

    def test_window_that_ends_before_it_starts(self) -> None:
        now = timezone.now()
        rule = draft("pin", "a", starts_at=now, ends_at=now - HOUR)
        assert "ends before it starts" in faults_of(rule, host=HOST)["ends_at"]

    def test_segment_that_an_erasure_has_emptied(self, anna: User) -> None:
        segment = Segment.objects.create(number=1, n_people=3)
        rule = life.create(draft("pin", "a", segment=segment), user=anna, host=HOST)
        Segment.objects.update(n_people=0)
        rule.refresh_from_db()
        with pytest.raises(RuleError, match="Nobody is in this segment any more"):
            life.submit(rule, host=HOST, version=1)

    def test_rule_whose_item_has_gone_since_is_not_published(self, anna: User, ben: User) -> None:
        rule = life.submit(life.create(draft("pin", "a"), user=anna, host=HOST), host=HOST, version=1)
        Item.objects.filter(item_id="a").delete()
        with pytest.raises(RuleError, match="no item “a” any more") as refused:
            life.publish(rule, user=ben, host=HOST, version=2)
        assert set(refused.value.errors) == {"item_ids"}

    def test_rule_whose_end_has_passed_is_not_published(self, anna: User) -> None:
        rule = life.create(draft("pin", "a", ends_at=timezone.now() - HOUR), user=anna, host=HOST)
        with pytest.raises(RuleError, match="ends in the past"):
            life.submit(rule, host=HOST, version=1)

    def test_sound_rules_have_no_fault(self) -> None:
        sound = (
            draft("pin", "a", "b"), draft("bury", attribute="category", values=["Mugs"]),
            draft("banner", text="Hello", match="category", query="Mugs", slot="similar"),
        )  # fmt: skip
        assert [faults_of(rule, host=HOST) for rule in sound] == [{}, {}, {}]


class TestSteps:
    def test_way_from_draft_to_live_and_out_again(self, anna: User, ben: User) -> None:
        rule = life.create(draft("pin", "a"), user=anna, host=HOST)
        assert (rule.state, rule.created_by, rule.version) == ("draft", anna, 1)
        rule = life.submit(rule, host=HOST, version=1)
        assert rule.state == "review"
        assert rule.submitted_at is not None
        rule = life.publish(rule, user=ben, host=HOST, version=2)
        assert (rule.state, rule.reviewed_by, rule.version) == ("live", ben, 3)
        rule = life.withdraw(rule, version=3)
        assert rule.state == "withdrawn"
        again = life.copy(rule, user=ben)
        assert (again.state, again.item_ids, again.created_by) == ("draft", ["a"], ben)

    def test_draft_is_not_published_without_review(self, anna: User) -> None:
        rule = life.create(draft("pin", "a"), user=anna, host=HOST)
        with pytest.raises(RuleError, match="not possible with what is in the state “draft”"):
            life.publish(rule, user=anna, host=HOST, version=1)

    def test_change_takes_a_rule_out_of_review(self, anna: User, ben: User) -> None:
        rule = life.submit(life.create(draft("pin", "a"), user=anna, host=HOST), host=HOST, version=1)
        rule.item_ids = ["b"]
        rule = life.change(rule, user=ben, host=HOST, version=2)
        assert (rule.state, rule.item_ids, rule.edited_by) == ("draft", ["b"], ben)

    def test_live_rule_is_not_changed(self, anna: User) -> None:
        rule = live(anna, "pin", "a")
        with pytest.raises(RuleError, match="Copy it"):
            life.change(rule, user=anna, host=HOST, version=3)

    def test_second_of_two_editors_is_told_and_nothing_is_lost(self, anna: User, ben: User) -> None:
        life.create(draft("pin", "a"), user=anna, host=HOST)
        first, second = Rule.objects.get(), Rule.objects.get()
        first.item_ids = ["b"]
        life.change(first, user=ben, host=HOST, version=1)
        second.item_ids = ["c"]
        with pytest.raises(StaleRule, match="ben has changed it"):
            life.change(second, user=anna, host=HOST, version=1)
        assert Rule.objects.get().item_ids == ["b"]

    def test_publisher_of_an_outdated_page_is_told(self, anna: User) -> None:
        rule = life.submit(life.create(draft("pin", "a"), user=anna, host=HOST), host=HOST, version=1)
        with pytest.raises(StaleRule):
            life.publish(rule, user=anna, host=HOST, version=1)

    def test_rule_that_was_deleted_meanwhile(self, anna: User) -> None:
        rule = life.create(draft("pin", "a"), user=anna, host=HOST)
        Rule.objects.filter(pk=rule.pk).delete()
        with pytest.raises(StaleRule, match="was deleted"):
            life.submit(rule, host=HOST, version=1)

    def test_two_people_where_the_shop_wants_it(self, anna: User, ben: User, settings: Any) -> None:
        settings.RECOMMENDER = settings.RECOMMENDER | {"TWO_PERSON_RULES": True}
        rule = life.submit(life.create(draft("pin", "a"), user=anna, host=HOST), host=HOST, version=1)
        with pytest.raises(RuleError, match="somebody else must publish it"):
            life.publish(rule, user=anna, host=HOST, version=2)
        assert life.publish(rule, user=ben, host=HOST, version=2).state == "live"

    def test_standing_tells_scheduled_and_ended(self, anna: User) -> None:
        now = timezone.now()
        rule = Rule(state="live", starts_at=now + HOUR, ends_at=now + 2 * HOUR)
        assert [life.standing(rule, at=now + n * HOUR) for n in (0, 1, 2)] == ["scheduled", "live", "ended"]


class TestConflicts:
    def test_two_pins_for_one_position_are_not_live_together(self, anna: User) -> None:
        live(anna, "pin", "a", "b", name="summer")
        rule = life.create(draft("pin", "c", position=2), user=anna, host=HOST)
        with pytest.raises(RuleError, match="“summer” pins an item to position 2 too"):
            life.submit(rule, host=HOST, version=1)

    def test_pins_that_never_meet_are_fine(self, anna: User) -> None:
        now = timezone.now()
        live(anna, "pin", "a", ends_at=now + HOUR)
        live(anna, "pin", "a", starts_at=now + HOUR)
        live(anna, "pin", "a", slot="cart")
        live(anna, "pin", "a", slot="", match="exact", query="red mug")
        assert not conflicts_of(draft("pin", "b", slot="", match="exact", query="blue mug"), at=now)
        met = conflicts_of(draft("pin", "b", slot="", match="contains", query="mugs"), at=now)
        assert [conflict.is_refused for conflict in met] == [True]
        experiment = Experiment.objects.create(name="x")
        tried = draft("pin", "b", slot="", match="contains", query="mugs", experiment=experiment)
        (conflict,) = conflicts_of(tried, at=now)
        assert "The one that is tried comes first" in conflict.text
        assert not conflict.is_refused

    def test_opposite_wishes_for_one_item_are_shown(self, anna: User) -> None:
        live(anna, "exclude", "a", name="never")
        (conflict,) = conflicts_of(draft("boost", attribute="brand", values=["Acme"]), at=timezone.now())
        assert "“never”" in conflict.text
        assert not conflict.is_refused

    def test_redirect_that_leads_back_is_refused_and_names_who_leads_back(self, anna: User) -> None:
        live(anna, "redirect", name="cups", url="/search/?q=mug", match="exact", query="Cup")
        back = draft("redirect", url="/search/?page=1&q=cup", match="contains", query="mugs")
        stored = life.create(back, user=anna, host=HOST)
        with pytest.raises(RuleError, match="“cups” leads the search for “cup” back") as refusal:
            life.submit(stored, host=HOST, version=1)
        assert list(refusal.value.errors) == ["url"]

    def test_redirects_that_lead_back_over_a_third_are_refused(self, anna: User) -> None:
        live(anna, "redirect", name="cups", url="/search/?q=glass", match="exact", query="cup")
        live(anna, "redirect", name="glasses", url="/search/?q=mug", match="exact", query="glass")
        (conflict,) = conflicts_of(
            draft("redirect", url="/search/?q=cup", match="exact", query="mug"), at=timezone.now()
        )
        assert conflict.is_refused
        assert "“cups”, “glasses” leads the search for “cup” back" in conflict.text

    @pytest.mark.parametrize(
        "ours",
        [
            {"url": "/search/?q=glass"},
            {"url": "/cups/"},
            {"url": "/search/?other=cup"},
            {"url": "/search/?q=mug"},
            {"url": "/search/?q=cup", "starts_at": timezone.now() + 48 * HOUR},
        ],
    )
    def test_redirect_that_arrives_is_let_live(self, anna: User, ours: dict[str, Any]) -> None:
        ends_at = timezone.now() + 24 * HOUR
        live(anna, "redirect", name="cups", url="/search/?q=mug", match="exact", query="cup", ends_at=ends_at)
        live(anna, "redirect", match="exact", query="mug", **ours)
        assert Rule.objects.filter(state="live").count() == 2

    def test_parameter_that_a_search_page_declares_is_a_query_too(
        self, anna: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        live(anna, "redirect", name="cups", url="/find/?words=mug", match="exact", query="cup")
        back = draft("redirect", url="/find/?words=cup", match="exact", query="mug")
        assert conflicts_of(back, at=timezone.now()) == []
        declared = [page("find", "search", query="GET.words")]
        monkeypatch.setattr(redirects, "tracked_pages", lambda: declared)
        assert [conflict.is_refused for conflict in conflicts_of(back, at=timezone.now())] == [True]

    def test_two_redirects_of_one_query_are_shown(self, anna: User) -> None:
        live(anna, "redirect", url="/a/", match="exact", query="sale")
        (conflict,) = conflicts_of(draft("redirect", url="/b/", match="exact", query="Sale"), at=timezone.now())
        assert "/a/" in conflict.text
