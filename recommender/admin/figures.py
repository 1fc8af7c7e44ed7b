"""Figures of a run for people: the JSON that a run wrote in, tables with words out. Parts that are missing stay out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.charts import Bar, Interval, Series, bar_chart, interval_chart, line_chart

NAMES: Mapping[str, Any] = {
    "ranker": _("this model"),
    "champion": _("champion until now"),
    "linear_baseline": _("linear model without BERT"),
    "untuned_encoder": _("BERT before fine-tuning"),
    "lexical": _("matching words"),
    "ease": _("linear model of what goes together (EASE)"),
    "blend": _("habit, co-purchase and bestsellers, weighed"),
    "tifu_knn": _("habit of the shopper and of alike ones (TIFU-KNN)"),
    "item_knn": _("bought by the same people"),
    "own_frequency": _("what the shopper buys most"),
    "popularity": _("recent bestsellers"),
    "random": _("random order"),
}
SCOPES: Mapping[str, Any] = {
    "all": _("All items"),
    "new": _("Items new to the shopper"),
}
HEADS: Mapping[str, Any] = {
    "click": _("will click"),
    "cart": _("will put in the cart"),
    "buy": _("will buy"),
    "buy_later": _("will buy some day, whatever is shown"),
}
HEAD_METRICS: Mapping[str, Any] = {
    "accuracy": _("accuracy"),
    "recall": _("recall"),
    "f1": _("F1"),
    "log_loss": _("log-loss"),
    "calibration_error": _("calibration error"),
}
HEAD_HINTS: Mapping[str, Any] = {
    "accuracy": _("share of right answers; higher is better"),
    "recall": _("share of the wanted items that were found; higher is better"),
    "f1": _("balance of precision and recall; higher is better"),
    "log_loss": _("surprise at what happened; lower is better"),
    "calibration_error": _("how far probabilities are from frequencies; lower is better"),
}
SEARCH_NAMES: Mapping[str, Any] = {
    "tuned": _("encoder of this run"),
    "untuned": _("BERT before fine-tuning"),
    "lexical": _("matching words"),
}
REPORT: Mapping[str, Any] = {
    "n_read": _("Events read"),
    "n_clean": _("Events kept"),
    "n_interactions": _("Interactions"),
    "n_visitors": _("Visitors"),
    "n_items": _("Items"),
    "n_impressions": _("Lists shown"),
    "density": _("Filled share of the visitor-item matrix"),
    "from": _("From"),
    "to": _("To"),
}
EVEN = 1e-9
N_SMOOTHED = 40
"""From this many steps on a loss curve gets a running mean; its window is a tenth of the steps."""


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better this model is than a competitor, in a sign, in words and as a CSS class."""

    css: str
    sign: str
    amount: str
    words: str
    bounds: str = ""


@dataclass(frozen=True, slots=True)
class ListRow:
    name: str
    label: str
    ndcg: str
    recall: str
    mrr: str
    coverage: str
    popularity_share: str
    gain: Gain | None = None
    rolling: str = ""
    is_ranker: bool = False
    is_best_competitor: bool = False
    is_served: bool = False


@dataclass(frozen=True, slots=True)
class ListTable:
    """Every ranker on one scope, best NDCG first."""

    title: str
    cases: str
    rows: tuple[ListRow, ...]
    chart: SafeString
    summary: str


@dataclass(frozen=True, slots=True)
class HeadRow:
    label: str
    hint: str
    validation: str
    test: str


@dataclass(frozen=True, slots=True)
class HeadTable:
    title: str
    rows: tuple[HeadRow, ...]


@dataclass(frozen=True, slots=True)
class SearchTable:
    rows: tuple[tuple[str, str, str, bool], ...]
    n_queries: int | None
    verdict: str


def name_of(key: str) -> str:
    """Return what people call a ranker; a name that is not known is shown as it is."""
    return str(NAMES.get(key, key.replace("_", " ")))


def list_tables(metrics: Any) -> list[ListTable]:
    """Return one table per scope of `metrics["lists"]`."""
    lists = _mapping(metrics, "lists")
    order = [*(scope for scope in SCOPES if scope in lists), *(scope for scope in lists if scope not in SCOPES)]
    return [_list_table(scope, metrics) for scope in order if _mapping(lists, scope)]


def gain_of(metrics: Any, scope: str, competitor: str) -> Gain | None:
    """Return the gain of this model in NDCG@10 over a competitor, with its interval where one was computed."""
    bounds = _mapping(metrics, "intervals", scope).get(competitor)
    if isinstance(bounds, list | tuple) and len(bounds) == 3:
        low, mean, high = (_number(bound) for bound in bounds)
        if low is not None and mean is not None and high is not None:
            return _gain(mean, low, high)
    figures = _mapping(metrics, "lists", scope)
    mine = _number(_mapping(figures, str(_mapping(metrics).get("ranker", "ranker"))).get("ndcg"))
    theirs = _number(_mapping(figures, competitor).get("ndcg"))
    return None if mine is None or theirs is None else _gain(mine - theirs, None, None)


