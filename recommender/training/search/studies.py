"""The trials of a tuning: Optuna proposes and remembers, in a file that outlives the process; the best comes out."""

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

from recommender import conf
from recommender.exceptions import MissingDependency
from recommender.ml.metrics import paired_bootstrap
from recommender.models import Run
from recommender.runs import knobs, provenance

N_FREE_TRIALS = 3
"""Trials of a phase before any may be pruned by the median of those before it, and before the sampler learns."""

LEAST_TRIALS_FOR_IMPORTANCE = 5
N_DECIMALS = 5
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}

Score = Callable[["Trial"], list[float]]


class Pruned(Exception):
    """A trial is not worth its time; the message says why."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tried, and whom to tell a cheap figure. Present settings are never pruned: the others compare with them.

    `report` raises Pruned where the figure is below the median of the trials before.
    """

    values: knobs.Values
    is_present: bool
    drawn: Any

    def report(self, step: int, scores: list[float]) -> None:
        self.drawn.report(statistics.fmean(scores), step)
        if not self.is_present and self.drawn.should_prune():
            raise Pruned("below the median of the trials before it")


@dataclass(slots=True)
class Best:
    """The best values of all phases so far; `cases` are the scores of each case."""

    values: knobs.Values
    score: float | None = None
    cases: tuple[float, ...] = ()


class Studies:
    """One study per phase, in the file of the tuning that began it.

    A study is named by all that its scores depend on: other data, code or settings begin another one in the same file,
    so that going on never compares what cannot be compared. Raises MissingDependency without Optuna.
    """

    def __init__(self, run: Run, *, data_hash: str) -> None:
        self.run, self.optuna = run, _optuna()
        path = conf.directory() / "tunings" / f"{run.settings['study']}.journal"
        path.parent.mkdir(parents=True, exist_ok=True)
        journal = self.optuna.storages.journal.JournalFileBackend(str(path))
        self.storage = self.optuna.storages.JournalStorage(journal)
        self._told = {"data": data_hash, "code": provenance.code()["hash"]} | {
            name: run.settings.get(name)
            for name in ("seed", "encoder", "trial_minutes", "adaptation", "fine_tuning", "step_days")
        }
        self._phases: dict[str, Study] = {}
        self.best, self.present = Best({}), Best({})

    @property
    def best_values(self) -> knobs.Values:
        """The knobs as the best trial so far had them."""
        return self.best.values

    @property
    def best_score(self) -> float | None:
        """The score of the best trial so far."""
        return self.best.score

    def begin_with(self, values: knobs.Values) -> None:
        """Name the present settings: what every trial is compared with."""
        self.best, self.present = Best(values), Best(values)

    def study(self, phase: str, values: knobs.Values) -> Study:
        """Open the study of a phase where the knobs of the others stand at `values`; what it knows counts."""
        study = self._phases[phase] = Study(self, phase, values)
        for found in study.ended():
            self.take(found, study)
        return study

    def take(self, found: Any, study: Study) -> None:
        """Keep a trial that is the best so far, or that of the present settings."""
        if found.value is None or not math.isfinite(found.value):
            return
        cases = tuple(found.user_attrs.get("cases", ()))
        if found.user_attrs.get("is_present"):
            self.present = Best(self.present.values, found.value, cases)
        if self.best.score is None or found.value > self.best.score:
            self.best = Best({**study.fixed, **study.as_values(found.params)}, found.value, cases)

    def name(self, phase: str, fixed: Mapping[str, Any]) -> str:
        """The phase, and a hash over everything that its scores depend on."""
        told = json.dumps([self._told, fixed], sort_keys=True)
        return f"{phase} {hashlib.sha256(told.encode()).hexdigest()[:12]}"

    def n_tried(self, phase: str) -> int:
        """Trials of this run that came to an end."""
        return len(self._seconds(phase))

    def mean_seconds(self, phase: str) -> float:
        """How long a trial of this phase took so far; 0 before the first."""
        seconds = self._seconds(phase)
        return statistics.fmean(seconds) if seconds else 0.0

    def seconds_spent(self) -> float:
        """What this run has spent on trials before it was interrupted."""
        names = self.optuna.get_all_study_names(self.storage)
        studies = [self.optuna.load_study(study_name=name, storage=self.storage) for name in names]
        attributes = [trial.user_attrs for study in studies for trial in study.get_trials(deepcopy=False)]
        return sum(told.get("seconds", 0.0) for told in attributes if told.get("run") == self.run.pk)

    def as_json(self) -> dict[str, Any]:
        """The part "tuning" of `Run.metrics`; its layout is in docs/training.md."""
        studies = self._phases.values()
        return {
            "trials": [row for study in studies for row in study.rows()],
            "best": {"values": self.best.values, "score": self.best.score},
            "present": self.present.score,
            "present_values": self.present.values,
            "gain": self._gain(),
            "n_cases": len(self.best.cases),
            "importance": {name: share for study in studies for name, share in study.importance.items()},
        }

    def in_words(self) -> str:
        """How the search ended."""
        n_trials = sum(len(study.rows()) for study in self._phases.values())
        present, best = self.present.score, self.best.score
        if best is None:
            return "No trial ended: give it more minutes."
        if present is None or best <= present:
            return (
                f"None of {n_trials} trials beat the present settings, which score {best:.4f} NDCG@10 on the "
                "validation window. They stay as they are."
            )
        low, _, high = self._gain() or [0.0, 0.0, 0.0]
        return (
            f"The best of {n_trials} trials scores {best:.4f} NDCG@10 on the validation window, the present settings "
            f"{present:.4f}: {best - present:+.4f} ({low:+.4f} to {high:+.4f}). The best of many flatters itself; the "
            "next training judges it on days that no trial has seen. Nothing changes until these settings are accepted."
        )

    def _gain(self) -> list[float] | None:
        """Low, mean and high of the gain over the present settings, on the same cases."""
        if not self.present.cases or len(self.present.cases) != len(self.best.cases):
            return None
        found = paired_bootstrap(self.best.cases, self.present.cases)
        return [round(value, N_DECIMALS) for value in (found.lower, found.mean, found.upper)]

    def _seconds(self, phase: str) -> list[float]:
        told = [trial.user_attrs for trial in self._phases[phase].trials()]
        return [
            attributes["seconds"]
            for attributes in told
            if attributes.get("run") == self.run.pk and "seconds" in attributes and not attributes.get("interrupted")
        ]


