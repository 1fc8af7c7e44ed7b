"""What is left of purchases after refunds."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.features.returns import PURCHASE, REFUND, kept_shares, remaining_quantities, returned_items
from recommender.types import EVENT_CODES, EventType
from tests import behaviour

VIEW = EVENT_CODES[EventType.VIEW_ITEM]
EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([PURCHASE, REFUND, VIEW]), st.integers(1, 4)), max_size=30
)


def columns(events):
    values = list(zip(*events, strict=True)) or [(), (), ()]
    return [np.array(column, kind) for column, kind in zip(values, ("i8", "i1", "f4"), strict=True)]


def left(events):
    return remaining_quantities(*columns(events))


def test_newest_purchase_before_it_gives_first():
    events = [(7, PURCHASE, 3), (7, PURCHASE, 1), (8, PURCHASE, 1), (7, REFUND, 2), (7, PURCHASE, 5)]
    assert left(events).tolist() == [2, 0, 1, 0, 5]


def test_more_than_was_bought_stays_open():
    assert left([(1, PURCHASE, 1), (1, REFUND, 3), (2, REFUND, 1)]).tolist() == [0, 2, 1]


@given(EVENTS)
def test_units_are_conserved_and_a_second_time_changes_nothing(events):
    remaining = left(events)
    assert (remaining >= 0).all()
    for key in {key for key, _, _ in events}:
        rows = [row for row, event in enumerate(events) if event[0] == key and event[1] != VIEW]
        signs = [1 if events[row][1] == PURCHASE else -1 for row in rows]
        before, after = (np.dot(signs, units[rows]) for units in (columns(events)[2], remaining))
        assert before == after
    again = left([(key, kind, n) for (key, kind, _), n in zip(events, remaining, strict=True)])
    np.testing.assert_array_equal(again, remaining)


@given(EVENTS)
def test_share_is_what_remains_of_purchases_once_all_refunds_follow_them(events):
    key, kind, units = columns(sorted(events, key=lambda event: event[1] == REFUND))
    remaining = remaining_quantities(key, kind, units)
    shares = kept_shares(key, kind, units, 4)
    for number in range(4):
        bought = (key == number) & (kind == PURCHASE)
        expected = remaining[bought].sum() / units[bought].sum() if bought.any() else 0
        assert shares[number] == pytest.approx(expected, abs=1e-6)


@given(EVENTS)
def test_item_is_returned_whether_or_not_its_refunds_were_taken_off(events):
    key, kind, units = columns(sorted(events, key=lambda event: event[1] == REFUND))
    profile = behaviour.profile([(item, 0, -1) for item in key.tolist()], now_day=1)
    profile = dataclasses.replace(profile, type=kind, quantity=units)
    remaining = dataclasses.replace(profile, quantity=remaining_quantities(key, kind, units))
    assert returned_items(profile) == returned_items(remaining)
