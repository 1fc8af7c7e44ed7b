"""A shop that has sold for years installs the recommender today: its past orders count as if we had been there."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from recommender import datasets, serving, statistics, sync
from recommender.models import Event, Item
from recommender.retrieval.shelf import load_shelf, refresh_shelf
from recommender.training import evaluation
from recommender.training.bench import tuned_blend
from recommender.training.split import Split, split_in_time
from recommender.training.windows import _earlier
from shopreco.shop.models import Product

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
    windows = _earlier(split)
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
