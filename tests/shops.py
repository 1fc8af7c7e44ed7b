"""Shops in processes of their own: nothing of this project reaches them but what they install."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
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
