import dataclasses

import numpy as np

from recommender.retrieval.base import Wanted
from recommender.retrieval.behaviour import OwnRetriever, neighbours_of, seeds
from recommender.types import EventType
from tests import behaviour
from tests.retrieval.test_base import N_ITEMS, RetrieverContract, profile

ALIKE = behaviour.neighbours([[(1, 0.9), (2, 0.5), (3, 0.1)], [(0, 0.9), (4, 0.4)], [], [], [(6, 0.2)], [], [], []])


class Neighbouring:
    """The neighbours of a history, as `candidates` asks for them."""

    def retrieve(self, wanted, *, limit):
        return neighbours_of(ALIKE, *seeds(wanted.profile), limit=limit, allowed=wanted.allowed)


class TestNeighbours(RetrieverContract):
    def retriever(self):
        return Neighbouring()

    def wanted(self):
        return Wanted(profile(("purchase", 0, 3)))

    def test_own_items_are_left_out(self):
        both = Wanted(profile(("purchase", 0, 3), ("purchase", 1, 2)))
        assert self.retriever().retrieve(both, limit=9).rows.tolist() == [2, 4, 3]

    def test_current_item_outweighs_the_past(self):
        here = Wanted(profile(("purchase", 0, 1), current_item=4))
        assert self.retriever().retrieve(here, limit=1).rows.tolist() == [1]
        assert 6 in self.retriever().retrieve(here, limit=9).rows
        rows, weights = seeds(here.profile)
        assert rows.tolist() == [4, 0]
        assert weights[0] > weights[1]

    def test_older_purchase_says_less(self):
        old = profile(("purchase", 0, 90), ("purchase", 4, 0))
        assert self.retriever().retrieve(Wanted(old), limit=1).rows.tolist() == [6]


class TestOwnRetriever(RetrieverContract):
    def retriever(self):
        return OwnRetriever()

    def wanted(self):
        return Wanted(profile(("purchase", 5, 60), ("view_item", 2, 1), ("purchase", 3, 2), ("purchase", 5, 30)))

    def test_recent_and_repeated_purchases_lead_views(self):
        assert self.retrieved().rows.tolist() == [3, 5, 2]

    def test_types_narrow_what_counts(self):
        bought = OwnRetriever((EventType.PURCHASE,)).retrieve(self.wanted(), limit=N_ITEMS)
        assert bought.rows.tolist() == [3, 5]

    def test_item_sent_back_is_not_offered_until_bought_again(self):
        returned = profile(
            ("purchase", 1, 9), ("refund", 1, 5), ("purchase", 2, 9), ("refund", 2, 8), ("purchase", 2, 3)
        )
        assert OwnRetriever().retrieve(Wanted(returned), limit=9).rows.tolist() == [2]

    def test_item_of_which_a_part_was_sent_back_is_still_offered(self):
        history = profile(("purchase", 1, 9), ("refund", 1, 5), ("purchase", 2, 9), ("refund", 2, 8))
        history = dataclasses.replace(history, quantity=np.array([3, 1, 3, 3], np.float32))
        assert OwnRetriever().retrieve(Wanted(history), limit=9).rows.tolist() == [1]

    def test_dismissed_item_is_not_offered(self):
        dismissed = profile(("view_item", 1, 2), ("dismiss_item", 1, 1), ("view_item", 2, 2))
        assert OwnRetriever().retrieve(Wanted(dismissed), limit=9).rows.tolist() == [2]


def test_similarities_of_several_items_add_up():
    rows, weights = np.array([0, 1], np.int32), np.array([1, 2], np.float32)
    shared = behaviour.neighbours([[(2, 0.5), (3, 0.6)], [(2, 0.4)], [], []])
    candidates = neighbours_of(shared, rows, weights, limit=5)
    assert candidates.rows.tolist() == [2, 3]
    np.testing.assert_allclose(candidates.scores, [1.3, 0.6], rtol=1e-6)


def test_no_item_has_no_neighbour():
    none = np.empty(0, np.int32)
    assert len(neighbours_of(ALIKE, none, none.astype(np.float32), limit=5)) == 0
