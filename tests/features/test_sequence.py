"""The circumstances of a request as the context model reads them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from recommender.features.sequence import CIRCUMSTANCES, circumstances
from recommender.ml.context.model import ContextSettings, ContextTransformer, context_vector
from recommender.ml.context.visits import examples
from recommender.ml.histories import Histories
from recommender.types import EVENT_CODES, EventType, Slot
from tests import behaviour

DAY = behaviour.DAY


def codes_of(**changes: object) -> dict[str, int]:
    profile = dataclasses.replace(behaviour.profile([], now_day=4.5), **changes)  # type: ignore[arg-type]
    return dict(zip(CIRCUMSTANCES, circumstances(profile).tolist(), strict=True))


def test_moment_has_codes_for_hour_and_weekday() -> None:
    assert codes_of() == {"slot": 0, "device": 0, "hour": 12, "weekday": 0, "region": 0}


def test_every_named_device_has_its_own_code() -> None:
    codes = [codes_of(device=name)["device"] for name in ("", "mobile", "tablet", "desktop")]
    assert codes == [0, 1, 2, 3]
    assert 4 <= codes_of(device="television")["device"] < CIRCUMSTANCES["device"]


def test_regions_have_different_codes() -> None:
    codes = {codes_of(region=name)["region"] for name in ("GB", "DE", "FR", "NL", "JP", "US", "")}
    assert len(codes) == 7
    assert max(codes) < CIRCUMSTANCES["region"]


def test_untrained_model_ignores_circumstances() -> None:
    model = ContextTransformer(4, ContextSettings(width=8)).eval()
    vectors = np.eye(4, dtype=np.float32)
    profile = behaviour.profile([(2, 1.0, 0)], now_day=2)
    plain = context_vector(model, profile, vectors)
    other = dataclasses.replace(profile, device="mobile", region="DE", slot=Slot.SEARCH, current_item=1)
    np.testing.assert_array_equal(context_vector(model, other, vectors), plain)
    assert plain.argmax() == 2


def test_example_without_a_history_pulls_no_harder_than_others() -> None:
    torch.manual_seed(0)
    model = ContextTransformer(4, ContextSettings(width=8))
    history, nothing = torch.zeros(1, 1, 4), torch.zeros(1, 1)
    row = torch.tensor([[1, 1, 9, 2, 5]])
    output = model(history, nothing.long(), nothing, nothing, torch.ones(1, 4) / 2, row)
    output[0, 0].backward()
    for weight in (model.alpha, model.pull.weight, model.leaning[1].weight):
        assert weight.grad is not None
        assert 0 < weight.grad.abs().max() < 100


def test_example_has_device_and_region_of_its_own_visit() -> None:
    table = behaviour.interactions([(0, 1, 1.0, 0), (0, 2, 3.0, 1), (0, 3, 5.0, 2)])
    table = dataclasses.replace(
        table, device=np.asarray([0, 1, -1], np.int32), devices=("mobile", "desktop"),
        region=np.asarray([0, 0, 1], np.int32), regions=("GB", "DE"),
    )  # fmt: skip
    batch = examples(Histories(table), since=-np.inf, until=np.inf, new_weight=1.0, most=10, seed=0, n_items=12)
    device = dict(zip([int(target[0]) for target in batch.target], batch.circumstances[:, 1].tolist(), strict=True))
    assert device == {2: 3, 3: 3}  # desktop then; unknown now, so as it was last
    region = dict(zip([int(target[0]) for target in batch.target], batch.circumstances[:, 4].tolist(), strict=True))
    assert region[2] == codes_of(region="GB")["region"]
    assert region[3] == codes_of(region="DE")["region"]


def test_look_and_search_are_moments_with_something_current() -> None:
    rows = [(0, 1, 1.0, -1), (0, -1, 1.001, -1), (0, 4, 1.002, 0)]
    table = behaviour.interactions(rows, kinds=[EventType.VIEW_ITEM, EventType.SEARCH, EventType.PURCHASE])
    table = dataclasses.replace(table, query=np.asarray([-1, 0, -1], np.int32), queries=("tea pot",))
    batch = examples(Histories(table), since=-np.inf, until=np.inf, new_weight=1.0, most=10, seed=0, n_items=12)
    targets = {int(current): target.tolist() for current, target in zip(batch.current, batch.target, strict=True)}
    assert targets == {1: [4], 12: [4]}  # beside item 1, and for query 0 behind the 12 items
    slots = set(batch.circumstances[:, 0].tolist())
    assert slots == {list(Slot).index(Slot.SIMILAR), list(Slot).index(Slot.SEARCH)}


@pytest.mark.parametrize("kind", [EventType.PURCHASE, EventType.ADD_TO_CART])
def test_only_looks_are_a_current_item(kind: EventType) -> None:
    table = behaviour.interactions([(0, 1, 1.0, 0), (0, 2, 1.001, 0)], kinds=[kind] * 2)
    assert EVENT_CODES[kind] == table.type[0]
    batch = examples(Histories(table), since=-np.inf, until=np.inf, new_weight=1.0, most=10, seed=0, n_items=12)
    assert len(batch) == 0
