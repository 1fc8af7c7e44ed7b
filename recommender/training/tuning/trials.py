"""The search for better settings: trials of the knobs, phase by phase, judged on the validation window.

The validation window is the newest 30 days before the test window. The test window is cut off before anything is read,
so that no knob can be fitted to it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from django.utils.translation import gettext

from recommender import datasets
from recommender.datasets import files as dataset_files
from recommender.exceptions import InsufficientData
from recommender.features.shop_state import ShopState
from recommender.ml import metrics
from recommender.ml.artifacts import Artifacts
from recommender.ml.progress import Progress
from recommender.ml.reuse import Reusing
from recommender.ml.rivals import baselines
from recommender.models import Run
from recommender.models.connections import persistently
from recommender.runs import knobs
from recommender.runs.comparisons import SCOPES
from recommender.runs.figures import Figures
from recommender.runs.supervision import log_path
from recommender.training.fitting import knob_values, training_data, training_settings, turned
from recommender.training.judging import evaluation
from recommender.training.judging.gate import SEARCH_TOLERANCE
from recommender.training.refusals import too_few_cases
from recommender.training.split import Split, split_in_time
from recommender.training.tuning.studies import Candidate, Pruned, Studies
from recommender.training.watch import RunResult, Watch

SHARES = {"dataset": 0.05, "encoder": 0.50, "context": 0.28, "head": 0.17}
"""Share of the time box for each phase: a trial of the encoder takes the longest."""

LEAST_CASES = 10
MOST_CASES = 400
"""Visitors that each trial is judged on: scoring the whole catalogue for 400 takes seconds."""

CHEAP_SHARE = 0.4
"""Share of the cases that an intermediate score is computed on."""


def tune(run: Run, watch: Watch) -> RunResult:
    """Carry a tuning to its end. Raises InsufficientData where trials cannot be judged."""
    watch.shares = SHARES
    watch.stage("dataset")
    folder = log_path(run.pk).parent
    split = validation_split(persistently(lambda: dataset_files.read_once(folder)))
    report = watch.record.report = datasets.summary(split.whole, split.items, split.report, split.judgements)
    studies = Studies(run, data_hash=report["data_hash"])
    search = SettingsSearch(split, watch, studies)
    watch.check()
    for phase in knobs.PHASES:
        watch.stage(phase)
        search.turn(phase)
    studies.recall()
    watch.record.figures = Figures(tuning=studies.figures())
    return RunResult(None, studies.in_words())


def validation_split(dataset: datasets.Dataset) -> Split:
    """Cut the test window off, then split the rest as a training would split everything."""
    test_start = split_in_time(dataset).test_start
    recorded = dataset.recorded.before(test_start)
    return split_in_time(dataclasses.replace(dataset, recorded=recorded, taken_at=test_start))


class Judge:
    """Scores a ranker by NDCG@10 over the whole catalogue, for visitors who came back in the window.

    The score of a case is the mean of its two lists, all items and new ones; of the first alone if nothing new was
    wanted.
    """

    def __init__(self, split: Split, *, seed: int) -> None:
        self.cases = evaluation.cases(split, most=MOST_CASES, seed=seed)
        if len(self.cases) < LEAST_CASES:
            needed = gettext("At least %(least)s are needed to tune; the settings stay as they are.") % {
                "least": LEAST_CASES
            }
            raise InsufficientData(too_few_cases(split, len(self.cases), needed=needed))
        self.split, self.n_cheap = split, max(LEAST_CASES, round(len(self.cases) * CHEAP_SHARE))
        self.state: ShopState = split.state

    def cheap(self, score: baselines.Scorer) -> list[float]:
        """The scores of the first cases."""
        return self._scores(score, self.cases[: self.n_cheap])

    def rest(self, score: baselines.Scorer) -> list[float]:
        """The scores of the others."""
        return self._scores(score, self.cases[self.n_cheap :])

    def _scores(self, score: baselines.Scorer, cases: Sequence[evaluation.Case]) -> list[float]:
        make = evaluation.scored(score, self.state, self.split.items)
        scores = []
        for case in cases:
            wanted = [(scope, case.wanted(scope)) for scope in SCOPES]
            values = [metrics.ndcg_at_k(make(case, scope), truth, evaluation.K) for scope, truth in wanted if truth]
            scores.append(sum(values) / len(values))
        return scores


class SettingsSearch:
    """One tuning, phase by phase, each with the best values of the phases before it."""

    def __init__(self, split: Split, watch: Watch, studies: Studies) -> None:
        self.run_settings, self.watch, self.studies = studies.settings, watch, studies
        self.judge = Judge(split, seed=self.run_settings.seed)
        self.reusing = Reusing(training_data(split), _Stopping(watch))
        self.settings = training_settings(self.run_settings, minutes=self.run_settings.trial_minutes)
        self.started = time.monotonic() - studies.seconds_spent()
        studies.begin_with(knob_values(self.settings))

    def turn(self, phase: str) -> None:
        """Try values for the knobs of one phase until its share of the time, or of the trials, is used up."""
        best = turned(self.settings, self.studies.best.values)
        study = self.studies.study(phase, knob_values(best))
        while self._may_go_on(phase):
            self.watch.check()
            study.try_once(lambda candidate: self._score(candidate, phase))
            self.watch.record.figures = Figures(tuning=self.studies.figures())
            self.watch.figure("best_score", self.studies.best.score or 0.0)
            self.reusing.keep_only(turned(self.settings, self.studies.best.values))
        self.watch.record.figures = Figures(tuning=self.studies.figures())

    def _may_go_on(self, phase: str) -> bool:
        """The present settings are always tried; after that no trial begins that is likely to end too late."""
        seconds = self.run_settings.minutes * 60
        names = list(SHARES)
        until = seconds * sum(SHARES[name] for name in names[: names.index(phase) + 1])
        spent = time.monotonic() - self.started
        self.watch.step(round(100 * spent), round(100 * until))
        if self.studies.best.score is None:
            return self.studies.n_tried(phase) == 0
        n_trials = self.run_settings.n_trials
        if n_trials is not None and self.studies.n_tried(phase) >= shared_out(n_trials)[phase]:
            return False
        return spent + self.studies.mean_seconds(phase) <= until

    def _score(self, candidate: Candidate, phase: str) -> list[float]:
        """The score of each case. Raises Pruned as soon as an intermediate score is too low to continue."""
        settings = turned(self.settings, {**self.studies.best.values, **candidate.values})
        if phase == "encoder":
            trained = self._checked(lambda: self.reusing.encoded(settings))
            _refuse_harm(trained, candidate)
            candidate.report(0, self.judge.cheap(baselines.mean_vector(trained.text_vectors)))
        if phase != "head":
            trained = self._checked(lambda: self.reusing.placed(settings))
            candidate.report(1, self.judge.cheap(baselines.context_match(trained.item_vectors, trained.context_vector)))
        trained = self._checked(lambda: self.reusing.fitted(settings))
        if trained.head is None:
            raise InsufficientData(
                gettext(
                    "Insufficient data: too few visitors came back to fit the head, so that no setting can be judged. "
                    "The settings stay as they are."
                )
            )
        scorer = baselines.headed(trained.head, trained.item_vectors, trained.context_vector)
        first = self.judge.cheap(scorer)
        candidate.report(2, first)
        self.watch.check()
        return first + self.judge.rest(scorer)

    def _checked(self, train: Callable[[], Artifacts]) -> Artifacts:
        trained = train()
        self.watch.check()
        return trained


class _Stopping(Progress):
    """A trial may be stopped, but reports no steps: a search for settings reports its trials."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def should_stop(self) -> bool:
        return self._watch.should_stop()


def shared_out(n_trials: int) -> dict[str, int]:
    """The number of trials of each phase: at least one, and the first phases get the remainder."""
    n_phases = len(knobs.PHASES)
    return {phase: max(1, (n_trials + n_phases - 1 - n) // n_phases) for n, phase in enumerate(knobs.PHASES)}


def _refuse_harm(trained: Artifacts, candidate: Candidate) -> None:
    """Fine-tuning that harms search would not be kept by a training either."""
    lost = trained.metrics.get("search_mrr_untuned", 0.0) - trained.metrics.get("search_mrr_tuned", 0.0)
    if lost > SEARCH_TOLERANCE and not candidate.is_present:
        raise Pruned(gettext("harms search: %.3f MRR lost") % lost)
