"""A bundle in memory: encodes texts, turns a profile into one vector and scores candidates. Never loads torch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recommender.deadlines import Resting, Stage, during
from recommender.exceptions import BundleError, NoNumbers
from recommender.features import FEATURE_NAMES, RequestVectors, features
from recommender.features.head import DEFAULT_NEW_SHARE, NEW_SHARE, NEWCOMERS, Head
from recommender.features.sequence import Sequence as Sequenced
from recommender.features.sequence import decayed_mean, read_events, sequence
from recommender.features.shop_state import ShopState
from recommender.retrieval.base import Mask
from recommender.retrieval.matching import MATCH_FEATURES
from recommender.serving.bundle_parts import TREES_INPUT, BundleParts
from recommender.serving.query_vectors import QueryVectors
from recommender.serving.runtimes import Runtime
from recommender.tables import ItemTable, Profile
from recommender.text.query import encoder_text
from recommender.types import FloatArray, IntArray

BATCH_TEXTS = 64
LONGEST_TEXT = 1_280
"""Characters read of one text: 64 tokens of 20 letters. A longer one is cut before it costs time."""

WORD_STARTS = "\u2581\u0120"
"""What SentencePiece and byte-level BPE put before the first token of a word; WordPiece marks the others."""

GOLDEN_TOLERANCE = 1e-3

FALLBACK = {"query_match": 6.0, "lexical": 3.0, "interest_match": 3.0, "own_orders": 2.5, "popular_30": 0.4}
"""Log-odds per unit of each feature in a bundle without a head: text weighs more than habit, habit more than
popularity."""
FALLBACK_BIAS = -4.0
"""Log-odds of the base rate of a list."""

FALLBACK_GRADE = {"meaning": 0.43, "like_best": 0.22, "words_matched": 0.13, "letters": 0.11, "letters_matched": 0.11}
"""Grade of an item for a query in a bundle without trained trees: shares of 1. On a fifth of the graded queries of a
hardware shop .619 of the pairs are in order, .607 by the untuned encoder alone; on those of many small shops .712 and
.706. See `benchmarks/README.md`."""

OTHER_NUMBER, MISSING_NUMBER, MOST_NUMBERS = 0.025, 0.06, 3
"""What each number that only the title has, and each that only the query has, takes off the formula's grade where the
query names one: an elbow of 1-1/2 inch has the words of one of 1/2."""

NUMBERS = ("n_numbers", "other_numbers", "numbers_missing")

TREES_SHARE, FORMULA_SHARE, MEANING_SHARE = 0.5, 0.4, 0.1
"""Shares of the grade where trees are trained. Judges saw only what some search had found, and one shop's titles are
not another's, so the trees know little of the rest. See `benchmarks/README.md`."""


@dataclass(frozen=True, slots=True)
class ScoredCandidates:
    """scores (n,) float32: P(event of the head) within its horizon; logits (n,) float32; features (n, f) float32."""

    scores: FloatArray
    logits: FloatArray
    features: FloatArray


