"""Rules in the admin: a form that loses nothing, a preview, steps that ask, and a permission for each."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from recommender import pipeline, serving
from recommender.models import Impression, Item, Rule, Segment
from recommender.serving import predicting
from tests.conftest import DemoShop

pytestmark = pytest.mark.django_db

URL = "/admin/recommender/rule/"
DRAFT = {
    "name": "Bags first", "action": "pin", "item_ids": "", "attribute": "", "values": "", "position": "1", "places": "",
    "url": "", "text": "", "match": "any", "query": "", "slot": "trending", "segment": "", "starts_at_0": "",
    "starts_at_1": "", "ends_at_0": "", "ends_at_1": "", "read_version": "1",
}  # fmt: skip


def person(name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def last_item(demo_shop: DemoShop) -> str:
    return pipeline.recommend("trending", limit=10).entries[-1].item_id


@pytest.fixture
def editor(demo_shop: DemoShop) -> Client:
    return person("editor", "view_rule", "add_rule", "change_rule")


@pytest.fixture
def publisher(demo_shop: DemoShop) -> Client:
    return person("publisher", "view_rule", "publish_rule")


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


def post(client: Client, path: str, **values: Any) -> str:
    return text_of(client.post(URL + path, values, follow=True))


def test_morning_from_draft_to_live_and_out_again(editor: Client, publisher: Client, last_item: str) -> None:
    page = post(editor, "add/", **DRAFT | {"item_ids": f"{last_item}\n"})
    rule = Rule.objects.get()
    assert (rule.state, rule.item_ids, rule.created_by.username) == ("draft", [last_item], "editor")
    assert "“Bags first” is a draft" in page
    assert "Before and after" in page
    assert "by this rule" in page
    assert "Submit for review" in page
    assert "Publish" not in re.findall(r'class="button[^"]*"[^>]*>([^<]+)<', page)
    question = text_of(editor.get(f"{URL}{rule.pk}/submit/"))
    assert "1 item to position 1" in question
    post(editor, f"{rule.pk}/submit/?version=1")
    page = post(publisher, f"{rule.pk}/publish/?version=2")
    assert "is live" in page
    serving.reload()
    assert pipeline.recommend("trending").entries[0].item_id == last_item
    post(publisher, f"{rule.pk}/withdraw/?version=3")
    serving.reload()
    assert pipeline.recommend("trending").entries[0].item_id != last_item
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")][1:] == [
        "Submit for review.", "Publish.", "Withdraw.",
    ]  # fmt: skip


def test_each_step_is_refused_to_who_lacks_its_permission(editor: Client, publisher: Client, last_item: str) -> None:
    post(editor, "add/", **DRAFT | {"item_ids": last_item})
    rule = Rule.objects.get()
    steps = {"submit": publisher, "publish": editor, "withdraw": editor, "copy": publisher}
    for step, client in steps.items():
        assert client.post(f"{URL}{rule.pk}/{step}/").status_code == 403, step
    stranger = person("stranger")
    paths = ["", "add/", f"{rule.pk}/change/", f"{rule.pk}/look/"]
    assert [stranger.get(URL + path).status_code for path in paths] == [403] * 4
    assert publisher.get(f"{URL}add/").status_code == 403
    assert publisher.get(f"{URL}{rule.pk}/change/").status_code == 302, "a page to look at instead of the form"
    assert Rule.objects.get().state == "draft"


def test_faults_stand_beside_their_fields(editor: Client) -> None:
    page = text_of(editor.post(f"{URL}add/", DRAFT | {"item_ids": "gone"}))
    assert "no item “gone” any more" in page
    redirect = {"action": "redirect", "url": "https://evil.example/", "match": "exact", "query": "sale", "slot": ""}
    assert "It leads to another host. A redirect may only lead to testserver." in text_of(
        editor.post(f"{URL}add/", DRAFT | redirect)
    )
    window = {"ends_at_0": "2020-01-01", "ends_at_1": "10:00", "starts_at_0": "2020-01-02", "starts_at_1": "10:00"}
    assert "ends before it starts" in text_of(editor.post(f"{URL}add/", DRAFT | window))
    assert not Rule.objects.exists()


def test_second_of_two_editors_is_told_and_keeps_what_was_typed(editor: Client, last_item: str) -> None:
    post(editor, "add/", **DRAFT | {"item_ids": last_item})
    rule = Rule.objects.get()
    other = person("other", "view_rule", "change_rule")
    post(other, f"{rule.pk}/change/", **DRAFT | {"item_ids": last_item, "name": "Theirs"})
    page = text_of(editor.post(f"{URL}{rule.pk}/change/", DRAFT | {"item_ids": last_item, "name": "Mine"}))
    assert "other has changed it since you opened it" in page
    assert 'value="Mine"' in page
    assert Rule.objects.get().name == "Theirs"


def test_step_on_an_outdated_page_changes_nothing(editor: Client, last_item: str) -> None:
    post(editor, "add/", **DRAFT | {"item_ids": last_item})
    rule = Rule.objects.get()
    post(editor, f"{rule.pk}/change/", **DRAFT | {"item_ids": last_item, "name": "Newer"})
    page = post(editor, f"{rule.pk}/submit/?version=1")
    assert "has changed it since you opened it" in page
    assert Rule.objects.get().state == "draft"


def test_two_people_where_the_shop_wants_it(demo_shop: DemoShop, last_item: str, settings: Any) -> None:
    settings.RECOMMENDER = settings.RECOMMENDER | {"TWO_PERSON_RULES": True}
    anna = person("anna", "view_rule", "add_rule", "change_rule", "publish_rule")
    post(anna, "add/", **DRAFT | {"item_ids": last_item})
    rule = Rule.objects.get()
    post(anna, f"{rule.pk}/submit/")
    assert "somebody else must publish it" in post(anna, f"{rule.pk}/publish/")
    assert "is live" in post(person("ben", "view_rule", "publish_rule"), f"{rule.pk}/publish/")


def test_live_rule_is_copied_and_not_changed(demo_shop: DemoShop, last_item: str) -> None:
    both = person("both", "view_rule", "add_rule", "change_rule", "delete_rule", "publish_rule")
    post(both, "add/", **DRAFT | {"item_ids": last_item})
    rule = Rule.objects.get()
    post(both, f"{rule.pk}/submit/")
    post(both, f"{rule.pk}/publish/")
    response = both.post(f"{URL}{rule.pk}/change/", DRAFT | {"item_ids": last_item, "name": "x", "read_version": "3"})
    assert response["Location"] == f"{URL}{rule.pk}/look/"
    assert both.get(f"{URL}{rule.pk}/delete/").status_code == 403
    post(both, f"{rule.pk}/copy/")
    assert sorted(Rule.objects.values_list("name", "state")) == [("Bags first", "draft"), ("Bags first", "live")]


def live_rule(*item_ids: str, **fields: Any) -> Rule:
    values = {"name": "ours", "action": "pin", "position": 1, "slot": "trending", "reviewed_at": timezone.now()}
    return Rule.objects.create(item_ids=item_ids, state="live", **values | fields)


class TestLook:
    def test_preview_shows_title_price_and_the_move(self, publisher: Client, last_item: str) -> None:
        rule = live_rule(last_item)
        serving.reload()
        page = text_of(publisher.get(f"{URL}{rule.pk}/look/"))
        title = Item.objects.get(item_id=last_item).title
        before, after = page.split("With the rule ·")
        assert "by this rule" not in before
        first = after.partition("</li>")[0]
        assert "by this rule" in first
        assert "↑ 9" in first
        assert "£" in first
        from django.utils.html import escape

        assert escape(title) in first

    def test_preview_as_a_segment_and_as_nobody(self, publisher: Client, last_item: str) -> None:
        segment = Segment.objects.create(number=1, n_people=3, own_name="Bakers")
        rule = live_rule(last_item, segment=segment)
        as_segment = text_of(publisher.get(f"{URL}{rule.pk}/look/?slot=trending&segment={segment.pk}"))
        as_nobody = text_of(publisher.get(f"{URL}{rule.pk}/look/?slot=trending"))
        assert "by this rule" in as_segment
        assert "by this rule" not in as_nobody
        assert "The rule is not for this list" in as_nobody

    def test_preview_as_a_shopper_needs_its_permission(self, demo_shop: DemoShop, publisher: Client) -> None:
        rule = live_rule(action="banner", text="Hello", slot="home", position=None)
        name = demo_shop.customer().user.username
        path = f"{URL}{rule.pk}/look/?slot=home&person={name}"
        assert "you need the permission recommender.view_persona" in text_of(publisher.get(path))
        seer = person("seer", "view_rule", "view_persona")
        page = text_of(seer.get(path))
        assert "There is no such shopper" not in page
        assert "“Hello”" in page
        assert "There is no such shopper" in text_of(seer.get(f"{URL}{rule.pk}/look/?slot=home&person=nobody-here"))

    def test_preview_records_nothing(self, publisher: Client, last_item: str) -> None:
        rule = live_rule(last_item)
        publisher.get(f"{URL}{rule.pk}/look/")
        assert not Impression.objects.exists()

    def test_conflicts_faults_and_what_is_not_pinned_are_said(self, publisher: Client, last_item: str) -> None:
        rule = live_rule(last_item, "gone")
        other = live_rule(last_item, name="Spring", action="exclude", position=None)
        page = text_of(publisher.get(f"{URL}{rule.pk}/look/"))
        assert "“Spring” (exclude: never show these) is about the same items" in page
        assert f"{URL}{other.pk}/look/" in page
        assert "There is no item “gone” any more" in page
        assert "“gone” is not pinned: it is no longer in the catalogue." in page
        assert "There is no item “gone” any more" in text_of(publisher.get(URL))

    def test_cost_is_a_table_with_intervals(self, publisher: Client, last_item: str) -> None:
        figure = {"on": 0.3, "out": 0.2, "low": 0.05, "difference": 0.1, "high": 0.15}
        worse = {"on": 1.0, "out": 3.5, "low": -4.0, "difference": -2.5, "high": -1.0}
        rule = live_rule(last_item, cost_at=timezone.now(), cost={
            "n_on": 1900, "n_out": 100, "n_mixed": 2, "clicks": figure, "orders": figure | {"low": -0.01},
            "revenue": worse, "currency": "GBP", "n_other_currency": 3,
        })  # fmt: skip
        page = text_of(publisher.get(f"{URL}{rule.pk}/look/"))
        assert "1,900 people under the rule, 100 held out of it; 2 saw both" in page
        assert "+10.00 %" in page
        assert "surely more" in page
        assert "not sure" in page
        assert "−2.50 GBP" in page
        assert "95 %: −4.00 GBP to −1.00 GBP" in page
        assert "3 lines of orders in another currency" in page
        assert "▲ people who click +10.00 %, ▼ revenue per person −2.50 GBP" in text_of(publisher.get(URL))

    def test_nothing_is_predicted_where_no_trained_model_serves(self, publisher: Client, last_item: str) -> None:
        rule = live_rule(last_item)
        assert "no trained model serves" in text_of(publisher.get(f"{URL}{rule.pk}/look/"))

    def test_requests_of_a_rule_are_its_recent_lists(self, demo_shop: DemoShop, last_item: str) -> None:
        rule = live_rule(last_item, slot="", match="contains", query="bag")
        served = serving.reload()
        assert [request.query for request in predicting.requests_of(rule, served)] == ["bag"]
        Impression.objects.create(slot="search", query="red bag", rung="lexical", rules=[rule.pk])
        Impression.objects.create(slot="search", query="blue bag", rung="lexical", rules=[-rule.pk])
        Impression.objects.create(slot="search", query="lamp", rung="lexical", rules=[99])
        wanted = {request.query for request in predicting.requests_of(rule, served)}
        assert wanted == {"red bag", "blue bag", "bag"}


def test_list_shows_what_is_scheduled_and_what_has_ended(publisher: Client, last_item: str) -> None:
    now, hour = timezone.now(), dt.timedelta(hours=1)
    live_rule(last_item, name="later", starts_at=now + hour)
    live_rule(last_item, name="earlier", ends_at=now - hour)
    page = text_of(publisher.get(URL))
    assert "scheduled" in page
    assert "ended" in page
