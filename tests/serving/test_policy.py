import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.serving import policy
from tests.retrieval.test_vector import circle


def floats(*values):
    return np.array(values, np.float32)


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
    assert policy.diversify(floats(), None, limit=3, weight=0.5).tolist() == []


def test_one_is_moved_up_and_the_others_keep_their_order():
    assert policy.not_below(4, 6, last=2).tolist() == [0, 1, 4, 2, 3, 5]
    assert policy.not_below(1, 6, last=2).tolist() == [0, 1, 2, 3, 4, 5]
    assert policy.not_below(3, 5, last=2).tolist() == [0, 1, 3, 2, 4]
    assert policy.not_below(2, 4, last=2).tolist() == [0, 1, 2, 3]
    assert policy.not_below(3, 4, last=0).tolist() == [3, 0, 1, 2]


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


def codes(text):
    """One letter a candidate, "-" for none."""
    return np.array([-1 if letter == "-" else ord(letter) for letter in text], np.int32)


ALL = np.ones(6, bool)


@pytest.mark.parametrize(
    ("brands", "n_places", "expected"),
    [
        ("aaabbc", 4, [0, 1, 3, 4, 2, 5]),  # two of each, then the rest as it was
        ("aaabbc", 6, [0, 1, 3, 4, 5, 2]),
        ("aaaaab", 4, [0, 1, 5, 2, 3, 4]),  # too few others: the best beyond the limit fill the list
        ("------", 4, [0, 1, 2, 3, 4, 5]),
        ("a-a-a-", 5, [0, 1, 2, 3, 5, 4]),
    ],
)
def test_at_most_two_of_a_brand_are_among_the_first(brands, n_places, expected):
    assert policy.at_most([(codes(brands), 2)], ALL, n_places=n_places).tolist() == expected


def test_each_of_several_limits_is_kept():
    order = policy.at_most([(codes("aabbcc"), 2), (codes("xxxyyz"), 1)], ALL, n_places=3)
    assert order[:3].tolist() == [0, 3, 5]


def test_what_is_out_of_stock_stays_behind_what_is_beyond_a_limit():
    available = np.array([True, False, True, True, False, True])
    assert policy.at_most([(codes("aaaaab"), 1)], available, n_places=6).tolist() == [0, 5, 2, 3, 1, 4]


@given(
    letters=st.lists(st.sampled_from("abc-"), max_size=25),
    most=st.integers(1, 4),
    n_places=st.integers(1, 25),
    data=st.data(),
)
def test_no_limit_is_passed_where_others_can_fill_the_list(letters, most, n_places, data):
    available = np.array(data.draw(st.lists(st.booleans(), min_size=len(letters), max_size=len(letters))), bool)
    order = policy.at_most([(codes("".join(letters)), most)], available, n_places=n_places).tolist()
    assert sorted(order) == list(range(len(letters)))
    in_stock = [letters[index] for index in np.flatnonzero(available).tolist()]
    n_within = sum(min(in_stock.count(letter), most) for letter in "abc") + in_stock.count("-")
    first = [letters[index] for index in order[: min(n_places, n_within)]]
    assert all(first.count(letter) <= most for letter in "abc")
    assert (np.diff(available[order].astype(int)) <= 0).all()


@pytest.mark.parametrize("limit", [100, 7])
def test_equal_scores_keep_their_order_in_a_long_list(limit):
    """A sort that is not stable mixes equal values only in lists of more than sixteen."""
    in_order = list(range(limit))
    equal = np.ones(100, np.float32)
    assert policy.diversify(equal, None, limit=limit, weight=0.5).tolist() == in_order
    assert policy.available_first(np.arange(100) < 60).tolist() == list(range(100))
    assert policy.available_first(np.arange(100) % 2 == 1).tolist() == [*range(1, 100, 2), *range(0, 100, 2)]


def test_limit_holds_for_the_first_value_of_a_column_too():
    column = np.array([0, 0, 0, -1, -1, -1, 1])
    assert policy.at_most([(column, 1)], np.ones(7, bool), n_places=5).tolist() == [0, 3, 4, 5, 6, 1, 2]


def test_first_claim_leads_then_the_second_and_ties_stay():
    first = np.array([False, True, False, True, False])
    second = np.array([False, False, True, True, False])
    assert policy.leading(first, second).tolist() == [3, 1, 2, 0, 4]
    assert policy.leading(second).tolist() == [2, 3, 0, 1, 4]
