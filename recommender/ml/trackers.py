"""Where the curves of a run are drawn: losses and figures in, event files of TensorBoard or Weights & Biases out."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recommender.exceptions import MissingDependency
from recommender.ml.progress import Progress

PROJECT = "shopreco"


class Tracker(Progress):
    """One run in one tool. Whatever fails raises; the caller decides what that costs.

    A figure that comes again is the next point of its curve.
    """

    _stage = ""

    def stage(self, name: str) -> None:
        self._stage = name

    def finish(self, made: Mapping[str, Any], figures: Mapping[str, float], table: str) -> None:
        """Write how the run was made, its final numbers and its table in Markdown, and close the files."""


def open_tracker(kind: str, folder: Path, *, name: str) -> Tracker:
    """Open "tensorboard", "wandb" (files only) or "wandb-online" (sent) in a folder that is made where it is missing.

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

    def finish(self, made: Mapping[str, Any], figures: Mapping[str, float], table: str) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(f"final/{name}", value, 0)
        self._writer.add_text("made", f"```\n{json.dumps(made, indent=2)}\n```")
        self._writer.add_text("result", table)
        self._writer.close()


class WeightsAndBiases(Tracker):
    """Files that `wandb sync` sends when a person says so; with `is_sent` they are sent as the run goes on.

    Neither the machine, its use nor the code is described: figures and settings only.
    """

    def __init__(self, folder: Path, *, name: str, is_sent: bool) -> None:
        _require("wandb", extra="wandb")
        wandb = importlib.import_module("wandb")
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, save_code=False,
            x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
        )  # fmt: skip
        # Written out: an environment variable of the host must not switch sending on.
        mode = "online" if is_sent else "offline"
        self._run = wandb.init(project=PROJECT, name=name, dir=str(folder), mode=mode, settings=settings)
        self._run.define_metric("loss/*", step_metric="loss/step")

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        if loss is not None:
            self._run.log({f"loss/{self._stage}": loss, "loss/step": done})

    def figure(self, name: str, value: float) -> None:
        self._run.log({f"figures/{name}": value})

    def finish(self, made: Mapping[str, Any], figures: Mapping[str, float], table: str) -> None:
        self._run.config.update(dict(made))
        self._run.summary.update(dict(figures))
        self._run.notes = table
        self._run.finish()


def _require(package: str, *, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingDependency(
            f"The package {package} is not installed on the host that trains: "
            f'pip install "shopreco[{extra}]", or set RECOMMENDER["EXPERIMENT_TRACKER"] = "".'
        )
