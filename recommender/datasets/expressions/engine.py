"""Runs expressions where the data is too large for memory: on DuckDB in this process.

The expressions are Ibis, so that another engine can compute the same ones. What is used twice is stored in a table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ibis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from ibis.expr import types as ir

MEMORY_GB = 4.0
"""Of DuckDB's tables in memory; what is beyond it lies in its temporary files."""


class Engine:
    """One connection, and the tables that were stored through it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._numbers = itertools.count()

    def files(self, paths: Sequence[Path]) -> ir.Table:
        """The rows of all these Parquet files, which have one schema."""
        return self.connection.read_parquet([str(path) for path in paths])

    def table(self, columns: Mapping[str, npt.NDArray[Any] | Sequence[str]]) -> ir.Table:
        """A table with these columns."""
        arrays = pa.table(
            {
                name: pa.array(column, None if isinstance(column, np.ndarray) else pa.string())
                for name, column in columns.items()
            }
        )
        return self.connection.create_table(self._name(), arrays)

    def stored(self, expression: ir.Table) -> ir.Table:
        """Compute an expression once; return the table that holds the result."""
        return self.connection.create_table(self._name(), expression)

    def drop(self, *tables: ir.Table) -> None:
        """Delete stored tables that are no longer needed."""
        for table in tables:
            self.connection.drop_table(table.op().name)

    def columns(self, expression: ir.Table) -> dict[str, npt.NDArray[Any]]:
        """Compute an expression; return its columns, in which null is 0."""
        table = self.connection.to_pyarrow(expression)
        return {name: _array(table[name]) for name in table.column_names}

    def row(self, expression: ir.Table) -> dict[str, Any]:
        """Compute an expression of one row."""
        (row,) = self.connection.to_pyarrow(expression).to_pylist()
        return dict(row)

    def _name(self) -> str:
        return f"stored_{next(self._numbers)}"


@contextmanager
def duckdb_engine(*, memory_gb: float = MEMORY_GB) -> Iterator[Engine]:
    """DuckDB in this process, with its tables in temporary files."""
    with TemporaryDirectory(prefix="recommender-duckdb-") as folder:
        connection = ibis.duckdb.connect(
            Path(folder) / "stored.duckdb", temp_directory=folder, memory_limit=f"{memory_gb}GB",
            preserve_insertion_order=False,
        )  # fmt: skip
        yield Engine(connection)
        connection.disconnect()


def n_rows(engine: Engine, table: ir.Table) -> int:
    """How many rows a table has."""
    return int(engine.row(table.agg(n=table.count()))["n"])


def _array(column: Any) -> npt.NDArray[Any]:
    combined = column.combine_chunks()
    if pa.types.is_string(combined.type) or pa.types.is_large_string(combined.type):
        return np.array(combined.to_pylist(), object)
    return np.asarray(combined.fill_null(0).to_numpy(zero_copy_only=False))
