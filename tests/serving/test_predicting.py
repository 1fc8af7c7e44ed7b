"""What a rule is predicted to change, by a head whose answer is known: what sells is bought."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from recommender.features.head import Head
from recommender.features.names import FEATURE_NAMES
from recommender.models import Rule
from recommender.serving.predicting import predict
from recommender.serving.previews import before_and_after
from recommender.serving.rule_book import compiled
from recommender.types import Context, Request, Slot
from tests.serving.small_shop import NOW, SmallShop

pytestmark = pytest.mark.django_db
N_ITEMS = 30


def head_of_sales() -> Head:
    """The log-odds of a purchase rise with the sales of 30 days, and with nothing else."""
    names = tuple(FEATURE_NAMES)
    n, linear = len(names), np.zeros(len(names), np.float32)
    linear[names.index("popular_30")] = 1.0
    table = np.linspace(-10, 10, 201).astype(np.float32)
    return Head(
        event="buy", horizon_days=7.0, names=names, mean=np.zeros(n, np.float32), scale=np.ones(n, np.float32),
        knots=np.zeros((n, 1), np.float32), linear=linear, bends=np.zeros((n, 1), np.float32), bias=0.0,
        seen=frozenset(names), raw=table, probability=(1 / (1 + np.exp(-table))).astype(np.float32),
    )  # fmt: skip


@pytest.fixture
def shop() -> SmallShop:
    shop = SmallShop(*((f"mug {n}", "Mugs", "Best" if n < 10 else "Other", 5.0) for n in range(N_ITEMS)))
    shop.sales = np.arange(N_ITEMS, 0, -1).astype(np.float32)
    return shop


def rule(action: str, **fields: Any) -> Rule:
    return Rule(pk=1, name=action, action=action, slot="trending", attribute="brand", values=["Best"], **fields)


def test_burying_what_sells_is_predicted_to_cost_purchases(shop: SmallShop, untrained: Any) -> None:
    trained = copy.copy(untrained)
    trained.head = head_of_sales()
    served = shop.served(trained)
    buried = predict(rule("bury"), served)["buy"]
    assert buried["with"] < buried["without"]
    assert buried["n_lists"] > 0
    boosted = predict(rule("boost"), served)["buy"]
    assert boosted["with"] == pytest.approx(boosted["without"]), "they lead already"


def test_nothing_is_predicted_without_a_head_and_for_no_list(shop: SmallShop, untrained: Any) -> None:
    assert predict(rule("bury"), shop.served(untrained)) == {}
    assert predict(rule("bury"), shop.served()) == {}


def test_before_has_the_other_rules_and_after_this_one_too(shop: SmallShop) -> None:
    other = Rule(pk=2, name="other", action="banner", slot="trending", text="Hello")
    served = shop.served()
    served = served.ruled_by(compiled([other], served.shelf))
    request = Request(Slot.TRENDING, Context(NOW), limit=5, person_key="somebody")
    before, after = before_and_after(rule("exclude"), request, served)
    assert (before.rules, sorted(after.rules)) == ((2,), [1, 2])
    assert before.held_out == after.held_out == ()
