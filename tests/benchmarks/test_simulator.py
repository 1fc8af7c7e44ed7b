"""The planted truth is what it says, and the context model finds it in what a shop would have recorded."""

from __future__ import annotations

import dataclasses
import datetime as dt
from functools import partial

import numpy as np
import pytest

from benchmarks.context_ablation import Told, trained
from benchmarks.simulator import (
    CART_SHARE,
    EXAMINATION,
    FAVOURS,
    KINDS,
    MONDAY,
    PURCHASE_SHARE,
    Circumstances,
    Simulation,
    simulate,
    vectors,
)
from recommender.features.sequence import CIRCUMSTANCES
from recommender.ml.context.model import ContextSettings
from recommender.ml.context.training import train_context
from recommender.ml.context.visits import examples
from recommender.ml.hardware import limit_threads
from recommender.ml.head.examples import Histories
from recommender.types import EVENT_CODES, EventType, Slot
from tests import behaviour

HOUR = 3_600.0
NOON, MORNING, EVENING = (
    MONDAY + dt.timedelta(hours=13),
    MONDAY + dt.timedelta(hours=8),
    MONDAY + dt.timedelta(hours=20),
)


@pytest.fixture(scope="module")
def made() -> Simulation:
    return simulate(n_visitors=250, n_visits=8, seed=1)


@pytest.fixture(scope="module")
def told(made: Simulation) -> Told:
    return fitted(made)


def fitted(made: Simulation) -> Told:
    limit_threads(1)
    items, kinds = vectors(made.shop)
    settings = ContextSettings(n_epochs=6, width=48, new_weight=1.0, learning_rate=2e-3, dropout=0.1)
    return trained(made.interactions, made.shop.items, items, settings, seed=0, query_vectors=kinds)


def test_only_circumstances_that_pay_are_told() -> None:
    limit_threads(1)
    made = simulate(n_visitors=300, n_visits=8, seed=3, strength={"hour": 0.0, "weekday": 0.0, "region": 0.0})
    items, kinds = vectors(made.shop)
    histories, behaviour_end = Histories(made.interactions), float(np.quantile(made.interactions.time, 0.8))
    cut = partial(examples, histories, new_weight=1.0, seed=0, n_items=len(items), most=5_000)
    fitted = train_context(
        cut(since=-np.inf, until=behaviour_end), cut(since=behaviour_end, until=np.inf), items,
        np.ones(len(items), np.float32), minutes=1e9, query_vectors=kinds,
        settings=ContextSettings(n_epochs=6, width=48, learning_rate=2e-3, dropout=0.1),
    )  # fmt: skip
    assert fitted.worth["device"].is_sure
    assert fitted.idle == {"hour", "weekday", "region"}
    assert [list(CIRCUMSTANCES)[place] for place in fitted.model.told] == ["slot", "device"]


def asked(**changes: object) -> Circumstances:
    return dataclasses.replace(Circumstances(0, NOON, "tablet", "GB"), **changes)  # type: ignore[arg-type]


def chance_of(made: Simulation, kind: int, request: Circumstances) -> float:
    return float(made.shop.probabilities(request)[made.shop.kind == kind].sum())


def test_probabilities_sum_to_one_and_follow_each_circumstance(made: Simulation) -> None:
    assert made.shop.probabilities(asked()).sum() == pytest.approx(1, abs=1e-5)
    for kind, more, less in (
        (FAVOURS["device"]["mobile"], asked(device="mobile"), asked(device="desktop")),
        (FAVOURS["hour"]["morning"], asked(at=MORNING), asked(at=EVENING)),
        (FAVOURS["weekday"]["weekend"], asked(at=NOON + dt.timedelta(days=5)), asked()),
        (FAVOURS["region"]["DE"], asked(region="DE"), asked(region="FR")),
        (9, asked(asked=9), asked(asked=10)),
        (int(made.shop.kind[-1]), asked(current=len(made.shop.kind) - 1), asked(current=0)),
    ):
        assert chance_of(made, kind, more) > 2 * chance_of(made, kind, less)


def test_what_is_picked_follows_the_probabilities(made: Simulation) -> None:
    bought = made.interactions.item[made.interactions.type == EVENT_CODES[EventType.PURCHASE]]
    observed = np.bincount(made.shop.kind[bought], minlength=len(KINDS)) / len(bought)
    truth = np.mean([made.shop.probabilities(request) for request in made.requests], axis=0)
    expected = np.bincount(made.shop.kind, weights=truth, minlength=len(KINDS))
    np.testing.assert_allclose(observed, expected, atol=0.02)


