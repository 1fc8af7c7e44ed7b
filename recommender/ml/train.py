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
import numpy.typing as npt
from torch import Tensor

from recommender.exceptions import RunError
from recommender.features import BERT_FEATURES
from recommender.head import Head
from recommender.heads import Heads
from recommender.ml import adapters, context, distillation, loop, mlm, threads
from recommender.ml.adapters import AdapterSettings, AdapterWeights
from recommender.ml.context import Context, ContextSettings, Trained, train_context
from recommender.ml.contrastive import TuneSettings
from recommender.ml.distillation import Lesson
from recommender.ml.encoder import Encoder, fingerprint, load_encoder
from recommender.ml.examples import Histories, Lists, Vectors, days, joined, lists_at
from recommender.ml.forest import Forest, ForestSettings, fit_forest
from recommender.ml.graded import GradedSettings, Taught, tune_on_grades
from recommender.ml.head import HeadSettings, calibrated, fit_head, judge
from recommender.ml.metrics import best_threshold, reciprocal_rank
from recommender.ml.multitask import Fitted, MultitaskSettings, fit_heads, ordering
from recommender.ml.pace import EVIDENCE, STEPS
from recommender.ml.pairs import build_pairs, known_items
from recommender.ml.shown import Places, places_of, slices
from recommender.ml.teacher import TeacherSettings, can_teach, pairs_from_histories
from recommender.ml.visits import Batchable, examples
from recommender.sequence import decayed_mean
from recommender.state import DAY_SECONDS, EVENT_WEIGHTS, build_state
from recommender.types import (
    Adaptation,
    FloatArray,
    Impressions,
    Interactions,
    ItemTable,
    Judgements,
    Profile,
    Teaching,
    Tuning,
)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Behaviour over one catalogue. Nothing at or after `train_end` is learned from; [test_start, test_end) judges."""

    interactions: Interactions
    items: ItemTable
    train_end: float
    test_start: float
    test_end: float
    judgements: Judgements | None = None
    impressions: Impressions = field(default_factory=Impressions.none)


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The knobs of one run. `minutes` is shared out to the stages; the least counts skip a stage on thin evidence.

    The head learns what follows within `horizon_days` of `n_cutoffs` moments, `step_days` apart (half a horizon).
    """

    minutes: float = 3.0
    seed: int = 0
    encoder: str = ""
    horizon_days: float = 30.0
    step_days: float | None = None
    n_cutoffs: int = 4
    lists_per_cutoff: int = 700
    n_threads: int | None = None
    adaptation: Adaptation = Adaptation.AUTO
    mask: mlm.MaskSettings = field(default_factory=mlm.MaskSettings)
    tuning: Tuning = Tuning.FULL
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
    least_examples: int = 200
    least_lists: int = 50
    least_judgements: int = 500
    least_judgements_for_teacher: int = 20_000
    least_impressions: int = 1_000
    adaptation_share: float = 0.08
    adaptation_tolerance: float = 0.01
    tune_share: float = 0.22
    context_share: float = 0.13
    graded_share: float = 0.3
    fold_share: float = 0.15
    teacher_share: float = 0.3
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

    text_vectors (n_items, d) float32 of unit length; delta (n_items, d) float32. untuned_on_grades: the encoder's
    weights before it saw a judgement, for whoever has to judge queries that an encoder has not seen. taught: what a
    teacher told it. skipped: stages that were not worth their time, with the reason in words. base_encoder: fingerprint
    before any training. ended_by: by stage, a word of `pace`.
    """

    encoder: Encoder
    items: ItemTable
    text_vectors: FloatArray
    untuned_on_grades: dict[str, Tensor] | None = None
    taught: Taught | None = None
    adapter: AdapterWeights | None = None
    context: Context | None = None
    delta: FloatArray | None = None
    head: Head | None = None
    baseline: Head | None = None
    forest: Forest | None = None
    shown: Fitted | None = None
    n_context_epochs: int = 0
    thresholds: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    base_encoder: str = ""
    ended_by: dict[str, str] = field(default_factory=dict)
    query_vectors: dict[str, FloatArray] = field(default_factory=dict, repr=False)

    @property
    def item_vectors(self) -> FloatArray:
        """norm(E + δ) of every item."""
        return moved(self.text_vectors, self.delta)

    @property
    def heads(self) -> Heads | None:
        """What was learned from lists that were shown."""
        return None if self.shown is None else self.shown.heads

    def probabilities(self, rows: FloatArray) -> FloatArray:
        """Return (n,) float32 as the server will: by head and trees; rows (n, f). Needs a head."""
        if self.head is None:
            raise RunError("No head was trained: there are no probabilities.")
        if self.heads is not None and (order := self.heads.order(rows)) is not None:
            return order
        if self.forest is None:
            return self.head.calibrate(self.head.logits(rows))
        return self.forest.mixture.calibrate(self.forest.scores(self.head, rows))

    def encode_query(self, query: str) -> FloatArray:
        """Return (d,) of a query in a history, as the server asks for it; each is encoded once."""
        key = " ".join(query.casefold().split())
        if key not in self.query_vectors:
            self.query_vectors[key] = self.encoder.encode([key])[0]
        return self.query_vectors[key]

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
    made = fit_encoder(data, behaviour, settings, progress)
    with _timed("context", made.seconds, progress):
        fit_context(made, behaviour, cutoffs, settings, progress)
    with _timed("head", made.seconds, progress):
        lists = head_lists(made, data, cutoffs, settings, progress)
        fit_head_on(made, lists, cutoffs, settings, progress)
        _fit_beside_head(made, lists, cutoffs, settings, progress)
    if len(data.impressions.between(cutoffs.behaviour_end, data.train_end)) >= settings.least_impressions:
        with _timed("impressions", made.seconds, progress):
            _fit_shown(made, data, cutoffs, settings, progress)
    with _timed("refresh", made.seconds, progress):
        refresh_context(made, until(data.interactions, data.train_end), settings, progress)
    _judge(made, data, settings, progress)
    for name, value in made.metrics.items():
        progress.metric(name, value)
    return made


def plan(data: TrainingData, settings: TrainingSettings) -> Cutoffs:
    """Lay the moments of the head half a horizon apart before the validation window; short pasts shorten both.

    `step_days` sets another distance.
    """
    known = data.interactions.time[data.interactions.time < data.train_end]
    span = (data.train_end - float(known[0])) / DAY_SECONDS if len(known) else 0.0
    horizon = min(settings.horizon_days, span / 5)
    validation = data.train_end - days(horizon)
    step = settings.step_days or horizon / 2
    head = tuple(validation - days(horizon + step * place) for place in reversed(range(settings.n_cutoffs)))
    head = tuple(at for at in head if at > data.train_end - days(span * 0.7)) or head[-1:]
    return Cutoffs(head[0], head, validation, horizon)


def until(interactions: Interactions, at: float) -> Interactions:
    """Return the events with time < `at`."""
    n = int(np.searchsorted(interactions.time, at, side="left"))
    return replace(interactions, **{name: column[:n] for name, column in interactions.columns().items()})


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
    """Load the encoder, adapt it to the shop's words, tune it on the pairs of `behaviour` and on judgements."""
    seconds: dict[str, float] = {}
    with _timed("encoder", seconds, progress):
        made = _untuned(data, settings)
    made.seconds = seconds
    if mlm.is_wanted(made.encoder, data.items.texts, settings.adaptation, settings.mask):
        with _timed("adaptation", seconds, progress):
            _adapt(made, settings, progress)
    with _timed("encoder", seconds, progress):
        _tune(made, behaviour, data.train_end, settings, progress)
        lesson = _lesson(made, data, behaviour, settings)
        _learn_grades(made, data.judgements, lesson, settings, progress)
        _encode(made)
    if lesson and not progress.should_stop():
        with _timed("teacher", seconds, progress):
            _teach(made, lesson, settings, progress)
    return made


