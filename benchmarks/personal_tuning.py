"""How the constants of `serving.personal` were chosen: MRR over a grid, on the half of the customers not reported on.

    SHOPRECO_VAR=<a trained demo> python -m benchmarks.personal_tuning [--untrained] [--folder COPY] [--cases 600]

Every search is graded once; then its order is computed for each combination. Queries as in
`benchmarks.personal_search`.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.personal_search import Case, cases, gain, in_half
from benchmarks.rewound import customers, rewind
from recommender.types import FloatArray

SALES_WEIGHTS = (0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12)
LIKING_WEIGHTS = (0.02, 0.04, 0.08, 0.12, 0.16)
FACTORS = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Graded:
    """One search: its preference without a past, and (n,) what could enter the score; truth: row of the item."""

    case: Case
    preference: Any
    truth: int
    columns: dict[str, FloatArray]

    def reciprocal(self, openness: float, delta: FloatArray) -> float:
        """One over the position of the truth where delta (n,) times the ambiguity is added to the grades."""
        from recommender.serving import personal

        rows, grades = self.preference.graded.pair()
        order = personal._order(grades + openness * delta, self.preference.answers)
        kind = self.preference.answers[order] >= 2
        listed = rows[np.concatenate([order[kind], order[~kind]])]
        position = np.flatnonzero(listed == self.truth)
        return 1 / (int(position[0]) + 1) if len(position) else 0.0


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--half", choices=("a", "b"), default="a")
    parser.add_argument("--untrained", action="store_true", help="bundle 0 serves")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="shopreco-bench-") as temporary:
        graded = _graded(options, options.folder or Path(temporary))
    print(f"{len(graded)} searches of half {options.half}")
    _print_grid(graded)


def _graded(options: argparse.Namespace, folder: Path) -> list[Graded]:
    at = rewind(folder, is_untrained=options.untrained)
    from recommender import pipeline, serving
    from recommender.serving import personal
    from recommender.text.query import normal_query
    from recommender.types import Context, Request, Slot

    served, everybody = serving.reload(), customers(folder)
    half = [customer for customer in everybody if in_half(customer.name, options.half)]
    every = list(cases(half, served.shelf))
    graded, of = [], personal.Preference.of
    for number, case in enumerate(random.Random(0).sample(every, min(options.cases, len(every)))):
        seen: list[Any] = []
        request = Request(Slot.SEARCH, Context(at), query=normal_query(case.query), limit=1)
        with patch.object(personal.Preference, "of", lambda *parts, seen=seen: seen.append(of(*parts)) or seen[-1]):
            pipeline.rank(request, served=served)
        if seen:
            columns = partial(_columns, request=request, shelf=served.shelf, preference=seen[-1])
            other = half[(number * 7919 + 13) % len(half)]
            graded.append(Graded(case, seen[-1], served.shelf.row(case.item), columns(case, other=other)))
    return graded


def _columns(case: Case, *, other: Any, request: Any, shelf: Any, preference: Any) -> dict[str, FloatArray]:
    """What could enter the score of each row: sales, own liking by head and formula, that of another, of looks."""
    from recommender.serving import personal
    from recommender.types import Rung

    rows, question = preference.graded.rows, preference.question
    own = replace(request, history=case.customer.history)
    foreign = replace(request, history=other.history)
    mine, theirs = (replace(question, request=r, profile=shelf.profile(r)) for r in (own, foreign))
    looks = np.array([shelf.row(item) for item in case.others[:3]], np.int32)
    columns: dict[str, Any] = {
        "sales": personal._sales(question, rows),
        "own plain": personal._plain_liking(mine, rows),
        "other plain": personal._plain_liking(theirs, rows),
        "looks": personal.SESSION_LIKING
        * personal._words_alike(question, rows, looks, np.ones(len(looks), np.float32)),
    }
    if question.served.rung is Rung.CHAMPION:
        columns["head of nobody"] = question.served.nobody.log_odds(question, rows)
        columns["own head"] = personal._trained_liking(mine, rows)
        columns["other head"] = personal._trained_liking(theirs, rows)
    return {name: personal._centred(values) for name, values in columns.items()}


def _print_grid(graded: Sequence[Graded]) -> None:
    from recommender.serving import personal

    searched = [entry.case for entry in graded]
    openness = [personal.ambiguity(entry.preference.graded.scores) for entry in graded]
    openness = [value if value >= personal.LEAST_AMBIGUITY else 0.0 for value in openness]

    def ranks(**weights: float) -> list[float]:
        names = [name.replace("_", " ") for name in weights]
        deltas = (
            np.sum([w * entry.columns[name] for name, w in zip(names, weights.values(), strict=True)], axis=0)
            for entry in graded
        )
        return [entry.reciprocal(value, delta) for entry, value, delta in zip(graded, openness, deltas, strict=True)]

    print(f"mean ambiguity {np.mean(openness):.3f}; likings beyond the middle, 10 and 90 %:")
    for name in graded[0].columns:
        values = np.concatenate([entry.columns[name][:50] for entry in graded])
        print(f"  {name}: {np.quantile(values, 0.1):+.2f} {np.quantile(values, 0.9):+.2f}")
    base = ranks(sales=0.0)
    print(f"grades {np.mean(base):.4f}")
    priors: list[str] = [name for name in ("sales", "head of nobody") if name in graded[0].columns]
    for weight in SALES_WEIGHTS[1:]:
        every = {name: ranks(**{name.replace(" ", "_"): weight}) for name in priors}
        print(
            f"{weight}: " + "; ".join(f"{name} {np.mean(r):.4f} {gain(searched, r, base)}" for name, r in every.items())
        )
    likings = [name for name in graded[0].columns if name not in priors]
    for sales in (0.0, 0.02, 0.04):
        base = ranks(sales=sales)
        for weight in LIKING_WEIGHTS:
            every = {name: ranks(sales=sales, **{name.replace(" ", "_"): weight}) for name in likings}
            print(
                f"sales {sales}, liking {weight}: "
                + "; ".join(f"{name} {gain(searched, r, base)}" for name, r in every.items()),
                flush=True,
            )


if __name__ == "__main__":
    main()
