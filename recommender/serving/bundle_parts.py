"""The parts of a bundle, read from its folder: encoder, tokenizer, context model, head, trees and their thresholds.

Every part is checked against what this version computes; a part that does not fit raises `BundleError`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from recommender.bundles.manifest import ARMS
from recommender.exceptions import BundleError
from recommender.features import FEATURE_NAMES
from recommender.features.head import Head, Heads, Mixture
from recommender.retrieval.matching import MATCH_FEATURES
from recommender.serving.runtimes import Runtime
from recommender.types import FloatArray

FORMAT = 1
MATCHER, FOREST, TREES_INPUT = "matcher.onnx", "forest.onnx", "rows"


@dataclass(frozen=True, slots=True)
class BundleParts:
    """What one bundle consists of; an optional part is None or empty in a bundle without it.

    arms: by list ("all", "new"), a head that serves it in place of the bundle's own model.
    delta: by item id (dimension,) float32, how far behaviour moves the item's text vector. golden: an input with its
    output, stored by training.
    """

    name: str
    encoder_hash: str
    dimension: int
    tokenizer: Tokenizer
    encoder: Runtime
    context: onnxruntime.InferenceSession | None
    delta: dict[str, FloatArray]
    head: Head | None
    heads: Heads | None
    thresholds: dict[str, float]
    matcher: onnxruntime.InferenceSession | None
    forest: onnxruntime.InferenceSession | None
    mixture: Mixture | None
    arms: dict[str, Head]
    golden: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, *, n_threads: int = 1, name: str = "") -> BundleParts:
        """Read a folder that training has written. Raises BundleError."""
        record = _record(folder / "encoder.json")
        has_head = (folder / "head.json").is_file()
        try:
            return cls(
                name=name or folder.name,
                encoder_hash=str(record["hash"]),
                dimension=int(record["dimension"]),
                tokenizer=_tokenizer(folder / "tokenizer.json", int(record["max_tokens"])),
                encoder=_session(folder / "encoder.onnx", n_threads),
                context=_optional_session(folder / "context.onnx", n_threads),
                delta=_delta(folder),
                head=_head(folder / "head.json") if has_head else None,
                heads=_heads(folder / "heads.json"),
                thresholds=_json(folder / "thresholds.json") if has_head else {},
                matcher=_matcher(folder, n_threads),
                forest=_optional_session(folder / FOREST, n_threads),
                mixture=_mixture(folder / "mixture.json"),
                arms=_arms(folder / ARMS),
                golden=_json(folder / "golden.json"),
            )
        except (BundleError, MemoryError, PermissionError):  # the last two are faults of this process, not the bundle
            raise
        except Exception as error:  # every library has its own error for a broken file
            raise BundleError(f"Bundle {folder.name} cannot be read ({error}): roll back, or train again.") from error

    @property
    def n_circumstances(self) -> int | None:
        """How many circumstances the context model was trained with; later versions append to the list."""
        inputs = self.context.get_inputs() if self.context is not None else ()
        return next((int(entry.shape[1]) for entry in inputs if entry.name == "circumstances"), None)


def _tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return tokenizer


def _session(path: Path, n_threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _optional_session(path: Path, n_threads: int) -> onnxruntime.InferenceSession | None:
    return _session(path, n_threads) if path.is_file() else None


def _head(path: Path) -> Head:
    head = Head.from_json(path.read_text(encoding="utf-8"))
    _check_names(path, head.names, FEATURE_NAMES)
    return head


def _heads(path: Path) -> Heads | None:
    if not path.is_file():
        return None
    heads = Heads.from_json(path.read_text(encoding="utf-8"))
    for head in (heads.click, *heads.after.values()):
        _check_names(path, head.names, FEATURE_NAMES)
    return heads


def _matcher(folder: Path, n_threads: int) -> onnxruntime.InferenceSession | None:
    session = _optional_session(folder / MATCHER, n_threads)
    if session is not None:
        _check_names(folder / MATCHER, _record(folder / "matcher.json")["names"], MATCH_FEATURES)
    return session


def _check_names(path: Path, trained: tuple[str, ...], computed: tuple[str, ...]) -> None:
    if tuple(trained) != computed:
        raise BundleError(f"{path.name} was trained on other features than this version computes: train a new bundle.")


def _mixture(path: Path) -> Mixture | None:
    return Mixture.from_json(path.read_text()) if path.is_file() else None


def _arms(path: Path) -> dict[str, Head]:
    if not path.is_file():
        return {}
    arms = {scope: Head.from_json(json.dumps(arm["head"])) for scope, arm in _json(path).items()}
    for head in arms.values():
        _check_names(path, head.names, FEATURE_NAMES)
    return arms


def _delta(folder: Path) -> dict[str, FloatArray]:
    path = folder / "delta.npy"
    if not path.is_file():
        return {}
    rows: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
    ids = _json(folder / "delta_ids.json")
    if len(ids) != len(rows):
        raise BundleError(f"delta.npy has {len(rows)} rows for {len(ids)} items: roll back, or train again.")
    return dict(zip(ids, rows, strict=True))


def _record(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = _json(path)
    if record.get("format") != FORMAT:
        raise BundleError(f"{path.name} has format {record.get('format')!r}, expected {FORMAT}: train a new bundle.")
    return record


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # the last for what is nested thousands of levels deep
        raise BundleError(f"{path.name} is missing or broken ({error}): roll back, or train again.") from error
