"""Draws the curves of a run in TensorBoard or Weights & Biases; a tool that fails costs a log line, never the run."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recommender import conf
from recommender.exceptions import MissingDependency
from recommender.ml.progress import UNWATCHED, Progress
from recommender.models import Run
from recommender.training.watch import Watch

logger = logging.getLogger(__name__)

COLUMNS = ("ndcg", "recall", "mrr", "coverage", "popularity_share")
PROJECT = "shopreco"
"""Of a run in Weights & Biases."""


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
    """A tracker that never raises: its first failure is logged and ends the tracking."""

    def __init__(self, run_id: int, opened: Callable[[], Tracker]) -> None:
        self._run_id = run_id
        self._tracker: Tracker | None = None
        try:
            self._tracker = opened()
        except Exception:
            self._give_up()

    @property
    def is_working(self) -> bool:
        """Whether the tool has not failed so far."""
        return self._tracker is not None

    def stage(self, name: str) -> None:
        self._tell(lambda tracker: tracker.stage(name))

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        self._tell(lambda tracker: tracker.step(done, total, loss))

    def figure(self, name: str, value: float) -> None:
        self._tell(lambda tracker: tracker.figure(name, value))

    def finish(self, provenance: Mapping[str, Any], figures: Mapping[str, float], table: str) -> None:
        self._tell(lambda tracker: tracker.finish(provenance, figures, table))

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


class Tracker(Progress):
    """One run in one tool. What fails raises an error; the caller decides what that costs.

    A figure that comes again is the next point of its curve.
    """

    _stage = ""

    def stage(self, name: str) -> None:
        self._stage = name

    def finish(self, provenance: Mapping[str, Any], figures: Mapping[str, float], table: str) -> None:
        """Write the provenance of the run, its final figures and its table in Markdown, and close the files."""


def open_tracker(kind: str, folder: Path, *, name: str) -> Tracker:
    """Open "tensorboard", "wandb" (files only) or "wandb-online" (sent) in a folder that is created if missing.

    Raises MissingDependency where the package is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "tensorboard":
        return TensorBoard(folder)
    return WeightsAndBiases(folder, name=name, is_sent=kind == "wandb-online")


class TensorBoard(Tracker):
    """Event files, to be read by `tensorboard --logdir`."""

    def __init__(self, folder: Path) -> None:
        _require("tensorboard", extra="tensorboard")
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self._writer = writer(str(folder))
        self._n_points: dict[str, int] = {}

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        if loss is not None:
            self._writer.add_scalar(f"loss/{self._stage}", loss, done)

    def figure(self, name: str, value: float) -> None:
        step = self._n_points[name] = self._n_points.get(name, -1) + 1
        self._writer.add_scalar(f"figures/{name}", value, step)

    def finish(self, provenance: Mapping[str, Any], figures: Mapping[str, float], table: str) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(f"final/{name}", value, 0)
        self._writer.add_text("provenance", f"```\n{json.dumps(provenance, indent=2)}\n```")
        self._writer.add_text("result", table)
        self._writer.close()


class WeightsAndBiases(Tracker):
    """Files for `wandb sync`; with `is_sent` they are sent while the run goes on.

    They hold figures and settings, nothing about the machine, its load or the code.
    """

    def __init__(self, folder: Path, *, name: str, is_sent: bool) -> None:
        _require("wandb", extra="wandb")
        wandb = importlib.import_module("wandb")
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, save_code=False,
            x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
        )  # fmt: skip
        # Always set: an environment variable of the host must not switch sending on.
        mode = "online" if is_sent else "offline"
        self._run = wandb.init(project=PROJECT, name=name, dir=str(folder), mode=mode, settings=settings)
        self._run.define_metric("loss/*", step_metric="loss/step")

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        if loss is not None:
            self._run.log({f"loss/{self._stage}": loss, "loss/step": done})

    def figure(self, name: str, value: float) -> None:
        self._run.log({f"figures/{name}": value})

    def finish(self, provenance: Mapping[str, Any], figures: Mapping[str, float], table: str) -> None:
        self._run.config.update(dict(provenance))
        self._run.summary.update(dict(figures))
        self._run.notes = table
        self._run.finish()


def _require(package: str, *, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingDependency(
            f"The package {package} is not installed on the host that trains: "
            f'pip install "shopreco[{extra}]", or set RECOMMENDER["EXPERIMENT_TRACKER"] = "".'
        )
