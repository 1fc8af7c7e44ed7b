"""Trials of a tuning and the provenance of a run for people: what a run wrote in, rows in words out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import formats, timezone
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.charts import Bar, bar_chart
from recommender.admin.figures import decimal, duration
from recommender.runs import provenance

STATES: Mapping[str, Any] = {
    "complete": _("complete"),
    "pruned": _("stopped early"),
    "failed": _("failed"),
    "running": _("running"),
    "waiting": _("waiting"),
}
PHASES: Mapping[str, Any] = {
    "encoder": _("encoder and moments"),
    "context": _("context model"),
    "head": _("head"),
}


@dataclass(frozen=True, slots=True)
class TrialRow:
    name: str
    values: tuple[tuple[str, str], ...]
    score: str
    state: str
    took: str
    note: str
    is_best: bool
    is_present: bool


@dataclass(frozen=True, slots=True)
class TuningTable:
    """All trials; `changes` are the knobs in which the best ones differ from the present settings."""

    rows: tuple[TrialRow, ...]
    changes: tuple[tuple[str, str, str], ...]
    best: str
    present: str
    gain: str
    n_cases: str
    importance: SafeString | str


def tuning_table(metrics: Any) -> TuningTable | None:
    """Return the trials of a tuning; None before the first."""
    found = metrics.get("tuning") if isinstance(metrics, dict) else None
    if not isinstance(found, dict) or not found.get("trials"):
        return None
    best, gain = found.get("best") or {}, found.get("gain")
    return TuningTable(
        rows=tuple(_row(row, best.get("score")) for row in found["trials"]),
        changes=tuple(_changes(best.get("values") or {}, found.get("present_values") or {})),
        best=decimal(best.get("score")),
        present=decimal(found.get("present")),
        gain=gettext("%(mean)+.4f (%(low)+.4f to %(high)+.4f)") % dict(zip(("low", "mean", "high"), gain, strict=True))
        if gain
        else "",
        n_cases=f"{found.get('n_cases') or 0:,}",
        importance=_importance(found.get("importance") or {}),
    )


def provenance_rows(made: Any) -> list[tuple[str, str]]:
    """Return how a run was made, the parts that a person asks for first; a part that is not known stays out."""
    if not isinstance(made, dict):
        return []
    code, hardware, encoder = (made.get(name) or {} for name in ("code", "hardware", "encoder"))
    rows = [
        (gettext("Data"), made.get("data_hash")),
        (gettext("Code"), f"{code['version']}, {code['hash']}" if code else ""),
        (gettext("Encoder"), " ".join(str(value) for value in encoder.values())),
        (gettext("Seed"), made.get("seed")),
        (gettext("Computed on"), _computed_on(hardware)),
        (gettext("Versions"), ", ".join(f"{name} {version}" for name, version in (made.get("versions") or {}).items())),
        (gettext("Paced by the clock"), ", ".join(provenance.clocked(made))),
        (gettext("Curves"), (made.get("curves") or {}).get("folder")),
    ]
    rows += [(gettext("Attempt before this one"), _attempt_in_words(attempt)) for attempt in made.get("attempts") or ()]
    return [(label, str(value)) for label, value in rows if value not in (None, "")]


def _attempt_in_words(attempt: Mapping[str, Any]) -> str:
    """When and where an attempt of a resumed run went on, how far it came, what its stages took, why it ended."""
    begun, ended = (_clock(attempt.get(name)) for name in ("started_at", "until"))
    stages = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in (attempt.get("seconds") or {}).items())
    words = gettext("%(begun)s to %(ended)s on %(worker)s, until %(stage)s (%(stages)s). %(reason)s") % {
        "begun": begun,
        "ended": ended,
        "worker": attempt.get("worker") or "-",
        "stage": attempt.get("stage") or "-",
        "stages": stages or "-",
        "reason": attempt.get("reason") or "",
    }
    return words.strip()


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return formats.date_format(timezone.localtime(moment), "SHORT_DATETIME_FORMAT")


def context_rows(metrics: Any) -> list[tuple[str, str]]:
    """Return which circumstances the context model is told, and which not, with what they are worth in nats."""
    found = (metrics.get("context") if isinstance(metrics, dict) else None) or {}
    said = {
        name: f"{name} ({worth['gain']:+.3f})" if worth.get("gain") is not None else str(name)
        for name, worth in found.items()
    }
    rows = [
        (gettext("Circumstances told"), [said[name] for name, worth in found.items() if worth.get("told")]),
        (gettext("Not told, for they lower no loss"), [said[name] for name in found if not found[name].get("told")]),
    ]
    return [(label, ", ".join(names)) for label, names in rows if names]


def _computed_on(hardware: Mapping[str, Any]) -> str:
    if not hardware:
        return ""
    threads = gettext("%(n)s threads") % {"n": hardware.get("n_threads")}
    return ", ".join(str(part) for part in (hardware.get("gpu"), hardware.get("processor"), threads) if part)


def _row(row: Mapping[str, Any], best: Any) -> TrialRow:
    phase = str(PHASES.get(row["phase"], row["phase"]))
    is_present = bool(row.get("is_present"))
    note = gettext("present settings") if is_present else str(row.get("why") or "")
    return TrialRow(
        name=f"{capfirst(phase)} {row['number'] + 1}",
        values=tuple((name, _value(value)) for name, value in row["values"].items()),
        score=decimal(row.get("score")),
        state=str(STATES.get(row["state"], row["state"])),
        took=duration(row.get("seconds")),
        note=note,
        is_best=row.get("score") is not None and row["score"] == best,
        is_present=is_present,
    )


def _changes(best: Mapping[str, Any], present: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (name, _value(present.get(name)), _value(value)) for name, value in best.items() if value != present.get(name)
    ]


def _importance(shares: Mapping[str, float]) -> SafeString | str:
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])
    bars = [Bar(name, share, f"{share:.0%}") for name, share in ranked]
    return bar_chart(bars, title=gettext("What the score depends on, within each phase")) if bars else ""


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "—"