def _untuned(data: TrainingData, settings: TrainingSettings) -> Artifacts:
    encoder = load_encoder(settings.encoder, data.items.texts, seed=settings.seed)
    blank = np.empty((0, encoder.dimension), np.float32)
    return Artifacts(encoder, data.items, blank, base_encoder=fingerprint(encoder))


def _encode(made: Artifacts) -> None:
    """Encode the catalogue, unless it was with these weights: it takes minutes where it is large."""
    if not len(made.text_vectors):
        made.text_vectors = made.encoder.encode(made.items.texts)


def _adapt(made: Artifacts, settings: TrainingSettings, progress: Progress) -> None:
    """Stage 0: the words of the shop. Weights that find known items worse than before are taken back."""
    texts, encoder = made.items.texts, made.encoder
    _encode(made)
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    known = search_quality(encoder.encode, texts, made.text_vectors)
    adapted = mlm.adapt(encoder, texts, box_of(settings, progress, share=settings.adaptation_share), settings.mask)
    vectors = encoder.encode(texts)
    found = search_quality(encoder.encode, texts, vectors)
    is_kept = found >= known - settings.adaptation_tolerance
    if is_kept:
        made.text_vectors = vectors
    else:
        encoder.model.load_state_dict(before)
    made.metrics |= {f"encoder_{name}": value for name, value in adapted.figures().items()}
    made.metrics |= {"encoder_adaptation_kept": float(is_kept)}
    made.ended_by["adaptation"] = adapted.ended_by
    made.metrics |= {"search_mrr_unadapted": known, "search_mrr_adapted": found}


