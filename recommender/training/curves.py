"""Draws the curves of a run with the tool that `EXPERIMENT_TRACKER` names; a tool that fails never fails the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from recommender import conf
from recommender.ml.progress import UNWATCHED, Progress
from recommender.ml.trackers import Tracker, open_tracker
from recommender.models import Run
from recommender.training.watch import Watch

logger = logging.getLogger(__name__)

COLUMNS = ("ndcg", "recall", "mrr", "coverage", "popularity_share")


@contextmanager
def tracked(run: Run, watch: Watch) -> Iterator[None]:
    """Follow a run with the tool of `EXPERIMENT_TRACKER`, and close its files however the run ends."""
    kind = str(conf.get("EXPERIMENT_TRACKER"))
    if not kind:
        yield
        return
    folder = conf.directory() / "curves" / f"run-{run.pk}"
    careful = Careful(run.pk, lambda: open_tracker(kind, folder, name=f"run {run.pk}"))
    watch.listener = careful
    if careful.is_working:
        watch.note(curves={"tool": kind, "folder": str(folder)})
    try:
        yield
    finally:
        watch.listener = UNWATCHED
        metrics = watch.record.figures.as_json() if watch.record.figures else {}
        careful.finish(watch.provenance, dict(numbers(metrics)), markdown(metrics))


class Careful(Progress):
    """A tracker that never raises: after its first failure, which is logged, it is silent."""

    def __init__(self, run_id: int, opened: Callable[[], Tracker]) -> None:
        self._run_id = run_id
        self._tracker: Tracker | None = None
        try:
            self._tracker = opened()
        except Exception:
            self._give_up()

    @property
    def is_working(self) -> bool:
        """The tool has not failed so far."""
        return self._tracker is not None

    def stage(self, name: str) -> None:
        self._tell(lambda tracker: tracker.stage(name))

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        self._tell(lambda tracker: tracker.step(done, total, loss))

    def figure(self, name: str, value: float) -> None:
        self._tell(lambda tracker: tracker.figure(name, value))

    def finish(self, made: Mapping[str, Any], figures: Mapping[str, float], table: str) -> None:
        self._tell(lambda tracker: tracker.finish(made, figures, table))

    def _tell(self, say: Callable[[Tracker], None]) -> None:
        if self._tracker is None:
            return
        try:
            say(self._tracker)
        except Exception:
            self._give_up()

    def _give_up(self) -> None:
        self._tracker = None
        logger.warning("run %s goes on without its experiment tracker, which failed", self._run_id, exc_info=True)


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Walk nested figures; yield "lists/all/ranker/ndcg" and its number."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from numbers(inner, f"{path}/{key}" if path else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)


def markdown(metrics: Mapping[str, Any]) -> str:
    """The tables of `metrics["lists"]`, best NDCG first."""
    lines: list[str] = []
    for scope, lists in (metrics.get("lists") or {}).items():
        lines += [f"**{scope}**", "", f"| ranker | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
        for name, figures in sorted(lists.items(), key=lambda pair: -pair[1]["ndcg"]):
            lines.append(f"| {name} | {' | '.join(f'{figures[column]:.4f}' for column in COLUMNS)} |")
        lines.append("")
    return "\n".join(lines) or "no lists"