def head_tables(metrics: Any) -> list[HeadTable]:
    """Return one table per classification head, metrics in the order of `HEAD_METRICS`."""
    heads = _mapping(metrics, "heads")
    return [
        HeadTable(str(HEADS.get(head, head)), tuple(_head_rows(_mapping(heads, head))))
        for head in [*(head for head in HEADS if head in heads), *(head for head in heads if head not in HEADS)]
        if _mapping(heads, head)
    ]


def search_table(metrics: Any) -> SearchTable | None:
    """Return the search guard's figures; None before they exist."""
    search = _mapping(metrics, "search")
    kept = str(search.get("kept", ""))
    rows = tuple(
        (str(label), decimal(figures.get("mrr")), percent(figures.get("recall")), key == kept)
        for key, label in SEARCH_NAMES.items()
        if (figures := _mapping(search, key))
    )
    if not rows:
        return None
    verdicts = {
        "tuned": gettext("Search uses the encoder of this run: it finds known items no worse than the untuned one."),
        "untuned": gettext("Search keeps the untuned encoder: the one of this run lost to it on known items."),
    }
    return SearchTable(rows, _count(search.get("n_queries")), verdicts.get(kept, ""))


def loss_charts(losses: Any) -> list[tuple[str, SafeString]]:
    """Return a title and a chart per stage that reported a loss; long curves with their running mean."""
    stages: dict[str, list[tuple[float, float]]] = {}
    for entry in losses if isinstance(losses, list) else ():
        step, loss = _number(_mapping(entry).get("step")), _number(_mapping(entry).get("loss"))
        if step is not None and loss is not None:
            stages.setdefault(str(entry.get("stage", "")), []).append((step, loss))
    charts = []
    for stage, points in stages.items():
        series = [Series(gettext("each step"), sorted(points), is_faint=len(points) >= N_SMOOTHED)]
        if len(points) >= N_SMOOTHED:
            series.append(Series(gettext("running mean"), _running_mean(sorted(points))))
        title = gettext("Loss of the %(stage)s") % {"stage": stage_name(stage)}
        charts.append((title, line_chart(series, title=title, x_label=gettext("step"), y_label=gettext("loss"))))
    return charts


def stage_name(stage: str) -> str:
    """Return the name of a stage with spaces."""
    return stage.replace("_", " ")


def stage_chart(seconds: Any) -> SafeString:
    """Return the time of each stage as bars, in the order they ran."""
    timed = [(str(stage), value) for stage, raw in _mapping(seconds).items() if (value := _number(raw)) is not None]
    bars = [Bar(capfirst(stage_name(stage)), value, duration(value)) for stage, value in timed]
    return bar_chart(bars, title=gettext("Time per stage"))


def data_rows(report: Any) -> list[tuple[str, str]]:
    """Return what a run trained on, known entries first, in words."""
    entries = {key: value for key, value in _mapping(report).items() if not isinstance(value, dict | list)}
    order = [*(key for key in REPORT if key in entries), *(key for key in entries if key not in REPORT)]
    return [(str(REPORT.get(key, capfirst(key.replace("_", " ")))), _entry(key, entries[key])) for key in order]


def removed_rows(report: Any) -> list[tuple[str, str]]:
    """Return why rows were left out and how many, most first."""
    removed = _mapping(report, "removed")
    rows = [(capfirst(str(reason).replace("_", " ")), n) for reason, raw in removed.items() if (n := _count(raw))]
    return [(reason, f"{n:,}") for reason, n in sorted(rows, key=lambda row: -row[1])]