def _tune(
    made: Artifacts, behaviour: Interactions, train_end: float, settings: TrainingSettings, progress: Progress
) -> None:
    """Stage 1: pairs, by the method of the run; what is too thin, frozen or stopped stays as it is."""
    items, encoder = made.items, made.encoder
    state = build_state(behaviour, items, at=float(behaviour.time[-1]) + 1 if len(behaviour) else train_end)
    pairs = build_pairs(behaviour, items, state)
    if settings.tuning == Tuning.FROZEN:
        return
    made.ended_by["encoder"] = EVIDENCE
    if len(pairs) < settings.least_pairs or progress.should_stop():
        return
    _encode(made)
    made.metrics["search_mrr_untuned"] = search_quality(encoder.encode, items.texts, made.text_vectors)
    share = settings.tune_share - (settings.adaptation_share if "encoder_adaptation_steps" in made.metrics else 0)
    tuned = adapters.tune(
        encoder,
        pairs,
        box_of(settings, progress, share=share),
        method=settings.tuning,
        settings=settings.tune,
        adapter_settings=settings.adapter,
        base_vectors=made.text_vectors,
    )
    made.adapter = tuned.adapter
    made.ended_by["encoder"] = tuned.ended_by
    made.metrics |= {f"encoder_{name}": value for name, value in tuned.figures().items()}
    made.text_vectors = encoder.encode(items.texts)
    made.metrics["search_mrr_tuned"] = search_quality(encoder.encode, items.texts, made.text_vectors)


def _learn_grades(
    made: Artifacts,
    judged: Judgements | None,
    lesson: Lesson | None,
    settings: TrainingSettings,
    progress: Progress,
) -> None:
    """Tune on graded answers, where there are enough, and remember the weights before it.

    Before a lesson half as long, for it goes on with the grades, and without the queries that will judge it.
    """
    if judged is None or len(judged) < settings.least_judgements or progress.should_stop():
        return
    made.untuned_on_grades = {name: value.clone() for name, value in made.encoder.model.state_dict().items()}
    box = box_of(settings, progress, share=settings.graded_share / (2 if lesson else 1))
    ended = tune_on_grades(
        made.encoder, lesson.kept if lesson else judged, made.items.texts, box, settings=settings.graded
    )
    made.metrics["encoder_graded_steps"] = float(ended.n_steps)
    made.ended_by["grades"] = ended.ended_by
    made.text_vectors = made.text_vectors[:0]


def _lesson(made: Artifacts, data: TrainingData, behaviour: Interactions, settings: TrainingSettings) -> Lesson | None:
    """What a teacher is to learn from: judgements, else, where it is asked for, histories. None with a reason."""
    judged = data.judgements
    if settings.teaching == Teaching.ON and not judged:
        judged = pairs_from_histories(behaviour, data.items.texts, seed=settings.seed)
    reason = distillation.why_not(
        settings.teaching,
        n_judged=len(judged or ()),
        least=settings.least_judgements_for_teacher,
        minutes=settings.minutes * settings.teacher_share,
    )
    if not reason and not can_teach(made.encoder):
        reason = f"Tuning {settings.tuning.value} leaves no BERT that could be copied."
    if reason or not judged:
        made.skipped["teacher"] = reason
        return None
    return Lesson.of(judged, seed=settings.seed)


def _teach(made: Artifacts, lesson: Lesson, settings: TrainingSettings, progress: Progress) -> None:
    """Stage 2: a teacher learns, and the encoder from it; what made it worse is taken back."""
    box = box_of(settings, progress, share=settings.teacher_share)
    done = distillation.distil(
        made.encoder,
        lesson,
        made.items.texts,
        box,
        vectors=made.text_vectors,
        settings=settings.teacher,
        graded=settings.graded,
    )
    made.taught = done.taught
    made.metrics |= {f"teacher_{name}": value for name, value in done.figures.items()}
    if done.taught is not None:
        made.text_vectors = made.encoder.encode(made.items.texts)


def box_of(settings: TrainingSettings, progress: Progress, *, share: float) -> loop.Box:
    """The limits and watchers of one stage that takes this share of a run's minutes."""
    return loop.Box(
        settings.minutes * share, settings.seed, progress.step, progress.should_stop, settings.checkpoint_dir
    )


