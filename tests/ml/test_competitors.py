"""Competitors that are fitted first, against answers computed by hand."""

import numpy as np
import pytest
from scipy import sparse

from recommender.features import neighbours as regression
from recommender.features.shop_state import build_state
from recommender.ml.rivals import competitors
from recommender.ml.rivals.competitors import Basis, BlendWeights, TifuSettings
from tests import behaviour

ITEMS = behaviour.table()
EVENTS = behaviour.shop()
END = 95 * behaviour.DAY
BASIS = Basis(EVENTS, ITEMS, build_state(EVENTS, ITEMS, at=END))


def two_items(rows):
    """A shop of the first two items, with purchases as (visitor, item, day, basket)."""
    items = behaviour.table(behaviour.TEXTS[:2])
    events = behaviour.interactions(rows)
    return Basis(events, items, build_state(events, items, at=END))


def test_ease_of_two_items_is_the_inverse_by_hand():
    # XᵀX + 1 I = [[4, 2], [2, 3]], its inverse [[3, -2], [-2, 4]] / 8; B_ij = -P_ij / P_jj
    matrix = sparse.csr_matrix(np.asarray([[1, 1], [1, 1], [1, 0]], np.float32))
    np.testing.assert_allclose(regression.ease_weights(matrix, penalty=1.0), [[0, 0.5], [2 / 3, 0]], atol=1e-6)


def test_ease_equals_the_closed_form_of_numpy():
    dense = (np.random.default_rng(0).random((40, 9)) < 0.3).astype(np.float32)
    inverse = np.linalg.inv(dense.T @ dense + 5 * np.eye(9))
    expected = np.eye(9) - inverse / np.diag(inverse)
    np.testing.assert_allclose(regression.ease_weights(sparse.csr_matrix(dense), penalty=5.0), expected, atol=1e-5)


def test_ease_is_the_best_linear_answer_without_the_item_itself():
    """No change of any weight off the diagonal lowers the loss that the closed form claims to minimise."""
    generator = np.random.default_rng(1)
    dense = (generator.random((30, 6)) < 0.4).astype(np.float64)
    best = regression.ease_weights(sparse.csr_matrix(dense.astype(np.float32)), penalty=2.0).astype(np.float64)

    def loss(weights):
        return ((dense - dense @ weights) ** 2).sum() + 2.0 * (weights**2).sum()

    for _ in range(20):
        step = 0.01 * generator.normal(size=best.shape)
        np.fill_diagonal(step, 0)
        assert loss(best + step) > loss(best)


def test_ease_scores_what_goes_with_the_history():
    score = competitors.ease(BASIS, penalty=10.0)
    best = np.argsort(-score(behaviour.profile([(1, 90, 1), (2, 90, 1)], now_day=95), BASIS.state, ITEMS))[:4]
    assert set(best.tolist()) <= set(range(6))


def test_ease_of_a_large_catalogue_is_left_out(monkeypatch):
    monkeypatch.setattr(competitors, "MOST_ITEMS", 5)
    assert competitors.ease(BASIS) is None


def test_temporal_frequency_decays_within_and_between_groups():
    # Three orders in two groups: the oldest alone, then two. r_b = .5, r_g = .1.
    # item 0: in orders 1 and 2 -> .1 * (1 / 1) / 2 + (.5 / 2) / 2; item 1: in order 3 -> (1 / 2) / 2
    profile = behaviour.profile([(0, 1, 1), (0, 2, 2), (1, 3, 3)], now_day=9)
    settings = TifuSettings(n_groups=2, basket_decay=0.5, group_decay=0.1)
    items, frequency = competitors.frequency_vector(profile, settings=settings)
    assert items.tolist() == [0, 1]
    np.testing.assert_allclose(frequency, [0.05 + 0.125, 0.25], rtol=1e-6)


def test_fewer_orders_than_groups_are_a_group_each():
    profile = behaviour.profile([(0, 1, 1), (1, 2, 2)], now_day=9)
    _, frequency = competitors.frequency_vector(profile, settings=TifuSettings(n_groups=7, group_decay=0.7))
    np.testing.assert_allclose(frequency, [0.35, 0.5], rtol=1e-6)


def test_tifu_knn_adds_the_mean_of_the_nearest():
    # Visitor 0 bought item 0, visitor 1 items 0 and 1, visitor 2 item 1: who bought item 0 is nearest to 0, then to 1.
    basis = two_items([(0, 0, 1, 1), (1, 0, 1, 2), (1, 1, 1, 2), (2, 1, 1, 3)])
    score = competitors.tifu_knn(basis, settings=TifuSettings(n_neighbours=2, own_share=0.7))
    scores = score(behaviour.profile([(0, 1, 1)], now_day=95), basis.state, basis.items)
    np.testing.assert_allclose(scores, [0.7 + 0.3 * (1 + 1) / 2, 0.3 * (0 + 1) / 2], atol=1e-5)


def test_tifu_knn_without_a_past_is_popularity():
    basis = two_items([(0, 0, 90, 1), (1, 1, 90, 2), (2, 1, 90, 3)])
    empty = Basis(behaviour.interactions([(-1, 0, 1, 1)]), basis.items, basis.state)
    for training_basis in (basis, empty):
        score = competitors.tifu_knn(training_basis, settings=TifuSettings(own_share=1.0))
        assert score(behaviour.profile([], now_day=95), basis.state, basis.items).argmax() == 1


def test_blend_is_the_weighted_sum_of_scaled_parts():
    profile = behaviour.profile([(7, 80, 1), (7, 81, 2), (8, 81, 2)], now_day=95)
    own = competitors.blend(BlendWeights(1.0, 0.0, 0.0))(profile, BASIS.state, ITEMS)
    assert own[7] == pytest.approx(1)
    assert own[8] == pytest.approx(0.5)
    popular = competitors.blend(BlendWeights(0.0, 0.0, 2.0))(profile, BASIS.state, ITEMS)
    assert popular.max() == pytest.approx(2)
    assert popular.argmax() == BASIS.state.counts[:, 2].argmax()


@pytest.mark.parametrize(("truth_is_own", "expects_habit"), [(True, True), (False, False)])
def test_blend_is_tuned_towards_what_was_bought(truth_is_own, expects_habit):
    favourite = int(BASIS.state.counts[:, 2].argmax())
    other = (favourite + 6) % 12
    profile = behaviour.profile([(other, 80, 1)], now_day=95)
    truth = frozenset({other if truth_is_own else favourite})
    weights = competitors.tuned_weights(BASIS.state, ITEMS, [(profile, truth)])
    best = competitors.blend(weights)(profile, BASIS.state, ITEMS).argmax()
    assert (best == other) == expects_habit
    assert best in truth


def test_best_rows_are_in_order_and_never_what_is_hidden():
    assert competitors.best_rows(np.asarray([0.1, -np.inf, 0.9, 0.4], np.float32), 3) == [2, 3, 0]
    assert competitors.best_rows(np.asarray([0.1, -np.inf], np.float32), 10) == [0]
