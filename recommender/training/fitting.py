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

from recommender import bundles
from recommender.features.head import EVENTS
from recommender.features.shop_state import ShopState
from recommender.ml import export
from recommender.ml.artifacts import Artifacts
from recommender.ml.plan import TrainingData, TrainingSettings
from recommender.ml.progress import Progress
from recommender.ml.train import fit
from recommender.runs import knobs
from recommender.serving.shelf import build_shelf
from recommender.training.judging import parity
from recommender.training.matcher import fit_matcher
from recommender.training.split import Split
from recommender.types import Adaptation, FineTuning, FloatArray, Teaching

FIT_SHARE = 0.65
"""Share of the minutes for training and export; reading and evaluation take the rest."""

RECORD = "fitted.json"
"""Written last: a folder that has it is whole."""

NEVER = 2**62
LEAST_MINUTES, MANY = 3.0, 1.6
LISTS, MOST_LISTS = 300, 1_600
"""Lists per moment in the shortest run, and at most: 1,600 lists of six moments take 0.7 GB."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fitted:
    """`folder` holds the files of a bundle; text_vectors (n_items, d) float32; metrics: numbers by name.

    base_encoder: fingerprint of the encoder before tuning; ended_by: what ended each stage; skipped: stages with the
    reason why.
    """

    folder: Path
    text_vectors: FloatArray
    metrics: Mapping[str, float]
    base_encoder: str
    ended_by: Mapping[str, str]
    skipped: Mapping[str, str]


def fitted(
    split: Split, settings: Mapping[str, Any], folder: Path, watch: Progress, *, share: float = FIT_SHARE
) -> Fitted:
    """Train within a share of the minutes, or take up what this run has trained before its process was ended."""
    if not (folder / RECORD).is_file():
        _fit(split, training_settings(settings, folder, share=share), folder, watch)
    return _read(folder)


def fitted_untuned(split: Split, settings: Mapping[str, Any], folder: Path, watch: Progress) -> Fitted:
    """Train context model and head on the encoder as it came, in half the time: there is nothing to tune."""
    if not (folder / RECORD).is_file():
        tuned = training_settings(settings, folder)
        untuned = dataclasses.replace(
            tuned,
            minutes=tuned.minutes / 2,
            least_pairs=NEVER,
            adaptation=Adaptation.NEVER,
            fine_tuning=FineTuning.FROZEN,
            teaching=Teaching.OFF,
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
    return {"fine_tuning": str(settings.get("fine_tuning", FineTuning.FULL)), **figures}


def context_figures(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The context model's part of `Run.metrics`: by circumstance `gain` in nats, and `told`, 1 or 0."""
    found: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        part, _, rest = name.partition("_")
        circumstance, _, figure = rest.rpartition("_")
        if part == "context" and figure in ("gain", "told"):
            found.setdefault(circumstance, {})[figure] = value
    return found


def teacher_figures(made: Fitted) -> dict[str, Any]:
    """The teacher's part of `Run.metrics`: its and the student's accuracy on held-out queries, or why it has none."""
    if "teacher" in made.skipped:
        return {"skipped": made.skipped["teacher"]}
    prefix = "teacher_"
    figures = {name.removeprefix(prefix): value for name, value in made.metrics.items() if name.startswith(prefix)}
    return {name: value for name, value in figures.items() if value == value}


def training_settings(
    settings: Mapping[str, Any], folder: Path | None = None, *, minutes: float | None = None, share: float = FIT_SHARE
) -> TrainingSettings:
    """The run's settings as training takes them; a run may lower the evidence that a stage needs.

    Without a `folder` nothing is resumed. Raises ConfigurationError for a knob that cannot be turned so.
    """
    spec = str(settings.get("encoder", "auto"))
    default = TrainingSettings()
    n_cutoffs, n_lists = _moments(float(settings["minutes"]))
    mask = dataclasses.replace(default.mask, least_texts=int(settings.get("least_texts", default.mask.least_texts)))
    told = TrainingSettings(
        minutes=float(settings["minutes"] if minutes is None else minutes) * share,
        seed=int(settings.get("seed", 0)),
        encoder=bundles.encoder_spec() if spec == "auto" else spec,
        n_threads=settings.get("n_threads"),
        horizon_days=float(settings.get("horizon_days", default.horizon_days)),
        step_days=settings.get("step_days"),
        n_cutoffs=n_cutoffs,
        lists_per_cutoff=n_lists,
        adaptation=Adaptation(settings.get("adaptation", default.adaptation)),
        mask=mask,
        fine_tuning=FineTuning(settings.get("fine_tuning", default.fine_tuning)),
        teaching=Teaching(settings.get("teacher", default.teaching)),
        checkpoint_dir=folder / "checkpoints" if folder else None,
        least_pairs=int(settings.get("least_pairs", default.least_pairs)),
        least_examples=int(settings.get("least_examples", default.least_examples)),
        least_lists=int(settings.get("least_lists", default.least_lists)),
        least_judgements_for_teacher=int(
            settings.get("least_judgements_for_teacher", default.least_judgements_for_teacher)
        ),
        least_impressions=int(settings.get("least_impressions", default.least_impressions)),
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
    """Every setting as JSON, a set as a sorted list; the folder is left out: it is another one each time."""
    told = dataclasses.asdict(settings)
    del told["checkpoint_dir"]
    whole: dict[str, Any] = json.loads(json.dumps(told, default=sorted))
    return whole


def _moments(minutes: float) -> tuple[int, int]:
    """How many moments and lists of each the head learns from: as three minutes allow, more where there is time."""
    many = float(np.sqrt(max(minutes, LEAST_MINUTES) / LEAST_MINUTES))
    return 4 if many < MANY else 6, min(int(LISTS * many), MOST_LISTS)


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
        judgements=split.judgements,
        impressions=split.impressions,
    )


def _fit(split: Split, settings: TrainingSettings, folder: Path, watch: Progress) -> None:
    made = fit(training_data(split), settings, watch)
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
    record = {
        "metrics": made.metrics, "base_encoder": made.base_encoder, "ended_by": made.ended_by, "skipped": made.skipped,
    }  # fmt: skip
    (folder / RECORD).write_text(json.dumps(record))


def _fit_matcher(
    made: Artifacts, split: Split, settings: TrainingSettings, folder: Path, watch: Progress
) -> dict[str, float]:
    """Train the trees of search where enough queries were judged; search keeps the fixed formula elsewhere."""
    if len(split.judgements) < settings.least_judgements:
        return {}
    texts = split.items.texts
    nothing = ShopState.from_columns(
        at=split.test_start, counts=np.zeros((len(texts), 4), np.float32), last_event_at=np.full(len(texts), -np.inf)
    )
    shelf = build_shelf(split.items, titles=split.titles, brands=split.brands or None, state=nothing)
    return fit_matcher(
        split.judgements, shelf, made.encoder, folder,
        vectors=made.text_vectors, partly=made.partly, most_texts=made.budget.judged_texts, seed=settings.seed,
        progress=watch,
    )  # fmt: skip
