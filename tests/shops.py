"""Shops in processes of their own: nothing of this project reaches them but what they install."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
README = ROOT / "README.md"
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS")


def drive(
    shop: Path, *command: str, python: str | Path = sys.executable, root: Path | None = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in the shop's folder; `root` is where `recommender` is imported from, None for what is installed."""
    inherited = {name: value for name, value in os.environ.items() if name in INHERITED}
    sources = {"PYTHONPATH": str(root)} if root else {}
    return subprocess.run(
        [str(python), *command],
        cwd=shop,
        env=inherited | sources | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def succeed(ended: subprocess.CompletedProcess[str]) -> str:
    """What the process printed; fails with its last words where it failed."""
    assert ended.returncode == 0, f"{ended.args}\n{ended.stdout[-6000:]}{ended.stderr[-3000:]}"
    return ended.stdout + ended.stderr


def install_wheel(wheel: Path, home: Path) -> Path:
    """Python of a fresh virtual environment with the wheel; other packages it finds where this one has them."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")  # that folder's own .pth files are not read
    return python


@dataclass(frozen=True)
class Shop:
    """One of the shops here as its owner has it: a copy in a folder of its own, run by an installed Python."""

    folder: Path
    python: Path

    @classmethod
    def copy(cls, name: str, *, folder: Path, python: Path) -> Shop:
        shutil.copytree(TESTS / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
        return cls(folder, python)

    def run(self, *command: str) -> str:
        """What Python printed; `recommender` is found only where it is installed."""
        return succeed(drive(self.folder, *command, python=self.python, root=None))

    def manage(self, line: str) -> str:
        """A command line that begins with `python manage.py`, without that."""
        return self.run("manage.py", *shlex.split(line, comments=True))

    def answer(self, code: str) -> Any:
        """The JSON that the code prints last, run in the shop's shell."""
        return json.loads(self.run("manage.py", "shell", "--no-imports", "-c", code).splitlines()[-1])

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()

    def write(self, path: str, text: str) -> None:
        (self.folder / path).write_text(text)


def readme_blocks() -> dict[str, str]:
    """What the README's section on installing says, by the name of the file that a block is for; commands have none."""
    section = README.read_text().partition("## Install into your shop\n")[2].partition("\n## ")[0]
    blocks: dict[str, str] = {}
    for text in re.findall(r"^```\w*\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
        first, _, rest = text.partition("\n")
        file = re.match(r"(?:#|\{#) [\w/]*?(\w+\.\w+)\b", first)
        name, lines = (file[1], rest) if file else ("", text)
        blocks[name] = blocks.get(name, "") + lines
    return blocks
