"""A shop with real translations and a tree, by django-parler, -modeltranslation and -mptt, in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_shop_with_translated_texts_gets_everything(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "pytest.ini", "."],
        cwd=ROOT / "tests" / "languages_shop",
        env=kept | {"PYTHONPATH": str(ROOT), "LANGUAGES_VAR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
