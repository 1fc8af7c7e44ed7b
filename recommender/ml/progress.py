"""How a training reports what it does and learns whether to stop: subclass `Progress` to watch one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext


class Progress:
    """Watches a training. Every method does nothing; a subclass overrides those that it needs."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        """A step of the stage was taken; `loss` is None where nothing is learned."""

    def figure(self, name: str, value: float) -> None:
        """A figure of the run was computed."""

    def should_stop(self) -> bool:
        """Whether the run is to end early; asked at every step."""
        return False

    def check(self) -> None:
        """Raise an error if the run must end; called between stages."""

    def apart(self) -> AbstractContextManager[None]:
        """Hold still while the process forks: nothing that a child would inherit is open or half done."""
        return nullcontext()


UNWATCHED = Progress()
