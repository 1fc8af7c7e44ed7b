"""The knobs of a training that a tuning may turn: name, phase and range. Their defaults stand where they are used.

A value may come from a study, from SQL or from a person, so it is checked wherever it is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext

from recommender.exceptions import ConfigurationError

Values = dict[str, float | int]
PHASES = ("encoder", "context", "head")
"""In the order of the training: each phase of a tuning reuses the results of the phases before it."""


@dataclass(frozen=True, slots=True)
class Knob:
    """`name` is a path into `ml.train.TrainingSettings`; both ends of the range are allowed."""

    name: str
    phase: str
    low: float
    high: float
    is_log: bool = False
    is_whole: bool = False


KNOBS = (
    Knob("tune.learning_rate", "encoder", 1e-5, 5e-4, is_log=True),
    Knob("tune.temperature", "encoder", 0.02, 0.2, is_log=True),
    Knob("tune.share_items", "encoder", 0.1, 0.9),
    Knob("tune.keep", "encoder", 0.0, 2.0),
    # These two decide where every stage ends (at the first moment of the head), so they belong to the first phase.
    Knob("horizon_days", "encoder", 7, 60),
    Knob("n_cutoffs", "encoder", 2, 8, is_whole=True),
    Knob("context.learning_rate", "context", 1e-4, 1e-2, is_log=True),
    Knob("context.temperature", "context", 0.03, 0.3, is_log=True),
    Knob("context.popularity", "context", 0.0, 1.0),
    Knob("context.reach", "context", 0.1, 1.0),
    Knob("context.dropout", "context", 0.0, 0.5),
    Knob("head.learning_rate", "head", 2e-3, 0.1, is_log=True),
    Knob("head.weight_decay", "head", 1e-4, 0.3, is_log=True),
    Knob("head.n_epochs", "head", 4, 40, is_whole=True),
    Knob("head.listwise", "head", 0.1, 4.0, is_log=True),
)
"""Ranges are about a factor of five to each side of what was measured as good, where that makes sense."""

BY_NAME = {knob.name: knob for knob in KNOBS}


def of_phase(phase: str) -> tuple[Knob, ...]:
    """The knobs that one phase turns."""
    return tuple(knob for knob in KNOBS if knob.phase == phase)


def validated(values: Mapping[str, Any]) -> Values:
    """Return the values as numbers. Raises ConfigurationError that names the first wrong one."""
    numbers, faults = usable(values)
    if faults:
        raise ConfigurationError(faults[0])
    return numbers


def usable(values: Any) -> tuple[Values, list[str]]:
    """Return the values that can be used, and a sentence about each that cannot: a knob may have gone since."""
    if not isinstance(values, Mapping):
        fault = gettext("Knobs must be numbers by name, not %.80r. Tune again, or go back to the defaults.")
        return {}, [fault % (values,)]
    numbers: Values = {}
    faults = []
    for name, value in values.items():
        if fault := _fault(str(name), value):
            faults.append(fault)
        else:
            numbers[str(name)] = int(value) if BY_NAME[name].is_whole else float(value)
    return numbers, faults


def _fault(name: str, value: Any) -> str:
    knob = BY_NAME.get(name)
    if knob is None:
        message = gettext("There is no knob %(name).80r. The knobs are %(known)s.")
        return message % {"name": name, "known": ", ".join(BY_NAME)}
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if is_number and knob.low <= value <= knob.high and (not knob.is_whole or value == int(value)):
        return ""
    return gettext(
        "The knob %(name)s must be %(kind)s from %(low)g to %(high)g, not %(value).80r. Tune again, or go back to the "
        "defaults."
    ) % {
        "name": name,
        "kind": gettext("a whole number") if knob.is_whole else gettext("a number"),
        "low": knob.low,
        "high": knob.high,
        "value": value,
    }
