"""The heads on lists that were shown: features in, P(click), P(cart) and P(buy) out. Trained in `ml`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from recommender.exceptions import BundleError
from recommender.features.head import Head
from recommender.types import FloatArray, Slot

FORMAT = 1
CLICK = "click"
EVENTS = (CLICK, "cart", "buy")
"""What may follow from a place of a list, the most frequent first."""


@dataclass(frozen=True, slots=True)
class Heads:
    """P(click | looked at), and of each other event P(event | click); an event that was hardly ever seen has no head.

    The space of a list is modelled whole: P(buy) = P(click) · P(buy | click) (Ma et al. 2018, equation 1), so that no
    event is ever likelier than the click that it needs. `orders`: whether lists that go by P(buy) go by this one.
    curves (n_positions,) of each slot: how often a place is looked at against the first one, for who explains.
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
        """Return (n,) float32 of each event, for an item that is looked at; rows (n, f)."""
        click = self.click.calibrate(self.click.logits(rows))
        return {CLICK: click} | {
            name: click * self.after[name].calibrate(self.after[name].logits(rows)) for name in self.events[1:]
        }

    def order(self, rows: FloatArray) -> FloatArray | None:
        """Return (n,) float32 to order a list by; None where the heads do not order lists."""
        return self.probabilities(rows)["buy"] if self.orders else None

    def to_json(self) -> str:
        """Write every number as text."""
        heads = {CLICK: self.click, **self.after}
        curves = {slot.value: np.asarray(curve, float).round(5).tolist() for slot, curve in self.curves.items()}
        record = {"format": FORMAT, "orders": self.orders, "examination": curves}
        return json.dumps(record | {"heads": {name: json.loads(head.to_json()) for name, head in heads.items()}})

    @classmethod
    def from_json(cls, text: str) -> Heads:
        """Read what `to_json` wrote. Raises BundleError for another format."""
        record = json.loads(text)
        if record.get("format") != FORMAT:
            raise BundleError(f"heads.json has format {record.get('format')!r}, expected {FORMAT}: train a new bundle.")
        heads = {name: Head.from_json(json.dumps(head)) for name, head in record["heads"].items()}
        curves = {Slot(name): np.asarray(curve, np.float32) for name, curve in record["examination"].items()}
        return cls(heads.pop(CLICK), heads, bool(record["orders"]), curves)
