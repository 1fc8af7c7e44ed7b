"""The training of one bundle: behaviour and catalogue in, encoder, context model, corrections and head out.

Everything that learns from a moment sees only what happened before it: encoder and context model end where the first
moment of the head begins, the head ends where the validation window begins, the test window is only ever judged. Once
the head is fitted, the context model is trained again up to `train_end`, so that what is served is fresh.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from recommender.features import BERT_FEATURES
from recommender.head import Head
from recommender.ml import context, threads
from recommender.ml.context import Batchable, Context, ContextSettings, Trained, train_context
from recommender.ml.contrastive import Tuned, TuneSettings, fine_tune
from recommender.ml.encoder import Encoder, fingerprint, load_encoder
from recommender.ml.examples import Histories, Lists, Vectors, days, joined, lists_at
from recommender.ml.head import HeadSettings, calibrated, fit_head, judge
from recommender.ml.metrics import best_threshold, reciprocal_rank
from recommender.ml.pace import EVIDENCE, STEPS
from recommender.ml.pairs import Pairs, build_pairs, known_items
from recommender.sequence import decayed_mean, sequence
from recommender.state import DAY_SECONDS, EVENT_WEIGHTS, build_state
from recommender.types import FloatArray, Interactions, ItemTable, Profile


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Behaviour over one catalogue. Nothing at or after `train_end` is learned from; [test_start, test_end) judges."""

    interactions: Interactions
    items: ItemTable
    train_end: float
    test_start: float
    test_end: float


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The knobs of one run. `minutes` is shared out to the stages; the least counts skip a stage on thin evidence."""

    minutes: float = 3.0
    seed: int = 0
    encoder: str = ""
    horizon_days: float = 30.0
    n_cutoffs: int = 4
    lists_per_cutoff: int = 700
    n_threads: int | None = None
    tune: TuneSettings = field(default_factory=TuneSettings)
    context: ContextSettings = field(default_factory=ContextSettings)
    head: HeadSettings = field(default_factory=HeadSettings)
    least_pairs: int = 500
    least_examples: int = 200
    least_lists: int = 50
    tune_share: float = 0.22
    context_share: float = 0.13
    checkpoint_dir: Path | None = None


class Progress(Protocol):
    """Who watches a run."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def step(self, done: int, total: int, loss: float) -> None:
        """A step of the stage is taken."""

    def metric(self, name: str, value: float) -> None:
        """A number is known."""

    def should_stop(self) -> bool:
        """Whether the run is to end early; asked at every step."""


class Silent:
    """A `Progress` that nobody watches."""

    def stage(self, name: str) -> None: ...

    def step(self, done: int, total: int, loss: float) -> None: ...

    def metric(self, name: str, value: float) -> None: ...

    def should_stop(self) -> bool:
        return False


@dataclass(slots=True)
class Artifacts:
    """What a run made; a stage that was skipped leaves None.

    text_vectors (n_items, d) float32 of unit length; delta (n_items, d) float32. base_encoder: fingerprint before
    tuning. ended_by: by stage, a word of `pace`.
    """

    encoder: Encoder
    items: ItemTable
    text_vectors: FloatArray
    context: Context | None = None
    delta: FloatArray | None = None
    head: Head | None = None
    baseline: Head | None = None
    n_context_epochs: int = 0
    thresholds: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    base_encoder: str = ""
    ended_by: dict[str, str] = field(default_factory=dict)

    @property
    def item_vectors(self) -> FloatArray:
        """norm(E + δ) of every item."""
        return moved(self.text_vectors, self.delta)

    def context_vector(self, profile: Profile) -> FloatArray:
        """Return (d,) for one profile; without a context model the decayed mean."""
        return _context_of(self, profile, self.item_vectors)


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """Moments of a run: encoder and context learn before `behaviour_end`, the head at `head`, then validation."""

    behaviour_end: float
    head: tuple[float, ...]
    validation: float
    horizon_days: float


def fit(data: TrainingData, settings: TrainingSettings, progress: Progress | None = None) -> Artifacts:
    """Run every stage that the evidence allows, within about `settings.minutes`."""
    progress = progress or Silent()
    threads.settle(settings.n_threads)
    cutoffs = plan(data, settings)
    behaviour = until(data.interactions, cutoffs.behaviour_end)
    seconds: dict[str, float] = {}
    with _timed("encoder", seconds, progress):
        made = fit_encoder(data, behaviour, settings, progress)
    made.seconds = seconds
    with _timed("context", seconds, progress):
        fit_context(made, behaviour, cutoffs, settings, progress)
    with _timed("head", seconds, progress):
        lists = head_lists(made, data, cutoffs, settings, progress)
        fit_head_on(made, lists, cutoffs, settings, progress)
        _fit_baseline(made, lists, cutoffs, settings, progress)
    with _timed("refresh", seconds, progress):
        refresh_context(made, until(data.interactions, data.train_end), settings, progress)
    _judge(made, data, settings, progress)
    for name, value in made.metrics.items():
        progress.metric(name, value)
    return made


