"""Learns to order what is new to a shopper in a shop with too few next orders for a head, from the orders themselves.

Bundle 0's formula goes on ordering everything else. What is learned is written as the arm of the list of new items.
"""

from __future__ import annotations

import numpy as np

from recommender.bundles.arms import Arm
from recommender.features import BERT_FEATURES, FEATURE_NAMES
from recommender.features.head import Head
from recommender.ml.artifacts import Artifacts, context_of
from recommender.ml.encoder.model import fingerprint
from recommender.ml.head.baskets import basket_lists
from recommender.ml.head.lists import Lists, ShopHistory, Vectors
from recommender.ml.head.offset import fit_offset
from recommender.ml.histories import Histories
from recommender.ml.progress import Progress
from recommender.serving.ranker import FALLBACK, FALLBACK_BIAS
from recommender.training.split import Split

NAME = "basket_ranker"
LEAST_BASKETS = 50
"""Lists with something to find below which nothing is learned; as many as a head needs of next orders. A month with 200
orders of a gift shop has 103 to 165."""

WEIGHED = frozenset({
    "knn_basket", "knn_mean", "last_order", "regression_fading", "sequel_fading", "popular_30", "popular_7", "trend",
    "interest_match", "history_match", "several_match", "nearest_of_last", "last_order_match", "persona_words",
    "persona_category", "price_gap",
})  # fmt: skip
"""Features that tell new items apart; the habit features are 0 for all of them."""

STEEPEST, N_STEPS = 20.0, 401
"""Ends and number of points of the table of the logistic function; between them it errs by at most .00012."""


def new_items_arm(trained: Artifacts, split: Split, *, seed: int, progress: Progress) -> Arm | None:
    """Return the arm of the list of new items; None where a head was fitted, or for too few baskets.

    Vectors that were trained on the same orders know what was held back. Features of them are not weighed then.
    """
    if trained.head is not None:
        return None
    vectors = trained.item_vectors
    shop = ShopHistory(
        Histories(split.past), split.items, Vectors(vectors, lambda profile: context_of(trained, profile, vectors))
    )
    lists = basket_lists(shop, until=split.test_start, seed=seed, progress=progress).new_only()
    n_lists = int((lists.labels * lists.mask).any(axis=1).sum())
    progress.figure("n_basket_lists", float(n_lists))
    if n_lists < LEAST_BASKETS:
        return None
    has_learned = trained.context is not None or fingerprint(trained.encoder) != trained.base_encoder
    names = WEIGHED - BERT_FEATURES if has_learned else WEIGHED
    return Arm(NAME, fit_offset(lists, formula_head(lists), names=names))


def formula_head(lists: Lists) -> Head:
    """Return bundle 0's formula as a head. Its scales only keep the values of `lists` from being clipped."""
    scale = np.maximum(np.abs(lists.rows).max(axis=(0, 1)), 1).astype(np.float32)
    no_knots = np.empty((len(scale), 0), np.float32)
    raw = np.linspace(-STEEPEST, STEEPEST, N_STEPS, dtype=np.float32)
    return Head(
        event="purchase",
        horizon_days=0.0,
        names=FEATURE_NAMES,
        mean=np.zeros_like(scale),
        scale=scale,
        knots=no_knots,
        linear=np.array([FALLBACK.get(name, 0.0) for name in FEATURE_NAMES], np.float32) * scale,
        bends=no_knots,
        bias=FALLBACK_BIAS,
        seen=frozenset(FALLBACK),
        raw=raw,
        probability=(1 / (1 + np.exp(-raw))).astype(np.float32),
    )
