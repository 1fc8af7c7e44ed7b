"""Checks that an exported ONNX file computes what the trained model computes, before anything serves it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.exceptions import RunError

TOLERANCE = 1e-4
"""Largest difference, relative where outputs exceed 1: float32 of two libraries that add up in another order."""

Arrays = Mapping[str, npt.NDArray[Any]]


def check_onnx(path: Path, compute: Callable[[Arrays], npt.NDArray[Any]], batches: Iterable[Arrays]) -> None:
    """Compare the file's first output with `compute(batch)` for each batch of inputs by name. Raises RunError."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in batches:
        expected, exported = compute(batch), session.run(None, dict(batch))[0]
        difference = float(np.abs(expected - exported.reshape(expected.shape)).max(initial=0.0))
        if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0.0))):
            raise RunError(
                f"{path.name} differs from the trained model by {difference:.1e}, allowed is {TOLERANCE:.0e}: do not "
                "use it. Compare the versions of torch, lightgbm and onnxruntime with constraints.txt."
            )
