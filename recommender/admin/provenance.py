"""How a run was made, as rows in words: data, code, hardware, what the time limit cut off, earlier attempts."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext

from recommender.admin.numbers import local
from recommender.models import Run
from recommender.models.words import words_of
from recommender.runs import provenance
from recommender.runs.figures import Circumstance, Figures
from recommender.runs.settings import RunSettings

STEPS_BY_STAGE = {"encoder": "fine_tuning_steps", "adaptation": "adaptation_steps", "grades": "graded_steps"}
"""Stages of which a run stores how many steps they took."""


def provenance_rows(run: Run, figures: Figures) -> list[tuple[str, str]]:
    """Return label and value of what a person asks for first; unknown parts are left out."""
    entries = run.provenance if isinstance(run.provenance, dict) else {}
    code, hardware, encoder, versions = (
        entries.get(name) or {} for name in ("code", "hardware", "encoder", "versions")
    )
    rows = [
        (gettext("Data"), entries.get("data_hash")),
        (gettext("Code"), f"{code['version']}, {code['hash']}" if code else ""),
        (gettext("Encoder"), " ".join(str(value) for value in encoder.values())),
        (gettext("Seed"), entries.get("seed")),
        (gettext("Computed on"), _computed_on(hardware)),
        (gettext("Versions"), ", ".join(f"{name} {version}" for name, version in versions.items())),
        (gettext("Cut off by the time limit"), _clocked(entries, figures)),
        (gettext("Left out for lack of time"), _not_fine_tuned(run, figures)),
        (gettext("Curves"), (entries.get("curves") or entries.get("tracking") or {}).get("folder")),
        *((gettext("Earlier attempt"), _attempt(attempt)) for attempt in entries.get("attempts") or ()),
        *_circumstances(figures.context),
    ]
    return [(label, str(value)) for label, value in rows if value not in (None, "")]


def _clocked(entries: Mapping[str, Any], figures: Figures) -> str:
    """The stages that the time limit cut off, with their steps where they are known."""
    names = []
    for stage in sorted(provenance.clocked(entries)):  # PostgreSQL keeps no order of keys
        n_steps = getattr(figures.encoder, STEPS_BY_STAGE.get(stage, ""), math.nan)
        steps = "" if math.isnan(n_steps) else gettext(" (%d steps)") % n_steps
        names.append(f"{words_of(stage)}{steps}")
    return ", ".join(names)


def _not_fine_tuned(run: Run, figures: Figures) -> str:
    """Of a run whose minutes were too few for BERT: how many it takes."""
    if figures.encoder is None or math.isnan(figures.encoder.times_for_tuning):
        return ""
    words = gettext("fine-tuning of BERT (a run of about %(minutes)d minutes has time for it)")
    return words % {"minutes": math.ceil(figures.encoder.times_for_tuning * RunSettings.of(run.settings).minutes)}


def _attempt(attempt: Mapping[str, Any]) -> str:
    """When and where an attempt of a resumed run ran, how far it got, how long its stages took, why it ended."""
    seconds_of_stages = (attempt.get("seconds") or {}).items()
    stages = ", ".join(f"{words_of(stage)} {seconds:.0f} s" for stage, seconds in seconds_of_stages)
    words = gettext("%(start)s to %(end)s on %(worker)s, until %(stage)s (%(stages)s). %(reason)s") % {
        "start": _date(attempt.get("started_at")),
        "end": _date(attempt.get("until")),
        "worker": attempt.get("worker") or "-",
        "stage": attempt.get("stage") or "-",
        "stages": stages or "-",
        "reason": attempt.get("reason") or "",
    }
    return words.strip()


def _date(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return formats.date_format(timezone.localtime(moment), "SHORT_DATETIME_FORMAT")


def _circumstances(context: Mapping[str, Circumstance]) -> list[tuple[str, str]]:
    """Which circumstances the context model uses, and which not, with the loss in nats that each saves."""
    texts = {
        name: words_of(name) + (f" ({local(circumstance.gain, '+.3f')})" if math.isfinite(circumstance.gain) else "")
        for name, circumstance in context.items()
    }
    return [
        (label, ", ".join(texts[name] for name in texts if context[name].is_used == is_used))
        for label, is_used in (
            (gettext("Circumstances used"), True),
            (gettext("Left out because they did not help"), False),
        )
    ]


def _computed_on(hardware: Mapping[str, Any]) -> str:
    if not hardware:
        return ""
    threads = gettext("%(n)s threads") % {"n": hardware.get("n_threads")}
    return ", ".join(str(part) for part in (hardware.get("gpu"), hardware.get("processor"), threads) if part)
