"""Judges what a run trained: search first, then every list beside what serves and every competitor, then the gate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from recommender import bundles
from recommender.bundles.arms import Arm
from recommender.ml.processes import n_processes
from recommender.models import Bundle, WatchedResult
from recommender.models.connections import persistently
from recommender.runs.comparisons import CHAMPION, RANKER
from recommender.runs.figures import Figures, SearchFigures
from recommender.runs.settings import RunSettings
from recommender.serving import Served
from recommender.serving.ranker import Ranker
from recommender.training.fitting import FIT_SHARE, FittedBundle, fitted, fitted_untuned
from recommender.training.judging import evaluation
from recommender.training.judging.arms import arms_for, present_arms
from recommender.training.judging.bench import Bench, simple_rankers
from recommender.training.judging.evidence import Evidence, Window
from recommender.training.judging.exposed import exposure_figures
from recommender.training.judging.frontier import profit_figures
from recommender.training.judging.gate import LEAST_CASES, SEARCH_TOLERANCE, Decision, Measurements, decide
from recommender.training.judging.guardrails import Comparison, guardrails
from recommender.training.judging.search_guard import search_figures
from recommender.training.judging.watched import rejudge
from recommender.training.judging.windows import rolling, spread
from recommender.training.shortfall import refuse_cut_off
from recommender.training.watch import Watch

EARLIER_SHARE = FIT_SHARE / 2
"""Of the minutes, to train anew for an earlier window: a run that pools three takes twice its time box."""


@dataclasses.dataclass(frozen=True, slots=True)
class JudgedRun:
    """The bundle as it was judged (trained again, untuned, where search got worse), and the decision.

    arms: by list, the simple competitor that is to serve it, whichever model serves the rest. watched: what it makes of
    the queries that staff watch.
    """

    trained: FittedBundle
    decision: Decision
    arms: Mapping[str, Arm] = dataclasses.field(default_factory=dict)
    watched: Sequence[WatchedResult] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Sides:
    """What was trained beside what serves and the untrained encoder, on one bench."""

    bench: Bench
    trained: FittedBundle
    ranker: Served
    champion: Served
    untuned: Served


class RunJudge:
    """Judges one run; every part is reported to the watch, which may end the run between two cases."""

    def __init__(self, settings: RunSettings, folder: Path, watch: Watch) -> None:
        self.settings, self.folder, self.watch, self.seed = settings, folder, watch, settings.seed

    def judged(self, bench: Bench, trained: FittedBundle, evidence: Evidence) -> JudgedRun:
        """Guard search, compare with every competitor on every window, decide, and write the figures down."""
        self.watch.stage("evaluation")
        champion = persistently(bundles.ensure_champion)
        sides, search = self._guarded(self._sides(bench, trained, champion))
        comparison = self._compared(sides, evidence.cases)
        earlier = [
            self._compared_earlier(Bench(bench.dataset, window.split, window.split.state), window, number, champion)
            for number, window in enumerate(evidence.earlier, 1)
        ]
        results = evaluation.pooled([comparison.results, *earlier])
        figures = evaluation.figures(results, bench.state, bench.split.items, seed=self.seed)
        rails = guardrails(bench, sides.trained, comparison, search, seed=self.seed)
        arms = self._arms(sides, comparison, champion)
        measured = Measurements(
            figures.n_cases, figures.intervals, rails, {scope: arm.name for scope, arm in arms.items()}
        )
        decision = decide(measured, least_cases=least_cases(self.settings))
        self._record(
            dataclasses.replace(
                figures,
                served=decision.served,
                arms=decision.arms,
                search=search,
                guardrails=rails,
                rolling=spread(earlier) if earlier else rolling(bench.split, seed=self.seed),
                n_windows=1 + len(earlier),
                exposure=exposure_figures(comparison.results, bench.split),
                profit=profit_figures(sides.ranker, evidence.cases, seed=self.seed, check=self._check),
            ),
            sides.trained,
        )
        watched = rejudge(sides.ranker, sides.champion, bench.split.judgements, at=bench.split.test_start)
        return JudgedRun(sides.trained, decision, arms, watched)

    def _arms(self, sides: Sides, comparison: Comparison, champion: Bundle) -> dict[str, Arm]:
        """What may serve a list; nothing while the champion is provisional, because that would end its watch."""
        if self.settings.repeats is not None or champion.is_provisional:
            return {}
        present, folder = present_arms(champion), sides.trained.folder
        return arms_for(sides.bench, comparison, present=present, folder=folder, seed=self.seed)

    def _sides(self, bench: Bench, trained: FittedBundle, champion: Bundle) -> Sides:
        untuned = bench.of_bundle(persistently(bundles.untrained))
        serving = untuned if champion.name == untuned.bundle else bench.of_bundle(champion)
        return Sides(bench, trained, _served(bench, trained), serving, untuned)

    def _compared(self, sides: Sides, cases: Sequence[evaluation.Case]) -> Comparison:
        """Let all rankers answer the cases of one window."""
        ours, theirs = evaluation.PipelineLists(sides.ranker), evaluation.PipelineLists(sides.champion)
        simple = simple_rankers(sides.bench, sides.trained.folder, sides.untuned)
        pipelines, n = {CHAMPION: theirs, RANKER: ours}, n_processes(self.settings.n_processes)
        results = evaluation.compare_shared(pipelines, simple, cases, n=n, progress=self.watch)
        return Comparison(ours, theirs, results, cases)

    def _compared_earlier(self, bench: Bench, window: Window, number: int, champion: Bundle) -> evaluation.Results:
        """Train on what came before an earlier window, so that its cases are new to the model, and compare."""
        folder = self.folder / f"earlier-{number}"
        trained = fitted(window.split, self.settings, folder, self.watch, share=EARLIER_SHARE)
        self.watch.check()
        self.watch.stage("evaluation")
        return self._compared(self._sides(bench, trained, champion), window.cases).results

    def _guarded(self, sides: Sides) -> tuple[Sides, SearchFigures]:
        """Where fine-tuning makes search worse, train the rest on the untuned encoder: a bundle has only one."""
        bench, ranker, untuned = sides.bench, sides.ranker, sides.untuned
        others = {"untuned": untuned} | ({} if sides.champion is untuned else {"champion": sides.champion})
        search = self._searched(bench, {"tuned": ranker, "lexical": Served(ranker.shelf)} | others)
        if search.mrr_gained >= -SEARCH_TOLERANCE:
            return sides, dataclasses.replace(search, encoder_of_bundle="tuned")
        self.watch.figure("search_mrr_lost_by_fine_tuning", -search.mrr_gained)
        trained = fitted_untuned(bench.split, self.settings, self.folder / "untuned", self.watch)
        ended_by = {f"{stage}, untuned": reason for stage, reason in trained.ended_by.items()}
        self.watch.note(ended_by={**self.watch.provenance["ended_by"], **ended_by})
        refuse_cut_off(trained.courses, trained.ended_by, self.settings)
        self.watch.check()
        self.watch.stage("evaluation")
        sides = dataclasses.replace(sides, trained=trained, ranker=_served(bench, trained))
        again = self._searched(bench, {"tuned": sides.ranker} | others)
        mrr = again.tuned.mrr if again.tuned else 0.0
        search = dataclasses.replace(search, encoder_of_bundle="untuned", mrr_of_bundle=mrr, interval=again.interval)
        return sides, search

    def _searched(self, bench: Bench, searchers: Mapping[str, Served]) -> SearchFigures:
        n = n_processes(self.settings.n_processes)
        items, at = bench.split.items, bench.split.test_start
        return search_figures(searchers, items, at=at, seed=self.seed, n=n, progress=self.watch)

    def _record(self, figures: Figures, trained: FittedBundle) -> None:
        self.watch.record.figures = dataclasses.replace(
            figures,
            heads=trained.figures.heads,
            encoder=trained.figures.encoder,
            context=trained.figures.context,
            teacher=trained.figures.teacher,
        )

    def _check(self) -> None:
        if self.watch.should_stop():
            self.watch.check()


def least_cases(settings: RunSettings) -> int:
    """Cases from which a difference is sure: `LEAST_CASES`, unless the run has its own number."""
    return LEAST_CASES if settings.least_cases is None else settings.least_cases


def _served(bench: Bench, trained: FittedBundle) -> Served:
    return bench.served(Ranker.load(trained.folder, name=RANKER), trained.text_vectors)
