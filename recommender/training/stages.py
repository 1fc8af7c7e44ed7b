"""The stages of a run in order, from the data to the verdict, and how each way to end is recorded."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import router, transaction
from django.utils import timezone
from django.utils.translation import gettext

from recommender import bundles, datasets, runs
from recommender.bundles.arms import write_arms
from recommender.datasets import files as dataset_files
from recommender.exceptions import InsufficientData, LeaseLost, RecommenderError, TooLittleTime
from recommender.experiments.rollout import introduce
from recommender.exposure.floors import raise_alarms
from recommender.exposure.reports import standings_of
from recommender.ml.hardware import hardware
from recommender.models import Bundle, Run
from recommender.models.connections import persistently
from recommender.runs import provenance
from recommender.runs.comparisons import CHAMPION, RANKER
from recommender.runs.folders import clear
from recommender.runs.settings import RunSettings
from recommender.runs.supervision import log_path
from recommender.training.curves import tracked
from recommender.training.fitting import fitted, in_full, training_settings
from recommender.training.judging.arms import champion_with, present_arms
from recommender.training.judging.bench import Bench
from recommender.training.judging.evidence import gather, learned_until
from recommender.training.judging.gate import Decision
from recommender.training.judging.judge import JudgedRun, RunJudge, least_cases
from recommender.training.judging.review import review
from recommender.training.judging.watched import store
from recommender.training.publication import publish
from recommender.training.shortfall import refuse_cut_off
from recommender.training.split import Split, split_in_time
from recommender.training.tuning import trials
from recommender.training.watch import RunCancelled, RunInterrupted, RunResult, Watch

logger = logging.getLogger(__name__)

Ending = Callable[[Watch], None]
"""Records how a run ended, once its heartbeat has stopped."""


def run(run_id: int, token: int, *, watch: Watch | None = None) -> None:
    """Carry a leased run to its end and record it; raises only where the database fails."""
    with watch or Watch(run_id, token) as watch:
        record_end = _ending(run_id, watch)
    folder = log_path(run_id).parent
    try:
        persistently(lambda: record_end(watch))
        persistently(bundles.prune)
    except LeaseLost as error:
        logger.warning("%s", error)
        return
    if persistently(lambda: Run.objects.filter(pk=run_id).exclude(state=Run.State.QUEUED).exists()):
        clear(folder)


def _ending(run_id: int, watch: Watch) -> Ending:
    """Train; return what records the end."""
    try:
        leased = persistently(lambda: Run.objects.get(pk=run_id))
        watch.note(**leased.provenance)
        with tracked(leased, watch):
            result = trials.tune(leased, watch) if leased.kind == Run.Kind.TUNING else Stages(leased, watch).carry()
        return _finished(Run.State.SUCCEEDED, result.reason, result.verdict, result.bundle, result.champion)
    except InsufficientData as error:
        return _finished(Run.State.SUCCEEDED, str(error), Run.Verdict.INSUFFICIENT)
    except TooLittleTime as error:
        return _finished(Run.State.SUCCEEDED, str(error), Run.Verdict.TOO_SHORT)
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
    state: Run.State,
    reason: str,
    verdict: Run.Verdict | None = None,
    bundle: Bundle | None = None,
    champion: Bundle | None = None,
) -> Ending:
    """Record the end and let `champion` serve, in one transaction: a process that is killed did both or neither."""

    def record_end(watch: Watch) -> None:
        with transaction.atomic(using=router.db_for_write(Run)):
            serves, remark = introduce(champion, at=timezone.now()) if champion is not None else (False, "")
            words = " ".join(filter(None, [reason, watch.remark, remark]))
            runs.finish(
                watch.run_id,
                watch.token,
                state=state,
                reason=words,
                verdict=verdict,
                bundle=bundle,
                record=watch.record,
            )
            if champion is not None and serves:
                bundles.make_champion(champion, is_provisional=verdict == Run.Verdict.PROVISIONAL)

    return record_end


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
        self._review(dataset, split)
        evidence = gather(
            split,
            learned_until=persistently(lambda: learned_until(bundles.ensure_champion())),
            seed=self.seed,
            least_cases=least_cases(self.settings),
        )
        trained = fitted(split, self.settings, self.folder, self.watch)
        self.watch.note(
            ended_by=dict(trained.ended_by),
            encoder={**self.watch.provenance["encoder"], "hash": trained.base_encoder},
        )
        self.watch.check()
        refuse_cut_off(trained.courses, trained.ended_by, self.settings)
        judge = RunJudge(self.settings, self.folder, self.watch)
        judgement = judge.judged(Bench(dataset, split, split.state), trained, evidence)
        self.watch.check()
        persistently(lambda: store(judgement.watched, run_id=self.watch.run_id))
        self.watch.stage("publication")
        write_arms(judgement.trained.folder, judgement.arms)
        bundle = persistently(lambda: publish(dataset, judgement.trained, learned_until=split.test_start))
        self.watch.note(bundle=bundle.name)
        self._alarm(bundle)
        return persistently(lambda: _decided(bundle, judgement, repeats=self.settings.repeats))

    def _review(self, dataset: datasets.Dataset, split: Split) -> None:
        """Judge a model again that serves provisionally; a repetition looks at the data of another day."""
        if self.settings.repeats is not None:
            return
        reviewed = persistently(lambda: review(dataset, split, seed=self.seed, least_cases=least_cases(self.settings)))
        if reviewed is not None:
            self.watch.remark = reviewed.sentence

    def _alarm(self, bundle: Bundle) -> None:
        """Raise an alarm where the new bundle shows a group less than its floor; a repetition serves nobody."""
        figures = self.watch.record.figures
        if self.settings.repeats is None and figures is not None:
            standings = standings_of(figures.exposure).values()
            judged = [one for own in standings for one in own]
            persistently(lambda: raise_alarms(judged, at=timezone.now(), bundle=bundle.name))

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


def _decided(bundle: Bundle, judgement: JudgedRun, *, repeats: int | None) -> RunResult:
    """The result of a judged run, with the bundle that is to serve.

    A repetition learns from the data of another day, so it is never promoted.
    """
    decision, champion = judgement.decision, bundles.ensure_champion()
    if repeats is not None and decision.served == RANKER:
        sentence = gettext(
            "The previous model keeps serving, because this run repeats run %(run)d. Of the new model: %(of)s"
        )
        words = {"run": repeats, "of": decision.sentence}
        decision = Decision(Run.Verdict.REFUSED, CHAMPION, sentence % words, decision.figures)
    next_champion = None
    if decision.served == RANKER:
        next_champion = bundle
    elif not decision.arms.items() <= present_arms(champion).items():
        next_champion = champion_with(champion, judgement.arms)
    if next_champion is not None:
        bundles.require_promotable(next_champion)
    return RunResult(decision.verdict, decision.reason, bundle, next_champion)
