"""In what two runs differ, in plain sentences, for a run that was repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext

from recommender.models import Run
from recommender.runs import provenance

MOST_SHOWN = 12


def circumstances(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The differences of two provenances in what decides the result of a run."""
    line = gettext("  differs: %(name)s was %(first)s, is %(second)s")
    lines = [line % _words(difference) for difference in provenance.differences(first, second)]
    same = gettext("  the same: data, code, versions, settings, seed, encoder and hardware, as far as known")
    return _cut(lines) or [same]


def outcome(first: Run, second: Run) -> list[str]:
    """The differences in the results, and whether equal numbers could be expected at all."""
    title = gettext("Run %(second)d beside run %(first)d:") % {"second": second.pk, "first": first.pk}
    lines = [title, *circumstances(first.provenance, second.provenance)]
    clocked = gettext("  the time limit cut off run %(run)d at %(stages)s: give it more minutes")
    lines += [
        clocked % {"run": run.pk, "stages": ", ".join(stages)}
        for run in (first, second)
        if (stages := provenance.clocked(run.provenance))
    ]
    before, after = (run.provenance.get("bundle", "")[:12] for run in (first, second))
    if before and first.provenance["bundle"] == second.provenance["bundle"]:
        lines.append(gettext("  the bundle is the same, byte for byte: %s") % before)
    else:
        lines.append(
            gettext("  the bundles differ: %(first)s and %(second)s") % {"first": before or "—", "second": after or "—"}
        )
    differences = provenance.figure_differences(first.metrics, second.metrics)
    figures = [gettext("  %(name)s: %(first)s and %(second)s") % _words(difference) for difference in differences]
    return lines + (_cut(figures) or [gettext("  every figure is the same")])


def _words(difference: provenance.Difference) -> dict[str, str]:
    return {"name": difference.name, "first": _short(difference.first), "second": _short(difference.second)}


def _cut(lines: list[str]) -> list[str]:
    rest = len(lines) - MOST_SHOWN
    return lines if rest <= 0 else [*lines[:MOST_SHOWN], gettext("  and %d more") % rest]


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:40]
