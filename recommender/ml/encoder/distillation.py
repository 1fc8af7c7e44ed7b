"""Stage 2: trains a teacher on graded pairs, lets it grade pairs that nobody judged, and tunes the encoder on both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from recommender.ml.encoder.graded import GradedSettings, Taught, tune_on_grades
from recommender.ml.encoder.model import Encoder
from recommender.ml.encoder.pairs import synthetic_query
from recommender.ml.encoder.teacher import Teacher, TeacherSettings, ordered, train_teacher
from recommender.ml.loop import Box
from recommender.ml.rivals.baselines import tf_idf
from recommender.tables import Judgements
from recommender.types import FloatArray, IntArray, Teaching

NAME = "distilled"
HELD_OUT_SHARE = 0.1
MOST_HELD_OUT = 300
"""Queries held out from the training of both teacher and encoder, to measure them."""

LEAST_MINUTES = 8.0
"""Shortest stage: on two cores, a teacher trained for less time is no better than the encoder it should teach."""

CHUNK_QUERIES = 16
LEXICAL_SHARE, RANDOM_SHARE = 0.4, 0.15
"""Shares of the items that the teacher grades; the rest are the nearest to the query by the encoder."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """The judgements to learn from, and those of other queries, held out to measure. Both share one tuple `queries`."""

    learned: Judgements
    held_out: Judgements

    @classmethod
    def of(cls, judged: Judgements, *, seed: int) -> Lesson:
        """Hold out a tenth of the queries, `MOST_HELD_OUT` at most."""
        judged_queries = np.unique(judged.query)
        n_held_out = min(max(round(len(judged_queries) * HELD_OUT_SHARE), 1), MOST_HELD_OUT)
        is_held_out = np.zeros(len(judged.queries), bool)
        is_held_out[np.random.default_rng((seed, 6)).permutation(judged_queries)[:n_held_out]] = True
        return cls(judged.of_queries(~is_held_out), judged.of_queries(is_held_out))


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """The texts of the catalogue and what the encoder makes of them: vectors (n_items, d)."""

    encoder: Encoder
    texts: Sequence[str]
    vectors: FloatArray


@dataclass(frozen=True, slots=True)
class Distilled:
    """`taught` is None if the stage was stopped, or if the encoder became worse and was restored."""

    taught: Taught | None
    figures: dict[str, float] = field(default_factory=dict)


def why_not(teaching: Teaching, *, n_judged: int, least: int, minutes: float) -> str:
    """Return why no teacher is trained, or "" if one is. minutes: of the stage."""
    if teaching == Teaching.OFF:
        return "TEACHER is off."
    if teaching == Teaching.ON:
        return "" if n_judged else "There is neither a judgement nor an order with a past to learn from."
    if n_judged < least:
        return f"{n_judged} judgements, at least {least} are needed."
    if minutes < LEAST_MINUTES:
        return f"The stage would have {minutes:.1f} minutes, at least {LEAST_MINUTES:g} are needed."
    return ""


def distil(
    encoder: Encoder,
    lesson: Lesson,
    texts: Sequence[str],
    box: Box,
    *,
    vectors: FloatArray,
    settings: TeacherSettings,
    graded: GradedSettings,
) -> Distilled:
    """Train a teacher, ask it, tune the encoder in place on grades and on its answers, within `box.minutes`.

    vectors (n_items, d): the encoder's vectors of `texts`, which choose the items that the teacher grades.
    The encoder is restored if it orders the held-out pairs worse than before, or if the tuning was stopped.
    """
    part = (1 - settings.learning_share) / 3
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    figures = {"student_accuracy_before": student_accuracy(encoder, lesson.held_out, texts)}
    schooled = train_teacher(
        encoder, lesson.learned, texts, replace(box, minutes=box.minutes * settings.learning_share),
        held_out=lesson.held_out, settings=settings,
    )  # fmt: skip
    figures |= {"accuracy": schooled.accuracy, "steps": float(schooled.n_steps)}
    if box.progress.should_stop():
        return Distilled(None, figures)
    limits = replace(box, minutes=box.minutes * part)
    catalogue = EncodedTexts(encoder, texts, vectors)
    taught = grade_unjudged(schooled.teacher, catalogue, lesson.learned, limits, settings=settings)
    figures["pairs"] = float(len(taught))
    limits = replace(box, minutes=box.minutes * 2 * part)
    tune_on_grades(encoder, lesson.learned, texts, limits, settings=graded, name=NAME, taught=taught)
    figures["student_accuracy"] = student_accuracy(encoder, lesson.held_out, texts)
    is_kept = not box.progress.should_stop() and figures["student_accuracy"] >= figures["student_accuracy_before"]
    if not is_kept:
        encoder.model.load_state_dict(before)
    return Distilled(taught if is_kept else None, figures | {"kept": float(is_kept)})


def student_accuracy(encoder: Encoder, judged: Judgements, texts: Sequence[str]) -> float:
    """Return the share of pairs of one query that the encoder's vectors order as people did."""
    queries, query = np.unique(judged.query, return_inverse=True)
    items, item = np.unique(judged.item, return_inverse=True)
    if not len(queries):
        return float("nan")
    query_vectors = encoder.encode([judged.queries[row] for row in queries])
    item_vectors = encoder.encode([texts[row] for row in items])
    return ordered(judged, np.einsum("nd,nd->n", query_vectors[query], item_vectors[item]))


