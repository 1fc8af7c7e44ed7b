"""The benchmark of scale runs at a small size and prints its ratios."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_small_archive_prints_seconds_memory_and_ratios(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.scale", "--events", "20000", "--visitors", "2000", "--items", "400"]
    finished = subprocess.run(
        [*command, "--json", str(tmp_path / "figures.json")], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert "ratio_of_night" in finished.stdout
    rows = json.loads((tmp_path / "figures.json").read_text())
    assert [row["events"] for row in rows] == [200, 2_000]
    assert all(row["memory_gb"] > 0 and row["ratio_of_night"] > 0 for row in rows)
