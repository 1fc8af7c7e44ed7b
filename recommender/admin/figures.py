"""The figures of a run as the admin shows them: tables, charts and sentences made from `runs.figures`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.charts import Bar, Series, bar_chart, interval_chart, line_chart
from recommender.admin.numbers import local
from recommender.models.words import title_of, words_of
from recommender.runs.comparisons import SCOPES, explanation_of, label_of
from recommender.runs.figures import Figures, Gain, ListQuality, ProbabilityQuality

HEADS: Mapping[str, Any] = {
    "click": _("will click"),
    "cart": _("will add to the cart"),
    "buy": _("will buy"),
    "buy_later": _("will buy at some time, whatever is shown"),
}
HEAD_FIGURES: Mapping[str, tuple[Any, Any]] = {
    "accuracy": (_("accuracy"), _("share of correct predictions; higher is better")),
    "recall": (_("recall"), _("share of the wanted items that were found; higher is better")),
    "f1": (_("F1"), _("balance of precision and recall; higher is better")),
    "log_loss": (_("log loss"), _("penalty for improbable outcomes; lower is better")),
    "calibration_error": (_("calibration error"), _("difference of probabilities and frequencies; lower is better")),
}
SEARCHERS: Mapping[str, Any] = {
    "tuned": _("encoder of this run"),
    "untuned": _("BERT before fine-tuning"),
    "lexical": _("matching words"),
    "champion": _("the previous model"),
}
REPORT: Mapping[str, Any] = {
    "n_read": _("Events read"),
    "n_clean": _("Events kept"),
    "n_interactions": _("Interactions"),
    "n_visitors": _("Visitors"),
    "n_items": _("Items"),
    "n_impressions": _("Lists shown"),
    "density": _("Density of the visitor-item matrix"),
    "from": _("From"),
    "to": _("To"),
}
EVEN = 1e-9
N_SMOOTHED = 40
"""From this many steps on, a loss curve gets a running mean over a tenth of its steps."""


@dataclass(frozen=True, slots=True)
class ShownGain:
    """How much better this model is than a competitor, as a sign, in words and as a CSS class."""

    css: str
    sign: str
    amount: str
    words: str
    bounds: str = ""


@dataclass(frozen=True, slots=True)
class ListRow:
    """One ranker on one scope; `quality` is written out as text."""

    label: str
    explanation: str
    quality: Mapping[str, str]
    gain: ShownGain | None
    rolling: str
    is_ranker: bool
    is_best_competitor: bool
    is_served: bool


@dataclass(frozen=True, slots=True)
class ListTable:
    """Every ranker on one scope, best NDCG first."""

    title: str
    cases: str
    rows: tuple[ListRow, ...]
    chart: SafeString
    summary: str


def list_tables(figures: Figures) -> list[ListTable]:
    """Return one table per scope."""
    scopes = [*(scope for scope in SCOPES if scope in figures.lists), *(s for s in figures.lists if s not in SCOPES)]
    return [_list_table(scope, figures) for scope in scopes if figures.lists[scope]]


def gain_of(figures: Figures, scope: str, competitor: str) -> ShownGain | None:
    """Return the gain of this model in NDCG@10 over a competitor, with its interval where one was computed."""
    if gain := figures.intervals.get(scope, {}).get(competitor):
        return _shown(gain.mean, gain)
    lists = figures.lists.get(scope, {})
    difference = lists.get(figures.ranker, ListQuality()).ndcg - lists.get(competitor, ListQuality()).ndcg
    return None if math.isnan(difference) else _shown(difference, None)


def head_tables(figures: Figures) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Return title and rows of each classifier; a row is label, explanation, figure on validation and on test."""
    order = [*(head for head in HEADS if head in figures.heads), *(head for head in figures.heads if head not in HEADS)]
    tables: list[tuple[str, list[tuple[str, ...]]]] = []
    for head in order:
        parts = [part or ProbabilityQuality() for part in (figures.heads[head].validation, figures.heads[head].test)]
        rows = [
            (str(label), str(explanation), *(decimal(value) for value in values))
            for name, (label, explanation) in HEAD_FIGURES.items()
            if not all(map(math.isnan, values := [getattr(part, name) for part in parts]))
        ]
        if rows:
            tables.append((str(HEADS.get(head, head)), rows))
    return tables


