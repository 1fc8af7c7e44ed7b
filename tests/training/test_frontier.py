"""The frontier of profit and relevance, by a head and margins whose answer is known."""

from __future__ import annotations

import copy
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from recommender.features.shop_state import build_state
from recommender.models import Item
from recommender.runs.figures import Figures
from recommender.serving import Served
from recommender.serving.shelf import build_shelf
from recommender.training.judging import evaluation
from recommender.training.judging.frontier import WEIGHTS, profit_figures
from recommender.training.split import Split, split_in_time
from tests import planted
from tests.serving.conftest import untrained
from tests.serving.test_predicting import head_of_sales

__all__ = ["untrained"]

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def split() -> Split:
    return split_in_time(planted.dataset(n_visitors=60))


@pytest.fixture
def served(split: Split, untrained: Any) -> Served:
    """The planted shop with a head that knows sales alone."""
    state = build_state(split.past, split.items, at=split.test_start)
    vectors = untrained.encode(split.items.texts)
    trained = copy.copy(untrained)
    trained.head = head_of_sales()
    shelf = build_shelf(split.items, state=state, vectors=vectors, encoder_hash=trained.encoder_hash)
    return Served(shelf, trained, "ranker")


def test_more_weight_earns_more_and_the_first_point_is_todays_list(split: Split, served: Served) -> None:
    margins = np.random.default_rng(0).integers(1, 50, len(split.items.ids))
    Item.objects.bulk_create(
        Item(item_id=item_id, label="shop.Item", object_id=item_id, title=item_id, text=item_id, text_hash=item_id,
             margin=Decimal(int(margin)), currency="GBP")
        for item_id, margin in zip(split.items.ids, margins, strict=True)
    )  # fmt: skip
    cases = evaluation.cases(split, most=20, seed=0)
    points = profit_figures(served, cases, seed=0)
    assert [point.weight for point in points] == list(WEIGHTS)
    at_zero, *_others, last = points
    makers = {"ranker": evaluation.PipelineLists(served)}
    today = evaluation.compare(makers, cases)
    assert at_zero.ndcg == pytest.approx(float(np.mean(today.ndcg("all", "ranker"))))
    assert tuple(at_zero.gained or ()) == (0, 0, 0)
    assert last.profit > at_zero.profit * 1.02
    assert at_zero.n == len([case for case in cases if case.truth])
    assert Figures.of(Figures(profit=points).as_json()).profit == points


def test_shop_without_margins_has_no_frontier(split: Split, served: Served) -> None:
    assert profit_figures(served, evaluation.cases(split, most=5, seed=0), seed=0) == ()


def test_model_without_a_head_has_no_frontier(split: Split, served: Served) -> None:
    Item.objects.create(item_id=split.items.ids[0], label="x", object_id="x", title="x", text="x", text_hash="x",
                        margin=Decimal(2))  # fmt: skip
    headless = copy.copy(served.ranker)
    headless.head = None  # type: ignore[union-attr]
    assert profit_figures(replace(served, ranker=headless), evaluation.cases(split, most=5, seed=0), seed=0) == ()