class Ranker:
    """One loaded bundle; safe to share between threads."""

    def __init__(self, parts: BundleParts) -> None:
        self.name, self.encoder_hash, self.dimension = parts.name, parts.encoder_hash, parts.dimension
        self.head, self.heads, self.thresholds = parts.head, parts.heads, parts.thresholds
        self.arms: Mapping[str, Head] = parts.arms
        self._parts, self._n_circumstances = parts, parts.n_circumstances
        self._query_vectors = QueryVectors(self._encode_query)

    @classmethod
    def load(cls, folder: Path, *, n_threads: int = 1, name: str = "") -> Ranker:
        """Load a folder written by training and check that it gives its golden output. Raises BundleError."""
        ranker = cls(BundleParts.read(Path(folder), n_threads=n_threads, name=name))
        ranker._check_golden()
        return ranker

    def with_arms(self, arms: Mapping[str, Head]) -> Ranker:
        """The same ranker, with heads that serve these lists in its place."""
        other = copy.copy(self)
        other.arms = arms
        return other

    def with_encoder(self, encoder: Runtime) -> Ranker:
        """The same ranker, whose encoder another runtime computes."""
        return Ranker(replace(self._parts, encoder=encoder))

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, d) float32 of unit length; texts of similar length share a batch."""
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        if not len(texts):
            return vectors
        ids = [encoding.ids for encoding in self._parts.tokenizer.encode_batch([clipped(text) for text in texts])]
        order = np.argsort([len(tokens) for tokens in ids], kind="stable")
        for start in range(0, len(order), BATCH_TEXTS):
            batch = order[start : start + BATCH_TEXTS]
            vectors[batch] = self._encode_tokens([ids[row] for row in batch])
        return vectors

    def encode_query(self, query: str) -> FloatArray:
        """Return (d,) of one query. The last 2,048 queries are cached, whatever their case and spaces.

        Raises Resting while the encoder is left alone, for a query that is not cached.
        """
        return self._query_vectors.get(encoder_text(clipped(query)))

    def _encode_query(self, text: str) -> FloatArray:
        with during(Stage.ENCODING):
            return _numbers(self.encode([text])[0])

    def is_word(self, word: str) -> bool:
        """Whether the encoder's vocabulary has a word whole, as it has the frequent words of its language."""
        tokens = self._parts.tokenizer.encode(clipped(word), add_special_tokens=False).tokens
        return len(tokens) == 1 and tokens[0].strip(WORD_STARTS).lower() == word

    def item_vectors(self, text_vectors: FloatArray, ids: Sequence[str]) -> FloatArray:
        """Return norm(E + δ) (n, d); an item without δ, which training did not see, keeps its text vector."""
        delta, moved = self._parts.delta, np.array(text_vectors, np.float32)
        rows = [row for row, item_id in enumerate(ids) if item_id in delta]
        if rows:
            moved[rows] += np.stack([delta[ids[row]] for row in rows])
            moved[rows] /= np.maximum(np.linalg.norm(moved[rows], axis=1, keepdims=True), 1e-12)
        return moved

    def context_vector(self, profile: Profile, item_vectors: FloatArray) -> FloatArray:
        """Return (d,) of unit length: what the visitor is after. Zeros for an empty profile in an untrained bundle."""
        events = sequence(profile)
        is_item, is_used = events.item >= 0, read_events(events)
        vectors = np.zeros((len(events.item), self.dimension), np.float32)
        vectors[is_item] = item_vectors[events.item[is_item]]
        for event in np.flatnonzero(is_used & ~is_item):
            try:
                vectors[event] = self.encode_query(profile.queries[events.row[event]])
            except Resting:  # what was searched counts less than what was looked at and bought
                is_used[event] = False
        try:
            with during(Stage.CONTEXT):
                return _numbers(self._modelled_context(profile, events, vectors, is_used, item_vectors))
        except Resting:
            return decayed_mean(vectors[is_used], events.weight[is_used])

    def _modelled_context(
        self, profile: Profile, events: Sequenced, vectors: FloatArray, is_used: Mask, item_vectors: FloatArray
    ) -> FloatArray:
        """Return (d,) by the context model, without one the decayed mean of the vectors (n_events, d) that are used."""
        if self._parts.context is None:
            return decayed_mean(vectors[is_used], events.weight[is_used])
        inputs: dict[str, npt.NDArray] = {
            "vectors": vectors[is_used],
            "types": events.type[is_used],
            "gaps": events.gap[is_used],
            "weights": events.weight[is_used],
        }
        if not is_used.any():  # the graph needs one event; a weight of 0 hides it
            inputs = {name: np.zeros((1, *array.shape[1:]), array.dtype) for name, array in inputs.items()}
        inputs["current"] = self._current_vector(profile, item_vectors)
        inputs["circumstances"] = events.circumstances[: self._n_circumstances]
        vector: FloatArray = self._parts.context.run(None, {name: array[None] for name, array in inputs.items()})[0][0]
        return vector

    def _current_vector(self, profile: Profile, item_vectors: FloatArray) -> FloatArray:
        """Return (d,): the vector of the current item, else of the current query, else zeros."""
        if profile.current_item >= 0:
            return item_vectors[profile.current_item].astype(np.float32)
        try:
            return self.encode_query(profile.query) if profile.query else np.zeros(self.dimension, np.float32)
        except Resting:
            return np.zeros(self.dimension, np.float32)

    def score(
        self,
        profile: Profile,
        candidates: IntArray,
        state: ShopState,
        items: ItemTable,
        item_vectors: FloatArray,
        *,
        context_vector: FloatArray | None = None,
    ) -> ScoredCandidates:
        """Score candidates (n,) int32; item_vectors (n_items, d) as `item_vectors` returns them."""
        return self.scored(self.described(profile, candidates, state, items, item_vectors, context_vector))

    def described(
        self,
        profile: Profile,
        candidates: IntArray,
        state: ShopState,
        items: ItemTable,
        item_vectors: FloatArray,
        context_vector: FloatArray | None,
    ) -> FloatArray:
        """The features (n, f) float32 of candidates (n,), in the order of `FEATURE_NAMES`."""
        if context_vector is None:
            context_vector = self.context_vector(profile, item_vectors)
        return features(profile, candidates, state, items, vectors=RequestVectors(item_vectors, context_vector))

    def scored(self, rows: FloatArray) -> ScoredCandidates:
        """Score rows (n, f) of `FEATURE_NAMES`."""
        if self.head is None:
            logits = fallback_logits(rows)
            return ScoredCandidates((1 / (1 + np.exp(-logits))).astype(np.float32), logits, rows)
        if self.heads is not None and (order := self.heads.order(rows)) is not None:
            return ScoredCandidates(order, np.log(order / (1 - order)), rows)
        logits = self.logits(rows)
        return ScoredCandidates(self._calibrate(logits), logits, rows)

    def logits(self, rows: FloatArray) -> FloatArray:
        """Return (n,) float32: log-odds by the head or by its mixture with the trees; by the formula without a head."""
        if self.head is None:
            return fallback_logits(rows)
        additive, forest, mixture = self.head.logits(rows), self._parts.forest, self._parts.mixture
        if forest is None or mixture is None:
            return additive
        return mixture.scores(additive, forest.run(None, {TREES_INPUT: rows})[0][:, 0])

    def probabilities(self, rows: FloatArray) -> dict[str, FloatArray]:
        """Return (n,) float32 by the name of each event that the head predicts; rows (n, f) of `FEATURE_NAMES`.

        Trained on impressions: "click", "cart" and "buy" of an item that is looked at, within a day. Otherwise "buy",
        within the horizon of the head. Empty for a bundle without a head.
        """
        if self.heads is not None:
            return self.heads.probabilities(rows)
        return {} if self.head is None else {"buy": self._calibrate(self.logits(rows))}

    def grade(self, rows: FloatArray) -> FloatArray:
        """Return (n,) float32, from about 0 (does not answer the query) to 1 (exactly what was meant).

        rows (n, f) in the order of `retrieval.matching.MATCH_FEATURES`. By `FALLBACK_GRADE` without trained trees.
        """
        if self._parts.matcher is None:
            return formula_grade(rows)
        try:
            with during(Stage.GRADING):
                return _numbers(blended_grade(rows, self._parts.matcher.run(None, {TREES_INPUT: rows})[0][:, 0]))
        except Resting:
            return formula_grade(rows)

    @property
    def knows_newcomers(self) -> bool:
        """Whether it ranks better than popularity for visitors without any history."""
        return self.thresholds.get(NEWCOMERS, 1.0) > 0

    @property
    def new_share(self) -> float:
        """The least share of "for you" that is new to the shopper, as validation chose it."""
        return min(max(self.thresholds.get(NEW_SHARE, DEFAULT_NEW_SHARE), DEFAULT_NEW_SHARE), 1.0)

    @property
    def knows_matches(self) -> bool:
        """Whether trees were trained to grade the items of a search."""
        return self._parts.matcher is not None

    def _calibrate(self, logits: FloatArray) -> FloatArray:
        calibrated = self._parts.mixture or self.head
        return logits if calibrated is None else calibrated.calibrate(logits)

    def _check_golden(self) -> None:
        """Compare the output for the stored input with the stored output. Raises BundleError."""
        golden, rows = self._parts.golden, np.linspace(0, 1, len(FEATURE_NAMES), dtype=np.float32)[None, :]
        pairs = [(self.encode([golden["text"]])[0], golden["vector"])]
        if self.head is not None and "logit" in golden:
            pairs.append((self.head.logits(rows)[0], golden["logit"]))
            if "mixed" in golden:
                pairs.append((self.logits(rows)[0], golden["mixed"]))
        if self.heads is not None and "chances" in golden:
            probabilities = self.heads.probabilities(rows)
            pairs += [(probabilities[name][0], golden["chances"][name]) for name in probabilities]
        difference = np.max([np.abs(computed - np.asarray(stored)).max() for computed, stored in pairs])
        if not difference <= GOLDEN_TOLERANCE:
            raise BundleError(
                f"Bundle {self.name} answers its golden input with a difference of {difference:.1e}, allowed is "
                f"{GOLDEN_TOLERANCE:.0e}: its files or libraries changed. Roll back, or train again."
            )

    def _encode_tokens(self, ids: list[list[int]]) -> FloatArray:
        length = max(map(len, ids))
        tokens, mask = np.zeros((2, len(ids), length), np.int64)
        for row, text_ids in enumerate(ids):
            tokens[row, : len(text_ids)], mask[row, : len(text_ids)] = text_ids, 1
        vectors: FloatArray = self._parts.encoder.run(None, {"input_ids": tokens, "attention_mask": mask})[0]
        return vectors


