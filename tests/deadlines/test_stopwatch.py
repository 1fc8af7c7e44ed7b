"""A stopwatch knows the stage of an answer, refuses one that is left alone, and stops work for which nobody waits."""

from __future__ import annotations

import time

import pytest

from recommender.deadlines import Resting, Stage, Stopwatch, TooLate, during, timed_by


def test_stages_lie_in_each_other_and_each_has_its_own_time():
    with timed_by(Stopwatch()) as stopwatch:
        with during(Stage.RETRIEVAL), during(Stage.ENCODING):
            time.sleep(0.02)
        with during(Stage.POLICY):
            pass
    assert stopwatch.seconds[Stage.ENCODING] >= 0.02
    assert stopwatch.seconds[Stage.RETRIEVAL] < stopwatch.seconds[Stage.ENCODING]
    assert Stage.POLICY in stopwatch.seconds


def test_stage_that_raised_is_still_the_stage():
    with (
        timed_by(Stopwatch()) as stopwatch,
        pytest.raises(ZeroDivisionError),
        during(Stage.RETRIEVAL),
        during(Stage.HEAD),
    ):
        1 / 0  # noqa: B018
    assert stopwatch.stage == Stage.HEAD


def test_one_that_does_not_stop_goes_on_after_it_was_due():
    with timed_by(Stopwatch(time.monotonic() - 1, stops=False)) as stopwatch, during(Stage.LIVE):
        assert stopwatch.left_seconds < 0


def test_nothing_begins_after_it_was_due():
    with timed_by(Stopwatch(time.monotonic() - 1)), pytest.raises(TooLate), during(Stage.HEAD):
        pytest.fail("it began")


def test_work_ends_at_the_next_stage_once_nobody_waits():
    with timed_by(Stopwatch()) as stopwatch, during(Stage.RETRIEVAL):
        stopwatch.is_given_up = True
        with pytest.raises(TooLate), during(Stage.HEAD):
            pytest.fail("it began")


def test_stage_that_is_left_alone_is_asked_about_once_and_makes_the_answer_a_lesser_one():
    queried = []
    with timed_by(Stopwatch(permits=lambda stage: queried.append(stage) is not None)) as stopwatch:
        for _ in range(2):
            with pytest.raises(Resting, match="head"), during(Stage.HEAD):
                pytest.fail("it began")
    assert queried == [Stage.HEAD]
    assert stopwatch.rested == {Stage.HEAD}


def test_stage_that_was_left_out_does_not_begin():
    with timed_by(Stopwatch(without=frozenset({Stage.HEAD}))), pytest.raises(Resting), during(Stage.HEAD):
        pytest.fail("it began")


def test_without_a_watch_a_stage_is_only_a_block():
    with during(Stage.HEAD):
        pass
