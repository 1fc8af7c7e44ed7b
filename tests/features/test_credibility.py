"""How far claims count, against answers that are known by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from recommender.features import credibility
from recommender.features.credibility import control, control_limit, is_credible, person_weights
from recommender.tables import Interactions
from recommender.types import EVENT_CODES, EventType

VIEW, CART, PURCHASE, SEARCH = (
    EVENT_CODES[kind] for kind in (EventType.VIEW_ITEM, EventType.ADD_TO_CART, EventType.PURCHASE, EventType.SEARCH)
)
DAY = 86_400.0


def events(*rows: tuple[int, int, int, float, int], queries: tuple[str, ...] = ()) -> Interactions:
    """Rows of (visitor, item, type, day, claim): -1 as the claim of a row of the shop; a search has a query's row."""
    in_time = sorted(rows, key=lambda row: row[3])
    visitor, subject, kind, day, claim = (np.array(column) for column in zip(*in_time, strict=True))
    is_search = kind == SEARCH
    return Interactions(
        visitor=visitor.astype(np.int32),
        item=np.where(is_search, -1, subject).astype(np.int32),
        type=kind.astype(np.int8),
        time=day * DAY,
        quantity=np.ones(len(day), np.float32),
        basket=np.full(len(day), -1, np.int32),
        query=np.where(is_search, subject, -1).astype(np.int32),
        queries=queries,
        claim=claim.astype(np.int32),
        day=day.astype(np.int32),
    )


def bought(visitors: range, item: int, day: float) -> list[tuple[int, int, int, float, int]]:
    return [(visitor, item, PURCHASE, day, -1) for visitor in visitors]


def looked(
    visitors: range, item: int, day: float, kind: int = VIEW, *, start: int = 0
) -> list[tuple[int, int, int, float, int]]:
    return [(visitor, item, kind, day, start + n) for n, visitor in enumerate(visitors)]


def n_counted(shop: Interactions, item: int) -> int:
    return int((~control(shop).is_excess & (shop.item == item) & (shop.claim >= 0)).sum())


def test_buyer_counts_whole_and_a_visitor_the_more_the_more_days_they_came() -> None:
    shop = events(
        (0, 0, PURCHASE, 1, -1), (0, 1, VIEW, 2, 0), (1, 1, VIEW, 2, 1), (1, 2, VIEW, 2, 1), (2, 1, VIEW, 2, 2),
        (2, 1, VIEW, 3, 3), (2, 1, VIEW, 4, 4), (-1, 1, VIEW, 4, 5),
    )  # fmt: skip
    assert person_weights(shop).tolist() == pytest.approx([1, 1, 0.25, 0.25, 0.5, 0.5, 0.5, 0.25])


def test_day_that_counts_is_that_of_the_receipt() -> None:
    backdated = events((0, 0, PURCHASE, 1, -1), *[(1, 1, VIEW, day, 7) for day in range(2, 9)])
    assert set(person_weights(backdated)[1:].tolist()) == {0.25}


def test_without_any_order_those_who_return_are_credible() -> None:
    shop = events(*[(0, 0, VIEW, day, day) for day in range(3)], (1, 0, VIEW, 1, 8), (-1, 0, VIEW, 2, 9))
    assert is_credible(shop)[shop.visitor == 0].all()
    assert not is_credible(shop)[shop.visitor != 0].any()


def test_where_nobody_is_credible_all_count_the_same() -> None:
    assert person_weights(events((0, 0, VIEW, 1, 0), (1, 0, VIEW, 1, 1))).tolist() == [1, 1]


def test_claimed_purchase_makes_nobody_a_buyer() -> None:
    assert not is_credible(events((0, 0, PURCHASE, 1, 0), (1, 0, PURCHASE, 1, -1)))[0]


@pytest.mark.parametrize(
    ("n_credible", "ratio", "limit"),
    [(0, 10, 0.0), (1, 0, 0.0), (10, 10, 100 + 3 * np.sqrt(1_100)), (0.5, 2, 1 + 3 * np.sqrt(3))],
)
def test_limit_is_three_deviations_above_the_mean(n_credible: float, ratio: float, limit: float) -> None:
    assert float(control_limit(n_credible, ratio)) == pytest.approx(limit)


