"""Profit decides among items of like relevance, and nothing else: by a head and margins whose answers are known."""

from __future__ import annotations

import copy
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from recommender.serving import Served, policy
from recommender.serving.profit import filled, margins_of
from recommender.serving.question import Question
from recommender.serving.ranking import rank
from recommender.types import PROFITABLE_SLOTS, Context, Request, Slot
from tests.serving.small_shop import NOW, SmallShop
from tests.serving.test_predicting import head_of_sales

N_ITEMS = 20


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_expected_profit_orders_within_a_band_and_passes_none() -> None:
    scores, chances = floats(1.0, 0.9, 0.8, 0.4, 0.3), floats(0.1, 0.1, 0.05, 0.1, 0.1)
    margins = floats(1, 2, 9, 100, 200)
    assert policy.by_profit(scores, chances, margins, weight=1).tolist() == [2, 1, 0, 4, 3]
    assert [(band.start, band.stop) for band in policy.bands(scores)] == [(0, 3), (3, 5)]


def test_smaller_weight_lets_the_chance_decide() -> None:
    scores, chances, margins = floats(1, 1), floats(0.2, 0.1), floats(1, 3)
    assert policy.by_profit(scores, chances, margins, weight=0.5).tolist() == [0, 1]  # .2 and .173
    assert policy.by_profit(scores, chances, margins, weight=1).tolist() == [1, 0]  # .2 and .3


def test_weight_of_zero_leaves_every_order_as_it_is() -> None:
    generator = np.random.default_rng(0)
    for n in range(30):
        scores, chances, margins = generator.random((3, n)).astype(np.float32)
        assert policy.by_profit(scores, chances, margins, weight=0).tolist() == list(range(n))


def test_no_item_passes_one_that_is_surely_more_relevant() -> None:
    generator = np.random.default_rng(1)
    for _trial in range(200):
        scores = np.sort(generator.random(25).astype(np.float32))[::-1]
        order = policy.by_profit(scores, *generator.random((2, 25)).astype(np.float32), weight=2)
        assert sorted(order.tolist()) == list(range(25))
        for index, row in enumerate(order):
            assert all(scores[row] >= policy.BAND * scores[later] for later in order[index + 1 :])


def test_unknown_margin_is_the_median_of_its_currency_and_a_loss_earns_nothing() -> None:
    margins = (Decimal(1), Decimal(3), None, Decimal(-5), None, Decimal(700), None)
    currency = np.array(["GBP", "GBP", "GBP", "GBP", "JPY", "JPY", "USD"], object)
    assert filled(margins, currency).tolist() == [1, 3, 1, 0, 700, 700, 2]


@pytest.fixture
def served(untrained: Any) -> Served:
    """Twenty mugs that sell alike; the later one is, the more it earns."""
    shop = SmallShop(*((f"mug {n}", "Mugs", "Best", 5.0) for n in range(N_ITEMS)))
    shop.sales = np.linspace(1.1, 1.0, N_ITEMS).astype(np.float32)
    trained = copy.copy(untrained)
    trained.head = head_of_sales()
    pair = shop.served(trained)
    margins = tuple(Decimal(n + 1) for n in range(N_ITEMS))
    return replace(pair, shelf=replace(pair.shelf, margins=margins))


def listed(served: Served, slot: Slot, profit: float) -> list[str]:
    request = Request(slot, Context(NOW), limit=8, profit=profit, item_id=served.shelf.items.ids[0])
    return [entry.item_id for entry in rank(request, served=served).entries]


def test_what_earns_more_comes_first_among_its_like(served: Served) -> None:
    plain, dialled = (listed(served, Slot.TRENDING, weight) for weight in (0.0, 1.0))
    margins = margins_of(served.shelf)
    assert margins is not None
    earned = [[float(margins[served.shelf.index[item_id]]) for item_id in items] for items in (plain, dialled)]
    assert earned[1] == sorted(earned[1], reverse=True)
    assert sum(earned[1]) > sum(earned[0])


@pytest.mark.parametrize("slot", [slot for slot in Slot if slot != Slot.SEARCH])
def test_dial_at_zero_is_todays_list_and_other_slots_have_none(served: Served, slot: Slot) -> None:
    blind = replace(served, shelf=replace(served.shelf, margins=()))
    assert listed(served, slot, 0.0) == listed(blind, slot, 0.0)
    if slot not in PROFITABLE_SLOTS:
        assert listed(served, slot, 2.0) == listed(blind, slot, 0.0)


def test_without_margins_or_a_head_nothing_changes(served: Served) -> None:
    blind = replace(served, shelf=replace(served.shelf, margins=()))
    assert listed(blind, Slot.TRENDING, 2.0) == listed(blind, Slot.TRENDING, 0.0)
    headless = copy.copy(served.ranker)
    headless.head = None  # type: ignore[union-attr]
    other = replace(served, ranker=headless)
    assert listed(other, Slot.TRENDING, 2.0) == listed(other, Slot.TRENDING, 0.0)


def test_what_is_sold_out_stays_behind_whatever_it_earns(served: Served) -> None:
    available = np.ones(N_ITEMS, bool)
    available[-1] = False
    shelf = replace(served.shelf, available=available)
    assert served.shelf.items.ids[-1] not in listed(replace(served, shelf=shelf), Slot.TRENDING, 2.0)


def test_rows_that_the_head_has_scored_are_not_described_again(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    described = type(served.ranker).described

    def counted(ranker: Any, profile: Any, rows: Any, *rest: Any) -> Any:
        calls.append(len(rows))
        return described(ranker, profile, rows, *rest)

    monkeypatch.setattr(type(served.ranker), "described", counted)
    request = Request(Slot.HOME, Context(NOW), limit=8)
    question = Question(request, served.shelf.profile(request), served)
    everything = np.arange(N_ITEMS, dtype=np.int32)
    question.scores(everything, question.context_vector())
    chosen = np.array([7, 3, 12], np.int32)
    reused = question.features_of(chosen)
    assert reused is not None
    assert calls == [N_ITEMS]
    fresh = Question(request, question.profile, served)
    assert np.array_equal(fresh.features_of(chosen), reused)
    other = replace(question, permitted=np.ones(N_ITEMS, bool))
    other.scores(everything[:10], other.context_vector())
    assert np.array_equal(other.features_of(chosen), reused), "one of the rows was not among those scored"
    assert calls == [N_ITEMS, 3, 10, 3]
