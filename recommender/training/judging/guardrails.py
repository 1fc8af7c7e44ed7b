"""The guardrails: what must not get worse, measured on the new model beside the champion, each with its bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from django.utils.translation import gettext

from recommender.ml import metrics
from recommender.runs.comparisons import CHAMPION, GUARDRAILS, RANKER
from recommender.runs.figures import NO_FIGURE, Guardrail, SearchFigures
from recommender.training.fitting import FittedBundle
from recommender.training.judging import attack, parity, slices
from recommender.training.judging.bench import Bench
from recommender.training.judging.evaluation import (
    Case,
    K,
    PipelineLists,
    Results,
    bestsellers,
    mean,
    paired_gain,
)

LEAST_SLICE = 100
"""Below this many cases the interval of a slice is wider than its tolerance, whatever was measured."""

OF_LISTS = ("calibration", "coverage", "popularity_share", "attack", "latency_p50", "latency_p99")

N_RESAMPLES = 500
N_RESAMPLES_OF_SETS = 200


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the evaluation leaves: both pipelines with their times and scores, and every list of every case."""

    ranker: PipelineLists
    champion: PipelineLists
    results: Results
    cases: Sequence[Case]


def guardrails(
    bench: Bench, fitted: FittedBundle, comparison: Comparison, search: SearchFigures, *, seed: int
) -> tuple[Guardrail, ...]:
    """Measure all of them; about six seconds in the demo."""
    n = len(comparison.cases)
    return (
        _known_items(search),
        *_slices(bench, comparison, seed=seed),
        *(_of_lists(bench, comparison, seed=seed) if n >= LEAST_SLICE else (_unmeasured(name, n) for name in OF_LISTS)),
        *_parity(bench, fitted, comparison, seed=seed),
    )


def _of_lists(bench: Bench, comparison: Comparison, *, seed: int) -> tuple[Guardrail, ...]:
    """Those that look at the lists of all cases, in the order of `OF_LISTS`."""
    return (
        _calibration(comparison, seed=seed),
        _coverage(comparison, int(bench.split.items.active.sum()), seed=seed),
        _popularity(comparison, bestsellers(bench.state, bench.split.items), seed=seed),
        _attack(bench, comparison, seed=seed),
        *_latency(comparison, seed=seed),
    )


def compared(name: str, paired: slices.Paired, *, seed: int) -> Guardrail:
    """A mean over cases: the harm is by how much it is worse than the champion's on the same cases."""
    n = len(paired.ours)
    if n < LEAST_SLICE:
        return _unmeasured(name, n)
    is_higher_better = GUARDRAILS[name].is_higher_better
    better, worse = (paired.theirs, paired.ours) if is_higher_better else (paired.ours, paired.theirs)
    harm = paired_gain(better, worse, seed=seed, n_resamples=N_RESAMPLES)
    return _rail(name, mean(paired.ours), mean(paired.theirs), harm.high, n)


def _unmeasured(name: str, n: int) -> Guardrail:
    """A guardrail whose bound would be chance: it breaks nothing and says why."""
    note = gettext("%(n)s cases, %(least)s are needed to tell harm from chance")
    return Guardrail(name, n=n, note=note % {"n": f"{n:,}", "least": LEAST_SLICE})


def _rail(name: str, value: float, baseline: float, bound: float, n: int) -> Guardrail:
    return Guardrail(name, value, baseline, bound, GUARDRAILS[name].allowed(baseline), n)


def _known_items(search: SearchFigures) -> Guardrail:
    name, tuned, untuned = "known_item_search", search.tuned, search.untuned
    if tuned is None or untuned is None or search.interval is None:
        return Guardrail(name, note=gettext("search was not evaluated"))
    is_kept = search.encoder_of_bundle == "tuned"
    value = tuned.mrr if is_kept else search.mrr_of_bundle
    baseline = (search.champion or untuned).mrr
    return _rail(name, value, baseline, -search.interval.low, search.n_queries)


def _slices(bench: Bench, comparison: Comparison, *, seed: int) -> list[Guardrail]:
    ours, theirs = comparison.ranker.served, comparison.champion.served
    pairs = {
        "cold_visitor": slices.cold_visitors(bench.split, ours, theirs),
        "cold_item": slices.cold_items(comparison.results, bench.state),
    }
    queries = slices.search_cases(bench.split, seed=seed)
    answers = [slices.answers(queries, served, at=bench.split.test_start) for served in (ours, theirs)]
    for part in slices.PARTS:
        rows = [row for row, query in enumerate(queries) if query.part == part]
        pairs[f"{part}_query"] = slices.Paired(*([quality[row] for row in rows] for quality, _ in answers))
    pairs["zero_results"] = slices.Paired(*(is_empty for _, is_empty in answers))
    return [compared(name, pair, seed=seed) for name, pair in pairs.items()]