def plan(data: TrainingData, settings: TrainingSettings) -> Cutoffs:
    """Lay the moments of the head half a horizon apart before the validation window; short pasts shorten both."""
    known = data.interactions.time[data.interactions.time < data.train_end]
    span = (data.train_end - float(known[0])) / DAY_SECONDS if len(known) else 0.0
    horizon = min(settings.horizon_days, span / 5)
    validation = data.train_end - days(horizon)
    head = tuple(validation - days(horizon * (1 + place / 2)) for place in reversed(range(settings.n_cutoffs)))
    head = tuple(at for at in head if at > data.train_end - days(span * 0.7)) or head[-1:]
    return Cutoffs(head[0], head, validation, horizon)


def until(interactions: Interactions, at: float) -> Interactions:
    """Return the events with time < `at`."""
    n = int(np.searchsorted(interactions.time, at, side="left"))
    columns = {
        name: getattr(interactions, name)[:n]
        for name in ("visitor", "item", "type", "time", "quantity", "basket", "query")
    }
    return Interactions(**columns, queries=interactions.queries)


def moved(text_vectors: FloatArray, delta: FloatArray | None) -> FloatArray:
    """Return norm(E + δ)."""
    if delta is None:
        return text_vectors
    total = text_vectors + delta
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def search_quality(
    encode: Callable[[list[str]], FloatArray], texts: tuple[str, ...], text_vectors: FloatArray, *, seed: int = 7
) -> float:
    """Return the MRR of up to 500 known-item queries made from titles: the guard that tuning keeps search."""
    queries, rows = known_items(texts, 500, seed=seed)
    scores = encode(queries) @ text_vectors.T
    order = np.argsort(-scores, axis=1)[:, :100]
    alike: dict[str, set[int]] = {}
    for row, text in enumerate(texts):
        alike.setdefault(text, set()).add(row)
    ranks = [reciprocal_rank(found.tolist(), alike[texts[row]]) for found, row in zip(order, rows, strict=True)]
    return float(np.mean(ranks)) if ranks else 0.0


def fit_encoder(
    data: TrainingData, behaviour: Interactions, settings: TrainingSettings, progress: Progress
) -> Artifacts:
    """Load the encoder and tune it on the pairs of `behaviour`, where these are enough."""
    items = data.items
    encoder = load_encoder(settings.encoder, items.texts, seed=settings.seed)
    state = build_state(behaviour, items, at=float(behaviour.time[-1]) + 1 if len(behaviour) else data.train_end)
    pairs = build_pairs(behaviour, items, state)
    base = encoder.encode(items.texts)
    made = Artifacts(encoder, items, base, base_encoder=fingerprint(encoder), ended_by={"encoder": EVIDENCE})
    if len(pairs) < settings.least_pairs or progress.should_stop():
        return made
    made.metrics["search_mrr_untuned"] = search_quality(encoder.encode, items.texts, base)
    made.ended_by["encoder"] = _tune(encoder, pairs, base, settings, progress).ended_by
    made.text_vectors = encoder.encode(items.texts)
    made.metrics["search_mrr_tuned"] = search_quality(encoder.encode, items.texts, made.text_vectors)
    return made


def _tune(encoder: Encoder, pairs: Pairs, base: FloatArray, settings: TrainingSettings, progress: Progress) -> Tuned:
    return fine_tune(
        encoder,
        pairs,
        minutes=settings.minutes * settings.tune_share,
        seed=settings.seed,
        settings=settings.tune,
        base_vectors=base,
        on_step=progress.step,
        should_stop=progress.should_stop,
        checkpoint_dir=settings.checkpoint_dir,
    )


def fit_context(
    made: Artifacts, behaviour: Interactions, cutoffs: Cutoffs, settings: TrainingSettings, progress: Progress
) -> None:
    """Train U and δ before the first moment of the head; keep them if any epoch was better than none."""
    made.ended_by["context"] = EVIDENCE
    histories = Histories(behaviour)
    check_from = float(np.quantile(behaviour.time, 0.9)) if len(behaviour) else cutoffs.behaviour_end
    cut = partial(context.examples, histories, new_weight=settings.context.new_weight, seed=settings.seed)
    data = cut(since=-np.inf, until=check_from, most=20_000)
    check = cut(since=check_from, until=cutoffs.behaviour_end, most=1_000)
    if len(data) < settings.least_examples or not len(check) or progress.should_stop():
        return
    trained = _train_context(made, behaviour, data, check, settings, progress)
    made.ended_by["context"] = trained.ended_by
    if trained.n_epochs:
        made.context, made.delta, made.n_context_epochs = trained.model, trained.delta, trained.n_epochs


