"""The stages of a run in order, and how each way to end one is written down."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recommender import bundles, datasets, runs, statistics, vectors
from recommender.exceptions import InsufficientData, LeaseLost, RecommenderError
from recommender.head import Head
from recommender.ml import baselines
from recommender.models import Bundle, Item, ItemVector, Run
from recommender.ranking import Ranker
from recommender.retrieval.shelf import build_shelf
from recommender.serving import Served
from recommender.state import State, build_state
from recommender.supervision import log_path
from recommender.training import evaluation
from recommender.training.fitting import Fitted, fitted, head_figures
from recommender.training.gate import CHAMPION, LEAST_CASES, RANKER, Decision, Evidence, decide
from recommender.training.search_guard import search_figures
from recommender.training.split import Split, split_in_time
from recommender.training.watch import RunCancelled, RunInterrupted, Watch
from recommender.types import FloatArray

logger = logging.getLogger(__name__)

LEAST_CASES_TO_TRAIN = 10
"""With fewer test cases a run cannot even be read; it ends before it costs minutes."""

MOST_CASES = 1_500
EVALUATION_SHARE = 0.15
"""Share of the time box after which no new test case begins."""

CHUNK_SIZE = 500


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended well."""

    verdict: Run.Verdict
    reason: str
    bundle: Bundle | None = None


def run(run_id: int, token: int, *, watch: Watch | None = None) -> None:
    """Carry a leased run to its end and write down which; only a database that fails raises."""
    with watch or Watch(run_id, token) as watch:
        end = _ending(run_id, watch)
    folder = log_path(run_id).parent
    try:
        end(watch)
    except LeaseLost as error:
        logger.warning("%s", error)
        return
    if Run.objects.filter(pk=run_id).exclude(state=Run.State.QUEUED).exists():
        _clear(folder)


def _ending(run_id: int, watch: Watch) -> Any:
    """Train; return what is to be written down once the heartbeat has stopped."""
    try:
        ended = _train(Run.objects.get(pk=run_id), watch)
        return lambda w: _finish(w, Run.State.SUCCEEDED, ended.reason, ended.verdict, ended.bundle)
    except InsufficientData as error:
        reason = str(error)
        return lambda w: _finish(w, Run.State.SUCCEEDED, reason, Run.Verdict.INSUFFICIENT)
    except RunCancelled:
        reason = Run.objects.values_list("reason", flat=True).get(pk=run_id) or "Cancelled."
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
    dataset = _dataset(folder)
    split = split_in_time(dataset)
    watch.figures.report = datasets.summary(split.whole, split.items, split.report)
    watch.check()
    seed = int(run.settings.get("seed", 0))
    some = evaluation.cases(split, most=MOST_CASES, seed=seed)
    if len(some) < LEAST_CASES_TO_TRAIN or not len(split.past):
        raise InsufficientData(
            f"Insufficient data: {len(some)} visitors came back in the test window, at least {LEAST_CASES_TO_TRAIN} "
            f"are needed to train and {LEAST_CASES} to promote. Search and lists keep serving as they are."
        )
    made = fitted(split, run.settings, folder, watch)
    watch.check()
    decision = _judge(run, dataset, split, made, some, watch)
    watch.check()
    watch.stage("publication")
    bundle = _publish(dataset, made)
    return _promote(bundle, decision)


def _dataset(folder: Path) -> datasets.Dataset:
    found = datasets.load(folder)
    if found is None:
        found = datasets.read_dataset()
        datasets.save(found, folder)
    return found


