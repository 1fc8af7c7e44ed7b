"""Two checks of a trained bundle: serving computes the features that training did, and no feature looks ahead."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recommender.exceptions import BundleError
from recommender.features import FEATURE_NAMES, features
from recommender.features.shop_state import build_state
from recommender.ml.artifacts import Artifacts
from recommender.ml.head.lists import ShopHistory, Vectors
from recommender.ml.histories import Histories
from recommender.serving import Served
from recommender.tables import Interactions
from recommender.training.judging.evaluation import history_of
from recommender.training.split import Split
from recommender.types import Context, FloatArray, IntArray, PastEvent, Request, Slot

N_VISITORS = 50
N_WHOLE = 10
"""Visitors whose features of the whole catalogue are computed with and without the future."""

FILE = "parity.npz"

FeaturesOf = Callable[[Interactions], FloatArray]
"""Events -> rows of features at one moment, which later events must not change."""


def record(trained: Artifacts, split: Split, folder: Path, *, seed: int) -> None:
    """Write what training computes for `N_VISITORS` visitors at the start of the test."""
    histories = Histories(split.whole)
    visitors = _some_visitors(split, N_VISITORS, seed=seed)
    newcomers = histories.newcomers(at=split.test_start, until=split.test_end)
    visitors = np.concatenate([visitors, newcomers[:1]])  # one without a history
    state, shop = split.state, ShopHistory(histories, split.items, Vectors(trained.item_vectors))
    chosen: list[IntArray] = []
    rows: list[FloatArray] = []
    scores: list[FloatArray] = []
    for visitor in visitors.tolist():
        profile = histories.profile(visitor, at=split.test_start)
        context = trained.context_vector(profile)
        items = shop.candidates(profile, state, context)
        row = shop.rows(profile, items, state, context)
        chosen.append(items)
        rows.append(row)
        scores.append(trained.probabilities(row) if trained.head else np.empty(0, np.float32))
    with (folder / FILE).open("wb") as file:
        np.savez(
            file,
            visitor=visitors,
            length=np.asarray([len(items) for items in chosen], np.int64),
            candidates=np.concatenate([np.empty(0, np.int32), *chosen]),
            rows=np.concatenate([np.empty((0, len(FEATURE_NAMES)), np.float32), *rows]),
            scores=np.concatenate([np.empty(0, np.float32), *scores]),
        )


def served_difference(folder: Path, split: Split, served: Served) -> tuple[float, int]:
    """Return the largest difference of a feature or probability between serving and training, and of how many visitors.

    Serving starts as on a page: from the visitor's newest events, in its own types, through the shelf.
    """
    with np.load(folder / FILE, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    worst, ends, histories = 0.0, np.cumsum(arrays["length"]), Histories(split.past)
    for visitor, start, end in zip(arrays["visitor"].tolist(), ends - arrays["length"], ends, strict=True):
        history = history_of(histories, visitor, split.items.ids, at=split.test_start)
        row, score = _served(served, split, history, arrays["candidates"][start:end])
        differences = [row - arrays["rows"][start:end]]
        if len(arrays["scores"]):
            differences.append(score - arrays["scores"][start:end])
        for difference in differences:  # np.maximum keeps NaN; max would lose it
            worst = float(np.maximum(worst, np.abs(difference).max(initial=0)))
    return worst, len(ends)


def future_difference(features_of: FeaturesOf, split: Split) -> float:
    """Return how much features at the start of the test change with the test's events: 0, unless one looks ahead."""
    return float(np.abs(features_of(split.whole) - features_of(split.past)).max(initial=0))


def features_at(split: Split, *, seed: int, n_visitors: int = N_WHOLE) -> FeaturesOf:
    """The features of visitors and all items at the start of the test, as training and serving compute them."""
    visitors = _some_visitors(split, n_visitors, seed=seed).tolist()
    everything = np.arange(len(split.items), dtype=np.int32)

    def compute(interactions: Interactions) -> FloatArray:
        histories = Histories(interactions)
        is_past = interactions is split.past
        state = split.state if is_past else build_state(interactions, split.items, at=split.test_start)
        profiles = [histories.profile(visitor, at=split.test_start) for visitor in visitors]
        return np.concatenate([features(profile, everything, state, split.items) for profile in profiles])

    return compute


def _some_visitors(split: Split, n: int, *, seed: int) -> IntArray:
    visitors: IntArray = np.unique(split.past.visitor[split.past.visitor >= 0])
    return np.random.default_rng(seed).permutation(visitors)[:n]


def _served(
    served: Served, split: Split, history: tuple[PastEvent, ...], rows: IntArray
) -> tuple[FloatArray, FloatArray]:
    shelf, ranker, vectors = served.shelf, served.ranker, served.shelf.vectors
    if ranker is None or vectors is None:
        raise BundleError("A bundle without an encoder has no features to compare: train again.")
    context = Context(dt.datetime.fromtimestamp(split.test_start, dt.UTC))
    profile = shelf.profile(Request(Slot.HOME, context, history=history))
    scored = ranker.score(profile, rows, shelf.state, shelf.items, vectors)
    return scored.features, scored.scores
