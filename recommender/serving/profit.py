"""Lets profit decide among items of like relevance: P(buy) · margin^λ, where the dial of the slot is above 0."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from recommender.deadlines import Resting, Stage, during
from recommender.retrieval.base import Candidates
from recommender.serving import policy
from recommender.serving.question import Question
from recommender.serving.shelf import Shelf
from recommender.types import PROFITABLE_SLOTS, FloatArray, IntArray

N_REORDERED = 40
"""Of a list, at least: the places that people see, and those that may come there."""

_cached: tuple[tuple[Sequence[Decimal | None], Sequence[str]], FloatArray] | None = None
"""The margins of the last catalogue, and what they were made of."""


def by_profit(question: Question, ranked: Candidates) -> Candidates:
    """The first places of a list by profit within each relevance band; the list itself where the dial is 0, where no
    margin is known, and where no head predicts."""
    request = question.request
    if not request.profit or request.slot not in PROFITABLE_SLOTS or len(ranked) < 2:
        return ranked
    margins = margins_of(question.served.shelf)
    rows = ranked.rows[: max(N_REORDERED, 2 * request.limit)]
    chances = buy_chances(question, rows) if margins is not None else None
    if margins is None or chances is None:
        return ranked
    order = policy.by_profit(ranked.scores[: len(rows)], chances, margins[rows], weight=request.profit)
    order = np.concatenate([order, np.arange(len(rows), len(ranked))])
    return Candidates(ranked.rows[order], ranked.scores[order])


def buy_chances(question: Question, rows: IntArray) -> FloatArray | None:
    """The calibrated probability (n,) that each row is bought; None without a head, and while it is left alone."""
    ranker = question.served.ranker
    if ranker is None or ranker.head is None:
        return None
    try:
        with during(Stage.HEAD):
            features = question.features_of(rows)
            return None if features is None else ranker.probabilities(features).get("buy")
    except Resting:
        return None


def margins_of(shelf: Shelf) -> FloatArray | None:
    """What the shop earns with one of each item (n_items,): the median of its currency where that is not known, and 0
    where it loses. None where no margin is known."""
    global _cached
    sources = shelf.margins, shelf.currency
    if _cached is None or _cached[0][0] is not sources[0] or _cached[0][1] is not sources[1]:
        _cached = sources, filled(sources[0], np.array(sources[1], object))
    return None if np.isnan(_cached[1]).all() else _cached[1]


def filled(margins: Sequence[Decimal | None], currency: npt.NDArray[np.object_]) -> FloatArray:
    """Margins (n,) with the median of their currency for those that are not known; NaN in all where none is."""
    column = np.array([np.nan if margin in (None, "") else float(margin) for margin in margins], np.float32)
    if len(column) != len(currency) or not np.isfinite(column).any():
        return np.full(len(currency), np.nan, np.float32)
    whole = np.nanmedian(column)
    for name in dict.fromkeys(currency.tolist()):
        own = currency == name
        declared = column[own & np.isfinite(column)]
        column[own & np.isnan(column)] = np.median(declared) if len(declared) else whole
    return np.maximum(column, 0)
