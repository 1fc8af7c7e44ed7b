"""Trains on a split and writes a folder of weights with the vectors of every item; a complete folder is reused."""

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
from recommender.bundles.arms import write_arms
from recommender.features.shop_state import ShopState
from recommender.ml import export
from recommender.ml.artifacts import Artifacts
from recommender.ml.plan import TrainingData, TrainingSettings
from recommender.ml.progress import Progress
from recommender.ml.train import fit
from recommender.runs import knobs
from recommender.runs.figures import Figures
from recommender.runs.settings import RunSettings
from recommender.serving.shelf import build_shelf
from recommender.training.judging import parity
from recommender.training.matcher import MatcherData, fit_matcher
from recommender.training.measured import figures_of_stages
from recommender.training.new_items import new_items_arm
from recommender.training.shortfall import Course, StepCounter
from recommender.training.split import Split
from recommender.types import Adaptation, FineTuning, FloatArray, Teaching

FIT_SHARE = 0.65
"""Share of the minutes for training and export; reading and evaluation take the rest."""

RECORD = "fitted.json"
"""Written last: a folder that has it is complete."""

NEVER = 2**62
SHARED = (
    "horizon_days", "step_days", "n_threads", "n_processes", "least_pairs", "least_examples", "least_lists",
    "least_tuning_steps", "least_judgements_for_teacher", "least_impressions",
)  # fmt: skip
"""Settings of a run that training has under the same name."""

LEAST_MINUTES = 3.0
LISTS, MOST_LISTS = 700, 1_600
"""Lists per moment in a run of up to three minutes, and at most: 1,600 lists of six moments take 0.7 GB."""


@dataclasses.dataclass(frozen=True, slots=True)
class FittedBundle:
    """`folder` holds the files of a bundle; text_vectors (n_items, d) float32; figures: those of the stages.

    base_encoder: fingerprint of the encoder before fine-tuning; ended_by: what ended each stage; courses: how many
    steps each took.
    """

    folder: Path
    text_vectors: FloatArray
    figures: Figures
    base_encoder: str
    ended_by: Mapping[str, str]
    courses: tuple[Course, ...] = ()


def fitted(
    split: Split, settings: RunSettings, folder: Path, watch: Progress, *, share: float = FIT_SHARE
) -> FittedBundle:
    """Train within a share of the minutes, or read what this run trained before its process was ended."""
    if not (folder / RECORD).is_file():
        _fit(split, training_settings(settings, folder, share=share), folder, watch)
    return _read(folder)


def fitted_untuned(split: Split, settings: RunSettings, folder: Path, watch: Progress) -> FittedBundle:
    """Train context model and head on the encoder as it came, in half the time: there is nothing to fine-tune."""
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


def training_settings(
    settings: RunSettings, folder: Path | None = None, *, minutes: float | None = None, share: float = FIT_SHARE
) -> TrainingSettings:
    """The run's settings as training takes them; a run may lower the evidence that a stage needs.

    Without a `folder` nothing is resumed. Raises ConfigurationError for a knob with a wrong name or value.
    """
    chosen: dict[str, Any] = {
        "adaptation": settings.adaptation and Adaptation(settings.adaptation),
        "fine_tuning": settings.fine_tuning and FineTuning(settings.fine_tuning),
        "teaching": settings.teacher and Teaching(settings.teacher),
        "mask": None
        if settings.least_texts is None
        else dataclasses.replace(TrainingSettings().mask, least_texts=settings.least_texts),
        **{name: getattr(settings, name) for name in SHARED},
    }
    training = TrainingSettings(
        minutes=(settings.minutes if minutes is None else minutes) * share,
        seed=settings.seed,
        encoder=bundles.encoder_spec() if settings.encoder == "auto" else settings.encoder,
        lists_per_cutoff=_n_lists(settings.minutes),
        checkpoint_dir=folder / "checkpoints" if folder else None,
        **{name: value for name, value in chosen.items() if value is not None},
    )
    return turned(training, settings.knobs)


