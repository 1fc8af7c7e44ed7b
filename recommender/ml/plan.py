"""The data and settings of a training, and the moments up to which each of its stages learns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from recommender.durations import DAY_SECONDS
from recommender.ml import loop
from recommender.ml.context.model import ContextSettings
from recommender.ml.encoder import mlm
from recommender.ml.encoder.adapters import AdapterSettings
from recommender.ml.encoder.contrastive import TuneSettings
from recommender.ml.encoder.graded import GradedSettings
from recommender.ml.encoder.teacher import TeacherSettings
from recommender.ml.head.additive import HeadSettings
from recommender.ml.head.forest import ForestSettings
from recommender.ml.head.multitask import MultitaskSettings
from recommender.ml.progress import Progress
from recommender.tables import Impressions, Interactions, ItemTable, Judgements
from recommender.types import Adaptation, FineTuning, Teaching


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Behaviour over one catalogue. Training ends before `train_end`; [test_start, test_end) is the test window."""

    interactions: Interactions
    items: ItemTable
    train_end: float
    test_start: float
    test_end: float
    judgements: Judgements | None = None
    impressions: Impressions = field(default_factory=Impressions.none)


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How one run is trained. `budget` divides the minutes; a stage with less than its `least_...` is skipped.

    The head learns what follows within `horizon_days` of `n_cutoffs` moments, `step_days` apart (default: half a
    horizon). Where minutes are few, they pay most in its lists: in a month of the demo 4,100 lists instead of 1,400
    gained .006 NDCG@10 on all items and .010 on new ones; six epochs of the context model instead of one gained
    nothing. Fine-tuning of the encoder is left out where there is no time for `least_tuning_steps`. n_processes: see
    `processes.n_processes`; the result is the same whatever their number.
    """

    minutes: float = 3.0
    seed: int = 0
    encoder: str = ""
    horizon_days: float = 30.0
    step_days: float | None = None
    n_cutoffs: int = 6
    lists_per_cutoff: int = 700
    n_threads: int | None = None
    n_processes: int | None = None
    adaptation: Adaptation = Adaptation.AUTO
    mask: mlm.MaskSettings = field(default_factory=mlm.MaskSettings)
    fine_tuning: FineTuning = FineTuning.FULL
    tune: TuneSettings = field(default_factory=TuneSettings)
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    context: ContextSettings = field(default_factory=ContextSettings)
    head: HeadSettings = field(default_factory=HeadSettings)
    graded: GradedSettings = field(default_factory=GradedSettings)
    teaching: Teaching = Teaching.OFF
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    forest: ForestSettings = field(default_factory=ForestSettings)
    multitask: MultitaskSettings = field(default_factory=MultitaskSettings)
    least_pairs: int = 500
    least_tuning_steps: int = 100
    least_examples: int = 200
    least_lists: int = 50
    least_judgements: int = 500
    least_judgements_for_teacher: int = 20_000
    least_impressions: int = 1_000
    adaptation_share: float = 0.08
    adaptation_tolerance: float = 0.01
    tune_share: float = 0.22
    context_share: float = 0.06
    head_share: float = 0.22
    graded_share: float = 0.6
    teacher_share: float = 0.3
    checkpoint_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """Times (Unix seconds): encoder and context learn up to `behaviour_end`, the head at `head`, then validation."""

    behaviour_end: float
    head: tuple[float, ...]
    validation: float
    horizon_days: float


def plan(data: TrainingData, settings: TrainingSettings) -> Cutoffs:
    """Place the moments of the head before the validation window; a short history shortens horizon and distances."""
    past = data.interactions.time[data.interactions.time < data.train_end]
    span = (data.train_end - float(past[0])) / DAY_SECONDS if len(past) else 0.0
    horizon = min(settings.horizon_days, span / 5)
    validation = data.train_end - horizon * DAY_SECONDS
    step = settings.step_days or horizon / 2
    head = tuple(validation - (horizon + step * i) * DAY_SECONDS for i in reversed(range(settings.n_cutoffs)))
    head = tuple(at for at in head if at > data.train_end - span * 0.7 * DAY_SECONDS) or head[-1:]
    return Cutoffs(head[0], head, validation, horizon)


def until(interactions: Interactions, at: float) -> Interactions:
    """Return the events with time < `at`."""
    n = int(np.searchsorted(interactions.time, at, side="left"))
    return replace(interactions, **{name: column[:n] for name, column in interactions.columns().items()})


def box_of(settings: TrainingSettings, progress: Progress, *, share: float) -> loop.Box:
    """The limits and watchers of one stage that takes this share of a run's minutes."""
    return loop.Box(settings.minutes * share, settings.seed, progress, settings.checkpoint_dir)


@contextmanager
def timed(name: str, seconds: dict[str, float], progress: Progress) -> Iterator[None]:
    """Report the stage `name` and add the seconds that it takes to `seconds`."""
    progress.stage(name)
    started = time.monotonic()
    yield
    seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - started, 1)
