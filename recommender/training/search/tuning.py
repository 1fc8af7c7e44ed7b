"""A search for better settings: knobs in, trials on the validation window out. The test window is never read.

The validation window is to a tuning what the test window is to a training: the newest 30 days before the test begins.
What would judge a training is cut off before anything is looked at, so that no knob can be turned towards it.
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
from recommender.runs.supervision import log_path
from recommender.training.fitting import knob_values, training_data, training_settings, turned
from recommender.training.judging import evaluation
from recommender.training.judging.gate import SEARCH_TOLERANCE
from recommender.training.refusals import too_few_cases
from recommender.training.search.studies import Pruned, Studies, Trial
from recommender.training.split import Split, split_in_time
from recommender.training.watch import Ended, Watch

SHARES = {"dataset": 0.05, "encoder": 0.50, "context": 0.28, "head": 0.17}
"""Share of the time box that each phase may use: a trial of the encoder takes the longest."""

LEAST_CASES = 10
MOST_CASES = 400
"""Visitors that each trial is judged on: whole-catalogue scores of 400 take seconds, and the interval says the rest."""

CHEAP_SHARE = 0.4
"""Share of the cases that an intermediate figure looks at."""


def tune(run: Run, watch: Watch) -> Ended:
    """Carry a tuning to its end. Raises InsufficientData where there is nothing to judge a trial by."""
    watch.shares = SHARES
    watch.stage("dataset")
    folder = log_path(run.pk).parent
    split = validation_split(persistently(lambda: dataset_files.read_once(folder)))
    watch.figures.report = datasets.summary(split.whole, split.items, split.report, split.judgements)
    studies = Studies(run, data_hash=watch.figures.report["data_hash"])
    search = Search(run, split, watch, studies)
    watch.check()
    for phase in knobs.PHASES:
        watch.stage(phase)
        search.turn(phase)
    return Ended(None, studies.in_words())


def validation_split(dataset: datasets.Dataset) -> Split:
    """Cut the test window off, then split what is left as a training would split the whole."""
    test_start = split_in_time(dataset).test_start
    known = dataset.recorded.before(test_start)
    return split_in_time(dataclasses.replace(dataset, recorded=known, taken_at=test_start))


class Judge:
    """Gives a ranker the mean NDCG@10 of its lists, whole catalogue, of visitors who came back in the window.

    A case counts the mean of its two lists, all items and new ones; where nothing new was wanted, the first alone.
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

    def _scores(self, score: baselines.Scorer, some: Sequence[evaluation.Case]) -> list[float]:
        make = evaluation.scored(score, self.state, self.split.items)
        found = []
        for case in some:
            wanted = [(scope, case.wanted(scope)) for scope in evaluation.SCOPES]
            values = [metrics.ndcg_at_k(make(case, scope), truth, evaluation.K) for scope, truth in wanted if truth]
            found.append(sum(values) / len(values))
        return found


class Search:
    """One tuning: phase by phase, each on top of the best that the phases before it have found."""

    def __init__(self, run: Run, split: Split, watch: Watch, studies: Studies) -> None:
        self.run, self.watch, self.studies = run, watch, studies
        self.judge = Judge(split, seed=int(run.settings.get("seed", 0)))
        self.reusing = Reusing(training_data(split), _Stopping(watch))
        self.settings = training_settings(run.settings, minutes=float(run.settings["trial_minutes"]))
        self.started = time.monotonic() - studies.seconds_spent()
        studies.begin_with(knob_values(self.settings))

    def turn(self, phase: str) -> None:
        """Try values for the knobs of one phase until its share of the time, or of the trials, is used up."""
        best = turned(self.settings, self.studies.best_values)
        study = self.studies.study(phase, knob_values(best))
        while self._may_go_on(phase):
            self.watch.check()
            study.try_once(lambda trial: self._score(trial, phase))
            self.watch.figures.metrics = {"tuning": self.studies.as_json()}
            self.watch.figure("best_score", self.studies.best_score or 0.0)
            self.reusing.keep_only(turned(self.settings, self.studies.best_values))
        self.watch.figures.metrics = {"tuning": self.studies.as_json()}

    def _may_go_on(self, phase: str) -> bool:
        """The present settings are always tried; after that no trial begins that would likely end too late."""
        seconds = float(self.run.settings["minutes"]) * 60
        names = list(SHARES)
        until = seconds * sum(SHARES[name] for name in names[: names.index(phase) + 1])
        spent = time.monotonic() - self.started
        self.watch.step(round(100 * spent), round(100 * until))
        if self.studies.best_score is None:
            return self.studies.n_tried(phase) == 0
        n_trials = self.run.settings.get("trials")
        if n_trials is not None and self.studies.n_tried(phase) >= shared_out(int(n_trials))[phase]:
            return False
        return spent + self.studies.mean_seconds(phase) <= until

    def _score(self, trial: Trial, phase: str) -> list[float]:
        """The score of each case. Raises Pruned as soon as a cheap figure says that it is not worth going on."""
        settings = turned(self.settings, {**self.studies.best_values, **trial.values})
        if phase == "encoder":
            made = self._checked(lambda: self.reusing.encoded(settings))
            _refuse_harm(made, trial)
            trial.report(0, self.judge.cheap(baselines.mean_vector(made.text_vectors)))
        if phase != "head":
            made = self._checked(lambda: self.reusing.placed(settings))
            trial.report(1, self.judge.cheap(baselines.context_match(made.item_vectors, made.context_vector)))
        made = self._checked(lambda: self.reusing.fitted(settings))
        if made.head is None:
            raise InsufficientData(
                "Insufficient data: too few visitors came back to fit the head, so that no setting can be judged. "
                "The settings stay as they are."
            )
        scorer = baselines.headed(made.head, made.item_vectors, made.context_vector)
        first = self.judge.cheap(scorer)
        trial.report(2, first)
        self.watch.check()
        return first + self.judge.rest(scorer)

    def _checked(self, make: Callable[[], Artifacts]) -> Artifacts:
        made = make()
        self.watch.check()
        return made


class _Stopping(Progress):
    """A trial may be stopped, but reports no steps: a search for settings reports its trials."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def should_stop(self) -> bool:
        return self._watch.should_stop()


def shared_out(n_trials: int) -> dict[str, int]:
    """So many trials for each phase, at least one, the first phases getting what does not divide."""
    n_phases = len(knobs.PHASES)
    return {phase: max(1, (n_trials + n_phases - 1 - place) // n_phases) for place, phase in enumerate(knobs.PHASES)}


def _refuse_harm(made: Artifacts, trial: Trial) -> None:
    """A tuning of the encoder that harms search would not be kept by a training either."""
    lost = made.metrics.get("search_mrr_untuned", 0.0) - made.metrics.get("search_mrr_tuned", 0.0)
    if lost > SEARCH_TOLERANCE and not trial.is_present:
        raise Pruned(f"harms search: {lost:.3f} MRR lost")
