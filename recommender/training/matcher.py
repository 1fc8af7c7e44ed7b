"""Trains the trees that grade the items of a search, on queries that people judged; writes them beside the encoder."""

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
from recommender.training.label_gain import label_gain
from recommender.types import FloatArray, IntArray

N_DISTRACTORS, N_POOL = 8, 2_000
"""Random items of the catalogue added to each query as wrong answers, all from one sample, since each has to be
encoded."""

DISTRACTOR_GRADE = -0.15
"""Below the worst grade that a person gives: people judge only items that some search had found."""

N_NEAR, N_NEAR_HITS, NEAR_GRADE = 8, 200, 0.1
"""Items without a judgement that words or vectors find for a query, and the grade that they count as: whoever chose
what to judge passed them over. On a fifth of the graded queries of a hardware shop, four parts in turn: recall@10 /
@100 in the whole catalogue .559 / .866 with them, .546 / .855 without; pairs .6152, .6131; NDCG@10 .8713, .8694."""

RISING = (
    "words_matched", "words_share", "title_share", "pairs_matched", "numbers_matched", "letters", "letters_matched",
    "letters_only", "word_cosine", "bm25", "lexical", "meaning", "like_best", *ABOUT,
)  # fmt: skip
"""Monotone constraints: more of these never makes an answer worse. Where a few thousand grades say otherwise, it is
noise that the titles of another shop would not share."""

TREES = TreeSettings(n_trees=300, learning_rate=0.05, n_leaves=15, least_in_leaf=100, l2=20.0)
LEAST_QUERIES = 100
N_FORESTS = 2
FORMAT = 1


@dataclass(frozen=True, slots=True)
class MatcherData:
    """Judged queries over one catalogue. vectors (n_items, d): of the encoder.

    partly: the encoder before it saw the grades of some queries. The trees learn from these queries only, or they would
    trust the encoder too much. None if it saw no grade at all.
    """

    judgements: Judgements
    shelf: Shelf
    encoder: Encoder
    vectors: FloatArray
    partly: Partly | None = None

    def queries(self) -> IntArray:
        """(n,) rows of the queries that the trees may learn from; none below `LEAST_QUERIES` judged ones."""
        rows: IntArray = np.unique(self.judgements.query)
        if len(rows) < LEAST_QUERIES:
            return rows[:0]
        return rows if self.partly is None else rows[self.partly.unseen[rows]]

    def unbiased_encoder(self) -> Encoder:
        """The encoder as it was before it saw the grades of these queries."""
        if self.partly is None:
            return self.encoder
        encoder = Encoder(self.encoder.name, copy.deepcopy(self.encoder.model), self.encoder.tokenizer)
        encoder.model.load_state_dict(self.partly.weights)
        return encoder


@dataclass(frozen=True, slots=True)
class GradedRows:
    """Rows of the trees: query (n,) in `Judgements.queries`, ascending, item (n,) and the grade to predict (n,)."""

    query: IntArray
    item: IntArray
    target: FloatArray


def fit_matcher(
    data: MatcherData, folder: Path, *, most_texts: int = 2**62, seed: int = 0, progress: Progress = UNWATCHED
) -> dict[str, float]:
    """Write matcher.onnx and matcher.json to `folder` and return figures; nothing without enough queries.

    most_texts: that may be encoded to describe the queries; queries beyond it are left out.
    """
    queries = data.queries()
    if not len(queries):
        return {}
    texts = data.judgements.queries
    hits = {query: data.shelf.lexical.search(texts[query], N_NEAR_HITS) for query in queries.tolist()}
    graded = graded_rows(data, hits, seed=seed)
    features, is_used = described(data, graded, hits, most=most_texts)
    if progress.should_stop():
        return {}
    target = graded.target[is_used]
    rising = [MATCH_FEATURES.index(name) for name in RISING]
    settings = [replace(TREES, seed=seed + number) for number in range(N_FORESTS)]
    forests = [trees.grow(features, target, settings=each, rising=rising) for each in settings]
    _write(forests, folder, features)
    error = trees.predict(forests, features) - target
    query = graded.query[is_used]
    n_labels = int(np.isin(data.judgements.query, query).sum())
    gain = label_gain(
        features, target, query, n_labels, settings=settings[0], rising=rising, should_stop=progress.should_stop
    )
    return gain | {
        "matcher_queries": float(len(np.unique(query))),
        "matcher_rows": float(len(features)),
        "matcher_error": float(np.sqrt(np.mean(error**2))),
    }


