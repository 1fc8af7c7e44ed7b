"""Two to four runs beside each other; one that learned from other data is greyed, since its figures do not compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext

from recommender.admin import figures
from recommender.admin.numbers import local
from recommender.models import Run
from recommender.runs.comparisons import SCOPES
from recommender.runs.figures import Figures

MOST_RUNS = 4


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """The head of one column; `is_other`: its data differ from those of the first run."""

    run: Run
    title: str
    verdict: str
    is_other: bool


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One figure of all runs, and which columns have the best; cells are (text, is_best, is_other)."""

    label: str
    cells: tuple[tuple[str, bool, bool], ...]


@dataclass(frozen=True, slots=True)
class RunTable:
    """A column for each run, a row for each figure."""

    columns: tuple[ComparedRun, ...]
    rows: tuple[ComparedRow, ...]

    @property
    def n_others(self) -> int:
        """How many runs learned from other data than the first."""
        return sum(column.is_other for column in self.columns)


def compared(chosen: Sequence[Run]) -> RunTable:
    """The table of these runs, in their order. No query."""
    hashes = [run.report.get("data_hash") for run in chosen]
    is_other = [one is None or one != hashes[0] for one in hashes]
    is_other[0] = False
    columns = [
        ComparedRun(run, gettext("Run %d") % run.pk, str(run.get_verdict_display() or run.get_state_display()), other)
        for run, other in zip(chosen, is_other, strict=True)
    ]
    measured = [Figures.of(run.metrics) for run in chosen]
    rows = [*_qualities(measured, is_other), *_facts(chosen, is_other)]
    return RunTable(tuple(columns), tuple(rows))


def _qualities(measured: Sequence[Figures], is_other: Sequence[bool]) -> list[ComparedRow]:
    """NDCG@10 and recall of each run's model by list; the best among the runs of the same data is marked."""
    rows = []
    for scope, name in SCOPES.items():
        for label, read in ((gettext("NDCG@10"), _ndcg), (gettext("Recall"), _recall)):
            values = [read(figures_of_run, scope) for figures_of_run in measured]
            rows.append(_row(f"{label}, {name}", values, is_other, lambda value: local(value, ".4f")))
    return rows


def _row(
    label: str, values: Sequence[float | None], is_other: Sequence[bool], write: Callable[[float], str]
) -> ComparedRow:
    comparable = [value for value, other in zip(values, is_other, strict=True) if value is not None and not other]
    best = max(comparable) if len(set(comparable)) > 1 else None
    cells = (
        ("–" if value is None else write(value), not other and value is not None and value == best, other)
        for value, other in zip(values, is_other, strict=True)
    )
    return ComparedRow(label, tuple(cells))


def _facts(chosen: Sequence[Run], is_other: Sequence[bool]) -> list[ComparedRow]:
    columns: list[tuple[str, Callable[[Run], Any]]] = [
        (gettext("Took"), lambda run: figures.duration(_seconds(run))),
        (gettext("Minutes allowed"), lambda run: run.settings.get("minutes") or "–"),
        (gettext("Encoder"), lambda run: run.provenance.get("encoder", {}).get("name") or "–"),
        (gettext("Fine-tuning"), lambda run: run.settings.get("fine_tuning") or gettext("as the settings say")),
        (gettext("Seed"), lambda run: run.provenance.get("seed", "–")),
        (gettext("Events"), lambda run: local(run.report["n_clean"], ",") if "n_clean" in run.report else "–"),
        (gettext("Code"), lambda run: str(run.provenance.get("code", "–"))[:12]),
        (gettext("Attempts"), lambda run: run.fencing_token or "–"),
    ]
    return [
        ComparedRow(label, tuple((str(read(run)), False, other) for run, other in zip(chosen, is_other, strict=True)))
        for label, read in columns
    ]


def _seconds(run: Run) -> float | None:
    if run.started_at is None or run.finished_at is None:
        return None
    return (run.finished_at - run.started_at).total_seconds()


def _ndcg(measured: Figures, scope: str) -> float | None:
    quality = measured.lists.get(scope, {}).get(measured.ranker)
    return quality.ndcg if quality is not None else None


def _recall(measured: Figures, scope: str) -> float | None:
    quality = measured.lists.get(scope, {}).get(measured.ranker)
    return quality.recall if quality is not None else None
