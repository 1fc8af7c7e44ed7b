"""The links that a reason speaks of, and which single item of the past decides a position."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommender.retrieval.floors import Floors
from recommender.serving.causes import Links, similarity
from tests import behaviour
from tests.test_pipeline import shop_of_families

N_ITEMS = 6


def rows(*numbers):
    return np.array(numbers, np.int32)


def test_item_is_no_neighbour_of_itself_and_nobody_has_none():
    neighbours = behaviour.neighbours([[(0, 0.9), (1, 0.25)], []])
    assert similarity(neighbours, rows(1, 0), rows(0)).tolist() == [[0.25], [0.0]]
    assert similarity(neighbours, rows(1), rows()).shape == (1, 0)
    assert similarity(neighbours, rows(), rows(0)).shape == (0, 1)


@given(
    scores=st.lists(
        st.lists(st.integers(0, 4), min_size=N_ITEMS, max_size=N_ITEMS), min_size=N_ITEMS, max_size=N_ITEMS
    ),
    entries=st.permutations(range(N_ITEMS)),
    past=st.permutations(range(N_ITEMS)),
)
def test_similarity_is_that_of_each_pair(scores, entries, past):
    lists = [[(item, score / 4) for item, score in enumerate(row) if score] for row in scores]
    computed = similarity(behaviour.neighbours(lists), rows(*entries), rows(*past))
    for index, entry in enumerate(entries):
        for which, item in enumerate(past):
            assert computed[index, which] == (scores[item][entry] / 4 if item != entry else 0)


def test_only_texts_above_the_floor_are_alike_and_none_is_like_itself():
    shelf = dataclasses.replace(shop_of_families().shelf, floors=Floors(alike=0.6))
    cosine = shelf.vectors[[1, 6, 0]] @ shelf.vectors[0]
    assert cosine[0] > 0.6 > cosine[1]
    assert Links.between(rows(1, 6, 0), rows(0), shelf).alike[:, 0].tolist() == [cosine[0], 0, 0]
