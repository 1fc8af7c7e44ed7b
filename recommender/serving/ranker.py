"""A bundle in memory: texts to vectors, a profile to one vector, candidates to calibrated scores. Never loads torch."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from recommender.exceptions import BundleError
from recommender.features import FEATURE_NAMES, QUERY_FEATURES, RequestVectors, features
from recommender.features.head import NEWCOMERS, Head, Heads, Mixture
from recommender.features.sequence import decayed_mean, read_events, sequence
from recommender.features.shop_state import ShopState
from recommender.retrieval.matching import MATCH_FEATURES
from recommender.tables import ItemTable, Profile
from recommender.text.query import encoder_text
from recommender.types import FloatArray, IntArray

FORMAT = 1
BATCH_TEXTS = 64
LONGEST_TEXT = 1_280
"""Characters read of one text: 64 tokens of 20 letters; a longer one is cut before it costs time."""

N_CACHED_QUERIES = 2_048
GOLDEN_TOLERANCE = 1e-3

FALLBACK = {"query_match": 6.0, "lexical": 3.0, "interest_match": 3.0, "own_orders": 2.5, "popular_30": 0.4}
"""Log-odds per unit where no head is trained: text before habit before popularity; -4 is the base rate of a list."""
FALLBACK_BIAS = -4.0


FALLBACK_GRADE = {"meaning": 0.35, "word_cosine": 0.18, "letters": 0.18, "like_best": 0.18, "words_matched": 0.11}
"""Grade of an item for a query where no trees are trained: shares of 1. Round numbers near the least squares over
graded queries of a hardware shop: the untuned encoder alone orders .602 of the pairs rightly, words .592, this .610."""

FORMULA_SHARE = 0.4
"""Share of the formula in the grade where trees are trained: judges saw only what some search had found, so trees know
little of the rest of the catalogue. On held-out queries of a hardware shop, untuned encoder: recall at 10 in the whole
catalogue .478 by trees, .488 by formula, .507 by shares from a third to a half; of judged pairs .620, .610, .619."""

MATCHER, FOREST, TREES_INPUT = "matcher.onnx", "forest.onnx", "rows"


@dataclass(frozen=True, slots=True)
class ScoredCandidates:
    """scores (n,) float32: P(event of the head) in the horizon; logits (n,) float32; features (n, f) float32."""

    scores: FloatArray
    logits: FloatArray
    features: FloatArray


class Ranker:
    """One loaded bundle; safe to share between threads."""

    def __init__(
        self, *, name: str, encoder_hash: str, dimension: int, max_tokens: int, tokenizer: Tokenizer,
        encoder: onnxruntime.InferenceSession, context: onnxruntime.InferenceSession | None = None,
        delta: dict[str, FloatArray] | None = None, head: Head | None = None,
        thresholds: dict[str, float] | None = None, matcher: onnxruntime.InferenceSession | None = None,
        forest: onnxruntime.InferenceSession | None = None, mixture: Mixture | None = None,
        heads: Heads | None = None,
    ) -> None:  # fmt: skip
        self.name, self.encoder_hash, self.dimension = name, encoder_hash, dimension
        self.head, self.heads, self.thresholds = head, heads, thresholds or {}
        self._max_tokens, self._tokenizer, self._encoder = max_tokens, tokenizer, encoder
        self._context, self._delta, self._matcher = context, delta or {}, matcher
        self._forest, self._mixture = forest, mixture
        self._n_circumstances = _n_circumstances(context)
        self._queries: OrderedDict[str, FloatArray] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def load(cls, folder: Path, *, n_threads: int = 1, name: str = "") -> Ranker:
        """Load a folder written by training and check its golden pair. Raises BundleError."""
        folder = Path(folder)
        record = _record(folder / "encoder.json")
        head_path, context_path = folder / "head.json", folder / "context.onnx"
        try:
            tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
            ranker = cls(
                name=name or folder.name,
                encoder_hash=str(record["hash"]),
                dimension=int(record["dimension"]),
                max_tokens=int(record["max_tokens"]),
                tokenizer=_bounded(tokenizer, int(record["max_tokens"])),
                encoder=_session(folder / "encoder.onnx", n_threads),
                context=_session(context_path, n_threads) if context_path.is_file() else None,
                delta=_delta(folder),
                head=_head(head_path) if head_path.is_file() else None,
                thresholds=_json(folder / "thresholds.json") if head_path.is_file() else None,
                matcher=_matcher(folder, n_threads),
                forest=_session(folder / FOREST, n_threads) if (folder / FOREST).is_file() else None,
                mixture=_mixture(folder / "mixture.json"),
                heads=_heads(folder / "heads.json"),
            )
        except (BundleError, MemoryError, PermissionError):  # the last two are this process's: the bundle may be well
            raise
        except Exception as error:  # every library has its own error for a broken file
            raise BundleError(f"Bundle {folder.name} cannot be read ({error}): roll back, or train again.") from error
        ranker.check_golden(_json(folder / "golden.json"))
        return ranker

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, d) float32 of unit length; texts of like length share a batch."""
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        if not len(texts):
            return vectors
        tokens = self._tokenizer.encode_batch([clipped(text) for text in texts])
        order = np.argsort([len(one.ids) for one in tokens], kind="stable")
        for start in range(0, len(order), BATCH_TEXTS):
            places = order[start : start + BATCH_TEXTS]
            vectors[places] = self._run([tokens[i].ids for i in places])
        return vectors

    def encode_query(self, query: str) -> FloatArray:
        """Return (d,) of one query; the last 2,048 queries, case and spaces aside, are remembered."""
        key = encoder_text(clipped(query))
        with self._lock:
            if key in self._queries:
                self._queries.move_to_end(key)
                return self._queries[key]
        vector = self.encode([key])[0]
        vector.setflags(write=False)
        with self._lock:
            self._queries[key] = vector
            if len(self._queries) > N_CACHED_QUERIES:
                self._queries.popitem(last=False)
        return vector

    def item_vectors(self, text_vectors: FloatArray, ids: Sequence[str]) -> FloatArray:
        """Return norm(E + δ) (n, d); an item that training did not know keeps its text vector."""
        moved = np.array(text_vectors, np.float32)
        known = [(row, self._delta[item_id]) for row, item_id in enumerate(ids) if item_id in self._delta]
        if known:
            rows = np.asarray([row for row, _ in known])
            moved[rows] += np.stack([delta for _, delta in known])
            moved[rows] /= np.maximum(np.linalg.norm(moved[rows], axis=1, keepdims=True), 1e-12)
        return moved

    def context_vector(self, profile: Profile, item_vectors: FloatArray) -> FloatArray:
        """Return (d,) of unit length: what the visitor is after; zeros for an empty profile in an untrained bundle."""
        told = sequence(profile)
        vectors = np.zeros((len(told.item), self.dimension), np.float32)
        is_item, used = told.item >= 0, read_events(told)
        vectors[is_item] = item_vectors[told.item[is_item]]
        for place in np.flatnonzero(used & ~is_item):
            vectors[place] = self.encode_query(profile.queries[told.row[place]])
        if self._context is None:
            return decayed_mean(vectors[used], told.weight[used])
        inputs: dict[str, npt.NDArray] = {
            "vectors": vectors[used],
            "types": told.type[used],
            "gaps": told.gap[used],
            "weights": told.weight[used],
            "current": self._current(profile, item_vectors),
            "circumstances": told.circumstances[: self._n_circumstances],
        }
        if not used.any():  # the graph wants one event; a weight of 0 hides it
            inputs |= {
                "vectors": np.zeros((1, self.dimension), np.float32),
                "types": np.zeros(1, np.int64),
                "gaps": np.zeros(1, np.float32),
                "weights": np.zeros(1, np.float32),
            }
        vector: FloatArray = self._context.run(None, {key: value[None] for key, value in inputs.items()})[0][0]
        return vector

    def _current(self, profile: Profile, item_vectors: FloatArray) -> FloatArray:
        """Return (d,): the item that is looked at, else the query that is asked, else zeros."""
        if profile.current_item >= 0:
            return item_vectors[profile.current_item].astype(np.float32)
        return self.encode_query(profile.query) if profile.query else np.zeros(self.dimension, np.float32)

    def score(
        self,
        profile: Profile,
        candidates: IntArray,
        state: ShopState,
        items: ItemTable,
        item_vectors: FloatArray,
        *,
        context_vector: FloatArray | None = None,
        query_vector: FloatArray | None = None,
        lexical: FloatArray | None = None,
    ) -> ScoredCandidates:
        """Score candidates (n,) int32; item_vectors (n_items, d) as `item_vectors` returns them, lexical (n,) raw.

        A query that the head never saw in training is scored by the fallback formula, so that search stays search.
        """
        if context_vector is None:
            context_vector = self.context_vector(profile, item_vectors)
        rows = features(
            profile,
            candidates,
            state,
            items,
            vectors=RequestVectors(item_vectors, context_vector, query_vector),
            lexical=lexical,
        )
        asks = query_vector is not None or lexical is not None
        if self.head is None or (asks and not self.knows_queries):
            logits = fallback_logits(rows)
            return ScoredCandidates((1 / (1 + np.exp(-logits))).astype(np.float32), logits, rows)
        if self.heads is not None and (order := self.heads.order(rows)) is not None:
            return ScoredCandidates(order, np.log(order / (1 - order)), rows)
        logits = self.logits(rows)
        return ScoredCandidates(self._calibrate(logits), logits, rows)

    def logits(self, rows: FloatArray) -> FloatArray:
        """Return (n,) float32: the head's log-odds, or its mixture with the trees; the formula's without a head."""
        if self.head is None:
            return fallback_logits(rows)
        additive = self.head.logits(rows)
        if self._forest is None or self._mixture is None:
            return additive
        return self._mixture.scores(additive, self._forest.run(None, {TREES_INPUT: rows})[0][:, 0])

    def probabilities(self, rows: FloatArray) -> dict[str, FloatArray]:
        """Return (n,) float32 by the name of each event that training has seen; rows (n, f) of `FEATURE_NAMES`.

        Where lists that were shown have taught: "click", "cart" and "buy" of an item that is looked at, within a day.
        Else "buy", within the horizon of the head; nothing in a bundle without a head.
        """
        if self.heads is not None:
            return self.heads.probabilities(rows)
        return {} if self.head is None else {"buy": self._calibrate(self.logits(rows))}

    def _calibrate(self, logits: FloatArray) -> FloatArray:
        calibrated = self._mixture or self.head
        return logits if calibrated is None else calibrated.calibrate(logits)

    @property
    def knows_newcomers(self) -> bool:
        """Whether its order is surely better than what sells for visitors of whom nothing is known."""
        return self.thresholds.get(NEWCOMERS, 1.0) > 0

    @property
    def knows_queries(self) -> bool:
        """Whether the head was trained on requests with a query."""
        return self.head is not None and bool(self.head.seen & QUERY_FEATURES)

    @property
    def knows_matches(self) -> bool:
        """Whether trees were trained to grade the items of a search."""
        return self._matcher is not None

    def grade(self, rows: FloatArray) -> FloatArray:
        """Return (n,) float32, about 0 (no answer to the query) to 1 (just what was meant).

        rows (n, f) in the order of `retrieval.matching.MATCH_FEATURES`. Without trained trees by the fixed formula
        `FALLBACK_GRADE`.
        """
        if self._matcher is None:
            return formula_grade(rows)
        grown = self._matcher.run(None, {TREES_INPUT: rows})[0][:, 0]
        return np.asarray((1 - FORMULA_SHARE) * grown + FORMULA_SHARE * formula_grade(rows), np.float32)

    def contributions(self, row: FloatArray) -> list[tuple[str, float]]:
        """Return (feature, log-odds it adds) of one row of features (f,), largest first; zeros left out."""
        if self.head is None:
            parts = {name: FALLBACK[name] * float(row[FEATURE_NAMES.index(name)]) for name in FALLBACK}
        else:
            values = self.head.contributions(row[None, :])[0] - self.head.contributions(np.zeros_like(row)[None, :])[0]
            parts = dict(zip(self.head.names, values.tolist(), strict=True))
        return sorted(((name, value) for name, value in parts.items() if value), key=lambda part: -part[1])

    def check_golden(self, golden: dict[str, Any]) -> None:
        """Compare a stored input with its stored output. Raises BundleError."""
        difference = float(np.abs(self.encode([golden["text"]])[0] - np.asarray(golden["vector"])).max())
        if self.head is not None and "logit" in golden:
            rows = np.linspace(0, 1, len(FEATURE_NAMES), dtype=np.float32)[None, :]
            difference = max(difference, abs(float(self.head.logits(rows)[0]) - golden["logit"]))
            if "mixed" in golden:
                difference = max(difference, abs(float(self.logits(rows)[0]) - golden["mixed"]))
        if self.heads is not None and "chances" in golden:
            told = self.heads.probabilities(np.linspace(0, 1, len(FEATURE_NAMES), dtype=np.float32)[None, :])
            difference = max(difference, *(abs(float(told[name][0]) - golden["chances"][name]) for name in told))
        if not difference <= GOLDEN_TOLERANCE:
            raise BundleError(
                f"Bundle {self.name} answers its golden input with a difference of {difference:.1e}, allowed is "
                f"{GOLDEN_TOLERANCE:.0e}: its files or libraries changed. Roll back, or train again."
            )

    def _run(self, ids: list[list[int]]) -> FloatArray:
        length = max(len(one) for one in ids)
        tokens, mask = np.zeros((len(ids), length), np.int64), np.zeros((len(ids), length), np.int64)
        for row, one in enumerate(ids):
            tokens[row, : len(one)], mask[row, : len(one)] = one, 1
        vectors: FloatArray = self._encoder.run(None, {"input_ids": tokens, "attention_mask": mask})[0]
        return vectors