def test_usual_visitors_are_all_counted() -> None:
    """Ten items with five buyers and twenty other visitors each."""
    rows = [row for item in range(10) for row in bought(range(item * 5, item * 5 + 5), item, 3)]
    rows += [row for item in range(10) for row in looked(range(100, 120), item, 3)]
    assert not control(events(*rows)).is_excess.any()
    assert control(events(*rows)).bursts == ()


def honest_shop() -> list[Any]:
    """Thirty days of ten items; item k has k buyers and 4 k other visitors a day. Nobody wants item 0."""
    rows = []
    for day in range(30):
        for item in range(1, 10):
            rows += bought(range(item * 10, item * 10 + item), item, day)
            rows += looked(range(1_000 + 100 * day, 1_000 + 100 * day + 4 * item), item, day, start=100 * day)
    return rows


def test_burst_counts_no_more_people_than_the_orders_make_likely() -> None:
    shop = events(*honest_shop(), *looked(range(50_000, 55_000), 0, 29, start=10_000))
    # Half a buyer in 30 days, four visitors each: a mean of 2 / 30, and 3 deviations are .8; three always count.
    assert n_counted(shop, 0) == credibility.FEWEST_LIMITED
    (burst,) = [burst for burst in control(shop).bursts if burst.n_days == 1]
    assert (burst.kind, burst.item, burst.day, burst.n_people, burst.limit) == ("look", 0, 29, 5_000, 3)


def test_burst_leaves_the_others_alone() -> None:
    quiet = events(*honest_shop())
    loud = events(*honest_shop(), *looked(range(50_000, 55_000), 0, 29, start=10_000))
    for item in range(1, 10):
        assert n_counted(loud, item) >= 0.95 * n_counted(quiet, item)


def test_burst_spread_over_a_month_counts_no_more_than_a_month_has() -> None:
    spread = [
        row
        for day in range(30)
        for row in looked(range(50_000 + day * 9, 50_009 + day * 9), 0, day, start=10_000 + day * 9)
    ]
    shop = events(*honest_shop(), *spread)
    assert n_counted(shop, 0) <= int(control_limit(0.5, 4)) + 1
    assert any(burst.n_days == 30 and burst.n_people == 270 for burst in control(shop).bursts)


def test_bestseller_of_one_day_keeps_its_orders_and_its_visitors() -> None:
    shop = events(*honest_shop(), *bought(range(500, 560), 0, 29), *looked(range(50_000, 50_240), 0, 29, start=10_000))
    assert n_counted(shop, 0) == 240
    assert not [burst for burst in control(shop).bursts if burst.item == 0]


def test_orders_are_never_excess() -> None:
    shop = events(*honest_shop(), *bought(range(5_000, 9_000), 0, 29))
    assert not control(shop).is_excess[shop.claim < 0].any()


def test_those_who_came_on_most_days_count_first() -> None:
    regular = [(700, 0, VIEW, day, 20_000 + day) for day in range(25, 30)]
    shop = events(*honest_shop(), *looked(range(50_000, 51_000), 0, 29, start=10_000), *regular)
    assert not control(shop).is_excess[(shop.visitor == 700) & (shop.day == 29)].any()


def test_query_is_limited_however_it_is_written() -> None:
    spellings = ("red mug", "Red Mug", "réd mug")
    searches = [(2_000 + n, n % 3, SEARCH, 29, 30_000 + n) for n in range(900)]
    usual = [(10 * item, 0, SEARCH, 20, 40_000 + item) for item in range(1, 10)]
    shop = events(*honest_shop(), *searches, *usual, queries=spellings)
    counted = ~control(shop).is_excess & (shop.type == SEARCH) & (shop.day == 29)
    assert 3 <= counted.sum() <= 30


def test_shop_without_a_credible_visitor_has_no_limit() -> None:
    shop = events(*looked(range(500), 0, 1), *looked(range(500, 510), 1, 1, start=600))
    assert not control(shop).is_excess.any()


def test_same_people_are_drawn_each_time() -> None:
    shop = events(*honest_shop(), *looked(range(50_000, 51_000), 0, 29, start=10_000))
    assert np.array_equal(control(shop).is_excess, control(shop).is_excess)
    assert np.array_equal(control(dataclasses.replace(shop)).is_excess, control(shop).is_excess)


def test_nothing_is_claimed_of_nothing() -> None:
    empty = events((0, 0, PURCHASE, 1, -1)).take(np.arange(0))
    assert len(control(empty).is_excess) == len(person_weights(empty)) == 0