def turned(settings: TrainingSettings, values: Mapping[str, Any]) -> TrainingSettings:
    """Return the settings with these knobs. Raises ConfigurationError for one that is unknown or out of range."""
    for name, number in knobs.validated(values).items():
        part, _, field = name.rpartition(".")
        value: Any = dataclasses.replace(getattr(settings, part), **{field: number}) if part else number
        settings = dataclasses.replace(settings, **{part or field: value})
    return settings


def knob_values(settings: TrainingSettings, of: Iterable[knobs.Knob] = knobs.KNOBS) -> knobs.Values:
    """Return the present values of the knobs."""
    return {knob.name: operator.attrgetter(knob.name)(settings) for knob in of}


def in_full(settings: TrainingSettings) -> dict[str, Any]:
    """Every setting as JSON, a set as a sorted list; without the folder, which is another one each time."""
    values = dataclasses.asdict(settings)
    del values["checkpoint_dir"]
    stored: dict[str, Any] = json.loads(json.dumps(values, default=sorted))
    return stored


def _n_lists(minutes: float) -> int:
    """How many lists the head learns from at each moment: as three minutes allow, more where there is time."""
    return min(int(LISTS * np.sqrt(max(minutes, LEAST_MINUTES) / LEAST_MINUTES)), MOST_LISTS)


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


def _read(folder: Path) -> FittedBundle:
    record = json.loads((folder / RECORD).read_text())
    vectors = np.load(folder / "text_vectors.npy", allow_pickle=False)
    figures = Figures.of(record["figures"])
    courses = tuple(Course(*course) for course in record["courses"])
    return FittedBundle(folder / "bundle", vectors, figures, record["base_encoder"], record["ended_by"], courses)


def _fit(split: Split, settings: TrainingSettings, folder: Path, watch: Progress) -> None:
    counter = StepCounter(watch)
    trained = fit(training_data(split), settings, counter)
    watch.check()
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    (folder / "bundle").mkdir(parents=True)
    watch.stage("search")
    of_matcher = _fit_matcher(trained, split, settings, folder / "bundle", watch)
    watch.check()
    watch.stage("bundle")
    export.write(trained, folder / "bundle")
    arm = new_items_arm(trained, split, seed=settings.seed, progress=watch)
    watch.check()
    write_arms(folder / "bundle", {"new": arm} if arm else {})
    parity.record(trained, split, folder, seed=settings.seed)
    np.save(folder / "text_vectors.npy", trained.text_vectors, allow_pickle=False)
    figures = figures_of_stages(trained, of_matcher, fine_tuning=trained.budget.fine_tuning)
    record = {
        "figures": figures.as_json(), "base_encoder": trained.base_encoder, "ended_by": trained.ended_by,
        "courses": counter.courses,
    }  # fmt: skip
    draft = folder / f"{RECORD}.new"
    draft.write_text(json.dumps(record))
    draft.replace(folder / RECORD)


def _fit_matcher(
    trained: Artifacts, split: Split, settings: TrainingSettings, folder: Path, watch: Progress
) -> dict[str, float]:
    """Train the trees of search where enough queries were judged, and return their figures; elsewhere search keeps the
    fixed formula."""
    if len(split.judgements) < settings.least_judgements:
        return {}
    n_items = len(split.items)
    no_events = ShopState.from_columns(
        at=split.test_start, counts=np.zeros((n_items, 4), np.float32), last_event_at=np.full(n_items, -np.inf)
    )
    shelf = build_shelf(split.items, titles=split.titles, brands=split.brands or None, state=no_events)
    data = MatcherData(split.judgements, shelf, trained.encoder, trained.text_vectors, trained.partly)
    figures = fit_matcher(data, folder, most_texts=trained.budget.judged_texts, seed=settings.seed, progress=watch)
    for name, value in figures.items():
        watch.figure(name, value)
    return figures
