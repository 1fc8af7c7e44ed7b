"""Cleaning and statistics as expressions give the numbers of the NumPy implementation, on every engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recommender.datasets import cleaning, expressions
from recommender.datasets.archive.parts import schema
from recommender.datasets.columns import Gathering, PeopleColumns, PersonRow, recorded_of
from recommender.features.neighbours import N_NEIGHBOURS, Neighbours
from recommender.features.publishing import published
from recommender.features.shop_state import NEIGHBOUR_KINDS, ShopState, build_state
from recommender.tables import ItemTable

NOW = 1_790_000_000.0
DAY = 86_400.0
STAFF = [3]

Row = dict[str, Any]


def item_table(n_items: int) -> ItemTable:
    return ItemTable(
        ids=tuple(f"item-{number}" for number in range(n_items)),
        texts=("",) * n_items,
        price=np.full(n_items, np.nan, np.float32),
        category=np.full(n_items, -1, np.int32),
        category_names=(),
        first_seen=np.zeros(n_items),
        active=np.ones(n_items, bool),
    )


def event(visitor: int | None, kind: str, item: int | str, days_ago: float, **values: Any) -> Row:
    item_id = item if isinstance(item, str) else f"item-{item}"
    at = NOW - days_ago * DAY
    source = "order" if kind in ("purchase", "refund") else "page"
    defaults = {
        "visitor_id": visitor, "item_id": item_id, "type": kind, "occurred_at": at, "received_at": at, "quantity": 1.0,
        "order_id": "", "query": "", "is_bot": False, "device": "", "region": "", "source": source,
    }  # fmt: skip
    return defaults | values


def archived(rows: list[Row]) -> pa.Table:
    """Rows as a file of the archive; their order is that of their primary keys."""
    columns = {name: [row[name] for row in rows] for name in schema().names if name != "pk"}
    columns["pk"] = list(range(1, len(rows) + 1))
    for name in ("occurred_at", "received_at"):
        columns[name] = [round(seconds * 1e6) for seconds in columns[name]]
    return pa.table({name: columns[name] for name in schema().names}, schema=schema())


def people_of(n_visitors: int) -> dict[int, PersonRow]:
    """Visitors 1 and 2 are one user, 4 is anonymous, 5 a bot."""
    rows = {number: PersonRow(number) for number in range(1, n_visitors + 1)}
    return rows | {2: PersonRow(1), 4: PersonRow(-1), 5: PersonRow(5, is_bot=True)}


def by_numpy(
    table: pa.Table, items: ItemTable, people: dict[int, PersonRow], *, fewest: int
) -> tuple[Any, Any, ShopState]:
    gathering = Gathering(items)
    texts = ("item_id", "type", "order_id", "query", "device", "region", "source")
    encoded = [table[name].dictionary_encode() if name in texts else table[name] for name in table.column_names]
    gathering.add_table(pa.table(encoded, names=table.column_names), plain=str)
    clean, report = cleaning.clean(recorded_of(gathering.columns(), people, STAFF), now=NOW)
    state = build_state(clean, items, at=NOW)
    return clean, report, published(state, clean, fewest_buyers=fewest, fewest=fewest)


def by_engine(
    engine: expressions.Engine, path: Path, items: ItemTable, people: dict[int, PersonRow], *, fewest: int
) -> tuple[Any, Any, ShopState]:
    columns = PeopleColumns.of(people)
    events, subjects = expressions.events_of(engine, engine.files([path]), items, columns, staff=STAFF)
    clean, report = expressions.cleaned(engine, events, subjects, now=NOW)
    state = expressions.shop_state(engine, clean, n_items=len(items), at=NOW, fewest_buyers=fewest, fewest=fewest)
    return engine.columns(clean.order_by("at", "key")), report, state


def assert_same_neighbours(ours: Neighbours, theirs: Neighbours, kind: str) -> None:
    """The same pairs and scores; of equal scores at the end of a full row either may be there."""
    np.testing.assert_array_equal(ours.start, theirs.start, err_msg=kind)
    for row in range(len(ours.start) - 1):
        mine, others = dict(ours.of(row)), dict(theirs.of(row))
        np.testing.assert_allclose(sorted(mine.values()), sorted(others.values()), rtol=2e-4, atol=1e-6, err_msg=kind)
        last = min(others.values(), default=0.0) * (1 + 1e-4)
        for item in mine.keys() ^ others.keys():
            assert len(others) == N_NEIGHBOURS, (kind, row, item)
            assert mine.get(item, others.get(item)) <= last, (kind, row, item)
        for item in mine.keys() & others.keys():
            assert mine[item] == pytest.approx(others[item], rel=2e-4, abs=1e-6), (kind, row, item)


def public_pairs(neighbours: Neighbours) -> set[tuple[int, int]]:
    owner = np.repeat(np.arange(len(neighbours.start) - 1), np.diff(neighbours.start))
    assert neighbours.is_public is not None
    return set(zip(owner[neighbours.is_public].tolist(), neighbours.item[neighbours.is_public].tolist(), strict=True))


def assert_same(ours: tuple[Any, Any, ShopState], theirs: tuple[Any, Any, ShopState]) -> None:
    """Every number of cleaning, of popularity and of the neighbours."""
    (clean, report, state), (expected, expected_report, expected_state) = ours, theirs
    assert report.removed == expected_report.removed
    assert (report.n_read, report.n_clean) == (expected_report.n_read, expected_report.n_clean)
    assert report.n_quantities_capped == expected_report.n_quantities_capped
    assert sorted(map(repr, report.bursts)) == sorted(map(repr, expected_report.bursts))
    for name in ("visitor", "item", "type", "day", "claim", "query"):
        np.testing.assert_array_equal(clean[name], getattr(expected, name), err_msg=name)
    np.testing.assert_allclose(clean["at"] / 1e6, expected.time, rtol=0, atol=1e-6)
    np.testing.assert_allclose(clean["quantity"], expected.quantity, rtol=1e-5)
    np.testing.assert_allclose(state.counts, expected_state.counts, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.last_event_at, expected_state.last_event_at, rtol=0, atol=1e-5)
    np.testing.assert_allclose(state.first_event_at, expected_state.first_event_at, rtol=0, atol=1e-5)
    for kind in NEIGHBOUR_KINDS:
        assert_same_neighbours(getattr(state, kind), getattr(expected_state, kind), kind)
    for kind in ("basket", "visitor"):
        assert public_pairs(getattr(state, kind)) == public_pairs(getattr(expected_state, kind)), kind


def small_shop() -> list[Row]:
    """Two visitors buy items 0 and 1 in one order, then 2; one of them returns 1."""
    return [
        event(6, "purchase", 0, 9, order_id="a"),
        event(6, "purchase", 1, 9, order_id="a", quantity=2.0),
        event(6, "purchase", 1, 9, order_id="a", quantity=1.0),
        event(7, "purchase", 0, 8, order_id="b"),
        event(7, "purchase", 1, 8, order_id="b"),
        event(7, "refund", 1, 5, order_id="b"),
        event(6, "purchase", 2, 4, order_id="c"),
        event(7, "purchase", 2, 3, order_id="d"),
        event(8, "view_item", 2, 0.5),
        event(8, "view_item", 2, 0.5),
        event(8, "view_item", "gone", 0.5),
        event(9, "view_item", 2, -2),
        event(5, "view_item", 2, 1),
        event(8, "search", "", 0.4, query="Red mug"),
        event(8, "search", "", 0.4),
        event(3, "purchase", 0, 2, order_id="e", quantity=0.0),
    ]


def random_shop(seed: int, *, n_events: int = 3_000, n_items: int = 80, n_visitors: int = 60) -> list[Row]:
    """Everything that cleaning removes, and bursts; several events of one moment, late ones and those of apps."""
    random = np.random.default_rng(seed)
    kinds = np.array(["view_item", "select_item", "add_to_cart", "remove_from_cart", "search", "purchase", "refund"])
    rows = []
    for number in range(n_events):
        kind = str(random.choice(kinds, p=[0.4, 0.1, 0.1, 0.05, 0.15, 0.15, 0.05]))
        days_ago = round(float(random.uniform(0, 60)), 1)
        item = int(random.integers(n_items) * random.random() ** 2)
        visitor = None if random.random() < 0.1 else int(random.integers(1, n_visitors + 1))
        row = event(visitor, kind, "" if kind == "search" else item, days_ago)
        row["query"] = f"Query {random.integers(12)}" if kind == "search" else ""
        row["source"] = row["source"] if row["source"] == "order" else str(random.choice(["page", "api"]))
        if random.random() < 0.03 and kind == "purchase":
            row["source"] = "api"
        row["order_id"] = f"o{number // 8}" if kind in ("purchase", "refund") and random.random() < 0.9 else ""
        row["quantity"] = float(random.integers(0, 30)) if kind in ("purchase", "refund") else 1.0
        row["received_at"] += float(random.choice([0, 0, 3600, 5 * DAY]))
        row["is_bot"] = random.random() < 0.02
        rows.append(row)
    crowd = [event(1_000 + number, "view_item", 70, 2.0 + number / 1e4) for number in range(300)]
    crowd += [event(2_000 + number, "search", "", 3.0, query="buy pills") for number in range(200)]
    reader = [event(11, "view_item", number % n_items, 1.0 + number / 1e4) for number in range(700)]
    fan = [event(12, "add_to_cart", 5, 1.5 + number / 1e3) for number in range(20)]
    return rows + crowd + reader + fan


class EngineContract:
    """What every engine must compute. A subclass gives the engine."""

    @pytest.fixture
    def engine(self) -> Iterator[expressions.Engine]:
        raise NotImplementedError

    def both(
        self, engine: expressions.Engine, folder: Path, rows: list[Row], *, n_items: int, n_visitors: int, fewest: int
    ) -> tuple[Any, Any]:
        table, items, people = archived(rows), item_table(n_items), people_of(n_visitors)
        people |= {number: PersonRow(number) for number in (*range(1_000, 1_300), *range(2_000, 2_200))}
        path = folder / "events.parquet"
        pq.write_table(table, path)
        return (
            by_engine(engine, path, items, people, fewest=fewest),
            by_numpy(table, items, people, fewest=fewest),
        )

    def test_small_shop_has_the_numbers_that_can_be_counted(self, engine: Any, tmp_path: Path) -> None:
        ours, theirs = self.both(engine, tmp_path, small_shop(), n_items=4, n_visitors=9, fewest=1)
        _, report, state = ours
        assert report.removed == {
            "bot": 1, "future_time": 1, "unknown_item": 1, "neither_item_nor_query": 1, "quantity_not_positive": 1,
            "duplicate": 1, "merged_order_line": 1, "refunded_purchase": 1,
        }  # fmt: skip
        assert state.counts[:3, 3].tolist() == pytest.approx([2, 1, 2 + 0.2 / 4], rel=1e-6)
        assert state.basket.of(0) == [(1, pytest.approx(1 / (2**0.5 + 5), rel=1e-6))]
        assert dict(state.sequel.of(0))[2] == pytest.approx(2 / (3 * 3.25) ** 0.5, rel=1e-6)
        assert state.last_event_at[2] == pytest.approx(NOW - 3 * DAY)
        assert_same(ours, theirs)

    def test_random_shop_has_the_numbers_of_numpy(self, engine: Any, tmp_path: Path) -> None:
        ours, theirs = self.both(engine, tmp_path, random_shop(1), n_items=80, n_visitors=60, fewest=3)
        reasons = {
            "bot", "neither_item_nor_query", "quantity_not_positive", "view_flood", "duplicate", "claimed_too_often",
            "burst", "merged_order_line", "refunded_purchase",
        }  # fmt: skip
        assert reasons - set(theirs[1].removed) <= {"neither_item_nor_query"}
        assert theirs[1].bursts
        assert_same(ours, theirs)


class TestDuckDB(EngineContract):
    @pytest.fixture
    def engine(self) -> Iterator[expressions.Engine]:
        with expressions.duckdb_engine(memory_gb=1) as engine:
            yield engine

    @pytest.mark.parametrize("seed", [2, 3])
    def test_other_random_shops_have_the_numbers_of_numpy(self, engine: Any, tmp_path: Path, seed: int) -> None:
        assert_same(*self.both(engine, tmp_path, random_shop(seed), n_items=80, n_visitors=60, fewest=2))

    def test_shop_without_any_order_has_the_numbers_of_numpy(self, engine: Any, tmp_path: Path) -> None:
        rows = [row for row in random_shop(4) if row["type"] not in ("purchase", "refund")]
        assert_same(*self.both(engine, tmp_path, rows, n_items=80, n_visitors=60, fewest=2))

    def test_history_beyond_the_newest_items_counts_for_what_is_public(
        self, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from recommender.datasets.expressions import neighbours as by_expressions
        from recommender.features import neighbours

        for module in (by_expressions, neighbours):
            monkeypatch.setattr(module, "LONGEST_HISTORY", 6)
        assert_same(*self.both(engine, tmp_path, random_shop(5), n_items=80, n_visitors=60, fewest=4))

    def test_pairs_are_added_up_in_steps(self, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from recommender.datasets.expressions import neighbours

        monkeypatch.setattr(neighbours, "PAIRS_PER_STEP", 5_000)
        assert_same(*self.both(engine, tmp_path, random_shop(6), n_items=80, n_visitors=60, fewest=2))

    def test_empty_archive_is_an_empty_shop(self, engine: Any, tmp_path: Path) -> None:
        rows = [event(5, "view_item", 2, 1)]  # a bot's
        assert_same(*self.both(engine, tmp_path, rows, n_items=4, n_visitors=9, fewest=1))


@pytest.mark.django_db
def test_statistics_of_a_large_archive_are_those_of_numpy(settings: Any, tmp_path: Path, monkeypatch: Any) -> None:
    import datetime as dt

    from django.utils import timezone

    from recommender.datasets import archive, large, statistics
    from recommender.models import Event, Item, ItemStatistics, Visitor

    settings.RECOMMENDER = {**settings.RECOMMENDER, "DIRECTORY": tmp_path, "ARCHIVE": True, "FEWEST_BUYERS": 1}
    monkeypatch.setattr(large, "FEWEST_EVENTS", 1)
    now = timezone.now()
    for number in range(3):
        Item.objects.create(item_id=f"item-{number}", label="s.P", object_id=number, title="t", text="t", text_hash="t")
    for visitor in (Visitor.objects.create(), Visitor.objects.create()):
        for item in range(3):
            Event.objects.create(
                message_id=f"{visitor.pk}-{item}", visitor=visitor, type="purchase", item_id=f"item-{item}",
                source="order", order_id=f"{visitor.pk}-{item // 2}", occurred_at=now - dt.timedelta(days=9 - item),
                received_at=now - dt.timedelta(days=1),
            )  # fmt: skip
    archive.update(at=now)
    Event.objects.create(
        message_id="since", type="purchase", item_id="item-2", source="order", occurred_at=now, order_id="s"
    )  # fmt: skip

    def rows() -> list[dict[str, Any]]:
        return list(ItemStatistics.objects.order_by("item_id").values())

    assert large.is_large()
    statistics.refresh_statistics(at=now + dt.timedelta(seconds=1))
    by_expressions = rows()
    assert by_expressions[2]["n_total"] == 3
    assert by_expressions[0]["basket_neighbours"] == [["item-1", pytest.approx(2 / 7, rel=1e-4)]]
    monkeypatch.setattr(large, "FEWEST_EVENTS", 10**9)
    statistics.refresh_statistics(at=now + dt.timedelta(seconds=1))
    unchanged = [row["computed_at"] for row in rows()]
    assert unchanged[1:] == [row["computed_at"] for row in by_expressions[1:]]
    assert unchanged[0] > by_expressions[0]["computed_at"]
    monkeypatch.setattr(large, "FEWEST_EVENTS", 1)
    next((tmp_path / "bundles" / "archive").rglob("*.parquet")).write_bytes(b"half")
    statistics.refresh_statistics(at=now + dt.timedelta(seconds=1))
    assert [row["computed_at"] for row in rows()][1:] == unchanged[1:]
