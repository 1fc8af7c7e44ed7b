"""Trains the same data with different settings, and runs a stage again only if a setting that it depends on changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from recommender.ml.artifacts import Artifacts
from recommender.ml.context.model import ContextSettings
from recommender.ml.head.additive import HeadSettings
from recommender.ml.head.forest import ForestSettings
from recommender.ml.plan import TrainingData, TrainingSettings
from recommender.ml.progress import Progress
from recommender.ml.train import Training


class Reusing:
    """Keeps the result of each stage by the settings that it depends on; `keep_only` frees the memory."""

    def __init__(self, data: TrainingData, progress: Progress) -> None:
        self.data, self.progress = data, progress
        self._results: dict[tuple[str, TrainingSettings], Any] = {}

    def encoded(self, settings: TrainingSettings) -> Artifacts:
        """Return the result of the encoder stage alone."""
        return _copy(self._once("encoder", settings, lambda: Training(self.data, settings, self.progress).artifacts))

    def placed(self, settings: TrainingSettings) -> Artifacts:
        """Return encoder and context model."""

        def fit_context() -> Artifacts:
            training = self._continued(self.encoded(settings), settings)
            training.fit_context()
            return training.artifacts

        return _copy(self._once("context", settings, fit_context))

    def fitted(self, settings: TrainingSettings) -> Artifacts:
        """Return what `train.fit` makes of these settings, without trees, baseline, newcomers and test figures."""
        training = self._continued(self.placed(settings), settings)
        training.fit_head(*self._once("lists", settings, training.head_lists))

        def refresh() -> Artifacts:
            fresh = self._continued(_copy(training.artifacts), settings)
            fresh.refresh_context()
            return fresh.artifacts

        fresh, artifacts = self._once("refresh", settings, refresh), training.artifacts
        artifacts.context, artifacts.delta = fresh.context, fresh.delta
        artifacts.ended_by |= fresh.ended_by
        return artifacts

    def keep_only(self, settings: TrainingSettings) -> None:
        """Forget the results of other settings."""
        wanted = {_key(stage, settings) for stage in ("encoder", "context", "lists", "refresh")}
        self._results = {key: result for key, result in self._results.items() if key in wanted}

    def _continued(self, artifacts: Artifacts, settings: TrainingSettings) -> Training:
        return Training(self.data, settings, self.progress, artifacts=artifacts)

    def _once(self, stage: str, settings: TrainingSettings, run: Callable[[], Any]) -> Any:
        key = _key(stage, settings)
        if key not in self._results:
            self._results[key] = run()
        return self._results[key]


def _key(stage: str, settings: TrainingSettings) -> tuple[str, TrainingSettings]:
    """Leave out what a stage does not depend on: the head's and the trees' settings, for the encoder the context's."""
    relevant = replace(settings, head=HeadSettings(), forest=ForestSettings())
    return stage, replace(relevant, context=ContextSettings()) if stage == "encoder" else relevant


def _copy(artifacts: Artifacts) -> Artifacts:
    return replace(
        artifacts, metrics=dict(artifacts.metrics), ended_by=dict(artifacts.ended_by), thresholds={}, seconds={},
        head_scores={}, shown_scores={},
    )  # fmt: skip
