"""Writes what a run made into a folder that `serving.ranker` can load; the manifest is written by `bundles`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recommender.features import FEATURE_NAMES
from recommender.ml.artifacts import Artifacts
from recommender.ml.context.model import INPUTS, export_context
from recommender.ml.encoder.model import MAX_TOKENS, Encoder, export_onnx, load_encoder
from recommender.ml.hardware import limit_threads
from recommender.ml.head import trees
from recommender.types import FloatArray

FORMAT = 1
FOREST = "forest.onnx"
GOLDEN_TEXT = "red heart t-light holder"


def write(artifacts: Artifacts, folder: Path) -> None:
    """Write encoder.onnx, tokenizer.json, encoder.json, golden.json and what else was trained."""
    _write_encoder(artifacts.encoder, folder)
    if artifacts.adapter is not None:
        artifacts.adapter.write(folder)
    if artifacts.context is not None and artifacts.delta is not None:
        export_context(artifacts.context, folder / "context.onnx")
        _dump(folder / "context.json", {"format": FORMAT, "inputs": list(INPUTS)})
        np.save(folder / "delta.npy", artifacts.delta.astype(np.float32), allow_pickle=False)
        _dump(folder / "delta_ids.json", list(artifacts.items.ids))
    golden: dict[str, Any] = {"text": GOLDEN_TEXT}
    golden["vector"] = artifacts.encoder.encode([GOLDEN_TEXT])[0].astype(float).round(6).tolist()
    if artifacts.head is not None and artifacts.baseline is not None:
        (folder / "head.json").write_text(artifacts.head.to_json())
        (folder / "baseline.json").write_text(artifacts.baseline.to_json())
        _dump(folder / "thresholds.json", artifacts.thresholds)
        rows = np.linspace(0, 1, len(FEATURE_NAMES), dtype=np.float32)[None, :]
        golden["logit"] = float(artifacts.head.logits(rows)[0])
        if artifacts.forest is not None:
            trees.export(artifacts.forest.boosters, folder / FOREST, n_features=rows.shape[1], sample=_sample(rows))
            (folder / "mixture.json").write_text(artifacts.forest.mixture.to_json())
            golden["mixed"] = float(artifacts.forest.scores(artifacts.head, rows)[0])
    if artifacts.heads is not None:
        (folder / "heads.json").write_text(artifacts.heads.to_json())
        chances = artifacts.heads.probabilities(np.linspace(0, 1, len(FEATURE_NAMES), dtype=np.float32)[None, :])
        golden["chances"] = {name: float(chance[0]) for name, chance in chances.items()}
    _dump(folder / "golden.json", golden)


def _sample(rows: FloatArray) -> FloatArray:
    """Rows (200, f) between 0 and a few times 1, for the parity of what was exported."""
    return np.random.default_rng(0).exponential(0.7, (200, rows.shape[1])).astype(np.float32)


def export_untrained(spec: str, folder: Path, *, texts: Sequence[str] = (), seed: int = 0) -> None:
    """Write bundle 0: the encoder as it came; `texts` are needed only for "scratch"."""
    limit_threads()
    encoder = load_encoder(spec, texts, seed=seed)
    _write_encoder(encoder, folder)
    vector = encoder.encode([GOLDEN_TEXT])[0].astype(float).round(6).tolist()
    _dump(folder / "golden.json", {"text": GOLDEN_TEXT, "vector": vector})


def _write_encoder(encoder: Encoder, folder: Path) -> None:
    export_onnx(encoder, folder)
    digest = hashlib.sha256()
    for name in ("encoder.onnx", "tokenizer.json"):
        digest.update((folder / name).read_bytes())
    record = {"format": FORMAT, "name": Path(encoder.name).name, "dimension": encoder.dimension}
    _dump(folder / "encoder.json", record | {"max_tokens": MAX_TOKENS, "hash": digest.hexdigest()[:32]})


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
