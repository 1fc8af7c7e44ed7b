"""Days are counted once, by known answers: only what is new each hour, and once more when the day is settled."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone

from recommender import jobs
from recommender.capture import retention
from recommender.exposure import count_days, watch_floors
from recommender.exposure.reading import N_SHOWN, GroupStanding, period
from recommender.models import Alarm, ExposureDay, ExposureFloor, GroupExposure, GroupFigures, Impression, Item
from recommender.models.items import ItemStatistics
from tests.overview.shop import DAY, HOUR, NOON, happened, shown, visitor

pytestmark = pytest.mark.django_db

TODAY = timezone.localdate(NOON)
SECOND = 1 / 1.5849625007211562  # log2(3)


def item(item_id: str, **fields: Any) -> Item:
    defaults = {"label": "shop.Item", "object_id": item_id, "title": item_id, "text": item_id, "text_hash": item_id,
                "first_seen_at": NOON - 400 * DAY}  # fmt: skip
    return Item.objects.create(item_id=item_id, **{**defaults, **fields})


@pytest.fixture
def shelf() -> None:
    """Three items of two brands, one of a vendor, one sold out."""
    item("mug", brand="Axo", price=Decimal(5), currency="EUR", attributes={"vendor": "Workshop"})
    item("bowl", brand="Bly", price=Decimal(9), currency="EUR", first_seen_at=NOON - 3 * DAY)
    item("jug", brand="Axo", price=Decimal(20), currency="EUR", is_available=False)


def standing(attribute: str, value: str, **options: Any) -> GroupStanding:
    rows = period(7, today=TODAY, **options).standings.get(attribute, ())
    (one,) = [row for row in rows if row.value == value]
    return one


def share(attribute: str, value: str, **options: Any) -> float:
    exposure = standing(attribute, value, **options).exposure
    assert exposure is not None
    return exposure.value


def rows() -> list[tuple[Any, ...]]:
    return [
        row
        for model in (GroupExposure, GroupFigures)
        for row in model._default_manager.order_by("day", "attribute", "value").values_list(
            *(field.name for field in model._meta.fields if field.name != "id")
        )
    ]


def test_exposure_catalogue_and_demand_stand_side_by_side(shelf: None) -> None:
    shown(visitor(), "mug", "bowl")
    happened(visitor(), "view_item", "bowl", after=HOUR)
    count_days(at=NOON + 2 * HOUR)
    axo, bly = standing("brand", "Axo"), standing("brand", "Bly")
    assert axo.exposure is not None
    assert axo.exposure.value == pytest.approx(1 / (1 + SECOND))
    assert (axo.catalogue, bly.catalogue) == (0.5, 0.5)  # what is sold out is no part of it
    assert (axo.demand, bly.demand) == (0, 1)


def test_vendor_price_and_newness_are_counted_too(shelf: None) -> None:
    shown(visitor(), "mug", "bowl")
    count_days(at=NOON + HOUR)
    assert share("vendor", "Workshop") == pytest.approx(1 / (1 + SECOND))
    assert share("newness", "new") == pytest.approx(SECOND / (1 + SECOND))
    assert share("price", "1") == pytest.approx(1 / (1 + SECOND))


def test_attribute_of_the_catalog_is_named_by_the_setting(shelf: None, settings: Any) -> None:
    settings.RECOMMENDER = {"EXPOSURE_ATTRIBUTES": ()}
    shown(visitor(), "mug")
    count_days(at=NOON + HOUR)
    assert "vendor" not in period(7, today=TODAY).standings


def test_hourly_count_reads_only_what_is_new(shelf: None) -> None:
    shown(visitor(), "mug")
    assert count_days(at=NOON + HOUR) == 1
    Impression.objects.all().update(item_ids=["bowl"])  # a second look at this list would see another item
    shown(visitor(), "mug", at=NOON + HOUR)
    assert count_days(at=NOON + 2 * HOUR) == 1
    assert share("brand", "Axo") == 1
    assert period(7, today=TODAY).n_lists == 2


def test_two_hours_count_as_one_span(shelf: None) -> None:
    ada = visitor()
    for hour, items in enumerate((("mug", "bowl"), ("bowl", "mug"), ("bowl",))):
        shown(ada, *items, at=NOON + hour * HOUR)
        happened(ada, "view_item", items[0], after=hour * HOUR)
    for hour in range(1, 4):
        count_days(at=NOON + hour * HOUR)
    in_hours = rows()
    count_days(at=NOON + 3 * HOUR, everything=True)
    assert [tuple(map(rounded, row)) for row in in_hours] == [tuple(map(rounded, row)) for row in rows()]


def rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def test_counting_again_changes_nothing(shelf: None) -> None:
    shown(visitor(), "mug", "bowl")
    count_days(at=NOON + HOUR)
    before = rows()
    assert count_days(at=NOON + HOUR) == 0
    assert rows() == before


def test_settled_day_is_counted_once_more_with_what_came_late(shelf: None) -> None:
    count_days(at=NOON + HOUR)
    shown(visitor(), "mug")  # reported after its hour was counted
    count_days(at=NOON + 2 * HOUR)
    assert period(7, today=TODAY).n_lists == 0
    count_days(at=NOON + 20 * HOUR)
    assert period(7, today=TODAY + DAY).n_lists == 1
    assert ExposureDay.objects.get(day=TODAY).is_final
    assert count_days(at=NOON + 21 * HOUR) == 0


def test_staff_and_bots_are_left_out(shelf: None) -> None:
    boss = User.objects.create_user("boss", is_staff=True)
    shown(visitor(user_key=str(boss.pk)), "mug")
    shown(visitor(), "mug", is_bot=True)
    count_days(at=NOON + HOUR)
    assert period(7, today=TODAY).n_lists == 0


def test_each_bundle_has_its_own_exposure(shelf: None) -> None:
    shown(visitor(), "mug", bundle="b1")
    shown(visitor(), "bowl", bundle="b2")
    count_days(at=NOON + HOUR)
    assert share("brand", "Axo", arm="b1") == 1
    assert share("brand", "Bly", arm="b2") == 1
    assert share("brand", "Axo") == 0.5
    assert period(7, today=TODAY).arms == {"b1": 1, "b2": 1}


def test_orders_are_the_demand_where_there_are_enough(shelf: None) -> None:
    for _number in range(100):
        happened(None, "purchase", "mug", after=HOUR)
    for _number in range(300):
        happened(None, "view_item", "bowl", after=HOUR)
    count_days(at=NOON + 2 * HOUR)
    assert period(7, today=TODAY).is_demand_of_orders
    assert standing("brand", "Axo").demand == 1


def test_claimed_order_is_no_demand(shelf: None) -> None:
    happened(None, "purchase", "mug", after=HOUR, source="api")
    count_days(at=NOON + 2 * HOUR)
    assert not GroupFigures.objects.filter(n_orders__gt=0).exists()


def test_item_is_as_old_as_its_first_event(shelf: None) -> None:
    ItemStatistics.objects.create(item=Item.objects.get(item_id="bowl"), first_event_at=NOON - 200 * DAY)
    shown(visitor(), "bowl")
    count_days(at=NOON + HOUR)
    assert share("newness", "older") == 1


def test_groups_beyond_the_twentieth_are_one_row_but_never_one_with_a_floor() -> None:
    for number in range(N_SHOWN + 10):
        item(f"i{number}", brand=f"b{number:02}")
        shown(visitor(), f"i{number}", f"i{number}")
    ExposureFloor.objects.create(attribute="brand", value="rare", part=0.5)
    item("rare", brand="rare")
    count_days(at=NOON + HOUR)
    own = period(7, today=TODAY).standings["brand"]
    assert len(own) == N_SHOWN + 2
    assert sum(one.exposure.value for one in own if one.exposure) == pytest.approx(1)
    assert sum(one.catalogue for one in own) == pytest.approx(1)
    assert "rare" in [one.value for one in own]


def test_page_reads_six_queries(shelf: None, django_assert_num_queries: Any) -> None:
    shown(visitor(), "mug")
    count_days(at=NOON + HOUR)
    with django_assert_num_queries(6):
        period(7, today=TODAY)


@pytest.fixture
def floor(shelf: None) -> ExposureFloor:
    """Bly must get half of its share of the catalogue, which is a quarter of all exposure."""
    return ExposureFloor.objects.create(attribute="brand", value="Bly", part=0.5)


def watched(n_lists: int, *items: str, at: dt.datetime = NOON) -> list[Alarm]:
    for _number in range(n_lists):
        shown(visitor(), *items, at=at)
    count_days(at=at + HOUR)
    watch_floors(at=at + HOUR)
    return list(Alarm.objects.order_by("pk"))


def test_group_below_its_floor_raises_one_alarm(floor: ExposureFloor) -> None:
    (alarm,) = watched(60, "mug")
    assert (alarm.kind, alarm.query) == ("exposure", "brand: Bly")
    assert "0.0 % of the exposure [0.0, 6.0], the floor is 25.0 %" in alarm.figures
    assert str(alarm).startswith("brand: Bly: 0.0 %")


def test_few_lists_raise_none(floor: ExposureFloor) -> None:
    assert watched(3, "mug") == []


def test_group_above_its_floor_raises_none(floor: ExposureFloor) -> None:
    assert watched(60, "mug", "bowl") == []


def test_alarm_goes_on_and_stays_seen(floor: ExposureFloor) -> None:
    (alarm,) = watched(60, "mug")
    Alarm.objects.update(seen_at=NOON)
    (still,) = watched(60, "mug", at=NOON + 2 * DAY)
    assert (still.pk, still.seen_at) == (alarm.pk, NOON)
    assert still.day == TODAY + 2 * DAY


def test_floor_of_the_demand_follows_what_is_looked_at(shelf: None) -> None:
    ExposureFloor.objects.create(attribute="brand", value="Bly", basis="demand", part=0.5)
    assert watched(60, "mug") == []
    happened(visitor(), "view_item", "bowl", after=dt.timedelta(minutes=90))
    count_days(at=NOON + 2 * HOUR)
    assert watch_floors(at=NOON + 2 * HOUR) == 1


def test_job_counts_and_watches(floor: ExposureFloor) -> None:
    at = timezone.now() - dt.timedelta(minutes=1)
    for _number in range(60):
        shown(visitor(), "mug", at=at)
    assert jobs.perform("count_exposure", jobs.work.WORK["count_exposure"])
    assert Alarm.objects.count() == 1


def test_command_counts_too(shelf: None) -> None:
    shown(visitor(), "mug", at=timezone.now() - dt.timedelta(minutes=1))
    call_command("recommender_overview", stdout=StringIO())
    assert GroupExposure.objects.filter(attribute="brand", value="Axo").exists()


def test_figures_are_deleted_with_the_others(shelf: None) -> None:
    shown(visitor(), "mug")
    count_days(at=NOON + HOUR)
    retention.purge(at=NOON + 800 * DAY)
    assert not GroupExposure.objects.exists()
    assert not GroupFigures.objects.exists()
    assert not ExposureDay.objects.exists()
