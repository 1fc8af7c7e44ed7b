"""Lists of halved orders know neither future nor held half; an offset stays at its prior without evidence."""

import dataclasses

import numpy as np
import pytest

from recommender.features import FEATURE_NAMES
from recommender.ml.head import baskets as basket_module
from recommender.ml.head.baskets import FIRST_DAYS, VISIT_SECONDS, basket_lists, baskets, known_at
from recommender.ml.head.lists import Lists, ShopHistory
from recommender.ml.head.offset import fit_offset
from recommender.ml.histories import Histories
from recommender.serving.ranker import fallback_logits
from recommender.training.new_items import WEIGHED, formula_head
from recommender.training.split import split_in_time
from tests import planted
from tests.behaviour import DAY

SPLIT = split_in_time(planted.dataset())
SHOP = ShopHistory(Histories(SPLIT.whole), SPLIT.items)
FIRST = float(SPLIT.whole.time[0])
UNTIL = FIRST + 20 * DAY


@pytest.fixture(scope="module")
def lists():
    return basket_lists(SHOP, until=UNTIL)


def test_half_of_each_order_is_held_back_and_nothing_of_it_is_known():
    source, halved = SPLIT.whole, baskets(SHOP.histories, until=UNTIL)
    assert len(halved) > 100
    for basket in halved:
        ordered = (source.visitor == basket.visitor) & (source.basket == source.basket[basket.rows[0]])
        items = set(source.item[ordered & (source.type == planted.PURCHASE)].tolist())
        known_half, held = set(source.item[basket.rows].tolist()), set(basket.held.tolist())
        assert (known_half | held, len(held)) == (items, len(items) // 2)
        assert not known_half & held
        assert FIRST + FIRST_DAYS * DAY <= basket.before < basket.time < UNTIL
        profile = known_at(SHOP.histories, basket)
        of_visit = profile.time >= basket.time - VISIT_SECONDS
        assert set(profile.item[of_visit].tolist()) == known_half  # no look at what was then bought
        assert profile.time.max() <= profile.now == basket.time
        assert np.all(np.diff(profile.time) >= 0)


def test_what_comes_later_and_which_half_was_held_back_changes_no_list(lists):
    past = SPLIT.whole.time < UNTIL
    later = dataclasses.replace(
        SPLIT.whole,
        item=np.where(past, SPLIT.whole.item, 0).astype(np.int32),
        type=np.where(past, SPLIT.whole.type, planted.PURCHASE).astype(np.int8),
    )
    again = basket_lists(dataclasses.replace(SHOP, histories=Histories(later)), until=UNTIL)
    assert np.array_equal(lists.rows, again.rows)
    assert np.array_equal(lists.labels, again.labels)


def test_what_was_held_back_changes_nothing_that_its_list_is_made_of(lists, monkeypatch):
    halved, source = baskets(SHOP.histories, until=UNTIL), SPLIT.whole
    last, item = halved[-1], source.item.copy()
    visit = (source.visitor == last.visitor) & (source.time > last.before) & np.isin(source.item, last.held)
    assert source.type[visit].tolist().count(planted.VIEW) >= len(last.held)
    item[visit] = (item[visit] + 1) % len(SPLIT.items)  # other items, looked at and bought in their place
    other = ShopHistory(Histories(dataclasses.replace(source, item=item)), SPLIT.items)
    monkeypatch.setattr(basket_module, "baskets", lambda *_, **__: halved)  # the same halves
    assert np.array_equal(basket_lists(other, until=UNTIL).rows, lists.rows)


def test_only_what_is_new_beside_the_known_half_is_learned_from(lists):
    new = lists.new_only()
    own = FEATURE_NAMES.index("is_own")
    assert lists.rows[lists.mask][:, own].any()
    assert not new.rows[new.mask][:, own].any()
    assert (new.labels * new.mask).any(axis=1).sum() > 50


def test_offset_is_the_formula_without_evidence_and_more_than_it_with_some(lists):
    prior, rows = formula_head(lists), lists.rows[lists.mask]
    assert prior.logits(rows) == pytest.approx(fallback_logits(rows), abs=1e-4)
    chance = prior.calibrate(prior.logits(rows))
    assert chance == pytest.approx(1 / (1 + np.exp(-fallback_logits(rows))), abs=2e-4)
    certain = fit_offset(lists.new_only(), prior, names=WEIGHED, ridge=1e9)
    assert certain.logits(rows) == pytest.approx(prior.logits(rows), abs=1e-4)
    nothing = dataclasses.replace(lists, labels=np.zeros_like(lists.labels))
    assert fit_offset(nothing, prior, names=WEIGHED) is prior
    fitted = fit_offset(lists.new_only(), prior, names=WEIGHED)
    moved = {
        name for name, ours, theirs in zip(FEATURE_NAMES, fitted.linear, prior.linear, strict=True) if ours != theirs
    }
    assert {"knn_mean", "popular_30"} <= moved <= WEIGHED
    assert np.abs(fitted.logits(rows) - prior.logits(rows)).max() > 0.1
    new = lists.new_only()
    pairs = [(r, m) for r, m, y in zip(new.rows, new.mask, new.labels, strict=True) if (y * m).any()]
    first = [np.concatenate([np.sort(head.logits(r[m]))[-10:] for r, m in pairs]).mean() for head in (fitted, prior)]
    assert first[0] == pytest.approx(first[1], abs=0.05)


def test_offset_finds_a_planted_preference():
    generator = np.random.default_rng(0)
    rows = np.zeros((200, 30, len(FEATURE_NAMES)), np.float32)
    near, far = FEATURE_NAMES.index("knn_mean"), FEATURE_NAMES.index("price_gap")
    rows[..., [near, far]] = generator.normal(size=(200, 30, 2))
    odds = 2.0 * rows[..., near] + generator.gumbel(size=(200, 30))
    labels = (odds == odds.max(axis=1, keepdims=True)).astype(np.float32)
    planted_lists = Lists(rows, labels, np.ones(labels.shape, bool), np.ones(labels.shape, bool))
    prior = formula_head(planted_lists)
    weights = [
        dict(zip(FEATURE_NAMES, (head.linear / head.scale).tolist(), strict=True))
        for head in (fit_offset(planted_lists, prior, names=WEIGHED, ridge=ridge) for ridge in (0.1, 30.0))
    ]
    assert weights[0]["knn_mean"] == pytest.approx(2, abs=0.3)
    assert abs(weights[0]["price_gap"]) < 0.2
    assert 0.5 < weights[1]["knn_mean"] < weights[0]["knn_mean"]  # the prior holds it back
