"""One line per measured figure: the value, its limit and the ratio of the two, at most 1 where the limit is kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value in `unit` beside the limit it must stay under."""

    name: str
    value: float
    limit: float
    unit: str

    @property
    def ratio(self) -> float:
        return self.value / self.limit

    def __str__(self) -> str:
        verdict = "ok" if self.ratio <= 1 else "OVER"
        return f"{self.name:<44} {self.value:>9.2f} {self.limit:>8.0f} {self.unit:<8} {self.ratio:>6.2f}  {verdict}"


def show(title: str, figures: Iterable[Figure]) -> None:
    """Print as a table; each line as soon as it is measured."""
    print(f"\n{title}\n{'figure':<44} {'measured':>9} {'limit':>8} {'unit':<8} {'ratio':>6}")
    for figure in figures:
        print(figure, flush=True)