def search_table(figures: Figures) -> dict[str, Any] | None:
    """Return the figures of the search guard; None before they exist."""
    search = figures.search
    if search is None:
        return None
    rows = [
        (str(label), decimal(quality.mrr), percent(quality.recall), name == search.encoder_of_bundle)
        for name, label in SEARCHERS.items()
        if (quality := getattr(search, name))
    ]
    verdicts = {
        "tuned": gettext("Search uses the encoder of this run: it finds known items no worse than the untuned one."),
        "untuned": gettext("Search keeps the untuned encoder: the one of this run found fewer known items."),
    }
    verdict = verdicts.get(search.encoder_of_bundle, "")
    return {"rows": rows, "n_queries": search.n_queries, "verdict": verdict} if rows else None


def labels_in_words(figures: Figures) -> str:
    """What graded answers bring, in one sentence; "" where no trees learned from any."""
    labels = figures.labels
    if labels is None or not labels.n_labels > 0:
        return ""
    words = gettext(
        "%(n)s graded answers: on queries whose grades it did not see, search has an NDCG@10 of %(ndcg)s with them "
        "and %(without)s without (%(low)s to %(high)s), %(each)s for each hundred of them."
    )
    return words % {
        "n": _entry("labels", labels.n_labels), "ndcg": decimal(labels.ndcg), "without": decimal(labels.ndcg_without),
        "low": local(labels.low, "+.4f"), "high": local(labels.high, "+.4f"), "each": local(labels.per_hundred, "+.4f"),
    }  # fmt: skip


def loss_charts(losses: Any) -> list[tuple[str, SafeString]]:
    """Return a title and a chart per stage that reported a loss; long curves with their running mean."""
    stages: dict[str, list[tuple[float, float]]] = {}
    for entry in losses if isinstance(losses, list) else ():
        point = (_number(entry.get("step")), _number(entry.get("loss"))) if isinstance(entry, dict) else (math.nan,)
        if len(point) == 2 and not any(map(math.isnan, point)):
            stages.setdefault(str(entry.get("stage", "")), []).append(point)
    charts = []
    for stage, points in stages.items():
        points.sort()
        is_long = len(points) >= N_SMOOTHED
        series = [Series(gettext("each step"), points, is_faint=is_long)]
        series += [Series(gettext("running mean"), _running_mean(points))] if is_long else []
        title = gettext("Loss of the %(stage)s") % {"stage": words_of(stage)}
        charts.append((title, line_chart(series, title=title, x_label=gettext("step"), y_label=gettext("loss"))))
    return charts


def stage_chart(seconds: Any) -> SafeString:
    """Return the time of each stage as bars, in the order they ran."""
    entries = seconds.items() if isinstance(seconds, dict) else ()
    timed = [(str(stage), number) for stage, value in entries if not math.isnan(number := _number(value))]
    bars = [Bar(title_of(stage), number, duration(number)) for stage, number in timed]
    return bar_chart(bars, title=gettext("Time per stage"))


def data_rows(report: Any) -> list[tuple[str, str]]:
    """Return what a run trained on, in words; entries that the table of labels does not have come last."""
    entries = report if isinstance(report, dict) else {}
    plain = {name: value for name, value in entries.items() if not isinstance(value, dict | list)}
    order = [*(name for name in REPORT if name in plain), *(name for name in plain if name not in REPORT)]
    return [(str(REPORT.get(name, title_of(name))), _entry(name, plain[name])) for name in order]


def removed_rows(report: Any) -> list[tuple[str, str]]:
    """Return why events were left out and how many, most first."""
    removed = report.get("removed") if isinstance(report, dict) else None
    entries = removed.items() if isinstance(removed, dict) else ()
    rows = [(title_of(str(reason)), n) for reason, value in entries if (n := _number(value)) >= 1]
    return [(reason, local(n, ",.0f")) for reason, n in sorted(rows, key=lambda row: -row[1])]


