"""The cost of a rule: people under it beside people held out, with intervals that hold what was planted."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from recommender.models import Event, Impression, Rule, Visitor
from recommender.rules import costs

NOW = timezone.now()
DAY = dt.timedelta(days=1)


@pytest.mark.django_db
class TestMeasuring:
    @pytest.fixture
    def rule(self) -> Rule:
        return Rule.objects.create(name="ours", action="banner", state="live", reviewed_at=NOW - 5 * DAY)

    def person(self, rules: list[int], *, user_key: str | None = None, clicks: bool = False, spends: int = 0,
               currency: str = "GBP", **fields: Any) -> Visitor:  # fmt: skip
        visitor = Visitor.objects.create(user_key=user_key, **fields)
        for hours in (72, 48):
            shown = Impression.objects.create(
                visitor=visitor, slot="home", item_ids=["a"], rung="champion", rules=rules,
                occurred_at=NOW - dt.timedelta(hours=hours),
            )  # fmt: skip
        values = {"visitor": visitor, "item_id": "a", "occurred_at": NOW - DAY}
        if clicks:
            Event.objects.create(message_id=str(uuid.uuid4()), type="select_item", ranking_id=shown.pk, **values)
        if spends:
            Event.objects.create(
                message_id=str(uuid.uuid4()), type="purchase", source="order", order_id=str(uuid.uuid4()),
                price=Decimal(spends), currency=currency, **values,
            )  # fmt: skip
        return visitor

    def test_people_are_compared_not_lists(self, rule: Rule) -> None:
        for n in range(20):
            self.person([rule.pk], clicks=n < 10, spends=5 if n < 4 else 0)
        for n in range(10):
            self.person([-rule.pk, 99], clicks=n < 2, spends=5 if n < 1 else 0)
        self.person([99], clicks=True)
        cost = costs.measure(rule, at=NOW)
        assert (cost["n_on"], cost["n_out"], cost["n_mixed"]) == (20, 10, 0)
        assert cost["clicks"]["on"] == pytest.approx(0.5)
        assert cost["clicks"]["difference"] == pytest.approx(0.3)
        assert cost["clicks"]["low"] < 0.3 < cost["clicks"]["high"]
        assert cost["orders"]["difference"] == pytest.approx(0.1)
        assert cost["revenue"]["difference"] == pytest.approx(0.5)
        assert cost["currency"] == "GBP"

    def test_visitors_of_one_user_are_one_person(self, rule: Rule) -> None:
        for key in ("u1", "u2"):
            self.person([rule.pk], user_key=key)
            self.person([rule.pk], user_key=key)
            self.person([-rule.pk], user_key=f"{key} out")
        cost = costs.measure(rule, at=NOW)
        assert (cost["n_on"], cost["n_out"]) == (2, 2)

    def test_who_saw_both_is_left_out_and_counted(self, rule: Rule) -> None:
        self.person([rule.pk], user_key="u")
        self.person([-rule.pk], user_key="u")
        assert costs.measure(rule, at=NOW) == {"n_on": 0, "n_out": 0, "n_mixed": 1}

    def test_bots_staff_and_lists_before_the_rule_do_not_count(self, rule: Rule, admin_user: Any) -> None:
        self.person([rule.pk], user_key=str(admin_user.pk))
        early = self.person([rule.pk])
        Impression.objects.filter(visitor=early).update(occurred_at=NOW - 6 * DAY)
        robot = self.person([rule.pk])
        Impression.objects.filter(visitor=robot).update(is_bot=True)
        assert costs.measure(rule, at=NOW)["n_on"] == 0

    def test_revenue_in_another_currency_is_counted_apart(self, rule: Rule) -> None:
        for currency in ("GBP", "GBP", "EUR"):
            self.person([rule.pk], spends=6, currency=currency)
        for _ in range(2):
            self.person([-rule.pk])
        cost = costs.measure(rule, at=NOW)
        assert (cost["currency"], cost["n_other_currency"]) == ("GBP", 1)
        assert cost["revenue"]["on"] == pytest.approx(4)

    def test_too_few_people_give_no_interval(self, rule: Rule) -> None:
        self.person([rule.pk])
        assert "clicks" not in costs.measure(rule, at=NOW)

    def test_storing_figures_is_no_change_of_the_rule(self, rule: Rule) -> None:
        costs.store(rule, {"n_on": 1}, at=NOW)
        stored = Rule.objects.get()
        assert (stored.cost, stored.version, stored.updated_at) == ({"n_on": 1}, rule.version, rule.updated_at)
