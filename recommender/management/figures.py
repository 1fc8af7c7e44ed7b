"""The figures of a run as lines of plain tables, for the terminal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from django.utils.text import capfirst
from django.utils.translation import gettext

from recommender.models import Run
from recommender.runs.comparisons import SCOPES
from recommender.runs.figures import LIST_FIGURES, Classifier, Figures, Gain, SearchFigures

HEADINGS = ("NDCG@10", "recall@20", "MRR", "coverage", "bestsellers")


def table(run: Run) -> Iterator[str]:
    """The data, the model beside every competitor on each list, its probabilities, and search."""
    figures = Figures.of(run.metrics)
    yield from _data_lines(run.report)
    for scope in SCOPES:
        if figures.lists.get(scope):
            yield from _list_lines(figures, scope)
    for head, classifier in figures.heads.items():
        yield from _head_lines(head, classifier)
    if figures.search is not None:
        yield from _search_lines(figures.search)


def _data_lines(report: dict[str, Any]) -> Iterator[str]:
    if not report:
        return
    removed = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in report["removed"].items())
    yield ""
    yield gettext(
        "%(n_clean)s of %(n_read)s events, %(n_visitors)s visitors, %(n_items)s items, %(from)s to %(to)s; removed: "
        "%(removed)s"
    ) % {
        **{name: f"{report[name]:,}" for name in ("n_clean", "n_read", "n_visitors", "n_items")},
        "from": report["from"],
        "to": report["to"],
        "removed": removed or gettext("none"),
    }


def _list_lines(figures: Figures, scope: str) -> Iterator[str]:
    lists, gains = figures.lists[scope], figures.intervals.get(scope, {})
    yield ""
    title = gettext("%(scope)s (%(n)s test cases)")
    words = {"scope": capfirst(SCOPES[scope]), "n": f"{figures.n_cases.get(scope, 0):,}"}
    yield (title % words).ljust(34) + "".join(f"{heading:>12}" for heading in HEADINGS)
    for name, quality in sorted(lists.items(), key=lambda pair: -pair[1].ndcg):
        label = f"* {name}" if name == figures.ranker else f"  {name}"
        row = label.replace("_", " ").ljust(34) + "".join(f"{getattr(quality, n):>12.4f}" for n in LIST_FIGURES)
        yield row + (f"   {_gain(gains[name])}" if name in gains else "")


def _gain(gain: Gain) -> str:
    return gettext("model %(mean)+.4f (%(low)+.4f to %(high)+.4f)") % gain._asdict()


def _head_lines(head: str, classifier: Classifier) -> Iterator[str]:
    for part in ("validation", "test"):
        if (quality := getattr(classifier, part)) is not None:
            numbers = {name: value for name, value in dataclasses.asdict(quality).items() if not math.isnan(value)}
            yield ""
            yield f"P({head}), {part}: " + ", ".join(f"{n.replace('_', ' ')} {v:.3f}" for n, v in numbers.items())


def _search_lines(search: SearchFigures) -> Iterator[str]:
    parts = {name: getattr(search, name) for name in ("tuned", "untuned", "lexical")}
    yield gettext("Search, MRR of %(n)d synthetic known-item queries: %(figures)s; kept: %(kept)s") % {
        "n": search.n_queries,
        "figures": ", ".join(f"{name} {quality.mrr:.3f}" for name, quality in parts.items() if quality),
        "kept": search.encoder_of_bundle,
    }
    yield ""
