"""How much of "for you" is new: chosen on lists whose right answer is known."""

import numpy as np
import pytest

from recommender.features import FEATURE_NAMES
from recommender.ml.head.composition import LEAST_LISTS, new_share
from recommender.ml.head.lists import Lists

N_ITEMS = 40
SCORE = 4
"""The column that holds the score of these tests."""


def lists(*, bought_new, bought_due, n_lists=60, n_new=20):
    """Lists of new items, then of items that are due; so many of the best of each were bought later."""
    rows = np.zeros((n_lists, N_ITEMS, len(FEATURE_NAMES)), np.float32)
    rows[:, :, SCORE] = np.concatenate([np.arange(n_new, 0, -1), np.arange(N_ITEMS - n_new, 0, -1)])
    labels = np.zeros((n_lists, N_ITEMS), np.float32)
    labels[:, :bought_new] = 1
    labels[:, n_new : n_new + bought_due] = 1
    is_new = np.zeros(labels.shape, bool)
    is_new[:, :n_new] = True
    return Lists(rows, labels, np.ones(labels.shape, bool), is_new, ~is_new)


def chosen(some):
    return new_share(some, lambda rows: rows[:, SCORE])


def test_where_only_new_items_are_bought_the_whole_list_is_new():
    assert chosen(lists(bought_new=10, bought_due=0)) == 1.0


def test_where_only_habits_are_bought_half_of_the_list_is_new_all_the_same():
    assert chosen(lists(bought_new=0, bought_due=10)) == 0.5


def test_of_equal_shares_the_smallest_is_chosen():
    assert chosen(lists(bought_new=1, bought_due=0)) == 0.5  # it leads whatever the share is


def test_few_lists_leave_the_default():
    assert chosen(lists(bought_new=10, bought_due=0, n_lists=LEAST_LISTS - 1)) == 0.5
    assert chosen(lists(bought_new=10, bought_due=0, n_lists=LEAST_LISTS)) == 1.0


def test_visitors_without_a_history_do_not_count():
    some = lists(bought_new=10, bought_due=0)
    some.is_new[LEAST_LISTS - 1 :] = False
    assert chosen(some) == 0.5


@pytest.mark.parametrize("padding", [0, 7])
def test_what_is_behind_the_end_of_a_list_does_not_count(padding):
    some = lists(bought_new=10, bought_due=0)
    some.mask[:, N_ITEMS - padding :] = False
    some.rows[:, N_ITEMS - padding :, SCORE] = 99
    assert chosen(some) == 1.0
