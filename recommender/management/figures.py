"""The figures of a run in, lines of a plain table out, for commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recommender.models import Run

COLUMNS = ("ndcg", "recall", "mrr", "coverage", "popularity_share")
TITLES = {"all": "All items", "new": "Items new to the shopper"}
HEADINGS = ("NDCG@10", "recall@20", "MRR", "coverage", "bestsellers")


def table(run: Run) -> Iterator[str]:
    """The model against every competitor on each list, its probabilities, search, and what was left out."""
    yield from _data_lines(run.report)
    lists = run.metrics.get("lists", {})
    for scope, title in TITLES.items():
        if lists.get(scope):
            yield from _list_lines(run.metrics, scope, title)
    yield from _head_lines(run.metrics.get("heads", {}))
    yield from _search_lines(run.metrics.get("search", {}))


def _data_lines(report: dict[str, Any]) -> Iterator[str]:
    if not report:
        return
    removed = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in report["removed"].items()) or "none"
    yield ""
    yield (
        f"{report['n_clean']:,} of {report['n_read']:,} events, {report['n_visitors']:,} visitors, "
        f"{report['n_items']:,} items, {report['from']} to {report['to']}; left out: {removed}"
    )


def _list_lines(metrics: dict[str, Any], scope: str, title: str) -> Iterator[str]:
    figures, intervals = metrics["lists"][scope], metrics["intervals"][scope]
    yield ""
    yield f"{title} ({metrics['n_cases'][scope]:,} test cases)".ljust(34) + "".join(f"{name:>12}" for name in HEADINGS)
    for name, values in sorted(figures.items(), key=lambda pair: -pair[1]["ndcg"]):
        label = f"* {name}" if name == metrics["ranker"] else f"  {name}"
        row = label.replace("_", " ").ljust(34) + "".join(f"{values[column]:>12.4f}" for column in COLUMNS)
        yield row + (f"   {_gain(intervals[name])}" if name in intervals else "")


def _gain(bounds: list[float]) -> str:
    low, mean, high = bounds
    return f"model {mean:+.4f} ({low:+.4f} to {high:+.4f})"


def _head_lines(heads: dict[str, Any]) -> Iterator[str]:
    for head, slices in heads.items():
        for part, values in slices.items():
            shown = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in values.items())
            yield ""
            yield f"P({head}), {part}: {shown}"


def _search_lines(search: dict[str, Any]) -> Iterator[str]:
    if not search:
        return
    shown = ", ".join(f"{name} {search[name]['mrr']:.3f}" for name in ("tuned", "untuned", "lexical") if name in search)
    yield ""
    yield f"Search, MRR of {search['n_queries']} synthetic known-item queries: {shown}; kept: {search['kept']}"
    yield ""
