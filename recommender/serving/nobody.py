"""What the trained head expects of somebody without a past: the same for every shopper, so it is remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from recommender.features.profiles import without_past
from recommender.types import FloatArray, IntArray

if TYPE_CHECKING:
    from recommender.serving.question import Question

Circumstances: TypeAlias = tuple[float, str, str, str]
"""Beginning of the hour, slot, device, region."""

HOUR_SECONDS = 3_600.0
MOST_CIRCUMSTANCES = 16
"""Devices and regions of one hour; the oldest are forgotten, so that foreign names fill no memory."""

N_AT_ONCE = 2_000
"""Rows that a computation takes along: most of what it costs, about 5 ms, does not depend on their number."""

LEAST_PROBABILITY = 1e-6


class Nobody:
    """The log-odds of each item of one shelf for somebody without a past, in the circumstances of a request.

    Computed when a search needs them, others along with them, and kept for an hour: four bytes for an item. Threads
    that fill it at once write the same values.
    """

    def __init__(self) -> None:
        self._odds: dict[Circumstances, FloatArray] = {}

    def log_odds(self, question: Question, rows: IntArray) -> FloatArray | None:
        """Return (n,) of rows (n,) at the beginning of the hour; None without a ranker or vectors."""
        profile = question.profile
        start = profile.now - profile.now % HOUR_SECONDS
        odds = self._of((start, str(profile.slot), profile.device, profile.region), len(question.served.shelf))
        missing = rows[np.isnan(odds[rows])]
        if len(missing):
            others = np.flatnonzero(np.isnan(odds))[:N_AT_ONCE]
            missing = np.union1d(missing, others).astype(np.int32)
            stranger = replace(without_past(profile), now=start, current_item=-1)
            computed = log_odds(replace(question, profile=stranger), missing)
            if computed is None:
                return None
            odds[missing] = computed
        return odds[rows]

    def _of(self, circumstances: Circumstances, n_items: int) -> FloatArray:
        """The values (n_items,) for these circumstances; NaN where none was computed."""
        odds = self._odds.get(circumstances)
        if odds is None:
            newest = list(self._odds.items())[1 - MOST_CIRCUMSTANCES :]
            odds = np.full(n_items, np.nan, np.float32)
            self._odds = {key: values for key, values in newest if key[0] == circumstances[0]} | {circumstances: odds}
        return odds


def log_odds(question: Question, rows: IntArray) -> FloatArray | None:
    """Return (n,): what the head expects of this shopper, whatever the query is; None without a ranker or vectors.

    How well an item answers the query is in its grade already.
    """
    wish = replace(question, profile=replace(question.profile, query=""))
    scores = wish.scores(rows, wish.context_vector())
    if scores is None:
        return None
    probability = np.clip(scores.astype(np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.asarray(np.log(probability / (1 - probability)), np.float32)
