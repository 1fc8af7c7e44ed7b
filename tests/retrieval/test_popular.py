import numpy as np

from recommender.features.neighbours import Neighbours
from recommender.features.shop_state import ShopState
from recommender.retrieval.base import Wanted
from recommender.retrieval.popular import PopularRetriever, popularity
from tests.retrieval.test_base import RetrieverContract, profile


def state(*counts):
    n = len(counts)
    nobody = Neighbours.none(len(counts))
    return ShopState.from_columns(
        at=0.0, counts=np.array(counts, np.float32), last_event_at=np.zeros(n), basket=nobody, visitor=nobody
    )


SOLD = state(
    (0, 0, 0, 0),
    (1, 7, 30, 300),
    (0, 0, 0, 500),
    (3, 14, 20, 20),
    (0, 1, 60, 60),
    (0, 0, 0, 9),
    (0, 0, 3, 3),
    (0, 2, 2, 2),
)


class TestPopularRetriever(RetrieverContract):
    def retriever(self):
        return PopularRetriever(popularity(SOLD))

    def wanted(self):
        return Wanted(profile())

    def test_what_sells_now_leads_and_old_sales_only_order_the_rest(self):
        assert self.retrieved().rows.tolist() == [3, 4, 1, 7, 6, 2, 5]

    def test_untouched_item_is_not_popular(self):
        assert 0 not in self.retrieved().rows


def test_one_sale_yesterday_does_not_beat_a_steady_seller():
    daily, lucky = popularity(state((0, 7, 30, 30), (1, 1, 1, 1)))
    assert daily > lucky


def test_shop_without_events_has_nothing_popular():
    assert popularity(state((0, 0, 0, 0))).tolist() == [0]
