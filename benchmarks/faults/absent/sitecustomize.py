"""Hides the packages that ABSENT_PACKAGES names from every Python process that finds this folder in PYTHONPATH, so that
it is as if they were not installed."""

import os
import sys
from importlib.machinery import PathFinder
from typing import Any


class HidingFinder(PathFinder):
    """Finds what the usual one finds, but for the absent packages."""

    absent = frozenset(os.environ.get("ABSENT_PACKAGES", "").split())

    @classmethod
    def find_spec(cls, fullname: str, *where: Any, **named: Any) -> Any:
        return None if fullname.partition(".")[0] in cls.absent else super().find_spec(fullname, *where, **named)


sys.meta_path[sys.meta_path.index(PathFinder)] = HidingFinder
