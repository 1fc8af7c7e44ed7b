"""The parts of a score: they sum to what was served, and each is what the model really makes of it."""

from __future__ import annotations

import copy
import datetime as dt
from typing import Any

import numpy as np
import pytest

from recommender.features import FEATURE_NAMES
from recommender.features.head import Head
from recommender.retrieval.matching import MATCH_FEATURES
from recommender.serving.contributions import (
    HEAD_PARTS,
    MATCH_PARTS,
    PARTS,
    Breakdown,
    Part,
    breakdown,
    part_of,
    shapley,
)
from recommender.serving.memory import Served
from recommender.serving.ranking import rank, ruled_list
from recommender.types import Context, EventType, PastEvent, Request, Slot
from tests.serving.small_shop import NOW, SmallShop
from tests.serving.test_predicting import head_of_sales

TITLES = (
    "red mug", "blue mug with handle", "green cup", "tea pot", "red tea pot", "desk lamp", "bedside lamp", "red lamp",
    "garden chair", "folding garden chair", "umbrella", "rain coat",
)  # fmt: skip


@pytest.fixture
def shop() -> SmallShop:
    shop = SmallShop(*((title, title.split()[-1], "", 5.0 + n) for n, title in enumerate(TITLES)))
    shop.sales = np.arange(len(TITLES), 0, -1).astype(np.float32)
    return shop


def head_of_everything() -> Head:
    """A head in which every feature counts a little, with a bend, so that no part is empty by chance."""
    generator = np.random.default_rng(3)
    head = head_of_sales()
    n = len(FEATURE_NAMES)
    linear = generator.normal(0, 0.4, n).astype(np.float32)
    bends = generator.normal(0, 0.3, (n, 1)).astype(np.float32)
    return Head(**{name: getattr(head, name) for name in head.__slots__} | {"linear": linear, "bends": bends})


def trained(untrained: Any, head: Head) -> Any:
    ranker = copy.copy(untrained)
    ranker.head = head
    return ranker


def event(item: int, kind: EventType = EventType.PURCHASE, hours: float = 30.0, order: str = "") -> PastEvent:
    return PastEvent(kind, NOW - dt.timedelta(hours=hours), f"i{item}", order_id=order)


PAST = (
    event(0, hours=900, order="a"), event(3, hours=900, order="a"), event(0, hours=500, order="b"),
    event(5, EventType.VIEW_ITEM, hours=0.2), event(8, EventType.VIEW_ITEM, hours=0.1),
)  # fmt: skip


def explained(served: Served, slot: Slot, **wanted: Any) -> Breakdown:
    request = Request(slot, Context(NOW), **{"limit": 8, "is_composed": slot != Slot.SEARCH, **wanted})
    question, chosen = ruled_list(request, served)
    ranking = rank(request, served=served)
    assert ranking.entries, "there is something to explain"
    rows = np.array([served.shelf.index[entry.item_id] for entry in ranking.entries], np.int32)
    result = breakdown(question, chosen.listed, rows)
    assert result.scores == pytest.approx([entry.score for entry in ranking.entries]), "what was served is split"
    return result


def share(result: Breakdown, part: Part) -> Any:
    return result.parts[:, PARTS.index(part)]


WANTED = [
    (Slot.SEARCH, {"query": "red lamp"}), (Slot.SEARCH, {"query": "red lamp", "history": PAST}),
    (Slot.SEARCH, {"query": "purple lamp"}), (Slot.HOME, {"history": PAST}), (Slot.HOME, {}),
    (Slot.SIMILAR, {"item_id": "i4"}), (Slot.BUY_AGAIN, {"history": PAST}), (Slot.TRENDING, {}),
    (Slot.RECENTLY_VIEWED, {"history": PAST}), (Slot.CART, {"cart_item_ids": ("i1",), "history": PAST}),
]  # fmt: skip