def fit_context(
    made: Artifacts, behaviour: Interactions, cutoffs: Cutoffs, settings: TrainingSettings, progress: Progress
) -> None:
    """Train U and δ before the first moment of the head; keep them if any epoch was better than none."""
    made.ended_by["context"] = EVIDENCE
    histories = Histories(behaviour)
    check_from = float(np.quantile(behaviour.time, 0.9)) if len(behaviour) else cutoffs.behaviour_end
    cut = partial(
        examples, histories, new_weight=settings.context.new_weight, seed=settings.seed, n_items=len(made.items)
    )
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
    data = examples(
        Histories(behaviour), since=-np.inf, until=np.inf, most=20_000, new_weight=settings.context.new_weight,
        seed=settings.seed, n_items=len(made.items),
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
        query_vectors=_asked(made, behaviour.queries, [data] if check is None else [data, check]),
        seed=settings.seed,
        settings=settings.context,
        on_step=progress.step,
        should_stop=progress.should_stop,
    )


def _asked(made: Artifacts, queries: tuple[str, ...], parts: list[Batchable]) -> FloatArray:
    """Return (n_queries, d): vectors of the queries that examples ask, zeros for the others."""
    vectors = np.zeros((len(queries), made.text_vectors.shape[1]), np.float32)
    rows = np.unique(np.concatenate([part.current for part in parts])) - len(made.items)
    rows = rows[rows >= 0]
    if len(rows):
        vectors[rows] = made.encoder.encode([queries[row] for row in rows])
    return vectors


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


def _fit_beside_head(
    made: Artifacts, told: tuple[Lists, Lists], cutoffs: Cutoffs, settings: TrainingSettings, progress: Progress
) -> None:
    """The same head without BERT, which the gate compares with; and trees, where they bring something."""
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
    if not progress.should_stop():
        made.forest = fit_forest(lists, check, made.head, settings=settings.forest, on_figure=progress.metric)


def _fit_shown(
    made: Artifacts, data: TrainingData, cutoffs: Cutoffs, settings: TrainingSettings, progress: Progress
) -> None:
    """Learn from lists that were shown after encoder and context ended, and compare with the head on the newest."""
    cut = slices(data.impressions, since=cutoffs.behaviour_end, until=data.train_end)
    seen = partial(_seen, made, data, settings, progress)
    train, check, newest = (seen(part) for part in (cut.train, cut.calibration, cut.validation))
    if progress.should_stop():
        return
    made.shown = fit_heads(
        train, check, settings=settings.multitask, on_step=progress.step, should_stop=progress.should_stop
    )
    if made.shown is None:
        return
    made.metrics |= _named(made.shown.figures(newest), "validation")
    if made.head is not None:
        heads, gain = ordering(made.shown, made.probabilities(newest.rows), newest, settings.multitask)
        made.shown = replace(made.shown, heads=heads)
        made.metrics["shown_order_gain"] = gain


def _seen(
    made: Artifacts, data: TrainingData, settings: TrainingSettings, progress: Progress, chosen: npt.NDArray[np.int64]
) -> Places:
    vectors = made.item_vectors
    return places_of(
        data.impressions,
        chosen,
        Histories(data.interactions),
        made.items,
        Vectors(vectors, lambda profile: _context_of(made, profile, vectors)),
        most_lists=settings.multitask.most_lists,
        seed=settings.seed,
        should_stop=progress.should_stop,
    )


def _named(figures: dict[str, dict[str, float]], part: str) -> dict[str, float]:
    """Return the figures of the heads on lists flat: "click_validation_f1"."""
    return {f"{event}_{part}_{name}": value for event, of in figures.items() for name, value in of.items()}


def _judge(made: Artifacts, data: TrainingData, settings: TrainingSettings, progress: Progress) -> None:
    """Judge the probabilities on the test window, with the vectors that will be served."""
    if data.test_end <= data.test_start or progress.should_stop():
        return
    if made.shown is not None:
        places = _seen(made, data, settings, progress, data.impressions.between(data.test_start, data.test_end))
        made.metrics |= _named(made.shown.figures(places), "test")
    if made.head is None:
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
        return context.context_vector(made.context, profile, vectors, encode_query=made.encode_query)
    told, read, used = context.event_vectors(profile, vectors, made.encode_query)
    return decayed_mean(read, told.weight[used])


@contextmanager
def _timed(name: str, seconds: dict[str, float], progress: Progress) -> Iterator[None]:
    progress.stage(name)
    started = time.monotonic()
    yield
    seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - started, 1)
