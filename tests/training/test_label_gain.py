"""The gain of graded answers, against what was planted: grades that say something, and grades that are noise."""

from __future__ import annotations

import numpy as np
import pytest

from recommender.ml.head.trees import TreeSettings
from recommender.retrieval.matching import MATCH_FEATURES
from recommender.training.label_gain import label_gain
from recommender.types import FloatArray, IntArray

N_QUERIES, N_ITEMS = 200, 20
SETTINGS = TreeSettings(n_trees=40, learning_rate=0.1, n_leaves=7, least_in_leaf=20)


def rows() -> tuple[FloatArray, IntArray]:
    """Features that say nothing by the fixed formula, and the query of each row."""
    features = np.zeros((N_QUERIES * N_ITEMS, len(MATCH_FEATURES)), np.float32)
    features[:, MATCH_FEATURES.index("letters")] = np.random.default_rng(0).random(len(features))
    return features, np.repeat(np.arange(N_QUERIES), N_ITEMS).astype(np.int32)


def gain(target: FloatArray, *, stops: bool = False) -> dict[str, float]:
    features, query = rows()
    features[:, MATCH_FEATURES.index("title_share")] = np.random.default_rng(1).random(len(features))
    return label_gain(
        features, target, query, n_labels=1_000, settings=SETTINGS, rising=[], should_stop=lambda: stops
    )  # fmt: skip


def test_grades_that_follow_a_column_are_learned_and_counted_on_other_queries() -> None:
    column = np.random.default_rng(1).random(N_QUERIES * N_ITEMS).astype(np.float32)
    figures = gain(-column + 1)  # the formula prefers what people do not
    assert figures["labels_ndcg"] > 0.9
    assert figures["labels_ndcg_without"] < 0.7
    assert (
        0 < figures["labels_low"] <= figures["labels_ndcg"] - figures["labels_ndcg_without"] <= figures["labels_high"]
    )
    assert (figures["labels_n_labels"], figures["labels_n_queries"]) == (1_000, N_QUERIES)


def test_grades_that_are_noise_bring_nothing() -> None:
    figures = gain(np.random.default_rng(5).random(N_QUERIES * N_ITEMS).astype(np.float32))
    assert figures["labels_low"] < 0.01, "whoever saw the grades of its own queries would be far above"


def test_query_without_any_answer_counts_for_nothing() -> None:
    target = np.random.default_rng(5).random(N_QUERIES * N_ITEMS).astype(np.float32)
    target[:N_ITEMS] = -0.15
    assert gain(target)["labels_n_queries"] == N_QUERIES - 1


def test_training_that_must_stop_measures_nothing() -> None:
    assert gain(np.ones(N_QUERIES * N_ITEMS, np.float32), stops=True) == {}


@pytest.mark.django_db
def test_run_and_queue_tell_what_grades_bring(admin_client) -> None:
    from recommender.models import Run

    labels = {"n_labels": 800.0, "n_queries": 90.0, "ndcg": 0.62, "ndcg_without": 0.6, "low": 0.01, "high": 0.03}
    run = Run.objects.create(state=Run.State.SUCCEEDED, metrics={"labels": labels})
    sentence = "+0.0050 for each hundred of them"
    assert sentence in admin_client.get(f"/admin/recommender/run/{run.pk}/change/").content.decode()
    assert sentence in admin_client.get("/admin/recommender/judgement/queue/").content.decode()
    Run.objects.update(metrics={})
    assert sentence not in admin_client.get("/admin/recommender/judgement/queue/").content.decode()
