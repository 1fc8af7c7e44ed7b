"""The vector engine Milvus: an embedded one in a file, a server, or a cluster, all by the same calls of `pymilvus`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any

from recommender.exceptions import EngineError, MissingDependency
from recommender.retrieval.engine import Condition, Records, Space, VectorEngine, price_of
from recommender.types import FloatArray

LONGEST_ID, LONGEST_NAME = 512, 1_020
"""Bytes of an item id and of a category or brand: four for each character that the columns of `Item` take."""

FEWEST_VISITED = 200
"""HNSW keeps at least so many candidates while it searches: `ef`, which must not be below the limit."""

INDEXES: dict[str, dict[str, Any]] = {
    "HNSW": {"M": 16, "efConstruction": 200},
    "IVF_FLAT": {"nlist": 1024},
    "FLAT": {},
}
"""The indexes that this engine can make, with their parameters by Milvus's documentation ("In-memory index")."""

FIELDS = ("item_id", "vector", "category", "brand", "price", "available", "stamp")


class MilvusEngine(VectorEngine):
    """One collection of Milvus for each space.

    uri: `http://host:19530` of a server or cluster, or the path of a file ending in `.db`, which this process then owns
    alone (`milvus-lite`); token: `user:password` or an API key; index: one of `INDEXES`; timeout_seconds: of writes and
    of the connection; search_seconds: of one search. Raises MissingDependency without pymilvus.
    """

    requirement = "shopreco[milvus]"

    def __init__(
        self,
        *,
        uri: str = "http://127.0.0.1:19530",
        token: str = "",
        prefix: str = "recommender",
        index: str = "HNSW",
        timeout_seconds: float = 30.0,
        search_seconds: float = 5.0,
    ) -> None:
        super().__init__(prefix=prefix)
        if index not in INDEXES:
            raise EngineError(f"There is no index {index!r}. Give one of {', '.join(INDEXES)}.")
        self.uri, self.token, self.index = uri, token, index
        self.timeout_seconds, self.search_seconds = timeout_seconds, search_seconds
        self._pymilvus = _imported("pymilvus")
        if uri.endswith(".db"):
            _imported("milvus_lite")
        self._client: Any = None
        self._loaded: set[str] = set()
        self._lock = threading.Lock()

    @property
    def client(self) -> Any:
        """The connection, opened at the first use."""
        with self._lock:
            if self._client is None:
                self._client = self._pymilvus.MilvusClient(uri=self.uri, token=self.token, timeout=self.timeout_seconds)
            return self._client

    def create(self, space: Space) -> None:
        if dimension := self.dimension(space):
            self._require_same(space, dimension)
            return
        types, client = self._pymilvus.DataType, self.client
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("item_id", types.VARCHAR, is_primary=True, max_length=LONGEST_ID)
        schema.add_field("vector", types.FLOAT_VECTOR, dim=space.dimension)
        schema.add_field("category", types.VARCHAR, max_length=LONGEST_NAME)
        schema.add_field("brand", types.VARCHAR, max_length=LONGEST_NAME)
        schema.add_field("price", types.DOUBLE, nullable=True)
        schema.add_field("available", types.BOOL)
        schema.add_field("stamp", types.INT64)
        indexes = client.prepare_index_params()
        indexes.add_index("vector", index_type=self.index, metric_type="IP", params=INDEXES[self.index])
        for name in ("category", "brand"):
            indexes.add_index(name, index_type="INVERTED")
        client.create_collection(
            self.collection(space), schema=schema, index_params=indexes, consistency_level="Session",
            timeout=self.timeout_seconds,
        )  # fmt: skip

    def dimension(self, space: Space) -> int:
        if not self._has(space):
            return 0
        described = self.client.describe_collection(self.collection(space), timeout=self.timeout_seconds)
        return next(int(field["params"]["dim"]) for field in described["fields"] if field["name"] == "vector")

    def count(self, space: Space) -> int:
        if not self._has(space):
            return 0
        self._load(space)
        rows = self.client.query(
            self.collection(space), filter="", output_fields=["count(*)"], consistency_level="Strong",
            timeout=self.timeout_seconds,
        )  # fmt: skip
        return int(rows[0]["count(*)"])

    def delete(self, space: Space, item_ids: Sequence[str]) -> None:
        if item_ids:
            # not `ids=`: pymilvus 3.0 leaves quotes in them as they are
            self._delete(space, expression_of(Condition(item_ids=tuple(item_ids))))

    def delete_older(self, space: Space, stamp: int) -> None:
        self._delete(space, f"stamp < {stamp}")

    def finish(self, space: Space) -> None:
        self.client.flush(self.collection(space), timeout=self.timeout_seconds)
        self._load(space)

    def drop(self, space: Space) -> None:
        self._loaded.discard(self.collection(space))
        if self._has(space):
            self.client.drop_collection(self.collection(space), timeout=self.timeout_seconds)

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
            self._loaded.clear()
        if client is not None:
            client.close()
        if self.uri.endswith(".db"):
            manager = import_module("milvus_lite.server_manager").server_manager_instance
            manager.release_server(self.uri)

    def _delete(self, space: Space, expression: str) -> None:
        self._load(space)
        self.client.delete(self.collection(space), filter=expression, timeout=self.timeout_seconds)

    def _has(self, space: Space) -> bool:
        return bool(self.client.has_collection(self.collection(space), timeout=self.timeout_seconds))

    def _load(self, space: Space) -> None:
        """Milvus searches only what is loaded; after a restart nothing is, unless the server loads it again."""
        name = self.collection(space)
        if name not in self._loaded:
            self.client.load_collection(name, timeout=self.timeout_seconds)
            self._loaded.add(name)

    def _upsert(self, space: Space, records: Records, stamp: int) -> None:
        columns = (
            records.item_ids, records.vectors, records.categories, records.brands, map(price_of, records.prices),
            map(bool, records.available), [stamp] * len(records.item_ids),
        )  # fmt: skip
        rows = [dict(zip(FIELDS, values, strict=True)) for values in zip(*columns, strict=True)]
        self.client.upsert(self.collection(space), rows, timeout=self.timeout_seconds)

    def _search(
        self, space: Space, vectors: FloatArray, limit: int, condition: Condition
    ) -> Iterable[Iterable[tuple[str, float]]]:
        self._load(space)
        try:
            answers = self.client.search(
                self.collection(space), data=list(vectors), filter=expression_of(condition), limit=limit,
                output_fields=["item_id"], timeout=self.search_seconds,
                search_params={"metric_type": "IP", "params": self._effort(limit)},
            )  # fmt: skip
        except self._pymilvus.MilvusException:
            self._loaded.discard(self.collection(space))  # the server may have restarted
            raise
        return [[(str(hit["item_id"]), float(hit["distance"])) for hit in hits] for hits in answers]

    def _effort(self, limit: int) -> dict[str, int]:
        """How much of the index a search visits."""
        return {"HNSW": {"ef": max(limit, FEWEST_VISITED)}, "IVF_FLAT": {"nprobe": 64}}.get(self.index, {})


def expression_of(condition: Condition) -> str:
    """A condition in Milvus's language of boolean expressions."""
    return " and ".join(_clauses(condition))


def _clauses(condition: Condition) -> Iterator[str]:
    for name, values in (("category", condition.categories), ("brand", condition.brands)):
        if values:
            yield f"{name} in {_listed(values)}"
    if condition.min_price is not None:
        yield f"price >= {condition.min_price!r}"
    if condition.max_price is not None:
        yield f"price <= {condition.max_price!r}"
    if condition.only_available:
        yield "available == true"
    if condition.item_ids is not None:
        yield f"item_id in {_listed(condition.item_ids)}"
    if condition.without_ids:
        yield f"item_id not in {_listed(condition.without_ids)}"


def _listed(values: Iterable[str]) -> str:
    return f"[{', '.join(map(_quoted, values))}]"


def _quoted(text: str) -> str:
    """A literal. Milvus knows the escapes of C."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(character, character) for character in text) + '"'


def _imported(module: str) -> Any:
    """A module that this engine needs. Its errors reach the caller, so its own log of the same ones is not kept."""
    try:
        imported = import_module(module)
    except ImportError as error:
        raise MissingDependency(f'{error.name} is not installed: pip install "shopreco[milvus]".') from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    return imported
