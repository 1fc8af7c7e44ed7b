"""Exposure by hand: discounts, shares with their intervals, price bands and new items."""

from __future__ import annotations

import numpy as np
import pytest

from recommender.experiments.intervals import rate
from recommender.exposure.groups import N_GROUPS, OTHERS, Columns, Groups, divided, grouped, price_bands
from recommender.exposure.sums import ALL, ExposureSums, GroupSums, ShownList, discounts, share_of, summed

SECOND = 1 / np.log2(3)
DAY = 86_400.0
BRAND = {"brand": Groups(np.array([0, 1, 0], np.int32), ("Axo", "Bly"))}


def shown(*rows: int, first: int = 1) -> ShownList:
    return np.array(rows, np.int32), first


def test_discount_is_that_of_dcg() -> None:
    assert discounts(np.array([1, 2, 3, 7], np.int32)) == pytest.approx([1, SECOND, 0.5, 1 / 3])


def test_first_position_counts_more_than_the_second() -> None:
    sums = summed([shown(0, 1)], BRAND)
    axo, bly = (sums.share(("brand", name)) for name in ("Axo", "Bly"))
    assert axo is not None
    assert bly is not None
    assert axo.value == pytest.approx(1 / (1 + SECOND))
    assert axo.value + bly.value == pytest.approx(1)


def test_second_page_counts_from_its_own_positions() -> None:
    assert summed([shown(0, first=3)], BRAND).of[ALL].exposure == pytest.approx(0.5)


def test_item_that_is_gone_leaves_its_position_empty() -> None:
    sums = summed([shown(-1, 1)], BRAND)
    assert sums.of[ALL].exposure == pytest.approx(SECOND)
    assert ("brand", "Axo") not in sums.of


def test_parts_add_up_to_the_whole() -> None:
    lists = [shown(0, 1), shown(2, 0, 1), shown(1), shown(-1), shown(1, 2, first=9)]
    whole, parts = summed(lists, BRAND), ExposureSums()
    for part in (lists[:2], lists[2:]):
        for key, sums in summed(part, BRAND).of.items():
            parts.add(key, sums)
    assert set(parts.of) == set(whole.of)
    for key, sums in whole.of.items():
        assert vars_of(parts.of[key]) == pytest.approx(vars_of(sums))


def vars_of(sums: GroupSums) -> list[float]:
    return [sums.n_lists, sums.n_places, sums.exposure, sums.squares, sums.cross]


def test_lists_of_one_item_have_the_interval_of_a_plain_share() -> None:
    sums = summed([shown(0)] * 30 + [shown(1)] * 10, BRAND)
    share, plain = sums.share(("brand", "Axo")), rate(30 * 39 / 40, 39)
    assert share is not None
    assert plain is not None
    assert (share.value, share.low, share.high) == pytest.approx((plain.value, plain.low, plain.high))


def test_interval_covers_the_true_share_of_random_lists() -> None:
    """Nineteen of twenty intervals should; at 400 trials fewer than 91 % or more than 99 % would be five deviations."""
    generator, groups = np.random.default_rng(3), Groups(np.arange(4, dtype=np.int32) % 2, ("even", "odd"))
    truth = summed(
        [shown(*generator.permutation(4)[: generator.integers(1, 5)]) for _ in range(40_000)], {"x": groups}
    ).share(("x", "odd"))
    n_covered = 0
    for _trial in range(400):
        lists = [shown(*generator.permutation(4)[: generator.integers(1, 5)]) for _ in range(60)]
        share = summed(lists, {"x": groups}).share(("x", "odd"))
        assert truth is not None
        assert share is not None
        n_covered += share.low <= truth.value <= share.high
    assert 0.91 <= n_covered / 400 <= 0.99


def test_group_that_was_never_shown_may_have_been_unlucky_in_few_lists() -> None:
    few, many = (summed([shown(0)] * n, BRAND).of[ALL] for n in (3, 300))
    bounds = [share_of(GroupSums(), whole) for whole in (few, many)]
    assert all(bound is not None and bound.value == 0 for bound in bounds)
    assert bounds[0].high > 0.5 > 0.02 > bounds[1].high  # type: ignore[union-attr]


def test_same_list_for_everybody_is_no_surer_than_its_places() -> None:
    sums = summed([shown(0, 1)] * 50, BRAND)
    share = sums.share(("brand", "Axo"))
    assert share == rate(share.value * 100, 100)  # type: ignore[union-attr]


def test_nothing_shown_has_no_share() -> None:
    assert ExposureSums().share(("brand", "Axo")) is None


def test_price_bands_are_quarters_of_what_is_listed_in_each_currency() -> None:
    price = np.array([1, 2, 3, 4, 5, 6, 7, 8, 100, 200, np.nan], np.float32)
    currency, listed = ["EUR"] * 8 + ["JPY"] * 2 + ["EUR"], np.ones(11, bool)
    assert price_bands(price, currency, listed).tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 1, 4, 0]


def test_small_groups_are_one_unless_they_have_a_floor() -> None:
    values = [f"b{number}" for number in range(N_GROUPS + 5) for _copy in range(2)] + ["tiny", "floored", ""]
    groups = grouped(values, np.ones(len(values), bool), apart=["floored"])
    assert len(groups.names) == N_GROUPS + 2
    assert [groups.names[groups.codes[row]] for row in (-3, -2)] == [OTHERS, "floored"]


def test_item_is_new_for_thirty_days() -> None:
    columns = Columns(("a", "b"), {"brand": ("", "")}, np.array([1.0, np.nan], np.float32), ("", ""),
                      np.array([70 * DAY, 69 * DAY]), np.ones(2, bool))  # fmt: skip
    newness = divided(columns, at=99.5 * DAY)["newness"]
    assert [newness.names[code] for code in newness.codes] == ["new", "older"]