def test_places_are_examined_and_clicked_as_planted() -> None:
    shown = simulate(n_visitors=600, n_visits=6, n_picks=0, seed=2).impressions
    np.testing.assert_allclose(shown.examined.mean(axis=0), EXAMINATION, atol=0.03)
    assert not (shown.clicked & ~shown.examined).any()
    assert not (shown.carted & ~shown.clicked).any()
    assert not (shown.bought & ~shown.carted).any()
    clicks = (shown.attraction * EXAMINATION).mean(axis=0)
    np.testing.assert_allclose(shown.clicked.mean(axis=0), clicks, atol=0.02)
    assert shown.carted.sum() / shown.clicked.sum() == pytest.approx(CART_SHARE, abs=0.04)
    assert shown.bought.sum() / shown.carted.sum() == pytest.approx(PURCHASE_SHARE, abs=0.06)


def test_every_click_of_a_list_is_an_event_and_time_ascends(made: Simulation) -> None:
    clicks = (made.interactions.type == EVENT_CODES[EventType.SELECT_ITEM]).sum()
    assert clicks == made.impressions.clicked.sum()
    assert (np.diff(made.interactions.time) >= 0).all()
    assert (np.diff(made.impressions.time) >= 0).all()
    assert len(made.requests) == len(made.impressions) == 250 * 8


def test_same_seed_gives_the_same_shop() -> None:
    first, again = (simulate(n_visitors=20, n_visits=2, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.interactions.item, again.interactions.item)
    np.testing.assert_array_equal(first.impressions.clicked, again.impressions.clicked)


LATER = NOON.timestamp() + 28 * behaviour.DAY
"""A Monday noon after the last visit."""


def score_of(told: Told, made: Simulation, kind: int, *, query: int = -1, **changes: object) -> float:
    """Mean logit of a kind against the others, over 60 shoppers who come by tablet from GB but for `changes`."""
    histories, kinds = Histories(made.interactions), vectors(made.shop)[1]
    found = []
    for visitor in range(60):
        plain = histories.profile(visitor, at=np.inf)
        profile = dataclasses.replace(plain, **{"now": LATER, "device": "tablet", "region": "GB", **changes})
        scores = told.scores(profile, kinds[query] if query >= 0 else None)
        found.append(scores[made.shop.kind == kind].mean() - scores[made.shop.kind != kind].mean())
    return float(np.mean(found))


@pytest.mark.parametrize(
    ("kind", "with_it", "without_it"),
    [
        (FAVOURS["device"]["mobile"], {"device": "mobile"}, {"device": "desktop"}),
        (FAVOURS["device"]["desktop"], {"device": "desktop"}, {"device": "mobile"}),
        (FAVOURS["hour"]["morning"], {"now": LATER - 5 * HOUR}, {"now": LATER + 7 * HOUR}),
        (FAVOURS["hour"]["evening"], {"now": LATER + 7 * HOUR}, {"now": LATER - 5 * HOUR}),
        (FAVOURS["weekday"]["weekend"], {"now": LATER + 5 * behaviour.DAY}, {}),
        (FAVOURS["region"]["DE"], {"region": "DE"}, {"region": "FR"}),
        (FAVOURS["region"]["FR"], {"region": "FR"}, {"region": "DE"}),
    ],
)
def test_trained_model_finds_what_a_circumstance_favours(
    told: Told, made: Simulation, kind: int, with_it: dict[str, object], without_it: dict[str, object]
) -> None:
    assert score_of(told, made, kind, **with_it) > score_of(told, made, kind, **without_it) + 0.5


def test_trained_model_finds_what_the_current_item_and_the_query_favour(told: Told, made: Simulation) -> None:
    for kind in (9, 10, 11):
        current = int(np.flatnonzero(made.shop.kind == kind)[0])
        beside = score_of(told, made, kind, slot=Slot.SIMILAR, current_item=current)
        asked_for = score_of(told, made, kind, slot=Slot.SEARCH, query=kind)
        assert beside > score_of(told, made, kind) + 0.3
        assert asked_for > score_of(told, made, kind) + 0.3


def test_without_a_dependence_in_the_data_the_model_finds_none() -> None:
    made = simulate(n_visitors=250, n_visits=8, seed=1, strength={"device": 0.0, "region": 0.0})
    told = fitted(made)
    for kind, one, other in (
        (FAVOURS["device"]["mobile"], {"device": "mobile"}, {"device": "desktop"}),
        (FAVOURS["region"]["DE"], {"region": "DE"}, {"region": "FR"}),
    ):
        gap = score_of(told, made, kind, **one) - score_of(told, made, kind, **other)
        assert abs(gap) < 0.45
