"""Judged queries and a folder with an encoder in, trees that grade the items of a search out, beside the encoder."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recommender.ml.encoder.graded import Partly
from recommender.ml.encoder.model import Encoder
from recommender.ml.head import trees
from recommender.ml.head.trees import TreeSettings
from recommender.ml.progress import UNWATCHED, Progress
from recommender.retrieval.lexical.index import LexicalHits
from recommender.retrieval.matching import ABOUT, MATCH_FEATURES, N_BEST, match_features
from recommender.retrieval.vector import nearest
from recommender.serving.bundle_parts import MATCHER
from recommender.serving.shelf import Shelf
from recommender.tables import Judgements
from recommender.text.query import encoder_text
from recommender.types import FloatArray, IntArray

N_DISTRACTORS, N_POOL = 8, 2_000
"""Items of the catalogue drawn at random beside the judged ones of each query: what no answer looks like. All come from
one sample, for each has to be encoded."""

DISTRACTOR_GRADE = -0.15
"""Below the worst grade that a person gives: who judged saw only items that some search had found."""

N_NEAR, N_NEAR_HITS, NEAR_GRADE = 8, 200, 0.1
"""Items that nobody judged beside each query, of those that words or meaning find, and what they count as: who chose
what to judge passed them over. On a fifth of the graded queries of a hardware shop, four parts in turn: recall@10 /
@100 in the whole catalogue .559 / .866 with them, .546 / .855 without; pairs .6152, .6131; NDCG@10 .8713, .8694."""

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
class Judged:
    """Rows of the trees: query (n,) in `Judgements.queries`, ascending, item (n,) and what the grade is to be (n,)."""

    query: IntArray
    item: IntArray
    target: FloatArray


def fit_matcher(
    judged: Judgements,
    shelf: Shelf,
    encoder: Encoder,
    folder: Path,
    *,
    vectors: FloatArray,
    partly: Partly | None = None,
    most_texts: int = 2**62,
    seed: int = 0,
    progress: Progress = UNWATCHED,
) -> dict[str, float]:
    """Write matcher.onnx and matcher.json to `folder` and return figures; nothing below `LEAST_QUERIES` queries.

    vectors (n_items, d): of the encoder. partly: what the encoder was before it saw the grades of some queries; only of
    these the trees learn, or they would trust its opinion too much. None where it saw no grade at all.
    most_texts: that may be encoded to describe the queries; those beyond are left out.
    """
    asked = np.unique(judged.query)
    if len(asked) < LEAST_QUERIES:
        return {}
    if partly is not None:
        asked = asked[partly.unseen[asked]]
    hits = {query: shelf.lexical.search(judged.queries[query], N_NEAR_HITS) for query in asked.tolist()}
    told = _told(judged, hits, encoder, vectors, seed=seed)
    reader = encoder
    if partly is not None:
        reader = Encoder(encoder.name, copy.deepcopy(encoder.model), encoder.tokenizer)
        reader.model.load_state_dict(partly.weights)
    rows, fit = _described(judged.queries, told, hits, shelf, reader, most=most_texts)
    if progress.should_stop():
        return {}
    target = told.target[fit]
    rising = [MATCH_FEATURES.index(name) for name in RISING]
    grown = [replace(TREES, seed=seed + number) for number in range(N_FORESTS)]
    boosters = [trees.grow(rows, target, settings=one, rising=rising) for one in grown]
    _write(boosters, folder, rows)
    missed = trees.predict(boosters, rows) - target
    n_queries = len(np.unique(told.query[fit]))
    return {
        "matcher_queries": float(n_queries),
        "matcher_rows": float(len(rows)),
        "matcher_error": float(np.sqrt(np.mean(missed**2))),
    }


def _told(
    judged: Judgements, hits: Mapping[int, LexicalHits], encoder: Encoder, vectors: FloatArray, *, seed: int
) -> Judged:
    """The judged items of the queries of `hits`, and items that nobody judged: some at random, some near."""
    generator, n_items = np.random.default_rng((seed, 1)), len(vectors)
    pool = generator.permutation(n_items)[:N_POOL]
    asked = list(hits)
    spoken = encoder.encode([encoder_text(judged.queries[query]) for query in asked])
    everything = np.ones(n_items, bool)
    query, item, target = [], [], []
    order = np.argsort(judged.query, kind="stable")
    first, last = (np.searchsorted(judged.query[order], asked, side=side) for side in ("left", "right"))
    for place, vector, start, stop in zip(asked, spoken, first, last, strict=True):
        own = order[start:stop]
        near = nearest(vectors, vector, limit=N_NEAR_HITS, allowed=everything).rows
        others = np.setdiff1d(np.union1d(hits[place].rows, near), judged.item[own])
        parts = (
            (judged.item[own], judged.grade[own]),
            (generator.choice(pool, N_DISTRACTORS), DISTRACTOR_GRADE),
            (generator.permutation(others)[:N_NEAR], NEAR_GRADE),
        )
        for rows, grade in parts:
            query.append(np.full(len(rows), place))
            item.append(rows)
            target.append(np.broadcast_to(grade, len(rows)))
    return Judged(
        np.concatenate(query).astype(np.int32),
        np.concatenate(item).astype(np.int32),
        np.concatenate(target).astype(np.float32),
    )


def _described(
    queries: tuple[str, ...],
    told: Judged,
    hits: Mapping[int, LexicalHits],
    shelf: Shelf,
    reader: Encoder,
    *,
    most: int,
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return (n, n_features) by the function that a search calls, each query's rows, and which (n_rows,) these are.

    Queries are left out at random once more than `most` texts would have to be encoded.
    """
    asked, start = np.unique(told.query, return_index=True)
    stop = np.append(start[1:], len(told.query))
    texts = shelf.items.texts
    needed, is_told = np.zeros(len(texts), bool), np.zeros(len(asked), bool)
    for place in np.random.default_rng(len(asked)).permutation(len(asked)):
        if needed.sum() >= most:
            break
        needed[told.item[start[place] : stop[place]]] = is_told[place] = True
        needed[hits[asked[place]].rows[:N_BEST]] = True
    vectors = np.zeros((len(texts), reader.dimension), np.float32)
    vectors[needed] = reader.encode([texts[row] for row in np.flatnonzero(needed)], exact=False)
    fit = np.repeat(is_told, stop - start)
    asked, start, stop = asked[is_told], start[is_told], stop[is_told]
    spoken = reader.encode([encoder_text(queries[place]) for place in asked])
    seen = replace(shelf, vectors=vectors)
    parts = [
        match_features(
            queries[place],
            told.item[first:last],
            seen,
            hits=hits[place],
            vector=vector,
            intent=shelf.understand(queries[place]),
        )
        for place, first, last, vector in zip(asked.tolist(), start, stop, spoken, strict=True)
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
