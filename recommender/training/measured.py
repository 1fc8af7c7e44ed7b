"""Collects the numbers that the stages of a training report by name into the typed figures of the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recommender.features.head import EVENTS
from recommender.ml.context.training import WEIGHED
from recommender.runs.conversion import read
from recommender.runs.figures import (
    NO_FIGURE,
    Circumstance,
    Classifier,
    EncoderFigures,
    Figures,
    ProbabilityQuality,
    TeacherFigures,
)


def figures_of_stages(metrics: Mapping[str, float], *, fine_tuning: str, skipped: Mapping[str, str]) -> Figures:
    """The figures of the heads, the encoder, the context model and the teacher.

    fine_tuning: the method; skipped: by stage, why it was left out.
    """
    encoder = {"fine_tuning": fine_tuning, **_reported(metrics, "encoder_")}
    skipped_teacher = {"skipped": skipped["teacher"]} if "teacher" in skipped else None
    return Figures(
        heads=_heads(metrics),
        encoder=read(EncoderFigures, encoder),
        context={
            name: Circumstance(metrics.get(f"context_{name}_gain", NO_FIGURE), bool(metrics[used]))
            for name in WEIGHED
            if (used := f"context_{name}_told") in metrics
        },
        teacher=read(TeacherFigures, skipped_teacher or _reported(metrics, "teacher_")),
    )


def _heads(metrics: Mapping[str, float]) -> dict[str, Classifier]:
    """The heads that learned from lists that were shown, by event; and "buy", the head on candidates.

    Where "buy" was learned from lists too, the head on candidates is "buy_later".
    """
    heads = {event: head for event in EVENTS if (head := _classifier(metrics, f"{event}_"))}
    if on_candidates := _classifier(metrics, ""):
        heads["buy_later" if "buy" in heads else "buy"] = on_candidates
    return heads


def _classifier(metrics: Mapping[str, float], prefix: str) -> Classifier | None:
    windows = {name: _reported(metrics, f"{prefix}{name}_") for name in ("validation", "test")}
    quality = {name: read(ProbabilityQuality, figures) for name, figures in windows.items() if figures}
    return Classifier(**quality) if quality else None


def _reported(metrics: Mapping[str, float], prefix: str) -> dict[str, Any]:
    """The figures that one stage reported under its prefix."""
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