def grade_unjudged(
    teacher: Teacher, catalogue: EncodedTexts, judged: Judgements, box: Box, *, settings: TeacherSettings
) -> Taught:
    """Let the teacher grade items that nobody judged, for real and synthetic queries in mixed order, for `box.minutes`.

    The items of a query: the best by words, the nearest to the encoder, and a few of the catalogue at random.
    """
    started, generator = time.monotonic(), np.random.default_rng((box.seed, 7))
    texts = catalogue.texts
    queries, order = _queries(judged, texts, settings.synthetic, generator)
    finder = _Finder(catalogue, [queries[row] for row in order.tolist()], settings.items_per_query, generator)
    judged_pairs = {(int(row), int(item)) for row, item in zip(judged.query, judged.item, strict=True)}
    query, item, score = [], [], []
    for start in range(0, len(order), CHUNK_QUERIES):
        if box.progress.should_stop() or (start and time.monotonic() - started >= box.minutes * 60):
            break
        rows = order[start : start + CHUNK_QUERIES]
        candidates = finder.items(start, start + len(rows))
        pairs = [(int(row), one) for row, some in zip(rows, candidates, strict=True) for one in some]
        pairs = [pair for pair in pairs if pair not in judged_pairs]
        query += [row for row, _ in pairs]
        item += [one for _, one in pairs]
        score.append(teacher.score([queries[row] for row, _ in pairs], [texts[one] for _, one in pairs]))
    return Taught(
        queries, len(judged.queries), np.asarray(query, np.int32), np.asarray(item, np.int32),
        np.concatenate(score) if score else np.empty(0, np.float32),
    )  # fmt: skip


def _queries(
    judged: Judgements, texts: Sequence[str], n_synthetic_each: float, generator: np.random.Generator
) -> tuple[tuple[str, ...], IntArray]:
    """Return the judged queries followed by synthetic ones, and the rows of those to grade in random order."""
    real = np.unique(judged.query)
    rows = generator.integers(0, len(texts), round(len(real) * n_synthetic_each))
    queries = (*judged.queries, *(synthetic_query(texts[row], generator) for row in rows))
    return queries, generator.permutation(np.concatenate([real, np.arange(len(judged.queries), len(queries))]))


class _Finder:
    """Items for queries, by words and by meaning."""

    def __init__(self, catalogue: EncodedTexts, queries: list[str], most: int, generator: np.random.Generator) -> None:
        self.catalogue, self.queries, self.most, self.generator = catalogue, queries, most, generator
        words = tf_idf([*catalogue.texts, *queries])
        n_items = len(catalogue.texts)
        self.item_words, self.query_words = words[:n_items], words[n_items:]

    def items(self, start: int, stop: int) -> list[list[int]]:
        """Return the distinct items for the queries at the places start to stop."""
        by_words = np.asarray((self.query_words[start:stop] @ self.item_words.T).todense(), np.float32)
        by_meaning = self.catalogue.encoder.encode(self.queries[start:stop]) @ self.catalogue.vectors.T
        n_items = by_words.shape[1]
        n_words, n_random = round(self.most * LEXICAL_SHARE), max(round(self.most * RANDOM_SHARE), 1)
        candidates = []
        for words, meaning in zip(by_words, by_meaning, strict=True):
            best = _best(words, n_words)
            near = _best(meaning, self.most - n_words - n_random)
            drawn = self.generator.integers(0, n_items, n_random)
            candidates.append(list(dict.fromkeys(np.concatenate([best[words[best] > 0], near, drawn]).tolist())))
        return candidates


def _best(scores: FloatArray, k: int) -> IntArray:
    k = min(k, len(scores))
    places = np.argpartition(-scores, k - 1)[:k] if k else np.empty(0, np.int64)
    return places[np.argsort(-scores[places], kind="stable")].astype(np.int32)
