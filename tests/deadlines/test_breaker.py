"""A part that fails several times in a row is left alone, and tried by one caller at a time."""

from __future__ import annotations

import pytest

from recommender.deadlines import Breaker


class Clock:
    """Seconds that only a test lets pass."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def broken(clock):
    """A breaker that three faults have opened."""
    breaker = Breaker(clock=clock)
    assert [breaker.fail() for _ in range(3)] == [False, False, True]
    return breaker


def test_two_faults_in_a_row_leave_it_closed(clock):
    breaker = Breaker(clock=clock)
    breaker.fail(), breaker.fail()
    assert breaker.permits()
    assert not breaker.succeed()
    breaker.fail(), breaker.fail()
    assert breaker.permits()
    assert not breaker.is_open


def test_nothing_begins_during_the_rest(broken, clock):
    assert not broken.permits()
    clock.now += 0.9
    assert not broken.permits()
    assert broken.rest_seconds == pytest.approx(0.1)


def test_one_caller_tries_after_the_rest(broken, clock):
    clock.now += 1.1
    assert [broken.permits() for _ in range(200)].count(True) == 1


def test_success_closes_it(broken, clock):
    clock.now += 1.1
    assert broken.permits()
    assert broken.succeed()
    assert all(broken.permits() for _ in range(5))
    assert broken.rest_seconds == 0


def test_rest_doubles_up_to_the_longest(broken, clock):
    rests = []
    for _ in range(9):
        clock.now += broken.rest_seconds
        assert broken.permits()
        broken.fail()
        rests.append(broken.rest_seconds)
    assert rests == [2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_attempt_that_never_reports_blocks_no_later_one(broken, clock):
    clock.now += 1.1
    assert broken.permits()
    clock.now += 2.1
    assert broken.permits()
