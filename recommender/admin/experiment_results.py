"""The figures of an experiment as a table and a picture: each difference with its interval, sign, word and colour."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext

from recommender.admin.charts import interval_chart
from recommender.admin.numbers import interval, local
from recommender.experiments.assignment import CONTROL, VARIANT
from recommender.experiments.conduct import deciding_metric, metric_name
from recommender.experiments.measuring import LEAST_PRICED
from recommender.models import Experiment
from recommender.runs.figures import Gain


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric: both arms, and the difference in words; `css`, `sign` and `words` say the same three times."""

    label: str
    control: str
    variant: str
    amount: str
    bounds: str
    css: str
    sign: str
    words: str
    decides: bool


@dataclass(frozen=True, slots=True)
class ResultsInWords:
    """What is known so far; without rows nothing has been measured."""

    rows: tuple[MetricRow, ...] = ()
    people: tuple[tuple[str, str], ...] = ()
    chart: str = ""
    share_done: int = 0
    notes: tuple[str, ...] = ()


def results_of(experiment: Experiment) -> ResultsInWords:
    """The stored figures in words. No query."""
    results: dict[str, Any] = experiment.results
    metrics = results.get("metrics")
    if not metrics:
        return ResultsInWords()
    decides = deciding_metric(experiment)
    gains = [(metric_name(name), gain) for name, figures in metrics.items() if (gain := _gain(figures)) is not None]
    people = results.get("people", {})
    return ResultsInWords(
        rows=tuple(_row(name, figures, results.get("currency", ""), decides) for name, figures in metrics.items()),
        people=tuple(_people(results)),
        chart=interval_chart(gains, title=gettext("Difference of the variant, in per cent of the control")),
        share_done=min(100, round(100 * sum(people.values()) / max(1, experiment.planned_people))),
        notes=tuple(_notes(results)),
    )


def _row(name: str, figures: dict[str, Any], currency: str, decides: str) -> MetricRow:
    css, sign, words = _verdict(figures)
    unit = f" {currency}" if name in ("revenue", "margin") and currency else ""
    gain = _gain(figures)
    return MetricRow(
        label=metric_name(name),
        control=_number(figures[CONTROL], unit),
        variant=_number(figures[VARIANT], unit),
        amount="–" if gain is None else f"{local(gain.mean, '+.1f')} %",
        bounds="" if gain is None else interval(gain.low, gain.high, "+.1f"),
        css=css,
        sign=sign,
        words=words,
        decides=name == decides,
    )


def _gain(figures: dict[str, Any]) -> Gain | None:
    """The difference in per cent of the control; of a preference, in points of a hundred from a tie. None without an
    interval, and where the control earned nothing or lost."""
    if figures["low"] is None:
        return None
    base = figures[CONTROL] if figures[CONTROL] is not None else 2.0
    if base <= 0:
        return None
    gain = Gain(*(100 * figures[bound] / base for bound in ("low", "difference", "high")))
    return gain if all(map(math.isfinite, gain)) else None


def _verdict(figures: dict[str, Any]) -> tuple[str, str, str]:
    if figures["difference"] is None:
        return "even", "–", gettext("too few margins are known")
    if figures["low"] is None:
        return "even", "…", gettext("too few people yet")
    if figures["low"] > 0:
        return "better", "▲", gettext("surely better")
    if figures["high"] < 0:
        return "worse", "▼", gettext("surely worse")
    return "even", "●", gettext("no clear difference")


def _number(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{local(value, ',.4g')}{unit}"


def _people(results: dict[str, Any]) -> list[tuple[str, str]]:
    labels = {
        CONTROL: gettext("people in the control"),
        VARIANT: gettext("people who try the variant"),
        "sessions": gettext("days of shopping"),
        "decided": gettext("of which one side got more clicks"),
    }
    counts = [(labels[name], local(n, ",")) for name, n in results.get("people", {}).items()]
    if "n_waiting" in results:
        counts.append((gettext("people whose days are not over"), local(results["n_waiting"], ",")))
        counts.append((gettext("people left out who saw both arms"), local(results["n_mixed"], ",")))
    return counts


def _notes(results: dict[str, Any]) -> Iterator[str]:
    """What the figures leave out."""
    if n_others := results.get("n_other_currency", 0):
        words = {"currency": results["currency"], "n": local(n_others, ",")}
        text = gettext("Revenue and margin count orders in %(currency)s; %(n)s lines in other currencies are left out.")
        yield text % words
    share = results.get("priced_share")
    if share is None or share >= 1:
        return
    words = {"share": local(100 * share, ".1f"), "least": local(100 * LEAST_PRICED, ".0f")}
    if share < LEAST_PRICED:
        yield gettext("%(share)s %% of the order value is of items with a margin; below %(least)s %% margins are not "
                      "compared.") % words  # fmt: skip
    else:
        yield gettext("%(share)s %% of the order value is of items with a margin; the others count with none.") % words
