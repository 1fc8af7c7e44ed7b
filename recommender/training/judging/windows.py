"""The same competitors in earlier windows: how much a figure changes from month to month, beside its interval.

Only what is fitted in a moment is asked again. The trained model is not: its encoder, context model and head have seen
the months that these windows would judge by, and to train anew for each would take the time of four runs.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from recommender.features.shop_state import build_state
from recommender.ml.plan import until
from recommender.ml.rivals import baselines, competitors
from recommender.training.judging import evaluation
from recommender.training.split import Split

MOST_WINDOWS = 4
MOST_CASES = 300
LEAST_CASES = 50
NOTE = "The trained model is not judged on earlier windows: it has learned from them."


def rolling(split: Split, *, seconds: float, seed: int) -> dict[str, Any]:
    """NDCG@10 of each competitor in up to four windows before the test, the newest first, with mean and spread.

    After `seconds`, or where the past is too short or too thin, no further window begins: "n_windows" counts them.
    """
    started, found = time.monotonic(), []
    for window in _earlier(split):
        if time.monotonic() - started > seconds:
            break
        some = evaluation.cases(window, most=MOST_CASES, seed=seed)
        if len(some) < LEAST_CASES:
            break
        found.append(_ndcg(window, some))
    figures = {
        scope: {name: _spread([one[scope][name] for one in found]) for name in (found[0][scope] if found else {})}
        for scope in evaluation.SCOPES
    }
    return {"n_windows": len(found), "note": NOTE, "lists": figures}


def _earlier(split: Split) -> list[Split]:
    """Splits that lie one, two, three and four windows before, each with as much past before it as its own length."""
    length, first = split.test_end - split.test_start, float(split.past.time[0]) if len(split.past) else np.inf
    windows = []
    for place in range(1, MOST_WINDOWS + 1):
        start = split.test_start - place * length
        if start - length < first:
            break
        shown = split.items.active & (split.items.first_seen <= start)
        windows.append(
            dataclasses.replace(
                split,
                past=until(split.past, start),
                whole=until(split.past, start + length),
                items=dataclasses.replace(split.items, active=shown),
                test_start=start,
                test_end=start + length,
            )
        )
    return windows


def _ndcg(window: Split, some: list[evaluation.Case]) -> dict[str, dict[str, float]]:
    state = build_state(window.past, window.items, at=window.test_start)
    scorers: dict[str, baselines.Scorer] = {
        "popularity": baselines.popularity(),
        "own_frequency": baselines.own_frequency,
        "item_knn": baselines.item_knn,
        "tifu_knn": competitors.tifu_knn(competitors.Basis(window.past, window.items, state)),
    }
    if (ease := competitors.ease(competitors.Basis(window.past, window.items, state))) is not None:
        scorers["ease"] = ease
    makers = {name: evaluation.scored(score, state, window.items) for name, score in scorers.items()}
    results = evaluation.compare(makers, some, seconds=np.inf, least_cases=len(some))
    return {
        scope: {name: float(np.mean(results.ndcg(scope, name) or [0.0])) for name in makers}
        for scope in evaluation.SCOPES
    }


def _spread(values: list[float]) -> dict[str, Any]:
    """Mean, standard deviation between windows (0 of one) and the figures themselves, the newest window first."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "deviation": deviation, "windows": values}
