"""The trials of a tuning: Optuna proposes values and keeps the results in a file that outlives the process."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext

from recommender import conf
from recommender.exceptions import MissingDependency
from recommender.ml.metrics import paired_bootstrap
from recommender.models import Run
from recommender.runs import knobs, provenance
from recommender.runs.figures import NO_FIGURE, BestTrial, Gain, TrialFigures, TuningFigures
from recommender.runs.settings import RunSettings

N_FREE_TRIALS = 3
"""Trials of a phase before any may be pruned by the median of those before it, and before the sampler learns."""

LEAST_TRIALS_FOR_IMPORTANCE = 5
N_DECIMALS = 5
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}

Score = Callable[["Candidate"], list[float]]
"""Candidate values -> the score of each case."""


class Pruned(Exception):
    """A trial is not worth finishing; the message says why."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Values that a trial evaluates. The present settings are never pruned, since the others are compared with them."""

    values: knobs.Values
    is_present: bool
    trial: Any

    def report(self, step: int, scores: list[float]) -> None:
        """Report an early score. Raises Pruned where it is below the median of the trials before."""
        self.trial.report(statistics.fmean(scores), step)
        if not self.is_present and self.trial.should_prune():
            raise Pruned(gettext("below the median of the trials before it"))


@dataclass(slots=True)
class ScoredValues:
    """Values of all knobs with their score; `cases` are the scores of each case."""

    values: knobs.Values
    score: float | None = None
    cases: tuple[float, ...] = ()


