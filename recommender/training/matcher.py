"""Judged queries and a folder with an encoder in, trees that grade the items of a search out, beside the encoder."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.ml import trees
from recommender.ml.encoder import Encoder
from recommender.ml.graded import Taught, tune_on_grades
from recommender.ml.loop import Ended
from recommender.ml.plan import Progress, TrainingSettings, box_of
from recommender.ml.trees import TreeSettings
from recommender.ranking import MATCHER
from recommender.retrieval.matching import ABOUT, MATCH_FEATURES, N_BEST, match_features
from recommender.retrieval.shelf import Shelf
from recommender.types import FloatArray, IntArray, Judgements

N_FOLDS = 2
N_DISTRACTORS, N_POOL = 8, 2_000
"""Items of the catalogue drawn at random beside the judged ones of each query: what no answer looks like. All come from
one sample, for each has to be encoded."""

DISTRACTOR_GRADE = -0.15
"""Below the worst grade that a person gives: who judged saw only items that some search had found."""

RISING = (
    "words_matched", "words_share", "title_share", "pairs_matched", "numbers_matched", "letters", "letters_matched",
    "letters_only", "word_cosine", "bm25", "lexical", "meaning", "like_best", *ABOUT,
)  # fmt: skip
"""More of these never makes an answer worse: what a few thousand grades say otherwise is noise, which another shop's
titles would not share (monotone constraints)."""

TREES = TreeSettings(n_trees=300, learning_rate=0.05, n_leaves=15, least_in_leaf=100, l2=20.0)
LEAST_QUERIES = 100
N_FORESTS = 2
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Matched:
    """Figures of the trees by name, and what ended each stage; both empty where nothing was written."""

    figures: Mapping[str, float] = field(default_factory=dict)
    ended_by: Mapping[str, str] = field(default_factory=dict)


def fit_matcher(
    judged: Judgements,
    shelf: Shelf,
    encoder: Encoder,
    texts: tuple[str, ...],
    folder: Path,
    *,
    before: Mapping[str, Any] | None,
    taught: Taught | None = None,
    most_texts: int = 2**62,
    settings: TrainingSettings,
    progress: Progress,
) -> Matched:
    """Write matcher.onnx and matcher.json to `folder`; nothing below `LEAST_QUERIES` queries.

    The trees must see the encoder's opinion of queries that it was not tuned on, or they would trust it too much: so
    each half of the queries is described by an encoder that was tuned on the other half (stacking: Wolpert 1992).
    before: the encoder's weights before it saw any judgement, None where it never saw one.
    taught: what a teacher told the encoder, which is told to each half as far as it is of its queries.
    most_texts: that may be encoded to describe one half; the queries beyond are left out.
    """
    plan = _Plan.of(judged, len(texts), seed=settings.seed)
    if plan is None:
        return Matched()
    rows = np.zeros((len(plan.query), len(MATCH_FEATURES)), np.float32)
    is_told = np.zeros(len(plan.query), bool)
    fold_of = np.random.default_rng(settings.seed).integers(0, N_FOLDS, len(judged.queries))
    ended_by: dict[str, str] = {}
    for fold in range(N_FOLDS):
        reader, ended = _tuned_without(
            fold_of == fold, judged, encoder, texts, before, taught, settings, progress, fold=fold
        )
        here = np.flatnonzero(fold_of[plan.query] == fold)
        told, fit = _described(judged.queries, plan.query[here], plan.item[here], shelf, reader, texts, most=most_texts)
        rows[here[fit]], is_told[here[fit]] = told, True
        ended_by |= {f"search, part {fold + 1}": ended.ended_by} if ended else {}
        if progress.should_stop():
            return Matched(ended_by=ended_by)
    rising = [MATCH_FEATURES.index(name) for name in RISING]
    grown = [replace(TREES, seed=settings.seed + number) for number in range(N_FORESTS)]
    rows, target = rows[is_told], plan.target[is_told]
    boosters = [trees.grow(rows, target, settings=one, rising=rising) for one in grown]
    _write(boosters, folder, rows)
    missed = trees.predict(boosters, rows) - target
    figures = {"matcher_rows": float(len(rows)), "matcher_error": float(np.sqrt(np.mean(missed**2)))}
    return Matched(figures, ended_by)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the trees learn from: query, item (n,) int32 and target (n,) float32, grouped by query."""

    query: IntArray
    item: IntArray
    target: FloatArray

    @classmethod
    def of(cls, judged: Judgements, n_items: int, *, seed: int) -> _Plan | None:
        asked = np.unique(judged.query)
        if len(asked) < LEAST_QUERIES:
            return None
        generator = np.random.default_rng((seed, 1))
        query = np.concatenate([judged.query, np.repeat(asked, N_DISTRACTORS)])
        pool = generator.permutation(n_items)[:N_POOL]
        item = np.concatenate([judged.item, generator.choice(pool, len(asked) * N_DISTRACTORS)])
        target = np.concatenate([judged.grade, np.full(len(asked) * N_DISTRACTORS, DISTRACTOR_GRADE)])
        order = np.argsort(query, kind="stable")
        return cls(query[order].astype(np.int32), item[order].astype(np.int32), target[order].astype(np.float32))