def formula_grade(rows: FloatArray) -> FloatArray:
    """Return (n,) float32 by the fixed formula `FALLBACK_GRADE`; rows (n, f) of `MATCH_FEATURES`."""
    n_asked, *differing = (rows[:, MATCH_FEATURES.index(name)] for name in NUMBERS)
    others, missing = np.minimum(differing, MOST_NUMBERS)
    penalty = (n_asked > 0) * (OTHER_NUMBER * others + MISSING_NUMBER * missing)
    return np.asarray(_weighted_sum(rows, FALLBACK_GRADE, MATCH_FEATURES, bias=0) - penalty, np.float32)


def blended_grade(rows: FloatArray, trees: FloatArray) -> FloatArray:
    """Return (n,) float32 by trained trees, the fixed formula and meaning; rows (n, f) of `MATCH_FEATURES`, trees (n,)
    what the trees say."""
    meaning = rows[:, MATCH_FEATURES.index("meaning")]
    return np.asarray(TREES_SHARE * trees + FORMULA_SHARE * formula_grade(rows) + MEANING_SHARE * meaning, np.float32)


def fallback_logits(rows: FloatArray) -> FloatArray:
    """Return (n,) float32 by the fixed formula `FALLBACK`, for a bundle without a head; rows (n, f)."""
    return _weighted_sum(rows, FALLBACK, FEATURE_NAMES, bias=FALLBACK_BIAS)


def _numbers(values: FloatArray) -> FloatArray:
    """The values. Raises NoNumbers where one is none: it would reach every score, and an order by it is any order."""
    if not np.isfinite(values).all():
        raise NoNumbers("The model gave values that are no numbers. Roll back, or train again.")
    return values


def clipped(text: str) -> str:
    """Cut a long text, and replace what is not valid Unicode."""
    return text[:LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")


def _weighted_sum(rows: FloatArray, weights: dict[str, float], names: Sequence[str], *, bias: float) -> FloatArray:
    total = np.full(len(rows), bias, np.float32)
    for name, weight in weights.items():
        total += weight * rows[:, names.index(name)]
    return total
