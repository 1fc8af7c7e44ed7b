"""Watched queries in a run: what both models list, graded by people where they did, and how long results stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recommender.models import Run, WatchedQuery, WatchedResult
from recommender.tables import Judgements
from recommender.training.judging import watched
from recommender.training.judging.watched import graded_ndcg, rejudge, store
from tests.serving.conftest import untrained  # noqa: F401
from tests.serving.small_shop import NOW, SmallShop

pytestmark = pytest.mark.django_db

TITLES = ("red mug", "blue mug", "green cup", "desk lamp", "red lamp", "garden lamp", "tea pot")


@pytest.fixture
def shop() -> SmallShop:
    return SmallShop(*((title, title.split()[-1], "", 5.0) for title in TITLES))


def test_overlap_is_one_with_itself_and_counts_what_both_list(shop: SmallShop, untrained: Any) -> None:  # noqa: F811
    saved = WatchedQuery.objects.create(query="table light", item_ids=["i3", "i6"])
    by_words, by_meaning = shop.served(), shop.served(untrained)
    (same,) = rejudge(by_words, by_words, Judgements.none(), at=NOW.timestamp())
    assert same.overlap == 1.0
    (other,) = rejudge(by_meaning, by_words, Judgements.none(), at=NOW.timestamp())
    both = set(same.item_ids) & set(other.item_ids)
    assert other.overlap == len(both) / max(len(same.item_ids), len(other.item_ids))
    assert other.overlap < 1
    assert same.overlap_saved == len({"i3", "i6"} & set(same.item_ids)) / max(2, len(same.item_ids))
    assert (same.watched, same.ndcg, same.n_graded) == (saved, None, 0)


def test_grades_of_people_judge_both_whatever_the_case_of_the_query(shop: SmallShop) -> None:
    WatchedQuery.objects.create(query="Red Lamp")
    grades = Judgements(
        ("red lamp", "mug"), np.array([0, 0, 1], np.int32), np.array([4, 3, 0], np.int32),
        np.array([1.0, 0.5, 1.0], np.float32),
    )  # fmt: skip
    (result,) = rejudge(shop.served(), shop.served(), grades, at=NOW.timestamp())
    assert result.n_graded == 2
    assert result.ndcg == pytest.approx(graded_ndcg(result.item_ids, {"i4": 1.0, "i3": 0.5}))
    assert result.item_ids[0] == "i4"
    assert result.ndcg > 0.9


def test_ndcg_by_grades_is_that_of_the_textbook() -> None:
    grades = {"a": 1.0, "b": 0.5, "c": 0.0}
    assert graded_ndcg(["a", "b", "c"], grades) == 1.0
    expected = (0.5 + 1 / np.log2(4)) / (1 + 0.5 / np.log2(3))
    assert graded_ndcg(["b", "x", "a"], grades) == pytest.approx(expected)
    assert graded_ndcg(["x"], grades) == 0.0
    assert graded_ndcg(["a"], {}) is None
    assert graded_ndcg(["a"], {"a": 0.0}) is None, "every order is as good"
    tenth = [f"x{n}" for n in range(10)]
    assert graded_ndcg([*tenth, "a"], grades) == 0.0, "the eleventh does not count"


def test_run_that_is_taken_up_again_stores_its_results_once_and_old_ones_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "N_RUNS", 2)
    row, gone = WatchedQuery.objects.create(query="lamp"), WatchedQuery.objects.create(query="mug")
    runs = [Run.objects.create() for _run in range(3)]
    late = WatchedResult(watched=gone, overlap=0.5, overlap_saved=0.5)
    gone.delete()
    late.watched_id = 10_000
    for run in (runs[0], runs[0], runs[1], runs[2]):
        store([WatchedResult(watched=row, overlap=1.0, overlap_saved=1.0), late], run_id=run.pk)
    assert list(WatchedResult.objects.order_by("pk").values_list("run_id", flat=True)) == [runs[1].pk, runs[2].pk]


def test_nothing_is_searched_where_nothing_is_watched(shop: SmallShop) -> None:
    assert rejudge(None, None, Judgements.none(), at=0.0) == []  # type: ignore[arg-type]
