"""A shop without Redis, PyTorch or Celery: each not installed, and Redis also installed but not running."""

from __future__ import annotations

import os
from pathlib import Path

ABSENT = Path(__file__).parent / "absent"


def without(*packages: str) -> dict[str, str]:
    """The environment of a Python process, and of those that it starts, in which packages are not installed."""
    paths = [str(ABSENT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "ABSENT_PACKAGES": " ".join(packages)}
