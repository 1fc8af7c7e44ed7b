"""Trains one bundle, stage by stage: encoder, context model, head, and the heads for lists that were shown.

What is learned from a moment sees only what happened before it. Encoder and context model end where the head's first
moment begins, the head ends where the validation window begins, and the test window only judges. After the head is
fitted the context model is trained once more up to `train_end`, so that what is served is fresh.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from recommender.durations import DAY_SECONDS
from recommender.features import BERT_FEATURES
from recommender.features.head import NEW_SHARE, NEWCOMERS
from recommender.features.weights import EVENT_WEIGHTS
from recommender.ml.artifacts import Artifacts, context_of
from recommender.ml.context.training import WEIGHED, ContextData, Trained, Worth, train_context
from recommender.ml.context.visits import Batchable, examples
from recommender.ml.encoder.stage import fit_encoder
from recommender.ml.hardware import limit_threads
from recommender.ml.head.additive import calibrated, fit_head, judge, newcomer_gain
from recommender.ml.head.composition import new_share
from recommender.ml.head.forest import fit_forest
from recommender.ml.head.lists import Lists, Sample, ShopHistory, Vectors, joined, lists_at
from recommender.ml.head.multitask import fit_heads, ordering
from recommender.ml.head.shown import ShownItems, shown_items, slices
from recommender.ml.histories import Histories
from recommender.ml.metrics import best_threshold
from recommender.ml.pace import EVIDENCE, STEPS
from recommender.ml.plan import TrainingData, TrainingSettings, plan, timed, until
from recommender.ml.processes import n_processes, shared_out
from recommender.ml.progress import UNWATCHED, Progress
from recommender.types import FloatArray

MOST_TEST_LISTS = 200
"""Lists of the test window on which the probabilities are judged: sixty thousand candidates."""

UNKNOWN_WORTH = Worth(float("nan"), float("nan"))
"""Of a circumstance where no epoch of the context model was better than none."""

MOST_VISITS, MOST_CHECKED_VISITS = 20_000, 1_000
"""Visits that the context model learns from, and on which it is checked after each epoch."""


def fit(data: TrainingData, settings: TrainingSettings, progress: Progress = UNWATCHED) -> Artifacts:
    """Run every stage that the evidence allows, within about `settings.minutes`."""
    training = Training(data, settings, progress)
    artifacts = training.artifacts
    with training.timed("context"):
        training.fit_context()
    with training.timed("head"):
        lists, check = training.head_lists()
        training.fit_head(lists, check)
        training.fit_competing_heads(lists, check)
    if training.has_enough_impressions:
        with training.timed("impressions"):
            training.fit_shown()
    with training.timed("refresh"):
        training.refresh_context()
    training.judge()
    for name, value in _figures(artifacts):
        progress.figure(name, value)
    return artifacts


class Training:
    """One training: its data, settings and moments, who watches it, and what the stages have made so far.

    Without `artifacts` it begins with the encoder; with those of an encoder stage it goes on from there.
    """

    def __init__(
        self,
        data: TrainingData,
        settings: TrainingSettings,
        progress: Progress = UNWATCHED,
        *,
        artifacts: Artifacts | None = None,
    ) -> None:
        limit_threads(settings.n_threads)
        self.data, self.progress, self.cutoffs = data, progress, plan(data, settings)
        self.behaviour = until(data.interactions, self.cutoffs.behaviour_end)
        self.artifacts = artifacts or fit_encoder(data, self.behaviour, settings, progress)
        self.settings = self.artifacts.budget.shared(settings)
        self._histories = Histories(data.interactions)

    def timed(self, stage: str) -> AbstractContextManager[None]:
        """Report that a stage begins, and add its seconds to the artifacts."""
        return timed(stage, self.artifacts.seconds, self.progress)

    def fit_context(self) -> None:
        """Train U and δ before the first moment of the head; keep them if some epoch lowered the held-out loss.

        A first training uses every circumstance and finds those that lower no loss; a second leaves them out, because
        a model that reads them overfits earlier. If no epoch of the second helps, the first stays without them.
        """
        artifacts, settings, behaviour = self.artifacts, self.settings, self.behaviour
        artifacts.ended_by["context"] = EVIDENCE
        check_from = float(np.quantile(behaviour.time, 0.9)) if len(behaviour) else self.cutoffs.behaviour_end
        cut = partial(
            examples, Histories(behaviour), new_weight=settings.context.new_weight, seed=settings.seed,
            n_items=len(artifacts.items),
        )  # fmt: skip
        data = cut(since=-np.inf, until=check_from, most=MOST_VISITS)
        check = cut(since=check_from, until=self.cutoffs.behaviour_end, most=MOST_CHECKED_VISITS)
        if len(data) < settings.least_examples or not len(check) or self.progress.should_stop():
            return
        trained = self._train_context(data, check, share=settings.context_share / 2)
        artifacts.circumstances = {name: trained.worth.get(name, UNKNOWN_WORTH) for name in WEIGHED}
        artifacts.idle = trained.idle if trained.n_epochs else frozenset(WEIGHED)
        if artifacts.idle:
            again = self._train_context(data, check, share=settings.context_share / 2)
            if again.n_epochs:
                trained, artifacts.idle = again, artifacts.idle | again.idle
        artifacts.ended_by["context"] = trained.ended_by
        artifacts.metrics["context_epochs"] = float(trained.n_epochs)
        if trained.n_epochs:
            artifacts.context, artifacts.delta = trained.model, trained.delta
            artifacts.n_context_epochs = trained.n_epochs

    def refresh_context(self) -> None:
        """Train U and δ anew up to `train_end`, so that what is served has seen the newest items.

        It takes as many epochs as were best before, and leaves the idle circumstances out.
        """
        artifacts, settings = self.artifacts, self.settings
        if artifacts.context is None or self.progress.should_stop():
            return
        data = examples(
            Histories(until(self.data.interactions, self.data.train_end)), since=-np.inf, until=np.inf,
            most=MOST_VISITS, new_weight=settings.context.new_weight, seed=settings.seed, n_items=len(artifacts.items),
        )  # fmt: skip
        trained = self._train_context(data, None, n_epochs=artifacts.n_context_epochs)
        artifacts.ended_by["refresh"] = trained.ended_by
        artifacts.context, artifacts.delta = trained.model, trained.delta

    def head_lists(self) -> tuple[Lists, Lists]:
        """Return the lists that the head learns from, and later ones that calibrate it."""
        window, shop = self.cutoffs.horizon_days * DAY_SECONDS, self._shop()
        moments = [(at, at + window) for at in self.cutoffs.head] + [(self.cutoffs.validation, self.data.train_end)]

        def lists(moment: tuple[float, float], progress: Progress) -> Lists:
            return self._lists(shop, moment[0], until=moment[1], progress=progress)

        *past, check = shared_out(lists, moments, n=self._n_processes, progress=self.progress)
        return joined(past), check

    def fit_head(self, lists: Lists, check: Lists) -> None:
        """Fit the head on what `head_lists` returned, if that is enough."""
        artifacts = self.artifacts
        artifacts.ended_by["head"] = EVIDENCE
        if len(lists) < self.settings.least_lists or not check.labels.any() or self.progress.should_stop():
            return
        artifacts.ended_by["head"] = STEPS
        head = fit_head(
            lists, horizon_days=self.cutoffs.horizon_days, settings=self.settings.head, progress=self.progress
        )
        artifacts.head = head = calibrated(head, check)
        rows, labels = check.flat()
        threshold = best_threshold(labels, head.calibrate(head.logits(rows)))
        artifacts.thresholds = {"buy": threshold}
        artifacts.head_scores["validation"] = judge(head, check, threshold=threshold)

    def fit_competing_heads(self, lists: Lists, check: Lists) -> None:
        """Fit the head without BERT features, which the gate compares with, and trees, if they improve the order."""
        artifacts = self.artifacts
        if artifacts.head is None:
            return
        baseline = fit_head(
            lists,
            horizon_days=self.cutoffs.horizon_days,
            without=BERT_FEATURES,
            settings=self.settings.head,
            progress=self.progress,
        )
        artifacts.baseline = calibrated(baseline, check)
        if not self.progress.should_stop():
            artifacts.forest = fit_forest(
                lists, check, artifacts.head, settings=self.settings.forest, n=self._n_processes,
                progress=self.progress,
            )  # fmt: skip
        artifacts.thresholds[NEWCOMERS] = artifacts.metrics[NEWCOMERS] = newcomer_gain(check, artifacts.probabilities)
        artifacts.thresholds[NEW_SHARE] = artifacts.metrics[NEW_SHARE] = new_share(check, artifacts.probabilities)

    @property
    def has_enough_impressions(self) -> bool:
        """Whether enough lists were shown after encoder and context model ended."""
        lists = self.data.impressions.between(self.cutoffs.behaviour_end, self.data.train_end)
        return len(lists) >= self.settings.least_impressions

    def fit_shown(self) -> None:
        """Learn from lists that were shown, and let that order lists if it does so better than the head."""
        artifacts, settings = self.artifacts, self.settings
        parts = slices(self.data.impressions, since=self.cutoffs.behaviour_end, until=self.data.train_end)
        train, check, newest = (self._shown_items(part) for part in (parts.train, parts.calibration, parts.validation))
        if self.progress.should_stop():
            return
        artifacts.shown = fit_heads(train, check, settings=settings.multitask, progress=self.progress)
        if artifacts.shown is None:
            return
        artifacts.shown_scores["validation"] = artifacts.shown.scores(newest)
        if artifacts.head is not None:
            heads, gain = ordering(artifacts.shown, artifacts.probabilities(newest.rows), newest, settings.multitask)
            artifacts.shown = replace(artifacts.shown, heads=heads)
            artifacts.metrics["shown_order_gain"] = gain

    def judge(self) -> None:
        """Judge the probabilities on the test window, with the vectors that will be served."""
        artifacts, start, end = self.artifacts, self.data.test_start, self.data.test_end
        if end <= start or self.progress.should_stop():
            return
        if artifacts.shown is not None:
            entries = self._shown_items(self.data.impressions.between(start, end))
            artifacts.shown_scores["test"] = artifacts.shown.scores(entries)
        if artifacts.head is None:
            return
        lists = self._lists(self._shop(), start, until=end, progress=self.progress, most=MOST_TEST_LISTS)
        if lists.labels.any():
            artifacts.head_scores["test"] = judge(artifacts.head, lists, threshold=artifacts.thresholds["buy"])

    def _train_context(
        self, data: Batchable, check: Batchable | None, *, share: float | None = None, n_epochs: int | None = None
    ) -> Trained:
        """Train without the idle circumstances, within a share of the minutes (default: that of the context model)."""
        artifacts, settings, behaviour = self.artifacts, self.settings, self.behaviour
        if check is None:
            behaviour = until(self.data.interactions, self.data.train_end)
        weight = np.where(behaviour.item >= 0, EVENT_WEIGHTS[behaviour.type], 0)
        popularity = np.bincount(np.maximum(behaviour.item, 0), weights=weight, minlength=len(artifacts.items))
        query_vectors = self._query_vectors(behaviour.queries, [data] if check is None else [data, check])
        return train_context(
            ContextData(data, check, artifacts.text_vectors, popularity.astype(np.float32), query_vectors),
            minutes=settings.minutes * (settings.context_share if share is None else share),
            seed=settings.seed,
            settings=replace(
                settings.context,
                n_epochs=settings.context.n_epochs if n_epochs is None else n_epochs,
                without=settings.context.without | artifacts.idle,
            ),
            progress=self.progress,
        )

    def _query_vectors(self, queries: tuple[str, ...], parts: list[Batchable]) -> FloatArray:
        """Return (n_queries, d): vectors of the queries that the examples hold, zeros for the others."""
        vectors = np.zeros((len(queries), self.artifacts.text_vectors.shape[1]), np.float32)
        rows = np.unique(np.concatenate([part.current for part in parts])) - len(self.artifacts.items)
        rows = rows[rows >= 0]
        if len(rows):
            vectors[rows] = self.artifacts.encoder.encode([queries[row] for row in rows])
        return vectors

    def _shop(self) -> ShopHistory:
        """Return the shop with the vectors of now: they change when the context model is refreshed."""
        artifacts, vectors = self.artifacts, self.artifacts.item_vectors
        return ShopHistory(
            self._histories, artifacts.items, Vectors(vectors, lambda profile: context_of(artifacts, profile, vectors))
        )

    @property
    def _n_processes(self) -> int:
        return n_processes(self.settings.n_processes)

    def _lists(
        self, shop: ShopHistory, at: float, *, until: float, progress: Progress, most: int | None = None
    ) -> Lists:
        settings = self.settings
        sample = Sample(
            n_visitors=min(settings.lists_per_cutoff, most or settings.lists_per_cutoff),
            seed=settings.seed,
            seconds=60 * settings.minutes * settings.head_share / (settings.n_cutoffs + 1),
            least=settings.least_lists,
        )
        return lists_at(shop, at, until=until, sample=sample, progress=progress)

    def _shown_items(self, lists: npt.NDArray[np.int64]) -> ShownItems:
        return shown_items(
            self._shop(),
            self.data.impressions,
            lists,
            most_lists=self.settings.multitask.most_lists,
            seed=self.settings.seed,
            progress=self.progress,
        )


def _figures(artifacts: Artifacts) -> Iterator[tuple[str, float]]:
    """Yield every figure by a flat name, such as "click_validation_f1" or "context_hour_gain"."""
    yield from artifacts.metrics.items()
    for circumstance, worth in artifacts.circumstances.items():
        if worth is not UNKNOWN_WORTH:
            yield f"context_{circumstance}_gain", worth.gain
        yield f"context_{circumstance}_told", float(circumstance not in artifacts.idle)
    for part, scores in artifacts.head_scores.items():
        yield from ((f"{part}_{name}", value) for name, value in asdict(scores).items())
    for part, by_event in artifacts.shown_scores.items():
        for event, scores in by_event.items():
            yield from ((f"{event}_{part}_{name}", value) for name, value in asdict(scores).items())
