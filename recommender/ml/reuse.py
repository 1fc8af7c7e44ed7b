"""Fits of one data set that differ in settings: a stage runs again only where something that it depends on changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from recommender.ml.artifacts import Artifacts
from recommender.ml.context.model import ContextSettings
from recommender.ml.encoder.stage import fit_encoder
from recommender.ml.hardware import limit_threads
from recommender.ml.head.additive import HeadSettings
from recommender.ml.head.forest import ForestSettings
from recommender.ml.plan import TrainingData, TrainingSettings, plan, until
from recommender.ml.progress import Progress
from recommender.ml.train import fit_context, fit_head_on, head_lists, refresh_context


class Reusing:
    """The stages of `train.fit`, each kept by the settings that it depends on; `keep_only` frees the memory."""

    def __init__(self, data: TrainingData, progress: Progress) -> None:
        self.data, self.progress = data, progress
        self._made: dict[tuple[str, TrainingSettings], Any] = {}

    def encoded(self, settings: TrainingSettings) -> Artifacts:
        """The encoder stage alone."""
        behaviour = until(self.data.interactions, plan(self.data, settings).behaviour_end)
        return _copy(self._once("encoder", settings, lambda: self._encode(behaviour, settings)))

    def placed(self, settings: TrainingSettings) -> Artifacts:
        """Encoder and context model."""
        return _copy(self._once("context", settings, lambda: self._place(settings)))

    def fitted(self, settings: TrainingSettings) -> Artifacts:
        """Everything that `train.fit` makes with these settings, but for trees, baseline, newcomers and judgement."""
        made, cutoffs = self.placed(settings), plan(self.data, settings)
        shared = made.budget.shared(settings)
        lists = self._once("lists", settings, lambda: head_lists(made, self.data, cutoffs, shared, self.progress))
        fit_head_on(made, lists, cutoffs, settings, self.progress)
        fresh = self._once("refresh", settings, lambda: self._refresh(made, settings))
        made.context, made.delta = fresh.context, fresh.delta
        made.ended_by |= fresh.ended_by
        return made

    def keep_only(self, settings: TrainingSettings) -> None:
        """Forget what other settings made."""
        wanted = {_key(stage, settings) for stage in ("encoder", "context", "lists", "refresh")}
        self._made = {key: made for key, made in self._made.items() if key in wanted}

    def _once(self, stage: str, settings: TrainingSettings, make: Callable[[], Any]) -> Any:
        key = _key(stage, settings)
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _encode(self, behaviour: Any, settings: TrainingSettings) -> Artifacts:
        limit_threads(settings.n_threads)
        return fit_encoder(self.data, behaviour, settings, self.progress)

    def _place(self, settings: TrainingSettings) -> Artifacts:
        made, cutoffs = self.encoded(settings), plan(self.data, settings)
        behaviour = until(self.data.interactions, cutoffs.behaviour_end)
        fit_context(made, behaviour, cutoffs, made.budget.shared(settings), self.progress)
        return made

    def _refresh(self, made: Artifacts, settings: TrainingSettings) -> Artifacts:
        fresh = _copy(made)
        behaviour = until(self.data.interactions, self.data.train_end)
        refresh_context(fresh, behaviour, made.budget.shared(settings), self.progress)
        return fresh


def _key(stage: str, settings: TrainingSettings) -> tuple[str, TrainingSettings]:
    """No stage before the head depends on its settings or the trees', the encoder not on those of the context model."""
    told = replace(settings, head=HeadSettings(), forest=ForestSettings())
    return stage, replace(told, context=ContextSettings()) if stage == "encoder" else told


def _copy(made: Artifacts) -> Artifacts:
    return replace(made, metrics=dict(made.metrics), ended_by=dict(made.ended_by), thresholds={}, seconds={})
