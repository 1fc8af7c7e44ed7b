"""Simple competitors that serve a list in the ranker's place, where they are surely better on it than both models.

Such an arm is a head that says what the competitor says and no more. It lies beside the bundle's own head, so search,
item vectors and the other list stay as they were.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from recommender import bundles
from recommender.bundles.arms import Arm, write_arms
from recommender.bundles.manifest import MANIFEST
from recommender.durations import DAY_SECONDS
from recommender.features import FEATURE_NAMES
from recommender.features.head import Head
from recommender.ml import metrics
from recommender.ml.head.additive import blank_head, calibrated
from recommender.ml.head.lists import Lists, Sample, ShopHistory, lists_at
from recommender.ml.histories import Histories
from recommender.models import Bundle
from recommender.runs.comparisons import CHAMPION, RANKER, SCOPES
from recommender.training.judging import evaluation
from recommender.training.judging.bench import Bench
from recommender.training.judging.evidence import learned_until
from recommender.training.judging.gate import LEAST_SURE, LEVEL, is_better
from recommender.training.judging.guardrails import Comparison
from recommender.training.split import Split

HEADS: Mapping[str, Mapping[str, float]] = {
    "own_frequency": {"own_orders": 1.0, "popular_30": 0.02},
    "item_knn": {"knn": 1.0, "popular_30": 0.02},
    "popularity": {"popular_30": 1.0, "popular_ever": 0.02},
}
"""Competitors as weights of features; the last weight only breaks ties. The linear baseline has a head already."""

BASELINE, BASELINE_FILE = "linear_baseline", "baseline.json"
N_LISTS = 400


def arms_for(
    bench: Bench, comparison: Comparison, *, present: Mapping[str, str], folder: Path, seed: int
) -> dict[str, Arm]:
    """By list, the simple competitor that is surely better on it than the champion and the new model.

    Each is judged twice: by its own lists, and by those that the pipeline makes with its head. present: the arms of the
    champion, which stay where the new model is surely worse; folder: of the new bundle, for its linear baseline.
    """
    arms = {}
    for scope in SCOPES:
        if len(comparison.results.truths[scope]) < LEAST_SURE:
            continue
        winners = [name for name in (*HEADS, BASELINE) if _wins(comparison, scope, name, present, seed=seed)]
        if not winners:
            continue
        name = max(winners, key=lambda name: evaluation.mean(comparison.results.ndcg(scope, name)))
        head = _head(name, bench.split, folder, seed=seed)
        if head is not None and _serves_better(comparison, scope, head, name == present.get(scope), seed=seed):
            arms[scope] = Arm(name, head)
    return arms


def present_arms(bundle: Bundle) -> Mapping[str, str]:
    """The arms of a stored bundle: by list, the name of the competitor."""
    arms: Mapping[str, str] = bundle.manifest.get("arms", {})
    return arms


def champion_with(champion: Bundle, arms: Mapping[str, Arm]) -> Bundle:
    """Write a bundle that is the champion's but for these arms."""
    with tempfile.TemporaryDirectory() as draft:
        folder = Path(draft) / "bundle"
        shutil.copytree(bundles.fetch(champion.name), folder, ignore=shutil.ignore_patterns(MANIFEST))
        write_arms(folder, arms)
        return bundles.write_bundle(
            folder, is_trained=True, encoder_hash=champion.encoder_hash, learned_until=learned_until(champion)
        )


def simple_head(name: str, split: Split, *, seed: int = 0) -> Head | None:
    """Return the head of a competitor of `HEADS`, calibrated on the window before the test; None if that is empty."""
    lists, days = _lists(split, seed=seed)
    if not lists.labels.any():
        return None
    weights = HEADS[name]
    linear = np.asarray([weights.get(feature, 0.0) for feature in FEATURE_NAMES], np.float32)
    without = frozenset(FEATURE_NAMES) - set(weights)
    blank = blank_head(*lists.flat(), event="purchase", horizon_days=days, without=without)
    plain = dataclasses.replace(
        blank,
        mean=np.zeros_like(blank.mean),
        scale=np.ones_like(blank.scale),
        knots=np.empty((len(linear), 0), np.float32),
        bends=np.empty((len(linear), 0), np.float32),
        linear=linear,
        bias=0.0,
    )
    return calibrated(plain, lists)


def _wins(comparison: Comparison, scope: str, name: str, present: Mapping[str, str], *, seed: int) -> bool:
    """Whether a competitor's own lists are surely better than those of both models."""
    results = comparison.results
    if name not in results.lists[scope]:
        return False
    ndcg = results.ndcg(scope, name)
    others = (RANKER,) if present.get(scope) == name else (RANKER, CHAMPION)
    return all(_is_better(ndcg, results.ndcg(scope, other), seed=seed) for other in others)


def _serves_better(comparison: Comparison, scope: str, head: Head, is_present: bool, *, seed: int) -> bool:
    """Whether the lists that the pipeline makes with the head are surely better, on the same cases."""
    served, results = comparison.champion.served, comparison.results
    if served.ranker is None:
        return False
    make = evaluation.PipelineLists(dataclasses.replace(served, ranker=served.ranker.with_arms({scope: head})))
    wanted = [(case, truth) for case in comparison.cases if (truth := case.wanted(scope))]
    ndcg = [metrics.ndcg_at_k(make(case, scope), truth, evaluation.K) for case, truth in wanted]
    others = (RANKER,) if is_present else (RANKER, CHAMPION)
    return all(_is_better(ndcg, results.ndcg(scope, other), seed=seed) for other in others)


def _is_better(ours: Sequence[float], theirs: Sequence[float], *, seed: int) -> bool:
    return is_better(evaluation.paired_gain(ours, theirs, seed=seed, level=LEVEL))


def _head(name: str, split: Split, folder: Path, *, seed: int) -> Head | None:
    if name != BASELINE:
        return simple_head(name, split, seed=seed)
    path = folder / BASELINE_FILE
    return Head.from_json(path.read_text()) if path.is_file() else None


def _lists(split: Split, *, seed: int) -> tuple[Lists, float]:
    """Lists of the start of the window before the test, with what was bought in it; and its length in days."""
    window = split.test_end - split.test_start
    at = split.test_start - window
    shop = ShopHistory(Histories(split.past), split.items)
    lists = lists_at(shop, at, until=split.test_start, sample=Sample(N_LISTS, seed))
    return lists, window / DAY_SECONDS
