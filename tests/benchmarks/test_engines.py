"""The benchmark of vector engines in its small setting."""

from __future__ import annotations

import re

import pytest

from benchmarks import engines


def test_engines_find_nearly_what_the_scan_finds_and_the_figures_stand_beside_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    assert engines.main(["--items", "10000", "--searches", "20"]) == 0
    printed = capsys.readouterr().out
    names = re.findall(r"^(exact scan|Milvus|pgvector): ", printed, re.MULTILINE)
    assert names == ["exact scan", "Milvus", "pgvector"]
    recalls = [float(recall) for recall in re.findall(r"recall (\d\.\d+), p50 [\d.]+ ms, p99 [\d.]+ ms, ", printed)]
    assert recalls[:2] == [1.0, 1.0]
    assert len(recalls) == 6
    assert min(recalls) >= engines.LEAST_RECALL


def test_recall_below_the_limit_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    monkeypatch.setattr(engines, "LEAST_RECALL", 1.01)
    assert engines.main(["--items", "300", "--searches", "2"]) == 1
    assert "MISSED" in capsys.readouterr().out
