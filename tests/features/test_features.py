"""ShopState, features and sequence on a shop small enough to count by hand."""

import dataclasses
import math

import numpy as np
import pytest

from recommender.features import (
    BERT_FEATURES,
    FEATURE_NAMES,
    RequestVectors,
    features,
    purchases,
)
from recommender.features.neighbours import SHRINKAGE
from recommender.features.sequence import LENGTH, decayed_mean, sequence
from recommender.features.shop_state import NEIGHBOUR_KINDS, ShopState, build_state
from recommender.identity import shopper
from recommender.ml.head.lists import COLD_SHARE, Sample, ShopHistory, lists_at
from recommender.ml.histories import Histories
from recommender.training.judging import evaluation
from recommender.types import EVENT_CODES, HISTORY_LIMIT, EventType
from tests import behaviour

ITEMS = behaviour.table()
EVERYTHING = np.arange(len(ITEMS), dtype=np.int32)


@pytest.fixture
def state() -> ShopState:
    rows = [(0, 0, 1, 0), (0, 1, 1, 0), (1, 0, 60, 1), (1, 1, 60, 1), (2, 2, 95, 2), (-1, 2, 99.5, 3), (0, 5, 101, 4)]
    return build_state(behaviour.interactions(rows), ITEMS, at=100 * behaviour.DAY)


def column(matrix, name):
    return matrix[:, FEATURE_NAMES.index(name)]


def test_state_counts_windows_and_nothing_after_the_moment(state):
    assert state.counts[2].tolist() == [1, 2, 2, 2]
    assert state.counts[0].tolist() == [0, 0, 0, 2]
    assert state.counts[5].tolist() == [0, 0, 0, 0]
    assert state.last_event_at[2] == 99.5 * behaviour.DAY
    assert state.last_event_at[5] == -math.inf


def test_neighbours_are_the_shrunk_cosine_of_shared_orders(state):
    ((row, score),) = state.basket.of(0)
    assert row == 1
    assert score == pytest.approx(2 / (2 + SHRINKAGE))
    assert state.basket.of(2) == []


def test_guests_count_for_popularity_but_not_for_histories(state):
    assert state.visitor.of(2) == []


def test_state_from_stored_columns_equals_the_built_one(state):
    lists = [state.basket.of(row) for row in range(len(ITEMS))]
    last = np.where(np.isinf(state.last_event_at), np.nan, state.last_event_at)
    kinds = {kind: getattr(state, kind) for kind in NEIGHBOUR_KINDS} | {"basket": behaviour.neighbours(lists)}
    stored = ShopState.from_columns(at=state.at, counts=state.counts, last_event_at=last, **kinds)
    profile = behaviour.profile([(0, 90, 1)], now_day=100)
    np.testing.assert_allclose(
        features(profile, EVERYTHING, stored, ITEMS), features(profile, EVERYTHING, state, ITEMS), rtol=1e-6
    )


def test_views_say_less_than_purchases():
    rows = [(0, 0, 1, -1), (0, 1, 1, 0)]
    kinds = [EventType.VIEW_ITEM, EventType.PURCHASE]
    state = build_state(behaviour.interactions(rows, kinds=kinds), ITEMS, at=2 * behaviour.DAY)
    assert 0 < state.counts[0, 0] < state.counts[1, 0] == 1


def test_every_feature_has_a_name_and_is_finite(state):
    matrix = features(behaviour.profile([], now_day=100), EVERYTHING, state, ITEMS)
    assert matrix.shape == (len(ITEMS), len(FEATURE_NAMES))
    assert matrix.dtype == np.float32
    assert np.isfinite(matrix).all()
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    assert set(FEATURE_NAMES) > BERT_FEATURES


def test_own_features_count_orders_not_lines(state):
    profile = behaviour.profile([(3, 10, 1), (3, 10, 1), (3, 40, 2), (4, 40, 2)], now_day=70)
    matrix = features(profile, EVERYTHING, state, ITEMS)
    assert column(matrix, "own_orders")[3] == pytest.approx(math.log1p(2))
    assert column(matrix, "own_share")[[3, 4, 5]].tolist() == [1, 0.5, 0]
    assert column(matrix, "is_own").sum() == 2
    assert column(matrix, "own_in_last")[[3, 4]].tolist() == [1, 1]
    assert column(matrix, "own_decayed")[3] == pytest.approx(1)


