"""Judges a provisional model again on what came since its promotion, beside the model that served before it."""

from __future__ import annotations

import dataclasses

from recommender import bundles
from recommender.datasets import Dataset
from recommender.ml.plan import until
from recommender.models import Bundle, Run
from recommender.runs.comparisons import CHAMPION, RANKER
from recommender.runs.figures import Figures
from recommender.training.judging import evaluation
from recommender.training.judging.bench import Bench
from recommender.training.judging.evidence import MOST_CASES
from recommender.training.judging.gate import LEAST_CASES, Measurements, Review, reconsider
from recommender.training.split import Split


def review(dataset: Dataset, split: Split, *, seed: int, least_cases: int = LEAST_CASES) -> Review | None:
    """Confirm a provisional champion, take it back, or let it go on; None where the champion is not provisional."""
    champion = bundles.champion()
    before = bundles.previous()
    if champion is None or not champion.is_provisional or champion.promoted_at is None or before is None:
        return None
    since = cut_at(dataset, split, champion.promoted_at.timestamp())
    reviewed = reconsider(
        _at_promotion(champion), _since(dataset, since, champion, before, seed), least_cases=least_cases
    )
    if reviewed.outcome is Review.Result.CONFIRMED:
        bundles.confirm(champion)
    elif reviewed.outcome is Review.Result.TAKEN_BACK:
        bundles.take_back(champion)
    return reviewed


def cut_at(dataset: Dataset, split: Split, at: float) -> Split:
    """The same data cut at another moment: what came before it is the past, everything after it the test."""
    active = dataset.items.active & (dataset.items.first_seen <= at)
    return dataclasses.replace(
        split,
        past=until(split.whole, at),
        items=dataclasses.replace(dataset.items, active=active),
        test_start=at,
        test_end=max(split.test_end, at),
    )


def _at_promotion(champion: Bundle) -> Measurements:
    """What the run that promoted it had measured; nothing where the run is gone."""
    run = Run.objects.filter(bundle=champion, verdict=Run.Verdict.PROVISIONAL).order_by("-pk").first()
    figures = Figures.of(run.metrics if run else {})
    return Measurements(figures.n_cases, figures.intervals)


def _since(dataset: Dataset, split: Split, champion: Bundle, before: Bundle, seed: int) -> Measurements:
    """The gain of the champion over the model before it, on visitors who came back after the promotion."""
    cases = evaluation.cases(split, most=MOST_CASES, seed=seed)
    if not cases:
        return Measurements({}, {})
    bench = Bench(dataset, split, split.state)
    sides = {RANKER: champion, CHAMPION: before}
    makers = {name: evaluation.PipelineLists(bench.of_bundle(bundle)) for name, bundle in sides.items()}
    results = evaluation.compare(makers, cases)
    n_cases = {scope: len(truths) for scope, truths in results.truths.items()}
    return Measurements(n_cases, evaluation.gains(results, seed=seed))
