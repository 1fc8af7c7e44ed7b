"""A split in, a folder of weights and the vectors of every item out; a folder that is whole is not made again."""

from __future__ import annotations

import dataclasses
import json
import operator
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recommender import bundles, knobs
from recommender.ml import export
from recommender.ml.train import TrainingData, TrainingSettings, fit
from recommender.training.split import Split
from recommender.training.watch import Watch
from recommender.types import FloatArray

FIT_SHARE = 0.6
"""Share of the time box that tuning is told of: reading, encoding, export and evaluation take the rest."""

RECORD = "fitted.json"
"""Written last: a folder that has it is whole."""

NEVER = 2**62


@dataclasses.dataclass(frozen=True, slots=True)
class Fitted:
    """`folder` holds the files of a bundle; text_vectors (n_items, d) float32; metrics: numbers by name.

    base_encoder: fingerprint of the encoder before tuning; ended_by: what ended each stage.
    """

    folder: Path
    text_vectors: FloatArray
    metrics: Mapping[str, float]
    base_encoder: str
    ended_by: Mapping[str, str]


def fitted(split: Split, settings: Mapping[str, Any], folder: Path, watch: Watch) -> Fitted:
    """Train, or take up what this run has trained before its process was ended."""
    if not (folder / RECORD).is_file():
        _fit(split, training_settings(settings, folder), folder, watch)
    return _read(folder)


def fitted_untuned(split: Split, settings: Mapping[str, Any], folder: Path, watch: Watch) -> Fitted:
    """Train context model and head on the encoder as it came, in half the time: there is nothing to tune."""
    if not (folder / RECORD).is_file():
        tuned = training_settings(settings, folder)
        _fit(split, dataclasses.replace(tuned, minutes=tuned.minutes / 2, least_pairs=NEVER), folder, watch)
    return _read(folder)


def head_figures(metrics: Mapping[str, float]) -> dict[str, Any]:
    """The heads' part of `Run.metrics`: "validation_f1" becomes heads["buy"]["validation"]["f1"]."""
    slices: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        part, _, figure = name.partition("_")
        if part in ("validation", "test"):
            slices.setdefault(part, {})[figure] = value
    return {"buy": slices} if slices else {}


def training_settings(
    settings: Mapping[str, Any], folder: Path | None = None, *, minutes: float | None = None
) -> TrainingSettings:
    """The run's settings as training takes them; a run may lower the evidence that a stage needs.

    Without a `folder` nothing is resumed. Raises ConfigurationError for a knob that cannot be turned so.
    """
    spec = str(settings.get("encoder", "auto"))
    default = TrainingSettings()
    told = TrainingSettings(
        minutes=float(settings["minutes"] if minutes is None else minutes) * FIT_SHARE,
        seed=int(settings.get("seed", 0)),
        encoder=bundles.encoder_spec() if spec == "auto" else spec,
        checkpoint_dir=folder / "checkpoints" if folder else None,
        least_pairs=int(settings.get("least_pairs", default.least_pairs)),
        least_examples=int(settings.get("least_examples", default.least_examples)),
        least_lists=int(settings.get("least_lists", default.least_lists)),
    )
    return turned(told, settings.get("knobs") or {})


def turned(settings: TrainingSettings, values: Mapping[str, Any]) -> TrainingSettings:
    """Return the settings with some knobs turned. Raises ConfigurationError for one that is unknown or out of range."""
    for name, number in knobs.validated(values).items():
        part, _, field = name.rpartition(".")
        value: Any = dataclasses.replace(getattr(settings, part), **{field: number}) if part else number
        settings = dataclasses.replace(settings, **{part or field: value})
    return settings


def knob_values(settings: TrainingSettings, of: Iterable[knobs.Knob] = knobs.KNOBS) -> knobs.Values:
    """Return how the knobs stand."""
    return {knob.name: operator.attrgetter(knob.name)(settings) for knob in of}


def in_full(settings: TrainingSettings) -> dict[str, Any]:
    """Every setting as JSON; the folder is left out: it is another one each time."""
    told = dataclasses.asdict(settings)
    del told["checkpoint_dir"]
    return told


def _read(folder: Path) -> Fitted:
    record = json.loads((folder / RECORD).read_text())
    return Fitted(folder / "bundle", np.load(folder / "text_vectors.npy", allow_pickle=False), **record)


def training_data(split: Split) -> TrainingData:
    """A split as training takes it."""
    return TrainingData(
        interactions=split.whole,
        items=split.items,
        train_end=split.test_start,
        test_start=split.test_start,
        test_end=split.test_end,
    )


def _fit(split: Split, settings: TrainingSettings, folder: Path, watch: Watch) -> None:
    made = fit(training_data(split), settings, watch)
    watch.check()
    watch.stage("bundle")
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    (folder / "bundle").mkdir(parents=True)
    export.write(made, folder / "bundle")
    np.save(folder / "text_vectors.npy", made.text_vectors, allow_pickle=False)
    record = {"metrics": made.metrics, "base_encoder": made.base_encoder, "ended_by": made.ended_by}
    (folder / RECORD).write_text(json.dumps(record))
