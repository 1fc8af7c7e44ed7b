"""A shop that has sold for years installs the recommender today: its past orders count as if we had been there."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from recommender import datasets, serving
from recommender.catalog import sync
from recommender.datasets import statistics
from recommender.management import doctor
from recommender.models import Event, Item
from recommender.serving.loading import load_shelf, refresh_shelf
from recommender.training.judging import evaluation
from recommender.training.judging.bench import tuned_blend
from recommender.training.judging.windows import earlier
from recommender.training.refusals import too_few_cases
from recommender.training.split import Split, split_in_time
from shopreco.shop.models import Order, Product

pytestmark = pytest.mark.django_db


def forget_dates() -> None:
    """As after a first sync of today, in a shop whose products carry no date."""
    Item.objects.update(first_seen_at=timezone.now())


def split_of_today() -> Split:
    return split_in_time(datasets.read_dataset())


def n_cases(split: Split) -> int:
    return len(evaluation.cases(split, most=10_000, seed=0))


def test_past_orders_give_as_many_cases_without_a_date_of_the_items(demo_shop: Any) -> None:
    with_dates = n_cases(split_of_today())
    forget_dates()
    assert with_dates > 10
    assert n_cases(split_of_today()) == with_dates


def test_date_of_an_import_counts_no_more_than_the_first_sale(demo_shop: Any) -> None:
    """Oscar's `date_created` is when the row was written, which may be long after the item was first sold."""
    Item.objects.update(first_seen_at=timezone.now() - dt.timedelta(days=1))
    dataset = datasets.read_dataset()
    events = dataset.recorded.interactions
    for row in range(len(dataset.items)):
        assert dataset.items.first_seen[row] == events.time[events.item == row].min()


def test_earlier_windows_and_the_blend_judge_the_same_items_without_dates(demo_shop: Any) -> None:
    forget_dates()
    split = split_of_today()
    windows = earlier(split)
    assert windows
    assert all(window.items.active.any() for window in windows)
    assert tuned_blend(split) is not None
    for window in windows:
        sold_before = np.unique(split.whole.item[split.whole.time <= window.test_start])
        assert set(np.flatnonzero(window.items.active)) <= set(sold_before.tolist())


def test_event_of_a_crawler_does_not_make_an_item_older(demo_shop: Any) -> None:
    forget_dates()
    item_id = Item.objects.order_by("pk").values_list("item_id", flat=True).first()
    Event.objects.filter(item_id=item_id).update(is_bot=True)
    dataset = datasets.read_dataset()
    assert dataset.items.first_seen[dataset.items.ids.index(item_id)] > timezone.now().timestamp() - 60


def test_shop_and_trainer_agree_on_the_age_of_an_item(demo_shop: Any) -> None:
    """Also after the next sync has written the item, and where the statistics come after the shelf was read."""
    forget_dates()
    shelf = load_shelf(None)
    statistics.refresh_statistics()
    shelf = refresh_shelf(shelf)
    expected = dict(zip(*(lambda items: (items.ids, items.first_seen))(datasets.read_dataset().items), strict=True))
    assert dict(zip(shelf.items.ids, shelf.items.first_seen, strict=True)) == pytest.approx(expected, abs=1e-3)
    Product.objects.update(title="Another title", first_seen=timezone.localdate())
    sync.sync()
    renewed = refresh_shelf(shelf)
    assert set(renewed.titles) == {"Another title"}
    assert dict(zip(renewed.items.ids, renewed.items.first_seen, strict=True)) == pytest.approx(expected, abs=1e-3)
    assert serving.reload().shelf.items.first_seen == pytest.approx(renewed.items.first_seen, abs=1e-3)


def refusal_of_today() -> str:
    return too_few_cases(split_of_today(), 0, needed="10 are needed.")


def test_refusal_says_that_the_customers_have_not_consented(demo_shop: Any) -> None:
    Event.objects.update(visitor=None)
    reason = refusal_of_today()
    assert "purchases belong to no visitor: their customers have not consented here" in reason
    assert "ORDER_CONSENT" in reason
    assert "10 are needed." in reason


def test_refusal_in_a_shop_of_guests_says_that_no_order_names_a_customer(demo_shop: Any) -> None:
    Event.objects.update(visitor=None)
    Order.objects.update(customer=None)
    reason = refusal_of_today()
    assert "the order rows name no customer" in reason
    assert "ORDER_CONSENT" not in reason


def test_refusal_says_that_orders_wait_for_the_next_reconcile(demo_shop: Any, settings: Any) -> None:
    Event.objects.update(visitor=None)
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ORDER_CONSENT": "pseudonymous"}
    assert "recommender_reconcile" in refusal_of_today()


def test_refusal_says_that_the_items_are_too_new(demo_shop: Any) -> None:
    split = split_of_today()
    hidden = replace(split, items=replace(split.items, active=np.zeros(len(split.items), bool)))
    reason = too_few_cases(hidden, 0, needed="")
    assert "first seen within it" in reason
    assert "nobody's" not in reason


def test_refusal_says_that_events_name_unknown_items(demo_shop: Any) -> None:
    ids = list(Event.objects.order_by("pk").values_list("pk", flat=True))
    Event.objects.filter(pk__in=ids[: len(ids) // 3]).update(item_id="red-mug")
    reason = refusal_of_today()
    assert f"{len(ids) // 3} of {len(ids)} events name items that do not exist" in reason


def test_refusal_counts_who_came_back_where_nothing_else_is_wrong(demo_shop: Any) -> None:
    split = split_of_today()
    buyers = split.whole.visitor[(split.whole.time >= split.test_start) & (split.whole.visitor >= 0)]
    assert f"{len(set(buyers.tolist()))} did what counts (purchase) in it" in refusal_of_today()


@pytest.mark.parametrize(
    ("settings_of_shop", "level", "repair"),
    [
        ({}, "warning", "ORDER_CONSENT"),
        ({"ORDER_CONSENT": "required"}, "ok", ""),
        ({"ORDER_CONSENT": "pseudonymous"}, "warning", "recommender_reconcile"),
    ],
)
def test_doctor_counts_the_orders_that_wait(
    demo_shop: Any, settings: Any, settings_of_shop: dict[str, str], level: str, repair: str
) -> None:
    settings.RECOMMENDER = settings_of_shop
    (of_guests,) = [finding for finding in doctor.examine() if finding.topic == "order consent"]
    assert (of_guests.level, of_guests.repair) == ("ok", "")
    assert "10 orders name no customer" in of_guests.message
    n_orders = Event.objects.filter(type="purchase").values("order_id").distinct().count()
    Event.objects.update(visitor=None)
    (finding,) = [finding for finding in doctor.examine() if finding.topic == "order consent"]
    assert finding.level == level
    assert finding.message.startswith(f"{n_orders} orders are linked to no visitor")
    assert repair in finding.repair


def test_doctor_has_nothing_to_say_where_every_order_has_its_buyer(demo_shop: Any) -> None:
    Event.objects.filter(visitor=None).delete()
    assert "order consent" not in {finding.topic for finding in doctor.examine()}
