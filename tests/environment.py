"""A pytest plugin that gives each test process its own var/ folder and Redis database, before settings are read."""

import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

VAR_DIR = Path(tempfile.mkdtemp(prefix="shopreco-tests-"))
(VAR_DIR / "broker" / "control").mkdir(parents=True)
(VAR_DIR / "static").mkdir()
os.environ["SHOPRECO_VAR"] = str(VAR_DIR)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads of two processes on two cores only wait for each other


def worker_number() -> int:
    """The number of this process among parallel ones: 0 without pytest-xdist."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def own_redis_url(url: str) -> str:
    """The same server with a database of this process: broker queues of two test processes must not mix."""
    parts = urlsplit(url)
    first = int(parts.path.strip("/") or 0)
    return urlunsplit(parts._replace(path=f"/{first + worker_number()}"))


if os.environ.get("REDIS_URL"):
    os.environ["REDIS_URL"] = own_redis_url(os.environ["REDIS_URL"])


def pytest_unconfigure() -> None:
    """Take the folder away again."""
    shutil.rmtree(VAR_DIR, ignore_errors=True)