def refresh_context(made: Artifacts, behaviour: Interactions, settings: TrainingSettings, progress: Progress) -> None:
    """Train U and δ anew up to `train_end`, for as many epochs as were best: what is served knows the newest items."""
    if made.context is None or progress.should_stop():
        return
    data = context.examples(
        Histories(behaviour), since=-np.inf, until=np.inf, most=20_000, new_weight=settings.context.new_weight,
        seed=settings.seed,
    )  # fmt: skip
    again = replace(settings, context=replace(settings.context, n_epochs=made.n_context_epochs))
    trained = _train_context(made, behaviour, data, None, again, progress)
    made.ended_by["refresh"] = trained.ended_by
    made.context, made.delta = trained.model, trained.delta


def _train_context(
    made: Artifacts,
    behaviour: Interactions,
    data: Batchable,
    check: Batchable | None,
    settings: TrainingSettings,
    progress: Progress,
) -> Trained:
    weight = np.where(behaviour.item >= 0, EVENT_WEIGHTS[behaviour.type], 0)
    return train_context(
        data,
        check,
        made.text_vectors,
        np.bincount(np.maximum(behaviour.item, 0), weights=weight, minlength=len(made.items)).astype(np.float32),
        minutes=settings.minutes * settings.context_share,
        seed=settings.seed,
        settings=settings.context,
        on_step=progress.step,
        should_stop=progress.should_stop,
    )


def head_lists(
    made: Artifacts, data: TrainingData, cutoffs: Cutoffs, settings: TrainingSettings, progress: Progress
) -> tuple[Lists, Lists]:
    """Return the lists that the head learns from, and later ones that calibrate it."""
    asked = _Asker(made, data, settings, progress)
    lists = joined([asked(at, days(cutoffs.horizon_days)) for at in cutoffs.head])
    return lists, asked(cutoffs.validation, data.train_end - cutoffs.validation)


def fit_head_on(
    made: Artifacts, told: tuple[Lists, Lists], cutoffs: Cutoffs, settings: TrainingSettings, progress: Progress
) -> None:
    """Fit the head on what `head_lists` returned, where that is enough."""
    lists, check = told
    made.ended_by["head"] = EVIDENCE
    if len(lists) < settings.least_lists or not check.labels.any() or progress.should_stop():
        return
    made.ended_by["head"] = STEPS
    fitted = fit_head(
        lists,
        horizon_days=cutoffs.horizon_days,
        settings=settings.head,
        on_step=progress.step,
        should_stop=progress.should_stop,
    )
    made.head = calibrated(fitted, check)
    rows, labels = check.flat()
    threshold = best_threshold(labels, made.head.calibrate(made.head.logits(rows)))
    made.thresholds = {"buy": threshold}
    made.metrics |= {f"validation_{k}": v for k, v in judge(made.head, check, threshold=threshold).items()}


def _fit_baseline(
    made: Artifacts, told: tuple[Lists, Lists], cutoffs: Cutoffs, settings: TrainingSettings, progress: Progress
) -> None:
    """The same head without BERT: what the gate compares with."""
    if made.head is None:
        return
    lists, check = told
    fitted = fit_head(
        lists,
        horizon_days=cutoffs.horizon_days,
        without=BERT_FEATURES,
        settings=settings.head,
        should_stop=progress.should_stop,
    )
    made.baseline = calibrated(fitted, check)


def _judge(made: Artifacts, data: TrainingData, settings: TrainingSettings, progress: Progress) -> None:
    """Judge the probabilities on the test window, with the vectors that will be served."""
    if made.head is None or data.test_end <= data.test_start or progress.should_stop():
        return
    lists = _Asker(made, data, settings, progress)(data.test_start, data.test_end - data.test_start)
    if lists.labels.any():
        figures = judge(made.head, lists, threshold=made.thresholds["buy"])
        made.metrics |= {f"test_{name}": value for name, value in figures.items()}


@dataclass(slots=True)
class _Asker:
    """Asks for the lists of one moment, with the state of that moment."""

    made: Artifacts
    data: TrainingData
    settings: TrainingSettings
    progress: Progress
    histories: Histories = field(init=False)

    def __post_init__(self) -> None:
        self.histories = Histories(self.data.interactions)

    def __call__(self, at: float, window_seconds: float) -> Lists:
        made = self.made
        vectors = made.item_vectors
        return lists_at(
            self.histories,
            build_state(self.data.interactions, made.items, at=at),
            made.items,
            Vectors(vectors, lambda profile: _context_of(made, profile, vectors)),
            until=at + window_seconds,
            n_visitors=self.settings.lists_per_cutoff,
            seed=self.settings.seed,
            should_stop=self.progress.should_stop,
        )


def _context_of(made: Artifacts, profile: Profile, vectors: FloatArray) -> FloatArray:
    if made.context is not None:
        return context.context_vector(made.context, profile, vectors)
    told = sequence(profile)
    used = told.item >= 0
    return decayed_mean(vectors[told.item[used]], told.weight[used])


@contextmanager
def _timed(name: str, seconds: dict[str, float], progress: Progress) -> Iterator[None]:
    progress.stage(name)
    started = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - started, 1)
