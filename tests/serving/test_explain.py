"""The anchor that a reason names: the strongest neighbour, of equals the one met last."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommender.serving.explain import Anchors, _strongest_neighbours
from tests import behaviour

N_ITEMS = 6
ROW = st.lists(st.integers(0, 4), min_size=N_ITEMS, max_size=N_ITEMS)


def anchors(*rows):
    return Anchors(np.array(rows, np.int32), np.ones(len(rows), np.float32))


def test_of_equally_strong_neighbours_the_newest_anchor_is_named():
    neighbours = behaviour.neighbours([[(2, 0.5)], [(2, 0.5)], []])
    links = _strongest_neighbours(np.array([2], np.int32), anchors(1, 0), neighbours)
    assert (links.strength.tolist(), links.anchor.tolist()) == ([0.5], [1])


def test_item_is_no_neighbour_of_itself_and_nobody_has_none():
    neighbours = behaviour.neighbours([[(0, 0.9), (1, 0.25)], []])
    links = _strongest_neighbours(np.array([1, 0], np.int32), anchors(0), neighbours)
    assert (links.strength.tolist(), links.anchor.tolist()) == ([0.25, 0.0], [0, -1])
    assert _strongest_neighbours(np.array([1], np.int32), anchors(), neighbours).anchor.tolist() == [-1]


@given(
    scores=st.lists(
        st.lists(st.integers(0, 4), min_size=N_ITEMS, max_size=N_ITEMS), min_size=N_ITEMS, max_size=N_ITEMS
    ),
    rows=st.permutations(range(N_ITEMS)),
    anchor_rows=st.permutations(range(N_ITEMS)),
)
def test_strongest_neighbour_is_the_largest_of_all_pairs(scores, rows, anchor_rows):
    lists = [[(item, score / 4) for item, score in enumerate(row) if score] for row in scores]
    links = _strongest_neighbours(np.array(rows, np.int32), anchors(*anchor_rows), behaviour.neighbours(lists))
    for index, row in enumerate(rows):
        pairs = [(scores[anchor][row] / 4, anchor) for anchor in anchor_rows if anchor != row and scores[anchor][row]]
        expected = max(pairs, key=lambda pair: pair[0], default=(0, -1))
        assert (links.strength[index], links.anchor[index]) == expected
