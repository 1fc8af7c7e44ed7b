"""The competitors in earlier windows: how much a figure changes from month to month, which no interval can say.

Only competitors that are fitted in a moment are evaluated again. The trained model is not: it has learned from the
months of these windows, and training it anew for each would take the time of four runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from recommender.features.shop_state import build_state
from recommender.ml.plan import until
from recommender.ml.rivals import baselines, competitors
from recommender.runs.comparisons import SCOPES
from recommender.runs.figures import Rolling, Spread
from recommender.training.judging import evaluation
from recommender.training.split import Split

MOST_WINDOWS = 3
MOST_CASES = 300
"""A window of the demo takes about three seconds."""

LEAST_CASES = 50
ANEW = "For each earlier window the model was trained anew, on what came before it."
NOTE = "The trained model is not evaluated on earlier windows: it has learned from them."


def rolling(split: Split, *, seed: int) -> Rolling:
    """NDCG@10 of each competitor in up to three windows before the test, the newest first.

    Where the past is too short or has too few cases, no further window begins.
    """
    windows = []
    for window in earlier(split):
        test_cases = evaluation.cases(window, most=MOST_CASES, seed=seed)
        if len(test_cases) < LEAST_CASES:
            break
        windows.append(_results(window, test_cases))
    return spread(windows, note=NOTE)


def spread(windows: Sequence[evaluation.Results], *, note: str = ANEW) -> Rolling:
    """NDCG@10 of every ranker that answered in all windows, the newest first, with mean and deviation."""
    names = evaluation.names_in_all(windows, "all") if windows else []
    lists = {
        scope: {name: _spread([evaluation.mean(window.ndcg(scope, name)) for window in windows]) for name in names}
        for scope in SCOPES
    }
    return Rolling(len(windows), note, lists)


def earlier(split: Split) -> list[Split]:
    """Splits one to three windows earlier, each preceded by at least as much past as its own length."""
    length, first = split.test_end - split.test_start, float(split.past.time[0]) if len(split.past) else np.inf
    windows = []
    for n in range(1, MOST_WINDOWS + 1):
        start = split.test_start - n * length
        if start - length < first:
            break
        active = split.items.active & (split.items.first_seen <= start)
        windows.append(
            dataclasses.replace(
                split,
                past=until(split.past, start),
                whole=until(split.past, start + length),
                items=dataclasses.replace(split.items, active=active),
                test_start=start,
                test_end=start + length,
            )
        )
    return windows


def _results(window: Split, test_cases: list[evaluation.Case]) -> evaluation.Results:
    state = build_state(window.past, window.items, at=window.test_start)
    basis = competitors.Basis(window.past, window.items, state)
    scorers: dict[str, baselines.Scorer] = {
        "popularity": baselines.popularity(),
        "own_frequency": baselines.own_frequency,
        "item_knn": baselines.item_knn,
        "tifu_knn": competitors.tifu_knn(basis),
    }
    if (ease := competitors.ease(basis)) is not None:
        scorers["ease"] = ease
    makers = {name: evaluation.scored(score, state, window.items) for name, score in scorers.items()}
    return evaluation.compare(makers, test_cases)


def _spread(values: list[float]) -> Spread:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return Spread(float(np.mean(values)), deviation, tuple(values))
