import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.serving import policy
from tests.retrieval.test_vector import circle


def floats(*values):
    return np.array(values, np.float32)


def test_score_reorders_only_inside_the_relevance_band():
    relevance, scores = floats(1.0, 0.95, 0.9, 0.5, 0.4), floats(0.1, 0.2, 0.3, 0.9, 0.99)
    assert policy.relevance_band(scores, relevance, margin=0.1).tolist() == [2, 1, 0, 3, 4]
    assert policy.relevance_band(scores, relevance, margin=0).tolist() == [0, 1, 2, 3, 4]
    assert policy.relevance_band(scores, relevance, margin=np.inf).tolist() == [4, 3, 2, 1, 0]


def test_margin_of_the_band_includes_its_edge():
    assert policy.relevance_band(floats(0, 1), floats(1, 0.5), margin=0.5).tolist() == [1, 0]


def test_ties_in_the_band_keep_the_order_that_came_in():
    assert policy.relevance_band(floats(1, 1, 1), floats(2, 2, 2), margin=1).tolist() == [0, 1, 2]


@given(
    pairs=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20),
    margin=st.floats(0, 10, allow_nan=False),
)
def test_nothing_behind_the_band_passes_what_is_in_it(pairs, margin):
    scores, relevance = (floats(*[pair[i] for pair in pairs]) for i in (0, 1))
    order = policy.relevance_band(scores, relevance, margin=margin)
    assert sorted(order.tolist()) == list(range(len(pairs)))
    inside = relevance[order] >= relevance.max(initial=0) - np.float32(margin)
    assert (np.diff(inside.astype(int)) <= 0).all()
    assert (np.diff(relevance[order][~inside]) <= 0).all()


def test_diversity_takes_another_kind_before_the_twin():
    vectors = circle(0, 1, 90)
    scores = floats(1.0, 0.9, 0.5)
    assert policy.diversify(scores, vectors, limit=3, weight=0.5).tolist() == [0, 2, 1]
    assert policy.diversify(scores, vectors, limit=3, weight=1.0).tolist() == [0, 1, 2]
    assert policy.diversify(scores, None, limit=2, weight=0.5).tolist() == [0, 1]


def test_best_candidate_always_leads_however_diverse():
    vectors = circle(10, 0, 5, 90)
    assert policy.diversify(floats(0.1, 0.9, 0.5, 0.2), vectors, limit=4, weight=0.0)[0] == 1


def test_marginal_relevance_is_that_of_the_paper():
    """By hand: after 0, candidate 1 has .5 * .8 - .5 * cos 60 = .15, candidate 2 has .5 * .6 - .5 * cos 90 = .3."""
    scores = floats(1.0, 0.8, 0.6, 0.0)
    assert policy.diversify(scores, circle(0, 60, 90, 0), limit=2, weight=0.5).tolist() == [0, 2]
    assert policy.diversify(scores, circle(0, 60, 90, 0), limit=2, weight=0.75).tolist() == [0, 1]  # .475 and .45


@pytest.mark.parametrize("limit", [0, 1, 3, 99])
def test_diversity_returns_each_place_once_up_to_the_limit(limit):
    chosen = policy.diversify(floats(3, 1, 2), circle(0, 0, 0), limit=limit, weight=0.3)
    assert len(chosen) == len(set(chosen.tolist())) == min(limit, 3)


def test_what_is_out_of_stock_goes_last_in_its_order():
    available = np.array([False, True, False, True])
    assert policy.available_first(available).tolist() == [1, 3, 0, 2]


def test_no_candidate_is_no_place():
    none = floats()
    assert policy.relevance_band(none, none, margin=1).tolist() == []
    assert policy.diversify(none, None, limit=3, weight=0.5).tolist() == []


def test_one_is_moved_up_and_the_others_keep_their_order():
    assert policy.not_below(4, 6, last=2).tolist() == [0, 1, 4, 2, 3, 5]
    assert policy.not_below(1, 6, last=2).tolist() == [0, 1, 2, 3, 4, 5]
    assert policy.not_below(3, 5, last=2).tolist() == [0, 1, 3, 2, 4]
    assert policy.not_below(2, 4, last=2).tolist() == [0, 1, 2, 3]
    assert policy.not_below(3, 4, last=0).tolist() == [3, 0, 1, 2]


def test_band_holds_what_is_within_the_margin_of_the_best():
    assert policy.in_band(floats(0.5, 1, 0.75, 0.25), margin=0.5).tolist() == [True, True, True, False]


def test_order_of_no_candidate_is_of_the_type_of_an_index():
    assert policy.relevance_band(floats(), floats(), margin=1).dtype == np.int64


@pytest.mark.parametrize(("limit", "expected"), [(-1, []), (0, []), (1, [0]), (2, [0, 2]), (3, [0, 2, 1])])
def test_equal_scores_are_ordered_by_diversity(limit, expected):
    assert policy.diversify(floats(2, 2, 2), circle(0, 0, 90), limit=limit, weight=0.5).tolist() == expected


def test_scores_of_any_scale_are_weighed_as_between_0_and_1():
    """After 0: candidate 1 has .5 * .8 - .5 * cos 60 = .15, candidate 2 .5 * .6 - .5 * cos 90 = .3."""
    scores, vectors = floats(20, 18, 16, 10), circle(0, 60, 90, 80)
    assert policy.diversify(scores, vectors, limit=2, weight=0.5).tolist() == [0, 2]
    assert policy.diversify(scores, vectors, limit=2, weight=0.75).tolist() == [0, 1]


def test_opposite_of_the_chosen_counts_as_unrelated():
    scores = floats(1, 0.6, 0.4, 0)
    assert policy.diversify(scores, circle(0, 90, 180, 0), limit=2, weight=0.5).tolist() == [0, 1]


def test_many_equal_candidates_keep_their_order():
    equal, is_available = np.ones(100, np.float32), np.arange(100) % 2 == 1
    assert policy.diversify(equal, None, limit=99, weight=0.5).tolist() == list(range(99))
    assert policy.available_first(is_available).tolist() == [*range(1, 100, 2), *range(0, 100, 2)]