def _calibration(comparison: Comparison, *, seed: int) -> Guardrail:
    """Expected calibration error of the probabilities of all places shown, against what was bought.

    The harm is by how much it is larger than the champion's, on the same resampled cases.
    """
    if comparison.ranker.served.ranker is None or comparison.ranker.served.ranker.head is None:
        return Guardrail("calibration", note=gettext("this run has no head, so there are no probabilities"))
    ours, theirs = (_calibrated(comparison, name, lists) for name, lists in _both(comparison))
    generator, n = np.random.default_rng(seed), len(ours)
    samples = [generator.integers(0, n, n) for _ in range(N_RESAMPLES_OF_SETS)]
    harms = [_error(ours[rows]) - _error(theirs[rows]) for rows in samples]
    return _rail("calibration", _error(ours), _error(theirs), float(np.quantile(harms, 0.975)), n)


def _calibrated(comparison: Comparison, name: str, lists_made: PipelineLists) -> npt.NDArray[np.float64]:
    """(n_cases, N_LISTED, 3): score, label and 1 of each entry; 0 where a list is short."""
    lists, truths = comparison.results.lists["all"][name], comparison.results.truths["all"]
    table = np.zeros((len(lists), max(map(len, lists), default=0), 3))
    for row, (ranked, truth, scores) in enumerate(zip(lists, truths, lists_made.scores["all"], strict=True)):
        table[row, : len(ranked), 0] = scores
        table[row, : len(ranked), 1] = [item in truth for item in ranked]
        table[row, : len(ranked), 2] = 1
    return table


def _error(table: npt.NDArray[np.float64]) -> float:
    entries = table[table[:, :, 2] > 0]
    return metrics.expected_calibration_error(entries[:, 1], entries[:, 0])


def _coverage(comparison: Comparison, n_items: int, *, seed: int) -> Guardrail:
    """Of the first places of all lists; both coverages are computed on the same resampled cases."""
    ours, theirs = (_first(comparison, name) for name in (RANKER, CHAMPION))

    def covered(lists: list[list[int]], rows: Sequence[int]) -> float:
        return len({item for row in rows for item in lists[row]}) / max(n_items, 1)

    generator, n = np.random.default_rng(seed), len(ours)
    samples = [generator.integers(0, n, n).tolist() for _ in range(N_RESAMPLES_OF_SETS)]
    harms = [covered(theirs, rows) - covered(ours, rows) for rows in samples]
    return _rail("coverage", covered(ours, range(n)), covered(theirs, range(n)), float(np.quantile(harms, 0.975)), n)


def _popularity(comparison: Comparison, popular: frozenset[int], *, seed: int) -> Guardrail:
    ours, theirs = (
        [metrics.popularity_share([ranked], popular) for ranked in _first(comparison, name)]
        for name in (RANKER, CHAMPION)
    )
    harm = paired_gain(ours, theirs, seed=seed, n_resamples=N_RESAMPLES)
    return _rail("popularity_share", mean(ours), mean(theirs), harm.high, len(ours))


def _attack(bench: Bench, comparison: Comparison, *, seed: int) -> Guardrail:
    """Where no list shows the item the bound is 3 / n (the rule of three, Hanley and Lippman-Hand 1983)."""
    state, target = attack.attacked(bench.split, bench.state, seed=seed)
    ours, theirs = (
        attack.lifts(lists.served, state, target, comparison.cases, comparison.results.lists["all"][name])
        for name, lists in _both(comparison)
    )
    upper = paired_gain(ours, [0.0] * len(ours), seed=seed, n_resamples=N_RESAMPLES).high
    return _rail("attack", mean(ours), mean(theirs), max(upper, 3 / max(len(ours), 1)), len(ours))


def _latency(comparison: Comparison, *, seed: int) -> list[Guardrail]:
    ours, theirs = (1_000 * np.asarray(lists.seconds) for _, lists in _both(comparison))
    quantiles = {"latency_p50": 0.5, "latency_p99": 0.99}
    return [
        _rail(
            name,
            float(np.quantile(ours, share)),
            float(np.quantile(theirs, share)),
            _slower(ours, theirs, share, seed=seed),
            len(ours),
        )
        for name, share in quantiles.items()
    ]


def _slower(ours: npt.NDArray[Any], theirs: npt.NDArray[Any], share: float, *, seed: int) -> float:
    """Upper bound of the difference of two quantiles in milliseconds."""
    generator, n, differences = np.random.default_rng(seed), len(ours), []
    for _ in range(N_RESAMPLES_OF_SETS):
        rows = generator.integers(0, n, n)
        differences.append(np.quantile(ours[rows], share) - np.quantile(theirs[rows], share))
    return float(np.quantile(differences, 0.975))


def _parity(bench: Bench, fitted: FittedBundle, comparison: Comparison, *, seed: int) -> list[Guardrail]:
    """No interval: the largest difference of all that were compared."""
    difference, n = parity.served_difference(fitted.folder.parent, bench.split, comparison.ranker.served)
    leak = parity.future_difference(parity.features_at(bench.split, seed=seed), bench.split)
    return [
        _rail("parity", difference, NO_FIGURE, difference, n),
        _rail("future", leak, NO_FIGURE, leak, parity.N_WHOLE),
    ]


def _both(comparison: Comparison) -> tuple[tuple[str, PipelineLists], tuple[str, PipelineLists]]:
    return (RANKER, comparison.ranker), (CHAMPION, comparison.champion)


def _first(comparison: Comparison, name: str) -> list[list[int]]:
    return [list(ranked[:K]) for ranked in comparison.results.lists["all"][name]]
