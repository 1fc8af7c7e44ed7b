"""Which item takes the place of a list that is kept for exploring, and with what chance it came there."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Chances = npt.NDArray[np.floating[Any]]

EPSILON, THOMPSON = "epsilon", "thompson"

N_DRAWS = 200
"""Draws of each item's rate, from which Thompson's chances are counted: they are multiples of 1 / 200."""

OWN_EVENTS = 20.0
"""How many events the ranker's prediction for an item without any of its own counts for."""


def epsilon_chances(n_items: int, rate: float) -> Chances:
    """The chance (n,) of each item of the pool, of which the first is the ranker's own choice.

    With probability `rate` an item of the pool is drawn, each with the same chance; else the ranker's own is taken.
    """
    chances = np.full(n_items, rate / n_items)
    chances[0] += 1 - rate
    return chances


def thompson_chances(predicted: Chances, n_events: Chances, *, generator: np.random.Generator) -> Chances:
    """The chance (n,) of each item to have the highest rate, by what is known of it.

    predicted (n,): the ranker's probability of a success; n_events (n,): how many events it rests on. The rate of an
    item is Beta distributed around the prediction, the wider the fewer its events. The place is then drawn from these
    chances themselves, so that the logged propensity is exact although the chances are counted from draws.
    Source: Chapelle and Li, "An empirical evaluation of Thompson sampling", NeurIPS 2011.
    """
    weight = OWN_EVENTS + n_events
    rates = np.clip(predicted, 1e-6, 1 - 1e-6)
    drawn = generator.beta(rates * weight, (1 - rates) * weight, size=(N_DRAWS, len(rates)))
    counts: Chances = np.bincount(drawn.argmax(axis=1), minlength=len(rates)) / N_DRAWS
    return counts


def draw(chances: Chances, *, generator: np.random.Generator) -> int:
    """The index of the item that takes the place."""
    return int(generator.choice(len(chances), p=chances))
