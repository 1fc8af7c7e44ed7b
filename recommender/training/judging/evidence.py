"""The cases that a run is judged on: those of its test window and, where these are too few, of earlier windows."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext

from recommender.exceptions import InsufficientData
from recommender.models import Bundle
from recommender.training.judging import evaluation
from recommender.training.judging.gate import LEAST_CASES
from recommender.training.judging.windows import earlier
from recommender.training.refusals import too_few_cases
from recommender.training.split import Split

MOST_CASES = 800
"""Cases that are judged where there are so many, on every machine: with the demo's spread the interval of all items
then reaches .008 to either side. All rankers together answer one in about 45 ms."""

LEAST_CASES_TO_TRAIN = 10
"""With fewer test cases the figures of a run mean nothing; it ends before it costs minutes."""


@dataclass(frozen=True, slots=True)
class Window:
    """An earlier window, of which the split knows nothing later, and its cases."""

    split: Split
    cases: list[evaluation.Case]


@dataclass(frozen=True, slots=True)
class Evidence:
    """cases: of the test window; earlier: windows that are pooled with it, the newest first."""

    cases: list[evaluation.Case]
    earlier: tuple[Window, ...] = ()

    @property
    def n_cases(self) -> int:
        """Cases of all windows."""
        return len(self.cases) + sum(len(window.cases) for window in self.earlier)


def gather(split: Split, *, learned_until: float, seed: int, least_cases: int = LEAST_CASES) -> Evidence:
    """Take earlier windows until there are `least_cases`. Raises InsufficientData, with the cause, for next to none.

    learned_until: no window begins before it, because what serves now has learned from what is before.
    """
    cases = evaluation.cases(split, most=MOST_CASES, seed=seed)
    windows: list[Window] = []
    n_cases = len(cases)
    for window in earlier(split):
        if n_cases >= least_cases or window.test_start < learned_until:
            break
        if some := evaluation.cases(window, most=MOST_CASES, seed=seed):
            windows.append(Window(window, some))
            n_cases += len(some)
    if not cases or n_cases < LEAST_CASES_TO_TRAIN or not len(split.past):
        needed = gettext(
            "At least %(least)s are needed to train, in this window and up to three before it, and %(sure)s to be sure."
        ) % {"least": LEAST_CASES_TO_TRAIN, "sure": least_cases}
        raise InsufficientData(too_few_cases(split, n_cases, needed=needed))
    return Evidence(cases, tuple(windows))


def learned_until(bundle: Bundle) -> float:
    """The moment from which a bundle has learned nothing; of one that does not say, when it was made."""
    if not bundle.is_trained:
        return 0.0
    return float(bundle.manifest.get("learned_until", bundle.created_at.timestamp()))
