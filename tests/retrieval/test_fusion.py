import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.retrieval.base import Candidates
from recommender.retrieval.fusion import fuse_ranks, turns


def listed(rows, scores=None):
    scores = range(len(rows), 0, -1) if scores is None else scores
    return Candidates(np.array(rows, np.int32), np.array(list(scores), np.float32))


def test_reciprocal_ranks_add_up():
    fused = fuse_ranks([listed([7, 3]), listed([3, 9])], limit=5)
    assert fused.rows.tolist() == [3, 7, 9]
    np.testing.assert_allclose(fused.scores, [1 / 62 + 1 / 61, 1 / 61, 1 / 62], rtol=1e-6)


def test_rank_fusion_ignores_the_size_of_scores():
    small, large = listed([1, 2], [0.2, 0.1]), listed([1, 2], [2e6, 1e6])
    assert fuse_ranks([small], limit=2).scores.tolist() == fuse_ranks([large], limit=2).scores.tolist()


def test_weights_say_which_list_leads():
    lists = [listed([1]), listed([2])]
    assert fuse_ranks(lists, limit=2, weights=[1, 2]).rows.tolist() == [2, 1]


def test_weight_may_differ_by_candidate():
    weights = [np.array([1, 3], np.float32), 2.0]
    fused = fuse_ranks([listed([7, 3]), listed([9, 7])], limit=5, weights=weights)
    assert fused.rows.tolist() == [7, 3, 9]
    np.testing.assert_allclose(fused.scores, [1 / 61 + 2 / 62, 3 / 62, 2 / 61], rtol=1e-6)


def test_best_of_the_fused_are_cut_at_the_limit_and_equal_scores_by_row():
    fused = fuse_ranks([listed([8, 5]), listed([2, 5])], limit=2)
    assert fused.rows.tolist() == [5, 2]
    assert (fused.rows.dtype, fused.scores.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("weights", [[1], [1, 2, 3]])
def test_as_many_weights_as_lists_are_needed(weights):
    with pytest.raises(ValueError, match=r"shorter|longer"):
        fuse_ranks([listed([1]), listed([2])], limit=2, weights=weights)


def test_nothing_fused_is_nothing():
    assert len(fuse_ranks([], limit=3)) == 0
    assert len(fuse_ranks([Candidates.none(), Candidates.none()], limit=3)) == 0


@given(lists=st.lists(st.lists(st.integers(0, 30), unique=True), min_size=1, max_size=4), data=st.data())
def test_order_of_the_lists_does_not_matter(lists, data):
    shuffled = data.draw(st.permutations(lists))
    first, second = (fuse_ranks([listed(rows) for rows in some], limit=99) for some in (lists, shuffled))
    assert set(first.rows.tolist()) == {row for rows in lists for row in rows}
    np.testing.assert_allclose(first.scores, second.scores, rtol=1e-5)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, "ababababab"), (0.6, "aababaabab"), (0.7, "aaabaabaab"), (0.8, "aaaabaaaab"), (1.0, "aaaaaaaaaa")],
)
def test_lists_take_turns_by_their_share(share, expected):
    order = turns(10, 10, share=share)[:10]
    assert "".join("a" if index < 10 else "b" for index in order) == expected


@given(n_first=st.integers(0, 40), n_second=st.integers(0, 40), percent=st.integers(1, 100))
def test_first_list_has_its_share_however_far_one_looks(n_first, n_second, percent):
    order = turns(n_first, n_second, share=percent / 100)
    assert sorted(order.tolist()) == list(range(n_first + n_second))
    is_first = order < n_first
    assert (np.diff(order[is_first]) > 0).all()
    assert (np.diff(order[~is_first]) > 0).all()
    count = np.cumsum(is_first)
    least = -(-percent * np.arange(1, len(order) + 1) // 100)  # the share rounded up, in whole numbers
    both_last = (count < n_first) & (np.cumsum(~is_first) < n_second)
    assert (count[count < n_first] >= least[count < n_first]).all()
    assert (count[both_last] == least[both_last]).all()
