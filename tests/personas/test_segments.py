"""Segments of visitors: who likes the same is together, and a segment stays itself from one day to the next."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from recommender.ml.histories import Histories
from recommender.personas.axes import build_axes, persona_masses
from recommender.personas.segments import Previous, Segments, build_segments, item_counts, matched
from recommender.tables import Interactions, ItemTable
from recommender.types import EventType
from tests import behaviour

HOUR = 3_600.0
MONDAY = 4 * behaviour.DAY
"""5 January 1970."""

TEXTS = tuple(
    f"{colour} {kind}"
    for kind in ("christmas star", "christmas wreath", "lunch bag", "jumbo bag", "alarm clock", "wall clock")
    for colour in ("red", "blue", "green")
)
CHRISTMAS, BAGS, CLOCKS = range(6), range(6, 12), range(12, 18)


def catalogue() -> ItemTable:
    n = len(TEXTS)
    price = np.repeat([1.0, 5.0, 50.0], 6).astype(np.float32)
    return dataclasses.replace(
        behaviour.table(TEXTS), price=price, category=np.full(n, -1, np.int32), category_names=()
    )


ITEMS = catalogue()


def events(rows: list[tuple[int, int, float, str, str]]) -> Interactions:
    """Rows of (visitor, item, seconds, type, device), in any order."""
    rows = sorted(rows, key=lambda row: row[2])
    devices = ("mobile", "desktop")
    table = behaviour.interactions(
        [(visitor, item, at / behaviour.DAY, -1) for visitor, item, at, _, _ in rows],
        kinds=[EventType(kind) for *_, kind, _ in rows],
    )
    device = np.asarray([devices.index(name) if name else -1 for *_, name in rows], np.int32)
    return dataclasses.replace(table, device=device, devices=devices)


def three_kinds(*, n_each: int = 40, days: int = 20, seed: int = 0) -> Interactions:
    """Visitor v likes kind v % 3: Christmas on weekday mornings by phone, bags at weekends, clocks in the evening."""
    generator = np.random.default_rng(seed)
    rows = []
    for visitor in range(3 * n_each):
        kind = visitor % 3
        goods, hour, device = ((CHRISTMAS, 9, "mobile"), (BAGS, 13, "desktop"), (CLOCKS, 20, "desktop"))[kind]
        for day in range(visitor % 5, days, 5):
            of_week = 5 if kind == 1 else day % 5
            at = MONDAY + (day // 7 * 7 + of_week) * behaviour.DAY + hour * HOUR
            rows += [(visitor, int(item), at, "purchase", device) for item in generator.choice(list(goods), 3)]
    return events(rows)


EVENTS = three_kinds()
END = float(EVENTS.time[-1]) + 1


@pytest.fixture(scope="module")
def built() -> tuple[Segments, npt.NDArray[np.int64]]:
    return build_segments(EVENTS, ITEMS, at=END, seed=3)


def traits_by_block(segments: Segments, row: int) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for trait in segments.traits(row, most=12):
        names.setdefault(trait.axis[0], []).append(trait.axis[1])
    return names


def masses(table: Interactions, *, at: float) -> dict[tuple[str, str], float]:
    """The evidence of visitor 0, by axis."""
    axes = build_axes(ITEMS, np.ones(len(ITEMS), np.float32))
    row = persona_masses(table, axes, at=at)[0]
    return {axis: float(value) for axis, value in zip(axes.names, row, strict=True) if value}


def test_three_kinds_of_shoppers_become_three_segments() -> None:
    segments, member = build_segments(three_kinds(n_each=60), ITEMS, at=END)
    assert len(segments) == 3
    for kind in range(3):
        assert len(set(member[kind::3].tolist())) == 1
    assert segments.sizes.tolist() == [60, 60, 60]


def test_traits_of_a_segment_are_what_distinguishes_it(built: tuple[Segments, npt.NDArray[np.int64]]) -> None:
    segments, member = build_segments(three_kinds(n_each=60), ITEMS, at=END)
    christmas, bags, clocks = (traits_by_block(segments, int(member[kind])) for kind in range(3))
    assert christmas["word"][0] == "christmas"
    assert christmas["price"] == ["low"]
    assert christmas["time"] == ["weekday morning"]
    assert christmas["device"] == ["mobile"]
    assert (bags["word"][0], bags["price"], bags["time"]) == ("bag", ["middle"], ["weekend"])
    assert (clocks["word"][0], clocks["price"], clocks["time"]) == ("clock", ["high"], ["weekday evening"])


def test_same_data_and_seed_give_the_same_segments(built: tuple[Segments, npt.NDArray[np.int64]]) -> None:
    again, member = build_segments(EVENTS, ITEMS, at=END, seed=3)
    assert again.numbers == built[0].numbers
    np.testing.assert_array_equal(member, built[1])
    np.testing.assert_array_equal(again.centroids, built[0].centroids)


@pytest.mark.parametrize("seed", [0, 7, 99])
def test_segment_keeps_its_number_when_a_few_more_visitors_come(seed: int) -> None:
    early, member = build_segments(three_kinds(n_each=60), ITEMS, at=END)
    members_before = {visitor: early.numbers[row] for visitor, row in enumerate(member.tolist())}
    later, now = build_segments(
        three_kinds(n_each=64, days=22), ITEMS, at=END + 3 * behaviour.DAY, seed=seed,
        previous=Previous(early, members_before),
    )  # fmt: skip
    assert set(later.numbers) == set(early.numbers)
    numbers = {visitor: later.numbers[now[visitor]] for visitor in members_before}
    assert numbers == members_before
    for kind in range(3):
        first = [segments.traits(int(rows[kind]), most=3) for segments, rows in ((early, member), (later, now))]
        assert [trait.axis for trait in first[0]] == [trait.axis for trait in first[1]]


def test_segment_keeps_its_number_by_its_centre_if_no_visitor_is_in_both_runs() -> None:
    early, member = build_segments(three_kinds(n_each=60), ITEMS, at=END)
    later, now = build_segments(three_kinds(n_each=60, seed=5), ITEMS, at=END, seed=8, previous=Previous(early))
    for kind in range(3):
        assert later.numbers[now[kind]] == early.numbers[member[kind]]


def test_group_of_other_people_is_a_new_segment_and_no_old_number_is_given_again() -> None:
    early, _ = build_segments(three_kinds(n_each=60), ITEMS, at=END)
    member = np.arange(180) % 3
    strangers = {visitor: early.numbers[visitor // 60] for visitor in range(180)}  # cut across the new groups
    few = {visitor: number for visitor, number in strangers.items() if number == early.numbers[0] and visitor % 3 == 0}
    centroids = early.centroids * early.axes.weight
    numbers = matched(centroids, member, Previous(early, few), centroids)
    assert numbers[0] == early.numbers[0]
    assert set(numbers[1:]) == {4, 5}


def test_one_look_puts_a_newcomer_into_the_segment_of_what_was_looked_at() -> None:
    segments, member = build_segments(three_kinds(n_each=60), ITEMS, at=END)
    for kind, item in ((0, 0), (1, 8), (2, 14)):
        seen = events([(0, item, END - 60, "view_item", "")])
        profile = Histories(seen).profile(0, at=END)
        assert segments.of(profile) == member[kind]


def test_profile_is_in_the_segment_that_the_visitor_was_put_into(
    built: tuple[Segments, npt.NDArray[np.int64]],
) -> None:
    segments, member = built
    histories = Histories(EVENTS)
    assert [segments.of(histories.profile(visitor, at=END)) for visitor in range(120)] == member.tolist()


def test_visitor_without_evidence_is_in_no_segment(built: tuple[Segments, npt.NDArray[np.int64]]) -> None:
    assert built[0].of(Histories(EVENTS).profile(0, at=0.0)) == -1
    few, member = build_segments(events([(0, 0, MONDAY, "purchase", "")]), ITEMS, at=END)
    assert len(few) == 0
    assert member.tolist() == [-1]
    assert few.of(Histories(EVENTS).profile(0, at=END)) == -1


def test_goods_that_came_back_leave_no_taste_and_no_order() -> None:
    bought = (0, 0, MONDAY, "purchase", "")
    before = masses(events([bought]), at=MONDAY + 60)
    assert before["word", "christmas"] == pytest.approx(1, abs=1e-3)
    assert before["orders", "one"] == 1
    returned = masses(events([bought, (0, 0, MONDAY + 30, "refund", "")]), at=MONDAY + 60)
    assert not {axis for axis in returned if axis[0] in ("word", "price")}
    assert returned["orders", "none"] == 1


def test_erased_events_leave_no_trace_in_the_others() -> None:
    _, member = build_segments(EVENTS.take(EVENTS.visitor != 0), ITEMS, at=END)
    assert member[0] == -1
    assert (member[1:] >= 0).all()


def test_later_events_do_not_reach_an_earlier_moment() -> None:
    early = persona_masses(EVENTS, build_axes(ITEMS, np.ones(len(ITEMS), np.float32)), at=MONDAY + 5 * behaviour.DAY)
    table = EVENTS.take(EVENTS.time < MONDAY + 5 * behaviour.DAY)
    alone = persona_masses(table, build_axes(ITEMS, np.ones(len(ITEMS), np.float32)), at=MONDAY + 5 * behaviour.DAY)
    np.testing.assert_array_equal(early[: len(alone)], alone)


def test_a_search_counts_for_the_words_that_it_names() -> None:
    table = behaviour.interactions([(0, -1, 4.0, -1)], kinds=[EventType.SEARCH])
    table = dataclasses.replace(table, query=np.zeros(1, np.int32), queries=("Christmas lights",))
    assert masses(table, at=MONDAY + 1)["word", "christmas"] == pytest.approx(0.2, abs=1e-3)


def test_rhythm_uses_the_shop_s_clock_and_counts_a_long_order_once() -> None:
    rows = [(0, item, MONDAY + 23 * HOUR + item, "purchase", "") for item in range(6)]
    assert masses(events(rows), at=MONDAY + behaviour.DAY)["time", "weekday evening"] == pytest.approx(1, abs=0.01)
    axes = build_axes(ITEMS, np.ones(len(ITEMS), np.float32), utc_offset_seconds=9 * HOUR)
    tokyo = persona_masses(events(rows), axes, at=MONDAY + behaviour.DAY)[0]
    assert tokyo[axes.column["time", "weekday morning"]] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("gap_days", "n_orders", "rhythm"), [(10, 3, "often"), (100, 3, "seldom"), (10, 1, "one")])
def test_rhythm_of_orders_follows_the_gap_between_them(gap_days: int, n_orders: int, rhythm: str) -> None:
    rows = [(0, 0, MONDAY + n * gap_days * behaviour.DAY, "purchase", "") for n in range(n_orders)]
    assert masses(events(rows), at=MONDAY + 400 * behaviour.DAY)["orders", rhythm] == 1


def test_items_of_a_segment_are_counted_by_the_events_of_its_members() -> None:
    table = three_kinds(n_each=60)
    segments, member = build_segments(table, ITEMS, at=END)
    counts = item_counts(table, member, n_segments=len(segments), n_items=len(ITEMS), at=END)
    of_kind = counts.reshape(3, 3, 6).sum(axis=2)  # by segment and kind of goods
    assert np.count_nonzero(of_kind) == 3
    assert of_kind[member[0], 0] == np.isin(table.item, list(CHRISTMAS)).sum()


def test_no_segment_is_small_enough_to_be_one_person() -> None:
    rows = [(visitor, 0, MONDAY + visitor, "purchase", "") for visitor in range(40)]
    rows += [(40, 17, MONDAY, "purchase", "desktop")]
    segments, _ = build_segments(events(rows), ITEMS, at=END)
    assert segments.sizes.min() >= 5


def test_one_of_ten_returned_leaves_nine_tenths() -> None:
    table = events([(0, 0, MONDAY, "purchase", ""), (0, 0, MONDAY + 30, "refund", "")])
    table = dataclasses.replace(table, quantity=np.asarray([10, 1], np.float32))
    evidence = masses(table, at=MONDAY + 60)
    assert evidence["word", "christmas"] == pytest.approx(0.9, abs=1e-3)
    assert evidence["orders", "one"] == 1
