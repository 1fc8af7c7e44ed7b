"""Guardrails of a run for people: the rows that a run wrote in, a table in words out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _


def _plain(value: float) -> str:
    return f"{value:.4f}"


def _share(value: float) -> str:
    return f"{value:.1%}"


def _milliseconds(value: float) -> str:
    return gettext("%(ms).1f ms") % {"ms": value}


def _exact(value: float) -> str:
    return f"{value:.1e}" if value else "0"


@dataclass(frozen=True, slots=True)
class Words:
    """What a guardrail is called, what it guards, and how its numbers are written."""

    label: Any
    hint: Any
    write: Callable[[float], str] = _plain


GUARDRAILS: Mapping[str, Words] = {
    "known_item_search": Words(_("Known items found by search"), _("MRR on queries made from titles (synthetic)")),
    "cold_visitor": Words(_("Visitors without a past"), _("NDCG@10 of who came for the first time")),
    "cold_item": Words(_("Items without a past"), _("recall of items that nobody had bought yet"), _share),
    "head_query": Words(_("Frequent queries"), _("NDCG@10 of what was wanted after the search")),
    "torso_query": Words(_("Queries of middling frequency"), _("NDCG@10 of what was wanted after the search")),
    "tail_query": Words(_("Rare queries"), _("NDCG@10 of what was wanted after the search")),
    "zero_results": Words(_("Searches that find nothing"), _("share of the searches of the test window"), _share),
    "calibration": Words(_("Calibration of the lists"), _("distance of probability and frequency, places shown")),
    "coverage": Words(_("Coverage of the catalogue"), _("share of all items that stand in any first ten"), _share),
    "popularity_share": Words(_("Share of bestsellers"), _("of all first ten places; more is less personal"), _share),
    "attack": Words(_("Fake visitors"), _("lists that one percent of fake visitors can enter"), _share),
    "latency_p50": Words(_("Time of a list, half of them"), _("while the computer also evaluated"), _milliseconds),
    "latency_p99": Words(_("Time of a list, 99 % of them"), _("while the computer also evaluated"), _milliseconds),
    "parity": Words(_("Trainer and server alike"), _("largest difference of a feature or probability"), _exact),
    "future": Words(_("Nothing of the future"), _("what the test window changes in features before it"), _exact),
}
VERDICTS: Mapping[str, tuple[str, str, Any]] = {
    "held": ("better", "✓", _("held")),
    "broken": ("worse", "✗", _("broken")),
    "unmeasured": ("even", "–", _("not measured")),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One guardrail; `css`, `sign` and `verdict` tell the same by colour, by sign and by word."""

    label: str
    hint: str
    value: str
    baseline: str
    bound: str
    tolerance: str
    css: str
    sign: str
    verdict: str
    note: str


@dataclass(frozen=True, slots=True)
class Table:
    rows: tuple[Row, ...]
    summary: str


def guardrail_table(metrics: Any) -> Table | None:
    """Return the guardrails in the order that the run wrote, broken ones first; None before they exist."""
    written = metrics.get("guardrails") if isinstance(metrics, dict) else None
    entries = [entry for entry in written if isinstance(entry, dict)] if isinstance(written, list) else []
    if not entries:
        return None
    entries.sort(key=lambda entry: entry.get("verdict") != "broken")
    n_broken = sum(entry.get("verdict") == "broken" for entry in entries)
    broken = ngettext("%(n)d guardrail is broken: it refuses this model.", "%(n)d guardrails are broken.", n_broken)
    summary = broken % {"n": n_broken} if n_broken else gettext("No guardrail is broken.")
    return Table(tuple(_row(entry) for entry in entries), summary)


def _row(entry: Mapping[str, Any]) -> Row:
    name = str(entry.get("name", ""))
    words = GUARDRAILS.get(name, Words(name.replace("_", " ").capitalize(), ""))
    css, sign, verdict = VERDICTS.get(str(entry.get("verdict")), VERDICTS["unmeasured"])
    note = str(entry.get("note") or "")
    value, baseline, bound, tolerance = (
        "—" if note else _written(entry.get(key), words.write) for key in ("value", "baseline", "bound", "tolerance")
    )
    return Row(str(words.label), str(words.hint), value, baseline, bound, tolerance, css, sign, str(verdict), note)


def _written(value: Any, write: Callable[[float], str]) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return write(float(value)) if is_number else "—"