class Study:
    """The trials of one phase; the knobs of the other phases stand fixed."""

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
        seed = int(studies.run.settings.get("seed", 0)) + len(self.trials())  # going on draws other values
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=N_FREE_TRIALS + 2)
        self._prepare()

    def trials(self) -> list[Any]:
        """Everything that the study knows, what was carried over included."""
        return self._study.get_trials(deepcopy=False)

    def ended(self) -> list[Any]:
        """Trials with a score."""
        return [trial for trial in self.trials() if trial.state == self.studies.optuna.trial.TrialState.COMPLETE]

    def try_once(self, score: Score) -> None:
        """Try what the sampler proposes next and remember how it went, whatever happens."""
        states, drawn, started = self.studies.optuna.trial.TrialState, self._study.ask(self._ranges), time.monotonic()
        drawn.set_user_attr("run", self.studies.run.pk)
        trial = Trial(self.as_values(drawn.params), bool(drawn.user_attrs.get("is_present")), drawn)
        state, cases = states.FAIL, []
        try:
            cases = score(trial)
            state = states.COMPLETE if cases and all(map(math.isfinite, cases)) else states.FAIL
        except Pruned as error:
            drawn.set_user_attr("why", str(error))
            state = states.PRUNED
        except BaseException:
            self._interrupt(drawn.number)
            raise
        drawn.set_user_attr("seconds", round(time.monotonic() - started, 4))
        drawn.set_user_attr("cases", [round(value, N_DECIMALS) for value in cases])
        told = self._study.tell(drawn, statistics.fmean(cases) if state == states.COMPLETE else None, state=state)
        self.studies.take(told, self)
        self.importance = self._importance()

    def as_values(self, params: Mapping[str, Any]) -> knobs.Values:
        """The parameters of a trial as knobs."""
        return knobs.validated(params)

    def rows(self) -> list[dict[str, Any]]:
        """What was tried, in order."""
        shown = [trial for trial in self.trials() if not trial.user_attrs.get("is_carried") and trial.params]
        return [
            {
                "phase": self.phase,
                "number": trial.number,
                "values": dict(trial.params),
                "score": trial.value,
                "state": STATES[trial.state.name],
                "seconds": trial.user_attrs.get("seconds"),
                "why": trial.user_attrs.get("why", ""),
                "is_present": bool(trial.user_attrs.get("is_present")),
            }
            for trial in shown
        ]

    def _prepare(self) -> None:
        """What an ended process left running is tried again; a new study begins with what is known."""
        states = self.studies.optuna.trial.TrialState
        for trial in [trial for trial in self.trials() if trial.state == states.RUNNING]:
            self._interrupt(trial.number)
        if self.trials():
            return
        if self.studies.best.score is None:
            self._study.enqueue_trial(self.present, user_attrs={"is_present": True})
        else:
            self._carry_over()
        earlier = self.studies.run.settings.get("start_from") or {}
        proposed = {name: earlier[name] for name in self.present if name in earlier}
        if len(proposed) == len(self.present) and proposed != self.present:
            self._study.enqueue_trial(proposed)

    def _carry_over(self) -> None:
        """The best of the phase before is a point of this one too: its score is known without a trial."""
        best = self.studies.best
        create = self.studies.optuna.trial.create_trial
        attributes = {"is_carried": True, "cases": list(best.cases)}
        self._study.add_trial(
            create(params=self.present, distributions=self._ranges, value=best.score, user_attrs=attributes)
        )

    def _interrupt(self, number: int) -> None:
        """End a trial that says nothing about its values, and put them first in the queue."""
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
        found = self.studies.optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {name: round(float(share), 3) for name, share in found.items()}


def _range(optuna: Any, knob: knobs.Knob) -> Any:
    if knob.is_whole:
        return optuna.distributions.IntDistribution(int(knob.low), int(knob.high), log=knob.is_log)
    return optuna.distributions.FloatDistribution(float(knob.low), float(knob.high), log=knob.is_log)


def _optuna() -> Any:
    try:
        optuna = importlib.import_module("optuna")
    except ImportError as error:
        raise MissingDependency(
            'Tuning needs Optuna on the host that trains: pip install "shopreco[tuning]". The settings stay as they '
            "are."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
