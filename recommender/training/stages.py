"""The stages of a run in order, and how each way to end one is written down."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from django.utils.translation import gettext

from recommender import bundles, datasets, runs
from recommender.datasets import files as dataset_files
from recommender.datasets import statistics
from recommender.exceptions import InsufficientData, LeaseLost, RecommenderError
from recommender.features.shop_state import build_state
from recommender.ml.hardware import hardware
from recommender.ml.pace import CLOCK, STEPS
from recommender.models import Bundle, Item, Run
from recommender.models.connections import persistently
from recommender.runs import provenance
from recommender.runs.supervision import log_path
from recommender.serving import Served, vectors
from recommender.serving.ranker import Ranker
from recommender.training.curves import tracked
from recommender.training.fitting import (
    Fitted,
    context_figures,
    encoder_figures,
    fitted,
    fitted_untuned,
    head_figures,
    in_full,
    teacher_figures,
    training_settings,
)
from recommender.training.judging import evaluation
from recommender.training.judging.bench import Bench, simple_rankers
from recommender.training.judging.gate import (
    CHAMPION,
    LEAST_CASES,
    RANKER,
    SEARCH_TOLERANCE,
    STAYS,
    Decision,
    Evidence,
    decide,
)
from recommender.training.judging.guardrails import Judged, as_rows, guardrails
from recommender.training.judging.search_guard import search_figures, search_gain
from recommender.training.judging.simple import Simple, served_instead
from recommender.training.judging.windows import rolling
from recommender.training.refusals import too_few_cases
from recommender.training.search import tuning
from recommender.training.split import split_in_time
from recommender.training.watch import Ended, RunCancelled, RunInterrupted, Watch

logger = logging.getLogger(__name__)

LEAST_CASES_TO_TRAIN = 10
"""With fewer test cases a run cannot even be read; it ends before it costs minutes."""

MOST_CASES = 1_500
EVALUATION_SHARE = 0.15
"""Share of the time box after which no new test case begins."""

ROLLING_SHARE = 0.03
"""Share of the time box after which no earlier window begins; one window of the demo takes about three seconds."""

CHUNK_SIZE = 500


def run(run_id: int, token: int, *, watch: Watch | None = None) -> None:
    """Carry a leased run to its end and write down which; only a database that fails raises."""
    with watch or Watch(run_id, token) as watch:
        end = _ending(run_id, watch)
    folder = log_path(run_id).parent
    try:
        persistently(lambda: end(watch))
    except LeaseLost as error:
        logger.warning("%s", error)
        return
    if persistently(lambda: Run.objects.filter(pk=run_id).exclude(state=Run.State.QUEUED).exists()):
        _clear(folder)


def _ending(run_id: int, watch: Watch) -> Any:
    """Train; return what is to be written down once the heartbeat has stopped."""
    try:
        asked = persistently(lambda: Run.objects.get(pk=run_id))
        if attempts := asked.provenance.get("attempts"):
            _note(watch, attempts=attempts)
        with tracked(asked, watch):
            ended = tuning.tune(asked, watch) if asked.kind == Run.Kind.TUNING else _train(asked, watch)
        return lambda w: _finish(w, Run.State.SUCCEEDED, ended.reason, ended.verdict, ended.bundle)
    except InsufficientData as error:
        reason = str(error)
        return lambda w: _finish(w, Run.State.SUCCEEDED, reason, Run.Verdict.INSUFFICIENT)
    except RunCancelled:
        reason = persistently(lambda: Run.objects.values_list("reason", flat=True).get(pk=run_id)) or "Cancelled."
        return lambda w: _finish(w, Run.State.CANCELLED, reason)
    except RunInterrupted as error:
        reason = str(error)
        return lambda w: runs.release(w.run_id, w.token, reason=reason)
    except LeaseLost as error:
        logger.warning("%s", error)
        return lambda w: None
    except RecommenderError as error:
        reason = str(error)
        return lambda w: _finish(w, Run.State.FAILED, reason)
    except Exception as error:  # the edge of the run: whatever broke, the row says it and the shop goes on
        logger.exception("run %s failed", run_id)
        reason = f"{type(error).__name__} at stage {watch.current_stage}: {error}. See {log_path(run_id)}."
        return lambda w: _finish(w, Run.State.FAILED, reason)


def _finish(
    watch: Watch, state: Run.State, reason: str, verdict: Run.Verdict | None = None, bundle: Bundle | None = None
) -> None:
    runs.finish(
        watch.run_id, watch.token, state=state, reason=reason, verdict=verdict, bundle=bundle, figures=watch.figures
    )


def _train(run: Run, watch: Watch) -> Ended:
    folder = log_path(run.pk).parent
    watch.stage("dataset")
    dataset = persistently(lambda: dataset_files.read_once(folder, as_of=run.settings.get("as_of")))
    split = split_in_time(dataset)
    report = datasets.summary(split.whole, split.items, split.report, split.judgements)
    watch.figures.report = report | {"n_impressions": len(split.impressions)}
    _note(watch, **_circumstances(run, dataset, watch.figures.report["data_hash"]))
    watch.check()
    seed = int(run.settings.get("seed", 0))
    some = evaluation.cases(split, most=MOST_CASES, seed=seed)
    if len(some) < LEAST_CASES_TO_TRAIN or not len(split.past):
        needed = gettext("At least %(least)s are needed to train and %(promote)s to promote.") % {
            "least": LEAST_CASES_TO_TRAIN, "promote": LEAST_CASES,
        }  # fmt: skip
        raise InsufficientData(too_few_cases(split, len(some), needed=needed))
    made = fitted(split, run.settings, folder, watch)
    _note(watch, ended_by=dict(made.ended_by), encoder={**_noted(watch)["encoder"], "hash": made.base_encoder})
    watch.check()
    bench = Bench(dataset, split, split.state)
    made, decision, instead = _judge(run, bench, made, some, watch)
    watch.check()
    watch.stage("publication")
    bundle = persistently(lambda: publish(dataset, made))
    _note(watch, bundle=bundle.name)
    return persistently(lambda: _promote(bundle, decision, instead, repeats=run.settings.get("like")))


def _circumstances(run: Run, dataset: datasets.Dataset, data_hash: str) -> dict[str, Any]:
    """What decides how the run will come out, as far as it is known before it trains."""
    told = training_settings(run.settings)
    return {
        "data_hash": data_hash,
        "taken_at": dataset.taken_at,
        "code": provenance.code(),
        "versions": provenance.versions(),
        "seed": told.seed,
        "encoder": {"name": told.encoder or "packaged"},
        "settings": in_full(told),
        "hardware": hardware(),
    }


def _noted(watch: Watch) -> dict[str, Any]:
    return watch.figures.provenance or {}


def _note(watch: Watch, **entries: Any) -> None:
    """Replace, never change in place: the heartbeat reads it from another thread."""
    watch.figures.provenance = {**_noted(watch), **entries}


def _judge(
    run: Run, bench: Bench, made: Fitted, some: list[evaluation.Case], watch: Watch
) -> tuple[Fitted, Decision, Simple | None]:
    """Guard search, compare with every competitor on lists, decide. May train once more, without tuning.

    Where the ranker is refused, a simple competitor may be found that is to serve in the champion's place.
    """
    watch.stage("evaluation")
    seed, least_cases = int(run.settings.get("seed", 0)), int(run.settings.get("least_cases", LEAST_CASES))
    champion = persistently(bundles.ensure_champion)
    untuned = bench.of_bundle(persistently(bundles.untrained))
    made, served, search = _guarded(run, bench, made, untuned, watch)
    rankers = simple_rankers(bench, made.folder, untuned)
    theirs = evaluation.Piped(untuned if champion.name == untuned.bundle else bench.of_bundle(champion))
    ours = evaluation.Piped(served)
    rankers |= {CHAMPION: theirs, RANKER: ours}
    results = evaluation.compare(
        rankers,
        some,
        seconds=float(run.settings["minutes"]) * 60 * EVALUATION_SHARE,
        least_cases=least_cases,
        on_case=lambda done, total: _on_case(watch, done, total),
    )
    is_cut = len(results.truths["all"]) < len(some)
    _note(watch, ended_by={**_noted(watch)["ended_by"], "evaluation": CLOCK if is_cut else STEPS})
    figures = evaluation.figures(results, bench.state, bench.split.items, seed=seed)
    rails = guardrails(bench, made, Judged(ours, theirs, results, some), search, seed=seed)
    evidence = Evidence(figures["n_cases"], evaluation.gains(results, seed=seed), rails)
    decision = decide(evidence, least_cases=least_cases)
    instead = None
    if decision.verdict == Run.Verdict.REFUSED and run.settings.get("like") is None:
        instead = served_instead(bench, champion, theirs.served, results, some, folder=made.folder, seed=seed)
    watch.figures.metrics = {
        **figures,
        "champion": CHAMPION,
        "served": instead.name if instead else decision.served,
        "heads": head_figures(made.metrics),
        "encoder": encoder_figures(run.settings, made.metrics),
        "context": context_figures(made.metrics),
        "teacher": teacher_figures(made),
        "search": search,
        "guardrails": as_rows(rails),
        "rolling": rolling(bench.split, seconds=float(run.settings["minutes"]) * 60 * ROLLING_SHARE, seed=seed),
    }
    return made, decision, instead


def _guarded(
    run: Run, bench: Bench, made: Fitted, untuned: Served, watch: Watch
) -> tuple[Fitted, Served, dict[str, Any]]:
    """Where the tuned encoder loses search, train the rest on the untuned one: a bundle has one encoder."""
    at, seed = bench.split.test_start, int(run.settings.get("seed", 0))
    served = bench.served(Ranker.load(made.folder, name=RANKER), made.text_vectors)
    searchers = {"tuned": served, "untuned": untuned, "lexical": Served(served.shelf)}
    search = search_figures(searchers, bench.split.items, at=at, seed=seed)
    search["kept"] = "tuned"
    if search_gain(search) >= -SEARCH_TOLERANCE:
        return made, served, search
    watch.figure("search_mrr_lost_by_fine_tuning", -search_gain(search))
    made = fitted_untuned(bench.split, run.settings, log_path(run.pk).parent / "untuned", watch)
    again = {f"{stage}, untuned": reason for stage, reason in made.ended_by.items()}
    _note(watch, ended_by={**_noted(watch)["ended_by"], **again})
    watch.check()
    watch.stage("evaluation")
    served = bench.served(Ranker.load(made.folder, name=RANKER), made.text_vectors)
    search_again = search_figures({"kept": served, "untuned": untuned}, bench.split.items, at=at, seed=seed)
    kept = {"kept": "untuned", "kept_mrr": search_again["kept"]["mrr"], "interval": search_again["interval"]}
    return made, served, {**search, **kept}


def _on_case(watch: Watch, done: int, total: int) -> None:
    watch.step(done, total)
    if watch.should_stop():
        watch.check()


def publish(dataset: datasets.Dataset, made: Fitted, *, at: float | None = None) -> Bundle:
    """Write the bundle and the vectors that training has made; encode the rest.

    Statistics are of the events that were read, before `at` (default: all of them); the next refresh adds newer ones.
    """
    encoder_hash = json.loads((made.folder / "encoder.json").read_text())["hash"]
    bundle = bundles.write_bundle(made.folder, is_trained=True, encoder_hash=encoder_hash)
    row_of = {item_id: row for row, item_id in enumerate(dataset.items.ids)}
    items = list(bundles.items_without_vector(encoder_hash).only("pk", "item_id", "text", "text_hash"))
    same = [item for item in items if item.text == _text_of(dataset, row_of, item)]
    for start in range(0, len(same), CHUNK_SIZE):
        chunk = same[start : start + CHUNK_SIZE]
        rows = made.text_vectors[[row_of[item.item_id] for item in chunk]]
        vectors.write_vectors(chunk, rows, encoder_hash=encoder_hash)
    vectors.encode_missing(bundle.name)
    moment = dataset.taken_at if at is None else at
    interactions, _ = datasets.clean(dataset.recorded.before(moment), now=moment)
    statistics.write_statistics(dataset.items, build_state(interactions, dataset.items, at=moment))
    return bundle


def _text_of(dataset: datasets.Dataset, row_of: dict[str, int], item: Item) -> str | None:
    row = row_of.get(item.item_id)
    return None if row is None else dataset.items.texts[row]


def _promote(bundle: Bundle, decision: Decision, instead: Simple | None, *, repeats: int | None) -> Ended:
    """Carry the gate's word out. A repetition learns from the data of another day: it is looked at, never served."""
    if repeats is not None and decision.verdict == Run.Verdict.PROMOTED:
        reason = f"Not promoted, because it repeats run {repeats}. Of the model: {decision.reason}"
        decision = Decision(Run.Verdict.REFUSED, reason, decision.served)
    if decision.verdict != Run.Verdict.PROMOTED:
        if instead is not None and repeats is None:
            bundles.promote(instead.bundle)
            return Ended(decision.verdict, f"{decision.reason.removesuffix(STAYS)}{instead.reason}", bundle)
        bundles.prune()
        return Ended(decision.verdict, decision.reason, bundle)
    bundles.promote(bundle)
    return Ended(decision.verdict, decision.reason, bundle)


def _clear(folder: Path) -> None:
    """Leave only the log of a run that has ended."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "log.txt":
            path.unlink()
