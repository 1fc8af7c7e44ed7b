"""Two runs in, what differs between them and why in plain sentences out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recommender.models import Run
from recommender.runs import provenance

MOST_SHOWN = 12


def circumstances(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """What decides how a run comes out: where two of them differ."""
    found = provenance.differences(first, second)
    lines = [f"  differs: {name} was {_short(before)}, is {_short(after)}" for name, before, after in found]
    return _cut(lines) or ["  the same: data, code, versions, settings, seed, encoder and hardware, as far as known"]


def outcome(first: Run, second: Run) -> list[str]:
    """What the second run made of it, and whether equal numbers could be expected at all."""
    lines = [f"Run {second.pk} beside run {first.pk}:", *circumstances(first.provenance, second.provenance)]
    for run in (first, second):
        if stages := provenance.clocked(run.provenance):
            lines.append(f"  the clock set the pace of run {run.pk} at {', '.join(stages)}: give it more minutes")
    bundles = [run.provenance.get("bundle", "") for run in (first, second)]
    if bundles[0] and bundles[0] == bundles[1]:
        lines.append(f"  the bundle is the same, byte for byte: {bundles[0][:12]}")
    else:
        lines.append(f"  the bundles differ: {bundles[0][:12] or '—'} and {bundles[1][:12] or '—'}")
    found = provenance.figure_differences(first.metrics, second.metrics)
    shown = [f"  {name}: {_short(before)} and {_short(after)}" for name, before, after in found]
    return lines + (_cut(shown) or ["  every figure is the same"])


def _cut(lines: list[str]) -> list[str]:
    rest = len(lines) - MOST_SHOWN
    return lines if rest <= 0 else [*lines[:MOST_SHOWN], f"  and {rest} more"]


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:40]
