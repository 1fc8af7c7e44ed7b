"""The files of bundles: written once under the name of their hash, published, and verified when they are fetched."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.files.storage import FileSystemStorage, Storage
from django.utils.translation import gettext

from recommender import conf
from recommender.bundles.manifest import MANIFEST, manifest_of, name_of, read_manifest, verify
from recommender.exceptions import BundleError, BundleUnreachable
from recommender.models import Bundle

logger = logging.getLogger(__name__)


def write_bundle(folder: Path, *, is_trained: bool, encoder_hash: str, learned_until: float | None = None) -> Bundle:
    """Copy the files of a folder to one named by their hash, publish it and record it as a candidate.

    The same files give the same bundle; where its copy or the published one was damaged, they take their place.
    learned_until: Unix seconds from which it has learned nothing, for the manifest. Raises BundleError for a file that
    may not be in a bundle, BundleUnreachable where there is no room for it: then nothing of it stays.
    """
    manifest = manifest_of(folder, encoder_hash=encoder_hash, is_trained=is_trained)
    if learned_until is not None:
        manifest["learned_until"] = learned_until
    name = name_of(manifest)
    try:
        _write(folder, name, manifest)
    except OSError as error:
        raise BundleUnreachable(
            gettext(
                "Bundle %(bundle)s could not be written (%(error)s), and nothing of it was left behind. Make room in "
                "%(folder)s and in the bundle storage, and let the user of this process write there. Then train again."
            )
            % {"bundle": name[:12], "error": error, "folder": _cache()}
        ) from error
    bundle, _ = Bundle.objects.get_or_create(
        name=name, defaults={"is_trained": is_trained, "encoder_hash": encoder_hash, "manifest": manifest}
    )
    if bundle.state == Bundle.State.QUARANTINED:
        bundle.state, bundle.manifest = Bundle.State.CANDIDATE, manifest
        bundle.save(update_fields=["state", "manifest"])
    return bundle


def fetch(name: str) -> Path:
    """A verified local copy of a bundle; a broken copy is fetched again, once.

    Raises BundleError where the published bundle itself is broken or gone, BundleUnreachable where the storage does
    not answer or this process may not use its own cache.
    """
    local = _cache() / name
    try:
        return _verified(local) or _downloaded(name, local)
    except OSError as error:
        raise BundleUnreachable(
            gettext(
                "The copies of bundles in %(folder)s cannot be read or written by this process (%(error)s). Make the "
                "user that it runs as owner of this folder, or name another one in RECOMMENDER['DIRECTORY']."
            )
            % {"folder": local.parent, "error": error}
        ) from error


def _write(folder: Path, name: str, manifest: dict[str, Any]) -> None:
    """Make the local and the published copy whole; what failed half-way is deleted."""
    local = _cache() / name
    is_here = _verified(local) is not None
    if not is_here:
        _settle(folder, local, manifest)
    try:
        _publish(local, name, manifest)
    except BaseException:
        if not is_here:
            shutil.rmtree(local)
        raise


def _verified(local: Path) -> Path | None:
    """The local copy, or None: where it was broken, it is deleted."""
    if not local.is_dir():
        return None
    try:
        verify(local, name=local.name)
    except BundleError as error:
        logger.warning("the local copy of bundle %s is broken and fetched again: %s", local.name, error)
        shutil.rmtree(local)
        return None
    return local


def delete(bundle: Bundle) -> None:
    """Delete the published files and the local copy."""
    _unpublish(bundle.name, bundle.manifest.get("files", {}))
    shutil.rmtree(_cache() / bundle.name, ignore_errors=True)


def _unpublish(name: str, files: Iterable[str]) -> None:
    """Delete the published files, the manifest first: half a bundle is never fetched."""
    storage = conf.bundle_storage()
    for file in (MANIFEST, *files):
        storage.delete(f"{name}/{file}")
    if isinstance(storage, FileSystemStorage):
        storage.delete(name)  # the empty folder


def _settle(source: Path, target: Path, manifest: dict[str, Any]) -> None:
    """Copy beside the target, flush to disk, manifest last, then rename: the target is complete or absent."""
    draft = Path(tempfile.mkdtemp(prefix=f"{target.name}.new-", dir=_created(target.parent)))
    try:
        for file in manifest["files"]:
            shutil.copyfile(source / file, draft / file)
            _flush(draft / file)
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
        _flush(draft / MANIFEST)
    except BaseException:
        shutil.rmtree(draft)
        raise
    _rename(draft, target)


def _rename(draft: Path, target: Path) -> None:
    _flush(draft)
    try:
        draft.rename(target)
    except OSError:
        shutil.rmtree(draft)
        if not target.is_dir():  # else another process was faster, with the same files
            raise
    _flush(target.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(local: Path, name: str, manifest: dict[str, Any]) -> None:
    """Copy the files to the storage, unless they are all there and whole; what it left half-way is deleted."""
    if _is_published(name, manifest):
        return
    _unpublish(name, manifest["files"])
    storage = conf.bundle_storage()
    try:
        for file in (*manifest["files"], MANIFEST):
            with (local / file).open("rb") as content:
                storage.save(f"{name}/{file}", File(content))
    except BaseException:
        _unpublish(name, manifest["files"])
        raise


def _is_published(name: str, manifest: dict[str, Any]) -> bool:
    storage = conf.bundle_storage()
    if not storage.exists(f"{name}/{MANIFEST}"):
        return False
    try:
        with storage.open(f"{name}/{MANIFEST}") as published:
            if json.load(published)["files"] != manifest["files"]:
                return False
        return all(
            _digest_in(storage, f"{name}/{file}") == entry["sha256"] for file, entry in manifest["files"].items()
        )
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _digest_in(storage: Storage, path: str) -> str:
    digest = hashlib.sha256()
    with storage.open(path) as file:
        for chunk in file.chunks():
            digest.update(chunk)
    return digest.hexdigest()


def _downloaded(name: str, target: Path) -> Path:
    draft = Path(tempfile.mkdtemp(prefix=f"{name}.new-", dir=_created(target.parent)))
    try:
        _copy_from_storage(name, [MANIFEST], draft)
        _copy_from_storage(name, read_manifest(draft)["files"], draft)
        verify(draft, name=name)
    except BaseException:
        shutil.rmtree(draft)
        raise
    _rename(draft, target)
    return target


def _copy_from_storage(name: str, files: Iterable[str], folder: Path) -> None:
    storage = conf.bundle_storage()
    for file in files:
        try:
            with storage.open(f"{name}/{file}") as source, (folder / file).open("wb") as copy:
                shutil.copyfileobj(source, copy)
        except FileNotFoundError as error:
            raise BundleError(
                gettext(
                    "Bundle %(bundle)s has no %(file)s in the bundle storage. Check that every host sees the storage "
                    "that RECOMMENDER['BUNDLE_STORAGE'] names; otherwise roll back, or train again."
                )
                % {"bundle": name[:12], "file": file}
            ) from error
        except OSError as error:
            raise BundleUnreachable(
                gettext("The bundle storage does not answer for %(file)s: %(error)s")
                % {"file": f"{name[:12]}/{file}", "error": error}
            ) from error
        _flush(folder / file)


def _cache() -> Path:
    return conf.directory() / "cache"


def _created(folder: Path) -> Path:
    conf.make_directory()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
