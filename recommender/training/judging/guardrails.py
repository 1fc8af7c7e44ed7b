"""A ranker beside the champion in, one `Guardrail` out for each thing that must not get worse, with its bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.ml import metrics
from recommender.training.fitting import Fitted
from recommender.training.judging import attack, parity, slices
from recommender.training.judging.bench import Bench
from recommender.training.judging.evaluation import Case, K, Piped, Results, bestsellers
from recommender.training.judging.gate import CHAMPION, RANKER, Guardrail

LEAST_SLICE = 100
"""Below this many cases the interval of a slice is wider than its tolerance, whatever was measured."""

N_RESAMPLES = 500
N_RESAMPLES_OF_SETS = 200

SLICE_TOLERANCE = 0.02
"""Most NDCG@10 or recall that a slice may lose: about the half-width of the interval at 250 cases."""

SEARCH_TOLERANCE = 0.02
"""Most MRR of known-item search by the bound: the .01 that chance gives at 600 queries, and as much again."""

EMPTY_TOLERANCE = 0.01
"""One search more in a hundred that finds nothing."""

CALIBRATION_TOLERANCE = 0.05
"""Mean distance of probability and frequency on the places that are shown: one place in twenty may be wrong."""

COVERAGE_TOLERANCE = 1 / 3
"""Share of what the champion shows that may disappear from all lists together."""

POPULARITY_TOLERANCE = 0.1
"""One more bestseller in a list of ten."""

ATTACK_TOLERANCE = 0.05
"""Share of real lists that 1 % of fake visitors may enter: five times their own share."""

P50_TOLERANCE, P50_MILLISECONDS = 0.5, 5.0
P99_TOLERANCE, P99_MILLISECONDS = 1.0, 20.0
"""A list may take this share of the champion's time more, or this long where that is more: what benchmarks/serving
allows (15 and 40 ms) is then kept by a champion of 10 and 20 ms."""

PARITY_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Judged:
    """What the comparison left: both pipelines with their times and scores, and every list of every case."""

    ranker: Piped
    champion: Piped
    results: Results
    cases: Sequence[Case]


def guardrails(bench: Bench, made: Fitted, judged: Judged, search: Mapping[str, Any], *, seed: int) -> list[Guardrail]:
    """Measure all of them; about six seconds beside a comparison of the demo."""
    return [
        _known_items(search),
        *_slices(bench, judged, seed=seed),
        _calibration(judged, seed=seed),
        _coverage(judged, int(bench.split.items.active.sum()), seed=seed),
        _popularity(judged, bestsellers(bench.state, bench.split.items), seed=seed),
        _attack(bench, judged, seed=seed),
        *_latency(judged, seed=seed),
        *_parity(bench, made, judged, seed=seed),
    ]


def as_rows(rails: Sequence[Guardrail]) -> list[dict[str, Any]]:
    """The rows of `Run.metrics["guardrails"]`."""
    names = ("name", "value", "baseline", "bound", "tolerance", "n", "note", "verdict")
    return [{name: getattr(rail, name) for name in names} for rail in rails]


def lost(name: str, paired: slices.Paired, tolerance: float, *, seed: int) -> Guardrail:
    """A figure where higher is better: the harm is what the ranker lost to the champion on the same cases."""
    n = len(paired.ours)
    if n < LEAST_SLICE:
        return Guardrail(name, n=n, note=f"{n:,} cases, {LEAST_SLICE} are needed to tell harm from chance")
    gain = metrics.paired_bootstrap(paired.ours, paired.theirs, seed=seed, n_resamples=N_RESAMPLES)
    return Guardrail(name, _mean(paired.ours), _mean(paired.theirs), -gain.lower, tolerance, n)


def _known_items(search: Mapping[str, Any]) -> Guardrail:
    low, _, _ = search["interval"]
    value, baseline = search.get("kept_mrr", search["tuned"]["mrr"]), search["untuned"]["mrr"]
    return Guardrail("known_item_search", value, baseline, -low, SEARCH_TOLERANCE, int(search["n_queries"]))


def _slices(bench: Bench, judged: Judged, *, seed: int) -> list[Guardrail]:
    ours, theirs = judged.ranker.served, judged.champion.served
    rails = [
        lost("cold_visitor", slices.cold_visitors(bench.split, ours, theirs), SLICE_TOLERANCE, seed=seed),
        lost("cold_item", slices.cold_items(judged.results, bench.state), SLICE_TOLERANCE, seed=seed),
    ]
    some = slices.asked(bench.split, seed=seed)
    found = [slices.answers(some, served, at=bench.split.test_start) for served in (ours, theirs)]
    for name in ("head", "torso", "tail"):
        here = [place for place, one in enumerate(some) if one.slice == name]
        pair = slices.Paired(*([quality[place] for place in here] for quality, _ in found))
        rails.append(lost(f"{name}_query", pair, SLICE_TOLERANCE, seed=seed))
    empty = slices.Paired(*([-value for value in is_empty] for _, is_empty in found))
    rail = lost("zero_results", empty, EMPTY_TOLERANCE, seed=seed)
    flipped = Guardrail(rail.name, -rail.value, -(rail.baseline or 0.0), rail.bound, rail.tolerance, rail.n)
    return [*rails, rail if rail.note else flipped]


def _calibration(judged: Judged, *, seed: int) -> Guardrail:
    """Expected calibration error of the probabilities of all places shown, against what was bought."""
    if judged.ranker.served.ranker is None or judged.ranker.served.ranker.head is None:
        return Guardrail("calibration", note="this run has no head, and so no probabilities")
    ours, theirs = (_calibrated(judged, name, piped) for name, piped in _both(judged))
    generator, n = np.random.default_rng(seed), len(ours)
    drawn = [_error(ours[generator.integers(0, n, n)]) for _ in range(N_RESAMPLES_OF_SETS)]
    bound = float(np.quantile(drawn, 0.975))
    return Guardrail("calibration", _error(ours), _error(theirs), bound, CALIBRATION_TOLERANCE, n)


def _calibrated(judged: Judged, name: str, piped: Piped) -> npt.NDArray[np.float64]:
    """(n_cases, N_LISTED, 3): score, label and 1 of each place, 0 where a list is short."""
    lists, truths = judged.results.lists["all"][name], judged.results.truths["all"]
    table = np.zeros((len(lists), max(map(len, lists), default=0), 3))
    for row, (found, truth, scores) in enumerate(zip(lists, truths, piped.scores["all"], strict=True)):
        table[row, : len(found), 0] = scores
        table[row, : len(found), 1] = [item in truth for item in found]
        table[row, : len(found), 2] = 1
    return table


def _error(table: npt.NDArray[np.float64]) -> float:
    told = table[table[:, :, 2] > 0]
    return metrics.expected_calibration_error(told[:, 1], told[:, 0])


def _coverage(judged: Judged, n_items: int, *, seed: int) -> Guardrail:
    """Of the first places of all lists; both coverages are drawn from the same resampled cases."""
    ours, theirs = (_first(judged, name) for name in (RANKER, CHAMPION))

    def covered(lists: list[list[int]], places: Sequence[int]) -> float:
        return len({item for place in places for item in lists[place]}) / max(n_items, 1)

    generator, n = np.random.default_rng(seed), len(ours)
    drawn = [generator.integers(0, n, n).tolist() for _ in range(N_RESAMPLES_OF_SETS)]
    harms = [covered(theirs, places) - covered(ours, places) for places in drawn]
    value, baseline = covered(ours, range(n)), covered(theirs, range(n))
    return Guardrail("coverage", value, baseline, float(np.quantile(harms, 0.975)), COVERAGE_TOLERANCE * baseline, n)


def _popularity(judged: Judged, popular: frozenset[int], *, seed: int) -> Guardrail:
    ours, theirs = (
        [metrics.popularity_share([found], popular) for found in _first(judged, name)] for name in (RANKER, CHAMPION)
    )
    harm = metrics.paired_bootstrap(ours, theirs, seed=seed, n_resamples=N_RESAMPLES)
    return Guardrail("popularity_share", _mean(ours), _mean(theirs), harm.upper, POPULARITY_TOLERANCE, len(ours))


def _attack(bench: Bench, judged: Judged, *, seed: int) -> Guardrail:
    """Where no list shows the item the bound is 3 / n (the rule of three, Hanley and Lippman-Hand 1983)."""
    state, target = attack.attacked(bench.split, bench.state, seed=seed)
    ours, theirs = (
        attack.lifts(piped.served, state, target, judged.cases, judged.results.lists["all"][name])
        for name, piped in _both(judged)
    )
    upper = metrics.paired_bootstrap(ours, np.zeros(len(ours)), seed=seed, n_resamples=N_RESAMPLES).upper
    bound = max(upper, 3 / max(len(ours), 1))
    return Guardrail("attack", _mean(ours), _mean(theirs), bound, ATTACK_TOLERANCE, len(ours))


def _latency(judged: Judged, *, seed: int) -> list[Guardrail]:
    ours, theirs = (1_000 * np.asarray(piped.seconds) for _, piped in _both(judged))
    rails = []
    for share, tolerance, least in ((0.5, P50_TOLERANCE, P50_MILLISECONDS), (0.99, P99_TOLERANCE, P99_MILLISECONDS)):
        value, baseline = float(np.quantile(ours, share)), float(np.quantile(theirs, share))
        bound = _slower(ours, theirs, share, seed=seed)
        allowed = max(tolerance * baseline, least)
        rails.append(Guardrail(f"latency_p{round(100 * share)}", value, baseline, bound, allowed, len(ours)))
    return rails


def _slower(ours: npt.NDArray[Any], theirs: npt.NDArray[Any], share: float, *, seed: int) -> float:
    generator, n, drawn = np.random.default_rng(seed), len(ours), []
    for _ in range(N_RESAMPLES_OF_SETS):
        rows = generator.integers(0, n, n)
        drawn.append(np.quantile(ours[rows], share) - np.quantile(theirs[rows], share))
    return float(np.quantile(drawn, 0.975))


def _parity(bench: Bench, made: Fitted, judged: Judged, *, seed: int) -> list[Guardrail]:
    """No interval: the largest difference of all that were compared."""
    worst, n = parity.served_difference(made.folder.parent, bench.split, judged.ranker.served)
    features_of = parity.features_at(bench.split, seed=seed)
    ahead = parity.future_difference(features_of, bench.split)
    return [
        Guardrail("parity", worst, None, worst, PARITY_TOLERANCE, n),
        Guardrail("future", ahead, None, ahead, 0.0, parity.N_WHOLE),
    ]


def _both(judged: Judged) -> tuple[tuple[str, Piped], tuple[str, Piped]]:
    return (RANKER, judged.ranker), (CHAMPION, judged.champion)


def _first(judged: Judged, name: str) -> list[list[int]]:
    return [list(found[:K]) for found in judged.results.lists["all"][name]]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else 0.0
