"""Collects the numbers that the stages of a training report by name into the typed figures of the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from recommender.ml.artifacts import Artifacts
from recommender.runs.conversion import read
from recommender.runs.figures import (
    Circumstance,
    Classifier,
    EncoderFigures,
    Figures,
    LabelFigures,
    ProbabilityQuality,
    TeacherFigures,
)


def figures_of_stages(trained: Artifacts, of_matcher: Mapping[str, float], *, fine_tuning: str) -> Figures:
    """The figures of the heads, the encoder, the context model, the teacher and the trees of search; fine_tuning: the
    method."""
    encoder = {"fine_tuning": fine_tuning, **_reported(trained.metrics, "encoder_")}
    skipped_teacher = {"skipped": trained.skipped["teacher"]} if "teacher" in trained.skipped else None
    return Figures(
        heads={
            head: Classifier(
                **{window: ProbabilityQuality(**dataclasses.asdict(scores)) for window, scores in by_window.items()}
            )
            for head, by_window in trained.scores_by_head.items()
        },
        encoder=read(EncoderFigures, encoder),
        context={
            name: Circumstance(worth.gain, name not in trained.idle) for name, worth in trained.circumstances.items()
        },
        teacher=read(TeacherFigures, skipped_teacher or _reported(trained.metrics, "teacher_")),
        labels=read(LabelFigures, labels) if (labels := _reported(of_matcher, "labels_")) else None,
    )


def _reported(metrics: Mapping[str, float], prefix: str) -> dict[str, Any]:
    """The figures that one stage reported under its prefix."""
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