@pytest.mark.parametrize(("slot", "wanted"), WANTED, ids=[f"{slot} {n}" for n, (slot, _) in enumerate(WANTED)])
@pytest.mark.parametrize("kind", ["words alone", "untrained", "trained"])
def test_parts_sum_to_the_score_and_nothing_is_left_over(
    slot: Slot, wanted: dict[str, Any], kind: str, shop: SmallShop, untrained: Any
) -> None:
    ranker = {"words alone": None, "untrained": untrained, "trained": trained(untrained, head_of_everything())}[kind]
    result = explained(shop.served(ranker), slot, **wanted)
    assert result.parts.sum(axis=1) == pytest.approx(result.scores, abs=1e-9)
    assert share(result, Part.OTHER) == pytest.approx(0, abs=2e-6)
    assert not result.parts[~result.graded].any() or not result.scores[~result.graded].any()
    assert result.graded.any()


def test_additive_head_is_split_as_its_own_weights_say(untrained: Any) -> None:
    """With straight lines and no calibration the share of a part is its weights times the distance from the mean."""
    head = head_of_everything()
    generator = np.random.default_rng(5)
    rows = generator.normal(0, 1, (6, len(FEATURE_NAMES))).astype(np.float32)
    mean = rows.mean(axis=0)
    parts = [part_of(name, HEAD_PARTS, Part.PAST) for name in FEATURE_NAMES]
    groups = [np.flatnonzero([other is part for other in parts]) for part in dict.fromkeys(parts)]
    start, added = shapley(head.logits, rows, mean, groups)
    expected = head.contributions(rows) - head.contributions(mean[None])
    for column, group in enumerate(groups):
        assert added[:, column] == pytest.approx(expected[:, group].sum(axis=1), abs=1e-4)
    assert start == pytest.approx(np.full(6, head.logits(mean[None])[0]), abs=1e-5)


def test_interaction_is_shared_and_the_sum_is_exact() -> None:
    def product(rows: Any) -> Any:
        return rows[:, 0] * rows[:, 1]

    start, added = shapley(
        product, np.array([[2, 3]], np.float32), np.zeros(2, np.float32), [np.array([0]), np.array([1])]
    )
    assert start.tolist() == [0]
    assert added.tolist() == [[3, 3]]


def test_only_sales_are_credited_where_only_sales_count(shop: SmallShop, untrained: Any) -> None:
    result = explained(shop.served(trained(untrained, head_of_sales())), Slot.HOME, history=PAST)
    others = [part for part in PARTS if part not in (Part.START, Part.BEHAVIOUR)]
    assert all(np.abs(share(result, part)).max() < 1e-6 for part in others)
    assert np.abs(share(result, Part.BEHAVIOUR)).max() > 0.01


def test_words_are_credited_for_words_and_meaning_for_meaning(shop: SmallShop, untrained: Any) -> None:
    result = explained(shop.served(untrained), Slot.SEARCH, query="red lamp")
    whole = int(np.flatnonzero(result.rows == TITLES.index("red lamp"))[0])
    assert share(result, Part.WORDS)[whole] == share(result, Part.WORDS).max()
    assert share(result, Part.MEANING).any()
    alone = explained(shop.served(), Slot.SEARCH, query="red lamp")
    assert not share(alone, Part.MEANING).any()


def test_likings_are_credited_to_the_past_and_only_with_one(shop: SmallShop, untrained: Any) -> None:
    served = shop.served(untrained)
    liked = explained(served, Slot.SEARCH, query="lamp", history=PAST)
    assert share(liked, Part.PAST).any()
    assert not share(explained(served, Slot.SEARCH, query="lamp"), Part.PAST).any()


def test_difference_of_two_items_sums_to_that_of_their_scores_the_largest_first(
    shop: SmallShop, untrained: Any
) -> None:
    result = explained(shop.served(untrained), Slot.SEARCH, query="red lamp", history=PAST)
    first, last = int(result.rows[0]), int(result.rows[-1])
    gaps = result.difference(first, last)
    assert sum(gaps.values()) == pytest.approx(result.scores[0] - result.scores[-1], abs=1e-9)
    assert list(map(abs, gaps.values())) == sorted(map(abs, gaps.values()), reverse=True)


def test_every_name_of_a_part_is_that_of_a_feature() -> None:
    """A feature that is renamed would silently move to the rest."""
    assert set().union(*HEAD_PARTS.values()) <= set(FEATURE_NAMES)
    assert set().union(*MATCH_PARTS.values()) <= set(MATCH_FEATURES)
    assert part_of("new_regression", HEAD_PARTS, Part.PAST) is Part.BEHAVIOUR, "a product is where its factor is"
