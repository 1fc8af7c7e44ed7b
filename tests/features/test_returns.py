"""What is kept of purchases once goods came back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommender.features.returns import PURCHASE, REFUND, remaining_quantities
from recommender.types import EVENT_CODES, EventType

VIEW = EVENT_CODES[EventType.VIEW_ITEM]
EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([PURCHASE, REFUND, VIEW]), st.integers(1, 4)), max_size=30
)


def left(events):
    columns = list(zip(*events, strict=True)) or [(), (), ()]
    key, kind, quantity = (np.array(column, kind) for column, kind in zip(columns, ("i8", "i1", "f4"), strict=True))
    return remaining_quantities(key, kind, quantity)


def test_newest_purchase_before_it_gives_first():
    events = [(7, PURCHASE, 3), (7, PURCHASE, 1), (8, PURCHASE, 1), (7, REFUND, 2), (7, PURCHASE, 5)]
    assert left(events).tolist() == [2, 0, 1, 0, 5]


def test_more_than_was_bought_stays_open():
    assert left([(1, PURCHASE, 1), (1, REFUND, 3), (2, REFUND, 1)]).tolist() == [0, 2, 1]


@given(EVENTS)
def test_goods_are_kept_returned_or_open_and_a_second_time_changes_nothing(events):
    found = left(events)
    assert (found >= 0).all()
    for one in {key for key, _, _ in events}:
        total = sum(n if kind == PURCHASE else -n for key, kind, n in events if key == one and kind != VIEW)
        rows = [row for row, (key, kind, _) in enumerate(events) if key == one and kind != VIEW]
        assert total == sum(found[row] if events[row][1] == PURCHASE else -found[row] for row in rows)
    again = left([(key, kind, n) for (key, kind, _), n in zip(events, found, strict=True)])
    np.testing.assert_array_equal(again, found)
