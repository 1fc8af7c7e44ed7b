"""The life of an experiment on planted people: what it counts, what stops it, and what may not start."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from decimal import Decimal

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from recommender import bundles
from recommender.exceptions import RunError
from recommender.experiments import conduct, measuring
from recommender.models import Bundle, Event, Experiment, Impression, Item, Rule, Visitor

pytestmark = pytest.mark.django_db

DAY = dt.timedelta(days=1)
NOW = timezone.now()
START = NOW - 20 * DAY
NUMBERS = itertools.count()


@pytest.fixture
def experiment():
    return Experiment.objects.create(
        name="new order", changes={"diversity": 0.5}, state=Experiment.State.LIVE, started_at=START, outcome_days=7,
        planned_people=400, variant_share=0.5,
    )  # fmt: skip


def exposed(experiment, arm, *, first=START + DAY, user_key=None, **list_):
    """One visitor who was shown a list in this arm."""
    visitor = Visitor.objects.create(user_key=user_key)
    Impression.objects.create(
        visitor=visitor, slot="home", rung="champion", item_ids=["x"], arms=f"{experiment.pk}{arm}",
        occurred_at=first, **list_,
    )  # fmt: skip
    return visitor


def many(experiment, arm, n, *, ordering, first=START + DAY, item="x"):
    """n visitors, of whom the first `ordering` ordered once for 10."""
    visitors = Visitor.objects.bulk_create(Visitor() for _ in range(n))
    Impression.objects.bulk_create(
        Impression(visitor=visitor, slot="home", rung="champion", arms=f"{experiment.pk}{arm}", occurred_at=first)
        for visitor in visitors
    )
    Event.objects.bulk_create(order_of(visitor, at=first + DAY, item=item) for visitor in visitors[:ordering])


def order_of(visitor, *, at, price="10.00", currency="GBP", source="order", kind="purchase", order_id="", item="x"):
    number = next(NUMBERS)
    return Event(
        message_id=f"m{number}", visitor=visitor, type=kind, item_id=item, occurred_at=at, price=Decimal(price),
        currency=currency, source=source, order_id=order_id or f"o{number}",
    )  # fmt: skip


def measured(experiment):
    return measuring.measure(experiment, at=NOW)


def test_means_are_per_person_of_each_arm(experiment):
    many(experiment, "a", 100, ordering=10)
    many(experiment, "b", 100, ordering=20)
    results = measured(experiment)
    assert results["people"] == {"a": 100, "b": 100}
    assert (results["metrics"]["orders"]["a"], results["metrics"]["orders"]["b"]) == (0.1, 0.2)
    assert (results["metrics"]["revenue"]["a"], results["metrics"]["revenue"]["b"]) == (1.0, 2.0)
    assert results["metrics"]["orders"]["difference"] == pytest.approx(0.1)
    assert results["currency"] == "GBP"


def test_second_measurement_says_the_same(experiment):
    many(experiment, "a", 100, ordering=10)
    many(experiment, "b", 100, ordering=20)
    assert measured(experiment) == measured(experiment)


def test_lines_of_one_order_are_one_order_and_refunds_are_no_revenue(experiment):
    visitor = exposed(experiment, "a")
    at = START + 2 * DAY
    rows = [
        order_of(visitor, at=at, order_id="one"), order_of(visitor, at=at, order_id="one"),
        order_of(visitor, at=at, kind="refund", order_id="one"),
    ]  # fmt: skip
    Event.objects.bulk_create(rows)
    figures = measured(experiment)["metrics"]
    assert (figures["orders"]["a"], figures["revenue"]["a"]) == (1.0, 10.0)


def test_only_what_falls_into_the_days_counts(experiment):
    visitor = exposed(experiment, "a")
    Event.objects.bulk_create(order_of(visitor, at=START + days * DAY) for days in (0.5, 2, 8.5))
    assert measured(experiment)["metrics"]["orders"]["a"] == 1.0


def test_order_that_an_app_claims_is_no_order(experiment):
    visitor = exposed(experiment, "a")
    order_of(visitor, at=START + 2 * DAY, source="api").save()
    assert measured(experiment)["metrics"]["orders"]["a"] == 0


def test_order_under_another_visitor_of_the_same_user_counts(experiment):
    exposed(experiment, "a", user_key="ann")
    order_of(Visitor.objects.create(user_key="ann"), at=START + 2 * DAY).save()
    assert measured(experiment)["metrics"]["orders"]["a"] == 1.0


def test_click_on_a_list_counts_and_a_look_does_not(experiment):
    visitor = exposed(experiment, "b")
    click = {"visitor": visitor, "item_id": "x", "occurred_at": START + 2 * DAY, "type": "select_item"}
    Event.objects.create(message_id="listed", ranking_id=uuid.uuid4(), **click)
    Event.objects.create(message_id="elsewhere", **click)
    assert measured(experiment)["metrics"]["clicks"]["b"] == 1.0


def test_who_saw_both_arms_or_came_a_moment_ago_is_left_out(experiment):
    exposed(experiment, "a", user_key="ann")
    exposed(experiment, "b", user_key="ann")
    exposed(experiment, "a", first=NOW - DAY)
    results = measured(experiment)
    assert (results["people"], results["n_mixed"], results["n_waiting"]) == ({"a": 0, "b": 0}, 1, 1)


def test_staff_and_bots_are_nobody(experiment):
    staff = get_user_model().objects.create(username="clerk", is_staff=True)
    exposed(experiment, "a", user_key=str(staff.pk))
    exposed(experiment, "a", is_bot=True)
    assert measured(experiment)["people"] == {"a": 0, "b": 0}


def test_experiment_with_a_number_that_begins_alike_is_another(experiment):
    Impression.objects.create(
        visitor=Visitor.objects.create(),
        slot="home",
        rung="champion",
        arms=f"{experiment.pk}1a",
        occurred_at=START + DAY,
    )
    assert measured(experiment)["people"] == {"a": 0, "b": 0}


def test_second_currency_is_left_out_of_revenue_and_counted(experiment):
    visitor = exposed(experiment, "a")
    rows = [order_of(visitor, at=START + 2 * DAY), order_of(visitor, at=START + 2 * DAY)]
    Event.objects.bulk_create([*rows, order_of(visitor, at=START + 2 * DAY, price="900", currency="JPY")])
    results = measured(experiment)
    assert (results["metrics"]["revenue"]["a"], results["currency"], results["n_other_currency"]) == (20.0, "GBP", 1)


def make_item(item_id, margin=None, currency="GBP"):
    Item.objects.create(item_id=item_id, label="a.B", object_id=item_id, title=item_id, text=item_id, text_hash="h",
                        margin=None if margin is None else Decimal(margin), currency=currency)  # fmt: skip


def test_margin_is_earned_with_each_unit_and_lost_with_a_refund(experiment):
    make_item("x", "4.00"), make_item("y", "-1.50")
    visitors = [exposed(experiment, "a"), exposed(experiment, "a")]
    at = START + 2 * DAY
    rows = [order_of(visitors[0], at=at), order_of(visitors[0], at=at), order_of(visitors[1], at=at, item="y")]
    rows[0].quantity = 3
    Event.objects.bulk_create([*rows, order_of(visitors[0], at=at, kind="refund")])
    results = measured(experiment)
    assert results["metrics"]["margin"]["a"] == (3 * 4 + 4 - 4 - 1.5) / 2
    assert results["priced_share"] == 1.0


@pytest.mark.parametrize(("n_others", "mean"), [(2, 3.2), (3, None)])
def test_margins_are_compared_where_most_of_the_order_value_has_one(experiment, n_others, mean):
    make_item("x", "4.00"), make_item("y")
    visitors = [exposed(experiment, "a") for _number in range(10)]
    Event.objects.bulk_create(
        order_of(visitor, at=START + 2 * DAY, item="y" if number < n_others else "x")
        for number, visitor in enumerate(visitors)
    )
    results = measured(experiment)
    assert (results["metrics"]["margin"]["a"], results["priced_share"]) == (mean, 1 - n_others / 10)


def test_margin_in_another_currency_than_the_order_is_none(experiment):
    make_item("x", "4.00", currency="JPY")
    order_of(exposed(experiment, "a"), at=START + 2 * DAY).save()
    results = measured(experiment)
    assert (results["metrics"]["margin"]["a"], results["priced_share"]) == (None, 0.0)


def test_orders_in_a_second_currency_are_left_out_of_margin(experiment):
    make_item("x", "4.00"), make_item("y", "500", currency="JPY")
    visitor = exposed(experiment, "a")
    rows = [order_of(visitor, at=START + 2 * DAY), order_of(visitor, at=START + 2 * DAY)]
    Event.objects.bulk_create([*rows, order_of(visitor, at=START + 2 * DAY, currency="JPY", item="y")])
    results = measured(experiment)
    assert (results["metrics"]["margin"]["a"], results["n_other_currency"]) == (8.0, 1)


def test_margin_before_is_taken_out_of_it(experiment):
    """Who earned the shop 4 before does so again, in both arms: the difference of their numbers is explained."""
    make_item("x", "4.00")
    for arm, n_loyal in (("a", 80), ("b", 100)):
        many(experiment, arm, 200, ordering=n_loyal)
    Event.objects.bulk_create(
        order_of(event.visitor, at=START - DAY) for event in list(Event.objects.select_related("visitor"))
    )
    figures = measured(experiment)["metrics"]["margin"]
    assert (figures["a"], figures["b"]) == (1.6, 2.0)
    assert figures["difference"] == pytest.approx(0, abs=1e-9)


def test_variant_that_sells_as_much_at_less_margin_is_stopped(experiment):
    make_item("x", "4.00"), make_item("y", "0.40")
    for arm, sold in (("a", "x"), ("b", "y")):
        many(experiment, arm, 300, ordering=150, item=sold)
    conduct.advance(at=NOW)
    experiment.refresh_from_db()
    assert experiment.results["metrics"]["revenue"]["difference"] == 0
    assert experiment.reason == "The variant surely loses in margin per visitor."


def test_variant_can_win_by_margin(experiment):
    make_item("x", "0.40"), make_item("y", "4.00")
    Experiment.objects.update(metric="margin")
    for arm, sold in (("a", "x"), ("b", "y")):
        many(experiment, arm, 300, ordering=150, item=sold)
    conduct.advance(at=START + 28 * DAY)
    experiment.refresh_from_db()
    assert experiment.reason == "The variant surely won."


def test_margin_cannot_decide_where_no_item_has_one():
    plan = draft(metric="margin")
    make_item("x")
    with pytest.raises(RunError, match="give your Catalog a margin and run recommender_sync"):
        conduct.start(plan, at=NOW)
    make_item("y", "4.00")
    conduct.start(plan, at=NOW)


def test_arm_that_surely_loses_is_stopped(experiment):
    many(experiment, "a", 300, ordering=150)
    many(experiment, "b", 300, ordering=60)
    conduct.advance(at=NOW)
    experiment.refresh_from_db()
    assert experiment.state == Experiment.State.STOPPED
    assert "surely loses in orders per visitor" in experiment.reason
    assert experiment.ended_at == NOW


def test_equal_arms_go_on_until_their_time_is_over(experiment):
    many(experiment, "a", 200, ordering=20)
    many(experiment, "b", 200, ordering=20)
    conduct.advance(at=NOW)
    experiment.refresh_from_db()
    assert (experiment.state, experiment.measured_at) == (Experiment.State.LIVE, NOW)
    conduct.advance(at=START + 28 * DAY)
    experiment.refresh_from_db()
    assert experiment.state == Experiment.State.FINISHED
    assert "neither arm surely won" in experiment.reason


def test_missing_people_stop_it(experiment):
    many(experiment, "a", 400, ordering=0)
    many(experiment, "b", 250, ordering=0)
    conduct.advance(at=NOW)
    experiment.refresh_from_db()
    assert "people are missing on one side" in experiment.reason


def test_deleted_bundle_stops_it(experiment):
    bundle = Bundle.objects.create(name="b", encoder_hash="h")
    Experiment.objects.update(bundle=bundle, needs_bundle=True)
    bundle.delete()
    conduct.advance(at=NOW)
    experiment.refresh_from_db()
    assert (experiment.state, experiment.reason) == (Experiment.State.STOPPED, "The bundle of the variant was deleted.")


def test_variant_that_did_not_lose_is_promoted_at_the_end_where_that_was_asked_for(experiment, monkeypatch):
    bundle = Bundle.objects.create(name="b", encoder_hash="h")
    monkeypatch.setattr(bundles.store, "fetch", lambda name: None)
    Experiment.objects.update(bundle=bundle, needs_bundle=True, promotes=True)
    conduct.advance(at=START + 28 * DAY)
    experiment.refresh_from_db()
    bundle.refresh_from_db()
    assert bundle.state == Bundle.State.CHAMPION
    assert "serves everybody now" in experiment.reason


def test_interleaving_counts_whose_choices_were_clicked(experiment):
    Experiment.objects.update(kind=Experiment.Kind.INTERLEAVED)
    experiment.refresh_from_db()
    for number in range(120):
        visitor = exposed(experiment, "ab", teams="ab", first_position=1)
        shown = Impression.objects.get(visitor=visitor)
        Event.objects.create(
            message_id=f"c{number}", type="select_item", item_id="x", visitor=visitor, ranking_id=shown.pk,
            position=1 if number < 12 else 2, occurred_at=START + 2 * DAY,
        )  # fmt: skip
    results = measured(experiment)
    assert results["people"] == {"sessions": 120, "decided": 120}
    assert results["metrics"]["preference"]["b"] == pytest.approx(0.9)
    assert results["metrics"]["preference"]["low"] > 0


def draft(**changes):
    return Experiment.objects.create(**{"name": "draft", "changes": {"diversity": 0.5}, **changes})


def test_started_experiment_has_its_people_and_its_plan():
    first, second = draft(share=0.5), draft(share=0.5)
    conduct.start(first, at=NOW)
    conduct.start(second, at=NOW)
    assert (first.state, first.first, second.first) == (Experiment.State.LIVE, 0.0, 0.5)
    assert first.planned_people == measuring.FEWEST_PLANNED


def test_plan_follows_from_what_people_did_before():
    some = draft(lift=0.2)
    many(some, "a", 400, ordering=40, first=NOW - 15 * DAY)
    forecast = measuring.forecast(some, at=NOW)
    by_hand = 3.877**2 * (0.09 / 0.5 + 0.09 * 1.2 / 0.5) / (0.1 * 0.2) ** 2
    assert forecast.planned == pytest.approx(by_hand, rel=0.01)
    assert forecast.n_people_a_day == pytest.approx(400 / 14)
    assert forecast.days == pytest.approx(by_hand / (400 / 14), abs=10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"changes": {}}, "Both arms are the same"),
        ({"changes": {"colour": 1}}, "A variant cannot have colour = 1. It may change: diversity"),
        ({"changes": {"diversity": 3}}, "A variant cannot have diversity = 3"),
        ({"slots": ["hme"]}, "There is no slot hme"),
        ({"needs_bundle": True}, "The bundle of the variant was deleted"),
        ({"state": "stopped"}, "already been started"),
    ],
)
def test_experiment_that_cannot_run_is_refused_with_the_repair(changes, message):
    with pytest.raises(RunError, match=message):
        conduct.start(draft(**changes), at=NOW)


def test_full_group_is_refused():
    conduct.start(draft(share=0.7), at=NOW)
    with pytest.raises(RunError, match="has no room for 40 % of the shoppers"):
        conduct.start(draft(share=0.4), at=NOW)
    conduct.start(draft(share=0.4, group="other"), at=NOW)


def test_two_bundles_on_one_list_must_exclude_each_other(monkeypatch):
    monkeypatch.setattr(bundles.store, "fetch", lambda name: None)
    rows = [Bundle.objects.create(name=name, encoder_hash="h") for name in "bc"]
    conduct.start(draft(bundle=rows[0], slots=["home"], share=0.5), at=NOW)
    with pytest.raises(RunError, match="give both the same exclusion group"):
        conduct.start(draft(bundle=rows[1], group="other", share=0.5), at=NOW)
    conduct.start(draft(bundle=rows[1], group="other", share=0.5, slots=["search"]), at=NOW)


def test_bundle_that_serves_everybody_is_no_variant():
    champion = Bundle.objects.create(name="c", encoder_hash="h", state=Bundle.State.CHAMPION)
    with pytest.raises(RunError, match="serves everybody already"):
        conduct.start(draft(bundle=champion, changes={}), at=NOW)


def test_only_a_live_experiment_can_be_stopped():
    with pytest.raises(RunError, match="not live"):
        conduct.stop(draft(), at=NOW, reason="")


def test_rules_alone_make_a_variant_once_they_are_live():
    draft = Experiment.objects.create(name="mugs first")
    rule = Rule.objects.create(name="mugs", action="banner", text="Mugs", experiment=draft)
    with pytest.raises(RunError, match="publish or withdraw it first"):
        conduct.start(draft, at=NOW)
    Rule.objects.update(state=Rule.State.LIVE)
    conduct.start(draft, at=NOW)
    assert Experiment.objects.get().state == Experiment.State.LIVE
    assert rule.experiment == draft