def _tuned_without(
    left_out: npt.NDArray[np.bool_],
    judged: Judgements,
    encoder: Encoder,
    texts: tuple[str, ...],
    before: Mapping[str, Any] | None,
    taught: Taught | None,
    settings: TrainingSettings,
    progress: Progress,
    *,
    fold: int,
) -> tuple[Encoder, Ended | None]:
    """An encoder tuned as the served one was, on the other queries only; and what ended that, None without tuning."""
    if before is None:
        return encoder, None
    reader = Encoder(encoder.name, copy.deepcopy(encoder.model), encoder.tokenizer)
    reader.model.load_state_dict(dict(before))
    ended = tune_on_grades(
        reader,
        judged.of_queries(~left_out),
        texts,
        box_of(settings, progress, share=settings.fold_share),
        settings=settings.graded,
        name=f"graded-without-{fold}",
        taught=None if taught is None else taught.of_queries(~left_out),
    )
    return reader, ended


def _described(
    queries: tuple[str, ...],
    query: IntArray,
    item: IntArray,
    shelf: Shelf,
    reader: Encoder,
    texts: tuple[str, ...],
    *,
    most: int,
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return (n, n_features) by the function that a search calls, each query's rows, and which (n_rows,) these are.

    Queries are left out at random once more than `most` texts would have to be encoded.
    """
    asked, start = np.unique(query, return_index=True)
    stop = np.append(start[1:], len(query))
    hits = [shelf.lexical.search(queries[place], N_BEST) for place in asked.tolist()]
    needed, is_told = np.zeros(len(texts), bool), np.zeros(len(asked), bool)
    for place in np.random.default_rng(len(asked)).permutation(len(asked)):
        if needed.sum() >= most:
            break
        needed[item[start[place] : stop[place]]] = needed[hits[place].rows] = is_told[place] = True
    fit = np.repeat(is_told, stop - start)
    asked, start, stop = asked[is_told], start[is_told], stop[is_told]
    hits = [hit for hit, told in zip(hits, is_told, strict=True) if told]
    vectors = np.zeros((len(texts), reader.dimension), np.float32)
    vectors[needed] = reader.encode([texts[row] for row in np.flatnonzero(needed)], exact=False)
    spoken = reader.encode([" ".join(queries[place].casefold().split()) for place in asked])
    seen = replace(shelf, vectors=vectors)
    parts = [
        match_features(
            queries[place], item[first:last], seen, hits=hit, vector=vector, intent=shelf.understand(queries[place])
        )
        for place, first, last, hit, vector in zip(asked.tolist(), start, stop, hits, spoken, strict=True)
    ]
    return np.concatenate(parts), fit


def _write(boosters: list[object], folder: Path, rows: FloatArray) -> None:
    trees.export(boosters, folder / MATCHER, n_features=len(MATCH_FEATURES), sample=rows[:2000])
    record = {
        "format": FORMAT,
        "names": list(MATCH_FEATURES),
        "n_forests": len(boosters),
        "importance": trees.importance(boosters, MATCH_FEATURES),
    }
    (folder / "matcher.json").write_text(json.dumps(record))
