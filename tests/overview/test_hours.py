"""Hours are summed up once, by known answers: who is credited, what is late, and that a second time changes nothing."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import models
from django.utils import timezone

from recommender import jobs
from recommender.capture import retention
from recommender.models import Event, HourlyFigures, HourlyRevenue, HourlyTraffic, Impression, Item, Job
from recommender.overview import roll_up
from tests.overview.shop import DAY, HOUR, NOON, bought, from_list, happened, searched, shown, visitor

pytestmark = pytest.mark.django_db

COUNTS = ("n_lists", "n_clicked", "n_carted", "n_ordered", "n_clicks", "n_carts", "n_orders")
EVENING = NOON + 6 * HOUR


def sums(**filters: Any) -> dict[str, int]:
    rows = HourlyFigures.objects.filter(**filters).aggregate(**{name: models.Sum(name) for name in COUNTS})
    return {name: n or 0 for name, n in rows.items()}


def rows_of(*tables: type[models.Model]) -> list[tuple[Any, ...]]:
    return [
        row
        for table in tables
        for row in table._default_manager.order_by("hour").values_list(
            *(field.name for field in table._meta.fields if field.name not in ("id", "computed_at"))
        )
    ]


def test_lists_are_counted_by_hour_slot_rung_and_arm() -> None:
    ada = visitor()
    for slot, bundle in (("home", "b1"), ("home", "b1"), ("home", "b2"), ("cart", "b1")):
        shown(ada, "mug", slot=slot, bundle=bundle)
    shown(ada, "mug", at=NOON + HOUR)
    roll_up(at=EVENING)
    rows = HourlyFigures.objects.order_by("hour", "slot", "arm").values_list("hour", "slot", "arm", "n_lists")
    noon = NOON.replace(minute=0)
    assert list(rows) == [
        (noon, "cart", "b1", 1),
        (noon, "home", "b1", 2),
        (noon, "home", "b2", 1),
        (noon + HOUR, "home", "b1", 1),
    ]


def test_list_is_credited_with_what_its_person_did_with_its_items() -> None:
    first, second = shown(visitor(), "mug", "bowl"), shown(visitor(), "mug")
    from_list(first, "select_item", "mug")
    from_list(first, "select_item", "mug", after=2 * HOUR)
    from_list(first, "add_to_cart", "bowl")
    bought(first, "bowl", "4.50", quantity=2)
    bought(second, "mug", "3")
    roll_up(at=EVENING)
    assert sums() == {
        "n_lists": 2, "n_clicked": 2, "n_carted": 1, "n_ordered": 2, "n_clicks": 3, "n_carts": 1, "n_orders": 2,
    }  # fmt: skip
    income = HourlyRevenue.objects.get()
    assert (income.currency, income.n_lists, income.revenue) == ("EUR", 2, Decimal("12.000"))
    assert income.squares == pytest.approx(9.0**2 + 3.0**2)


def test_nobody_is_credited_with_what_others_did_elsewhere_or_later() -> None:
    ada, bob = visitor(), visitor()
    hers = shown(ada, "mug")
    from_list(hers, "select_item", "mug", person=bob)
    from_list(hers, "select_item", "plate")
    from_list(hers, "select_item", "mug", after=DAY + HOUR)
    from_list(hers, "select_item", "mug", is_bot=True)
    shown(None, "mug")
    roll_up(at=NOON + 3 * DAY)
    assert sums()["n_lists"] == 2
    assert sums()["n_clicked"] == 0


def test_person_is_credited_on_every_device() -> None:
    phone, laptop = visitor(user_key="7"), visitor(user_key="7")
    bought(shown(phone, "mug"), "mug", "3", person=laptop)
    roll_up(at=EVENING)
    assert sums()["n_ordered"] == 1


def test_purchase_that_only_a_client_claims_is_a_cart_and_no_revenue() -> None:
    bought(shown(visitor(), "mug"), "mug", "900", source="api")
    roll_up(at=EVENING)
    assert (sums()["n_carted"], sums()["n_ordered"]) == (1, 0)
    assert not HourlyRevenue.objects.exists()


def test_bots_and_staff_are_left_out() -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    shown(visitor(user_key=str(clerk.pk)), "mug")
    shown(visitor(), "mug", is_bot=True)
    roll_up(at=EVENING)
    assert sums()["n_lists"] == 0


def test_each_currency_has_its_own_row() -> None:
    one = shown(visitor(), "mug", "bowl")
    bought(one, "mug", "3", "EUR")
    bought(one, "bowl", "1000", "JPY")
    roll_up(at=EVENING)
    assert dict(HourlyRevenue.objects.values_list("currency", "revenue")) == {"EUR": 3, "JPY": 1000}


def test_window_of_attribution_is_a_setting(settings: Any) -> None:
    bought(shown(visitor(), "mug"), "mug", "3", after=3 * DAY)
    roll_up(at=NOON + 4 * DAY)
    assert sums()["n_ordered"] == 0
    settings.RECOMMENDER = settings.RECOMMENDER | {"ATTRIBUTION_DAYS": 7}
    roll_up(at=NOON + 4 * DAY, everything=True)
    assert sums()["n_ordered"] == 1


def test_second_roll_up_changes_nothing() -> None:
    one = shown(visitor(), "mug")
    bought(one, "mug", "3")
    searched(visitor(), "teapot", n_found=0)
    tables = (HourlyFigures, HourlyRevenue, HourlyTraffic)
    roll_up(at=EVENING)
    before = rows_of(*tables)
    assert len(before) > 3
    roll_up(at=EVENING)
    assert rows_of(*tables) == before
    roll_up(at=EVENING + 2 * HOUR, everything=True)
    assert rows_of(*tables)[: len(before)] != []
    assert set(before) <= set(rows_of(*tables))


def test_late_event_is_counted_within_the_hour() -> None:
    one = shown(visitor(), "mug")
    roll_up(at=EVENING)
    assert sums()["n_clicked"] == 0
    from_list(one, "select_item", "mug", received_at=EVENING + HOUR)
    roll_up(at=EVENING + HOUR)
    assert sums()["n_clicked"] == 1


def test_event_that_comes_after_the_stated_time_is_counted_only_on_request() -> None:
    one = shown(visitor(), "mug")
    roll_up(at=EVENING)
    from_list(one, "select_item", "mug")
    for days in (5, 6):
        roll_up(at=NOON + days * DAY)
    assert sums()["n_clicked"] == 0
    roll_up(at=NOON + 6 * DAY, everything=True)
    assert sums()["n_clicked"] == 1


def test_only_the_newest_hours_are_summed_up_again_within_an_hour() -> None:
    shown(visitor(), "mug", at=NOON - 9 * DAY)
    assert roll_up(at=NOON).n_hours == 9 * 24 + 1
    assert roll_up(at=NOON + dt.timedelta(minutes=5)).n_hours == 1
    assert roll_up(at=NOON + HOUR).n_hours == 4 * 24 + 1


def test_interrupted_roll_up_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    from recommender.overview import hours

    for days in range(4):
        shown(visitor(), "mug", at=NOON - days * DAY)
    whole = hours._sum_up_again

    def interrupted(start: dt.datetime, end: dt.datetime, at: dt.datetime) -> None:
        if start > NOON - 2 * DAY:
            raise ConnectionError
        whole(start, end, at)

    monkeypatch.setattr(hours, "_sum_up_again", interrupted)
    with pytest.raises(ConnectionError):
        roll_up(at=NOON)
    assert 0 < sums()["n_lists"] < 4
    monkeypatch.setattr(hours, "_sum_up_again", whole)
    roll_up(at=NOON)
    assert sums()["n_lists"] == 4


def test_hours_whose_behaviour_is_deleted_keep_their_sums() -> None:
    now = timezone.now()
    bought(shown(visitor(), "mug", at=now - 400 * DAY), "mug", "3")
    shown(visitor(), "mug", at=now - 3 * DAY)
    HourlyFigures.objects.create(hour=now - 400 * DAY, slot="home", rung="champion", n_lists=5)
    assert retention.purge(at=now)["impressions"] == 1
    roll_up(at=now, everything=True)
    assert sums()["n_lists"] == 6
    retention.purge(at=now + 331 * DAY)
    assert sums()["n_lists"] == 1


def test_traffic_counts_events_and_searches_with_and_without_a_result() -> None:
    ada, bob = visitor(), visitor()
    searched(ada, "Red  mug")
    searched(ada, "red mug")
    searched(bob, "teapot", n_found=0)
    searched(bob, "by the shop's own search", n_found=None)
    happened(None, "view_item", "mug", after=HOUR)
    roll_up(at=EVENING)
    noon = HourlyTraffic.objects.get(hour=NOON.replace(minute=0))
    assert (noon.n_events, noon.n_searches, noon.n_answered, noon.n_unmatched) == (4, 3, 2, 1)
    assert HourlyTraffic.objects.get(hour=NOON.replace(minute=0) + HOUR).n_events == 1


def test_empty_shop_is_summed_up_too() -> None:
    assert roll_up(at=NOON).n_hours == 1
    assert not HourlyFigures.objects.exists()
    assert roll_up(at=NOON + 5 * HOUR).n_hours == 6


def test_no_person_is_named_in_what_is_summed_up() -> None:
    person = visitor(user_key="ada-7")
    bought(shown(person, "mug"), "mug", "3")
    searched(person, "ada lovelace")
    roll_up(at=EVENING)
    stored = repr(rows_of(HourlyFigures, HourlyRevenue, HourlyTraffic))
    assert not [name for name in ("ada", str(person.key), person.key.hex) if name in stored]


def test_command_and_worker_sum_up_under_the_same_lease() -> None:
    shown(visitor(), "mug", at=timezone.now() - HOUR)
    assert jobs.perform("roll_up", jobs.WORK["roll_up"])
    assert sums()["n_lists"] == 1
    output = StringIO()
    call_command("recommender_overview", "--all", stdout=output)
    assert output.getvalue().startswith("2 hours were summed up")
    Job.objects.filter(name="roll_up").update(held_until=timezone.now() + HOUR)
    output = StringIO()
    call_command("recommender_overview", stdout=output)
    assert output.getvalue().startswith("A worker is summing up")


def test_search_page_stores_how_many_items_matched(demo_shop: Any) -> None:
    from recommender import pipeline
    from recommender.capture import ImpressionDraft, ingest

    person = visitor()
    rankings = [pipeline.search("zzyzx"), pipeline.search("bag"), pipeline.recommend("trending")]
    ingest([], [ImpressionDraft(ranking, timezone.now(), visitor_key=person.key) for ranking in rankings])
    n_found = dict(Impression.objects.values_list("pk", "n_found"))
    assert n_found[rankings[0].id] == 0
    assert n_found[rankings[1].id] == rankings[1].n_found > 0
    assert n_found[rankings[2].id] is None
    assert not Event.objects.exclude(type="purchase").filter(visitor=person).exists()


def test_margin_of_what_was_ordered_is_summed_up_where_it_is_known() -> None:
    Item.objects.create(item_id="mug", margin=Decimal("1.50"), currency="EUR")
    one = shown(visitor(), "mug", "bowl")
    bought(one, "mug", "12.00", quantity=2)
    bought(one, "bowl", "5.00")
    bought(one, "mug", "900", currency="JPY")
    roll_up(at=EVENING)
    margins = dict(HourlyRevenue.objects.values_list("currency", "margin"))
    assert margins == {"EUR": Decimal(3), "JPY": None}
