"""A pair of items is published only if several people stand behind it."""

from __future__ import annotations

import numpy as np
import pytest

from recommender.features.neighbours import Neighbours
from recommender.features.publishing import published
from recommender.features.shop_state import ShopState, build_state
from recommender.types import EventType
from tests import behaviour

ITEMS = behaviour.table()
END = 100 * behaviour.DAY


def state_of(rows: list[tuple[int, int, float, int]], kinds: list[EventType] | None = None) -> ShopState:
    events = behaviour.interactions(rows, kinds=kinds)
    return published(build_state(events, ITEMS, at=END), events)


def together(state: ShopState, row: int) -> set[int]:
    return public(state.basket, row)


def public(neighbours: Neighbours, row: int) -> set[int]:
    rows, weights = np.array([row], np.int32), np.ones(1, np.float32)
    return set(neighbours.spread(rows, weights, public_only=True)[0].tolist())


def orders(*buyers: int, items: tuple[int, int], first: int = 0) -> list[tuple[int, int, float, int]]:
    """One order of both items for each buyer."""
    return [(buyer, item, 1.0, first + order) for order, buyer in enumerate(buyers) for item in items]


def test_pair_that_two_people_bought_together_is_not_shown_and_one_of_three_is() -> None:
    state = state_of([*orders(1, 2, items=(0, 1)), *orders(1, 2, 3, items=(0, 2), first=10)])
    assert together(state, 0) == {2}
    assert together(state, 1) == set()
    assert together(state, 2) == {0}


def test_person_who_orders_often_is_one() -> None:
    assert together(state_of(orders(*[1] * 9, 2, items=(0, 1))), 0) == set()


def test_order_of_nobody_counts_as_a_person_and_three_people_in_different_orders_do_not() -> None:
    assert together(state_of(orders(-1, -1, 5, items=(0, 1))), 0) == {1}
    apart = [(person, item, 1.0, 3 * person + item) for person in range(9) for item in (0, 1)]
    assert together(state_of(apart), 0) == set()


def test_order_after_the_moment_does_not_count() -> None:
    rows = [*orders(1, 2, items=(0, 1)), (3, 0, 101.0, 9), (3, 1, 101.0, 9)]
    assert together(state_of(rows), 0) == set()


@pytest.mark.parametrize(("n_people", "expected"), [(4, set()), (5, {1})])
def test_neighbours_by_visitors_need_five(n_people: int, expected: set[int]) -> None:
    rows = [(person, item, float(item), -1) for person in range(n_people) for item in (0, 1)]
    state = state_of(rows, kinds=[EventType.VIEW_ITEM] * len(rows))
    assert public(state.visitor, 0) == expected


def test_features_and_everything_else_stay_as_they_are() -> None:
    events = behaviour.shop()
    before = build_state(events, ITEMS, at=END)
    after = published(before, events, fewest_buyers=10**6, fewest=10**6)
    for name in ("basket", "visitor"):
        for field in ("start", "item", "score"):
            a, b = (getattr(getattr(state, name), field) for state in (before, after))
            np.testing.assert_array_equal(a, b)
        assert not getattr(after, name).is_public.any()
    assert after.sequel is before.sequel


def test_many_pairs_are_counted_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    events = behaviour.shop()
    state = build_state(events, ITEMS, at=END)
    at_once = published(state, events, fewest_buyers=15)
    monkeypatch.setattr("recommender.features.publishing.PAIRS_PER_STEP", 7)
    in_steps = published(state, events, fewest_buyers=15)
    np.testing.assert_array_equal(at_once.basket.is_public, in_steps.basket.is_public)
    assert 20 < at_once.basket.is_public.sum() < len(at_once.basket.item)
