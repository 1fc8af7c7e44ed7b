"""The vector engine pgvector, an extension of PostgreSQL: for shops whose database it already is."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from django.db import connections

from recommender.exceptions import EngineError, MissingDependency
from recommender.retrieval.engine import Condition, Records, Space, VectorEngine, price_of
from recommender.types import FloatArray

N_IDLE_CONNECTIONS = 8
"""Connections that stay open between searches."""

VISITED = 400
"""Candidates that HNSW keeps while it searches (`hnsw.ef_search`), above the 300 that a list needs."""

MOST_DIMENSIONS = 2_000
"""What an index of pgvector takes (its README, "HNSW")."""


class PgVectorEngine(VectorEngine):
    """One table of PostgreSQL for each space, with an HNSW index, beside the shop's own tables or elsewhere.

    dsn: a libpq connection string; without it the server of the `database` alias of DATABASES. timeout_seconds: of the
    connection and of writes; search_seconds: of one search. Raises MissingDependency without psycopg and pgvector.
    """

    requirement = "shopreco[pgvector]"

    def __init__(
        self,
        *,
        dsn: str = "",
        database: str = "default",
        prefix: str = "recommender",
        timeout_seconds: float = 30.0,
        search_seconds: float = 5.0,
    ) -> None:
        super().__init__(prefix=prefix)
        self.dsn, self.database = dsn, database
        self.timeout_seconds, self.search_seconds = timeout_seconds, search_seconds
        self._psycopg, self._pgvector = _imported("psycopg"), _imported("pgvector.psycopg")
        self._sql = import_module("psycopg.sql")
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue(N_IDLE_CONNECTIONS)

    def create(self, space: Space) -> None:
        if dimension := self.dimension(space):
            self._require_same(space, dimension)
            return
        with self._connection() as connection:
            self._create_extension(connection)
            connection.execute(
                self._sql.SQL(
                    "CREATE TABLE IF NOT EXISTS {table} (item_id text PRIMARY KEY, vector vector({dimension}) NOT NULL,"
                    " category text NOT NULL, brand text NOT NULL, price double precision, available boolean NOT NULL,"
                    " stamp bigint NOT NULL)"
                ).format(table=self._table(space), dimension=self._sql.Literal(space.dimension))
            )
            self._pgvector.register_vector(connection)

    def dimension(self, space: Space) -> int:
        """In pgvector the modifier of the column's type is its dimension."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT atttypmod FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = 'vector'",
                [f'"{self.collection(space)}"'],
            ).fetchone()
        return int(row[0]) if row else 0

    def count(self, space: Space) -> int:
        if not self.dimension(space):
            return 0
        row = self._execute("SELECT count(*) FROM {table}", space)
        return int(row[0][0])

    def delete(self, space: Space, item_ids: Sequence[str]) -> None:
        if item_ids:
            self._execute("DELETE FROM {table} WHERE item_id = ANY(%s)", space, [list(item_ids)])

    def delete_older(self, space: Space, stamp: int) -> None:
        self._execute("DELETE FROM {table} WHERE stamp < %s", space, [stamp])

    def finish(self, space: Space) -> None:
        """Build the index: once the table is full that takes a fraction of the time it takes while it fills."""
        if space.dimension > MOST_DIMENSIONS:
            raise EngineError(
                f"The encoder {space.encoder_hash} makes vectors of {space.dimension} dimensions; an index of pgvector "
                f"takes {MOST_DIMENSIONS}. Use a smaller encoder, or recommender.contrib.milvus."
            )
        index = self._sql.Identifier(f"{self.collection(space)}_near")
        with self._connection() as connection, connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 0")
            connection.execute(
                self._sql.SQL("CREATE INDEX IF NOT EXISTS {index} ON {table} USING hnsw (vector vector_ip_ops)").format(
                    index=index, table=self._table(space)
                )
            )
            connection.execute(self._sql.SQL("ANALYZE {table}").format(table=self._table(space)))

    def drop(self, space: Space) -> None:
        self._execute("DROP TABLE IF EXISTS {table}", space)

    def close(self) -> None:
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    def _upsert(self, space: Space, records: Records, stamp: int) -> None:
        columns = (
            records.item_ids, records.vectors, records.categories, records.brands, map(price_of, records.prices),
            map(bool, records.available), [stamp] * len(records.item_ids),
        )  # fmt: skip
        statement = self._sql.SQL(
            "INSERT INTO {table} (item_id, vector, category, brand, price, available, stamp)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (item_id) DO UPDATE SET vector = excluded.vector,"
            " category = excluded.category, brand = excluded.brand, price = excluded.price,"
            " available = excluded.available, stamp = excluded.stamp"
        ).format(table=self._table(space))
        with self._connection() as connection, connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(statement, list(zip(*columns, strict=True)))

    def _search(
        self, space: Space, vectors: FloatArray, limit: int, condition: Condition
    ) -> Iterable[Iterable[tuple[str, float]]]:
        clauses, values = _clauses(condition)
        where = self._sql.SQL(f"WHERE {' AND '.join(clauses)}" if clauses else "")
        statement = self._sql.SQL(
            "SELECT item_id, -(vector <#> %s) FROM {table} {where} ORDER BY vector <#> %s LIMIT %s"
        ).format(table=self._table(space), where=where)
        with self._connection(self.search_seconds) as connection:
            return [
                [
                    (str(item_id), float(cosine))
                    for item_id, cosine in connection.execute(statement, [vector, *values, vector, limit]).fetchall()
                ]
                for vector in vectors
            ]

    def _execute(self, statement: str, space: Space, values: Sequence[Any] = ()) -> list[Any]:
        with self._connection() as connection:
            cursor = connection.execute(self._sql.SQL(statement).format(table=self._table(space)), values)
            return list(cursor.fetchall()) if cursor.description else []

    def _table(self, space: Space) -> Any:
        return self._sql.Identifier(self.collection(space))

    def _create_extension(self, connection: Any) -> None:
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except self._psycopg.Error as error:
            raise EngineError(
                f"PostgreSQL has no extension vector ({str(error).strip()}). Install pgvector on its server, and let "
                "an administrator of the database run CREATE EXTENSION vector once."
            ) from error

    @contextmanager
    def _connection(self, seconds: float | None = None) -> Iterator[Any]:
        """Lend a connection; one that failed is closed, so that the next search opens another."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            connection.execute(
                "SELECT set_config('statement_timeout', %s, false)",
                [str(round(1000 * (seconds or self.timeout_seconds)))],
            )
            yield connection
        except BaseException:
            connection.close()
            raise
        try:
            self._idle.put_nowait(connection)
        except queue.Full:
            connection.close()

    def _connect(self) -> Any:
        parameters = {"connect_timeout": max(2, round(self.search_seconds)), "autocommit": True}
        connection = self._psycopg.connect(**self._address(), **parameters)
        if connection.execute("SELECT to_regtype('vector')").fetchone()[0] is not None:
            self._pgvector.register_vector(connection)
        connection.execute(f"SET hnsw.ef_search = {VISITED}")
        connection.execute("SET hnsw.iterative_scan = strict_order")
        return connection

    def _address(self) -> dict[str, Any]:
        """Where the server is, as psycopg takes it. Raises EngineError where the alias is no PostgreSQL."""
        if self.dsn:
            return {"conninfo": self.dsn}
        database = connections[self.database]
        if database.vendor != "postgresql":
            raise EngineError(
                f"DATABASES[{self.database!r}] is {database.display_name}, not PostgreSQL. Give VECTOR_ENGINE a dsn, "
                "such as postgresql://user:password@host/database."
            )
        names = ("dbname", "user", "password", "host", "port", "service", "sslmode", "sslrootcert")
        return {name: value for name, value in database.get_connection_params().items() if name in names}


def _clauses(condition: Condition) -> tuple[list[str], list[Any]]:
    """The conditions in SQL, and the values for their places."""
    named = {
        "category = ANY(%s)": list(condition.categories) or None,
        "brand = ANY(%s)": list(condition.brands) or None,
        "price >= %s": condition.min_price,
        "price <= %s": condition.max_price,
        "available = %s": True if condition.only_available else None,
        "item_id = ANY(%s)": None if condition.item_ids is None else list(condition.item_ids),
        "item_id <> ALL(%s)": list(condition.without_ids) or None,
    }
    given = {clause: value for clause, value in named.items() if value is not None}
    return list(given), list(given.values())


def _imported(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependency(f'{error.name} is not installed: pip install "shopreco[pgvector]".') from error
