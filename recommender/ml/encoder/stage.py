"""An encoder loaded, adapted to the words of the shop, tuned on pairs, on grades and by a teacher: the first stages."""

from __future__ import annotations

from collections.abc import Callable

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
        made = _untuned(data, behaviour, settings)
    made.seconds = seconds
    settings = made.budget.shared(settings)
    if mlm.is_wanted(made.encoder, data.items.texts, settings.adaptation, settings.mask):
        with timed("adaptation", seconds, progress):
            _adapt(made, settings, progress)
    with timed("encoder", seconds, progress):
        _tune(made, behaviour, data.train_end, settings, progress)
        lesson = _lesson(made, data, behaviour, settings)
        _learn_grades(made, data.judgements, lesson, settings, progress)
        _encode(made)
    if lesson and not progress.should_stop():
        with timed("teacher", seconds, progress):
            _teach(made, lesson, settings, progress)
    return made


def search_quality(
    encode: Callable[[list[str]], FloatArray], texts: tuple[str, ...], text_vectors: FloatArray, *, seed: int = 7
) -> float:
    """Return the MRR of up to 500 known-item queries made from titles: the guard that tuning keeps search."""
    queries, rows = known_items(texts, 500, seed=seed)
    scores = encode(queries) @ text_vectors.T
    order = np.argsort(-scores, axis=1)[:, :100]
    alike: dict[str, set[int]] = {}
    for row, text in enumerate(texts):
        alike.setdefault(text, set()).add(row)
    ranks = [reciprocal_rank(found.tolist(), alike[texts[row]]) for found, row in zip(order, rows, strict=True)]
    return float(np.mean(ranks)) if ranks else 0.0


def _untuned(data: TrainingData, behaviour: Interactions, settings: TrainingSettings) -> Artifacts:
    encoder = load_encoder(settings.encoder, data.items.texts, seed=settings.seed)
    blank, budget = np.empty((0, encoder.dimension), np.float32), measured(encoder, settings, data, behaviour)
    return Artifacts(encoder, data.items, blank, budget, base_encoder=fingerprint(encoder))


def _encode(made: Artifacts) -> None:
    """Encode the catalogue, unless it was with these weights: it takes minutes where it is large."""
    if not len(made.text_vectors):
        made.text_vectors = made.encoder.encode(made.items.texts, exact=False)


def _adapt(made: Artifacts, settings: TrainingSettings, progress: Progress) -> None:
    """Stage 0: the words of the shop. Weights that find known items worse than before are taken back."""
    texts, encoder = made.items.texts, made.encoder
    _encode(made)
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    known = search_quality(encoder.encode, texts, made.text_vectors)
    adapted = mlm.adapt(encoder, texts, box_of(settings, progress, share=settings.adaptation_share), settings.mask)
    vectors = encoder.encode(texts, exact=False)
    found = search_quality(encoder.encode, texts, vectors)
    is_kept = found >= known - settings.adaptation_tolerance
    if is_kept:
        made.text_vectors = vectors
    else:
        encoder.model.load_state_dict(before)
    made.metrics |= {f"encoder_{name}": value for name, value in adapted.figures().items()}
    made.metrics |= {"encoder_adaptation_kept": float(is_kept)}
    made.ended_by["adaptation"] = adapted.ended_by
    made.metrics |= {"search_mrr_unadapted": known, "search_mrr_adapted": found}


def _tune(
    made: Artifacts, behaviour: Interactions, train_end: float, settings: TrainingSettings, progress: Progress
) -> None:
    """Stage 1: pairs, by the method of the run; what is too thin, frozen or stopped stays as it is."""
    items, encoder = made.items, made.encoder
    state = build_state(behaviour, items, at=float(behaviour.time[-1]) + 1 if len(behaviour) else train_end)
    pairs = build_pairs(behaviour, items, state)
    if settings.fine_tuning == FineTuning.FROZEN:
        return
    made.ended_by["encoder"] = EVIDENCE
    if len(pairs) < settings.least_pairs or progress.should_stop():
        return
    _encode(made)
    made.metrics["search_mrr_untuned"] = search_quality(encoder.encode, items.texts, made.text_vectors)
    share = settings.tune_share - (settings.adaptation_share if "encoder_adaptation_steps" in made.metrics else 0)
    tuned = adapters.tune(
        encoder,
        pairs,
        box_of(settings, progress, share=share),
        method=settings.fine_tuning,
        settings=settings.tune.of(len(items), encoder.device),
        adapter_settings=settings.adapter,
        base_vectors=made.text_vectors,
    )
    made.adapter = tuned.adapter
    made.ended_by["encoder"] = tuned.ended_by
    made.metrics |= {f"encoder_{name}": value for name, value in tuned.figures().items()}
    made.text_vectors = encoder.encode(items.texts, exact=False)
    made.metrics["search_mrr_tuned"] = search_quality(encoder.encode, items.texts, made.text_vectors)


def _learn_grades(
    made: Artifacts,
    judged: Judgements | None,
    lesson: Lesson | None,
    settings: TrainingSettings,
    progress: Progress,
) -> None:
    """Tune on graded answers, where there are enough, and remember what it was before it saw all of them.

    Before a lesson half as long, for it goes on with the grades, and without the queries that will judge it.
    """
    if judged is None or len(judged) < settings.least_judgements or progress.should_stop():
        return
    box = box_of(settings, progress, share=settings.graded_share / (2 if lesson else 1))
    ended, made.partly = tune_in_two(
        made.encoder, lesson.kept if lesson else judged, made.items.texts, box, settings=settings.graded
    )
    made.metrics["encoder_graded_steps"] = float(ended.n_steps)
    made.ended_by["grades"] = ended.ended_by
    made.text_vectors = made.text_vectors[:0]


def _lesson(made: Artifacts, data: TrainingData, behaviour: Interactions, settings: TrainingSettings) -> Lesson | None:
    """What a teacher is to learn from: judgements, else, where it is asked for, histories. None with a reason."""
    judged = data.judgements
    if settings.teaching == Teaching.ON and not judged:
        judged = pairs_from_histories(behaviour, data.items.texts, seed=settings.seed)
    reason = distillation.why_not(
        settings.teaching,
        n_judged=len(judged or ()),
        least=settings.least_judgements_for_teacher,
        minutes=settings.minutes * settings.teacher_share,
    )
    if not reason and not can_teach(made.encoder):
        reason = f"Fine-tuning {settings.fine_tuning.value} leaves no BERT that could be copied."
    if reason or not judged:
        made.skipped["teacher"] = reason
        return None
    return Lesson.of(judged, seed=settings.seed)


def _teach(made: Artifacts, lesson: Lesson, settings: TrainingSettings, progress: Progress) -> None:
    """Stage 2: a teacher learns, and the encoder from it; what made it worse is taken back."""
    box = box_of(settings, progress, share=settings.teacher_share)
    done = distillation.distil(
        made.encoder,
        lesson,
        made.items.texts,
        box,
        vectors=made.text_vectors,
        settings=settings.teacher,
        graded=settings.graded,
    )
    made.taught = done.taught
    made.metrics |= {f"teacher_{name}": value for name, value in done.figures.items()}
    if done.taught is not None:
        made.text_vectors = made.encoder.encode(made.items.texts, exact=False)
