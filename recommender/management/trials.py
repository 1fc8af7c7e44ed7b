"""The trials of a tuning in, lines of a plain table out, for commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def trial_lines(tuning: Mapping[str, Any]) -> Iterator[str]:
    """Every trial in order, then what was best, beside the present settings."""
    for row in tuning.get("trials", []):
        score = f"{row['score']:.4f}" if row["score"] is not None else "—"
        mark = "present settings" if row["is_present"] else row["why"]
        values = ", ".join(f"{name} {value:.4g}" for name, value in row["values"].items())
        told = f"{row['phase']:<8}{row['number'] + 1:>3}  {row['state']:<10}{score:>8}  {row['seconds'] or 0:>6.1f} s"
        yield f"{told}  {values}  {mark}".rstrip()
    best, present = tuning.get("best", {}), tuning.get("present_values", {})
    changed = {name: value for name, value in best.get("values", {}).items() if value != present.get(name)}
    if changed:
        yield ""
        yield "Best settings: " + ", ".join(f"{n} {v:.4g} (now {present[n]:.4g})" for n, v in changed.items())
    if tuning.get("importance"):
        ranked = sorted(tuning["importance"].items(), key=lambda pair: -pair[1])
        yield "Share of the differences that a knob explains, within its phase: " + ", ".join(
            f"{name} {share:.0%}" for name, share in ranked
        )
