"""The stages that make the encoder: load, adapt to the shop's words, tune on pairs, on grades and by a teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from recommender.features.shop_state import build_state
from recommender.ml.artifacts import Artifacts
from recommender.ml.budget import measured
from recommender.ml.encoder import adapters, distillation, mlm
from recommender.ml.encoder.distillation import Lesson
from recommender.ml.encoder.graded import tune_in_two
from recommender.ml.encoder.model import fingerprint, load_encoder
from recommender.ml.encoder.pairs import build_pairs, known_items
from recommender.ml.encoder.teacher import can_teach, pairs_from_histories
from recommender.ml.metrics import reciprocal_rank
from recommender.ml.pace import EVIDENCE
from recommender.ml.plan import TrainingData, TrainingSettings, box_of, timed
from recommender.ml.progress import Progress
from recommender.tables import Interactions, Judgements
from recommender.types import FineTuning, FloatArray, Teaching


def fit_encoder(
    data: TrainingData, behaviour: Interactions, settings: TrainingSettings, progress: Progress
) -> Artifacts:
    """Load the encoder, adapt it to the shop's words, tune it on the pairs of `behaviour` and on judgements."""
    seconds: dict[str, float] = {}
    with timed("encoder", seconds, progress):
        artifacts = _untuned(data, behaviour, settings)
    artifacts.seconds = seconds
    settings = artifacts.budget.shared(settings)
    if artifacts.budget.times_for_tuning:
        artifacts.metrics["encoder_times_for_tuning"] = artifacts.budget.times_for_tuning
    if mlm.is_wanted(artifacts.encoder, data.items.texts, settings.adaptation, settings.mask):
        with timed("adaptation", seconds, progress):
            _adapt(artifacts, settings, progress)
    with timed("encoder", seconds, progress):
        _tune(artifacts, behaviour, data.train_end, settings, progress)
        lesson = _lesson(artifacts, data, behaviour, settings)
        _learn_grades(artifacts, data.judgements, lesson, settings, progress)
        _encode(artifacts)
    if lesson and not progress.should_stop():
        with timed("teacher", seconds, progress):
            _teach(artifacts, lesson, settings, progress)
    return artifacts


def search_quality(
    encode: Callable[[list[str]], FloatArray], texts: Sequence[str], text_vectors: FloatArray, *, seed: int = 7
) -> float:
    """Return the MRR of up to 500 synthetic queries made from titles, to notice a tuning that harms search."""
    queries, rows = known_items(texts, 500, seed=seed)
    scores = encode(queries) @ text_vectors.T
    order = np.argsort(-scores, axis=1)[:, :100]
    alike: dict[str, set[int]] = {}
    for row, text in enumerate(texts):
        alike.setdefault(text, set()).add(row)
    ranks = [reciprocal_rank(ranking.tolist(), alike[texts[row]]) for ranking, row in zip(order, rows, strict=True)]
    return float(np.mean(ranks)) if ranks else 0.0


def _untuned(data: TrainingData, behaviour: Interactions, settings: TrainingSettings) -> Artifacts:
    encoder = load_encoder(settings.encoder, data.items.texts, seed=settings.seed)
    blank, budget = np.empty((0, encoder.dimension), np.float32), measured(encoder, settings, data, behaviour)
    return Artifacts(encoder, data.items, blank, budget, base_encoder=fingerprint(encoder))


def _encode(artifacts: Artifacts) -> None:
    """Encode the catalogue, which takes minutes if it is large, unless these weights already did."""
    if not len(artifacts.text_vectors):
        artifacts.text_vectors = artifacts.encoder.encode(artifacts.items.texts, exact=False)


def _adapt(artifacts: Artifacts, settings: TrainingSettings, progress: Progress) -> None:
    """Stage 0: adapt to the words of the shop. Restore the weights if they then find known items worse."""
    texts, encoder = artifacts.items.texts, artifacts.encoder
    _encode(artifacts)
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    mrr_before = search_quality(encoder.encode, texts, artifacts.text_vectors)
    adapted = mlm.adapt(encoder, texts, box_of(settings, progress, share=settings.adaptation_share), settings.mask)
    vectors = encoder.encode(texts, exact=False)
    mrr_after = search_quality(encoder.encode, texts, vectors)
    is_kept = mrr_after >= mrr_before - settings.adaptation_tolerance
    if is_kept:
        artifacts.text_vectors = vectors
    else:
        encoder.model.load_state_dict(before)
    artifacts.metrics |= {f"encoder_{name}": value for name, value in adapted.figures().items()}
    artifacts.metrics |= {"encoder_adaptation_kept": float(is_kept)}
    artifacts.ended_by["adaptation"] = adapted.ended_by
    artifacts.metrics |= {"search_mrr_unadapted": mrr_before, "search_mrr_adapted": mrr_after}


