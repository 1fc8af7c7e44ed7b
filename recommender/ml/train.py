"""The training of one bundle: behaviour and catalogue in, encoder, context model, corrections and head out.

Everything that learns from a moment sees only what happened before it: encoder and context model end where the first
moment of the head begins, the head ends where the validation window begins, the test window is only ever judged. Once
the head is fitted, the context model is trained again up to `train_end`, so that what is served is fresh.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from recommender.features import BERT_FEATURES
from recommender.features.head import NEWCOMERS
from recommender.features.shop_state import build_state
from recommender.features.weights import EVENT_WEIGHTS
from recommender.ml.artifacts import Artifacts, context_of
from recommender.ml.context.training import WEIGHED, Trained, train_context
from recommender.ml.context.visits import Batchable, examples
from recommender.ml.encoder.stage import fit_encoder
from recommender.ml.hardware import limit_threads
from recommender.ml.head.additive import calibrated, fit_head, judge
from recommender.ml.head.examples import Histories, Lists, Vectors, days, joined, lists_at
from recommender.ml.head.forest import fit_forest
from recommender.ml.head.multitask import fit_heads, ordering
from recommender.ml.head.newcomers import newcomer_gain
from recommender.ml.head.shown import Places, places_of, slices
from recommender.ml.metrics import best_threshold
from recommender.ml.pace import EVIDENCE, STEPS
from recommender.ml.plan import Cutoffs, TrainingData, TrainingSettings, plan, timed, until
from recommender.ml.progress import UNWATCHED, Progress
from recommender.tables import Interactions
from recommender.types import FloatArray

MOST_JUDGED = 200
"""Lists of the test window on which the probabilities are judged: sixty thousand candidates."""


def fit(data: TrainingData, settings: TrainingSettings, progress: Progress = UNWATCHED) -> Artifacts:
    """Run every stage that the evidence allows, within about `settings.minutes`."""
    limit_threads(settings.n_threads)
    cutoffs = plan(data, settings)
    behaviour = until(data.interactions, cutoffs.behaviour_end)
    made = fit_encoder(data, behaviour, settings, progress)
    settings = made.budget.shared(settings)
    with timed("context", made.seconds, progress):
        fit_context(made, behaviour, cutoffs, settings, progress)
    with timed("head", made.seconds, progress):
        lists = head_lists(made, data, cutoffs, settings, progress)
        fit_head_on(made, lists, cutoffs, settings, progress)
        _fit_beside_head(made, lists, cutoffs, settings, progress)
    if len(data.impressions.between(cutoffs.behaviour_end, data.train_end)) >= settings.least_impressions:
        with timed("impressions", made.seconds, progress):
            _fit_shown(made, data, cutoffs, settings, progress)
    with timed("refresh", made.seconds, progress):
        refresh_context(made, until(data.interactions, data.train_end), settings, progress)
    _judge(made, data, settings, progress)
    for name, value in made.metrics.items():
        progress.figure(name, value)
    return made


def fit_context(
    made: Artifacts, behaviour: Interactions, cutoffs: Cutoffs, settings: TrainingSettings, progress: Progress
) -> None:
    """Train U and δ before the first moment of the head; keep them if any epoch was better than none.

    First with every circumstance, which tells those that do not pay; then without these, for what they pretend to know
    ends a training early. Where the second finds nothing, the first stays, and is told no more of them.
    """
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
    half = replace(settings, context_share=settings.context_share / 2)
    trained = _train_context(made, behaviour, data, check, half, progress)
    made.metrics |= {f"context_{name}_gain": worth.gain for name, worth in trained.worth.items()}
    made.idle = trained.idle if trained.n_epochs else frozenset(WEIGHED)
    if made.idle:
        told = replace(settings.context, without=settings.context.without | made.idle)
        again = _train_context(made, behaviour, data, check, replace(half, context=told), progress)
        if again.n_epochs:
            trained, made.idle = again, made.idle | again.idle
    made.ended_by["context"] = trained.ended_by
    made.metrics |= {f"context_{name}_told": float(name not in made.idle) for name in WEIGHED}
    made.metrics["context_epochs"] = float(trained.n_epochs)
    if trained.n_epochs:
        made.context, made.delta, made.n_context_epochs = trained.model, trained.delta, trained.n_epochs


def refresh_context(made: Artifacts, behaviour: Interactions, settings: TrainingSettings, progress: Progress) -> None:
    """Train U and δ anew up to `train_end`, for as many epochs as were best, without the circumstances that were idle:
    what is served knows the newest items."""
    if made.context is None or progress.should_stop():
        return
    data = examples(
        Histories(behaviour), since=-np.inf, until=np.inf, most=20_000, new_weight=settings.context.new_weight,
        seed=settings.seed, n_items=len(made.items),
    )  # fmt: skip
    told = replace(settings.context, n_epochs=made.n_context_epochs, without=settings.context.without | made.idle)
    again = replace(settings, context=told)
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
        progress=progress,
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
        progress=progress,
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
        progress=progress,
    )
    made.baseline = calibrated(fitted, check)
    if not progress.should_stop():
        made.forest = fit_forest(lists, check, made.head, settings=settings.forest, progress=progress)
    made.thresholds[NEWCOMERS] = made.metrics[NEWCOMERS] = newcomer_gain(check, made.probabilities)


def _fit_shown(
    made: Artifacts, data: TrainingData, cutoffs: Cutoffs, settings: TrainingSettings, progress: Progress
) -> None:
    """Learn from lists that were shown after encoder and context ended, and compare with the head on the newest."""
    cut = slices(data.impressions, since=cutoffs.behaviour_end, until=data.train_end)
    seen = partial(_seen, made, data, settings, progress)
    train, check, newest = (seen(part) for part in (cut.train, cut.calibration, cut.validation))
    if progress.should_stop():
        return
    made.shown = fit_heads(train, check, settings=settings.multitask, progress=progress)
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
        Vectors(vectors, lambda profile: context_of(made, profile, vectors)),
        most_lists=settings.multitask.most_lists,
        seed=settings.seed,
        progress=progress,
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
    few = replace(settings, lists_per_cutoff=min(settings.lists_per_cutoff, MOST_JUDGED))
    lists = _Asker(made, data, few, progress)(data.test_start, data.test_end - data.test_start)
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
            Vectors(vectors, lambda profile: context_of(made, profile, vectors)),
            until=at + window_seconds,
            n_visitors=self.settings.lists_per_cutoff,
            seed=self.settings.seed,
            seconds=60 * self.settings.minutes * self.settings.head_share / (self.settings.n_cutoffs + 1),
            least=self.settings.least_lists,
            progress=self.progress,
        )
