"""Arms: heads beside a bundle's own model, each of which orders one list in its place."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from recommender.bundles.manifest import ARMS
from recommender.features.head import Head


@dataclasses.dataclass(frozen=True, slots=True)
class Arm:
    """The head that orders one list, and its name: that of a simple competitor, or of what was trained for the list."""

    name: str
    head: Head


def write_arms(folder: Path, arms: Mapping[str, Arm]) -> None:
    """Write arms beside the files of a bundle; those of lists that are not named stay."""
    if not arms:
        return
    path = folder / ARMS
    stored = json.loads(path.read_text()) if path.is_file() else {}
    added = {scope: {"competitor": arm.name, "head": json.loads(arm.head.to_json())} for scope, arm in arms.items()}
    draft = folder / f"{ARMS}.new"
    draft.write_text(json.dumps(stored | added))
    draft.replace(path)  # in one step: a run that is killed meanwhile reads the folder again
