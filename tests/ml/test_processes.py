import logging
import os
import signal
import time

import pytest

from recommender.exceptions import LeaseLost
from recommender.ml import processes
from recommender.ml.processes import n_processes, shared_out
from recommender.ml.progress import UNWATCHED, Progress

PARTS = [3, 1, 4, 1, 5]


def squared(part: int, progress: Progress) -> tuple[int, int]:
    return part * part, os.getpid()


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_answers_come_in_the_order_of_their_parts_from_every_number_of_processes(n: int) -> None:
    answers = shared_out(squared, PARTS, n=n)

    assert [square for square, _ in answers] == [9, 1, 16, 1, 25]
    assert len({pid for _, pid in answers}) == min(n, len(PARTS))


def test_no_part_has_no_answer() -> None:
    assert shared_out(squared, [], n=2) == []


def test_a_child_that_is_killed_costs_time_but_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    parent = os.getpid()

    def work(part: int, progress: Progress) -> int:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return part

    with caplog.at_level(logging.WARNING, logger="recommender"):
        assert shared_out(work, PARTS, n=2) == PARTS

    assert "did not compute its share (it was ended)" in caplog.text


def test_an_error_of_a_child_is_raised_as_it_would_be_without_one(caplog: pytest.LogCaptureFixture) -> None:
    def work(part: int, progress: Progress) -> int:
        return 1 // (part - 1)

    with pytest.raises(ZeroDivisionError):
        shared_out(work, [2, 1, 2], n=2)

    assert "ZeroDivisionError" in caplog.text


def test_a_run_that_is_to_end_does_not_wait_for_its_children() -> None:
    class Lost(Progress):
        def should_stop(self) -> bool:
            return True

        def check(self) -> None:
            raise LeaseLost("gone")

    started, parent = time.monotonic(), os.getpid()

    def work(part: int, progress: Progress) -> int:
        if os.getpid() != parent:
            time.sleep(60)
        return part

    with pytest.raises(LeaseLost):
        shared_out(work, PARTS, n=2, progress=Lost())

    assert time.monotonic() - started < 30


def test_steps_of_a_child_reach_who_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    class Watching(Progress):
        def step(self, done: int, total: int, loss: float | None = None) -> None:
            steps.append((done, total))

    def work(part: int, progress: Progress) -> int:
        progress.step(part, 9)
        return part

    monkeypatch.setattr(processes, "REPORT_SECONDS", 0.0)
    shared_out(work, [1, 2], n=2, progress=Watching())

    assert sorted(steps) == [(1, 9), (2, 9)]


def test_nothing_forks_while_something_is_open() -> None:
    events = []

    class Watching(Progress):
        def apart(self) -> "Watching":  # type: ignore[override]
            return self

        def __enter__(self) -> None:
            events.append("closed")

        def __exit__(self, *_: object) -> None:
            events.append("open")

    def work(part: int, progress: Progress) -> list[str]:
        return list(events)

    assert shared_out(work, [1, 2], n=2, progress=Watching()) == [["closed", "open"], ["closed"]]


def test_one_process_computes_where_the_system_cannot_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    assert n_processes(1) == 1
    assert n_processes(3) == 3
    monkeypatch.setattr(processes.sys, "platform", "darwin")
    assert n_processes(3) == 1
    assert shared_out(squared, PARTS, n=n_processes(3), progress=UNWATCHED)[1][1] == os.getpid()
