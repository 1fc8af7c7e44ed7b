"""The folders of runs: what a training has read and learned so far lies there until it ends; its log stays."""

from __future__ import annotations

import shutil
from pathlib import Path

from django.db import router

from recommender import conf
from recommender.models import Run
from recommender.models.connections import writing

LOG = "log.txt"
HELD = (Run.State.RUNNING, Run.State.CANCELLING)


def clear_all() -> list[str]:
    """Delete the copies of behaviour that runs have left on this host; return their paths below the folder of runs.

    A run that waits to be resumed reads its data anew. The folder of a run that is being trained is left alone. One
    query for each folder.
    """
    folder = conf.directory() / "runs"
    paths = sorted(path for path in folder.iterdir() if path.name.isdecimal()) if folder.is_dir() else []
    return [file for path in paths if path.is_dir() for file in _clear_unless_held(path)]


def clear(folder: Path) -> list[Path]:
    """Delete everything in the folder of a run but its log; return the files that it had."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != LOG]
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOG:
            path.unlink()
    return files


def _clear_unless_held(folder: Path) -> list[str]:
    """With the run's row locked, so that no worker leases it meanwhile."""
    with writing(using=router.db_for_write(Run)):
        run = Run.objects.select_for_update().filter(pk=int(folder.name)).first()
        if run is not None and run.state in HELD:
            return []
        return [f"{folder.name}/{file.relative_to(folder)}" for file in clear(folder)]