def duration(seconds: float | None) -> str:
    """Return "2 min 5 s"; tenths below ten seconds."""
    if seconds is None or not math.isfinite(seconds):
        return "—"
    if seconds < 10:
        return gettext("%(seconds).1f s") % {"seconds": seconds}
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return gettext("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes}
    return gettext("%(m)d min %(s)d s") % {"m": minutes, "s": rest} if minutes else gettext("%d s") % rest


def decimal(value: Any) -> str:
    """Return four decimals, a dash for what is not a number."""
    number = _number(value)
    return "—" if number is None else f"{number:.4f}"


def percent(value: Any) -> str:
    """Return a share as a percentage, a dash for what is not a number."""
    number = _number(value)
    return "—" if number is None else f"{number:.1%}"


def cases_in_words(n: int) -> str:
    """Return "1,204 test cases"."""
    return ngettext("%(n)s test case", "%(n)s test cases", n) % {"n": f"{n:,}"}


def _list_table(scope: str, metrics: Any) -> ListTable:
    figures = _mapping(metrics, "lists", scope)
    ranker = str(_mapping(metrics).get("ranker", "ranker"))
    best = _mapping(metrics, "best_competitor").get(scope)
    names = sorted(figures, key=lambda name: -(_number(_mapping(figures, name).get("ndcg")) or -1.0))
    rows = tuple(_list_row(name, scope, metrics, ranker=ranker, best=best) for name in names)
    title = str(SCOPES.get(scope, scope))
    n_cases = _count(_mapping(metrics, "n_cases").get(scope))
    return ListTable(
        title=title,
        cases="" if n_cases is None else cases_in_words(n_cases),
        rows=rows,
        chart=interval_chart(
            list(_intervals(metrics, scope, names)), title=gettext("Gain in NDCG@10: %(scope)s") % {"scope": title}
        ),
        summary=_summary(rows),
    )


def _list_row(name: str, scope: str, metrics: Any, *, ranker: str, best: Any) -> ListRow:
    figures = _mapping(metrics, "lists", scope, name)
    return ListRow(
        name=name,
        label=name_of(name),
        ndcg=decimal(figures.get("ndcg")),
        recall=percent(figures.get("recall")),
        mrr=decimal(figures.get("mrr")),
        coverage=percent(figures.get("coverage")),
        popularity_share=percent(figures.get("popularity_share")),
        gain=None if name == ranker else gain_of(metrics, scope, name),
        rolling=_rolling(metrics, scope, name),
        is_ranker=name == ranker,
        is_best_competitor=name == best,
        is_served=name == _mapping(metrics).get("served"),
    )


def _rolling(metrics: Any, scope: str, name: str) -> str:
    """Say mean and spread over earlier windows; of one alone its figure, "" where there was none."""
    found = _mapping(metrics, "rolling", "lists", scope, name)
    mean, deviation = _number(found.get("mean")), _number(found.get("deviation"))
    if mean is None or deviation is None:
        return ""
    n_windows = _count(_mapping(metrics, "rolling").get("n_windows")) or 0
    return f"{mean:.4f} ± {deviation:.4f}" if n_windows > 1 else f"{mean:.4f}"


def _intervals(metrics: Any, scope: str, names: Iterable[str]) -> Iterable[Interval]:
    intervals = _mapping(metrics, "intervals", scope)
    for name in names:
        bounds = intervals.get(name)
        numbers = [_number(bound) for bound in bounds] if isinstance(bounds, list | tuple) else []
        known = [number for number in numbers if number is not None]
        if len(known) == 3:
            yield Interval(name_of(name), *known)


def _summary(rows: Sequence[ListRow]) -> str:
    """Say in one sentence how this model stands against the best simple competitor."""
    row = next((row for row in rows if row.is_best_competitor and row.gain), None)
    if row is None or row.gain is None:
        return ""
    words = {
        "better": gettext("This model is better than the best simple competitor, %(name)s: %(amount)s NDCG@10."),
        "worse": gettext("This model is worse than the best simple competitor, %(name)s: %(amount)s NDCG@10."),
        "even": gettext("This model and the best simple competitor, %(name)s, cannot be told apart (%(amount)s)."),
    }
    amount = f"{row.gain.amount} {row.gain.bounds}".strip()
    return words[row.gain.css] % {"name": row.label, "amount": amount}


def _gain(mean: float, low: float | None, high: float | None) -> Gain:
    """Call it better or worse only where the whole interval is; without an interval by the sign alone."""
    is_better, is_worse = (low if low is not None else mean) > EVEN, (high if high is not None else mean) < -EVEN
    bounds = "" if low is None else gettext("(%(low)+.4f to %(high)+.4f)") % {"low": low, "high": high}
    amount = f"{mean:+.4f}"
    if is_better:
        return Gain("better", "▲", amount, gettext("better"), bounds)
    if is_worse:
        return Gain("worse", "▼", amount, gettext("worse"), bounds)
    return Gain("even", "≈", amount, gettext("no clear difference"), bounds)


def _head_rows(head: Mapping[str, Any]) -> Iterable[HeadRow]:
    validation, test = _mapping(head, "validation"), _mapping(head, "test")
    for metric, label in HEAD_METRICS.items():
        if metric in validation or metric in test:
            hint = str(HEAD_HINTS[metric])
            yield HeadRow(str(label), hint, decimal(validation.get(metric)), decimal(test.get(metric)))


def _entry(key: str, value: Any) -> str:
    number = _number(value)
    if number is None:
        return str(value)
    if key == "density":
        return f"{number:.3%}"
    return f"{int(number):,}" if number == int(number) else f"{number:,.4g}"


def _running_mean(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at each step the mean of the points around it, a tenth of the curve, less toward its ends."""
    half = max(1, len(points) // 20)
    total = [0.0, *accumulate(loss for _step, loss in points)]
    means = []
    for place, (step, _loss) in enumerate(points):
        reach = min(half, place, len(points) - 1 - place)
        first, last = place - reach, place + reach + 1
        means.append((step, (total[last] - total[first]) / (last - first)))
    return means


def _mapping(value: Any, *path: str) -> Mapping[str, Any]:
    """Follow `path` through nested dicts; whatever is not a dict on the way reads as empty."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _count(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
