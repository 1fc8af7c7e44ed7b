"""What every vector engine must do, the exact scan in this process included."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommender.contrib.milvus import MilvusEngine
from recommender.contrib.pgvector import PgVectorEngine
from recommender.exceptions import EngineError, MissingDependency
from recommender.retrieval.engine import ANYTHING, Condition, Records, Space, VectorEngine
from recommender.retrieval.vector import nearest

SPACE = Space("0123456789abcdef", 2)
ANGLES = (0, 10, 20, 30, 40, 50, 60, 180)


def circle(*degrees: float) -> np.ndarray:
    """Unit vectors of the plane."""
    angle = np.radians(np.array(degrees, np.float32))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def records(vectors: np.ndarray, *, encoder_hash: str = SPACE.encoder_hash, **columns: Any) -> Records:
    """Items i0, i1 … of one category and brand, without a price and in stock, unless `columns` say otherwise."""
    n = len(vectors)
    usual = {
        "item_ids": [f"i{row}" for row in range(n)], "categories": ["tea"] * n, "brands": ["Ada"] * n,
        "prices": np.full(n, np.nan), "available": [True] * n,
    }  # fmt: skip
    return Records(encoder_hash, vectors=vectors, **usual | columns)


class ScanEngine(VectorEngine):
    """The exact scan that serves without an engine, behind the same protocol."""

    requirement = "shopreco"

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, dict[str, tuple[np.ndarray, str, str, float, bool, int]]] = {}
        self.dimensions: dict[str, int] = {}

    def create(self, space: Space) -> None:
        if dimension := self.dimension(space):
            self._require_same(space, dimension)
        self.dimensions[space.name] = space.dimension
        self.rows.setdefault(space.name, {})

    def dimension(self, space: Space) -> int:
        return self.dimensions.get(space.name, 0)

    def count(self, space: Space) -> int:
        return len(self.rows.get(space.name, {}))

    def delete(self, space: Space, item_ids: Sequence[str]) -> None:
        for item_id in item_ids:
            self.rows[space.name].pop(item_id, None)

    def delete_older(self, space: Space, stamp: int) -> None:
        self.rows[space.name] = {key: row for key, row in self.rows[space.name].items() if row[-1] >= stamp}

    def finish(self, space: Space) -> None: ...

    def drop(self, space: Space) -> None:
        self.rows.pop(space.name, None)
        self.dimensions.pop(space.name, None)

    def close(self) -> None: ...

    def _upsert(self, space: Space, records: Records, stamp: int) -> None:
        columns = (records.vectors, records.categories, records.brands, records.prices, records.available)
        for item_id, *row in zip(records.item_ids, *columns, strict=True):
            self.rows[space.name][item_id] = (*row, stamp)  # type: ignore[assignment]

    def _search(self, space: Space, vectors: np.ndarray, limit: int, condition: Condition) -> Any:
        rows = self.rows[space.name]
        matrix = np.array([row[0] for row in rows.values()], np.float32).reshape(len(rows), space.dimension)
        allowed = np.array([_passes(item_id, *row[1:5], condition) for item_id, row in rows.items()], bool)
        ids = list(rows)
        for vector in vectors:
            near = nearest(matrix, vector, limit=limit, allowed=allowed)
            yield [(ids[row], score) for row, score in zip(near.rows.tolist(), near.scores.tolist(), strict=True)]


def _passes(item_id: str, category: str, brand: str, price: float, available: bool, condition: Condition) -> bool:
    return (
        (not condition.categories or category in condition.categories)
        and (not condition.brands or brand in condition.brands)
        and (condition.min_price is None or price >= condition.min_price)
        and (condition.max_price is None or price <= condition.max_price)
        and (available or not condition.only_available)
        and (condition.item_ids is None or item_id in condition.item_ids)
        and item_id not in condition.without_ids
    )


@pytest.fixture(params=["scan", "milvus", "pgvector"])
def engine(request: pytest.FixtureRequest) -> VectorEngine:
    return ScanEngine() if request.param == "scan" else request.getfixturevalue(request.param)


@pytest.fixture(params=["milvus", "pgvector"])
def database(request: pytest.FixtureRequest) -> VectorEngine:
    engine: VectorEngine = request.getfixturevalue(request.param)
    return engine


def filled(engine: VectorEngine, vectors: np.ndarray | None = None, *, stamp: int = 1, **columns: Any) -> VectorEngine:
    engine.create(SPACE)
    engine.upsert(SPACE, records(circle(*ANGLES) if vectors is None else vectors, **columns), stamp=stamp)
    return engine


def found(engine: VectorEngine, angle: float = 22, *, limit: int = 3, condition: Condition = ANYTHING) -> list[str]:
    (hits,) = engine.search(SPACE, circle(angle), limit=limit, condition=condition)
    return [item_id for item_id, _cosine in hits]


def test_nearest_direction_leads_with_its_cosine(engine: VectorEngine) -> None:
    (hits,) = filled(engine).search(SPACE, circle(22), limit=3)
    assert [item_id for item_id, _cosine in hits] == ["i2", "i3", "i1"]
    assert [cosine for _item_id, cosine in hits] == pytest.approx(np.cos(np.radians([2, 8, 12])).tolist(), abs=1e-4)


def test_several_vectors_are_answered_at_once_each_by_itself(engine: VectorEngine) -> None:
    answers = filled(engine).search(SPACE, circle(1, 59), limit=2)
    assert [[item_id for item_id, _ in hits] for hits in answers] == [["i0", "i1"], ["i6", "i5"]]


def test_a_search_after_the_index_is_built_finds_the_same(engine: VectorEngine) -> None:
    filled(engine).finish(SPACE)
    assert found(engine) == ["i2", "i3", "i1"]
    assert found(engine, condition=Condition(without_ids=("i3",))) == ["i2", "i1", "i4"]


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        (Condition(categories=("tea",)), ["i2", "i4", "i0"]),
        (Condition(categories=("tea", "desk")), ["i2", "i3", "i1"]),
        (Condition(brands=('O"Neil\\', "none")), ["i3", "i1", "i5"]),
        (Condition(min_price=3, max_price=5), ["i3", "i4", "i5"]),
        (Condition(max_price=1.5), ["i1"]),
        (Condition(only_available=True), ["i2", "i1", "i4"]),
        (Condition(item_ids=("i6", "i0", "nothing")), ["i0", "i6"]),
        (Condition(item_ids=()), []),
        (Condition(without_ids=("i2", "i1")), ["i3", "i4", "i0"]),
        (Condition(categories=("desk",), min_price=2, only_available=True), ["i5"]),
        (Condition(categories=('" or item_id != "',)), []),
    ],
)
def test_only_what_passes_is_found(engine: VectorEngine, condition: Condition, ids: list[str]) -> None:
    filled(
        engine,
        categories=["tea", "desk"] * 4,
        brands=["Ada", 'O"Neil\\'] * 4,
        prices=np.array([np.nan, 1, 2, 3, 4, 5, 6, 7]),
        available=[True, True, True, False, True, True, True, True],
    )
    assert found(engine, condition=condition) == ids


def test_equal_ones_are_all_found_by_id_and_before_what_is_farther(engine: VectorEngine) -> None:
    filled(engine, circle(90, 20, 20, 20, 0))
    assert found(engine, 20, limit=4) == ["i1", "i2", "i3", "i4"]


def test_empty_collection_finds_nothing(engine: VectorEngine) -> None:
    engine.create(SPACE)
    assert engine.count(SPACE) == 0
    assert found(engine) == []
    engine.upsert(SPACE, records(circle()), stamp=1)
    engine.finish(SPACE)
    assert found(engine) == []


def test_one_item_is_found_whatever_the_limit(engine: VectorEngine) -> None:
    filled(engine, circle(30))
    assert found(engine, limit=300) == ["i0"]
    assert found(engine, limit=0) == []


def test_an_item_that_is_written_again_is_replaced(engine: VectorEngine) -> None:
    filled(engine)
    filled(engine, circle(23), item_ids=["i6"], categories=["lamp"])
    assert engine.count(SPACE) == len(ANGLES)
    assert found(engine) == ["i6", "i2", "i3"]
    assert found(engine, condition=Condition(categories=("lamp",))) == ["i6"]


def test_what_is_deleted_is_found_no_more(engine: VectorEngine) -> None:
    filled(engine)
    engine.delete(SPACE, ["i2", "never there"])
    engine.delete(SPACE, [])
    assert found(engine) == ["i3", "i1", "i4"]
    assert engine.count(SPACE) == len(ANGLES) - 1


def test_what_a_later_sync_did_not_write_is_deleted(engine: VectorEngine) -> None:
    filled(engine)
    filled(engine, circle(20, 30), item_ids=["i2", "new"], stamp=2)
    engine.delete_older(SPACE, 2)
    assert found(engine) == ["i2", "new"]


def test_ids_of_any_letters_are_kept(engine: VectorEngine) -> None:
    ids = ["a'b\"c\\", "Kürbis 南瓜", "x\ty"]
    filled(engine, circle(20, 30, 40), item_ids=ids)
    assert found(engine) == ids
    assert found(engine, condition=Condition(item_ids=tuple(ids[1:]))) == ids[1:]
    assert found(engine, condition=Condition(without_ids=tuple(ids[1:]))) == ids[:1]
    engine.delete(SPACE, ids[:2])
    assert found(engine) == ids[2:]


def test_vectors_of_another_encoder_are_refused(engine: VectorEngine) -> None:
    filled(engine)
    with pytest.raises(EngineError, match=r"encoder other were .* collection of encoder 0123456789abcdef.*engine_sync"):
        engine.upsert(SPACE, records(circle(1), encoder_hash="other"), stamp=1)
    assert engine.count(SPACE) == len(ANGLES)


def test_vectors_of_another_dimension_are_refused(engine: VectorEngine) -> None:
    filled(engine)
    wide = np.ones((1, 3), np.float32)
    with pytest.raises(EngineError, match=r"shape \(1, 3\) .* 2 dimensions. Encode the items again"):
        engine.upsert(SPACE, records(wide), stamp=1)
    with pytest.raises(EngineError, match=r"shape \(1, 3\)"):
        engine.search(SPACE, wide, limit=3)
    with pytest.raises(EngineError, match=r"has 2 dimensions, .* makes 3. Make it anew: .* --rebuild"):
        engine.create(Space(SPACE.encoder_hash, 3))


def test_spaces_do_not_mix_and_are_dropped_one_by_one(engine: VectorEngine) -> None:
    other = Space(SPACE.encoder_hash, 2, delta_hash="moved")
    filled(engine)
    engine.create(other)
    engine.upsert(other, records(circle(70)), stamp=1)
    assert (engine.count(SPACE), engine.count(other)) == (len(ANGLES), 1)
    engine.drop(SPACE)
    engine.drop(SPACE)
    assert (engine.count(SPACE), engine.dimension(SPACE), engine.count(other)) == (0, 0, 1)
    engine.create(SPACE)
    assert found(engine) == []


def test_collections_are_named_by_the_whole_encoder() -> None:
    names = {Space("a/b", 2).name, Space("a-b", 2).name, Space("a/b", 2, "moved").name, Space("a" * 80, 2).name}
    assert len(names) == 4
    assert all(len(name) <= 49 and name.replace("_", "").isalnum() for name in names)


def test_approximate_answers_are_nearly_the_exact_ones(database: VectorEngine) -> None:
    draw = np.random.default_rng(0)
    space = Space("wide", 32)
    vectors = draw.normal(size=(2_000, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    database.create(space)
    database.upsert(space, records(vectors, encoder_hash="wide"), stamp=1)
    database.finish(space)
    answers = database.search(space, vectors[:20], limit=100)
    shares = [
        np.mean([f"i{row}" in {item_id for item_id, _ in hits} for row in nearest(vectors, vector, limit=100).rows])
        for vector, hits in zip(vectors[:20], answers, strict=True)
    ]
    assert np.mean(shares) > 0.95


def test_what_was_written_outlives_the_connection(database: VectorEngine) -> None:
    filled(database).finish(SPACE)
    database.close()
    assert found(database) == ["i2", "i3", "i1"]
    assert database.count(SPACE) == len(ANGLES)


def test_several_threads_search_at_once(database: VectorEngine) -> None:
    filled(database)
    answers: list[list[str]] = []
    threads = [threading.Thread(target=lambda: answers.append(found(database))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == [["i2", "i3", "i1"]] * 12


def test_search_without_a_collection_fails(database: VectorEngine) -> None:
    database.create(Space("other", 2))
    with pytest.raises(Exception, match=SPACE.name):
        found(database)


def test_embedded_milvus_ends_with_its_engine(tmp_path: Path) -> None:
    from milvus_lite.server_manager import server_manager_instance

    engine = MilvusEngine(uri=str(tmp_path / "own.db"))
    filled(engine)
    (port,) = [port for path, (*_, port) in server_manager_instance._servers.items() if path == engine.uri]
    socket.create_connection(("127.0.0.1", port), timeout=2).close()
    engine.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)


def test_unknown_index_of_milvus_names_the_others() -> None:
    with pytest.raises(EngineError, match=r"no index 'HSNW'\. Give one of HNSW, IVF_FLAT, FLAT"):
        MilvusEngine(index="HSNW")


@pytest.mark.parametrize("index", ["IVF_FLAT", "FLAT"])
def test_other_indexes_of_milvus_find_the_same(milvus_options: dict[str, Any], index: str) -> None:
    engine = MilvusEngine(**milvus_options, index=index)
    filled(engine).finish(SPACE)
    assert found(engine) == ["i2", "i3", "i1"]


@pytest.mark.parametrize(
    ("absent", "engine", "extra"),
    [
        ("pymilvus", MilvusEngine, "milvus"),
        ("pgvector", PgVectorEngine, "pgvector"),
        ("psycopg", PgVectorEngine, "pgvector"),
    ],
)
def test_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, absent: str, engine: type[VectorEngine], extra: str
) -> None:
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == absent]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingDependency, match=rf'{absent}.* is not installed: pip install "shopreco\[{extra}\]"'):
        engine()


def test_pgvector_takes_the_database_of_the_shop_only_if_it_is_postgresql(db: None) -> None:
    from django.db import connection

    engine = PgVectorEngine()
    if connection.vendor == "postgresql":
        assert engine._address()["dbname"] == connection.settings_dict["NAME"]
    else:
        with pytest.raises(EngineError, match=r"DATABASES\['default'\] is SQLite, not PostgreSQL. .* a dsn"):
            engine.count(SPACE)


def test_pgvector_says_what_to_do_without_the_extension(pgvector_options: dict[str, Any]) -> None:
    import psycopg

    with psycopg.connect(pgvector_options["dsn"], autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
        connection.execute("CREATE DATABASE plain OWNER guest")
    dsn = pgvector_options["dsn"].replace("postgres:@/postgres", "guest:@/plain")
    engine = PgVectorEngine(dsn=dsn)
    try:
        with pytest.raises(EngineError, match=r"(?s)no extension vector .* run CREATE EXTENSION vector once"):
            engine.create(SPACE)
    finally:
        engine.close()
        with psycopg.connect(pgvector_options["dsn"], autocommit=True) as connection:
            connection.execute("DROP DATABASE plain")
            connection.execute("DROP ROLE guest")


def test_pgvector_refuses_more_dimensions_than_an_index_takes(pgvector: VectorEngine) -> None:
    space = Space("wide", 2_001)
    pgvector.create(space)
    with pytest.raises(EngineError, match="2001 dimensions; an index of pgvector takes 2000"):
        pgvector.finish(space)
