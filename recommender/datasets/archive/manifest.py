"""Lists the files of the archive: a file counts only once a manifest names it, with its size and its sha256.

Every change writes a manifest of the next number beside the last one. It has a hash of itself, so that one that was cut
off is passed over for the one before.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import logging
import re
from dataclasses import dataclass
from typing import Any

from django.core.files.base import ContentFile

from recommender import conf

logger = logging.getLogger(__name__)

FOLDER = "archive"
"""Below the storage of the bundles."""

N_MANIFESTS = 2
"""The newest and the one before it, should the newest be damaged."""


@dataclass(frozen=True, slots=True)
class ArchivedContents:
    """What SQL says of the events of a part. Once it says something else, the part is written anew: rows were deleted
    or lost their query, got a visitor, were corrected, or came late."""

    n_events: int = 0
    sum_of_keys: int = 0
    n_of_visitors: int = 0
    sum_of_visitors: int = 0
    n_queries: int = 0
    quantity: float = 0.0
    first_occurred: str = ""
    last_occurred: str = ""
    first_received: str = ""
    last_received: str = ""


@dataclass(frozen=True, slots=True)
class ArchivedPart:
    """One file: the events of a range of primary keys, both ends included, that were received on one day (UTC).

    keys: a hash of the encryption keys under which it was written.
    """

    name: str
    day: str
    first_pk: int
    last_pk: int
    size: int
    sha256: str
    keys: str
    contents: ArchivedContents


@dataclass(frozen=True, slots=True)
class ArchiveManifest:
    """All events up to the primary key `last_pk` are in `parts`, ascending by primary key and day."""

    number: int = 0
    last_pk: int = 0
    parts: tuple[ArchivedPart, ...] = ()

    @property
    def n_events(self) -> int:
        """How many events the archive holds."""
        return sum(part.contents.n_events for part in self.parts)

    def with_parts(self, parts: list[ArchivedPart], *, last_pk: int) -> ArchiveManifest:
        """Return the next manifest."""
        ordered = sorted(parts, key=lambda part: (part.first_pk, part.day))
        return ArchiveManifest(self.number + 1, last_pk, tuple(ordered))


def exists() -> bool:
    """Has anything been archived, whatever the settings say now?"""
    return bool(_numbers())


def read_manifest() -> ArchiveManifest:
    """The newest manifest that is whole; an empty one where there is none."""
    storage = conf.bundle_storage()
    for number in _numbers():
        try:
            with storage.open(_name_of(number)) as file:
                return _parsed(file.read())
        except (ValueError, LookupError, TypeError) as error:
            logger.warning("the manifest %s is damaged and passed over (%s)", _name_of(number), error)
    return ArchiveManifest()


def write_manifest(manifest: ArchiveManifest) -> None:
    """Publish a manifest, and delete those before the last but one."""
    storage = conf.bundle_storage()
    conf.make_directory()
    values = dataclasses.asdict(manifest)
    content = json.dumps({**values, "sha256": _digest_of(values)}, indent=1).encode()
    storage.delete(_name_of(manifest.number))  # one that was cut off
    storage.save(_name_of(manifest.number), ContentFile(content))
    delete_manifests(but=N_MANIFESTS)


def delete_manifests(*, but: int = 0) -> None:
    """Delete the manifests but the newest ones; without any, no file of the archive counts."""
    for number in _numbers()[but:]:
        conf.bundle_storage().delete(_name_of(number))


def day_of_part(moment: dt.datetime) -> str:
    """The day of receipt by which events are divided, in UTC."""
    return moment.astimezone(dt.UTC).date().isoformat()


def _parsed(content: bytes) -> ArchiveManifest:
    values: dict[str, Any] = json.loads(content)
    if values.pop("sha256") != _digest_of(values):
        raise ValueError("its hash is another one")
    parts = [ArchivedPart(**{**part, "contents": ArchivedContents(**part["contents"])}) for part in values["parts"]]
    return ArchiveManifest(values["number"], values["last_pk"], tuple(parts))


def _digest_of(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _numbers() -> list[int]:
    """The numbers of the manifests that are there, the newest first."""
    try:
        _folders, names = conf.bundle_storage().listdir(FOLDER)
    except FileNotFoundError:
        return []
    matches = [re.fullmatch(r"manifest-(\d{8})\.json", name) for name in names]
    return sorted((int(match[1]) for match in matches if match), reverse=True)


def _name_of(number: int) -> str:
    return f"{FOLDER}/manifest-{number:08d}.json"