def test_item_of_which_a_part_came_back_is_not_refunded(state):
    profile = behaviour.profile([(3, 10, 1), (4, 10, 1), (3, 20, -1), (4, 20, -1)], now_day=30)
    kinds = [EventType.PURCHASE, EventType.PURCHASE, EventType.REFUND, EventType.REFUND]
    codes = np.array([EVENT_CODES[kind] for kind in kinds], np.int8)
    profile = dataclasses.replace(profile, type=codes, quantity=np.array([3, 3, 1, 3], np.float32))
    refunded = column(features(profile, EVERYTHING, state, ITEMS), "refunded")
    assert refunded[3] == 0 < refunded[4]


def test_an_item_bought_every_thirty_days_is_due_after_thirty(state):
    due = []
    for now in (45, 70, 200):
        profile = behaviour.profile([(3, 10, 1), (3, 40, 2)], now_day=now)
        due.append(float(column(features(profile, EVERYTHING, state, ITEMS), "own_due")[3]))
    assert due[1] == pytest.approx(1)
    assert due[0] < due[1] > due[2]


def test_neighbour_of_a_bought_item_scores(state):
    matrix = features(behaviour.profile([(0, 99, 1)], now_day=100), EVERYTHING, state, ITEMS)
    assert column(matrix, "knn")[1] > 0
    assert column(matrix, "last_order")[1] == pytest.approx(2 / (2 + SHRINKAGE))
    assert column(matrix, "knn")[6] == 0


def test_what_follows_and_what_precedes_the_last_order_are_told_apart():
    """Two visitors buy a cup, then a pot, then a fork: two steps over sqrt(3 * 3), half of it over one order."""
    cup, pot, fork = 0, 2, 7
    visits = [(who, item, day, 10 * who + day) for who in (0, 1) for item, day in ((cup, 0), (pot, 1), (fork, 2))]
    state = build_state(behaviour.interactions(sorted(visits, key=lambda row: row[2])), ITEMS, at=6 * behaviour.DAY)
    first = features(behaviour.profile([(cup, 5, 0)], now_day=6), EVERYTHING, state, ITEMS)
    assert column(first, "sequel")[[pot, fork]].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert not column(first, "precursor").any()
    last = features(behaviour.profile([(fork, 5, 0)], now_day=6), EVERYTHING, state, ITEMS)
    assert column(last, "precursor")[[cup, pot]].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert not column(last, "sequel").any()
    both = features(behaviour.profile([(cup, 4, 0), (fork, 5, 1)], now_day=6), EVERYTHING, state, ITEMS)
    assert column(both, "precursor_fading")[pot] == pytest.approx(column(last, "precursor")[pot] / 2, abs=0.01)


def test_words_of_the_last_order_find_its_relatives(state):
    red_cup, blue_cup, spade, fork = 0, 1, 9, 7
    bought = behaviour.profile([(fork, 98, 0), (red_cup, 99, 1)], now_day=100)
    matrix = features(bought, EVERYTHING, state, ITEMS)
    of_last, of_nearest = column(matrix, "words_of_last"), column(matrix, "words_of_nearest")
    assert of_last[red_cup] == pytest.approx(1, abs=1e-5)
    assert of_last[blue_cup] > of_last[fork] == 0
    assert of_nearest[blue_cup] == pytest.approx(of_last[blue_cup])
    assert of_nearest[spade] > of_last[spade] == 0, "the order before the last one counts there"


def test_cart_and_current_item_bring_their_neighbours(state):
    profile = behaviour.profile([], now_day=100, current_item=0, cart=np.asarray([1], np.int32))
    matrix = features(profile, EVERYTHING, state, ITEMS)
    assert column(matrix, "bought_with_current")[1] > 0
    assert column(matrix, "bought_with_cart")[0] > 0
    assert column(matrix, "category_current")[[0, 11]].tolist() == [1, 0]


def test_candidates_may_come_in_any_order(state):
    profile = behaviour.profile([(0, 99, 1), (7, 99, 1)], now_day=100)
    shuffled = np.random.default_rng(0).permutation(EVERYTHING)
    whole = features(profile, EVERYTHING, state, ITEMS)
    np.testing.assert_array_equal(features(profile, shuffled, state, ITEMS), whole[shuffled])


