"""The manifest of a bundle lists its files with their sha256: what may be in a bundle, and whether a copy is intact."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from django.utils.translation import gettext

from recommender.exceptions import BundleError

MANIFEST, ARMS = "manifest.json", "arms.json"
FORMAT = 1
ALLOWED_SUFFIXES = frozenset({".safetensors", ".onnx", ".npy", ".json"})
"""Formats that hold numbers and text only: loading one cannot run code, as loading a pickle can."""

NAME_LENGTH = 32
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def manifest_of(folder: Path, *, encoder_hash: str, is_trained: bool) -> dict[str, Any]:
    """Describe the files of a flat folder. Raises BundleError for one that may not be in a bundle."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name == MANIFEST:
            continue
        _refuse(path.name, is_plain=path.is_file() and not path.is_symlink())
        if path.suffix == ".npy":
            _refuse_pickled(path)
        files[path.name] = {"sha256": digest(path), "n_bytes": path.stat().st_size}
    if not files:
        raise BundleError(gettext("%s holds no file: there is nothing to make a bundle of.") % folder)
    manifest = {"format": FORMAT, "encoder_hash": encoder_hash, "is_trained": is_trained, "files": files}
    return manifest | ({"arms": _arms(folder / ARMS)} if ARMS in files else {})


def _arms(path: Path) -> dict[str, str]:
    """By list, the name of the head that serves it. Raises BundleError for a file that cannot be read."""
    try:
        arms = json.loads(path.read_text(encoding="utf-8"))
        return {scope: arm["competitor"] for scope, arm in arms.items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _broken(path.parent, path.name, gettext("cannot be read (%s)") % error) from error


def name_of(manifest: dict[str, Any]) -> str:
    """The name of a bundle: a hash over what it holds."""
    canonical = json.dumps({key: manifest[key] for key in ("format", "encoder_hash", "files")}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:NAME_LENGTH]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises BundleError where it is missing, broken, of another format or names a file outside the folder."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        recorded = {name: entry["sha256"] for name, entry in files.items()}
        name_of(manifest)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _broken(folder, MANIFEST, gettext("cannot be read (%s)") % error) from error
    if manifest.get("format") != FORMAT:
        raise BundleError(
            gettext("Bundle %(bundle)s has format %(format)r, expected %(expected)s. Train a new one.")
            % {"bundle": folder.name[:12], "format": manifest.get("format"), "expected": FORMAT}
        )
    for name in recorded:
        _refuse(name, is_plain=True)
    return manifest


def verify(folder: Path, *, name: str = "") -> None:
    """Compare the manifest with the name of the bundle, which is the folder's unless another is given, and every file
    with the manifest. Raises BundleError that names the file and the repair."""
    manifest = read_manifest(folder)
    if name_of(manifest) != (name or folder.name):
        raise _broken(folder, MANIFEST, gettext("is that of another bundle"))
    recorded = manifest["files"]
    for name, entry in recorded.items():
        path = folder / name
        if not path.is_file():
            raise _broken(folder, name, gettext("is missing"))
        if digest(path) != entry["sha256"]:
            raise _broken(folder, name, gettext("was changed: its sha256 differs"))
    unlisted = {path.name for path in folder.iterdir()} - set(recorded) - {MANIFEST}
    if unlisted:
        raise _broken(folder, min(unlisted), gettext("is not in its manifest"))


def digest(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _broken(folder: Path, file: str, fault: str) -> BundleError:
    message = gettext("%(file)s of bundle %(bundle)s %(fault)s. Roll back, or train again.")
    return BundleError(message % {"file": file, "bundle": folder.name[:12], "fault": fault})


def _refuse(name: str, *, is_plain: bool) -> None:
    if not is_plain or not _SAFE_NAME.fullmatch(name) or Path(name).suffix not in ALLOWED_SUFFIXES:
        allowed = ", ".join(sorted(ALLOWED_SUFFIXES))
        message = gettext("%(name)r may not be in a bundle: only plain files named %(allowed)s may, never pickles.")
        raise BundleError(message % {"name": name[:80], "allowed": allowed})


def _refuse_pickled(path: Path) -> None:
    """An .npy of Python objects is a pickle in disguise; its header says so."""
    with path.open("rb") as file:
        header = file.read(1024)
    if not header.startswith(b"\x93NUMPY") or re.search(rb"'descr':\s*'\|O", header):
        raise BundleError(gettext("%s may not be in a bundle: it is not a plain array of numbers.") % path.name)
