import numpy as np

from recommender.retrieval.base import Wanted
from recommender.retrieval.vector import ExactScan, VectorRetriever, nearest
from tests.retrieval.test_base import N_ITEMS, RetrieverContract, profile


def circle(*degrees):
    """Unit vectors of the plane."""
    angle = np.radians(np.array(degrees, np.float32))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


class TestVectorRetriever(RetrieverContract):
    def retriever(self):
        return VectorRetriever(ExactScan(circle(0, 10, 20, 30, 40, 50, 60, 180)))

    def wanted(self):
        return Wanted(profile(), vector=circle(22)[0])

    def test_nearest_direction_leads(self):
        assert self.retrieved(limit=3).rows.tolist() == [2, 3, 1]

    def test_opposite_is_no_candidate(self):
        assert N_ITEMS - 1 not in self.retrieved().rows

    def test_no_vectors_or_no_direction_is_no_candidate(self):
        assert len(VectorRetriever(None).retrieve(self.wanted(), limit=3)) == 0
        assert len(self.retrieved(vector=None)) == 0


def test_item_without_a_vector_is_never_near():
    vectors = circle(0, 90)
    vectors[1] = 0
    assert nearest(vectors, circle(80)[0], limit=2).rows.tolist() == [0]


def test_scan_finds_what_a_full_sort_finds():
    random = np.random.default_rng(1)
    vectors = random.normal(size=(2000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    full = np.argsort(-(vectors @ vectors[7]), kind="stable")[:50]
    assert nearest(vectors, vectors[7], limit=50).rows.tolist() == full.tolist()
