"""A `Progress` that remembers what a training reported."""

from __future__ import annotations

from recommender.ml.progress import Progress


class Recorder(Progress):
    """Records stages, losses and figures; asked `stop_after` times whether to stop, it says yes from then on."""

    def __init__(self, *, stop_after: int | None = None) -> None:
        self.stages: list[str] = []
        self.losses: list[float] = []
        self.figures: dict[str, float] = {}
        self._n_asked, self._stop_after = 0, stop_after

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        if loss is not None:
            self.losses.append(loss)

    def figure(self, name: str, value: float) -> None:
        self.figures[name] = value

    def should_stop(self) -> bool:
        self._n_asked += 1
        return self._stop_after is not None and self._n_asked > self._stop_after
