"""Collects the numbers that the stages of a training report by name into the typed figures of the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from recommender.features.head import EVENTS
from recommender.ml.context.training import WEIGHED
from recommender.runs.figures import (
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
    reason = skipped.get("teacher", "")
    return Figures(
        heads=_heads(metrics),
        encoder=EncoderFigures(**{"fine_tuning": fine_tuning, **_named(EncoderFigures, metrics, "encoder_")}),
        context={
            name: Circumstance(metrics.get(f"context_{name}_gain", float("nan")), bool(metrics[used]))
            for name in WEIGHED
            if (used := f"context_{name}_told") in metrics
        },
        teacher=TeacherFigures(skipped=reason, **({} if reason else _named(TeacherFigures, metrics, "teacher_"))),
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
    parts = {part: _named(ProbabilityQuality, metrics, f"{prefix}{part}_") for part in ("validation", "test")}
    if not any(parts.values()):
        return None
    return Classifier(**{part: ProbabilityQuality(**numbers) for part, numbers in parts.items() if numbers})


def _named(kind: Any, metrics: Mapping[str, float], prefix: str) -> dict[str, Any]:
    """The numbers of a dataclass, each reported under the prefix and the name of its field."""
    names = (field.name for field in dataclasses.fields(kind))
    return {name: metrics[prefix + name] for name in names if prefix + name in metrics}