def test_matches_are_cosines(state):
    vectors = np.eye(len(ITEMS), dtype=np.float32)
    matrix = features(
        behaviour.profile([(4, 99, 1)], now_day=100, query="x"),
        EVERYTHING,
        state,
        ITEMS,
        vectors=RequestVectors(vectors, vectors[2], vectors[3]),
        lexical=np.arange(len(ITEMS), dtype=np.float32),
    )
    assert column(matrix, "interest_match").argmax() == 2
    assert column(matrix, "query_match").argmax() == 3
    assert column(matrix, "last_order_match").argmax() == 4
    assert column(matrix, "history_match")[4] == 0
    assert column(matrix, "lexical").max() == 1
    assert (column(matrix, "has_query") == 1).all()


def test_is_new_products_are_zero_for_own_items(state):
    matrix = features(behaviour.profile([(2, 99, 1)], now_day=100), EVERYTHING, state, ITEMS)
    assert column(matrix, "new_popular_7")[2] == 0
    assert column(matrix, "new_popular_7")[0] == column(matrix, "popular_7")[0]


def test_purchases_without_an_order_share_one_by_the_minute():
    profile = behaviour.profile([(0, 1, -1), (1, 1, -1), (2, 2, -1)], now_day=3)
    assert purchases(profile).n_orders == 2


def test_sequence_keeps_the_newest_events_and_weighs_them():
    profile = behaviour.profile([(day % 12, day, day) for day in range(80)], now_day=81)
    newest = sequence(profile)
    assert len(newest.item) == LENGTH
    assert newest.weight.sum() == pytest.approx(1)
    assert (np.diff(newest.weight) > 0).all()


def test_sequence_reads_queries_and_skips_empty_ones():
    profile = behaviour.profile([(0, 1, -1), (-1, 2, -1), (-1, 3, -1)], now_day=4)
    profile = dataclasses.replace(profile, queries=("", "red cup", ""))
    assert sequence(profile).row.tolist() == [0, 1]


def test_decayed_mean_of_nothing_is_zero():
    assert not decayed_mean(np.zeros((0, 4), np.float32), np.zeros(0, np.float32)).any()


def test_trainer_and_server_read_as_much_of_a_history():
    n = HISTORY_LIMIT + 20
    events = behaviour.interactions([(0, day % 12, day, day) for day in range(n)])
    assert len(Histories(events).profile(0, at=(n + 1) * behaviour.DAY).item) == HISTORY_LIMIT
    assert shopper.HISTORY_LIMIT == evaluation.HISTORY_LIMIT == HISTORY_LIMIT


def test_lists_are_asked_for_newcomers_too():
    rows = [(visitor, visitor % 2, 1, visitor) for visitor in range(20)]
    rows += [(visitor, 1, 11, 50 + visitor) for visitor in range(30)]
    events = behaviour.interactions(rows)
    histories, at = Histories(events), 10 * behaviour.DAY
    assert histories.newcomers(at=at, until=20 * behaviour.DAY).tolist() == list(range(20, 30))
    lists = lists_at(ShopHistory(histories, ITEMS), at, until=20 * behaviour.DAY, sample=Sample(20))
    cold = FEATURE_NAMES.index("is_cold")
    assert len(lists) == 20 + int(20 * COLD_SHARE)
    is_newcomer = lists.rows[:, 0, cold] == 1
    assert is_newcomer.sum() == int(20 * COLD_SHARE)
    assert lists.labels.sum() == len(lists)
    assert not lists.is_new[is_newcomer].any()


def test_lists_know_which_items_are_new_to_the_visitor_as_the_evaluation_does():
    rows = [(0, 0, 1, 0), (0, 1, 2, 1), (0, 2, 3, 1), (0, 3, 11, 2)]
    kinds = [EventType.PURCHASE, EventType.VIEW_ITEM, EventType.DISMISS_ITEM, EventType.PURCHASE]
    events = behaviour.interactions(
        [*rows, *((1, item, 5, 3) for item in range(6))], kinds=[*kinds, *[EventType.PURCHASE] * 6]
    )
    shop, at = ShopHistory(Histories(events), ITEMS), 10 * behaviour.DAY
    lists = lists_at(shop, at, until=20 * behaviour.DAY, sample=Sample(20))
    profile = shop.histories.profile(0, at=at)
    candidates = shop.candidates(profile, shop.state(at), None)
    assert len(lists) == 1
    assert set(candidates[lists.new_only().mask[0, : len(candidates)]].tolist()) == set(candidates.tolist()) - {0, 1}
    assert {0, 1} <= set(candidates.tolist())
    assert not lists.is_new[0, len(candidates) :].any()
