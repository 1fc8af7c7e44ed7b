"""Persona features: what a shopper likes in kind, word and price, and what the shoppers of the same segment buy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.features import persona
from recommender.features.names import PERSONA
from recommender.features.persona import (
    MOST_ITEMS,
    ItemTerms,
    cached_item_terms,
    evidence,
    item_terms,
    persona_features,
)
from recommender.tables import Profile
from recommender.text.vocabulary import terms
from recommender.types import EVENT_CODES, EventType, FloatArray
from tests import behaviour

ITEMS = behaviour.table()
TERMS = item_terms(ITEMS)
EVERYTHING = np.arange(len(ITEMS), dtype=np.int32)
COLUMN = {name: column for column, name in enumerate(PERSONA)}
"""Items 0 to 5 are tea, 6 to 11 garden; the price rises with the row from 1 to 4."""


def scored(profile: Profile, name: str) -> FloatArray:
    return persona_features(profile, EVERYTHING, ITEMS, TERMS)[:, COLUMN[name]]


def did(*rows: tuple[int, EventType, float]) -> Profile:
    """A profile at day 100 of (item, type, days before)."""
    rows = tuple(sorted(rows, key=lambda row: -row[2]))
    table = behaviour.profile([(item, 100 - days, -1) for item, _, days in rows], now_day=100)
    return dataclasses.replace(table, type=np.asarray([EVENT_CODES[kind] for _, kind, _ in rows], np.int8))


def test_empty_profile_has_features_of_zero() -> None:
    rows = persona_features(behaviour.profile([], now_day=1), EVERYTHING, ITEMS, TERMS)
    assert rows.shape == (12, len(PERSONA))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, 0, atol=1e-6)


def test_category_is_the_log_of_the_share_against_the_catalogue_s() -> None:
    liked = scored(did((0, EventType.PURCHASE, 0)), "persona_category")
    # half of the catalogue is tea: evidence 1, prior 0.5, half of it tea
    assert liked[5] == pytest.approx(np.log((1 + 0.25) / 1.5 / 0.5), abs=1e-4)
    assert liked[6] == pytest.approx(np.log(0.25 / 1.5 / 0.5), abs=1e-4)


def test_look_counts_but_less_than_a_purchase() -> None:
    look, bought = (
        scored(did((0, kind, 0)), "persona_category")[1] for kind in (EventType.VIEW_ITEM, EventType.PURCHASE)
    )
    assert 0 < look < bought


def test_words_are_the_cosine_of_titles() -> None:
    liked = scored(did((0, EventType.PURCHASE, 3)), "persona_words")
    assert liked[0] == pytest.approx(1, abs=1e-5)  # the same title
    assert liked[1] > 0  # "blue tea cup" shares "tea"
    assert liked[7] == 0  # "blue garden fork" shares no word with "red tea cup"


def test_price_is_nearest_at_what_was_paid() -> None:
    near = scored(did((3, EventType.PURCHASE, 0)), "persona_price")
    assert near.argmax() == 3
    assert near[3] == pytest.approx(1)
    gap = abs(np.log(float(ITEMS.price[11])) - np.log(float(ITEMS.price[3])))
    assert near[11] == pytest.approx(np.exp(-gap / 0.5), rel=1e-4)


def test_unknown_price_and_category_count_as_nothing() -> None:
    fourth = EVERYTHING == 4
    price, category = np.where(fourth, np.nan, ITEMS.price), np.where(fourth, -1, ITEMS.category)
    items = dataclasses.replace(ITEMS, price=price, category=category)
    rows = persona_features(did((0, EventType.PURCHASE, 0)), EVERYTHING, items, item_terms(items))
    assert rows[4, COLUMN["persona_price"]] == 0
    assert rows[4, COLUMN["persona_category"]] == 0
    assert np.isfinite(rows).all()
    only_unknown = persona_features(did((4, EventType.PURCHASE, 0)), EVERYTHING, items, item_terms(items))
    assert not only_unknown[:, COLUMN["persona_price"]].any()


def test_old_evidence_gives_way_to_new() -> None:
    profile = did((0, EventType.PURCHASE, 120), (6, EventType.PURCHASE, 0))
    item, mass = evidence(profile)
    assert dict(zip(item.tolist(), mass.tolist(), strict=True)) == pytest.approx({0: 0.25, 6: 1.0}, abs=1e-3)
    liked = scored(profile, "persona_category")
    assert liked[6] > 0 > liked[0]


def test_refunded_goods_speak_for_nothing() -> None:
    returned = did((0, EventType.PURCHASE, 1), (0, EventType.REFUND, 0))
    assert len(evidence(returned)[0]) == 0
    np.testing.assert_allclose(persona_features(returned, EVERYTHING, ITEMS, TERMS), 0, atol=1e-6)


def test_candidates_may_come_in_any_order() -> None:
    profile = did((0, EventType.PURCHASE, 3), (8, EventType.VIEW_ITEM, 1))
    order = np.asarray([7, 2, 11], np.int32)
    whole = persona_features(profile, EVERYTHING, ITEMS, TERMS)
    np.testing.assert_array_equal(persona_features(profile, order, ITEMS, TERMS), whole[order])


def test_long_history_is_read_for_its_strongest_items() -> None:
    many = behaviour.table(tuple(f"thing {n}" for n in range(MOST_ITEMS + 50)))
    profile = behaviour.profile([(n, float(n), -1) for n in range(len(many))], now_day=300)
    item, mass = evidence(profile)
    assert len(item) == MOST_ITEMS
    assert item.min() == 50  # the oldest fall out
    assert mass.min() > 0
    assert np.isfinite(persona_features(profile, np.arange(len(many), dtype=np.int32), many, item_terms(many))).all()


act = st.tuples(st.integers(-1, 11), st.sampled_from(list(EventType)), st.floats(0, 900))


@given(st.lists(act, max_size=30))
def test_any_profile_gives_finite_features_in_their_range(acts: list[tuple[int, EventType, float]]) -> None:
    rows = persona_features(did(*acts), EVERYTHING, ITEMS, TERMS)
    assert np.isfinite(rows).all()
    for name in ("persona_words", "persona_price"):
        assert (rows[:, COLUMN[name]] >= -1e-6).all()
        assert (rows[:, COLUMN[name]] <= 1 + 1e-5).all()


def test_of_a_changed_catalogue_only_new_texts_are_read(monkeypatch) -> None:
    colours, things = ("red", "blue", "green", "black"), ("cup", "pot", "lamp", "rug", "vase")
    texts = tuple(f"{colour} {thing} no {n}" for n in range(3) for colour in colours for thing in things)
    items = behaviour.table(texts)
    first, read = cached_item_terms(items), list[str]()
    monkeypatch.setattr(persona, "terms", lambda text: read.append(text) or terms(text))
    assert cached_item_terms(items) is first
    second = cached_item_terms(behaviour.table((*texts[:5], "red rug no 9", *texts[6:], "blue pot no 9")))
    assert read == ["red rug no 9", "blue pot no 9"]

    def words(item_terms: ItemTerms, row: int) -> list[tuple[int, float]]:
        term, weight = item_terms.of(row)
        return sorted(zip(term.tolist(), weight.tolist(), strict=True))

    unchanged = [row for row in range(len(texts)) if row != 5]
    assert [words(first, row) for row in unchanged] == [words(second, row) for row in unchanged]
    assert words(second, 5) == words(first, texts.index("red rug no 0"))
    assert words(second, len(texts)) == words(first, texts.index("blue pot no 0"))
    read.clear()
    cached_item_terms(behaviour.table(tuple(f"{text} anew" for text in texts)))
    assert len(read) == len(texts)
