"""The simulation follows its known truth, and the context model finds it in the recorded behaviour."""

from __future__ import annotations

import dataclasses
import datetime as dt
from functools import partial

import numpy as np
import pytest

from benchmarks.context_ablation import TrainedVariant, trained
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
from recommender.ml.context.training import ContextData, train_context
from recommender.ml.context.visits import examples
from recommender.ml.hardware import limit_threads
from recommender.ml.histories import Histories
from recommender.types import EVENT_CODES, EventType, Slot
from tests import behaviour

HOUR = 3_600.0
NOON, MORNING, EVENING = (
    MONDAY + dt.timedelta(hours=13),
    MONDAY + dt.timedelta(hours=8),
    MONDAY + dt.timedelta(hours=20),
)


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(n_visitors=250, n_visits=8, seed=1)


@pytest.fixture(scope="module")
def context(simulation: Simulation) -> TrainedVariant:
    return fitted(simulation)


def fitted(simulation: Simulation) -> TrainedVariant:
    limit_threads(1)
    items, kinds = vectors(simulation.shop)
    settings = ContextSettings(n_epochs=6, width=48, new_weight=1.0, learning_rate=2e-3, dropout=0.1)
    return trained(simulation.interactions, simulation.shop.items, items, settings, seed=0, query_vectors=kinds)


def test_only_circumstances_that_pay_are_told() -> None:
    limit_threads(1)
    simulation = simulate(n_visitors=300, n_visits=8, seed=3, strength={"hour": 0.0, "weekday": 0.0, "region": 0.0})
    items, kinds = vectors(simulation.shop)
    histories, behaviour_end = Histories(simulation.interactions), float(np.quantile(simulation.interactions.time, 0.8))
    cut = partial(examples, histories, new_weight=1.0, seed=0, n_items=len(items), most=5_000)
    past, check = cut(since=-np.inf, until=behaviour_end), cut(since=behaviour_end, until=np.inf)
    fitted = train_context(
        ContextData(past, check, items, np.ones(len(items), np.float32), kinds),
        minutes=1e9,
        settings=ContextSettings(n_epochs=6, width=48, learning_rate=2e-3, dropout=0.1),
    )
    assert fitted.worth["device"].is_sure
    assert fitted.idle == {"hour", "weekday", "region"}
    assert [list(CIRCUMSTANCES)[index] for index in fitted.model.read_positions] == ["slot", "device"]


def circumstances(**changes: object) -> Circumstances:
    return dataclasses.replace(Circumstances(0, NOON, "tablet", "GB"), **changes)  # type: ignore[arg-type]


def chance_of(simulation: Simulation, kind: int, request: Circumstances) -> float:
    return float(simulation.shop.probabilities(request)[simulation.shop.kind == kind].sum())


def test_probabilities_sum_to_one_and_follow_each_circumstance(simulation: Simulation) -> None:
    assert simulation.shop.probabilities(circumstances()).sum() == pytest.approx(1, abs=1e-5)
    for kind, more, less in (
        (FAVOURS["device"]["mobile"], circumstances(device="mobile"), circumstances(device="desktop")),
        (FAVOURS["hour"]["morning"], circumstances(at=MORNING), circumstances(at=EVENING)),
        (FAVOURS["weekday"]["weekend"], circumstances(at=NOON + dt.timedelta(days=5)), circumstances()),
        (FAVOURS["region"]["DE"], circumstances(region="DE"), circumstances(region="FR")),
        (9, circumstances(query_kind=9), circumstances(query_kind=10)),
        (int(simulation.shop.kind[-1]), circumstances(current=len(simulation.shop.kind) - 1), circumstances(current=0)),
    ):
        assert chance_of(simulation, kind, more) > 2 * chance_of(simulation, kind, less)


def test_what_is_picked_follows_the_probabilities(simulation: Simulation) -> None:
    bought = simulation.interactions.item[simulation.interactions.type == EVENT_CODES[EventType.PURCHASE]]
    observed = np.bincount(simulation.shop.kind[bought], minlength=len(KINDS)) / len(bought)
    truth = np.mean([simulation.shop.probabilities(request) for request in simulation.requests], axis=0)
    expected = np.bincount(simulation.shop.kind, weights=truth, minlength=len(KINDS))
    np.testing.assert_allclose(observed, expected, atol=0.02)