class Studies:
    """One study per phase, in the file of the tuning that began it.

    The name of a study is a hash of all that its scores depend on: other data, code or settings begin a new study in
    the same file, so that only comparable scores are compared. Raises MissingDependency without Optuna.
    """

    def __init__(self, run: Run, *, data_hash: str) -> None:
        self.run, self.optuna = run, _optuna()
        self.settings = RunSettings.of(run.settings)
        path = conf.directory() / "tunings" / f"{self.settings.study}.journal"
        path.parent.mkdir(parents=True, exist_ok=True)
        journal = self.optuna.storages.journal.JournalFileBackend(str(path))
        self.storage = self.optuna.storages.JournalStorage(journal)
        names = ("seed", "encoder", "trial_minutes", "adaptation", "fine_tuning", "step_days")
        self._basis = {"data": data_hash, "code": provenance.code()["hash"]} | {
            name: getattr(self.settings, name) for name in names
        }
        self._phases: dict[str, Study] = {}
        self.best, self.present = ScoredValues({}), ScoredValues({})

    def begin_with(self, values: knobs.Values) -> None:
        """Set the present settings, which every trial is compared with."""
        self.best, self.present = ScoredValues(values), ScoredValues(values)

    def study(self, phase: str, values: knobs.Values) -> Study:
        """Open the study of a phase with the other knobs at `values`; trials that it has already count."""
        study = self._phases[phase] = Study(self, phase, values)
        for trial in study.ended():
            self.take(trial, study)
        return study

    def take(self, trial: Any, study: Study) -> None:
        """Remember a trial if it is the best so far, or that of the present settings."""
        if trial.value is None or not math.isfinite(trial.value):
            return
        cases = tuple(trial.user_attrs.get("cases", ()))
        if trial.user_attrs.get("is_present"):
            self.present = ScoredValues(self.present.values, trial.value, cases)
        if self.best.score is None or trial.value > self.best.score:
            self.best = ScoredValues({**study.fixed, **study.as_values(trial.params)}, trial.value, cases)

    def recall(self) -> None:
        """Take the best trial of the file that is comparable: an earlier tuning may have found better values of a phase
        beside other values of the phase before it."""
        for name in self.optuna.get_all_study_names(self.storage):
            stored = self.optuna.load_study(study_name=name, storage=self.storage)
            if stored.user_attrs.get("basis") != self.basis:
                continue
            for trial in stored.get_trials(deepcopy=False, states=(self.optuna.trial.TrialState.COMPLETE,)):
                is_better = self.best.score is None or trial.value > self.best.score
                if is_better and not trial.user_attrs.get("is_carried"):
                    values = {**stored.user_attrs["fixed"], **knobs.validated(trial.params)}
                    self.best = ScoredValues(values, trial.value, tuple(trial.user_attrs.get("cases", ())))

    @property
    def basis(self) -> str:
        """A hash of the data, the code and the settings: scores of one basis are comparable."""
        return hashlib.sha256(json.dumps(self._basis, sort_keys=True).encode()).hexdigest()[:12]

    def name(self, phase: str, fixed: Mapping[str, Any]) -> str:
        """The phase, and a hash over everything that its scores depend on."""
        basis = json.dumps([self._basis, fixed], sort_keys=True)
        return f"{phase} {hashlib.sha256(basis.encode()).hexdigest()[:12]}"

    def n_tried(self, phase: str) -> int:
        """Number of trials of this run that ended."""
        return len(self._seconds(phase))

    def mean_seconds(self, phase: str) -> float:
        """Mean duration of the trials of this phase; 0 before the first."""
        seconds = self._seconds(phase)
        return statistics.fmean(seconds) if seconds else 0.0

    def seconds_spent(self) -> float:
        """Time that this run spent on trials before it was interrupted."""
        names = self.optuna.get_all_study_names(self.storage)
        studies = [self.optuna.load_study(study_name=name, storage=self.storage) for name in names]
        attributes = [trial.user_attrs for study in studies for trial in study.get_trials(deepcopy=False)]
        return sum(entry.get("seconds", 0.0) for entry in attributes if entry.get("run") == self.run.pk)

    def figures(self) -> TuningFigures:
        """The part of the run's figures that a tuning fills in."""
        studies = self._phases.values()
        return TuningFigures(
            trials=tuple(trial for study in studies for trial in study.trial_figures()),
            best=BestTrial(self.best.values, _number(self.best.score)),
            present=_number(self.present.score),
            present_values=self.present.values,
            gain=self._gain(),
            n_cases=len(self.best.cases),
            importance={name: share for study in studies for name, share in study.importance.items()},
        )

    def in_words(self) -> str:
        """How the search ended."""
        n_trials = sum(len(study.trial_figures()) for study in self._phases.values())
        present, best = self.present.score, self.best.score
        if best is None:
            return gettext("No trial ended: give it more minutes.")
        if present is None or best <= present:
            return gettext(
                "None of %(n)d trials beat the present settings, which score %(best).4f NDCG@10 on the validation "
                "window. They stay as they are."
            ) % {"n": n_trials, "best": best}
        low, _, high = self._gain() or (0.0, 0.0, 0.0)
        return gettext(
            "The best of %(n)d trials scores %(best).4f NDCG@10 on the validation window, the present settings "
            "%(present).4f: %(gain)+.4f (%(low)+.4f to %(high)+.4f). The best of many trials looks better than it is; "
            "the next training evaluates it on days that no trial has seen. Nothing changes until you use these "
            "settings."
        ) % {"n": n_trials, "best": best, "present": present, "gain": best - present, "low": low, "high": high}

    def _gain(self) -> Gain | None:
        """The gain over the present settings, on the same cases."""
        if not self.present.cases or len(self.present.cases) != len(self.best.cases):
            return None
        gain = paired_bootstrap(self.best.cases, self.present.cases)
        return Gain(*(round(value, N_DECIMALS) for value in (gain.lower, gain.mean, gain.upper)))

    def _seconds(self, phase: str) -> list[float]:
        return [
            attributes["seconds"]
            for attributes in (trial.user_attrs for trial in self._phases[phase].trials())
            if attributes.get("run") == self.run.pk and "seconds" in attributes and not attributes.get("interrupted")
        ]


