"""What a run reports is drawn by TensorBoard or Weights & Biases, stays on this host, and never fails the run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from recommender import conf, runs
from recommender.checks import check_settings
from recommender.exceptions import MissingDependency
from recommender.models import Run
from recommender.runs.figures import Figures
from recommender.runs.supervision import log_path
from recommender.training import curves, stages
from recommender.training.watch import RunResult
from tests.conftest import wait_for

METRICS = {
    "lists": {
        "all": {
            "ranker": {"ndcg": 0.2, "recall": 0.3, "mrr": 0.1, "coverage": 0.5, "popularity_share": 0.4},
            "random": {"ndcg": 0.1, "recall": 0.2, "mrr": 0.1, "coverage": 0.9, "popularity_share": 0.1},
        }
    },
    "served": "champion",
}
PROVENANCE = {"seed": 7, "settings": {"tune": {"temperature": 0.05}}}


def report(tracker: curves.Tracker) -> None:
    tracker.stage("encoder")
    for step in range(1, 4):
        tracker.step(step, 3, 1 / step)
    tracker.figure("best_score", 0.25)
    tracker.figure("best_score", 0.5)
    tracker.finish(PROVENANCE, dict(curves.numbers(METRICS)), curves.markdown(METRICS))


def events(folder: Path) -> Any:
    accumulator = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    read = accumulator.EventAccumulator(str(folder))
    read.Reload()
    return read


def scalars(read: Any, name: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in read.Scalars(name)]


def texts(read: Any, name: str) -> str:
    (event,) = read.Tensors(f"{name}/text_summary")
    return event.tensor_proto.string_val[0].decode()


def test_tensorboard_reads_back_losses_figures_settings_and_table(tmp_path: Path) -> None:
    report(curves.open_tracker("tensorboard", tmp_path, name="run 1"))
    read = events(tmp_path)
    assert scalars(read, "loss/encoder") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert scalars(read, "figures/best_score") == [(0, 0.25), (1, 0.5)]
    assert scalars(read, "final/lists/all/ranker/ndcg") == [(0, 0.2)]
    assert '"temperature": 0.05' in texts(read, "provenance")
    assert "| ranker | 0.2000 | 0.3000 |" in texts(read, "result")


def test_wandb_writes_files_only_whatever_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    report(curves.open_tracker("wandb", tmp_path, name="run 1"))
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    # A process of its own writes the file, a moment after `finish` has returned.
    wait_for(lambda: b"loss/encoder" in file.read_bytes(), what=f"the losses in {file}")
    assert b"temperature" in file.read_bytes()
    assert not list(tmp_path.glob("wandb/run-*"))


@pytest.mark.parametrize(("kind", "extra"), [("tensorboard", "tensorboard"), ("wandb", "wandb")])
def test_tool_that_is_not_installed_is_named_with_the_command(
    kind: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=rf'pip install "shopreco\[{extra}\]"'):
        curves.open_tracker(kind, tmp_path, name="run 1")


class Broken(curves.Tracker):
    """Works until it is told its second loss."""

    def __init__(self) -> None:
        self.n_told = 0

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        self.n_told += 1
        if self.n_told == 2:
            raise OSError("disk full")

    def figure(self, name: str, value: float) -> None:
        self.n_told += 1

    def finish(self, provenance: Any, figures: Any, table: str) -> None:
        self.n_told += 1


def test_tool_that_fails_is_logged_once_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    broken = Broken()
    report(curves.Careful(7, lambda: broken))
    assert broken.n_told == 2
    (record,) = caplog.records
    assert "run 7 goes on without its experiment tracker" in record.message
    assert "disk full" in caplog.text


def tracked_run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose stages are planted: it reports a loss and a figure, and ends."""

    def carry(self: stages.Stages) -> RunResult:
        watch = self.watch
        watch.stage("encoder")
        watch.step(1, 2, 0.75)
        watch.figure("search_mrr_tuned", 0.5)
        watch.record.figures = Figures.of(METRICS)
        watch.note(**PROVENANCE)
        return RunResult(Run.Verdict.REFUSED, "Planted.")

    monkeypatch.setattr(stages.Stages, "carry", carry)
    run = runs.request_run(trigger="command")
    log_path(run.pk).parent.mkdir(parents=True, exist_ok=True)
    stages.run(run.pk, runs.lease(run.pk, worker="test") or 0)
    run.refresh_from_db()
    assert (run.state, run.reason) == (Run.State.SUCCEEDED, "Planted.")
    return run


@pytest.mark.django_db(transaction=True)
def test_run_is_drawn_under_the_directory_and_says_where(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "EXPERIMENT_TRACKER": "tensorboard"}
    run = tracked_run(monkeypatch)
    folder = conf.directory() / "curves" / f"run-{run.pk}"
    assert run.provenance["curves"] == {"tool": "tensorboard", "folder": str(folder)}
    assert run.provenance["seed"] == 7
    read = events(folder)
    assert scalars(read, "loss/encoder") == [(1, 0.75)]
    assert scalars(read, "figures/search_mrr_tuned") == [(0, 0.5)]
    assert scalars(read, "final/lists/all/random/coverage") == [(0, 0.9)]


@pytest.mark.django_db(transaction=True)
def test_run_without_the_setting_writes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    run = tracked_run(monkeypatch)
    assert "curves" not in run.provenance
    assert not (conf.directory() / "curves" / f"run-{run.pk}").exists()


@pytest.mark.django_db(transaction=True)
def test_run_goes_on_where_the_tool_is_missing(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "EXPERIMENT_TRACKER": "tensorboard"}
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "tensorboard" else find_spec(name, *more)
    )
    run = tracked_run(monkeypatch)
    assert "curves" not in run.provenance
    assert caplog.text.count("goes on without its experiment tracker") == 1


def test_check_names_the_closest_tool_and_what_to_install(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RECOMMENDER = {"EXPERIMENT_TRACKER": "tensorbord"}
    (message,) = check_settings(None)
    assert (message.id, message.hint) == ("recommender.E004", "Did you mean 'tensorboard'?")
    settings.RECOMMENDER = {"EXPERIMENT_TRACKER": "wandb"}
    assert check_settings(None) == []
    monkeypatch.setattr("recommender.checks.importlib.util.find_spec", lambda name: None)
    (message,) = check_settings(None)
    assert message.id == "recommender.W008"
    assert 'pip install "shopreco[wandb]"' in message.hint