def test_places_are_examined_and_clicked_as_planted() -> None:
    lists = simulate(n_visitors=600, n_visits=6, n_picks=0, seed=2).impressions
    np.testing.assert_allclose(lists.examined.mean(axis=0), EXAMINATION, atol=0.03)
    assert not (lists.clicked & ~lists.examined).any()
    assert not (lists.carted & ~lists.clicked).any()
    assert not (lists.bought & ~lists.carted).any()
    clicks = (lists.attraction * EXAMINATION).mean(axis=0)
    np.testing.assert_allclose(lists.clicked.mean(axis=0), clicks, atol=0.02)
    assert lists.carted.sum() / lists.clicked.sum() == pytest.approx(CART_SHARE, abs=0.04)
    assert lists.bought.sum() / lists.carted.sum() == pytest.approx(PURCHASE_SHARE, abs=0.06)


def test_every_click_of_a_list_is_an_event_and_time_ascends(simulation: Simulation) -> None:
    clicks = (simulation.interactions.type == EVENT_CODES[EventType.SELECT_ITEM]).sum()
    assert clicks == simulation.impressions.clicked.sum()
    assert (np.diff(simulation.interactions.time) >= 0).all()
    assert (np.diff(simulation.impressions.time) >= 0).all()
    assert len(simulation.requests) == len(simulation.impressions) == 250 * 8


def test_same_seed_gives_the_same_shop() -> None:
    first, again = (simulate(n_visitors=20, n_visits=2, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.interactions.item, again.interactions.item)
    np.testing.assert_array_equal(first.impressions.clicked, again.impressions.clicked)


LATER = NOON.timestamp() + 28 * behaviour.DAY
"""A Monday noon after the last visit."""


def score_of(
    context: TrainedVariant, simulation: Simulation, kind: int, *, query: int = -1, **changes: object
) -> float:
    """Mean logit of a kind against the others, over 60 shoppers who come by tablet from GB but for `changes`."""
    histories, kinds = Histories(simulation.interactions), vectors(simulation.shop)[1]
    scores_of_kind = []
    for visitor in range(60):
        plain = histories.profile(visitor, at=np.inf)
        profile = dataclasses.replace(plain, **{"now": LATER, "device": "tablet", "region": "GB", **changes})
        scores = context.scores(profile, kinds[query] if query >= 0 else None)
        scores_of_kind.append(scores[simulation.shop.kind == kind].mean() - scores[simulation.shop.kind != kind].mean())
    return float(np.mean(scores_of_kind))


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
    context: TrainedVariant,
    simulation: Simulation,
    kind: int,
    with_it: dict[str, object],
    without_it: dict[str, object],
) -> None:
    assert score_of(context, simulation, kind, **with_it) > score_of(context, simulation, kind, **without_it) + 0.5


def test_trained_model_finds_what_the_current_item_and_the_query_favour(
    context: TrainedVariant, simulation: Simulation
) -> None:
    for kind in (9, 10, 11):
        current = int(np.flatnonzero(simulation.shop.kind == kind)[0])
        beside = score_of(context, simulation, kind, slot=Slot.SIMILAR, current_item=current)
        asked_for = score_of(context, simulation, kind, slot=Slot.SEARCH, query=kind)
        assert beside > score_of(context, simulation, kind) + 0.3
        assert asked_for > score_of(context, simulation, kind) + 0.3


def test_without_a_dependence_in_the_data_the_model_finds_none() -> None:
    simulation = simulate(n_visitors=250, n_visits=8, seed=1, strength={"device": 0.0, "region": 0.0})
    context = fitted(simulation)
    for kind, one, other in (
        (FAVOURS["device"]["mobile"], {"device": "mobile"}, {"device": "desktop"}),
        (FAVOURS["region"]["DE"], {"region": "DE"}, {"region": "FR"}),
    ):
        gap = score_of(context, simulation, kind, **one) - score_of(context, simulation, kind, **other)
        assert abs(gap) < 0.45
