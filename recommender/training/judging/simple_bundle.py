"""After a refusal: if a simple competitor beats the champion, build a bundle that serves that competitor.

The bundle is the champion's with another head, which says what the competitor says and no more. Search, item vectors
and everything else stay as they were.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from django.utils.translation import gettext

from recommender import bundles
from recommender.bundles.manifest import MANIFEST
from recommender.durations import DAY_SECONDS
from recommender.features import FEATURE_NAMES
from recommender.features.head import Head
from recommender.ml import metrics
from recommender.ml.head.additive import blank_head, calibrated
from recommender.ml.head.lists import Lists, Sample, ShopHistory, lists_at
from recommender.ml.histories import Histories
from recommender.models import Bundle
from recommender.models.connections import persistently
from recommender.runs.comparisons import CHAMPION, SCOPES, label_of
from recommender.runs.figures import Gain
from recommender.serving import Served
from recommender.serving.ranker import Ranker
from recommender.training.judging import evaluation, slices
from recommender.training.judging.bench import Bench
from recommender.training.judging.gate import PRIMARY, TOLERANCE, in_words
from recommender.training.judging.guardrails import Comparison, compared
from recommender.training.split import Split
from recommender.types import FloatArray

HEADS: Mapping[str, Mapping[str, float]] = {
    "own_frequency": {"own_orders": 1.0, "popular_30": 0.02},
    "item_knn": {"knn": 1.0, "popular_30": 0.02},
    "popularity": {"popular_30": 1.0, "popular_ever": 0.02},
}
"""Competitors as weights of features; the last weight only breaks ties. The linear baseline has a head already."""

BASELINE, BASELINE_FILE = "linear_baseline", "baseline.json"
FILE = "simple.json"
REPLACED = ("head.json", "forest.onnx", "mixture.json", "heads.json", BASELINE_FILE, "thresholds.json", MANIFEST)
N_LISTS = 400


@dataclasses.dataclass(frozen=True, slots=True)
class SimpleBundle:
    """A simple competitor that is to serve: its bundle, and the reason in words."""

    name: str
    bundle: Bundle
    reason: str


def served_instead(
    bench: Bench, champion: Bundle, comparison: Comparison, *, folder: Path, seed: int
) -> SimpleBundle | None:
    """Return the best simple competitor as a bundle; None unless it beats the champion significantly.

    It is judged twice: by its own lists, and by those that the pipeline makes with its bundle. folder: of the refused
    bundle, for its linear baseline.
    """
    results = comparison.results
    names = [name for name in (*HEADS, BASELINE) if _wins(_gains(results, name, seed=seed))]
    if not names:
        return None
    name = max(names, key=lambda name: float(np.mean(results.ndcg(PRIMARY, name))))
    head = _head(name, bench.split, folder, seed=seed)
    if head is None:
        return None
    with tempfile.TemporaryDirectory() as draft:
        written = _bundle_with(head, name, bundles.fetch(champion.name), Path(draft))
        served = bench.of_bundle(champion, ranker=Ranker.load(written, name=name))
        gains = _served_gains(served, comparison, seed=seed)
        pair = slices.cold_visitors(bench.split, served, comparison.champion.served)
        if not _wins(gains) or compared("cold_visitor", pair, seed=seed).verdict == "broken":
            return None
        encoder_hash = champion.encoder_hash
        bundle = persistently(lambda: bundles.write_bundle(written, is_trained=True, encoder_hash=encoder_hash))
    reason = gettext(
        "Instead, a simple ranker now serves: %(name)s. On all items it is significantly better than the previous "
        "model (NDCG@10 %(gain)s). The next ranker has to beat it."
    ) % {"name": label_of(name), "gain": in_words(gains[PRIMARY])}
    return SimpleBundle(name, bundle, reason)


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


def _gains(results: evaluation.Results, name: str, *, seed: int) -> dict[str, Gain]:
    return {
        scope: evaluation.paired_gain(results.ndcg(scope, name), results.ndcg(scope, CHAMPION), seed=seed)
        for scope in SCOPES
        if name in results.lists[scope]
    }


def _wins(gains: Mapping[str, Gain]) -> bool:
    """Significantly better on all items, nowhere much worse: what the gate demands of a ranker beside the champion."""
    others = [gain for scope, gain in gains.items() if scope != PRIMARY]
    return PRIMARY in gains and gains[PRIMARY].low > 0 and all(gain.low >= -TOLERANCE for gain in others)


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


def _bundle_with(head: Head, name: str, champion: Path, folder: Path) -> Path:
    """Copy the champion's files and replace what ranks its lists by this head."""
    written = folder / name
    shutil.copytree(champion, written, ignore=shutil.ignore_patterns(*REPLACED))
    (written / "head.json").write_text(head.to_json())
    (written / "thresholds.json").write_text("{}")
    (written / FILE).write_text(json.dumps({"competitor": name}))
    golden: dict[str, Any] = json.loads((champion / "golden.json").read_text())
    rows: FloatArray = np.linspace(0, 1, len(FEATURE_NAMES), dtype=np.float32)[None, :]
    of_encoder = {key: value for key, value in golden.items() if key in ("text", "vector")}
    (written / "golden.json").write_text(json.dumps(of_encoder | {"logit": float(head.logits(rows)[0])}))
    return written


def _served_gains(served: Served, comparison: Comparison, *, seed: int) -> dict[str, Gain]:
    """Return the gains over the champion of the lists that the pipeline makes with it, on the same cases."""
    lists, results, gains = evaluation.PipelineLists(served), comparison.results, {}
    for scope in SCOPES:
        wanted = [(case, truth) for case in comparison.cases if (truth := case.wanted(scope))]
        wanted = wanted[: len(results.truths[scope])]
        ours = [metrics.ndcg_at_k(lists(case, scope), truth, evaluation.K) for case, truth in wanted]
        gains[scope] = evaluation.paired_gain(ours, results.ndcg(scope, CHAMPION), seed=seed)
    return gains
