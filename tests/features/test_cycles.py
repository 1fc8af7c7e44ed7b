"""When an item is due again: by the days between the visitor's own orders of it."""

import numpy as np
import pytest

from recommender.features.cycles import MOST_OVERDUE, repeat_cycles
from recommender.features.orders import purchases
from tests import behaviour


def cycles(*orders, now_day=100):
    """Cycles of (item, day) of orders, each an order of its own."""
    ordered = sorted(orders, key=lambda order: order[1])
    rows = [(item, float(day), basket) for basket, (item, day) in enumerate(ordered)]
    return repeat_cycles(purchases(behaviour.profile(rows, now_day=now_day)))


def test_cycle_is_the_mean_of_the_days_between_the_orders():
    tea = cycles((3, 40), (3, 50), (3, 70))
    assert (tea.item.tolist(), tea.n_orders.tolist()) == ([3], [3])
    assert (tea.gap_days.tolist(), tea.days_since.tolist()) == ([15], [30])
    assert tea.elapsed == pytest.approx([31 / 16])


@pytest.mark.parametrize(("last_day", "is_due"), [(89, True), (90, True), (91, False), (99, False)])
def test_item_is_due_from_the_day_on_which_its_cycle_has_passed(last_day, is_due):
    assert cycles((3, last_day), (3, last_day - 10)).is_due.tolist() == [is_due]


def test_item_bought_once_has_no_cycle_and_is_never_due():
    assert cycles((3, 1)).elapsed.tolist() == [0]
    assert not cycles((3, 1)).is_due.any()


def test_two_lines_of_one_order_are_no_cycle():
    rows = [(3, 10.0, 0), (3, 10.0, 0)]
    assert not repeat_cycles(purchases(behaviour.profile(rows, now_day=100))).is_due.any()


def test_habit_that_missed_ten_cycles_has_ended():
    gap = 5
    for days_since, is_due in ((MOST_OVERDUE * (gap + 1) - 1, True), (MOST_OVERDUE * (gap + 1), False)):
        assert cycles((3, 100 - days_since), (3, 100 - days_since - gap)).is_due.tolist() == [is_due]


def test_items_are_ascending_and_each_stands_once():
    assert cycles((5, 10), (2, 11), (5, 30), (2, 31)).item.tolist() == [2, 5]


def test_nobody_has_no_cycle():
    assert not len(repeat_cycles(purchases(behaviour.profile([], now_day=1))).item)
    assert repeat_cycles(purchases(behaviour.profile([], now_day=1))).elapsed.dtype == np.float32
