"""A split in, a folder of weights and the vectors of every item out; a folder that is whole is not made again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from recommender import bundles
from recommender.heads import EVENTS
from recommender.ml import export
from recommender.ml.train import Artifacts, Progress, TrainingData, TrainingSettings, fit
from recommender.retrieval.lexical import LexicalIndex
from recommender.retrieval.wording import WordTable
from recommender.training import parity
from recommender.training.matcher import Shown, fit_matcher
from recommender.training.split import Split
from recommender.types import Adaptation, FloatArray, Tuning

FIT_SHARE = 0.6
"""Share of the time box that tuning is told of: reading, encoding, export and evaluation take the rest."""

RECORD = "fitted.json"
"""Written last: a folder that has it is whole."""

NEVER = 2**62


class Watching(Progress, Protocol):
    """A `Progress` that may end a run between stages."""

    def check(self) -> None:
        """Raise where the run must end."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fitted:
    """`folder` holds the files of a bundle; text_vectors (n_items, d) float32; metrics: numbers by name."""

    folder: Path
    text_vectors: FloatArray
    metrics: Mapping[str, float]


def fitted(split: Split, settings: Mapping[str, Any], folder: Path, watch: Watching) -> Fitted:
    """Train, or take up what this run has trained before its process was ended."""
    if not (folder / RECORD).is_file():
        _fit(split, _settings(settings, folder), folder, watch)
    return _read(folder)


def fitted_untuned(split: Split, settings: Mapping[str, Any], folder: Path, watch: Watching) -> Fitted:
    """Train context model and head on the encoder as it came, in half the time: there is nothing to tune."""
    if not (folder / RECORD).is_file():
        tuned = _settings(settings, folder)
        untuned = dataclasses.replace(
            tuned, minutes=tuned.minutes / 2, least_pairs=NEVER, adaptation=Adaptation.NEVER, tuning=Tuning.FROZEN
        )
        _fit(split, untuned, folder, watch)
    return _read(folder)


def head_figures(metrics: Mapping[str, float]) -> dict[str, Any]:
    """The heads' part of `Run.metrics`: "click_test_f1" becomes heads["click"]["test"]["f1"].

    "validation_f1" and "test_f1" are of the head on candidates: heads["buy"], or heads["buy_later"] beside a "buy" that
    was learned from lists.
    """
    heads: dict[str, dict[str, dict[str, float]]] = {}
    for name, value in metrics.items():
        head, _, rest = name.partition("_") if name.partition("_")[0] in EVENTS else ("", "", name)
        part, _, figure = rest.partition("_")
        if part in ("validation", "test"):
            heads.setdefault(head, {}).setdefault(part, {})[figure] = value
    if own := heads.pop("", None):
        heads["buy_later" if "buy" in heads else "buy"] = own
    return heads


def encoder_figures(settings: Mapping[str, Any], metrics: Mapping[str, float]) -> dict[str, Any]:
    """The encoder's part of `Run.metrics`: how it was adapted and tuned, "encoder_adapter_bytes" as "adapter_bytes"."""
    prefix = "encoder_"
    figures = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
    return {"tuning": str(settings.get("tuning", Tuning.FULL)), **figures}


def _settings(settings: Mapping[str, Any], folder: Path) -> TrainingSettings:
    """The run's settings as training takes them; a run may lower the evidence that a stage needs."""
    spec = str(settings.get("encoder", "auto"))
    default = TrainingSettings()
    mask = dataclasses.replace(default.mask, least_texts=int(settings.get("least_texts", default.mask.least_texts)))
    return TrainingSettings(
        minutes=float(settings["minutes"]) * FIT_SHARE,
        seed=int(settings.get("seed", 0)),
        encoder=bundles.encoder_spec() if spec == "auto" else spec,
        n_threads=settings.get("n_threads"),
        horizon_days=float(settings.get("horizon_days", default.horizon_days)),
        step_days=settings.get("step_days"),
        adaptation=Adaptation(settings.get("adaptation", default.adaptation)),
        mask=mask,
        tuning=Tuning(settings.get("tuning", default.tuning)),
        checkpoint_dir=folder / "checkpoints",
        least_pairs=int(settings.get("least_pairs", default.least_pairs)),
        least_examples=int(settings.get("least_examples", default.least_examples)),
        least_lists=int(settings.get("least_lists", default.least_lists)),
        least_impressions=int(settings.get("least_impressions", default.least_impressions)),
    )


def _read(folder: Path) -> Fitted:
    metrics: dict[str, float] = json.loads((folder / RECORD).read_text())
    return Fitted(folder / "bundle", np.load(folder / "text_vectors.npy", allow_pickle=False), metrics)


def _fit(split: Split, settings: TrainingSettings, folder: Path, watch: Watching) -> None:
    data = TrainingData(
        interactions=split.whole,
        items=split.items,
        train_end=split.test_start,
        test_start=split.test_start,
        test_end=split.test_end,
        judgements=split.judgements,
        impressions=split.impressions,
    )
    made = fit(data, settings, watch)
    watch.check()
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    (folder / "bundle").mkdir(parents=True)
    watch.stage("search")
    made.metrics |= _fit_matcher(made, split, settings, folder / "bundle", watch)
    watch.check()
    watch.stage("bundle")
    export.write(made, folder / "bundle")
    parity.record(made, split, folder, seed=settings.seed)
    np.save(folder / "text_vectors.npy", made.text_vectors, allow_pickle=False)
    (folder / RECORD).write_text(json.dumps(made.metrics))


def _fit_matcher(
    made: Artifacts, split: Split, settings: TrainingSettings, folder: Path, watch: Watching
) -> dict[str, float]:
    """Train the trees of search where enough queries were judged; search keeps the fixed formula elsewhere."""
    if len(split.judgements) < settings.least_judgements:
        return {}
    texts = split.items.texts
    shown = Shown(LexicalIndex.build(texts, split.titles), WordTable.build(split.titles), None)
    return fit_matcher(
        split.judgements, shown, made.encoder, texts, folder,
        before=made.untuned_on_grades, settings=settings, progress=watch,
    )  # fmt: skip