def _judge(
    run: Run,
    dataset: datasets.Dataset,
    split: Split,
    made: Fitted,
    some: list[evaluation.Case],
    watch: Watch,
) -> Decision:
    """Compare with every competitor on lists, guard search, decide."""
    watch.stage("evaluation")
    seed, minutes = int(run.settings.get("seed", 0)), float(run.settings["minutes"])
    least_cases = int(run.settings.get("least_cases", LEAST_CASES))
    state = build_state(split.past, split.items, at=split.test_start)
    bench = Bench(dataset, split, state)
    ranker = Ranker.load(made.folder, name=RANKER)
    served = bench.served(ranker, made.text_vectors)
    champion = bundles.ensure_untrained()
    untuned = bench.of_bundle(bundles.untrained())
    rankers = _competitors(bench, made, untuned)
    rankers[CHAMPION] = evaluation.piped(untuned if champion.name == untuned.bundle else bench.of_bundle(champion))
    rankers[RANKER] = evaluation.piped(served)
    results = evaluation.compare(
        rankers,
        some,
        seconds=minutes * 60 * EVALUATION_SHARE,
        least_cases=least_cases,
        on_case=lambda done, total: _on_case(watch, done, total),
    )
    figures = evaluation.figures(results, state, split.items, seed=seed)
    searchers = {"tuned": served, "untuned": untuned, "lexical": Served(served.shelf)}
    search = search_figures(searchers, split.items, at=split.test_start, seed=seed)
    search["kept"] = "tuned" if made.metrics.get("search_kept_tuned", 1.0) else "untuned"
    gain = search["tuned"]["mrr"] - search["untuned"]["mrr"]
    evidence = Evidence(figures["n_cases"], evaluation.gains(results, seed=seed), search_gain=gain)
    decision = decide(evidence, least_cases=least_cases)
    watch.figures.metrics = {
        **figures,
        "champion": CHAMPION,
        "served": decision.served,
        "heads": head_figures(made.metrics),
        "search": search,
    }
    return decision


def _on_case(watch: Watch, done: int, total: int) -> None:
    watch.step(done, total)
    if watch.should_stop():
        watch.check()


def _competitors(bench: Bench, made: Fitted, untuned: Served) -> dict[str, evaluation.ListMaker]:
    scorers: dict[str, baselines.Scorer] = {
        "random": baselines.random_order(),
        "popularity": baselines.popularity(),
        "own_frequency": baselines.own_frequency,
        "item_knn": baselines.item_knn,
        "lexical": baselines.lexical(bench.split.items.texts),
    }
    if untuned.shelf.vectors is not None:
        scorers["untuned_encoder"] = baselines.mean_vector(untuned.shelf.vectors)
    baseline = made.folder / "baseline.json"
    if baseline.is_file():
        scorers["linear_baseline"] = baselines.headed(Head.from_json(baseline.read_text()))
    return {name: evaluation.scored(score, bench.state, bench.split.items) for name, score in scorers.items()}


@dataclass(frozen=True, slots=True)
class Bench:
    """The shop as it was at the start of the test: every ranker answers from the same state."""

    dataset: datasets.Dataset
    split: Split
    state: State

    def served(self, ranker: Ranker, text_vectors: FloatArray) -> Served:
        """A ranker beside the shelf of that moment."""
        shelf = build_shelf(
            self.split.items,
            titles=self.dataset.titles,
            state=self.state,
            vectors=ranker.item_vectors(text_vectors, self.split.items.ids),
            encoder_hash=ranker.encoder_hash,
        )
        return Served(shelf, ranker, ranker.name)

    def of_bundle(self, bundle: Bundle) -> Served:
        """A bundle that exists, with the vectors that it serves from; what has none yet is encoded here."""
        ranker = vectors.load_ranker(bundle.name)
        items = self.split.items
        stored = ItemVector.objects.filter(encoder_hash=bundle.encoder_hash).values_list("item__item_id", "vector")
        known = {item_id: np.frombuffer(vector, "<f4") for item_id, vector in stored.iterator(chunk_size=2_000)}
        missing = [row for row, item_id in enumerate(items.ids) if item_id not in known]
        encoded = dict(zip(missing, ranker.encode([items.texts[row] for row in missing]), strict=True))
        rows = [encoded[row] if row in encoded else known[item_id] for row, item_id in enumerate(items.ids)]
        return self.served(ranker, np.stack(rows).astype(np.float32))


def _publish(dataset: datasets.Dataset, made: Fitted) -> Bundle:
    """Write the bundle and the vectors that training has made already; encode the rest."""
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
    statistics.refresh_statistics()
    return bundle


def _text_of(dataset: datasets.Dataset, row_of: dict[str, int], item: Item) -> str | None:
    row = row_of.get(item.item_id)
    return None if row is None else dataset.items.texts[row]


def _promote(bundle: Bundle, decision: Decision) -> Ended:
    if decision.verdict != Run.Verdict.PROMOTED:
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
