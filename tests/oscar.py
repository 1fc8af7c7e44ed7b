"""A fresh Oscar project in a temporary folder that follows `docs/oscar.md`, block by block."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHOP = ROOT / "tests" / "oscar_shop"
PAGE = ROOT / "docs" / "oscar.md"
OPTIONAL = "## On the page of the basket"

BLOCK = re.compile(
    r"^```(?:python|django)\n(?:# |\{# )(?P<path>[\w./]+\.(?:py|html))(?: #\})?\n(?P<code>.*?)^```", re.M | re.S
)


def blocks(text: str) -> list[tuple[str, str]]:
    """`(path, code)` of each block of a page that names its file in its first line."""
    return [(block["path"], block["code"]) for block in BLOCK.finditer(text)]


def commands(text: str) -> list[str]:
    """What the page's `sh` blocks give to `python manage.py`."""
    scripts = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    return [line.removeprefix("python manage.py ") for script in scripts for line in script.splitlines()]


def needed(text: str) -> str:
    """The tutorial without what it calls optional."""
    return text.partition(OPTIONAL)[0]


def open_shop(folder: Path, text: str) -> Path:
    """Copy the shop as its owner has it, and apply the blocks of the text."""
    shutil.copytree(SHOP, folder, ignore=shutil.ignore_patterns("__pycache__"))
    apply(text, folder)
    return folder


def apply(text: str, folder: Path) -> None:
    """Write each block at the end of the file that it names."""
    for path, code in blocks(text):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (folder / path).open("a") as file:
            file.write(code)


def run(python: str | Path, *arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the shop as its owner would: with no setting, database or path of this test's process."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE", "PYTHONPATH", "SHOPRECO_VAR")
        and not name.startswith("PYTEST")
    }
    return subprocess.run(
        [str(python), *arguments],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
