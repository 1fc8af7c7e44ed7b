"""Regression over visitors and the order of their visits: known answers."""

import numpy as np
import pytest

from recommender.features import neighbours as module
from recommender.features.neighbours import RIDGE, regression_neighbours, sequel_neighbours


def columns(rows):
    visitor, item = (np.array(part, np.int32) for part in zip(*rows, strict=True))
    return visitor, item, np.ones(len(rows), np.float32)


def test_order_of_somebody_who_counts_half_is_half_an_order() -> None:
    visitor, basket = np.array([0, 0, 1, 1], np.int32), np.array([0, 1, 2, 3], np.int32)
    item, time = np.array([0, 1, 0, 2], np.int32), np.arange(4.0) * 1e5
    person = np.array([1, 1, 0.5, 0.5], np.float32)
    scores = dict(sequel_neighbours(visitor, basket, item, time, n_items=3, person=person).of(0))
    assert scores == pytest.approx({1: 1 / np.sqrt(2.5 * 2), 2: 0.25 / np.sqrt(2.5 * 1.5)})


def test_regression_is_the_closed_form_of_ease():
    rows = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 2), (3, 1), (3, 0), (4, 2)]
    matrix = np.zeros((5, 3))
    for visitor, item in rows:
        matrix[visitor, item] = 1
    inverse = np.linalg.inv(matrix.T @ matrix + RIDGE * np.eye(3))
    expected = inverse / -np.diag(inverse)
    neighbours = regression_neighbours(*columns(rows), n_items=3)
    for row in range(3):
        wanted = {other: expected[row, other] for other in range(3) if other != row and expected[row, other] > 0}
        assert dict(neighbours.of(row)) == pytest.approx(wanted, rel=1e-3)


def test_regression_explains_away_what_a_third_item_causes(monkeypatch):
    """0 and 2 meet only through 1: given 1, 2 says nothing of 0."""
    monkeypatch.setattr(module, "RIDGE", 0.5)
    rows = [(v, i) for v in range(40) for i in (0, 1)] + [(v, i) for v in range(40, 80) for i in (1, 2)]
    rows += [(v, i) for v in range(80, 90) for i in (0, 1, 2)]
    neighbours = regression_neighbours(*columns(sorted(rows)), n_items=3)
    assert dict(neighbours.of(1)).keys() == {0, 2}
    assert 2 not in dict(neighbours.of(0))


def test_only_the_most_bought_items_enter_a_large_regression(monkeypatch):
    monkeypatch.setattr(module, "MOST_ITEMS", 2)
    rows = [(v, i) for v in range(9) for i in (0, 1)] + [(0, 2), (1, 2)]
    neighbours = regression_neighbours(*columns(sorted(rows)), n_items=4)
    assert [len(neighbours.of(row)) for row in range(4)] == [1, 1, 0, 0]


def test_sequel_knows_what_comes_next_and_not_what_came_before():
    visitor = np.array([0, 0, 0, 1, 1], np.int32)
    basket = np.array([0, 1, 2, 3, 4], np.int32)
    item = np.array([0, 1, 2, 0, 1], np.int32)
    neighbours = sequel_neighbours(visitor, basket, item, np.arange(5.0) * 1e5, n_items=3)
    assert dict(neighbours.of(0)) == pytest.approx({1: 2 / 3, 2: 0.5 / np.sqrt(6)}), "over one order counts half"
    assert dict(neighbours.of(1)) == pytest.approx({2: 1 / np.sqrt(6)})
    assert neighbours.of(2) == []


def test_events_without_an_order_share_one_within_a_minute():
    visitor, basket = np.zeros(3, np.int32), np.full(3, -1, np.int32)
    seconds = np.array([0.0, 30.0, 90.0])
    neighbours = sequel_neighbours(visitor, basket, np.array([0, 1, 2], np.int32), seconds, n_items=3)
    assert set(dict(neighbours.of(0))) == {2}
    assert set(dict(neighbours.of(1))) == {2}


def test_anonymous_or_no_events_give_no_neighbours():
    none, no_time = np.empty(0, np.int32), np.empty(0)
    assert len(regression_neighbours(none, none, np.empty(0, np.float32), n_items=2).item) == 0
    assert len(sequel_neighbours(none, none, none, no_time, n_items=2).item) == 0
    guests = np.full(2, -1, np.int32)
    assert len(sequel_neighbours(guests, guests, np.array([0, 1], np.int32), np.zeros(2), n_items=2).item) == 0


def test_regression_of_guests_alone_is_empty():
    guests = np.full(2, -1, np.int32)
    assert len(regression_neighbours(guests, np.array([0, 1], np.int32), np.ones(2, np.float32), n_items=2).item) == 0
