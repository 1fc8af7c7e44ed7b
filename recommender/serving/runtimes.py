"""Encodes many texts in the fastest runtime that finds the same neighbours as ONNX Runtime, which encodes queries.

OpenVINO computes in bfloat16 where the processor can: `benchmarks.encoding` prints what that gains and what it changes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from recommender.types import FloatArray

if TYPE_CHECKING:
    from recommender.serving.ranker import Ranker

logger = logging.getLogger(__name__)

LEAST_TEXTS = 2_000
"""Fewer are encoded in less time than another runtime takes to start and to be compared."""

MOST_SAMPLED, N_SAMPLE, N_NEAREST = 5_000, 256, 10
LEAST_AGREEMENT, TIE = 0.98, 0.002
"""Share of the nearest texts that must be right. One that is nearer than the last right one, less `TIE`, is right too:
it is a near duplicate, whose order no shopper can tell."""

LEAST_GAIN = 1.1
"""How many times as fast another runtime must be."""


class Runtime(Protocol):
    """What computes encoder.onnx, called as ONNX Runtime's `InferenceSession` is."""

    def run(self, names: None, feeds: Mapping[str, npt.NDArray[Any]]) -> Sequence[Any]:
        """Return [vectors (n, d) float32] of input_ids and attention_mask (n, length) int64."""


class OpenVino:
    """OpenVINO, in bfloat16 where the processor has instructions for it; one thread uses it at a time."""

    def __init__(self, path: Path, *, n_threads: int = 1) -> None:
        import openvino

        options = {"INFERENCE_NUM_THREADS": n_threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "bf16"}
        self._request = openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()

    def run(self, names: None, feeds: Mapping[str, npt.NDArray[Any]]) -> Sequence[Any]:
        """As `Runtime.run`."""
        return [self._request.infer(dict(feeds))[0].copy()]


def fastest(ranker: Ranker, path: Path, texts: Sequence[str]) -> Ranker:
    """The ranker with the runtime that is to encode texts such as these; itself where none is faster and agrees.

    path: the encoder.onnx of its bundle. A runtime that is not installed or fails is left out, with a line in the log.
    """
    try:
        other = ranker.with_encoder(OpenVino(path))
        return other if _is_better(other, ranker, _sample(texts)) else ranker
    except ImportError:
        return ranker
    except Exception as error:  # of another library, whose errors have no common class: ONNX Runtime does the work
        logger.warning("OpenVINO cannot compute %s, ONNX Runtime encodes: %s", path.name, error)
        return ranker


def agreement(vectors: FloatArray, exact: FloatArray) -> float:
    """Return the share of the `N_NEAREST` nearest rows of each row that are nearest by the exact vectors too.

    Both are (n, d) of unit length, n > 1.
    """
    k = min(N_NEAREST, len(exact) - 1)
    similarity, right = vectors @ vectors.T, exact @ exact.T
    for matrix in (similarity, right):
        np.fill_diagonal(matrix, -np.inf)
    nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    last = -np.partition(-right, k - 1, axis=1)[:, k - 1]
    return float((np.take_along_axis(right, nearest, axis=1) >= last[:, None] - TIE).mean())


def _is_better(other: Ranker, ranker: Ranker, texts: Sequence[str]) -> bool:
    exact, seconds = _timed(ranker, texts)
    vectors, other_seconds = _timed(other, texts)
    agreed, gain = agreement(vectors, exact), seconds / max(other_seconds, 1e-9)
    is_better = agreed >= LEAST_AGREEMENT and gain >= LEAST_GAIN
    logger.info(
        "OpenVINO %s: %.2f times as fast as ONNX Runtime, %.3f of the neighbours agree",
        "encodes" if is_better else "does not encode",
        gain,
        agreed,
    )
    return is_better


def _timed(ranker: Ranker, texts: Sequence[str]) -> tuple[FloatArray, float]:
    ranker.encode(texts[:1])  # the first call of a runtime allocates
    started = time.perf_counter()
    vectors = ranker.encode(texts)
    return vectors, time.perf_counter() - started


def _sample(texts: Sequence[str]) -> list[str]:
    """Distinct texts from the whole catalogue."""
    distinct = list(dict.fromkeys(texts))
    return distinct[:: max(1, len(distinct) // N_SAMPLE)][:N_SAMPLE]