class Study:
    """The trials of one phase; the knobs of the other phases are fixed."""

    def __init__(self, studies: Studies, phase: str, values: knobs.Values) -> None:
        optuna, self.studies, self.phase = studies.optuna, studies, phase
        self.turned = knobs.of_phase(phase)
        names = {knob.name for knob in self.turned}
        self.fixed = {name: value for name, value in values.items() if name not in names}
        self.present = {name: values[name] for name in names}
        self.importance: dict[str, float] = {}
        self._ranges = {knob.name: _range(optuna, knob) for knob in self.turned}
        self._study = optuna.create_study(
            study_name=studies.name(phase, self.fixed),
            storage=studies.storage,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=N_FREE_TRIALS),
        )
        self._study.set_user_attr("basis", studies.basis)
        self._study.set_user_attr("fixed", self.fixed)
        seed = studies.settings.seed + len(self.trials())  # so that a continued study draws other values
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=N_FREE_TRIALS + 2)
        self._prepare()

    def trials(self) -> list[Any]:
        """All trials of the study, including what was carried over from the phase before."""
        return self._study.get_trials(deepcopy=False)

    def ended(self) -> list[Any]:
        """Trials with a score."""
        return [trial for trial in self.trials() if trial.state == self.studies.optuna.trial.TrialState.COMPLETE]

    def try_once(self, score: Score) -> None:
        """Try the values that the sampler proposes next and store the result, whatever happens."""
        states, trial, started = self.studies.optuna.trial.TrialState, self._study.ask(self._ranges), time.monotonic()
        trial.set_user_attr("run", self.studies.run.pk)
        candidate = Candidate(self.as_values(trial.params), bool(trial.user_attrs.get("is_present")), trial)
        state, cases = states.FAIL, []
        try:
            cases = score(candidate)
            state = states.COMPLETE if cases and all(map(math.isfinite, cases)) else states.FAIL
        except Pruned as error:
            trial.set_user_attr("why", str(error))
            state = states.PRUNED
        except BaseException:
            self._interrupt(trial.number)
            raise
        trial.set_user_attr("seconds", round(time.monotonic() - started, 4))
        trial.set_user_attr("cases", [round(value, N_DECIMALS) for value in cases])
        mean = statistics.fmean(cases) if state == states.COMPLETE else None
        self.studies.take(self._study.tell(trial, mean, state=state), self)
        self.importance = self._importance()

    def as_values(self, params: Mapping[str, Any]) -> knobs.Values:
        """The parameters of a trial as knobs."""
        return knobs.validated(params)

    def trial_figures(self) -> list[TrialFigures]:
        """The trials in order, without what was carried over."""
        return [
            TrialFigures(
                phase=self.phase,
                number=trial.number,
                values=dict(trial.params),
                score=_number(trial.value),
                state=STATES[trial.state.name],
                seconds=trial.user_attrs.get("seconds", NO_FIGURE),
                why=trial.user_attrs.get("why", ""),
                is_present=bool(trial.user_attrs.get("is_present")),
            )
            for trial in self.trials()
            if trial.params and not trial.user_attrs.get("is_carried")
        ]

    def _prepare(self) -> None:
        """Queue again what a process that died left running; let a new study begin with the best values so far."""
        states = self.studies.optuna.trial.TrialState
        for trial in [trial for trial in self.trials() if trial.state == states.RUNNING]:
            self._interrupt(trial.number)
        if self.trials():
            return
        if self.studies.best.score is None:
            self._study.enqueue_trial(self.present, user_attrs={"is_present": True})
        else:
            self._carry_over()
        earlier = self.studies.settings.start_from
        proposed = {name: earlier[name] for name in self.present if name in earlier}
        if len(proposed) == len(self.present) and proposed != self.present:
            self._study.enqueue_trial(proposed)

    def _carry_over(self) -> None:
        """Add the best values of the phase before as a trial: their score is known already."""
        best = self.studies.best
        create = self.studies.optuna.trial.create_trial
        attributes = {"is_carried": True, "cases": list(best.cases)}
        self._study.add_trial(
            create(params=self.present, distributions=self._ranges, value=best.score, user_attrs=attributes)
        )

    def _interrupt(self, number: int) -> None:
        """End a trial that was cut off, and queue its values again."""
        trial = self.trials()[number]
        self._study._storage.set_trial_user_attr(trial._trial_id, "interrupted", True)
        self._study.tell(number, state=self.studies.optuna.trial.TrialState.FAIL)
        if trial.params:
            is_present = bool(trial.user_attrs.get("is_present"))
            self._study.enqueue_trial(dict(trial.params), user_attrs={"is_present": is_present})

    def _importance(self) -> dict[str, float]:
        """Share of the differences in score that each knob of this phase explains (Hutter et al. 2014, fANOVA)."""
        scores = [trial.value for trial in self.ended()]
        if len(scores) < LEAST_TRIALS_FOR_IMPORTANCE or max(scores) - min(scores) < 1e-9:
            return {}
        evaluator = self.studies.optuna.importance.FanovaImportanceEvaluator(n_trees=16, max_depth=16, seed=0)
        shares = self.studies.optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {name: round(float(share), 3) for name, share in shares.items()}


def _number(score: float | None) -> float:
    return NO_FIGURE if score is None else score


def _range(optuna: Any, knob: knobs.Knob) -> Any:
    if knob.is_whole:
        return optuna.distributions.IntDistribution(int(knob.low), int(knob.high), log=knob.is_log)
    return optuna.distributions.FloatDistribution(float(knob.low), float(knob.high), log=knob.is_log)


def _optuna() -> Any:
    try:
        optuna = importlib.import_module("optuna")
    except ImportError as error:
        raise MissingDependency(
            gettext(
                'Tuning needs Optuna on the host that trains: pip install "shopreco[tuning]". The settings stay as '
                "they are."
            )
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
