"""The models that score candidates at serving time, as plain arrays: additive head, mixture with trees, click to buy.

They are trained in `ml` and stored as JSON in the bundle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recommender.exceptions import BundleError
from recommender.types import FloatArray, Slot

FORMAT = 1
NEWCOMERS = "newcomer_gain"
"""Name of the threshold for visitors without a history: the lower bound of the head's gain over bestsellers."""

NEW_SHARE, DEFAULT_NEW_SHARE = "new_share", 0.5
"""Name of the least share of "for you" that is new to the shopper, and that share where validation chose none."""

CLICK = "click"
EVENTS = (CLICK, "cart", "buy")
"""What a list may lead to, the most frequent first."""

HEAD_ARRAYS = ("mean", "scale", "knots", "linear", "bends", "raw", "probability")


@dataclass(frozen=True, slots=True)
class Head:
    """An additive logistic model: the log-odds are a sum of piecewise-linear functions of single features.

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
        for knot, bend in zip(self.knots.T, self.bends.T, strict=True):
            total += np.maximum(value - knot, 0) * bend
        return total.astype(np.float32)

    def logits(self, rows: FloatArray) -> FloatArray:
        """Return (n,) float32 log-odds before calibration."""
        return (self.contributions(rows).sum(axis=1) + self.bias).astype(np.float32)

    def calibrate(self, logits: FloatArray) -> FloatArray:
        """Return (n,) float32 probabilities, strictly ascending in the logit inside the table and beyond it."""
        return np.interp(logits, self.raw, self.probability).astype(np.float32)

    def to_json(self) -> str:
        record = {"format": FORMAT, "event": self.event, "horizon_days": self.horizon_days}
        record |= {"names": list(self.names), "bias": self.bias, "seen": sorted(self.seen)}
        return json.dumps(record | _lists_of(self, HEAD_ARRAYS))

    @classmethod
    def from_json(cls, text: str) -> Head:
        """Read what `to_json` wrote. Raises BundleError for another format."""
        record = _read(text, "head.json")
        names = tuple(record["names"])
        arrays = {name: np.asarray(record[name], np.float32) for name in HEAD_ARRAYS}
        arrays |= {name: arrays[name].reshape(len(names), -1) for name in ("knots", "bends")}
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
    """The weighted sum of the additive head and a forest of trees, each standardised.

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
        record = {"format": FORMAT, "shift": self.shift, "scale": self.scale, "weight": self.weight}
        return json.dumps(record | _lists_of(self, ("raw", "probability")))

    @classmethod
    def from_json(cls, text: str) -> Mixture:
        """Read what `to_json` wrote. Raises BundleError for another format."""
        record = _read(text, "mixture.json")
        pairs = {name: tuple(map(float, record[name])) for name in ("shift", "scale", "weight")}
        tables = {name: np.asarray(record[name], np.float32) for name in ("raw", "probability")}
        return cls(**pairs, **tables)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Heads:
    """P(click | looked at), and for each later event P(event | click); events with too little data have no head.

    P(buy) = P(click) · P(buy | click) (Ma et al. 2018, equation 1), so that no event is likelier than the click that it
    needs. orders: whether lists are sorted by this P(buy); curves (n_positions,) by slot: how often a position is
    looked at, relative to the first one, for explanations.
    """

    click: Head
    after: Mapping[str, Head] = field(default_factory=dict)
    orders: bool = False
    curves: Mapping[Slot, FloatArray] = field(default_factory=dict)

    @property
    def events(self) -> tuple[str, ...]:
        """The events that have a probability, in the order of `EVENTS`."""
        return tuple(name for name in EVENTS if name == CLICK or name in self.after)

    def probabilities(self, rows: FloatArray) -> dict[str, FloatArray]:
        """Return (n,) float32 of each event, given that the item is looked at; rows (n, f)."""
        click = self.click.calibrate(self.click.logits(rows))
        return {CLICK: click} | {
            name: click * self.after[name].calibrate(self.after[name].logits(rows)) for name in self.events[1:]
        }

    def order(self, rows: FloatArray) -> FloatArray | None:
        """Return (n,) float32 to sort a list by; None if the heads do not sort lists."""
        return self.probabilities(rows)["buy"] if self.orders else None

    def to_json(self) -> str:
        heads = {CLICK: self.click, **self.after}
        curves = {slot.value: np.asarray(curve, float).round(5).tolist() for slot, curve in self.curves.items()}
        record = {"format": FORMAT, "orders": self.orders, "examination": curves}
        return json.dumps(record | {"heads": {name: json.loads(head.to_json()) for name, head in heads.items()}})

    @classmethod
    def from_json(cls, text: str) -> Heads:
        """Read what `to_json` wrote. Raises BundleError for another format."""
        record = _read(text, "heads.json")
        heads = {name: Head.from_json(json.dumps(head)) for name, head in record["heads"].items()}
        curves = {Slot(name): np.asarray(curve, np.float32) for name, curve in record["examination"].items()}
        return cls(heads.pop(CLICK), heads, bool(record["orders"]), curves)


def _lists_of(model: Head | Mixture, names: Sequence[str]) -> dict[str, Any]:
    return {name: np.asarray(getattr(model, name), np.float64).round(7).tolist() for name in names}


def _read(text: str, file_name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(text)
    if record.get("format") != FORMAT:
        raise BundleError(f"{file_name} has format {record.get('format')!r}, expected {FORMAT}: train a new bundle.")
    return record
