"""The figures of the benchmarks equal values worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import judging
from benchmarks.judging import Figure
from benchmarks.workbench import InputError

GRADES = {"a": 3.0, "b": 2.5, "c": 2.33, "d": 1.0}


def test_pairs_nearer_than_half_a_grade_are_not_counted() -> None:
    # a-b .5, a-c .67, a-d 2, b-d 1.5, c-d 1.33 count; b-c .17 does not.
    right, whole = judging.pairs_in_order({"a": 4, "b": 3, "c": 2, "d": 1}, GRADES)
    assert (right, whole) == (5, 5)


def test_equal_scores_are_half_right_and_a_product_without_a_score_is_last() -> None:
    # a and d tie: half; a-b and a-c wrong; b-d right; c has no score: c-d wrong.
    right, whole = judging.pairs_in_order({"a": 1, "b": 2, "c": 2, "d": 1}, GRADES)
    assert (right, whole) == (0.5 + 2, 5)
    assert judging.pairs_in_order({"a": 1, "b": 2, "d": 1}, GRADES) == (0.5 + 1 + 1, 5)
    assert judging.pairs_in_order({}, GRADES) == (2.5, 5)


def test_graded_gain_is_discounted_by_the_place_and_divided_by_the_best() -> None:
    # Gains: a 2^2 - 1 = 3, d 0, x (not judged) 0. Best: 3 / log2(2) = 3; a at place 3: 3 / log2(4) = 1.5.
    part, whole = judging.graded_ndcg({"x": 3, "d": 2, "a": 1}, {"a": 3, "d": 1}, ["a", "d", "x"])
    assert (part, whole) == (pytest.approx(0.5), 1)


def test_equal_scores_share_the_mean_of_their_gains() -> None:
    # All three tie: mean gain 1 at places 1 to 3; the best list has 3 at place 1.
    part, _ = judging.graded_ndcg({"x": 1, "d": 1, "a": 1}, {"a": 3, "d": 1}, ["x", "d", "a"])
    assert part == pytest.approx((1 + 1 / math.log2(3) + 1 / 2) / 3)
    cut, _ = judging.graded_ndcg({"x": 1, "d": 1, "a": 1}, {"a": 3, "d": 1}, ["x", "d", "a"], k=1)
    assert cut == pytest.approx(1 / 3)


def test_query_without_a_gain_says_nothing() -> None:
    assert judging.graded_ndcg({"a": 1}, {"a": 1.0}, ["a", "x"]) == (0, 0)


def test_recall_can_reach_one_and_needs_a_relevant_product() -> None:
    assert judging.recall(["b", "x"], GRADES, k=1) == (1, 1)
    assert judging.recall(["x", "a", "c"], GRADES, k=10) == (0.5, 1)
    assert judging.recall(["a"], {"a": 2.0}, k=10) == (0, 0)


def test_lists_are_judged_against_the_best_that_was_possible() -> None:
    # Bought 1 and 2; hit at place 2: (1 / log2(3)) / (1 + 1 / log2(3)).
    part, whole = judging.list_ndcg([9, 1], {1, 2})
    assert (part, whole) == (pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3))), 1)
    assert judging.list_ndcg([9], set()) == (0, 0)
    assert judging.list_hit([9, 1], {1}, k=1) == (0, 1)
    assert judging.list_hit([9, 1], {1}) == (1, 1)
    assert judging.list_hit([9], set()) == (0, 0)


def test_pairs_are_pooled_over_queries_and_a_mean_is_a_mean() -> None:
    assert Figure.of([(1, 1), (0, 3), (0, 0)]).value == 0.25
    assert Figure.of([(1, 1), (0, 1), (0, 0)]).value == 0.5
    assert Figure.of([(1, 1), (0, 0)]).n_cases == 1
    assert math.isnan(Figure.of([]).value)


def test_difference_is_paired_and_leaves_out_what_either_lacks() -> None:
    theirs = Figure.of([(0.2, 1), (0.5, 1), (0.0, 0), (0.7, 1)])
    ours = Figure.of([(0.3, 1), (0.6, 1), (1.0, 1), (0.8, 1)])
    gap = judging.difference(ours, theirs)
    assert (gap.mean, gap.lower, gap.upper) == pytest.approx((0.1, 0.1, 0.1))
    assert judging.gain_text(ours, theirs) == "+.1000 [+.1000, +.1000]"
    assert judging.gain_text(ours, None) == "–"


def test_interval_of_a_difference_covers_the_error_of_the_mean() -> None:
    generator = np.random.default_rng(1)
    ours = Figure(generator.normal(0.1, 1, 2_000), np.ones(2_000))
    gap = judging.difference(ours, Figure(np.zeros(2_000), np.ones(2_000)))
    assert gap.upper - gap.lower == pytest.approx(2 * 1.96 * ours.part.std() / math.sqrt(2_000), rel=0.1)


def test_files_are_read_best_first(tmp_path: Path) -> None:
    scored, listed = tmp_path / "s.csv", tmp_path / "l.csv"
    scored.write_text("query_id,product_id,score\nq,a,1.5\nq,b,nan\nq,a,9\n")
    listed.write_text("user_id,rank,item_id\nu,2,x\nu,1,y\n")
    assert judging.read_scores(scored) == {"q": {"a": 1.5, "b": -math.inf}}
    assert judging.read_lists(listed) == {"u": ["y", "x"]}
    assert judging.read_named(f"ours={scored}") == ("ours", scored)


@pytest.mark.parametrize("text", ["ours", "=run.csv", "ours=missing.csv"])
def test_run_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        judging.read_named(text)


def test_table_is_markdown() -> None:
    table = judging.markdown(["peer", "NDCG"], [["random", judging.figure_text(Figure.of([(0.25, 1)]))]])
    assert table == "| peer | NDCG |\n| --- | ---: |\n| random | .2500 |"
    assert judging.figure_text(None) == "–"
