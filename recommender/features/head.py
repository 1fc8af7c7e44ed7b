"""The head as numbers: features in, contributions and calibrated probabilities out. Trained in `ml`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.exceptions import BundleError
from recommender.types import FloatArray

FORMAT = 1
NEWCOMERS = "newcomer_gain"
"""Name of the threshold that tells by how much, surely, the head beats bestsellers for visitors without a past."""


@dataclass(frozen=True, slots=True)
class Head:
    """An additive logistic model: each feature speaks through a piecewise-linear function of its own value.

    names (f,); mean and scale (f,): standardisation; knots (f, k): hinges in standardised units, ascending; linear
    (f,) and bends (f, k): slope of the feature and change of the slope after each knot; `seen`: features that varied
    in training; raw and probability (m,): the calibrator as a table, ascending. With bends of 0 this is plain logistic
    regression; with bends a generalised additive model (Hastie and Tibshirani 1986).
    """

    event: str
    horizon_days: float
    names: tuple[str, ...]
    mean: FloatArray
    scale: FloatArray
    knots: FloatArray
    linear: FloatArray
    bends: FloatArray
    bias: float
    seen: frozenset[str]
    raw: FloatArray
    probability: FloatArray

    def contributions(self, rows: FloatArray) -> FloatArray:
        """Return (n, f) float32: what each feature adds to the log-odds; rows (n, f)."""
        value = np.clip((rows - self.mean) / self.scale, -8, 8)
        total = value * self.linear
        for place in range(self.knots.shape[1]):
            total += np.maximum(value - self.knots[:, place], 0) * self.bends[:, place]
        return total.astype(np.float32)

    def logits(self, rows: FloatArray) -> FloatArray:
        """Return (n,) float32 log-odds before calibration."""
        return (self.contributions(rows).sum(axis=1) + self.bias).astype(np.float32)

    def calibrate(self, logits: FloatArray) -> FloatArray:
        """Return (n,) float32 probabilities, strictly ascending in the logit inside the table and beyond it."""
        return np.interp(logits, self.raw, self.probability).astype(np.float32)

    def to_json(self) -> str:
        """Write every number as text."""
        record: dict[str, Any] = {"format": FORMAT, "event": self.event, "horizon_days": self.horizon_days}
        record |= {"names": list(self.names), "bias": self.bias, "seen": sorted(self.seen)}
        for name in ("mean", "scale", "knots", "linear", "bends", "raw", "probability"):
            record[name] = np.asarray(getattr(self, name), np.float64).round(7).tolist()
        return json.dumps(record)

    @classmethod
    def from_json(cls, text: str) -> Head:
        """Read what `to_json` wrote. Raises BundleError for another format."""
        record: Mapping[str, Any] = json.loads(text)
        if record.get("format") != FORMAT:
            raise BundleError(f"head.json has format {record.get('format')!r}, expected {FORMAT}: train a new bundle.")
        arrays: dict[str, npt.NDArray[np.float32]] = {
            name: np.asarray(record[name], np.float32)
            for name in ("mean", "scale", "knots", "linear", "bends", "raw", "probability")
        }
        names = tuple(record["names"])
        arrays["knots"] = arrays["knots"].reshape(len(names), -1)
        arrays["bends"] = arrays["bends"].reshape(len(names), -1)
        return cls(
            event=record["event"],
            horizon_days=float(record["horizon_days"]),
            names=names,
            bias=float(record["bias"]),
            seen=frozenset(record["seen"]),
            **arrays,
        )


@dataclass(frozen=True, slots=True)
class Mixture:
    """The additive head and a forest of trees as one score: each brought to mean 0 and deviation 1, weighted, summed.

    shift, scale, weight: of the head's log-odds and of the forest's score, in this order; raw and probability (m,): the
    calibrator of the sum.
    """

    shift: tuple[float, float]
    scale: tuple[float, float]
    weight: tuple[float, float]
    raw: FloatArray
    probability: FloatArray

    def scores(self, additive: FloatArray, forest: FloatArray) -> FloatArray:
        """Return (n,) float32 before calibration; both inputs (n,)."""
        parts = zip((additive, forest), self.shift, self.scale, self.weight, strict=True)
        total = sum(weight * (part - shift) / scale for part, shift, scale, weight in parts)
        return np.asarray(total, np.float32)

    def calibrate(self, scores: FloatArray) -> FloatArray:
        """Return (n,) float32 probabilities."""
        return np.interp(scores, self.raw, self.probability).astype(np.float32)

    def to_json(self) -> str:
        """Write every number as text."""
        record: dict[str, Any] = {"format": FORMAT, "shift": self.shift, "scale": self.scale, "weight": self.weight}
        record |= {
            name: np.asarray(getattr(self, name), np.float64).round(7).tolist() for name in ("raw", "probability")
        }
        return json.dumps(record)

    @classmethod
    def from_json(cls, text: str) -> Mixture:
        """Read what `to_json` wrote. Raises BundleError for another format."""
        record: Mapping[str, Any] = json.loads(text)
        if record.get("format") != FORMAT:
            raise BundleError(f"mixture.json has format {record.get('format')!r}, not {FORMAT}: train a new bundle.")
        shift, scale, weight = (
            (float(one), float(two)) for one, two in map(record.__getitem__, ("shift", "scale", "weight"))
        )
        raw, probability = (np.asarray(record[name], np.float32) for name in ("raw", "probability"))
        return cls(shift, scale, weight, raw, probability)