def _tune(
    artifacts: Artifacts, behaviour: Interactions, train_end: float, settings: TrainingSettings, progress: Progress
) -> None:
    """Stage 1: tune on pairs by the method of the run, unless there are too few, or it is frozen or stopped."""
    if settings.fine_tuning == FineTuning.FROZEN:
        return
    items, encoder = artifacts.items, artifacts.encoder
    state = build_state(behaviour, items, at=float(behaviour.time[-1]) + 1 if len(behaviour) else train_end)
    pairs = build_pairs(behaviour, items, state)
    artifacts.ended_by["encoder"] = EVIDENCE
    if len(pairs) < settings.least_pairs or progress.should_stop():
        return
    _encode(artifacts)
    artifacts.metrics["search_mrr_untuned"] = search_quality(encoder.encode, items.texts, artifacts.text_vectors)
    share = settings.tune_share - (settings.adaptation_share if "encoder_adaptation_steps" in artifacts.metrics else 0)
    tuned = adapters.tune(
        encoder,
        pairs,
        box_of(settings, progress, share=share),
        method=settings.fine_tuning,
        settings=settings.tune.of(len(items), encoder.device),
        adapter_settings=settings.adapter,
        base_vectors=artifacts.text_vectors,
    )
    artifacts.adapter = tuned.adapter
    artifacts.ended_by["encoder"] = tuned.ended_by
    artifacts.metrics |= {f"encoder_{name}": value for name, value in tuned.figures().items()}
    artifacts.text_vectors = encoder.encode(items.texts, exact=False)
    artifacts.metrics["search_mrr_tuned"] = search_quality(encoder.encode, items.texts, artifacts.text_vectors)


def _learn_grades(
    artifacts: Artifacts,
    judged: Judgements | None,
    lesson: Lesson | None,
    settings: TrainingSettings,
    progress: Progress,
) -> None:
    """Tune on graded answers, if there are enough, and keep the weights from before all of them were seen.

    If a teacher follows, this takes half the time, because that stage continues on the same grades, and leaves out the
    queries that will measure it.
    """
    if judged is None or len(judged) < settings.least_judgements or progress.should_stop():
        return
    box = box_of(settings, progress, share=settings.graded_share / (2 if lesson else 1))
    ended, artifacts.partly = tune_in_two(
        artifacts.encoder, lesson.learned if lesson else judged, artifacts.items.texts, box, settings=settings.graded
    )
    artifacts.metrics["encoder_graded_steps"] = float(ended.n_steps)
    artifacts.ended_by["grades"] = ended.ended_by
    artifacts.text_vectors = artifacts.text_vectors[:0]


def _lesson(
    artifacts: Artifacts, data: TrainingData, behaviour: Interactions, settings: TrainingSettings
) -> Lesson | None:
    """Return what a teacher learns from: judgements or, if required, histories. None if there is to be no teacher."""
    judged = data.judgements
    if settings.teaching == Teaching.ON and not judged:
        judged = pairs_from_histories(behaviour, data.items.texts, seed=settings.seed)
    reason = distillation.why_not(
        settings.teaching,
        n_judged=len(judged or ()),
        least=settings.least_judgements_for_teacher,
        minutes=settings.minutes * settings.teacher_share,
    )
    if not reason and not can_teach(artifacts.encoder):
        reason = f"Fine-tuning {settings.fine_tuning.value} leaves no BERT that could be copied."
    if reason or not judged:
        artifacts.skipped["teacher"] = reason
        return None
    return Lesson.of(judged, seed=settings.seed)


def _teach(artifacts: Artifacts, lesson: Lesson, settings: TrainingSettings, progress: Progress) -> None:
    """Stage 2: train a teacher and tune the encoder on its grades; restore the encoder if it became worse."""
    box = box_of(settings, progress, share=settings.teacher_share)
    done = distillation.distil(
        artifacts.encoder,
        lesson,
        artifacts.items.texts,
        box,
        vectors=artifacts.text_vectors,
        settings=settings.teacher,
        graded=settings.graded,
    )
    artifacts.taught = done.taught
    artifacts.metrics |= {f"teacher_{name}": value for name, value in done.figures.items()}
    if done.taught is not None:
        artifacts.text_vectors = artifacts.encoder.encode(artifacts.items.texts, exact=False)
