"""The gate on pairs of models whose difference is known: equal ones, and ones of which the new is better by .01.

    python -m benchmarks.gate [--pairs 40] [--lift 0.01]

The cases are those of the loaded demo: NDCG@10 of bundle 0, of the newest trained bundle and of every simple competitor
on the test window. A pair is made of a bootstrap of these cases, in each of which the two models change sides at
random: so they are equal, with the noise of two real models. Then the lift is added to the new one on both lists.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import django
import numpy as np
import numpy.typing as npt

from benchmarks.figures import Figure, show

if TYPE_CHECKING:
    from recommender.runs.figures import Gain

Ndcg = dict[str, dict[str, npt.NDArray[np.float64]]]
"""By list and ranker, NDCG@10 of each case."""

MOST_PROMOTED = 2
"""Of 40 equal pairs."""

N_RESAMPLES = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--lift", type=float, default=0.01, help="how much better the new model is on both lists")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    django.setup()
    ndcg = measured()
    for scope, values in ndcg.items():
        print(
            f"{scope}: {len(values['champion'])} cases, " + ", ".join(f"{n} {v.mean():.4f}" for n, v in values.items())
        )
    equal, better = (verdicts(ndcg, lift=lift, n_pairs=options.pairs) for lift in (0.0, options.lift))
    limit = MOST_PROMOTED * options.pairs / 40
    show("the gate", [Figure(f"of {options.pairs} equal pairs promoted", equal["promoted"], limit, "")])
    print(f"equal: {dict(equal)}\nbetter by {options.lift:g}: {dict(better)}")


def measured() -> Ndcg:
    """Let bundle 0 ("champion"), the newest trained bundle ("ranker") and every competitor answer the demo's cases."""
    from recommender import bundles, datasets
    from recommender.models import Bundle
    from recommender.runs.comparisons import CHAMPION, RANKER, SCOPES
    from recommender.training.judging import evaluation
    from recommender.training.judging.bench import Bench, simple_rankers
    from recommender.training.judging.evidence import MOST_CASES
    from recommender.training.split import split_in_time

    trained = Bundle.objects.filter(is_trained=True).order_by("-pk").first()
    if trained is None:
        raise SystemExit("There is no trained bundle. Run `make demo` first.")
    dataset = datasets.read_dataset()
    split = split_in_time(dataset)
    bench = Bench(dataset, split, split.state)
    untuned = bench.of_bundle(bundles.untrained())
    rankers = simple_rankers(bench, Path(bundles.fetch(trained.name)), untuned) | {
        CHAMPION: evaluation.PipelineLists(untuned),
        RANKER: evaluation.PipelineLists(bench.of_bundle(trained)),
    }
    results = evaluation.compare(rankers, evaluation.cases(split, most=MOST_CASES, seed=0))
    return {scope: {name: np.asarray(results.ndcg(scope, name)) for name in rankers} for scope in SCOPES}


def verdicts(ndcg: Ndcg, *, lift: float, n_pairs: int) -> Counter[str]:
    """How often the gate promotes and refuses pairs whose difference is the lift."""
    from recommender.training.judging.gate import Measurements, decide

    counts: Counter[str] = Counter(promoted=0)
    for seed in range(n_pairs):
        gains = {
            scope: _gains(values, lift, np.random.default_rng((seed, n)))
            for n, (scope, values) in enumerate(ndcg.items())
        }
        n_cases = {scope: len(values["champion"]) for scope, values in ndcg.items()}
        counts[decide(Measurements(n_cases, gains)).verdict.value] += 1
    return counts


def _gains(values: dict[str, npt.NDArray[np.float64]], lift: float, generator: np.random.Generator) -> dict[str, Gain]:
    """The gain of one drawn model over the other and over every simple competitor."""
    from recommender.runs.comparisons import CHAMPION, RANKER
    from recommender.training.judging.evaluation import paired_gain
    from recommender.training.judging.gate import LEVEL

    n = len(values[CHAMPION])
    rows, is_swapped = generator.integers(0, n, n), generator.random(n) < 0.5
    drawn = {name: ndcg[rows] for name, ndcg in values.items()}
    ours = np.where(is_swapped, drawn[CHAMPION], drawn[RANKER]) + lift
    drawn[CHAMPION] = np.where(is_swapped, drawn[RANKER], drawn[CHAMPION])
    others = {name: ndcg for name, ndcg in drawn.items() if name != RANKER}
    return {
        name: paired_gain(ours.tolist(), theirs.tolist(), seed=0, n_resamples=N_RESAMPLES, level=LEVEL)
        for name, theirs in others.items()
    }


if __name__ == "__main__":
    main()
