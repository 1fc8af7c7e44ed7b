"""The faults by number, what each finds out, and the table and the file that they end in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.faults.bench import Bench

HEADER = "|  | fault | passed | seconds | figure |\n|---:|---|---|---:|---|"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a fault did. `seconds`: the longest that somebody waited, for an answer or for the recovery."""

    passed: bool
    figure: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of the table: a function that injects the fault and looks at what became of the shop."""

    number: int
    name: str
    inject: Callable[[Bench], Outcome]


FAULTS: dict[int, Fault] = {}
"""Every fault by its number; the modules of `__main__` register them."""


def fault(number: int, name: str) -> Callable[[Callable[[Bench], Outcome]], Callable[[Bench], Outcome]]:
    """Register a function as the fault of this number. Raises ValueError for a number that is taken."""

    def register(inject: Callable[[Bench], Outcome]) -> Callable[[Bench], Outcome]:
        if number in FAULTS:
            raise ValueError(f"fault {number} is {FAULTS[number].name!r}")
        FAULTS[number] = Fault(number, name, inject)
        return inject

    return register


def outcomes(bench: Bench, faults: Iterable[Fault]) -> Iterator[tuple[Fault, Outcome]]:
    """Inject one fault after the other; one that could not be carried out has not passed."""
    for one in faults:
        try:
            bench.ensure()
            outcome = one.inject(bench)
        except Exception as error:  # the edge: the next faults are injected all the same
            outcome = Outcome(passed=False, figure=f"not carried out: {type(error).__name__}: {error}")
        yield one, outcome


def line(one: Fault, outcome: Outcome) -> str:
    """A line of the table, in Markdown."""
    verdict = "yes" if outcome.passed else "NO"
    return f"| {one.number} | {one.name} | {verdict} | {outcome.seconds:.2f} | {outcome.figure} |"


def as_json(results: Iterable[tuple[Fault, Outcome]], *, n_missing: int, balance: int) -> dict[str, Any]:
    """What `--json` writes.

    n_missing: acknowledged events that are not stored; balance: events sent of which an answer said nothing, less those
    of which it said too much.
    """
    faults = [
        {"name": one.name, "passed": outcome.passed, "figure": outcome.figure, "seconds": round(outcome.seconds, 3)}
        for one, outcome in results
    ]
    return {"faults": faults, "acknowledged_minus_stored": n_missing, "ledger_balance": balance}
