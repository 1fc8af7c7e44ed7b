"""Hides the packages that ABSENT_PACKAGES names from every Python process that finds this folder in PYTHONPATH, so that
it is as if they were not installed."""

import os
import sys

for _name in os.environ.get("ABSENT_PACKAGES", "").split():
    sys.modules[_name] = None  # type: ignore[assignment]  # to import it raises ModuleNotFoundError
