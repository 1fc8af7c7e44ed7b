"""How a run was made (code, versions, data, settings, hardware), and in what two runs differ.

The layout of a provenance is in docs/training.md.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import recommender

PACKAGES = (
    "numpy", "scipy", "scikit-learn", "lightgbm", "torch", "transformers", "tokenizers", "peft", "onnx", "onnxruntime",
)  # fmt: skip
"""What the numbers of a run may depend on."""

CAUSES = ("data_hash", "code", "versions", "seed", "encoder", "settings", "hardware")
"""The parts of a provenance that decide the result, in the order in which people ask for them."""

MISSING = "—"
CLOCK = "clock"


class Difference(NamedTuple):
    """One entry in which two runs differ; `name` is its path, as "versions.torch"."""

    name: str
    first: Any
    second: Any


@functools.cache
def code() -> dict[str, str]:
    """Version of the package, and 16 hex digits over its source files."""
    folder = Path(recommender.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {"version": recommender.__version__, "hash": digest.hexdigest()[:16]}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are installed; nothing is imported."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Return in which causes two runs differ; an entry that one of them lacks counts as "—"."""
    ours, theirs = (dict(_flat({name: side.get(name) for name in CAUSES})) for side in (first, second))
    pairs = [Difference(name, ours.get(name, MISSING), theirs.get(name, MISSING)) for name in {**ours, **theirs}]
    return [
        pair
        for pair in pairs
        if pair.first != pair.second and not (_is_missing(pair.first) and _is_missing(pair.second))
    ]


def clocked(provenance: Mapping[str, Any]) -> list[str]:
    """Return the stages that the time limit cut short or paced: these do not come out the same twice."""
    return [stage for stage, reason in (provenance.get("ended_by") or {}).items() if reason == CLOCK]


def figure_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Return which figures of the rankers, the heads and search differ. Champions may differ and are left out."""
    parts = ("lists", "heads", "search", "n_cases")
    ours, theirs = (dict(_flat({name: side.get(name) for name in parts})) for side in (first, second))
    names = [name for name in ours if name in theirs and ".champion." not in name]
    return [Difference(name, ours[name], theirs[name]) for name in names if ours[name] != theirs[name]]


def _is_missing(value: Any) -> bool:
    return value is None or value == MISSING


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Walk nested dicts; a list is one value."""
    if not isinstance(value, Mapping):
        yield path, value
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{path}.{key}" if path else str(key))
