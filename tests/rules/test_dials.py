"""The way of a profit dial: drafted by one person, let live by another, in memory at the next refresh, and secret."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from recommender import pipeline, serving
from recommender.exceptions import RuleError, StaleRule
from recommender.experiments import conduct
from recommender.models import Item, ProfitDial, Run
from recommender.rules import dials
from recommender.runs.figures import Figures, Gain, ProfitPoint
from recommender.serving import Served, answers
from recommender.types import Ranking, Request, Slot
from tests.admin.test_rules import person
from tests.conftest import DemoShop

pytestmark = pytest.mark.django_db

URL = "/admin/recommender/profitdial/"
POINTS = (
    ProfitPoint(0.0, 2.0, 0.5, Gain(0, 0, 0), 90),
    ProfitPoint(0.5, 2.4, 0.49, Gain(-0.02, -0.01, 0.0), 90),
    ProfitPoint(1.0, 2.5, 0.45, Gain(-0.07, -0.05, -0.03), 90),
)


@pytest.fixture
def people() -> tuple[User, User]:
    return User.objects.create_user("ada"), User.objects.create_user("bob")


def drafted(user: User, weight: float = 1.0) -> ProfitDial:
    dial = ProfitDial(slot="trending", weight=weight, note="Spring.")
    dials.create(dial, user=user)
    return dial


def live(people: tuple[User, User], weight: float = 1.0) -> ProfitDial:
    dial = dials.submit(drafted(people[0], weight), version=1)
    return dials.publish(dial, user=people[1], version=2)


def test_nobody_lets_an_own_dial_live(people: tuple[User, User]) -> None:
    dial = dials.submit(drafted(people[0]), version=1)
    with pytest.raises(RuleError, match="another person"):
        dials.publish(dial, user=people[0], version=2)
    assert dials.live_dials() == {}
    assert dials.publish(dial, user=people[1], version=2).state == "live"
    assert dials.live_dials() == {Slot.TRENDING: 1.0}


def test_draft_that_was_not_submitted_does_not_go_live(people: tuple[User, User]) -> None:
    former = live(people, 0.5)
    with pytest.raises(RuleError, match="draft"):
        dials.publish(drafted(people[0]), user=people[1], version=1)
    former.refresh_from_db()
    assert former.state == "live"


def test_later_dial_takes_the_place_of_the_former(people: tuple[User, User]) -> None:
    first, second = live(people, 0.5), live(people, 2.0)
    first.refresh_from_db()
    assert (first.state, second.state) == ("withdrawn", "live")
    assert dials.live_dials() == {Slot.TRENDING: 2.0}


def test_change_after_the_review_began_needs_another(people: tuple[User, User]) -> None:
    dial = dials.submit(drafted(people[0]), version=1)
    dial.weight = 2.0
    dials.change(dial, user=people[0], version=2)
    assert dial.state == "draft"
    with pytest.raises(StaleRule):
        dials.publish(dial, user=people[1], version=2)


def test_second_of_two_editors_overwrites_nothing(people: tuple[User, User]) -> None:
    dial = drafted(people[0])
    for_bob = ProfitDial.objects.get(pk=dial.pk)
    dial.weight = 2.0
    dials.change(dial, user=people[0], version=1)
    for_bob.weight = 0.5
    with pytest.raises(StaleRule, match="ada has changed it"):
        dials.change(for_bob, user=people[1], version=1)
    assert ProfitDial.objects.get().weight == 2.0


def test_outdated_page_of_a_dial_is_told_and_keeps_what_was_typed(demo_shop: DemoShop) -> None:
    editors = [person(name, "view_profitdial", "change_profitdial") for name in ("ada", "bob")]
    dial = drafted(User.objects.get(username="ada"))
    url, typed = f"{URL}{dial.pk}/change/", {"slot": "home", "note": "Mine.", "read_version": "1"}
    editors[0].post(url, typed | {"weight": "2"})
    page = words(editors[1].post(url, typed | {"weight": "0.5"}))
    assert "ada has changed it since you opened it" in page
    assert 'value="0.5"' in page
    assert ProfitDial.objects.get().weight == 2.0


def test_what_was_live_is_not_changed(people: tuple[User, User]) -> None:
    with pytest.raises(RuleError, match="write a new one"):
        dials.change(live(people), user=people[0], version=3)


def test_dial_serves_as_soon_as_a_process_refreshes(
    demo_shop: DemoShop, people: tuple[User, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = []
    ranked = answers._ranked

    def noted(request: Request, served: Served) -> Ranking:
        weights.append(request.profit)
        return ranked(request, served)

    monkeypatch.setattr(answers, "_ranked", noted)
    serving.reload()
    pipeline.recommend("trending")
    dial = live(people)
    serving.reload()
    for slot in ("trending", "home"):
        pipeline.recommend(slot)
    dials.withdraw(dial, version=dial.version)
    serving.reload()
    pipeline.recommend("trending")
    assert weights == [0.0, 1.0, 0.0, 0.0]


def test_experiment_may_vary_the_weight() -> None:
    assert conduct.CHANGES["profit"] == (0.0, 2.0)


def words(response: Any) -> str:
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


def test_two_people_walk_a_dial_through_the_admin(demo_shop: DemoShop) -> None:
    editor = person("editor", "view_profitdial", "add_profitdial", "change_profitdial")
    publisher = person("publisher", "view_profitdial", "publish_profitdial")
    editor.post(URL + "add/", {"slot": "home", "weight": "0.5", "note": "Spring."})
    dial = ProfitDial.objects.get()
    assert "Nobody has measured" in words(editor.get(f"{URL}{dial.pk}/submit/?version=1"))
    editor.post(f"{URL}{dial.pk}/submit/?version=1")
    assert editor.post(f"{URL}{dial.pk}/publish/?version=2").status_code == 403
    Run.objects.create(metrics=Figures(profit=POINTS).as_json(), state="succeeded")
    question = words(publisher.get(f"{URL}{dial.pk}/publish/?version=2"))
    assert "weight 0.5 earned 120.0% of what 0 earns" in question
    publisher.post(f"{URL}{dial.pk}/publish/?version=2")
    dial.refresh_from_db()
    assert (dial.state, dial.reviewed_by.username) == ("live", "publisher")  # type: ignore[union-attr]
    assert "live" in words(publisher.get(URL))
    actions = words(person("auditor", "view_action").get("/admin/recommender/approval/actions/"))
    assert "Let it live: " in actions


def test_frontier_is_drawn_with_its_table(demo_shop: DemoShop, admin_client: Client) -> None:
    Item.objects.update(margin=None)
    page = words(admin_client.get(URL + "frontier/"))
    assert "No margin is known" in page
    Item.objects.filter(pk__in=Item.objects.values("pk")[:3]).update(margin=Decimal(2))
    assert "No run has measured it yet" in words(admin_client.get(URL + "frontier/"))
    Run.objects.create(metrics=Figures(profit=POINTS).as_json(), state="succeeded")
    page = words(admin_client.get(URL + "frontier/"))
    assert "3 of 60 items have a margin" in page
    assert page.count("<circle") == 3
    assert "-0.0500 [-0.0700, -0.0300]" in page


def test_page_of_an_item_hides_its_margin(demo_shop: DemoShop) -> None:
    item = Item.objects.order_by("pk")[0]
    Item.objects.filter(pk=item.pk).update(margin=Decimal("4321.123"))
    page = words(person("reader", "view_item").get(f"/admin/recommender/item/{item.pk}/change/"))
    assert "321.123" not in page
    assert "argin" not in page


def test_no_answer_of_the_api_has_a_margin(demo_shop: DemoShop, client: Client) -> None:
    Item.objects.update(margin=Decimal("4321.123"))
    serving.reload()
    for path in ("recommendations/trending", "recommendations/home", "search?q=bag", "suggest?q=ba"):
        text = words(client.get(f"/recommender/api/v1/{path}"))
        assert "4321.1" not in text
        assert "argin" not in text
    assert "margin" not in (Path(__file__).parents[2] / "docs" / "openapi.yaml").read_text()