def duration(seconds: float | None) -> str:
    """Return "2 min 5 s"; tenths below ten seconds."""
    if seconds is None or not math.isfinite(seconds):
        return "—"
    if seconds < 10:
        return gettext("%(seconds)s s") % {"seconds": local(seconds, ".1f")}
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return gettext("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes}
    return gettext("%(m)d min %(s)d s") % {"m": minutes, "s": rest} if minutes else gettext("%d s") % rest


def decimal(value: float) -> str:
    """Return four decimals, a dash for what is not a number."""
    return local(value, ".4f") if math.isfinite(value) else "—"


def percent(value: float) -> str:
    """Return a share as a percentage, a dash for what is not a number."""
    return local(value, ".1%") if math.isfinite(value) else "—"


def level_in_words(level: float) -> str:
    """Return "97.5 %"."""
    return f"{local(level * 100, 'g')} %"


def cases_in_words(n: int, n_windows: int = 1) -> str:
    """Return "1,204 test cases" or "31 test cases of 4 windows"."""
    words = {"n": local(n, ","), "windows": n_windows}
    if n_windows > 1:
        return gettext("%(n)s test cases of %(windows)d windows") % words
    return ngettext("%(n)s test case", "%(n)s test cases", n) % words


def _list_table(scope: str, figures: Figures) -> ListTable:
    lists = figures.lists[scope]
    names = sorted(lists, key=lambda name: -lists[name].ndcg if math.isfinite(lists[name].ndcg) else 1.0)
    rows = tuple(_list_row(name, scope, figures) for name in names)
    title = capfirst(SCOPES.get(scope, scope))
    gains = figures.intervals.get(scope, {})
    chart_title = gettext("Gain in NDCG@10: %(scope)s") % {"scope": title}
    return ListTable(
        title=title,
        cases=cases_in_words(figures.n_cases[scope], figures.n_windows) if scope in figures.n_cases else "",
        rows=rows,
        chart=interval_chart([(label_of(name), gains[name]) for name in names if name in gains], title=chart_title),
        summary=_summary(rows),
    )


def _list_row(name: str, scope: str, figures: Figures) -> ListRow:
    quality = figures.lists[scope][name]
    return ListRow(
        label=label_of(name),
        explanation=explanation_of(name),
        quality={
            "ndcg": decimal(quality.ndcg),
            "recall": percent(quality.recall),
            "mrr": decimal(quality.mrr),
            "coverage": percent(quality.coverage),
            "popularity_share": percent(quality.popularity_share),
        },
        gain=None if name == figures.ranker else gain_of(figures, scope, name),
        rolling=_rolling(figures, scope, name),
        is_ranker=name == figures.ranker,
        is_best_competitor=name == figures.best_competitor.get(scope),
        is_served=name == figures.arms.get(scope, figures.served),
    )


def _rolling(figures: Figures, scope: str, name: str) -> str:
    """Return mean and spread over earlier windows; of a single window its figure, "" where there was none."""
    spread = figures.rolling.lists.get(scope, {}).get(name) if figures.rolling else None
    if figures.rolling is None or spread is None or not math.isfinite(spread.mean):
        return ""
    mean = local(spread.mean, ".4f")
    return f"{mean} ± {local(spread.deviation, '.4f')}" if figures.rolling.n_windows > 1 else mean


def _summary(rows: Sequence[ListRow]) -> str:
    """Compare this model with the best simple competitor in one sentence."""
    row = next((row for row in rows if row.is_best_competitor and row.gain), None)
    if row is None or row.gain is None:
        return ""
    sentences = {
        "better": gettext("This model is better than the best simple competitor, %(name)s: %(amount)s NDCG@10."),
        "worse": gettext("This model is worse than the best simple competitor, %(name)s: %(amount)s NDCG@10."),
        "even": gettext(
            "There is no clear difference between this model and the best simple competitor, %(name)s (%(amount)s)."
        ),
    }
    amount = f"{row.gain.amount} {row.gain.bounds}".strip()
    return sentences[row.gain.css] % {"name": row.label, "amount": amount}


def _bounds(low: float, high: float) -> str:
    return gettext("(%(low)s to %(high)s)") % {"low": local(low, "+.4f"), "high": local(high, "+.4f")}


def _shown(mean: float, gain: Gain | None) -> ShownGain:
    """Call it better or worse only where the whole interval is; without an interval by the sign alone."""
    low, high = (gain.low, gain.high) if gain else (mean, mean)
    bounds = _bounds(low, high) if gain else ""
    amount = local(mean, "+.4f")
    if low > EVEN:
        return ShownGain("better", "▲", amount, gettext("better"), bounds)
    if high < -EVEN:
        return ShownGain("worse", "▼", amount, gettext("worse"), bounds)
    return ShownGain("even", "≈", amount, gettext("no clear difference"), bounds)


def _entry(name: str, value: Any) -> str:
    number = _number(value)
    if math.isnan(number):
        return str(value)
    if name == "density":
        return local(number, ".3%")
    return local(int(number), ",") if number == int(number) else local(number, ",.4g")


def _running_mean(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at each step the mean of the points around it, over a tenth of the curve, less toward its ends."""
    half = max(1, len(points) // 20)
    total = [0.0, *accumulate(loss for _step, loss in points)]
    means = []
    for n, (step, _loss) in enumerate(points):
        reach = min(half, n, len(points) - 1 - n)
        first, last = n - reach, n + reach + 1
        means.append((step, (total[last] - total[first]) / (last - first)))
    return means


def _number(value: Any) -> float:
    """Return a finite number; NaN for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else math.nan