def graded_rows(data: MatcherData, hits: Mapping[int, LexicalHits], *, seed: int) -> GradedRows:
    """The judged items of the queries of `hits`, and items without a judgement: some random, some near."""
    judged, n_items = data.judgements, len(data.vectors)
    generator, everything = np.random.default_rng((seed, 1)), np.ones(n_items, bool)
    pool = generator.permutation(n_items)[:N_POOL]
    queries = list(hits)
    query_vectors = data.encoder.encode([encoder_text(judged.queries[query]) for query in queries])
    query_rows, items, targets = [], [], []
    order = np.argsort(judged.query, kind="stable")
    first, last = (np.searchsorted(judged.query[order], queries, side=side) for side in ("left", "right"))
    for query, vector, start, stop in zip(queries, query_vectors, first, last, strict=True):
        own = order[start:stop]
        near = nearest(data.vectors, vector, limit=N_NEAR_HITS, allowed=everything).rows
        others = np.setdiff1d(np.union1d(hits[query].rows, near), judged.item[own])
        parts = (
            (judged.item[own], judged.grade[own]),
            (generator.choice(pool, N_DISTRACTORS), DISTRACTOR_GRADE),
            (generator.permutation(others)[:N_NEAR], NEAR_GRADE),
        )
        for rows, grade in parts:
            query_rows.append(np.full(len(rows), query))
            items.append(rows)
            targets.append(np.broadcast_to(grade, len(rows)))
    return GradedRows(
        np.concatenate(query_rows).astype(np.int32),
        np.concatenate(items).astype(np.int32),
        np.concatenate(targets).astype(np.float32),
    )


def described(
    data: MatcherData, graded: GradedRows, hits: Mapping[int, LexicalHits], *, most: int
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return (n, n_features), computed by the function that a search calls, and which (n_rows,) are described.

    Random queries are left out once more than `most` texts would have to be encoded.
    """
    encoder, texts, queries = data.unbiased_encoder(), data.shelf.items.texts, data.judgements.queries
    rows, start = np.unique(graded.query, return_index=True)
    stop = np.append(start[1:], len(graded.query))
    is_needed, is_used = np.zeros(len(texts), bool), np.zeros(len(rows), bool)
    for n in np.random.default_rng(len(rows)).permutation(len(rows)):
        if is_needed.sum() >= most:
            break
        is_needed[graded.item[start[n] : stop[n]]] = is_used[n] = True
        is_needed[hits[rows[n]].rows[:N_BEST]] = True
    vectors = np.zeros((len(texts), encoder.dimension), np.float32)
    vectors[is_needed] = encoder.encode([texts[row] for row in np.flatnonzero(is_needed)], exact=False)
    is_used_row = np.repeat(is_used, stop - start)
    rows, start, stop = rows[is_used], start[is_used], stop[is_used]
    query_vectors = encoder.encode([encoder_text(queries[row]) for row in rows])
    shelf = replace(data.shelf, vectors=vectors)
    parts = [
        match_features(
            queries[row],
            graded.item[first:last],
            shelf,
            hits=hits[row],
            vector=vector,
            intent=data.shelf.understand(queries[row]),
        )
        for row, first, last, vector in zip(rows.tolist(), start, stop, query_vectors, strict=True)
    ]
    return np.concatenate(parts), is_used_row


def _write(forests: list[object], folder: Path, features: FloatArray) -> None:
    trees.export(forests, folder / MATCHER, n_features=len(MATCH_FEATURES), sample=features[:2000])
    record = {
        "format": FORMAT,
        "names": list(MATCH_FEATURES),
        "n_forests": len(forests),
        "importance": trees.importance(forests, MATCH_FEATURES),
    }
    (folder / "matcher.json").write_text(json.dumps(record))
