"""What hangs in a thread of the pool holds up nobody for longer than they wanted to wait."""

from __future__ import annotations

import os
import threading
import time
from contextvars import ContextVar

import pytest

from recommender.deadlines import Pool, PoolFull, TooLate, pool, run_within

GRACE_SECONDS = 0.5
"""What a busy machine may add to a wait."""


@pytest.fixture
def gate():
    """Work that hangs until the test ends."""
    event = threading.Event()
    yield event
    event.set()


def hangs(pool_of_test, gate, seconds=0.01):
    with pytest.raises(TooLate):
        pool_of_test.run_within(gate.wait, seconds)


def test_result_and_error_reach_the_caller():
    assert run_within(lambda: 7, 5) == 7
    with pytest.raises(ZeroDivisionError):
        run_within(lambda: 1 / 0, 5)


def test_caller_goes_on_after_its_seconds(gate):
    started = time.monotonic()
    hangs(Pool(), gate, 0.05)
    assert 0.05 <= time.monotonic() - started < 0.05 + GRACE_SECONDS


def test_no_time_left_begins_nothing():
    ran = []
    with pytest.raises(TooLate):
        run_within(lambda: ran.append(1), -0.1)
    assert not ran


def test_work_sees_the_context_of_its_caller():
    language = ContextVar("language", default="en")
    language.set("de")
    assert run_within(language.get, 5) == "de"


def test_threads_that_hang_are_replaced(gate):
    threads = Pool(n_threads=2, most_threads=6)
    for _ in range(3):
        hangs(threads, gate)
    assert threads.run_within(lambda: "answered", 5) == "answered"
    assert (threads.n_hanging, threads.n_running) == (3, 4)


def test_threads_end_that_were_needed_only_beside_hanging_ones():
    event, threads = threading.Event(), Pool(n_threads=1, most_threads=4)
    hangs(threads, event)
    assert threads.run_within(lambda: 1, 5) == 1
    event.set()
    until = time.monotonic() + 5
    while threads.n_running > 1 and time.monotonic() < until:
        threads.run_within(lambda: 1, 5)
    assert (threads.n_hanging, threads.n_running) == (0, 1)


def test_where_all_threads_hang_nobody_waits(gate):
    threads = Pool(n_threads=1, most_threads=2)
    hangs(threads, gate), hangs(threads, gate)
    started = time.monotonic()
    with pytest.raises(PoolFull):
        threads.run_within(lambda: 1, 30)
    assert time.monotonic() - started < GRACE_SECONDS


def test_job_that_was_given_up_before_its_turn_never_runs(gate):
    threads, ran, started = Pool(n_threads=1), [], threading.Event()
    first = threading.Thread(target=lambda: threads.run_within(lambda: (started.set(), gate.wait()), 5))
    first.start()
    assert started.wait(5)
    with pytest.raises(TooLate):
        threads.run_within(lambda: ran.append(1), 0.01)
    gate.set()
    first.join(5)
    assert threads.run_within(lambda: "next", 5) == "next"
    assert not ran


def test_two_hundred_callers_at_once_are_all_answered_by_eight_threads():
    threads, most, lock, results = Pool(most_waiting=200), [0, 0], threading.Lock(), []

    def work():
        with lock:
            most[0] += 1
            most[1] = max(most)
        time.sleep(0.002)
        with lock:
            most[0] -= 1
        return 1

    callers = [threading.Thread(target=lambda: results.append(threads.run_within(work, 30))) for _ in range(200)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert len(results) == 200
    assert 1 <= most[1] <= threads.n_threads
    assert threads.n_running <= threads.n_threads


def test_more_than_may_wait_are_refused_at_once(gate):
    threads, outcomes = Pool(n_threads=1, most_waiting=3), []

    def call():
        try:
            threads.run_within(gate.wait, 0.5)
        except (TooLate, PoolFull) as error:
            outcomes.append(type(error))

    callers = [threading.Thread(target=call) for _ in range(20)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(10)
    assert len(outcomes) == 20
    assert outcomes.count(PoolFull) >= 20 - 4


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_child_after_a_fork_has_threads_of_its_own(gate):
    for _ in range(2):
        hangs(pool._pool, gate)
    assert run_within(lambda: 1, 5) == 1
    child = os.fork()
    if not child:
        try:
            status = 0 if run_within(os.getpid, 5) == os.getpid() and pool._pool.n_hanging == 0 else 3
        finally:
            os._exit(locals().get("status", 4))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_closing_waits_for_what_runs_and_no_longer(gate):
    quick, stuck = Pool(), Pool()
    quick.run_within(lambda: 1, 5)
    hangs(stuck, gate)
    started = time.monotonic()
    quick.close(30)
    stuck.close(0.05)
    assert time.monotonic() - started < GRACE_SECONDS
    with pytest.raises(PoolFull):
        quick.run_within(lambda: 1, 5)
