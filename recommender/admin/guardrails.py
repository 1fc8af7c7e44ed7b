"""The guardrails of a run as a table in words, broken ones first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.numbers import local
from recommender.runs.comparisons import GUARDRAILS, Limit, explanation_of, label_of
from recommender.runs.figures import Figures, Guardrail

UNITS: Mapping[str, Callable[[float], str]] = {
    "figure": lambda value: local(value, ".4f"),
    "share": lambda value: local(value, ".1%"),
    "milliseconds": lambda value: gettext("%(ms)s ms") % {"ms": local(value, ".1f")},
    "difference": lambda value: f"{value:.1e}" if value else "0",
}
VERDICTS: Mapping[str, tuple[str, str, Any]] = {
    "held": ("better", "✓", _("held")),
    "broken": ("worse", "✗", _("broken")),
    "unmeasured": ("even", "–", _("not measured")),
}


@dataclass(frozen=True, slots=True)
class GuardrailRow:
    """One guardrail as text; `css`, `sign` and `verdict` say the same by colour, sign and word."""

    label: str
    explanation: str
    value: str
    baseline: str
    bound: str
    tolerance: str
    kind: str
    css: str
    sign: str
    verdict: str
    note: str


@dataclass(frozen=True, slots=True)
class GuardrailTable:
    rows: tuple[GuardrailRow, ...]
    summary: str


def guardrail_table(figures: Figures) -> GuardrailTable | None:
    """Return the guardrails in the order that the run wrote, broken ones first; None before they exist."""
    rails = sorted(figures.guardrails, key=lambda rail: rail.verdict != "broken")
    if not rails:
        return None
    n_broken = sum(rail.verdict == "broken" for rail in rails)
    broken = ngettext(
        "%(n)d guardrail is broken, so this model is not promoted.",
        "%(n)d guardrails are broken, so this model is not promoted.",
        n_broken,
    )
    summary = broken % {"n": n_broken} if n_broken else gettext("No guardrail is broken.")
    return GuardrailTable(tuple(_row(rail) for rail in rails), summary)


def _row(rail: Guardrail) -> GuardrailRow:
    limit = GUARDRAILS.get(rail.name)
    css, sign, verdict = VERDICTS[rail.verdict]
    write = UNITS[limit.unit if limit else "figure"]
    numbers = (rail.value, rail.baseline, rail.bound, rail.tolerance)
    value, baseline, bound, tolerance = (
        "—" if rail.note or not math.isfinite(number) else write(number) for number in numbers
    )
    return GuardrailRow(
        label=label_of(rail.name),
        explanation=explanation_of(rail.name),
        value=value,
        baseline=baseline,
        bound=bound,
        tolerance=tolerance,
        kind=_kind(limit),
        css=css,
        sign=sign,
        verdict=str(verdict),
        note=rail.note,
    )


def _kind(limit: Limit | None) -> str:
    """Whether the limit is one of the value itself, or of how much worse it may be than the previous model's."""
    if limit is None:
        return ""
    return gettext("absolute limit") if limit.is_absolute else gettext("worse than before")