def formula_grade(rows: FloatArray) -> FloatArray:
    """Return (n,) float32 by the fixed formula `FALLBACK_GRADE`; rows (n, f) of `MATCH_FEATURES`."""
    total = np.zeros(len(rows), np.float32)
    for name, weight in FALLBACK_GRADE.items():
        total += weight * rows[:, MATCH_FEATURES.index(name)]
    return total


def fallback_logits(rows: FloatArray) -> FloatArray:
    """Return (n,) float32 by the fixed formula `FALLBACK`, for a bundle without a head; rows (n, f)."""
    total = np.full(len(rows), FALLBACK_BIAS, np.float32)
    for name, weight in FALLBACK.items():
        total += weight * rows[:, FEATURE_NAMES.index(name)]
    return total


def clipped(text: str) -> str:
    """Cut a long text, and replace what is not valid Unicode."""
    return text[:LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")


def _bounded(tokenizer: Tokenizer, max_tokens: int) -> Tokenizer:
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return tokenizer


def _session(path: Path, n_threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _n_circumstances(context: onnxruntime.InferenceSession | None) -> int | None:
    """Return how many circumstances a graph was trained with: the list grows at its end."""
    if context is None:
        return None
    return next(int(entry.shape[1]) for entry in context.get_inputs() if entry.name == "circumstances")


def _head(path: Path) -> Head:
    head = Head.from_json(path.read_text())
    if head.names != FEATURE_NAMES:
        raise BundleError(f"{path.name} was trained on other features than this version computes: train a new bundle.")
    return head


def _heads(path: Path) -> Heads | None:
    if not path.is_file():
        return None
    heads = Heads.from_json(path.read_text(encoding="utf-8"))
    if any(head.names != FEATURE_NAMES for head in (heads.click, *heads.after.values())):
        raise BundleError(f"{path.name} was trained on other features than this version computes: train a new bundle.")
    return heads


def _matcher(folder: Path, n_threads: int) -> onnxruntime.InferenceSession | None:
    if not (folder / MATCHER).is_file():
        return None
    record = _record(folder / "matcher.json")
    if tuple(record["names"]) != MATCH_FEATURES:
        raise BundleError(f"{MATCHER} was trained on other features than this version computes: train a new bundle.")
    return _session(folder / MATCHER, n_threads)


def _mixture(path: Path) -> Mixture | None:
    return Mixture.from_json(path.read_text()) if path.is_file() else None


def _delta(folder: Path) -> dict[str, FloatArray]:
    path = folder / "delta.npy"
    if not path.is_file():
        return {}
    rows: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
    ids = _json(folder / "delta_ids.json")
    if len(ids) != len(rows):
        raise BundleError(f"delta.npy has {len(rows)} rows for {len(ids)} items: roll back, or train again.")
    return dict(zip(ids, rows, strict=True))


def _record(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = _json(path)
    if record.get("format") != FORMAT:
        raise BundleError(f"{path.name} has format {record.get('format')!r}, expected {FORMAT}: train a new bundle.")
    return record


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path.name} is missing or broken ({error}): roll back, or train again.") from error
