"""How long lists took is counted in memory, written once a minute with the counts of events, and never in between."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from recommender import metrics
from recommender.capture import counting
from recommender.models import AnswerTimes

pytestmark = pytest.mark.django_db


@pytest.fixture
def _now_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_written_at", time.monotonic() - counting.WRITE_SECONDS - 1)


def stored() -> dict[tuple[str, str, int], int]:
    columns = AnswerTimes.objects.values_list("slot", "rung", "within_ms", "n")
    return {(slot, rung, within): n for slot, rung, within, n in columns}


@pytest.mark.usefixtures("_now_due")
def test_lists_are_counted_by_the_bound_they_kept(django_capture_on_commit_callbacks: Any) -> None:
    for seconds in (0.001, 0.004, 0.03, 99.0):
        metrics.observe_list("home", "champion", seconds)
    with django_capture_on_commit_callbacks(execute=True):
        counting.count({})
    assert stored() == {("home", "champion", 5): 2, ("home", "champion", 40): 1, ("home", "champion", 0): 1}
    assert AnswerTimes.objects.first().hour.timestamp() == int(timezone.now().timestamp()) // 3600 * 3600


def test_processes_add_to_the_same_row(django_capture_on_commit_callbacks: Any) -> None:
    for _process in range(2):
        metrics.observe_list("search", "lexical", 0.01)
        with django_capture_on_commit_callbacks(execute=True):
            counting.count({("page", "accepted"): 1})
        counting.write()
    assert stored() == {("search", "lexical", 15): 2}


def test_nothing_is_written_within_the_minute(
    django_assert_num_queries: Any, django_capture_on_commit_callbacks: Any
) -> None:
    metrics.observe_list("home", "champion", 0.001)
    with django_assert_num_queries(0), django_capture_on_commit_callbacks(execute=True):
        counting.count({})
    assert metrics.answers.total() == 1


def test_what_cannot_be_written_is_written_later(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    metrics.observe_list("home", "champion", 0.001)
    with django_capture_on_commit_callbacks(execute=True):
        counting.count({})

    def refuse(*_: Any, **__: Any) -> None:
        raise DatabaseError

    with monkeypatch.context() as patched:
        patched.setattr(counting, "committed", refuse)
        counting.write()
    assert not stored()
    counting.write()
    assert stored() == {("home", "champion", 5): 1}
