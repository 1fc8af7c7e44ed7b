"""The stages of a run in order, from the data to the verdict, and how each way to end is recorded."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from django.utils.translation import gettext

from recommender import bundles, datasets, runs
from recommender.datasets import files as dataset_files
from recommender.exceptions import InsufficientData, LeaseLost, RecommenderError
from recommender.ml.hardware import hardware
from recommender.ml.pace import CLOCK, STEPS
from recommender.models import Bundle, Run
from recommender.models.connections import persistently
from recommender.runs import provenance
from recommender.runs.comparisons import CHAMPION, RANKER
from recommender.runs.figures import SearchFigures
from recommender.runs.settings import RunSettings
from recommender.runs.supervision import log_path
from recommender.serving import Served
from recommender.serving.ranker import Ranker
from recommender.training.curves import tracked
from recommender.training.fitting import FittedBundle, fitted, fitted_untuned, in_full, training_settings
from recommender.training.judging import evaluation
from recommender.training.judging.bench import Bench, simple_rankers
from recommender.training.judging.gate import (
    LEAST_CASES,
    SEARCH_TOLERANCE,
    Decision,
    Measurements,
    champion_stays,
    decide,
)
from recommender.training.judging.guardrails import Comparison, guardrails
from recommender.training.judging.search_guard import search_figures
from recommender.training.judging.simple_bundle import SimpleBundle, served_instead
from recommender.training.judging.windows import rolling
from recommender.training.publication import publish
from recommender.training.refusals import too_few_cases
from recommender.training.split import Split, split_in_time
from recommender.training.tuning import trials
from recommender.training.watch import RunCancelled, RunInterrupted, RunResult, Watch

logger = logging.getLogger(__name__)

LEAST_CASES_TO_TRAIN = 10
"""With fewer test cases the figures of a run mean nothing; it ends before it costs minutes."""

MOST_CASES = 1_500
EVALUATION_SHARE = 0.15
"""Share of the time box after which no new test case begins."""

ROLLING_SHARE = 0.03
"""Share of the time box after which no earlier window begins; one window of the demo takes about three seconds."""

Ending = Callable[[Watch], None]
"""Records how a run ended, once its heartbeat has stopped."""


def run(run_id: int, token: int, *, watch: Watch | None = None) -> None:
    """Carry a leased run to its end and record it; raises only where the database fails."""
    with watch or Watch(run_id, token) as watch:
        record_end = _ending(run_id, watch)
    folder = log_path(run_id).parent
    try:
        persistently(lambda: record_end(watch))
    except LeaseLost as error:
        logger.warning("%s", error)
        return
    if persistently(lambda: Run.objects.filter(pk=run_id).exclude(state=Run.State.QUEUED).exists()):
        _clear(folder)


def _ending(run_id: int, watch: Watch) -> Ending:
    """Train; return what records the end."""
    try:
        leased = persistently(lambda: Run.objects.get(pk=run_id))
        if attempts := leased.provenance.get("attempts"):
            watch.note(attempts=attempts)
        with tracked(leased, watch):
            result = trials.tune(leased, watch) if leased.kind == Run.Kind.TUNING else Stages(leased, watch).carry()
        return _finished(Run.State.SUCCEEDED, result.reason, result.verdict, result.bundle)
    except InsufficientData as error:
        return _finished(Run.State.SUCCEEDED, str(error), Run.Verdict.INSUFFICIENT)
    except RunCancelled:
        reason = persistently(lambda: Run.objects.values_list("reason", flat=True).get(pk=run_id))
        return _finished(Run.State.CANCELLED, reason or gettext("Cancelled."))
    except RunInterrupted as error:
        reason = str(error)
        return lambda w: runs.release(w.run_id, w.token, reason=reason)
    except LeaseLost as error:
        logger.warning("%s", error)
        return lambda w: None
    except RecommenderError as error:
        return _finished(Run.State.FAILED, str(error))
    except Exception as error:  # the edge of the run: whatever broke, the row says it and the shop goes on
        logger.exception("run %s failed", run_id)
        reason = gettext("%(error)s at stage %(stage)s. See %(log)s.") % {
            "error": f"{type(error).__name__}: {error}",
            "stage": watch.current_stage,
            "log": log_path(run_id),
        }
        return _finished(Run.State.FAILED, reason)


def _finished(
    state: Run.State, reason: str, verdict: Run.Verdict | None = None, bundle: Bundle | None = None
) -> Ending:
    return lambda w: runs.finish(
        w.run_id, w.token, state=state, reason=reason, verdict=verdict, bundle=bundle, record=w.record
    )


class Stages:
    """The stages of one training; each reports to the watch, and may be interrupted after it."""

    def __init__(self, leased: Run, watch: Watch) -> None:
        self.watch, self.folder = watch, log_path(leased.pk).parent
        self.settings = RunSettings.of(leased.settings)
        self.seed = self.settings.seed

    def carry(self) -> RunResult:
        """Read, train, evaluate, publish, and promote if the gate says so."""
        self.watch.stage("dataset")
        dataset = persistently(lambda: dataset_files.read_once(self.folder, as_of=self.settings.as_of))
        split = split_in_time(dataset)
        self._report(dataset, split)
        self.watch.check()
        cases = self._cases(split)
        trained = fitted(split, self.settings, self.folder, self.watch)
        self.watch.note(
            ended_by=dict(trained.ended_by),
            encoder={**self.watch.provenance["encoder"], "hash": trained.base_encoder},
        )
        self.watch.check()
        bench = Bench(dataset, split, split.state)
        trained, decision, simple = self._evaluated(bench, trained, cases)
        self.watch.check()
        self.watch.stage("publication")
        bundle = persistently(lambda: publish(dataset, trained))
        self.watch.note(bundle=bundle.name)
        return persistently(lambda: _decided(bundle, decision, simple, repeats=self.settings.repeats))

    def _report(self, dataset: datasets.Dataset, split: Split) -> None:
        """Record what the run learns from and everything else that decides its result, as far as it is known yet."""
        report = datasets.summary(split.whole, split.items, split.report, split.judgements)
        self.watch.record.report = report | {"n_impressions": len(split.impressions)}
        training = training_settings(self.settings)
        self.watch.note(
            data_hash=report["data_hash"],
            taken_at=dataset.taken_at,
            code=provenance.code(),
            versions=provenance.versions(),
            seed=training.seed,
            encoder={"name": training.encoder or "packaged"},
            settings=in_full(training),
            hardware=hardware(),
        )

    def _cases(self, split: Split) -> list[evaluation.Case]:
        """The test cases. Raises InsufficientData, with the cause, where there are next to none."""
        cases = evaluation.cases(split, most=MOST_CASES, seed=self.seed)
        if len(cases) < LEAST_CASES_TO_TRAIN or not len(split.past):
            needed = gettext("At least %(least)s are needed to train and %(promote)s to promote.") % {
                "least": LEAST_CASES_TO_TRAIN, "promote": LEAST_CASES,
            }  # fmt: skip
            raise InsufficientData(too_few_cases(split, len(cases), needed=needed))
        return cases

    def _evaluated(
        self, bench: Bench, trained: FittedBundle, cases: list[evaluation.Case]
    ) -> tuple[FittedBundle, Decision, SimpleBundle | None]:
        """Guard search, compare with every competitor, decide. Trains once more, untuned, where search got worse.

        After a refusal, a simple competitor may be found that is to serve in the champion's place.
        """
        self.watch.stage("evaluation")
        least_cases = LEAST_CASES if self.settings.least_cases is None else self.settings.least_cases
        champion = persistently(bundles.ensure_champion)
        untuned = bench.of_bundle(persistently(bundles.untrained))
        trained, served, search = self._guarded(bench, trained, untuned)
        champion_served = untuned if champion.name == untuned.bundle else bench.of_bundle(champion)
        lists = {name: evaluation.PipelineLists(each) for name, each in ((CHAMPION, champion_served), (RANKER, served))}
        results = self._compared(simple_rankers(bench, trained.folder, untuned) | lists, cases, least_cases)
        figures = evaluation.figures(results, bench.state, bench.split.items, seed=self.seed)
        comparison = Comparison(lists[RANKER], lists[CHAMPION], results, cases)
        rails = guardrails(bench, trained, comparison, search, seed=self.seed)
        decision = decide(Measurements(figures.n_cases, figures.intervals, rails), least_cases=least_cases)
        simple = None
        if decision.verdict == Run.Verdict.REFUSED and self.settings.repeats is None:
            simple = served_instead(bench, champion, comparison, folder=trained.folder, seed=self.seed)
        self.watch.record.figures = dataclasses.replace(
            figures,
            served=simple.name if simple else decision.served,
            heads=trained.figures.heads,
            encoder=trained.figures.encoder,
            context=trained.figures.context,
            teacher=trained.figures.teacher,
            search=search,
            guardrails=rails,
            rolling=rolling(bench.split, seconds=self._seconds(ROLLING_SHARE), seed=self.seed),
        )
        return trained, decision, simple

    def _compared(
        self, rankers: Mapping[str, evaluation.ListMaker], cases: list[evaluation.Case], least_cases: int
    ) -> evaluation.Results:
        results = evaluation.compare(
            rankers,
            cases,
            seconds=self._seconds(EVALUATION_SHARE),
            least_cases=least_cases,
            on_case=self._on_case,
        )
        is_cut = len(results.truths["all"]) < len(cases)
        self._note_end(evaluation=CLOCK if is_cut else STEPS)
        return results

    def _guarded(
        self, bench: Bench, trained: FittedBundle, untuned: Served
    ) -> tuple[FittedBundle, Served, SearchFigures]:
        """Where fine-tuning makes search worse, train the rest on the untuned encoder: a bundle has only one."""
        served = self._served(bench, trained)
        searchers = {"tuned": served, "untuned": untuned, "lexical": Served(served.shelf)}
        search = self._searched(bench, searchers)
        if search.mrr_gained >= -SEARCH_TOLERANCE:
            return trained, served, dataclasses.replace(search, encoder_of_bundle="tuned")
        self.watch.figure("search_mrr_lost_by_fine_tuning", -search.mrr_gained)
        trained = fitted_untuned(bench.split, self.settings, self.folder / "untuned", self.watch)
        self._note_end(**{f"{stage}, untuned": reason for stage, reason in trained.ended_by.items()})
        self.watch.check()
        self.watch.stage("evaluation")
        served = self._served(bench, trained)
        again = self._searched(bench, {"tuned": served, "untuned": untuned})
        mrr = again.tuned.mrr if again.tuned else 0.0
        search = dataclasses.replace(search, encoder_of_bundle="untuned", mrr_of_bundle=mrr, interval=again.interval)
        return trained, served, search

    def _served(self, bench: Bench, trained: FittedBundle) -> Served:
        return bench.served(Ranker.load(trained.folder, name=RANKER), trained.text_vectors)

    def _searched(self, bench: Bench, searchers: Mapping[str, Served]) -> SearchFigures:
        return search_figures(searchers, bench.split.items, at=bench.split.test_start, seed=self.seed)

    def _seconds(self, share: float) -> float:
        return self.settings.minutes * 60 * share

    def _note_end(self, **stages: str) -> None:
        self.watch.note(ended_by={**self.watch.provenance["ended_by"], **stages})

    def _on_case(self, done: int, total: int) -> None:
        self.watch.step(done, total)
        if self.watch.should_stop():
            self.watch.check()


def _decided(bundle: Bundle, decision: Decision, simple: SimpleBundle | None, *, repeats: int | None) -> RunResult:
    """Carry the decision out. A repetition learns from the data of another day, so it is never promoted."""
    if repeats is not None and decision.verdict == Run.Verdict.PROMOTED:
        reason = gettext("Not promoted, because it repeats run %(run)d. Of the model: %(reason)s")
        words = {"run": repeats, "reason": decision.reason}
        decision = Decision(Run.Verdict.REFUSED, reason % words, decision.served)
    reason = decision.reason
    if decision.verdict == Run.Verdict.PROMOTED:
        bundles.promote(bundle)
    elif simple is not None and repeats is None:
        bundles.promote(simple.bundle)
        reason = f"{reason.removesuffix(champion_stays())}{simple.reason}"
    else:
        bundles.prune()
    return RunResult(decision.verdict, reason, bundle)


def _clear(folder: Path) -> None:
    """Leave only the log of a run that has ended."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "log.txt":
            path.unlink()
